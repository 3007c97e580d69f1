"""`Relay` passes bytes as they came, ends for one cause, and tells both sides at a boundary of their stream."""

import contextlib
import itertools
import math
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.certificates import Authority, tls_pair
from tests.tcp import Peer, tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.limits.purses import Common, budget
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.protocols.base import Greeting, Opening
from trio_ws_gateway.protocols.mqtt import MqttAdapter, MqttGreeting, parse_mqtt_credentials
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.relay.answering import Authorise
from trio_ws_gateway.relay.intake import new_buffer
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.relay.relay import Reconnect, Reconnected, Relay, Terms
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.upstream.dial import tls_context
from trio_ws_gateway.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameScanner,
    build_frame,
    close_frame,
)
from trio_ws_gateway.wire.mqtt import Connect, Property, Will, disconnect

TERMS = Terms(
    buffer=new_buffer(),
    reactor=None,
    pace=Pace(ping_seconds=math.inf, idle_seconds=math.inf),
    write_timeout_seconds=5,
    control_timeout_seconds=0.15,
    close_timeout_seconds=0.15,
)


@frozen
class Ends:
    """A relay and the peers at both of its ends."""

    client: Peer
    upstream: Peer
    relay: Relay
    done: trio.Event
    cancel: Callable[[], None]


driven_by_reactor = False
tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None  # toward the upstream: the relay's context, the upstream's


@pytest.fixture(scope="module")
def tls_contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    return tls_context(authority.ca_file), authority.server("localhost")


@pytest.fixture(params=["reactor", "wait_readable", "tls"], autouse=True)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All holds whether a reactor drives the pumps or they wait for themselves, and with an upstream behind TLS."""
    monkeypatch.setattr("tests.relay.test_relay.driven_by_reactor", request.param != "wait_readable")
    if request.param == "tls":
        monkeypatch.setattr("tests.relay.test_relay.tls", request.getfixturevalue("tls_contexts"))


@asynccontextmanager
async def relaying(
    terms: Terms = TERMS,
    greeting: Greeting | None = None,
    *,
    budget: Budget | None = None,
    budget_to_client: Budget | None = None,
    opening: bytes = b"",
    from_client: bytes = b"",
    from_upstream: bytes = b"",
    compressed: bool = False,
    token_ends_at: float = math.inf,
    too_old_at: float = math.inf,
    authorise: Authorise | None = None,
    prepare: Callable[[Relay], None] = lambda relay: None,
    reconnect: Reconnect | None = None,
) -> AsyncIterator[Ends]:
    """A running relay. Its sockets are closed when it ends, as a session does it."""
    client_far, client_near = tcp_pair()
    upstream_near, upstream_far = tcp_pair() if tls is None else await tls_pair(*tls, "localhost")
    stack = AsyncExitStack()
    reactor = stack.enter_context(Reactor()) if driven_by_reactor else None
    relay = Relay(
        client_near,
        upstream_near,
        greeting or RawGreeting(),
        evolve(terms, reactor=reactor),
        budget=budget,
        budget_to_client=budget_to_client,
        opening=opening,
        from_client=from_client,
        from_upstream=from_upstream,
        compressed=compressed,
        token_ends_at=token_ends_at,
        too_old_at=too_old_at,
        authorise=authorise,
    )
    prepare(relay)
    done = trio.Event()

    async def run() -> None:
        try:
            await relay.run(reconnect)
        finally:
            leg.close(client_near)
            leg.close(upstream_near)
            done.set()

    async with stack:
        client = stack.enter_context(Peer(client_far, masked=True))
        upstream = stack.enter_context(Peer(upstream_far, masked=False))
        nursery = await stack.enter_async_context(trio.open_nursery())
        if reactor is not None:
            nursery.start_soon(reactor.run)
        nursery.start_soon(run)
        try:
            yield Ends(client, upstream, relay, done, nursery.cancel_scope.cancel)
        finally:
            with trio.move_on_after(5):
                await done.wait()
            nursery.cancel_scope.cancel()
        assert done.is_set(), "the relay did not end"


def mqtt(level: int, *, will: bool = False, method: bool = False) -> MqttGreeting:
    """The greeting of a real CONNECT; with ``method`` it names the one by which tokens are renewed."""
    connect = Connect(
        level=level,
        client_id="c",
        will=Will(topic="gone", payload=b"bye") if will else None,
        properties=((Property.AUTHENTICATION_METHOD, "JWT"),) if method else (),
    )
    adapter = MqttAdapter(credentials=parse_mqtt_credentials("pass"), max_connect_bytes=1000, auth_method="JWT")
    greeting = adapter.recognise(Opening(payload=connect.to_bytes(), text=False, complete=True, offered=("mqtt",)))
    assert isinstance(greeting, MqttGreeting)
    return greeting


CONNACK_5 = b"\x20\x03\x00\x00\x00"
CONNACK_3 = b"\x20\x02\x00\x00"


class TestPassing:
    async def test_bytes_as_they_came(self) -> None:
        """Frames pass both ways byte for byte, the client's masks included, and are counted."""
        async with relaying() as ends:
            sent = build_frame(TEXT, b"hello", masked=True) + build_frame(PING, b"?", masked=True)
            await ends.client.send(sent)
            assert await ends.upstream.read(len(sent)) == sent
            answer = build_frame(BINARY, bytes(70_000), masked=False) + build_frame(PONG, b"?", masked=False)
            await ends.upstream.send(answer)
            assert await ends.client.read(len(answer)) == answer
            assert ends.relay.counts == {
                "bytes_from_client": len(sent),
                "bytes_from_upstream": len(answer),
                "messages_from_client": 1,
                "messages_from_upstream": 1,
            }
            ends.client.end_stream()

    async def test_openings(self) -> None:
        """What was read before the relay began passes first, and once."""
        opening = build_frame(TEXT, bytes(600_000), masked=True)
        greeting = build_frame(TEXT, b"first", masked=False)
        async with relaying(from_client=opening, from_upstream=greeting) as ends:
            assert await ends.client.hear() == (TEXT, True, b"first")
            assert await ends.upstream.hear() == (TEXT, True, bytes(600_000))
            assert ends.relay.to_upstream.messages == 1
            ends.client.end_stream()

    async def test_the_end_in_first_words_that_stall(self) -> None:
        """What comes behind first words that are only half sent when the session ends is never put into them."""
        opening = build_frame(BINARY, b"A" * 9_000_000, masked=True)
        terms = evolve(TERMS, control_timeout_seconds=0.05)
        async with relaying(terms, opening=opening, from_client=build_frame(BINARY, b"B" * 100, masked=True)) as ends:
            await ends.client.say(BINARY, b"B" * 100_000)
            await wait_all_tasks_blocked()
            assert ends.relay.to_upstream.outlet.held
            ends.relay.end(Cause.DRAINING)
            heard = await ends.upstream.read_to_end()
            assert opening.startswith(heard[: len(opening)])
            assert heard[len(opening) :][:1] in {b"", b"\x88"}  # at the most a Close
            ends.client.end_stream()

    async def test_byte_by_byte(self) -> None:
        """A frame that trickles in byte by byte arrives whole."""
        async with relaying() as ends:
            for byte in build_frame(TEXT, b"slow", masked=True):
                await ends.client.send(bytes([byte]))
                await wait_all_tasks_blocked()
            assert await ends.upstream.hear() == (TEXT, True, b"slow")
            ends.client.end_stream()

    async def test_backpressure(self) -> None:
        """A peer that does not read stops the other one, and nothing is lost when it reads again."""
        megabyte = build_frame(BINARY, bytes(1 << 20), masked=True)
        sent = 0
        async with relaying() as ends:
            with trio.move_on_after(0.3):
                while True:
                    await ends.client.send(megabyte)
                    sent += 1
            assert ends.relay.to_upstream.outlet.held
            assert ends.relay.to_upstream.bytes_read < (sent + 1) * len(megabyte)
            assert len(await ends.upstream.read(sent * len(megabyte))) == sent * len(megabyte)
            ends.client.end_stream()

    async def test_our_words_and_backpressure(self) -> None:
        """A frame of ours that a peer does not take whole is finished when it reads, whoever was waiting for what."""
        async with relaying() as ends:
            await wait_all_tasks_blocked()
            ends.relay.to_client.insert(build_frame(BINARY, bytes(20_000_000), masked=False))
            ends.relay.client.ping()
            assert ends.relay.to_client.outlet.held
            await wait_all_tasks_blocked()
            assert await ends.client.hear() == (BINARY, True, bytes(20_000_000))
            assert (await ends.client.hear())[0] == PING
            await ends.upstream.say(TEXT, b"theirs")
            assert await ends.client.hear() == (TEXT, True, b"theirs")
            ends.client.end_stream()

    async def test_compressed(self) -> None:
        """RSV1 passes where permessage-deflate was agreed on."""
        async with relaying(compressed=True) as ends:
            await ends.upstream.send(b"\xc1\x01a")
            assert await ends.client.read(3) == b"\xc1\x01a"
            ends.client.end_stream()

    @given(
        sent=st.lists(st.tuples(st.sampled_from([TEXT, PING, PONG]), st.binary(max_size=125)), max_size=12),
        sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
        pings=st.sets(st.integers(0, 12)),
    )
    @settings(max_examples=60, deadline=None)
    async def test_our_pings_between_any_reads(
        self, sent: list[tuple[int, bytes]], sizes: list[int], pings: set[int]
    ) -> None:
        """Wherever our pings and their answers fall, everybody else's bytes arrive as they were sent."""
        wire = b"".join(build_frame(opcode, payload, masked=False) for opcode, payload in sent)
        async with relaying() as ends:
            heard: list[tuple[int, bytes]] = []
            rest = wire
            for number, size in enumerate(itertools.cycle(sizes)):
                if number in pings:
                    ends.relay.client.ping()
                if not rest:
                    break
                await ends.upstream.send(rest[:size])
                rest = rest[size:]
                await wait_all_tasks_blocked()
            await ends.upstream.say_close(1000)
            while (frame := await ends.client.hear())[0] != CLOSE:
                if frame[2] == ends.relay.to_upstream.scanner.own_ping:
                    await ends.client.say(PONG, frame[2])
                else:
                    heard.append((frame[0], frame[2]))
            await ends.client.say_close(1000)
            assert heard == sent
            assert (await ends.upstream.hear())[0] == CLOSE


class TestEnding:
    async def test_closed_by_client(self) -> None:
        """A Close passes, the answer passes back, and both connections end."""
        async with relaying() as ends:
            await ends.client.say_close(3000, "enough")
            assert await ends.upstream.hear_close() == (3000, "enough")
            await ends.upstream.say(TEXT, b"last words")
            await ends.upstream.say_close(3000)
            assert await ends.client.hear() == (TEXT, True, b"last words")
            assert await ends.client.hear_close() == (3000, "")
            assert await ends.client.read_to_end() == b""
            assert await ends.upstream.read_to_end() == b""
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_closed_by_upstream(self) -> None:
        """It is the same the other way round; what stands behind a Close is not passed."""
        async with relaying() as ends:
            await ends.upstream.send(close_frame(1001, masked=False) + b"garbage")
            assert await ends.client.hear_close() == (1001, "")
            await ends.client.say_close(1001)
            assert await ends.upstream.hear_close() == (1001, "")
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.CLOSED_BY_UPSTREAM

    @pytest.mark.parametrize("wire", [b"\x88\x80\x00\x00\x00\x00", build_frame(8, b"\x03", masked=True)], ids=range(2))
    async def test_any_close_passes(self, wire: bytes) -> None:
        """A Close passes as bytes, whatever it holds."""
        async with relaying() as ends:
            await ends.client.send(wire)
            assert await ends.upstream.read_to_end() == wire
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_close_is_not_answered(self) -> None:
        """The other side has the close timeout to answer; then both are cut."""
        async with relaying() as ends:
            await ends.client.say_close()
            assert await ends.upstream.hear_close() == (1000, "")
            assert await ends.upstream.read_to_end() == b""
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_close_then_end_of_stream(self) -> None:
        """Where an upstream ends its stream instead of answering a Close, the Close is answered in its place."""
        async with relaying(evolve(TERMS, close_timeout_seconds=60)) as ends:
            await ends.client.say_close()
            await ends.upstream.hear_close()
            ends.upstream.end_stream()
            assert await ends.client.hear_close() == (1000, "")
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_client_lost(self) -> None:
        """Data and end of stream in one: the data is flushed, then the upstream's connection is dropped."""
        async with relaying() as ends:
            await ends.client.say(TEXT, b"last")
            ends.client.end_stream()
            assert await ends.upstream.hear() == (TEXT, True, b"last")
            assert await ends.upstream.read_to_end() == b""
        assert ends.relay.cause is Cause.CLIENT_LOST

    async def test_client_reset(self) -> None:
        """A reset is the end of a stream like any other."""
        async with relaying() as ends:
            ends.client.reset()
            assert await ends.upstream.read_to_end() == b""
        assert ends.relay.cause is Cause.CLIENT_LOST

    async def test_upstream_lost(self) -> None:
        """Data and end of stream in one: the client gets the data, then 1011."""
        async with relaying() as ends:
            await ends.upstream.say(TEXT, b"last")
            ends.upstream.end_stream()
            assert await ends.client.hear() == (TEXT, True, b"last")
            assert await ends.client.hear_close() == (1011, "Upstream connection lost")
            await ends.client.say_close(1011)
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.UPSTREAM_LOST

    async def test_upstream_lost_inside_a_frame(self) -> None:
        """A Close of ours never stands inside a frame: the connection is cut without one."""
        async with relaying() as ends:
            half = build_frame(TEXT, bytes(100), masked=False)[:50]
            await ends.upstream.send(half)
            ends.upstream.end_stream()
            assert await ends.client.read_to_end() == half
        assert ends.relay.cause is Cause.UPSTREAM_LOST

    async def test_upstream_lost_inside_a_header(self) -> None:
        """A header that is cut by the end of the stream does not pass, so the Close does."""
        async with relaying() as ends:
            await ends.upstream.send(b"\x82")
            ends.upstream.end_stream()
            assert await ends.client.hear_close() == (1011, "Upstream connection lost")
            ends.client.end_stream()

    async def test_last_words_of_a_lost_upstream(self) -> None:
        """A Close that is on its way passes, even where nothing can be written to its sender any more."""
        async with relaying(from_client=build_frame(TEXT, bytes(1000), masked=True) * 100) as ends:
            ends.upstream.sock.send(close_frame(4000, "why", masked=False))
            leg.close(ends.upstream.sock)
            assert await ends.client.hear_close() == (4000, "why")
            ends.client.end_stream()
        assert ends.relay.cause is Cause.CLOSED_BY_UPSTREAM

    async def test_last_words_of_a_lost_client(self) -> None:
        """The same for a client."""
        async with relaying(from_upstream=build_frame(TEXT, bytes(1000), masked=False) * 100) as ends:
            ends.client.sock.send(close_frame(4000, "why", masked=True))
            leg.close(ends.client.sock)
            assert await ends.upstream.hear_close() == (4000, "why")
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_client_takes_nothing(self) -> None:
        """A client that takes nothing for the write timeout is cut; its upstream hears 1001."""
        terms = evolve(TERMS, write_timeout_seconds=0.2, close_timeout_seconds=5)  # to hear all of it out
        async with relaying(terms) as ends:
            await ends.upstream.send(build_frame(BINARY, bytes(30_000_000), masked=False))
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.TOO_SLOW

    async def test_upstream_takes_nothing(self) -> None:
        """An upstream that takes nothing is lost: the client hears 1011."""
        terms = evolve(TERMS, write_timeout_seconds=0.2)
        async with relaying(terms) as ends, trio.open_nursery() as nursery:

            async def flood() -> None:
                with contextlib.suppress(OSError):
                    await ends.client.send(build_frame(BINARY, bytes(30_000_000), masked=True))

            nursery.start_soon(flood)
            assert await ends.client.hear_close() == (1011, "Upstream connection lost")
            nursery.cancel_scope.cancel()
            ends.client.end_stream()
        assert ends.relay.cause is Cause.UPSTREAM_LOST

    async def test_a_fault(self) -> None:
        """What a pump raises ends its session only: both sides are told, and the fault is kept for the log."""

        class Faulty:
            at_boundary = True
            welcomed = True
            packets = 0

            def feed(self, *_: object) -> int:
                raise ZeroDivisionError("a bug")

        def prepare(relay: Relay) -> None:
            relay.to_upstream.scanner.walker = Faulty()

        async with relaying(prepare=prepare) as ends:
            await ends.client.say(TEXT, b"trigger")
            assert await ends.client.hear_close() == (1011, "Internal error")
            ends.client.end_stream()
            assert (await ends.upstream.hear_close())[0] == 1001
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.FAULT
        assert "a bug" in str(ends.relay.fault.exceptions if isinstance(ends.relay.fault, ExceptionGroup) else "")

    async def test_cancelled_from_outside(self) -> None:
        """A cancelled relay tells nobody and leaves at once, whatever it waits for."""
        async with relaying(evolve(TERMS, write_timeout_seconds=60)) as ends:
            with trio.move_on_after(0.3):
                await ends.upstream.send(build_frame(BINARY, bytes(30_000_000), masked=False))
            ends.cancel()
        assert ends.relay.cause is None


class TestIllegal:
    async def test_from_client(self) -> None:
        """A client's illegal frame is 1002 for both sides; what came before it has passed, it has not."""
        async with relaying() as ends:
            good = build_frame(TEXT, b"good", masked=True)
            await ends.client.send(good + build_frame(TEXT, b"bad", masked=False))
            assert await ends.client.hear_close() == (1002, "Protocol error")
            ends.client.end_stream()
            assert await ends.upstream.read(len(good)) == good
            assert (await ends.upstream.hear_close())[0] == 1002
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.ILLEGAL_FRAME
        assert ends.relay.detail == "from the client: a frame that is not masked"

    async def test_from_upstream(self) -> None:
        """An upstream's too."""
        async with relaying() as ends:
            await ends.upstream.send(b"\x83\x00")
            assert await ends.client.hear_close() == (1002, "Protocol error")
            ends.client.end_stream()
            assert (await ends.upstream.hear_close())[0] == 1002
            ends.upstream.end_stream()
        assert ends.relay.detail == "from the upstream: reserved opcode 3"

    async def test_who_floods_on_still_hears_why(self) -> None:
        """A sender that was refused and sends on gets the Close, not a reset in its place."""
        async with relaying(evolve(TERMS, close_timeout_seconds=2)) as ends, trio.open_nursery() as nursery:

            async def flood() -> None:
                with contextlib.suppress(OSError):
                    for _ in range(100):
                        await ends.client.send(b"\x83\x00" + bytes(10_000))
                    ends.client.end_stream()

            nursery.start_soon(flood)
            assert await ends.client.hear_close() == (1002, "Protocol error")
            ends.upstream.end_stream()

    async def test_message_too_big(self) -> None:
        """The sender of a message that is too big hears 1009, the peer 1001, and the message is never begun."""
        async with relaying(evolve(TERMS, max_message_bytes=10)) as ends:
            await ends.client.say(TEXT, bytes(11))
            assert await ends.client.hear_close() == (1009, "Message too big")
            ends.client.end_stream()
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.MESSAGE_TOO_BIG

    async def test_too_many_fragments(self) -> None:
        """Neither may a message come in more fragments than are allowed; the one too many is not begun."""
        async with relaying(evolve(TERMS, max_fragments=3)) as ends:
            for number in range(4):
                await ends.client.say(CONTINUATION if number else TEXT, b"f", fin=False)
            for number in range(3):
                assert await ends.upstream.hear() == (CONTINUATION if number else TEXT, False, b"f")
            assert await ends.client.hear_close() == (1009, "Message too big")
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert (ends.relay.cause, ends.relay.detail) == (Cause.MESSAGE_TOO_BIG, "a message of 4 fragments")

    async def test_upstream_message_too_big(self) -> None:
        """The same the other way round, with a limit of its own."""
        async with relaying(evolve(TERMS, max_message_bytes=1000, max_message_bytes_to_client=10)) as ends:
            await ends.upstream.say(TEXT, bytes(11))
            assert await ends.client.hear_close() == (1001, "Upstream message too big")
            ends.client.end_stream()
            assert (await ends.upstream.hear_close())[0] == 1009
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.UPSTREAM_MESSAGE_TOO_BIG


def made(
    *,
    messages: Rate | None = None,
    bytes: Rate | None = None,
    packets: Rate | None = None,
    direction: Direction = Direction.FROM_CLIENT,
) -> Budget:
    """A full budget of those rates."""
    spender = Spender("robot", direction, Rates(messages=messages, bytes=bytes, packets=packets))
    return budget(Common.of(Rates()), spender, trio.current_time())


def spend_message(budget: Budget) -> None:
    scanner = FrameScanner(masked=True)
    budget.open(scanner, trio.current_time())
    scanner.messages += 1
    budget.settle(scanner)


class TestBudget:
    """The clock of these budgets hardly refills: what counts is what they begin with."""

    @staticmethod
    def budget(burst: int) -> Budget:
        return made(messages=Rate(0.001, burst))

    async def test_exactly_what_is_granted(self) -> None:
        """What the budget grants passes to the last message, the next is never begun, and the client hears why."""
        async with relaying(budget=self.budget(5)) as ends:
            await ends.client.send(build_frame(TEXT, b"m", masked=True) * 7)
            for _ in range(5):
                assert await ends.upstream.hear() == (TEXT, True, b"m")
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.client.end_stream()
        assert ends.relay.cause is Cause.RATE_LIMITED

    async def test_far_over_the_limit(self) -> None:
        """A flood ends as what it is, with one Close, however much stands behind the refused frame."""
        async with relaying(budget=self.budget(5)) as ends:
            flood = build_frame(TEXT, bytes(100), masked=True) * 2000
            await ends.client.send(flood)
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.upstream.end_stream()
            ends.client.end_stream()
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.RATE_LIMITED
        assert ends.relay.fault is None

    async def test_opening_is_free(self) -> None:
        """The message that carried the token draws on nothing; what was sent ahead behind it does."""
        message = build_frame(TEXT, b"m", masked=True)
        async with relaying(budget=self.budget(1), opening=message * 3, from_client=message * 2) as ends:
            for _ in range(4):
                assert await ends.upstream.hear() == (TEXT, True, b"m")
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
            ends.client.end_stream()
        assert ends.relay.cause is Cause.RATE_LIMITED

    async def test_shared_by_sessions(self) -> None:
        """Two sessions of one identity share one budget."""
        budget = self.budget(3)
        async with relaying(budget=budget) as one, relaying(budget=budget) as other:
            for _ in range(2):
                await one.client.say(TEXT, b"m")
                await one.upstream.hear()
            await other.client.say(TEXT, b"m")
            await other.upstream.hear()
            await other.client.say(TEXT, b"m")
            assert await other.client.hear_close() == (1008, "Rate limit exceeded")
            for peer in (one.client, one.upstream, other.client, other.upstream):
                peer.end_stream()

    @pytest.mark.parametrize("opcode", [PING, PONG, CONTINUATION])
    async def test_no_way_around(self, opcode: int) -> None:
        """Control frames and further fragments have a budget too, ten times as many."""
        async with relaying(budget=self.budget(1)) as ends:
            await ends.client.say(TEXT, b"", fin=False)
            await ends.upstream.hear()
            for _ in range(10):
                await ends.client.say(opcode, b"", fin=opcode != CONTINUATION)
                await ends.upstream.hear()
            await ends.client.say(opcode, b"", fin=opcode != CONTINUATION)
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.client.end_stream()
            ends.upstream.end_stream()

    async def test_a_pause_loses_nothing(self) -> None:
        """Beyond a limit that pauses the client is not read until tokens return; then everything passes, in order."""
        sent = [b"%d" % number for number in range(30)]
        began_at = trio.current_time()
        async with relaying(budget=made(messages=Rate(200, 5, pauses=True))) as ends:
            await ends.client.send(b"".join(build_frame(TEXT, each, masked=True) for each in sent))
            for each in sent:
                assert await ends.upstream.hear() == (TEXT, True, each)
            assert trio.current_time() - began_at >= 25 / 200
            await ends.client.say(TEXT, b"after")
            assert await ends.upstream.hear() == (TEXT, True, b"after")
            ends.client.end_stream()
        assert ends.relay.cause is Cause.CLIENT_LOST

    async def test_a_pause_in_what_was_sent_ahead(self) -> None:
        """The same holds for what the client had sent before there was a relay, however much it is."""
        message = build_frame(BINARY, bytes(1000), masked=True)
        async with relaying(budget=made(messages=Rate(1000, 5, pauses=True)), from_client=message * 60) as ends:
            await ends.client.send(message * 5)
            for _ in range(65):
                assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
            ends.client.end_stream()

    async def test_who_is_paused_is_not_idle(self) -> None:
        """A client that is not read because of its limit is not silent."""
        pace = Pace(ping_seconds=math.inf, idle_seconds=0.2)
        terms = evolve(TERMS, pace=pace)
        async with relaying(terms, budget=made(messages=Rate(3, 1, pauses=True))) as ends:
            await ends.client.send(build_frame(TEXT, b"m", masked=True) * 2)
            assert await ends.upstream.hear() == (TEXT, True, b"m")
            async with trio.open_nursery() as nursery:

                async def stay_alive() -> None:
                    while True:
                        await ends.upstream.say(TEXT, b"alive")
                        await trio.sleep(0.05)

                nursery.start_soon(stay_alive)
                assert await ends.upstream.hear() == (TEXT, True, b"m")
                nursery.cancel_scope.cancel()
            ends.client.end_stream()
        assert ends.relay.cause is Cause.CLIENT_LOST

    async def test_our_words_during_a_pause(self) -> None:
        """A ping of ours reaches the upstream of a client that is paused, and so does the end of the session."""
        async with relaying(budget=made(messages=Rate(0.001, 1, pauses=True))) as ends:
            await ends.client.send(build_frame(TEXT, b"m", masked=True) * 300)
            assert await ends.upstream.hear() == (TEXT, True, b"m")
            await wait_all_tasks_blocked()
            ends.relay.upstream.ping()
            assert (await ends.upstream.hear())[0] == PING
            ends.relay.end(Cause.DRAINING)
            assert (await ends.upstream.hear_close())[0] == 1001
            assert (await ends.client.hear_close())[0] == 1012
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert ends.relay.fault is None

    @pytest.mark.parametrize("pauses", [False, True])
    async def test_bytes(self, pauses: bool) -> None:
        """Bytes are limited too: no more pass than burst and rate allow, and then the client waits, or is refused."""
        message = build_frame(BINARY, bytes(1000), masked=True)
        rate = Rate(50_000 if pauses else 0.001, 3 * len(message), pauses=pauses)
        began_at = trio.current_time()
        async with relaying(budget=made(bytes=rate)) as ends:
            for _ in range(3):
                await ends.client.send(message)
                assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
            if pauses:
                await ends.client.send(message * 9)
                for _ in range(9):
                    assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
                assert trio.current_time() - began_at >= 9 * len(message) / 50_000
            else:
                await ends.client.say(TEXT, b"")
                assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
                assert (await ends.upstream.hear_close())[0] == 1001
                ends.upstream.end_stream()
            ends.client.end_stream()
        assert ends.relay.cause is (Cause.CLIENT_LOST if pauses else Cause.RATE_LIMITED)

    async def test_bytes_up_to_the_last_one(self) -> None:
        """Where bytes are refused, those that were granted pass, however many more came with them."""
        message = build_frame(BINARY, bytes(1000), masked=True)
        async with relaying(budget=made(bytes=Rate(0.001, 9 * len(message)))) as ends:
            await ends.client.send(message * 10)
            for _ in range(9):
                assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            assert (await ends.upstream.hear_close())[0] == 1001
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert (ends.relay.cause, ends.relay.detail) == (Cause.RATE_LIMITED, "bytes")

    async def test_bytes_sent_ahead(self) -> None:
        """What was sent before there was a relay draws on the bytes too; only the message with the token is free."""
        message = build_frame(BINARY, bytes(1000), masked=True)
        budget = made(bytes=Rate(0.001, 2 * len(message)))
        async with relaying(budget=budget, opening=message * 3, from_client=message * 3) as ends:
            for _ in range(5):
                assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.client.end_stream()
            ends.upstream.end_stream()

    async def test_one_limit_pauses_and_another_closes(self) -> None:
        """Who waits for bytes is not blamed for messages, of which there is none left but none wanted either."""
        message = build_frame(BINARY, bytes(1000), masked=True)
        budget = made(messages=Rate(0.001, 5), bytes=Rate(100_000, 2000, pauses=True))
        async with relaying(budget=budget) as ends:
            await ends.client.send(message * 5)
            for _ in range(5):
                assert await ends.upstream.hear() == (BINARY, True, bytes(1000))
            await ends.client.say(TEXT, b"one too many")
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert (ends.relay.cause, ends.relay.detail) == (Cause.RATE_LIMITED, "messages")

    @pytest.mark.parametrize("behind", [b"", build_frame(BINARY, b"\xc0\x00", masked=True) * 20])
    async def test_a_goodbye_during_a_pause(self, behind: bytes) -> None:
        """A client that is paused between two halves of a packet still leaves its broker properly: the other half is
        there, and nothing that stands behind it passes."""
        budget = made(messages=Rate(0.001, 1, pauses=True))
        async with relaying(greeting=mqtt(4, will=True), budget=budget) as ends:
            halves = [build_frame(BINARY, half, masked=True) for half in (b"\xc0", b"\x00")]
            await ends.client.send(b"".join(halves) + behind)
            assert await ends.upstream.hear() == (BINARY, True, b"\xc0")
            await wait_all_tasks_blocked()
            ends.relay.end(Cause.DRAINING)
            assert await ends.upstream.hear() == (BINARY, True, b"\x00")
            assert await ends.upstream.hear() == (BINARY, True, b"\xe0\x00")
            assert (await ends.upstream.hear_close())[0] == 1001
            ends.client.end_stream()
            ends.upstream.end_stream()

    @pytest.mark.parametrize("pauses", [False, True])
    async def test_to_the_client(self, pauses: bool) -> None:
        """What an upstream sends has limits of its own: it is slowed down, or the session ends."""
        rate = Rate(100 if pauses else 0.001, 2, pauses=pauses)
        async with relaying(budget_to_client=made(messages=rate, direction=Direction.TO_CLIENT)) as ends:
            await ends.upstream.send(build_frame(TEXT, b"m", masked=False) * 6)
            for _ in range(6 if pauses else 2):
                assert await ends.client.hear() == (TEXT, True, b"m")
            if not pauses:
                assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
                ends.upstream.end_stream()
            ends.client.end_stream()
        assert ends.relay.cause is (Cause.CLIENT_LOST if pauses else Cause.RATE_LIMITED)

    async def test_everybody_together(self) -> None:
        """What all clients share is spent by any of them, whatever each has left of its own."""
        common = Common.of(Rates(messages=Rate(0.001, 3)))

        def of(identity: str) -> Budget:
            spender = Spender(identity, Direction.FROM_CLIENT, Rates(messages=Rate(1000, 1000)))
            return budget(common, spender, trio.current_time())

        async with relaying(budget=of("one")) as one, relaying(budget=of("other")) as other:
            for _ in range(3):
                await one.client.say(TEXT, b"m")
                await one.upstream.hear()
            await other.client.say(TEXT, b"m")
            assert await other.client.hear_close() == (1008, "Rate limit exceeded")
            for peer in (one.client, other.client, other.upstream):
                peer.end_stream()

    async def test_mqtt_5_hears_it_first(self) -> None:
        """An MQTT 5 client hears DISCONNECT 0x96."""
        async with relaying(greeting=mqtt(5), budget=self.budget(1)) as ends:
            await ends.upstream.say(BINARY, CONNACK_5)
            await ends.client.hear()
            await ends.client.send(build_frame(BINARY, b"\xc0\x00", masked=True) * 2)
            _, _, packet = await ends.client.hear()
            assert (packet[0], packet[2]) == (0xE0, 0x96)
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
            ends.client.end_stream()
            ends.upstream.end_stream()

    @given(
        burst=st.integers(0, 8),
        fragments=st.lists(st.integers(1, 3), max_size=10),
        sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    )
    @settings(max_examples=60, deadline=None)
    async def test_whatever_the_reads(self, burst: int, fragments: list[int], sizes: list[int]) -> None:
        """However the messages come, so many pass as are granted, each whole."""
        wire = b"".join(
            build_frame(TEXT if number == 0 else CONTINUATION, b"abc", fin=number == count - 1, masked=True)
            for count in fragments
            for number in range(count)
        )
        budget = self.budget(max(1, burst))
        if not burst:
            spend_message(budget)
        async with relaying(budget=budget) as ends:
            rest = wire
            for size in itertools.cycle(sizes):
                if not rest:
                    break
                with contextlib.suppress(OSError):
                    await ends.client.send(rest[:size])
                rest = rest[size:]
                await wait_all_tasks_blocked()
            ends.client.end_stream()
            frames = []
            with contextlib.suppress(EOFError):
                while (frame := await ends.upstream.hear())[0] != CLOSE:
                    frames.append(frame)
            assert sum(opcode == TEXT for opcode, _, _ in frames) == min(burst, len(fragments))
            assert not frames or frames[-1][1]
            ends.upstream.end_stream()


class TestGoodbye:
    async def test_from_outside(self) -> None:
        """`end` tells both sides and waits for their answers."""
        async with relaying(evolve(TERMS, close_timeout_seconds=5)) as ends:
            ends.relay.end(Cause.DRAINING)
            assert await ends.client.hear_close() == (1012, "Service restart")
            assert await ends.upstream.hear_close() == (1001, "")
            assert not ends.done.is_set()
            await ends.client.say(TEXT, b"not heard any more")
            await ends.client.say_close(1012)
            await ends.upstream.say_close(1001)
            assert await ends.client.read_to_end() == b""
            assert await ends.upstream.read_to_end() == b""
        assert ends.relay.cause is Cause.DRAINING

    async def test_before_it_runs(self) -> None:
        """A relay that is ended before it runs says goodbye all the same."""
        async with relaying(prepare=lambda relay: relay.end(Cause.DRAINING)) as ends:
            assert await ends.client.hear_close() == (1012, "Service restart")
            ends.client.end_stream()
            ends.upstream.end_stream()

    async def test_waits_for_the_end_of_a_frame(self) -> None:
        """Inside a frame the goodbye waits for its end, and forwards not a byte more."""
        frame = build_frame(BINARY, bytes(100), masked=False)
        async with relaying() as ends:
            await ends.upstream.send(frame[:50])
            assert await ends.client.read(50) == frame[:50]
            ends.relay.end(Cause.IDLE)
            await wait_all_tasks_blocked(0.01)
            await ends.upstream.send(frame[50:] + frame)
            assert await ends.client.read(52) == frame[50:]
            assert await ends.client.hear_close() == (1001, "Idle timeout")
            ends.client.end_stream()
            ends.upstream.end_stream()

    async def test_waits_in_vain(self) -> None:
        """If the frame does not end in time, the connection is cut without a Close."""
        frame = build_frame(BINARY, bytes(100), masked=False)
        async with relaying() as ends:
            await ends.upstream.send(frame[:50])
            assert await ends.client.read(50) == frame[:50]
            ends.relay.end(Cause.IDLE)
            assert await ends.client.read_to_end() == b""

    async def test_first_cause_counts(self) -> None:
        """Whatever comes later does not change why it ended."""
        async with relaying() as ends:
            ends.relay.end(Cause.IDLE, "client")
            ends.relay.end(Cause.DRAINING)
            assert (await ends.client.hear_close())[0] == 1001
        assert ends.relay.cause is Cause.IDLE
        assert ends.relay.detail == "client"


class TestFloods:
    """Who floods on while the gateway takes its leave is heard out for as long as agreed, and stops nobody else."""

    @pytest.mark.parametrize("cause", [Cause.DRAINING, Cause.ILLEGAL_FRAME])
    async def test_goodbye(self, cause: Cause) -> None:
        terms = evolve(TERMS, close_timeout_seconds=0.3)
        async with relaying(terms) as ends, trio.open_nursery() as nursery:
            stop = threading.Event()
            thread = threading.Thread(target=flood, args=(ends.client.sock, stop))
            try:
                thread.start()
                began_at = trio.current_time()
                ends.relay.end(cause)
                beats = 0
                while not ends.done.is_set():
                    await trio.sleep(0.01)
                    beats += 1
                assert trio.current_time() - began_at < 3
                assert beats > 3  # thirty where nobody else wants the processor
            finally:
                stop.set()
                await trio.to_thread.run_sync(thread.join)
            nursery.cancel_scope.cancel()


def flood(sock: socket.socket, stop: threading.Event) -> None:
    frames = build_frame(PONG, b"", masked=True) * 10_000
    with contextlib.suppress(OSError):
        while not stop.is_set():
            with contextlib.suppress(BlockingIOError):
                sock.send(frames)


class TestMqtt:
    @pytest.mark.parametrize(("level", "connack"), [(3, b"\x20\x02\x00\x03"), (4, b"\x20\x02\x00\x03")])
    async def test_connack_first(self, level: int, connack: bytes) -> None:
        """A client that still waits for its CONNACK gets one, then the Close."""
        async with relaying(greeting=mqtt(level)) as ends:
            ends.upstream.end_stream()
            assert await ends.client.hear() == (BINARY, True, connack)
            assert await ends.client.hear_close() == (1011, "Upstream connection lost")
            ends.client.end_stream()

    async def test_connack_first_5(self) -> None:
        """In MQTT 5 too, with its own code."""
        async with relaying(greeting=mqtt(5)) as ends:
            ends.upstream.end_stream()
            opcode, _, packet = await ends.client.hear()
            assert (opcode, packet[0], packet[3]) == (BINARY, 0x20, 0x88)
            assert (await ends.client.hear_close())[0] == 1011
            ends.client.end_stream()

    async def test_no_disconnect_before_mqtt_5(self) -> None:
        """After its CONNACK a 3.1.1 client hears the Close only: its protocol has no more to say."""
        async with relaying(greeting=mqtt(4)) as ends:
            await ends.upstream.say(BINARY, CONNACK_3)
            await ends.client.hear()
            ends.relay.end(Cause.DRAINING)
            assert await ends.client.hear_close() == (1012, "Service restart")
            ends.client.end_stream()

    async def test_disconnect(self) -> None:
        """An MQTT 5 client in mid-session hears a DISCONNECT first."""
        async with relaying(greeting=mqtt(5)) as ends:
            await ends.upstream.say(BINARY, CONNACK_5)
            await ends.client.hear()
            ends.relay.end(Cause.DRAINING)
            opcode, _, packet = await ends.client.hear()
            assert (opcode, packet[0], packet[2]) == (BINARY, 0xE0, 0x8B)
            assert await ends.client.hear_close() == (1012, "Service restart")
            ends.client.end_stream()

    async def test_disconnect_waits_for_the_packet(self) -> None:
        """It waits for the end of the message and of the packet, which may be a later message."""
        publish = b"\x30\x06\x00\x01tabc"
        async with relaying(greeting=mqtt(5)) as ends:
            await ends.upstream.say(BINARY, CONNACK_5 + publish[:3])
            await ends.client.hear()
            ends.relay.end(Cause.DRAINING)
            await wait_all_tasks_blocked(0.01)
            await ends.upstream.say(BINARY, publish[3:5], fin=False)
            await ends.upstream.say(CONTINUATION, publish[5:], fin=False)
            await ends.upstream.say(CONTINUATION, b"")
            await ends.upstream.say(BINARY, publish)
            assert await ends.client.hear() == (BINARY, False, publish[3:5])
            assert await ends.client.hear() == (CONTINUATION, False, publish[5:])
            assert await ends.client.hear() == (CONTINUATION, True, b"")
            _, _, packet = await ends.client.hear()
            assert packet[0] == 0xE0
            assert (await ends.client.hear_close())[0] == 1012
            ends.client.end_stream()

    async def test_no_disconnect_inside_a_packet(self) -> None:
        """If the packet does not end in time, the Close comes without a DISCONNECT."""
        async with relaying(greeting=mqtt(5)) as ends:
            await ends.upstream.say(BINARY, CONNACK_5 + b"\x30\x06")
            await ends.client.hear()
            ends.relay.end(Cause.DRAINING)
            assert await ends.client.hear_close() == (1012, "Service restart")
            ends.client.end_stream()

    @pytest.mark.parametrize("level", [3, 4, 5])
    async def test_will_is_kept_on_drain(self, level: int) -> None:
        """A drain takes leave of the broker for a client with a will, so that the will does not fire."""
        async with relaying(greeting=mqtt(level, will=True)) as ends:
            await ends.client.say(BINARY, b"\xc0")
            await ends.upstream.hear()
            ends.relay.end(Cause.DRAINING)
            await wait_all_tasks_blocked(0.01)
            await ends.client.say(BINARY, b"\x00")
            await ends.upstream.hear()
            assert await ends.upstream.hear() == (BINARY, True, b"\xe0\x00")
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
            ends.client.end_stream()

    async def test_will_fires_on_drain_where_configured(self) -> None:
        """A gateway that is told to lets the wills fire."""
        async with relaying(greeting=evolve(mqtt(4, will=True), keeps_will=False)) as ends:
            ends.relay.end(Cause.DRAINING)
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
            ends.client.end_stream()

    async def test_will_fires_otherwise(self) -> None:
        """Any other end of the gateway's making drops the broker without a DISCONNECT."""
        async with relaying(greeting=mqtt(5, will=True)) as ends:
            ends.relay.end(Cause.IDLE)
            assert await ends.upstream.hear_close() == (1001, "")
            ends.upstream.end_stream()
            ends.client.end_stream()

    async def test_broker_ends_first(self) -> None:
        """A broker that ends its stream after the client's DISCONNECT is not lost; the client's Close is answered."""
        async with relaying(greeting=mqtt(4)) as ends:
            await ends.client.say(BINARY, b"\xe0\x00")
            await ends.upstream.hear()
            ends.upstream.end_stream()
            await ends.client.say_close(1000)
            assert await ends.client.hear_close() == (1000, "")
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.CLOSED_BY_CLIENT

    async def test_broker_ends_first_and_the_client_hangs_up(self) -> None:
        """The same with a client that ends its stream without a Close, as paho does."""
        async with relaying(greeting=mqtt(4)) as ends:
            await ends.client.say(BINARY, b"\xe0\x00")
            await ends.upstream.hear()
            ends.upstream.end_stream()
            await wait_all_tasks_blocked(0.01)
            ends.client.end_stream()
            assert await ends.client.read_to_end() == b""
        assert ends.relay.cause is Cause.CLIENT_LOST


class TestPings:
    QUICK = evolve(TERMS, pace=Pace(ping_seconds=0.05, idle_seconds=0.4))

    async def test_idle(self) -> None:
        """A side that answers nothing is pinged, and then idle; the other side's pongs keep only itself alive."""
        async with relaying(self.QUICK) as ends, trio.open_nursery() as nursery:

            async def answer() -> None:
                with contextlib.suppress(EOFError, AssertionError, OSError):
                    while True:
                        opcode, _, payload = await ends.upstream.hear()
                        if opcode == PING:
                            await ends.upstream.say(PONG, payload)

            nursery.start_soon(answer)
            opcode, _, payload = await ends.client.hear()
            assert (opcode, len(payload)) == (PING, 8)
            assert await ends.client.hear_close() == (1001, "Idle timeout")
            ends.client.end_stream()
        assert ends.relay.cause is Cause.IDLE
        assert ends.relay.detail == "client"

    async def test_no_data(self) -> None:
        """Where a limit on silence of data is set, a session without messages ends, pings and pongs or not."""
        terms = evolve(TERMS, pace=Pace(ping_seconds=math.inf, idle_seconds=math.inf, data_idle_seconds=0.3))
        async with relaying(terms) as ends:
            began_at = trio.current_time()
            await trio.sleep(0.15)
            await ends.client.say(TEXT, b"data")
            await trio.sleep(0.1)
            await ends.client.say(PING, b"")
            assert await ends.client.hear_close() == (1001, "Idle timeout")
            assert trio.current_time() - began_at >= 0.45
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert ends.relay.detail == "no data"

    async def test_a_long_message_is_data(self) -> None:
        """One message that takes long, in one frame or in many, is data for as long as it flows."""
        terms = evolve(TERMS, pace=Pace(ping_seconds=math.inf, idle_seconds=math.inf, data_idle_seconds=0.25))
        async with relaying(terms) as ends:
            await ends.client.send(build_frame(BINARY, bytes(1000), masked=True)[:10])
            for _ in range(4):
                await trio.sleep(0.08)
                await ends.client.send(bytes(10))
            assert ends.relay.cause is None
            ends.client.end_stream()

    async def test_our_pong_is_cut_out(self) -> None:
        """The answer to our ping goes no further, every other pong passes; data around it is whole."""
        async with relaying(self.QUICK) as ends:
            _, _, payload = await ends.client.hear()
            wire = (
                build_frame(TEXT, b"a", masked=True)
                + build_frame(PONG, payload, masked=True)
                + build_frame(PONG, b"mine", masked=True)
                + build_frame(TEXT, b"b", masked=True)
            )
            await ends.client.send(wire)
            heard = [await ends.upstream.hear() for _ in range(4)]
            assert [frame for frame in heard if frame[0] != PING] == [
                (TEXT, True, b"a"),
                (PONG, True, b"mine"),
                (TEXT, True, b"b"),
            ]
            ends.client.end_stream()

    async def test_no_ping_beside_another_ones(self) -> None:
        """While a ping that was passed on is unanswered, none of ours goes out: its pong could be lost."""
        async with relaying(self.QUICK) as ends:
            await ends.client.say(PING, b"theirs")
            opcode, _, payload = await ends.upstream.hear()
            assert (opcode, payload) == (PING, b"theirs")
            with trio.move_on_after(0.15):
                while (await ends.client.hear())[0] == PING:
                    await ends.client.say(TEXT, b"alive")
            heard = [await ends.upstream.hear()]
            assert heard[0][0] == TEXT
            await ends.upstream.say(PONG, b"theirs")
            await ends.upstream.say(TEXT, b"now")
            with trio.fail_after(5):
                while (await ends.upstream.hear())[0] != PING:
                    pass
            ends.client.end_stream()

    async def test_ping_inside_a_frame(self) -> None:
        """A ping of ours waits for the end of the frame that is passing."""
        frame = build_frame(BINARY, bytes(100), masked=False)
        async with relaying(self.QUICK) as ends:
            await ends.upstream.send(frame[:50])
            assert await ends.client.read(50) == frame[:50]
            await trio.sleep(0.1)
            await ends.upstream.send(frame[50:] + frame)
            assert await ends.client.read(52) == frame[50:]
            assert (await ends.client.hear())[0] == PING
            assert await ends.client.read(len(frame)) == frame
            ends.client.end_stream()

    async def test_who_is_not_read_is_not_idle(self) -> None:
        """A side that the gateway does not read, because the other takes nothing, is not idle, and when it is read
        again its silence begins anew."""
        terms = evolve(TERMS, pace=Pace(ping_seconds=math.inf, idle_seconds=1), write_timeout_seconds=60)
        async with relaying(terms) as ends, trio.open_nursery() as nursery:

            async def stay_alive() -> None:
                while True:
                    await ends.client.say(TEXT, b"alive")
                    await trio.sleep(0.05)

            frame = build_frame(BINARY, bytes(30_000_000), masked=False)
            nursery.start_soon(ends.upstream.send, frame)
            nursery.start_soon(stay_alive)
            await trio.sleep(1.3)
            assert ends.relay.to_client.outlet.held
            assert ends.relay.cause is None
            await ends.client.read(len(frame))
            await trio.sleep(0.2)
            assert ends.relay.cause is None
            nursery.cancel_scope.cancel()
            ends.cancel()

    async def test_a_later_ping_is_owed_too(self) -> None:
        """A side that has answered one ping that was passed on owes the answer to the next."""
        async with relaying() as ends:
            scanner = ends.relay.to_client.scanner
            for payload, owed in ((b"1", True), (b"2", True)):
                await ends.client.say(PING, payload)
                await ends.upstream.hear()
                assert scanner.owes_a_pong is owed
                await ends.upstream.say(PONG, payload)
                await ends.client.hear()
                assert not scanner.owes_a_pong
            ends.client.end_stream()


class TestAnotherUpstream:
    @asynccontextmanager
    async def reconnecting(self, terms: Terms = TERMS, **given: Any) -> AsyncIterator[tuple[Ends, Peer, trio.Event]]:  # noqa: ANN401
        """A relay that is given another upstream when it loses its own, that other one, and when that was."""
        near, far = tcp_pair() if tls is None else await tls_pair(*tls, "localhost")
        lost = trio.Event()

        async def reconnect() -> Reconnected:
            if lost.is_set():
                raise Refused(Cause.UPSTREAM_LOST, "this one too")
            lost.set()
            return Reconnected(upstream=near, from_upstream=b"", from_client=b"")

        with near, Peer(far, masked=False) as again:
            async with relaying(terms, reconnect=reconnect, **given) as ends:
                yield ends, again, lost
                ends.client.end_stream()

    async def test_both_ways(self) -> None:
        """Behind the other upstream all passes as before, in bulk too."""
        async with self.reconnecting() as (ends, again, lost):
            await ends.client.say(TEXT, b"one")
            await ends.upstream.hear()
            ends.upstream.end_stream()
            await lost.wait()
            for size in (1, 300_000):
                for source, target in ((ends.client, again), (again, ends.client)):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(source.say, BINARY, bytes(size))
                        assert await target.hear() == (BINARY, True, bytes(size))
            assert ends.relay.counts["messages_from_client"] == 3
            assert ends.relay.counts["messages_from_upstream"] == 2

    async def test_last_words(self) -> None:
        """All that the first has said arrives, however slowly the client reads, before what the other one says."""
        async with self.reconnecting() as (ends, again, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ends.upstream.say, BINARY, bytes(9_000_000))
                await wait_all_tasks_blocked()
                await again.say(TEXT, b"second")
                assert await ends.client.hear() == (BINARY, True, bytes(9_000_000))
            ends.upstream.end_stream()
            assert await ends.client.hear() == (TEXT, True, b"second")

    async def test_what_the_first_does_not_take(self) -> None:
        """With a message on its way to it that it does not take the first is lost for good."""
        async with self.reconnecting() as (ends, again, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ends.client.say, BINARY, bytes(9_000_000))
                await wait_all_tasks_blocked()
                ends.upstream.end_stream()
                await ends.done.wait()
                nursery.cancel_scope.cancel()
            assert ends.relay.cause is Cause.UPSTREAM_LOST
            leg.close(again.sock)

    async def test_budget_goes_on(self) -> None:
        """What was spent before is spent."""
        async with self.reconnecting(budget=made(messages=Rate(0.001, 3))) as (ends, again, lost):
            await ends.client.say(TEXT, b"one")
            await ends.upstream.hear()
            ends.upstream.end_stream()
            await lost.wait()
            for _ in range(2):
                await ends.client.say(TEXT, b"more")
                await again.hear()
            await ends.client.say(TEXT, b"too many")
            assert await ends.client.hear_close() == (1008, "Rate limit exceeded")

    async def test_idle_and_pings_go_on(self) -> None:
        """The other upstream is pinged when it is silent, its answers stay here, and without them it is idle."""
        pace = Pace(ping_seconds=0.1, idle_seconds=0.3)
        async with self.reconnecting(evolve(TERMS, pace=pace)) as (ends, again, _), trio.open_nursery() as nursery:

            async def answer() -> None:
                with contextlib.suppress(EOFError, AssertionError, OSError):
                    while True:
                        opcode, _, payload = await ends.client.hear()
                        if opcode == PING:
                            await ends.client.say(PONG, payload)

            nursery.start_soon(answer)
            ends.upstream.end_stream()
            opcode, _, payload = await again.hear()
            await again.say(PONG, payload)
            assert opcode == PING
            await ends.done.wait()
            assert (ends.relay.cause, ends.relay.detail) == (Cause.IDLE, "upstream")
            nursery.cancel_scope.cancel()

    async def test_it_is_not_the_other_one_that_was_reset(self) -> None:
        """Where its messages have to wait for tokens, that the first was reset is not taken for its end."""
        slow = made(messages=Rate(20, 1, pauses=True), direction=Direction.TO_CLIENT)
        async with self.reconnecting(budget_to_client=slow) as (ends, again, lost):
            ends.upstream.reset()
            await lost.wait()
            for number in range(3):
                await again.say(TEXT, b"%d" % number)
            for number in range(3):
                assert await ends.client.hear() == (TEXT, True, b"%d" % number)

    async def test_it_is_not_the_other_one_that_left(self) -> None:
        """Nor, where the client takes nothing for a while, that the first has left for its silence."""
        pace = Pace(ping_seconds=math.inf, idle_seconds=0.3)
        async with self.reconnecting(evolve(TERMS, pace=pace)) as (ends, again, lost), trio.open_nursery() as nursery:
            ends.upstream.end_stream()
            await lost.wait()
            nursery.start_soon(again.say, BINARY, bytes(9_000_000))
            for _ in range(12):
                await ends.client.say(TEXT, b"busy")
                await trio.sleep(0.05)
            assert ends.relay.cause is None
            assert await ends.client.hear() == (BINARY, True, bytes(9_000_000))

    async def test_refused(self) -> None:
        """Where there is no other the session ends for the cause that is given."""

        async def reconnect() -> Reconnected:
            raise Refused(Cause.INVALID_TOKEN, "expired")

        async with relaying(reconnect=reconnect) as ends:
            ends.upstream.end_stream()
            assert await ends.client.hear_close() == (1008, "JWT invalid or expired")
            assert (ends.relay.cause, ends.relay.detail) == (Cause.INVALID_TOKEN, "expired")


class TestLifetime:
    async def test_the_end_of_a_token(self) -> None:
        """A session ends with its token, by the clock on the wall, however busy it is."""
        terms = evolve(TERMS, clock=lambda: 1000 + trio.current_time())
        ends_at = terms.clock() + 0.2
        async with relaying(terms, greeting=mqtt(5), token_ends_at=ends_at) as ends:
            await ends.upstream.say(BINARY, CONNACK_5)
            await ends.client.hear()
            await ends.client.say(BINARY, b"\xc0\x00")
            await ends.upstream.hear()
            assert await ends.client.hear() == (BINARY, True, disconnect(5, 0x87))
            assert await ends.client.hear_close() == (1008, "Token expired")
            assert ends_at <= terms.clock() < ends_at + 5
            assert (await ends.upstream.hear_close())[0] == 1001
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.TOKEN_EXPIRED

    async def test_a_clock_that_is_set(self) -> None:
        """A clock on the wall that is set forward beyond the token's end is noticed the next time anybody looks."""
        wall = [1000.0]
        terms = evolve(TERMS, clock=lambda: wall[0], pace=Pace(ping_seconds=0.05, idle_seconds=60))
        async with relaying(terms, token_ends_at=2000) as ends:
            await ends.client.hear()
            wall[0] = 2000
            assert await ends.client.hear_close() == (1008, "Token expired")
            ends.client.end_stream()
            ends.upstream.end_stream()

    async def test_too_old(self) -> None:
        """A session lives no longer than any may, whatever its token says."""
        began_at = trio.current_time()
        async with relaying(too_old_at=began_at + 0.1) as ends:
            assert await ends.client.hear_close() == (1008, "Session too old")
            assert trio.current_time() >= began_at + 0.1
            ends.client.end_stream()
            ends.upstream.end_stream()
        assert ends.relay.cause is Cause.SESSION_TOO_OLD
