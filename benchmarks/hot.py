"""The hot functions one by one, under pyperf: ``nox -s hot``. Its options are pyperf's: ``--fast``, ``-o FILE``, ...

For a change of one of them, before its effect is looked for in the whole (``python -m benchmarks --against``).
"""

import socket
import time
from collections.abc import Callable

import pyperf
import trio

from tests.oidc_provider import OidcProvider
from trio_ws_gateway.auth.keys import parse_key_set
from trio_ws_gateway.auth.token import TokenPolicy, verify
from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.relay.inspecting import InspectingPump
from trio_ws_gateway.relay.intake import new_buffer
from trio_ws_gateway.relay.pump import Pump
from trio_ws_gateway.wire.frames import BINARY, FrameScanner, build_frame
from trio_ws_gateway.wire.http import build_head, parse_request
from trio_ws_gateway.wire.mqtt_reframing import Reframer

MESSAGE = build_frame(BINARY, b"x" * 100, masked=True)
BIG = build_frame(BINARY, b"x" * 60_000, masked=True)
PACKET = build_frame(BINARY, b"\x30\x62" + b"x" * 98, masked=True)
BIG_PACKET = build_frame(BINARY, b"\x30\xdd\xd4\x03" + b"x" * 59_997, masked=True)
PACKETS = build_frame(BINARY, (b"\x30\x62" + b"x" * 98) * 64, masked=True)


def scan(data: bytes) -> Callable[[], int]:
    """Read the headers in one read's worth of whole frames."""
    scanner, view = FrameScanner(masked=True), memoryview(data)
    return lambda: scanner.scan(view, len(view))


def step(data: bytes, *, inspected: bool = False) -> Callable[[], None]:
    """One step of a pump, and the system calls of its two neighbours."""
    (client, source), (target, upstream) = socket.socketpair(), socket.socketpair()
    for sock in (client, source, target, upstream):
        sock.setblocking(False)
    buffer, heard = new_buffer(), bytearray(len(data))
    reframer = Reframer(masked=True)

    async def made() -> Pump:  # a pump asks the loop for the time
        if inspected:
            scanner = FrameScanner(masked=True, walker=reframer, on_control=reframer.on_control)
            return InspectingPump(reframer, source, target, scanner, buffer=buffer)
        return Pump(source, target, FrameScanner(masked=True), buffer=buffer)

    pump = trio.run(made)

    def run() -> None:
        client.send(data)
        pump.step()
        upstream.recv_into(heard)

    return run


def verification() -> Callable[[], object]:
    """Believe a token whose key is at hand."""
    provider = OidcProvider()
    token, keys = provider.mint(), parse_key_set(provider.jwks(), ["RS256"])
    policy = TokenPolicy(algorithms=("RS256",), issuer=provider.issuer, audiences=("gateway",), leeway_seconds=30)
    now = time.time()
    return lambda: verify(token, keys, policy, now)


def head() -> Callable[[], object]:
    """Parse a client's request."""
    token = OidcProvider().mint()
    fields = [
        ("Host", "gateway.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Authorization", f"Bearer {token}"),
    ]
    request = build_head("GET /ws HTTP/1.1", fields)
    return lambda: parse_request(request)


def take() -> Callable[[], object]:
    """Ask an identity's bucket for the messages of a batch."""
    bucket = TokenBucket(rate=1e9, capacity=10**9, now=0.0)
    clock = iter(range(10**12))
    return lambda: bucket.take(64, next(clock) * 1e-6)


def main() -> None:
    runner = pyperf.Runner()
    runner.bench_func("scan: a frame of 100 B", scan(MESSAGE))
    runner.bench_func("scan: 64 frames of 100 B", scan(MESSAGE * 64))
    runner.bench_func("scan: a frame of 60 kB", scan(BIG))
    runner.bench_func("step: a frame of 100 B", step(MESSAGE))
    runner.bench_func("step: 64 frames of 100 B", step(MESSAGE * 64))
    runner.bench_func("step: a frame of 60 kB", step(BIG))
    runner.bench_func("step, inspected: a packet of 100 B", step(PACKET, inspected=True))
    runner.bench_func("step, inspected: 64 packets of 100 B", step(PACKET * 64, inspected=True))
    runner.bench_func("step, inspected: 64 packets of 100 B in a frame", step(PACKETS, inspected=True))
    runner.bench_func("step, inspected: a packet of 60 kB", step(BIG_PACKET, inspected=True))
    runner.bench_func("take: 64 messages", take())
    runner.bench_func("parse_request", head())
    runner.bench_func("verify: RS256", verification())


if __name__ == "__main__":
    main()
