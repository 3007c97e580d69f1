"""Standard output and standard error of a command, that may be closed, full, or read by nobody any more.

That is no reason for a traceback, nor for a command to stop in the middle: what cannot be written is dropped, and at
the end the status tells (``lasting``). Knows no command.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

UNWRITTEN_STATUS = 1


class Output(io.FileIO):
    """A descriptor that takes everything. ``failure``: why what came was dropped, from the first time on."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None
        self._lost: Callable[[], None] = lambda: None

    def when_lost(self, lost: Callable[[], None]) -> None:
        """Call ``lost`` once, when something is dropped or has been already."""
        self._lost = lost
        if self.failure is not None:
            lost()

    def write(self, data: object, /) -> int | None:  # type: ignore[override]
        if self.failure is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failure = error
                self._lost()
        return memoryview(data).nbytes  # type: ignore[arg-type]


def output_of(stream: TextIO | None) -> Output | None:
    """What is beneath a stream that ``lasting`` has made."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Output) else None


@contextmanager
def lasting() -> Iterator[None]:
    """For the length of a command. A stream that a test has put in the place of the process's own is let alone.

    Where standard output could not be written, other than because its reader has seen enough, standard error says
    why, and a status of 0 becomes 1.
    """
    _fill_descriptors()
    sys.stdout, sys.stderr = _lasting(sys.stdout, sys.__stdout__, 1), _lasting(sys.stderr, sys.__stderr__, 2)
    try:
        yield
    finally:
        if (output := output_of(sys.stdout)) is not None:
            sys.stdout.flush()
            if output.failure is not None and output.failure.errno != errno.EPIPE:
                print(f"Error: cannot write to standard output: {output.failure.strerror}", file=sys.stderr)
                if isinstance(ending := sys.exception(), SystemExit) and not ending.code:
                    ending.code = UNWRITTEN_STATUS


def _fill_descriptors() -> None:
    """A closed descriptor would become that of the next socket, which then gets what was meant for people."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _lasting(stream: TextIO | None, own: TextIO | None, descriptor: int) -> TextIO:
    if stream is not own:
        return stream  # type: ignore[return-value]
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Output(descriptor)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=descriptor == 2 or stream.isatty(),
    )
