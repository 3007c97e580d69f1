"""RAW_RECONNECT: an upstream that drops between two messages is dialled again, and the client does not notice."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
import trio

from tests.house import Answer, House, agreeing, answering, house
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame
from trio_ws_gateway.wire.http import Request

RETRIES = 'ws_proxy_retries_total{protocol="raw"}'
BROKEN = answering("HTTP/1.1 500 Oops")


@asynccontextmanager
async def session(**settings: str) -> AsyncIterator[tuple[House, Peer, Peer]]:
    """A raw session, with its client and upstream, that may be given another upstream."""
    async with house(RAW_RECONNECT="true", **settings) as home, home.raw() as (client, upstream):
        yield home, client, upstream


async def said(by: Peer, to: Peer, text: bytes) -> None:
    await by.say(TEXT, text)
    assert await to.hear() == (TEXT, True, text)


def end(upstream: Peer) -> None:
    """As the system does for a process that dies."""
    leg.close(upstream.sock)


@pytest.mark.parametrize("drop", [end, Peer.reset])
async def test_client_does_not_notice(drop: Callable[[Peer], None]) -> None:
    """Messages go on to the new connection and come from it; it is one session, with one line and one count."""
    async with session() as (home, client, upstream):
        await said(client, upstream, b"one")
        await said(upstream, client, b"two")
        drop(upstream)
        again = await home.upstream.next()
        await said(again, client, b"three")
        await said(client, again, b"four")
        samples = await home.samples()
        assert samples["ws_active_sessions"] == 1
        assert samples['ws_protocol_connections_total{protocol="raw"}'] == 1
        assert samples['ws_messages_total{direction="client_to_upstream",protocol="raw"}'] == 2
        assert samples['ws_messages_total{direction="upstream_to_client",protocol="raw"}'] == 2
        assert samples[RETRIES] == 1
        await client.say_close(1000)
        assert await again.hear_close() == (1000, "")
        await again.say_close(1000)
        assert await client.hear_close() == (1000, "")
        line = await home.end()
        assert (line["cause"], line["reconnects"]) == ("closed_by_client", 1)
        assert (line["messages_from_client"], line["messages_from_upstream"]) == (2, 2)
        assert line["bytes_from_upstream"] == len(b"\x81\x03two" + b"\x81\x05three" + b"\x88\x02\x03\xe8")


async def test_introduced_as_before() -> None:
    """The new connection hears of the same client, by the same token, and agrees on what the client was told."""
    offered = ("Sec-WebSocket-Protocol", "chat, superchat")
    async with house(RAW_RECONNECT="true") as home:
        home.upstream.answer = agreeing({"Sec-WebSocket-Protocol": "superchat"})
        async with home.raw(offered) as (client, upstream):
            end(upstream)
            again = await home.upstream.next()
            await said(again, client, b"hello")
            first, second = home.upstream.requests
            changing = {"sec-websocket-key", "sec-websocket-protocol"}
            kept = [
                [each for each in request.headers if each[0].lower() not in changing] for request in (first, second)
            ]
            assert kept[0] == kept[1]
            assert second.headers.get("authorization") is not None
            assert second.headers.all("sec-websocket-protocol") == ("superchat",)


async def test_first_message_is_not_said_again() -> None:
    """A token that was the first message introduces the client anew; neither it nor what has passed is said again."""
    async with house(RAW_RECONNECT="true") as home, home.open() as client:
        await client.say(TEXT, home.provider.mint(sub="robot-7").encode())
        upstream = await home.upstream.next()
        await said(client, upstream, b"one")
        end(upstream)
        again = await home.upstream.next()
        await said(client, again, b"two")
        assert home.upstream.requests[1].headers.get("x-user-id") == "robot-7"


async def stuck(home: House, upstream: Peer) -> Peer:
    """Drop it, and leave the next one without an answer."""

    def nothing(_: Request) -> bytes:
        return b""

    home.upstream.answer = nothing
    end(upstream)
    return await home.upstream.next()


async def test_what_comes_while_it_is_dialled() -> None:
    """What the client says meanwhile is heard by the new connection, all of it and in order."""
    async with session() as (home, client, upstream):
        again = await stuck(home, upstream)
        await client.say(TEXT, b"one")
        await client.say(BINARY, b"two" * 10_000)
        await client.say(TEXT, b"thr", fin=False)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await again.send(agreeing(rest=build_frame(TEXT, b"hello", masked=False))(home.upstream.requests[-1]))
        assert await client.hear() == (TEXT, True, b"hello")
        assert await again.hear() == (TEXT, True, b"one")
        assert await again.hear() == (BINARY, True, b"two" * 10_000)
        assert await again.hear() == (TEXT, False, b"thr")
        await client.say(CONTINUATION, b"ee")
        assert await again.hear() == (CONTINUATION, True, b"ee")


async def client_in_a_frame(client: Peer, upstream: Peer) -> None:
    await client.send(b"\x82\x85maskab")
    await upstream.read(2 + 4 + 2)


async def client_in_a_message(client: Peer, upstream: Peer) -> None:
    await client.say(TEXT, b"ab", fin=False)
    await upstream.hear()


async def client_has_asked(client: Peer, upstream: Peer) -> None:
    await client.say(PING, b"there?")
    await upstream.hear()


async def upstream_in_a_header(client: Peer, upstream: Peer) -> None:
    await said(upstream, client, b"one")
    await upstream.send(b"\x82")


async def upstream_in_a_frame(client: Peer, upstream: Peer) -> None:
    await upstream.send(b"\x82\x05ab")
    await client.read(4)


async def upstream_in_a_message(client: Peer, upstream: Peer) -> None:
    await upstream.say(TEXT, b"ab", fin=False)
    await client.hear()


@pytest.mark.parametrize(
    "begin",
    [
        client_in_a_frame,
        client_in_a_message,
        client_has_asked,
        upstream_in_a_header,
        upstream_in_a_frame,
        upstream_in_a_message,
    ],
)
async def test_half_said(begin: Callable[[Peer, Peer], Awaitable[None]]) -> None:
    """Where a message is half said, or a ping of the client's not answered, the session ends as without the setting."""
    async with session() as (home, client, upstream):
        await begin(client, upstream)
        end(upstream)
        line = await home.end()
        assert line["cause"] == "upstream_lost"
        assert (await client.read_to_end()).endswith(b"\x03\xf3Upstream connection lost") is (
            begin is not upstream_in_a_frame
        )
        assert home.upstream.connections == 1


FIRST = ((TEXT, b"ab", False), (PONG, b"", True), (CONTINUATION, b"c", True))
SECOND = ((BINARY, bytes(130), True),)


def octets(frames: Iterable[tuple[int, bytes, bool]], *, masked: bool) -> bytes:
    return b"".join(build_frame(opcode, payload, fin=fin, masked=masked) for opcode, payload, fin in frames)


async def test_upstream_cut_anywhere() -> None:
    """After whichever byte of its own the upstream drops, the session goes on exactly where no message is half said."""
    first, second = octets(FIRST, masked=False), octets(SECOND, masked=False)
    said = first + second
    cuts = [*range(len(first) + 6), len(said) - 1, len(said)]
    whole = {0, len(first), len(said)}
    async with house(RAW_RECONNECT="true", WS_CLOSE_TIMEOUT_SECONDS="0.01") as home:
        for cut in cuts:
            async with home.raw() as (client, upstream):
                await upstream.send(said[:cut])
                end(upstream)
                if cut in whole:
                    again = await home.upstream.next()
                    await again.say(TEXT, b"on")
                    assert await client.read_until(b"on") == said[:cut] + build_frame(TEXT, b"on", masked=False)
                else:
                    assert said[:cut].startswith((await client.read_to_end()).partition(b"\x88")[0])
        assert home.upstream.connections == len(cuts) + len(whole)


async def test_client_cut_anywhere() -> None:
    """What of the client's had not passed when the upstream dropped passes to the other one, a cut header too."""
    first, second = octets(FIRST, masked=True), octets(SECOND, masked=True)
    said = first + second
    passes = {0: 0, len(first): len(first), len(said): len(said)}  # by what was sent: where no message is half said
    passes |= dict.fromkeys(range(1, 6), 0) | {len(first) + cut: len(first) for cut in range(1, 8)}  # cut headers
    async with house(RAW_RECONNECT="true", WS_CLOSE_TIMEOUT_SECONDS="0.01") as home:
        for cut, passed in passes.items():
            async with home.raw() as (client, upstream):
                await client.send(said[:cut])
                assert await upstream.read(passed) == said[:passed]
                end(upstream)
                again = await home.upstream.next()
                await client.send(said[cut:])
                assert await again.read(len(said) - passed) == said[passed:]


async def test_answered_ping_is_no_obstacle() -> None:
    """A ping that was answered, and one that the client has not answered yet, lose nothing."""
    async with session() as (home, client, upstream):
        await client.say(PING, b"there?")
        await upstream.hear()
        await upstream.say(PONG, b"there?")
        await client.hear()
        await upstream.say(PING, b"and you?")
        await client.hear()
        end(upstream)
        again = await home.upstream.next()
        await client.say(PONG, b"and you?")
        assert await again.hear() == (PONG, True, b"and you?")


async def test_off_by_default() -> None:
    """Without the setting a session whose upstream is lost ends, with 1011."""
    async with house() as home, home.raw() as (client, upstream):
        end(upstream)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        assert home.upstream.connections == 1


async def test_mqtt_never() -> None:
    """An MQTT session is never resumed: the broker has forgotten what the client relies on."""
    async with house(RAW_RECONNECT="true") as home, home.mqtt(home.connect_packet()) as (client, broker):
        end(broker)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        assert home.upstream.connections == 1


async def test_close_is_an_end() -> None:
    """An upstream that says Close has not dropped: its Close passes, and nobody is dialled."""
    async with session() as (home, client, upstream):
        await upstream.say(CLOSE, b"\x03\xe9")
        assert await client.hear_close() == (1001, "")
        await client.say_close(1001)
        assert (await home.end())["cause"] == "closed_by_upstream"
        assert home.upstream.connections == 1


async def test_no_compression() -> None:
    """No permessage-deflate is agreed on: a new connection would not know what was said before."""
    async with house(RAW_RECONNECT="true") as home, home.raw(("Sec-WebSocket-Extensions", "permessage-deflate")):
        assert home.upstream.requests[0].headers.get("sec-websocket-extensions") is None


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(BROKEN, "answers 500, not 101"), (agreeing({"Sec-WebSocket-Protocol": ""}), "names no subprotocol")],
)
async def test_nobody_there(answer: Answer, detail: str) -> None:
    """Where there is no other connection, or one that agrees on less, the session ends with 1011 when tries run out."""
    async with (
        house(RAW_RECONNECT="true", WS_DIAL_RETRY_MAX="2", WS_DIAL_RETRY_INTERVAL_SECONDS="0.01") as home,
        home.raw(("Sec-WebSocket-Protocol", "chat")) as (client, upstream),
    ):
        home.upstream.answer = answer
        end(upstream)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        line = await home.end()
        assert line["cause"] == "upstream_lost"
        assert line["detail"].endswith(detail)
        tries = 2 if answer is BROKEN else 1
        samples = await home.samples()
        assert samples[RETRIES] == tries == home.upstream.connections - 1
        assert samples['ws_proxy_errors_total{protocol="raw"}'] == 1


async def test_circuit() -> None:
    """While the circuit is open nobody is dialled for a session that is lost either."""
    async with session(CB_FAILURE_THRESHOLD="1", WS_DIAL_RETRY_MAX="0") as (home, client, upstream):
        home.upstream.answer = BROKEN
        assert (await home.refusal(token=home.provider.mint()))[0].status == 502
        end(upstream)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        assert home.upstream.connections == 2
        with trio.fail_after(10):
            while not (lines := home.lines("session ended")):
                await trio.sleep(0.005)
        assert lines[0]["detail"].endswith("the circuit is open")


async def test_token_is_checked_afresh() -> None:
    """A client whose token has expired since is told so, and its upstream is not dialled."""
    async with house(RAW_RECONNECT="true", JWT_LEEWAY_SECONDS="0") as home:
        expires_at = time.time() + 1
        async with home.open(token=home.provider.mint(exp=expires_at)) as client:
            upstream = await home.upstream.next()
            await trio.sleep(expires_at + 0.05 - time.time())
            end(upstream)
            assert await client.hear_close() == (1008, "JWT invalid or expired")
            assert (await home.end())["cause"] == "invalid_token"
            assert home.upstream.connections == 1


async def test_again_and_again() -> None:
    """Connections that do not last count as tries that failed: after WS_DIAL_RETRY_MAX in a row it is over."""
    async with session(WS_DIAL_RETRY_MAX="2", WS_DIAL_RETRY_INTERVAL_SECONDS="0.01") as (home, client, upstream):
        for _ in range(3):
            end(upstream)
            upstream = await home.upstream.next()
            await said(upstream, client, b"here again")
        end(upstream)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        line = await home.end()
        assert (line["reconnects"], line["detail"]) == (3, "again and again")
        assert (await home.samples())[RETRIES] == 3


async def test_connections_that_last() -> None:
    """One that has lasted is no failed try, however many there were."""
    settings = {"WS_DIAL_RETRY_MAX": "0", "WS_DIAL_TIMEOUT_SECONDS": "0.2"}
    async with session(**settings) as (home, client, upstream):
        for _ in range(3):
            end(upstream)
            upstream = await home.upstream.next()
            await said(upstream, client, b"here again")
            await trio.sleep(0.25)


async def test_client_leaves_meanwhile() -> None:
    """A client that leaves while its upstream is dialled again ends the dial."""
    async with session() as (home, client, upstream):
        await stuck(home, upstream)
        leg.close(client.sock)
        assert (await home.end())["cause"] == "client_lost"


async def test_drain_meanwhile() -> None:
    """A drain does not wait for a dial: the client hears that the service restarts."""
    async with session() as (home, client, upstream):
        await stuck(home, upstream)
        home.drain()
        assert await client.hear_close() == (1012, "Service restart")
        await client.say_close(1012)
        assert (await home.end())["cause"] == "draining"
