"""Echo server, gateway and the client of the cases, each a process; and the ways that lead to the echo server."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from tests.conformance.verdicts import Verdict
from tests.servers.gateway import Gateway
from tests.servers.issuer import issuer
from tests.servers.ports import free_port
from tests.servers.processes import Process, ProcessFailed

ECHO, DRIVE = (Path(__file__).with_name(name) for name in ("echo.py", "drive.py"))  # programs, never imported
TOKEN_LIFE_SECONDS = 6 * 3600
BIG = str(64 * 1024 * 1024)  # in section 9 the first message has up to 16 MiB
COMPRESSION = ("12.", "13.")
DIRECTLY = "directly"


@frozen(kw_only=True)
class Way:
    """A URL of the echo server. Where it does not ``compress``, there is no use in the cases of compression."""

    name: str
    url: str = field(repr=False)  # holds a token
    compresses: bool = True

    def takes(self, case: str) -> bool:
        return self.compresses or not case.startswith(COMPRESSION)


@frozen(kw_only=True)
class Site:
    """What runs: one way straight to the echo server, and the ways through the gateway."""

    directory: Path
    directly: Way
    through: Sequence[Way]
    gateway: Gateway

    @property
    def ways(self) -> Sequence[Way]:
        return self.directly, *self.through

    @classmethod
    @contextmanager
    def serving(cls, directory: Path) -> "Iterator[Site]":
        port = free_port()
        url = f"ws://127.0.0.1:{port}/"
        server = Process.start([sys.executable, ECHO, str(port)], directory=directory, environment={}, name="echo")
        try:
            server.wait_for_port(port)
            with issuer() as provider:
                environment = {
                    "JWKS_URL": provider.jwks_uri,
                    "JWT_EXPECTED_ISSUER": provider.issuer,
                    "ALLOW_ANONYMOUS": "true",
                    "RAW_WS_BACKEND_URL": url,
                    "WS_FIRST_MESSAGE_MAX_BYTES": BIG,
                    "WS_AUTH_TIMEOUT_SECONDS": "100",
                }
                with Gateway.serving(directory, environment) as gateway:
                    token = provider.mint(exp=int(time.time()) + TOKEN_LIFE_SECONDS)
                    early = Way(name="dialled early", url=f"{gateway.url}?token={token}")
                    late = Way(name="dialled late", url=gateway.url, compresses=False)
                    directly = Way(name=DIRECTLY, url=url)
                    yield cls(directory=directory, directly=directly, through=(early, late), gateway=gateway)
        finally:
            server.kill()

    def run(self, way: Way, cases: Sequence[str], deadline_seconds: float) -> dict[str, Verdict]:
        """The verdicts on these cases (names, or patterns with ``*``). Raises ``ProcessFailed``, also for none."""
        chosen = [case for case in cases if way.takes(case)]
        if not chosen:
            return {}
        process = Process.start(
            [sys.executable, DRIVE, way.url, *chosen], directory=self.directory, environment={}, name="kosoku"
        )
        try:
            status = process.wait(deadline_seconds)
            last_line = process.log_text().splitlines()[-1]
            if status:
                raise ProcessFailed(last_line)
            verdicts = json.loads(last_line)
        finally:
            process.kill()
        return {verdict["case"]: Verdict(**verdict) for verdict in verdicts}
