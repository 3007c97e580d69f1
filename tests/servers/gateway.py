"""The gateway itself, as its users run it: a process with nothing but an environment."""

import http.client
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.servers.processes import Process, ProcessFailed

INHERITED = ("PATH", "HOME")
MEASURING = "COVERAGE_"  # how coverage finds its way into the subprocess


COMMAND = (sys.executable, "-m", "trio_ws_gateway", "serve")


def inherited_environment() -> dict[str, str]:
    """What a gateway gets of the tests' own environment."""
    return {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith(MEASURING)}


@frozen(kw_only=True)
class Gateway:
    process: Process
    port: int

    @classmethod
    def start(
        cls,
        directory: Path,
        environment: Mapping[str, str],
        *,
        arguments: Sequence[str | Path] = (),
        launcher: Sequence[str | Path] = (),
    ) -> "Gateway":
        """Start ``trio-ws-gateway serve`` on a free port of 127.0.0.1 and wait until it listens.

        ``arguments`` follow the command; ``launcher`` is a command that is given the whole one and becomes it.
        """
        process = Process.start(
            [*launcher, *COMMAND, *arguments],
            directory=directory,
            environment={**inherited_environment(), "LISTEN": "127.0.0.1:0", **environment},
            name="gateway",
        )
        try:
            process.wait_until(lambda: _listening(process) is not None, "listening")
        except BaseException:
            process.kill()
            raise
        listening = _listening(process)
        assert listening is not None
        return cls(process=process, port=listening["port"])

    @classmethod
    @contextmanager
    def serving(cls, directory: Path, environment: Mapping[str, str]) -> "Iterator[Gateway]":
        """A gateway for the length of a block, ready at its start; it must end with status 0 when told to."""
        gateway = cls.start(directory, environment)
        try:
            gateway.wait_until_ready()
            yield gateway
            assert gateway.stop() == 0, gateway.output()
        finally:
            gateway.process.kill()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self) -> None:
        """Wait until ``/readyz`` says so: until the provider's keys are there."""
        self.process.wait_until(self._is_ready, "ready")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200

    def output(self) -> str:
        """All that it printed so far."""
        return self.process.log_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of that event, parsed."""
        return [line for line in _lines(self.process) if line.get("event") == name]

    def signal(self, number: signal.Signals) -> None:
        self.process.popen.send_signal(number)

    def stop(self, deadline_seconds: float = 20) -> int:
        """End it with SIGTERM and return its exit status. Raises ``ProcessFailed`` if a child of it lives on."""
        try:
            self.signal(signal.SIGTERM)
            status = self.process.wait(deadline_seconds)
            if left := self.process.survivors():
                raise ProcessFailed(f"the gateway left processes behind: {left}\n{self.output()}")
            return status
        finally:
            self.process.kill()


def _lines(process: Process) -> list[dict[str, Any]]:
    """What it logged. A line that is not JSON, or not there in full yet, is none."""
    lines = []
    for text in process.log_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _listening(process: Process) -> dict[str, Any] | None:
    return next((line for line in _lines(process) if line.get("event") == "listening"), None)
