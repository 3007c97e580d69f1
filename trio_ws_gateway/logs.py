"""Structured logs: one JSON object, or one line for a person, each on standard output.

No token is ever logged, and this is the last line of defence: whatever looks like a JWT is cut out
of every value, wherever it came from.
"""

import os
import re
import select
import threading
from collections.abc import Mapping
from typing import Self, TextIO, cast

import structlog

# Begins as base64url of "{" and then a quote, white space or a line break does; host names hardly ever do. In what was
# quoted, a line break before it is a backslash and a letter.
JWT_SHAPE = re.compile(r"(?:\b|(?<=\\[nrt]))e[yw][A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]{4,}|\.(?=\.))(\.[A-Za-z0-9_-]*)*")
MAX_WAITING_BYTES = 4 * 1024 * 1024
LAST_LINES_SECONDS = 1.0
GATHER_SECONDS = 0.005  # what comes together is written together: each change of threads costs as much as a line
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def without_tokens(value: object) -> object:
    """The value with everything that has the shape of a JWT replaced, in mappings and lists too; what is neither those
    nor a number comes back as text."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return JWT_SHAPE.sub("[token]", value)
    if isinstance(value, Mapping):
        return {str(without_tokens(key)): without_tokens(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_tokens(each) for each in value]
    return without_tokens(str(value))


def _cut_tokens(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: without_tokens(value) for key, value in event.items()}


def whole_lines(text: memoryview) -> int:
    """How much of ``text`` to write at once: as many lines as a pipe takes in one piece, or one that is longer.

    Several workers write to one pipe, and only what fits into ``PIPE_BUF`` is never mixed with what others write.
    """
    if len(text) <= select.PIPE_BUF:
        return len(text)
    head, rest = bytes(text[: select.PIPE_BUF]), bytes(text[select.PIPE_BUF : 16 * select.PIPE_BUF])
    return head.rfind(b"\n") + 1 or len(head) + rest.find(b"\n") + 1


class Outlet:
    """What is written here goes to a descriptor, in its order, from a thread of its own.

    So a pipe whose reader sleeps, or a full disk, costs log lines and not sessions. How many were lost is logged when
    lines go out again. A context manager; its end waits ``LAST_LINES_SECONDS`` at most for what is still to be written.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor  # not a file: a thread that is stuck in one holds its lock, and exit aborts on it
        self._waiting = bytearray()
        self._lost = 0
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(LAST_LINES_SECONDS)

    def write(self, text: str) -> None:
        """Never waits, never raises. Text that is no UTF-8 is escaped."""
        octets = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if len(self._waiting) < MAX_WAITING_BYTES or threading.current_thread() is self._thread:
                if not self._waiting:
                    self._changed.notify()
                self._waiting += octets
            else:
                self._lost += 1

    def flush(self) -> None:
        """Nothing: the thread writes what there is."""

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                self._changed.wait_for(lambda: self._ending, GATHER_SECONDS)
                lines, self._waiting = memoryview(self._waiting), bytearray()
                lost, self._lost = self._lost, 0
            if not lines:
                return
            try:
                while lines:
                    lines = lines[os.write(self._descriptor, lines[: whole_lines(lines)]) :]
            except OSError:
                lost += bytes(lines).count(b"\n")
                with self._changed:
                    self._lost += lost
            else:
                if lost:
                    structlog.get_logger().error("log lines lost", lines=lost)


def configure(*, format: str, level: str, file: Outlet | TextIO) -> None:
    """Set up all loggers of the process. ``format``: ``json`` or ``console``; ``level``: a key of ``LEVELS``."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False, default=str)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=file.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _cut_tokens,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: structlog.WriteLogger(cast(TextIO, file)),
        cache_logger_on_first_use=False,
    )
