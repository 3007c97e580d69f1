"""A raw backend in a process of its own; by default wsproto on Trio, which says back what it hears."""

import signal
import sys
from pathlib import Path

from attrs import define

from tests.servers.ports import free_port
from tests.servers.processes import Process

ROOT = Path(__file__).parents[2]


@define(kw_only=True)
class Backend:
    """``start_again`` replaces ``process`` by another one, in the same place. ``program``: a module, given the port."""

    process: Process
    directory: Path
    program: str
    port: int

    @classmethod
    def start(cls, directory: Path, program: str = "tests.conformance.echo") -> "Backend":
        port = free_port()
        return cls(process=_started(directory, program, port), directory=directory, program=program, port=port)

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def start_again(self) -> None:
        self.process = _started(self.directory, self.program, self.port)

    def freeze(self) -> None:
        """Stand still, while the kernel goes on taking connections and bytes for it."""
        self.process.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()


def _started(directory: Path, program: str, port: int) -> Process:
    command = [sys.executable, "-m", program, str(port)]
    process = Process.start(command, directory=directory, environment={"PYTHONPATH": str(ROOT)}, name="backend")
    try:
        process.wait_for_port(port)
    except BaseException:
        process.kill()
        raise
    return process
