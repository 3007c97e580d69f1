"""A demo as its users start it: a process, everything it started, and what it printed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, Signals

from attrs import frozen

from tests.servers.gateway import inherited_environment
from tests.servers.ports import free_port
from tests.servers.processes import Process

COMMAND = [sys.executable, "-m", "trio_ws_gateway", "demo"]
DEADLINE_SECONDS = 60.0
NO_PROXY_OF_OURS = "http://127.0.0.1:9"  # nobody is there, and nobody in a demo should ask it


@frozen
class Demo:
    """``directory`` is where its temporary files are, by which everything that it started is known."""

    process: Process
    directory: Path

    @classmethod
    @contextmanager
    def running(cls, directory: Path, *arguments: str) -> Iterator["Demo"]:
        """A demo that is over at the end of the block, in whatever way; on a port of its own unless one is given."""
        temporary = directory / "temporary"
        temporary.mkdir()
        port = [] if "--port" in arguments else ["--port", str(free_port())]
        process = Process.start(
            [*COMMAND, *port, *arguments],
            directory=directory,
            environment={**inherited_environment(), "TMPDIR": str(temporary), "HTTP_PROXY": NO_PROXY_OF_OURS},
            name="demo",
        )
        demo = cls(process, temporary)
        try:
            yield demo
        finally:
            process.kill()
            for pid in demo.children():
                os.kill(pid, SIGKILL)

    @property
    def output(self) -> str:
        return self.process.log_text()

    def wait_for(self, text: str, count: int = 1) -> None:
        self.process.wait_until(lambda: self.output.count(text) >= count, f"saying {text!r}", DEADLINE_SECONDS)

    def end(self, signal: Signals) -> int:
        """Send it that signal, and return its exit status."""
        self.process.popen.send_signal(signal)
        return self.status()

    def status(self) -> int:
        """Its exit status, when it has ended."""
        return self.process.wait(DEADLINE_SECONDS)

    def children(self) -> dict[int, str]:
        """The command lines of all that it started and that still run."""
        mark = f"TMPDIR={self.directory}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                continue  # gone, somebody else's, or no process
        found.pop(self.process.popen.pid, None)
        return found

    def left_behind(self) -> list[object]:
        """Processes and files."""
        return [*self.children().values(), *self.directory.iterdir()]
