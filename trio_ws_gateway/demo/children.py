"""Child processes: each lives as long as its block, and what it printed last is there when it dies too soon.

A child has a process group of its own, so a Ctrl-C in the terminal reaches the demo alone, which then ends its children
one after the other. Where the demo is killed, a shell that waits for that ends them (``kept_directory``).
"""

import os
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import trio
import trio.abc
from attrs import define, field

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR")
"""What children get of the demo's environment. A setting of the gateway that happens to be there is not meant."""
LAST_LINES = 12
START_SECONDS = 20.0
LAST_WORDS_SECONDS = 1.0
POLL_SECONDS = 0.02

# Its standard input ends when the demo does. Each child has left a file that is named like its process group.
KEEPER = """
read -r _
cd "$1" || exit
for each in *.pid; do kill -s KILL -- "-${each%.pid}"; done
cd / && rm -rf -- "$1"
"""


class ChildFailed(Exception):
    """A child ended by itself, or did not do in time what was expected. Shows the last lines that it printed."""


@define(eq=False)
class Child:
    """``heard`` is called with every line that it prints; ``status`` is its exit status, when it has ended."""

    name: str
    heard: Callable[[str], None]
    _process: trio.Process
    _output: trio.abc.ReceiveStream
    _last_lines: deque[str] = field(factory=lambda: deque(maxlen=LAST_LINES))
    _heard_out: trio.Event = field(factory=trio.Event)
    _ending: bool = False

    @property
    def status(self) -> int | None:
        return self._process.poll()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until ``condition`` is true. Raises ``ChildFailed`` if that takes longer than ``START_SECONDS``."""
        with trio.move_on_after(START_SECONDS):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(POLL_SECONDS)
            return
        raise self._failed(f"is not {what} after {START_SECONDS:g} s")

    async def end(self, patience_seconds: float) -> None:
        """Ask it to end with SIGTERM, and kill it when it has not after that time."""
        self._ending = True
        if self._process.poll() is None:
            self._process.terminate()
        with trio.move_on_after(patience_seconds):
            await self._process.wait()
        self._process.kill()
        await self._process.wait()
        await self._hear_out()

    async def _read(self) -> None:
        rest = b""
        try:
            async for piece in self._output:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace")
                    self._last_lines.append(text)
                    self.heard(text)
        finally:
            self._heard_out.set()

    async def _watch(self) -> None:
        status = await self._process.wait()
        if not self._ending:
            await self._hear_out()
            raise self._failed(f"ended with status {status}")

    async def _hear_out(self) -> None:
        """Its last words may still be in the pipe; who inherited that may keep it open."""
        with trio.move_on_after(LAST_WORDS_SECONDS):
            await self._heard_out.wait()

    def _failed(self, what: str) -> ChildFailed:
        return ChildFailed("\n  ".join([f"{self.name} {what}. It said last:", *(self._last_lines or ["nothing"])]))


@contextmanager
def kept_directory(prefix: str) -> Iterator[Path]:
    """A directory for the length of the block. If this process is killed, it goes all the same, and with it all whose
    ``child`` block has it as its directory."""
    with TemporaryDirectory(prefix=prefix) as directory:
        keeper = subprocess.Popen(  # noqa: S603 - words of our own
            ["/bin/sh", "-c", KEEPER, "keeper", directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with keeper:
            try:
                yield Path(directory)
            finally:
                keeper.kill()


@asynccontextmanager
async def child(
    name: str,
    command: Sequence[str | Path],
    *,
    directory: Path,
    environment: Mapping[str, str],
    heard: Callable[[str], None] = lambda _line: None,
    patience_seconds: float = 2.0,
) -> AsyncIterator[Child]:
    """Run ``command`` in ``directory`` for the length of the block. ``environment`` adds to what is ``INHERITED``.

    Raises ``ChildFailed``, in a group, if it ends before the block does.
    """
    process = await trio.lowlevel.open_process(
        [str(word) for word in command],
        cwd=directory,
        env={**{key: os.environ[key] for key in INHERITED if key in os.environ}, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    mark = directory / f"{process.pid}.pid"
    mark.touch()
    started = Child(name, heard, process, cast(trio.abc.ReceiveStream, process.stdout))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(started._read)
        nursery.start_soon(started._watch)
        try:
            yield started
        finally:
            with trio.CancelScope(shield=True):
                await started.end(patience_seconds)
                mark.unlink()
            nursery.cancel_scope.cancel()
