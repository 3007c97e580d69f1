"""`Pump.step` does a bounded amount of work, and what it may not send yet comes again."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.tcp import tcp_pair
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.limits.purses import Common, budget
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.relay.intake import new_buffer
from trio_ws_gateway.relay.pump import MUCH_WORK, READS_PER_STEP, WALKED_SLICE_BYTES, Pump
from trio_ws_gateway.wire.frames import BINARY, HEADERS, PING, PONG, TEXT, FrameScanner, build_frame
from trio_ws_gateway.wire.mqtt_stream import PacketWalker

BULK = build_frame(BINARY, bytes(60_000), masked=True) * 40


@contextlib.contextmanager
def pumping(scanner: FrameScanner, mine: Budget | None = None) -> Iterator[tuple[socket.socket, Pump, socket.socket]]:
    """A pump that nobody runs, and the far ends of its source and target."""
    (far_source, source), (target, far_target) = tcp_pair(), tcp_pair()
    with far_source, source, target, far_target:
        yield far_source, Pump(source, target, scanner, buffer=new_buffer(), budget=mine), far_target


def send_some(sock: socket.socket, rest: memoryview) -> memoryview:
    with contextlib.suppress(BlockingIOError):
        while rest:
            rest = rest[sock.send(rest[: 1 << 20]) :]
    return rest


def swallow(sock: socket.socket) -> bytes:
    heard = bytearray()
    with contextlib.suppress(BlockingIOError):
        while data := sock.recv(1 << 20):
            heard += data
    return bytes(heard)


FLOODS = {
    "pings": build_frame(PING, b"", masked=True) * 100_000,
    "answers to our pings": build_frame(PONG, b"8 bytes.", masked=True) * 3_000,
    "messages that differ": (build_frame(TEXT, b"", masked=True) + build_frame(BINARY, b"1", masked=True)) * 50_000,
    "packets": build_frame(BINARY, b"\xc0\x00" * 300_000, masked=True),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_step_is_bounded(flood: str) -> None:
    """However large reads have grown on cheap data, a step looks at few headers more than make much work."""
    walker = PacketWalker() if flood == "packets" else None
    scanner = FrameScanner(masked=True, walker=walker)
    scanner.own_ping = b"8 bytes."
    most = READS_PER_STEP * MUCH_WORK + (WALKED_SLICE_BYTES // 2 if walker else HEADERS)
    with pumping(scanner) as (client, pump, upstream):
        rest = memoryview(BULK + FLOODS[flood] + BULK)
        cut = len(FLOODS[flood]) if flood == "answers to our pings" else 0
        steps, heard, whole = 0, 0, len(rest) - cut
        while rest or heard < whole:  # where the machine is busy, what was sent is not there yet
            rest = send_some(client, rest)
            before = scanner.work
            pump.step()
            heard += len(swallow(upstream))
            assert scanner.work - before <= most
            steps += 1
        assert heard == whole
        assert scanner.messages >= 80


async def test_a_frame_of_ours_that_stalls_in_a_pause() -> None:
    """What is held back for the target is never overwritten by what a pause has kept, frames of ours or not."""
    rates = Rates(messages=Rate(1e6, 1, pauses=True))
    mine = budget(Common.of(Rates()), Spender("robot", Direction.FROM_CLIENT, rates), 0.0)
    with pumping(FrameScanner(masked=True), mine) as (client, pump, upstream):
        first, second = build_frame(BINARY, bytes(200_000), masked=True), build_frame(TEXT, b"second", masked=True)
        ours = build_frame(BINARY, bytes(9_000_000), masked=True)
        rest = send_some(client, memoryview(first + second))
        pump.insert(ours)
        heard = b""
        while not heard.endswith(second):
            rest = send_some(client, rest)
            pump.heard_at += 1
            pump.step()
            heard += swallow(upstream)
        assert heard == ours + first + second
