"""A raw backend that says back what it hears: wsproto on Trio, in a process of its own."""

import signal
import sys
from pathlib import Path

from attrs import define

from tests.servers.ports import free_port
from tests.servers.processes import Process

ROOT = Path(__file__).parents[2]


@define(kw_only=True)
class Backend:
    """``start_again`` replaces ``process`` by another one, in the same place."""

    process: Process
    directory: Path
    port: int

    @classmethod
    def start(cls, directory: Path) -> "Backend":
        port = free_port()
        return cls(process=_started(directory, port), directory=directory, port=port)

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def start_again(self) -> None:
        self.process = _started(self.directory, self.port)

    def freeze(self) -> None:
        """Stand still, while the kernel goes on taking connections and bytes for it."""
        self.process.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()


def _started(directory: Path, port: int) -> Process:
    command = [sys.executable, "-m", "tests.conformance.echo", str(port)]
    process = Process.start(command, directory=directory, environment={"PYTHONPATH": str(ROOT)}, name="backend")
    try:
        process.wait_for_port(port)
    except BaseException:
        process.kill()
        raise
    return process
