"""A command that runs beside the tests, and the certainty that nothing of it stays.

Every command gets a mark in its environment, which all that it starts inherit: so a child that left the process
group (Erlang's epmd does) is still found, and ended, by its mark. Reads /proc, hence Linux only.
"""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

MARK = "TRIO_WS_GATEWAY_TEST_PROCESS"
POLL_SECONDS = 0.02
DEADLINE_SECONDS = 20.0


class ProcessFailed(Exception):
    """A process did not do what was expected in time. Shows what it printed."""


@frozen(kw_only=True)
class Process:
    """A running command; all that it prints goes to the file ``log``."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    mark: str

    @classmethod
    def start(
        cls, command: Sequence[str | Path], *, directory: Path, environment: Mapping[str, str], name: str = ""
    ) -> "Process":
        """Start ``command`` in ``directory`` with exactly ``environment``, in a process group of its own."""
        name = name or Path(command[0]).name
        log = directory / f"{name}.log"
        mark = secrets.token_hex(8)
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                cwd=directory,
                env={**environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name=name, popen=popen, log=log, mark=mark)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Poll ``condition``. Raises ``ProcessFailed`` if it is not true in time or the process ends first."""
        deadline = time.monotonic() + deadline_seconds
        while not condition():
            if self.popen.poll() is not None:
                raise self._failed(f"ended with status {self.popen.returncode} before {what}")
            if time.monotonic() > deadline:
                raise self._failed(f"not {what} after {deadline_seconds:g} s")
            time.sleep(POLL_SECONDS)

    def wait_for_port(self, port: int, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until somebody accepts connections to ``port`` on this machine."""
        self.wait_until(lambda: _accepts(port), f"listening on port {port}", deadline_seconds)

    def wait(self, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end of the command. Returns its exit status, negative for a signal as in ``subprocess``."""
        try:
            return self.popen.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            raise self._failed(f"still running after {deadline_seconds:g} s") from None

    def survivors(self) -> list[int]:
        """Process ids of all that runs and was started by the command, itself included."""
        return [pid for pid in _running() if _bears(pid, self.mark)]

    def stop(self, deadline_seconds: float = DEADLINE_SECONDS) -> int:
        """Ask the command to end with SIGTERM, wait for it, and kill what it leaves. Returns its exit status.

        Raises ``ProcessFailed`` if the command had to be killed too.
        """
        try:
            self.popen.terminate()
            return self.wait(deadline_seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill all that is left of the command, and see it gone."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while left := self.survivors():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.popen.poll()
            if time.monotonic() > deadline:
                raise self._failed(f"could not be killed: {left}")
            time.sleep(POLL_SECONDS)
        self.popen.wait(DEADLINE_SECONDS)

    def _failed(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"{self.name} {what}; it printed:\n{self.log_text()}")


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def _running() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _bears(pid: int, mark: str) -> bool:
    try:  # of a zombie, the environment is empty; of others' processes, it cannot be read
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")
