"""Whole relays that share a budget, a reactor and a buffer, while anything happens to any of them at any moment.

Whatever each peer has received is what the other one sent, byte for byte and from the beginning, up to where the
session ended; behind that there is at the most a Close of the gateway's own.
"""

import math
import random
import socket
from contextlib import ExitStack, suppress
from typing import Self

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.tcp import Peer, tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.limits.purses import Common, budget
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.relay.intake import READ_BYTES, new_buffer
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.relay.relay import Relay, Terms
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, PING, TEXT, build_frame

CLOSE_BYTE = b"\x88"
BUFFER = new_buffer()
RATE = Rate(1_000, 2, pauses=True)  # so little at once that almost every message waits
LIVE = 3
EXPECTED = {None, Cause.CLIENT_LOST, Cause.UPSTREAM_LOST, Cause.DRAINING}
ACTIONS = (
    "say",
    "say in fragments",
    "begin to say",
    "say much",
    "ping",
    "urgent",
    "swallow",
    "half-close",
    "reset",
    "cancel",
    "end",
    "yield",
)


class Side:
    """One peer of a relay: what it has sent, as far as its socket took that, and what it has received."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sent = bytearray()
        self.received = bytearray()
        self.whole = True  # everything that it began to send it has sent to its end, or will
        self.was_urgent = False
        self._rest = b""  # of a frame that it has begun

    @property
    def is_there(self) -> bool:
        return self.peer.sock.fileno() >= 0

    def send(self, frame: bytes, begins_with: int | None = None) -> None:
        """Finish the frame before, and send this one, or its first ``begins_with`` bytes."""
        if not (self.is_there and self.whole):
            return
        cut = len(frame) if begins_with is None else begins_with
        data, self._rest = self._rest + frame[:cut], frame[cut:]
        try:
            count = self.peer.sock.send(data)
        except OSError:
            count = 0
        self.sent += data[:count]
        self.whole = count == len(data)

    def swallow(self) -> bool:
        """Take what is there; whether there was something."""
        data = b""
        with suppress(OSError):  # there is nothing, or nobody
            data = self.peer.sock.recv(1 << 20)
        self.received += data
        return bool(data)


class Session:
    """A relay between two peers, run as a session runs it: it closes the relay's sockets."""

    def __init__(self, reactor: Reactor, shared: Budget) -> None:
        client_far, self.client_near = tcp_pair()
        self.upstream_near, upstream_far = tcp_pair()
        self.client = Side(Peer(client_far, masked=True))
        self.upstream = Side(Peer(upstream_far, masked=False))
        small = build_frame(TEXT, b"ahead", masked=True)
        ahead = small * 3 + build_frame(BINARY, bytes(READ_BYTES), masked=True) + small  # more than is read at once
        self.client.sent += ahead
        self.scope = trio.CancelScope()
        self.relay = Relay(
            self.client_near,
            self.upstream_near,
            RawGreeting(),
            Terms(
                buffer=BUFFER,
                reactor=reactor,
                pace=Pace(ping_seconds=math.inf, idle_seconds=math.inf),
                write_timeout_seconds=5,
                control_timeout_seconds=0.01,
                close_timeout_seconds=0.01,
            ),
            budget=shared,
            from_client=ahead,
        )

    async def run(self) -> None:
        try:
            with self.scope:
                await self.relay.run()
        finally:
            leg.close(self.client_near)
            leg.close(self.upstream_near)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self.client_near, self.upstream_near, self.client.peer.sock, self.upstream.peer.sock):
            leg.close(sock)

    @property
    def is_whole(self) -> bool:
        """Neither side has left, or has been cut in the middle of a frame."""
        return self.client.whole and self.upstream.whole and self.relay.cause is None

    @property
    def has_passed_all(self) -> bool:
        return self.upstream.received == self.client.sent and self.client.received == self.upstream.sent

    def is_true(self) -> bool:
        """Nobody has received what was not sent to him, or missed something in between."""
        return all(
            _is_beginning(bytes(receiver.received), bytes(sender.sent))
            for sender, receiver in ((self.client, self.upstream), (self.upstream, self.client))
        )


def _is_beginning(received: bytes, sent: bytes) -> bool:
    same = next((at for at, pair in enumerate(zip(received, sent, strict=False)) if pair[0] != pair[1]), len(sent))
    return received[same : same + 1] in (b"", CLOSE_BYTE)


def act(session: Session, action: str, chance: random.Random) -> None:
    side = chance.choice([session.client, session.upstream])
    masked = side.peer.masked
    match action:
        case "say":
            side.send(build_frame(TEXT, b"x" * chance.randrange(300), masked=masked))
        case "say in fragments":
            side.send(build_frame(BINARY, b"first", fin=False, masked=masked))
            side.send(build_frame(PING, b"between", masked=masked))
            side.send(build_frame(CONTINUATION, b"last", masked=masked))
        case "begin to say":
            side.send(build_frame(TEXT, bytes(200), masked=masked), begins_with=chance.randrange(1, 12))
        case "say much":
            side.send(build_frame(BINARY, bytes(300_000), masked=masked))
        case "ping":
            side.send(build_frame(PING, b"?", masked=masked))
        case "urgent" if side.is_there and not side.was_urgent:
            side.was_urgent = True
            side.peer.sock.send(b"!", socket.MSG_OOB)  # is no part of the stream, until another one follows it
        case "swallow":
            side.swallow()
        case "half-close" if side.is_there:
            side.whole = False
            side.peer.end_stream()
        case "reset" if side.is_there:
            side.peer.reset()
        case "cancel":
            session.scope.cancel()
        case "end":
            session.relay.end(Cause.DRAINING)


@given(st.lists(st.tuples(st.integers(0, LIVE - 1), st.sampled_from(ACTIONS)), min_size=20, max_size=80), st.randoms())
@settings(max_examples=60, deadline=None)
@pytest.mark.timeout(100)
async def test_any_moment(actions: list[tuple[int, str]], chance: random.Random) -> None:
    """Nothing is lost, invented or mixed up, nothing stays with the reactor, and who comes next is served."""
    spender = Spender("robot", Direction.FROM_CLIENT, Rates(messages=RATE))
    shared = budget(Common.of(Rates()), spender, trio.current_time())
    with ExitStack() as stack:
        reactor = stack.enter_context(Reactor())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)

            def arrive() -> Session:
                session = stack.enter_context(Session(reactor, shared))
                nursery.start_soon(session.run)
                return session

            live = [arrive() for _ in range(LIVE)]
            everybody = live.copy()
            for number, action in actions:
                if action == "yield":
                    for _ in range(chance.randrange(4)):
                        await trio.lowlevel.checkpoint()
                with suppress(OSError):  # its socket is gone
                    act(live[number], action, chance)
                if action in {"reset", "cancel", "end"}:
                    live[number] = arrive()
                    everybody.append(live[number])

            with trio.fail_after(10):
                for session in live:
                    session.client.send(b"")
                    session.upstream.send(b"")
                    while session.is_whole and not session.has_passed_all:
                        session.client.swallow()
                        session.upstream.swallow()
                        await trio.sleep(0.001)
            for session in everybody:
                session.scope.cancel()
            await wait_all_tasks_blocked()
            assert not reactor._pumps
            for session in everybody:
                while session.client.swallow() or session.upstream.swallow():
                    pass
                assert session.relay.cause in EXPECTED
                assert session.is_true()
            nursery.cancel_scope.cancel()
