"""A thousand clients that read nothing, behind an upstream that never stops: memory reaches a bound and stays there."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from attrs import frozen

from benchmarks.costs import resident_kib
from tests.serve.stalling import Flood, kernel_kib, readers
from tests.servers.gateway import Gateway
from trio_ws_gateway.relay.intake import READ_BYTES

READERS = 1000
STEPS = 4
SESSION_KIB = 40  # whatever it needs besides what it holds, and what is lost between the two
PEER_BUFFER_BYTES = 16 * 1024  # clients and upstream hold little themselves, so that it is soon all the gateway's
STILL_SECONDS = 0.3  # so long nothing flows: all that stalls has stalled
FLAT_SECONDS = 2.0
EVERY_SECONDS = 0.25


@frozen
class Point:
    seconds: float
    readers: int
    resident_kib: int
    held_kib: float
    system_kib: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:5.1f} s  {self.readers:4} readers  {self.resident_kib:8,} KiB resident"
            f"  {self.held_kib:9,.0f} KiB held  {self.system_kib:9,} KiB in its sockets"
        )


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """For both ends of all sessions but the gateway's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def held_kib(gateway: Gateway) -> float:
    lines = httpx.get(f"{gateway.http_url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("ws_held_bytes{")) / 1024


@pytest.mark.alone
@pytest.mark.usefixtures("_many_descriptors")
def test_a_thousand_stalled_readers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For each reader the gateway holds one read at the most, which its gauge tells, and the session; no more later."""
    environment = {"ALLOW_ANONYMOUS": "true", "CB_HEALTHCHECK_INTERVAL_SECONDS": "0", "WS_WRITE_TIMEOUT_SECONDS": "600"}
    environment |= {"GRACEFUL_DRAIN_TIMEOUT_SECONDS": "0", "WS_MAX_HANDSHAKES": "0"}
    curve: list[Point] = []
    with Flood(buffer_bytes=PEER_BUFFER_BYTES) as flood:
        environment["RAW_WS_BACKEND_URL"] = f"ws://127.0.0.1:{flood.port}/raw"
        with Gateway.serving(tmp_path, environment) as gateway, ExitStack() as stack:
            pid, began_at = gateway.process.popen.pid, time.monotonic()

            def look(count: int) -> None:
                seconds = time.monotonic() - began_at
                curve.append(Point(seconds, count, resident_kib([pid]), held_kib(gateway), kernel_kib([pid])))

            look(0)
            for step in range(1, STEPS + 1):
                stack.enter_context(readers(gateway.port, READERS // STEPS, "t", buffer_bytes=PEER_BUFFER_BYTES))
                before = -1
                while before != flood.sent:
                    before = flood.sent
                    time.sleep(STILL_SECONDS)
                look(step * READERS // STEPS)
            flat_at = time.monotonic()
            while time.monotonic() < flat_at + FLAT_SECONDS:
                time.sleep(EVERY_SECONDS)
                look(READERS)
    with capsys.disabled():
        print("", *curve, sep="\n")
    empty, full = curve[0], curve[STEPS]
    grown = full.resident_kib - empty.resident_kib
    assert 0 < full.held_kib <= READERS * READ_BYTES / 1024
    assert grown - full.held_kib <= READERS * SESSION_KIB
    for point in curve[STEPS:]:
        assert point.resident_kib <= full.resident_kib * 1.01
        assert point.system_kib <= full.system_kib * 1.01
