"""`Relay` passes bytes as they came, ends for one cause, and tells both sides at a boundary of their stream."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from attrs import evolve, frozen
from trio.testing import wait_all_tasks_blocked

from tests.tcp import Peer, tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.protocols.base import Greeting, Opening
from trio_ws_gateway.protocols.mqtt import MqttAdapter, parse_mqtt_credentials
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.relay.pump import new_buffer
from trio_ws_gateway.relay.relay import Relay, Terms
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.wire.frames import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    build_frame,
    close_frame,
)
from trio_ws_gateway.wire.mqtt import Connect, Will

TERMS = Terms(
    pace=Pace(ping_seconds=math.inf, idle_seconds=math.inf),
    write_timeout_seconds=5,
    control_timeout_seconds=0.3,
    close_timeout_seconds=0.3,
)


@frozen
class Ends:
    """A relay and the peers at both of its ends."""

    client: Peer
    upstream: Peer
    relay: Relay
    done: trio.Event


@asynccontextmanager
async def relaying(
    terms: Terms = TERMS,
    greeting: Greeting | None = None,
    *,
    from_client: bytes = b"",
    from_upstream: bytes = b"",
    compressed: bool = False,
    prepare: Callable[[Relay], None] = lambda relay: None,
) -> AsyncIterator[Ends]:
    """A running relay. Its sockets are closed when it ends, as a session does it."""
    client_far, client_near = tcp_pair()
    upstream_far, upstream_near = tcp_pair()
    relay = Relay(
        client_near,
        upstream_near,
        greeting or RawGreeting(),
        terms,
        buffer=new_buffer(),
        from_client=from_client,
        from_upstream=from_upstream,
        compressed=compressed,
    )
    prepare(relay)
    done = trio.Event()

    async def run() -> None:
        try:
            await relay.run()
        finally:
            leg.close(client_near)
            leg.close(upstream_near)
            done.set()

    async with AsyncExitStack() as stack:
        client = stack.enter_context(Peer(client_far, masked=True))
        upstream = stack.enter_context(Peer(upstream_far, masked=False))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(run)
        try:
            yield Ends(client, upstream, relay, done)
        finally:
            with trio.move_on_after(5):
                await done.wait()
            nursery.cancel_scope.cancel()
        assert done.is_set(), "the relay did not end"


def mqtt(level: int, *, will: bool = False) -> Greeting:
    """The greeting of a real CONNECT."""
    connect = Connect(
        protocol="MQIsdp" if level == 3 else "MQTT",
        level=level,
        client_id="c",
        keep_alive=60,
        clean_start=True,
        will=Will(topic="gone", payload=b"bye", qos=0, retain=False) if will else None,
    )
    adapter = MqttAdapter(credentials=parse_mqtt_credentials("pass"), max_connect_bytes=1000)
    greeting = adapter.recognise(Opening(payload=connect.to_bytes(), text=False, complete=True, offered=("mqtt",)))
    assert not isinstance(greeting, str)
    return greeting  # type: ignore[return-value]


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
            assert ends.relay.to_upstream.blocked
            assert ends.relay.to_upstream.bytes < (sent + 1) * len(megabyte)
            assert len((await ends.upstream.read(sent * len(megabyte)))) == sent * len(megabyte)
            ends.client.end_stream()

    async def test_compressed(self) -> None:
        """RSV1 passes where permessage-deflate was agreed on."""
        async with relaying(compressed=True) as ends:
            await ends.upstream.send(b"\xc1\x01a")
            assert await ends.client.read(3) == b"\xc1\x01a"
            ends.client.end_stream()


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

    @pytest.mark.parametrize("wire", [b"\x88\x80\x00\x00\x00\x00", build_frame(8, b"\x03", masked=True)])
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
        """An upstream that ends its stream instead of answering a Close ends the session at once."""
        async with relaying(evolve(TERMS, close_timeout_seconds=60)) as ends:
            await ends.client.say_close()
            await ends.upstream.hear_close()
            ends.upstream.end_stream()
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
        """A Close that is on its way passes, even if writing to its sender has failed already."""
        async with relaying() as ends:
            await ends.upstream.say_close(4000, "why")
            await ends.upstream.sock_closed()
            assert await ends.client.hear_close() == (4000, "why")
            ends.client.end_stream()
        assert ends.relay.cause is Cause.CLOSED_BY_UPSTREAM
