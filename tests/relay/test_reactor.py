"""`Reactor` drives pumps, and nothing that happens to one session reaches another."""

import random
import socket
import struct
import sys
from contextlib import ExitStack
from typing import Self

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.tcp import Peer, tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.relay.intake import KEPT_BYTES, READ_BYTES, new_buffer
from trio_ws_gateway.relay.pump import READS_PER_STEP, STALLED_READ_BYTES, Pump
from trio_ws_gateway.relay.reactor import FEW, LEAVING_PER_PASS, Reactor
from trio_ws_gateway.relay.steps import Ended
from trio_ws_gateway.wire.frames import BINARY, TEXT, FrameScanner, build_frame

BUFFER = new_buffer()


class OneWay:
    """A pump with a peer at each end, which leaving the context closes. ``ended``: what it made of its direction."""

    def __init__(self, reactor: Reactor) -> None:
        source_far, self.source = tcp_pair()
        target_far, self.target = tcp_pair()
        self.sender = Peer(source_far, masked=True)
        self.receiver = Peer(target_far, masked=True)
        self.scope = trio.CancelScope()
        self.ended: Ended | Exception | None = None
        self.pump = Pump(
            self.source,
            self.target,
            FrameScanner(masked=True),
            buffer=BUFFER,
            driven=True,
        )
        self.back = Pump(self.target, self.source, FrameScanner(masked=False), buffer=BUFFER)
        self.reactor = reactor

    async def run(self) -> None:
        try:
            with self.scope:
                self.reactor.drive(self.pump, self.back)
                self.ended = await self.pump.run()
        except ZeroDivisionError as error:
            self.ended = error
        finally:
            self.reactor.leave(self.pump, self.back)
            leg.close(self.source)
            leg.close(self.target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for peer in (self.sender, self.receiver):
            if peer.sock.fileno() >= 0:
                leg.close(peer.sock)


async def test_data_and_end_of_stream_in_one_edge() -> None:
    """Data and FIN that come in one edge are both seen: no further edge follows them."""
    with Reactor() as reactor:
        for _ in range(50):
            async with trio.open_nursery() as nursery:
                way = OneWay(reactor)
                nursery.start_soon(way.run)
                await wait_all_tasks_blocked()
                frame = build_frame(TEXT, b"last", masked=True)
                way.sender.sock.send(frame)
                way.sender.end_stream()
                nursery.start_soon(reactor.run)
                assert await way.receiver.read_to_end() == frame
                assert way.ended is Ended.SOURCE_LOST
                way.close()
                nursery.cancel_scope.cancel()


async def test_end_of_stream_while_the_owner_is_awake() -> None:
    """An end of stream whose edge comes while the owner waits for its target is remembered."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            way = OneWay(reactor)
            nursery.start_soon(way.run)
            frame = build_frame(BINARY, bytes(20_000_000), masked=True)
            with trio.move_on_after(0.3):
                await way.sender.send(frame)
            assert way.pump.outlet.held
            sent = way.sender.sock
            sent.shutdown(socket.SHUT_WR)
            received = await way.receiver.read_to_end()
            assert frame.startswith(received)
            assert way.ended is Ended.SOURCE_LOST
            assert way.pump.bytes_read == len(received)
            way.close()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("before", [b"", build_frame(TEXT, b"before", masked=True)], ids=["first", "behind data"])
async def test_urgent_data(before: bytes) -> None:
    """Urgent data (TCP's out-of-band byte) does not stop or spin anything, though it cuts a read short."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            way = OneWay(reactor)
            nursery.start_soon(way.run)
            await wait_all_tasks_blocked()
            way.receiver.masked = False
            way.sender.sock.send(before)
            way.sender.sock.send(b"!", socket.MSG_OOB)
            await way.sender.say(TEXT, b"after")
            if before:
                assert await way.receiver.hear() == (TEXT, True, b"before")
            assert await way.receiver.hear() == (TEXT, True, b"after")
            way.sender.end_stream()
            await way.receiver.read_to_end()
            way.close()
            nursery.cancel_scope.cancel()


async def test_many_leave_at_once() -> None:
    """However many leave at once, whoever stays is served in the same pass, and only few sessions end in each."""
    with Reactor() as reactor, ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            *leaving, stays = [stack.enter_context(OneWay(reactor)) for _ in range(FEW + 3 * LEAVING_PER_PASS + 1)]
            for way in (*leaving, stays):
                nursery.start_soon(way.run)
            await wait_all_tasks_blocked()
            for way in leaving:
                way.sender.end_stream()
            frame = build_frame(TEXT, b"still here", masked=True)
            stays.sender.sock.send(frame)
            for passes in (1, 2, 3):
                reactor._make_pass(trio.current_time(), time_is_up=0.0)
                assert stays.receiver.sock.recv(100) == frame
                await wait_all_tasks_blocked()
                assert sum(way.ended is not None for way in leaving) == passes * LEAVING_PER_PASS
                stays.sender.sock.send(frame)
            nursery.cancel_scope.cancel()


async def test_an_exception_in_a_pump() -> None:
    """What a pump raises goes to its owner; every other session goes on."""

    class Faulty(FrameScanner):
        def scan(self, view: memoryview, size: int) -> int:
            raise ZeroDivisionError

    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            bad, good = OneWay(reactor), OneWay(reactor)
            bad.pump.scanner = Faulty(masked=True)
            nursery.start_soon(bad.run)
            nursery.start_soon(good.run)
            await wait_all_tasks_blocked()
            await bad.sender.say(TEXT, b"trigger")
            assert await bad.receiver.read_to_end() == b""
            assert isinstance(bad.ended, ZeroDivisionError)
            good.receiver.masked = False
            await good.sender.say(TEXT, b"unharmed")
            assert await good.receiver.hear() == (TEXT, True, b"unharmed")
            bad.close()
            good.close()
            nursery.cancel_scope.cancel()


async def test_what_stalled_is_held_in_small() -> None:
    """After its target has stalled a pump holds no more than one small read."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            way = OneWay(reactor)
            nursery.start_soon(way.run)
            frame = build_frame(BINARY, bytes(20_000_000), masked=True)
            nursery.start_soon(way.sender.send, frame)
            await wait_all_tasks_blocked(0.05)
            assert way.pump.outlet.held
            received = bytearray()
            held = []
            while len(received) < len(frame):
                received += await leg.receive(way.receiver.sock, 100_000)
                held.append(len(way.pump.outlet.held))
            assert received == frame
            first = next(at for at, size in enumerate(held) if size <= STALLED_READ_BYTES)  # the one that stalled
            assert first < len(held) / 2
            assert max(held[first:]) <= STALLED_READ_BYTES + KEPT_BYTES
            way.close()
            nursery.cancel_scope.cancel()


async def test_a_flood_starves_nobody() -> None:
    """While one connection floods, what another one says arrives between its steps."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            flood, quiet = OneWay(reactor), OneWay(reactor)
            nursery.start_soon(flood.run)
            nursery.start_soon(quiet.run)

            async def send() -> None:
                frame = build_frame(BINARY, bytes(1 << 20), masked=True)
                while True:
                    await flood.sender.send(frame)

            async def swallow() -> None:
                while await leg.receive(flood.receiver.sock, 1 << 20):
                    pass

            nursery.start_soon(send)
            nursery.start_soon(swallow)
            quiet.receiver.masked = False
            for _ in range(50):
                before = flood.pump.bytes_read
                await quiet.sender.say(TEXT, b"?")
                assert await quiet.receiver.hear() == (TEXT, True, b"?")
                # A few steps of the other pump, however much it has left.
                assert flood.pump.bytes_read - before <= 8 * READS_PER_STEP * READ_BYTES
            nursery.cancel_scope.cancel()
        flood.close()
        quiet.close()


# Bats back what comes out of either way into the other one, 50 times, never at once.
PLAY = """
import ast, select, socket, sys, time
ends = [socket.socket(fileno=fd) for fd in ast.literal_eval(sys.argv[1])]
for hears, says in 25 * [ends[:2], ends[2:]]:
    select.select([hears], [], [], 10)
    time.sleep(0.001)
    says.send(hears.recv(100))
"""


async def test_an_answer_that_comes_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is answered within a moment is served without a turn of Trio's loop, until the pass has had its time."""
    monkeypatch.setattr("trio_ws_gateway.relay.reactor.LINGER_SECONDS", 1.0)
    monkeypatch.setattr("trio_ws_gateway.relay.reactor.PASS_SECONDS", 5.0)
    ball = build_frame(TEXT, b"ping-pong", masked=True)

    class Turns(trio.abc.Instrument):
        count = 0

        def before_io_wait(self, timeout: float) -> None:
            self.count += 1

    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            one, other = OneWay(reactor), OneWay(reactor)
            nursery.start_soon(one.run)
            nursery.start_soon(other.run)
            await wait_all_tasks_blocked()
            turns = Turns()
            ends = [one.receiver, other.sender, other.receiver, one.sender]
            descriptors = [end.sock.fileno() for end in ends]
            player = await trio.lowlevel.open_process(
                [sys.executable, "-c", PLAY, str(descriptors)], pass_fds=descriptors
            )
            trio.lowlevel.add_instrument(turns)
            one.sender.sock.send(ball)
            assert await player.wait() == 0
            trio.lowlevel.remove_instrument(turns)
            assert turns.count < 25
            nursery.cancel_scope.cancel()
        one.close()
        other.close()


async def test_an_insert_that_stalls() -> None:
    """A frame of ours that the target does not take whole is finished when it does, before what comes next."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            way = OneWay(reactor)
            nursery.start_soon(way.run)
            await wait_all_tasks_blocked()
            ours = build_frame(BINARY, bytes(20_000_000), masked=True)
            way.pump.insert(ours)
            assert way.pump.outlet.held
            await way.sender.say(TEXT, b"waits")
            way.receiver.masked = False
            assert await way.receiver.hear() == (BINARY, True, bytes(20_000_000))
            assert await way.receiver.hear() == (TEXT, True, b"waits")
            way.close()
            nursery.cancel_scope.cancel()


async def test_an_insert_for_nobody() -> None:
    """A frame of ours that finds the target gone ends the direction, though its source is silent."""
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            way = OneWay(reactor)
            nursery.start_soon(way.run)
            await wait_all_tasks_blocked()
            way.receiver.reset()
            with trio.fail_after(5):
                while way.ended is None:
                    way.pump.insert(build_frame(TEXT, b"ours", masked=True))
                    await trio.lowlevel.checkpoint()
            assert way.ended is Ended.TARGET_LOST
            way.close()
            nursery.cancel_scope.cancel()


ACTIONS = (
    "say",
    "say much",
    "urgent",
    "half-close",
    "reset sender",
    "reset receiver",
    "cancel",
    "insert",
    "swallow",
    "yield",
)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(ACTIONS)), min_size=20, max_size=120), st.randoms())
@settings(max_examples=300, deadline=None)
@pytest.mark.timeout(60)
async def test_anything_at_any_moment(actions: list[tuple[int, str]], chance: random.Random) -> None:
    """Whatever ends whichever session at whichever moment: nothing stays registered, nobody is woken twice, and
    sessions that come after it on the same descriptors are untouched."""
    much = build_frame(BINARY, bytes(300_000), masked=True)
    with ExitStack() as stack:
        reactor = stack.enter_context(Reactor())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)

            def arrive() -> OneWay:
                way = stack.enter_context(OneWay(reactor))
                nursery.start_soon(way.run)
                return way

            ways = [arrive() for _ in range(6)]
            for number, action in actions:
                way = ways[number]
                try:
                    match action:
                        case "say":
                            way.sender.sock.send(build_frame(TEXT, b"x" * chance.randrange(300), masked=True))
                        case "say much":
                            way.sender.sock.send(much)
                        case "urgent":
                            way.sender.sock.send(b"!", socket.MSG_OOB)
                        case "half-close":
                            way.sender.end_stream()
                        case "reset sender" | "reset receiver":
                            peer = way.sender if action == "reset sender" else way.receiver
                            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            peer.sock.close()
                        case "cancel":
                            way.scope.cancel()
                        case "insert":
                            way.pump.insert(build_frame(TEXT, b"ours", masked=True))
                        case "swallow":
                            way.receiver.sock.recv(1 << 20)
                        case "yield":
                            for _ in range(chance.randrange(4)):
                                await trio.lowlevel.checkpoint()
                except OSError:
                    pass
                if way.sender.sock.fileno() < 0 or way.receiver.sock.fileno() < 0 or action == "cancel":
                    way.close()
                    ways[number] = arrive()
            newcomer = arrive()
            newcomer.receiver.masked = False
            await newcomer.sender.say(TEXT, b"still here")
            assert await newcomer.receiver.hear() == (TEXT, True, b"still here")
            for way in [*ways, newcomer]:
                way.scope.cancel()
            await wait_all_tasks_blocked()
            assert not reactor._pumps
            nursery.cancel_scope.cancel()
