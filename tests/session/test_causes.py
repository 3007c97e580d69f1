"""Every reason why a session is refused or ends is provoked from outside: what is heard, logged and counted."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest
import trio

from tests.house import HANDSHAKE, House, agreeing, answering, house
from tests.tcp import Peer
from trio_ws_gateway import turnstile
from trio_ws_gateway.causes import TABLE, Cause
from trio_ws_gateway.farewell import RETRY_AFTER_MAX_SECONDS
from trio_ws_gateway.relay.pump import Pump
from trio_ws_gateway.turnstile import Turnstile
from trio_ws_gateway.upstream import routes
from trio_ws_gateway.upstream.breaker import Breaker
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head, parse_response
from trio_ws_gateway.wire.mqtt import connack, disconnect

PROTOCOL = "Sec-WebSocket-Protocol"
NOBODY = "http://127.0.0.1:1/keys"

# Rows that nothing in this gateway can bring about yet.
LATER = {
    Cause.TOKEN_EXPIRED,
    Cause.SESSION_TOO_OLD,
    Cause.TOKEN_REVOKED,
    Cause.SESSION_CUT,
    Cause.TOO_MANY_CONNECTIONS,
}

# The counter that an end counts in beside `ws_session_ends_total`; for the others there is none.
AUTH, PROXY = "ws_auth_failures_total", "ws_proxy_errors_total"
COUNTED_IN = {
    Cause.NO_TOKEN: AUTH,
    Cause.MALFORMED_TOKEN: AUTH,
    Cause.INVALID_TOKEN: AUTH,
    Cause.UPSTREAM_UNAVAILABLE: PROXY,
    Cause.CIRCUIT_OPEN: PROXY,
    Cause.UPSTREAM_LOST: PROXY,
    Cause.UPSTREAM_MESSAGE_TOO_BIG: PROXY,
    Cause.FAULT: PROXY,
    Cause.RATE_LIMITED: "ws_rate_limit_violations_total",
}
COUNTERS = (AUTH, PROXY, "ws_rate_limit_violations_total", "ws_revocations_total")

# What shall stay open while the consequences are looked at is entered into the stack.
Provocation = Callable[[House, AsyncExitStack], Awaitable[None]]
PROVOCATIONS: list[tuple[Cause, dict[str, str], Provocation]] = []


def provokes(cause: Cause, **settings: str) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        PROVOCATIONS.append((cause, settings, provocation))
        return provocation

    return register


async def refused_as(home: House, status: int, *headers: tuple[str, str], token: str | None = None) -> int:
    """Be refused with that status; the seconds of its Retry-After, 0 without one."""
    answer, problem = await home.refusal(*headers, token=token)
    assert (answer.status, problem["status"]) == (status, status)
    return int(answer.headers.get("retry-after") or 0)


# Requests


@provokes(Cause.BAD_REQUEST)
async def two_keys(home: House, _: AsyncExitStack) -> None:
    """Two keys are a 400."""
    await refused_as(home, 400, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))


@provokes(Cause.NOT_FOUND)
async def another_path(home: House, _: AsyncExitStack) -> None:
    """Another path is a 404."""
    assert (await home.get("/nothing"))[0].status == 404


@provokes(Cause.METHOD_NOT_ALLOWED)
async def another_method(home: House, _: AsyncExitStack) -> None:
    """Another method is a 405."""
    assert (await home.get("/ws", "POST"))[0].status == 405


@provokes(Cause.UPGRADE_REQUIRED)
async def no_upgrade(home: House, _: AsyncExitStack) -> None:
    """A plain GET is a 426."""
    assert (await home.get("/ws"))[0].status == 426


@provokes(Cause.HEAD_TOO_BIG)
async def big_head(home: House, _: AsyncExitStack) -> None:
    """A head beyond the limit is a 431."""
    await refused_as(home, 431, ("X", 20_000 * "x"))


@provokes(Cause.BODY_NOT_TAKEN)
async def body(home: House, _: AsyncExitStack) -> None:
    """A body is a 413."""
    await refused_as(home, 413, ("Content-Length", "1"))


# First words


@provokes(Cause.BAD_FIRST_MESSAGE)
async def subscribe_first(home: House, _: AsyncExitStack) -> None:
    """MQTT that does not begin with a CONNECT is 1002."""
    async with home.open((PROTOCOL, "mqtt")) as client:
        await client.say(BINARY, b"\x82\x00")
        assert await client.hear_close() == (1002, "Bad CONNECT")


@provokes(Cause.UNSUPPORTED_VERSION)
async def mqtt_6(home: House, _: AsyncExitStack) -> None:
    """A version of MQTT that is not there yet is CONNACK 0x84 and 1002."""
    async with home.open() as client:
        await client.say(BINARY, b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00")
        assert await client.hear() == (BINARY, True, connack(5, 0x84))
        assert await client.hear_close() == (1002, "Unsupported protocol version")


@provokes(Cause.ILLEGAL_FRAME)
async def illegal_first_frame(home: House, _: AsyncExitStack) -> None:
    """An illegal frame in the place of the first message is 1002."""
    async with home.open() as client:
        await client.send(b"\x81\x00")
        assert await client.hear_close() == (1002, "Protocol error")


@provokes(Cause.ILLEGAL_FRAME)
async def illegal_frame(home: House, _: AsyncExitStack) -> None:
    """An illegal frame in mid-session is 1002 to both sides."""
    async with home.raw() as (client, upstream):
        await client.send(b"\x81\x00")
        assert await client.hear_close() == (1002, "Protocol error")
        assert await upstream.hear_close() == (1002, "")


@provokes(Cause.NOTHING_SAID, WS_AUTH_TIMEOUT_SECONDS="0.05")
async def nothing_said(home: House, _: AsyncExitStack) -> None:
    """A client that says nothing after its 101 is 1008."""
    async with home.open() as client:
        assert await client.hear_close() == (1008, "Authentication timeout")


@provokes(Cause.NOTHING_SAID, WS_HANDSHAKE_TIMEOUT_SECONDS="0.05")
async def nothing_asked(home: House, _: AsyncExitStack) -> None:
    """A client that says nothing at all is a 408."""
    async with home.connect() as client:
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")


# Tokens


@provokes(Cause.NO_TOKEN)
async def no_token(home: House, _: AsyncExitStack) -> None:
    """A first message without a token is 1008."""
    async with home.open() as client:
        await client.say(TEXT, b"hello")
        assert await client.hear_close() == (1008, "Token missing")


@provokes(Cause.MALFORMED_TOKEN)
async def malformed_token(home: House, _: AsyncExitStack) -> None:
    """An early token that is no JWT is a 401."""
    await refused_as(home, 401, token="nonsense")


@provokes(Cause.INVALID_TOKEN)
async def expired_token(home: House, _: AsyncExitStack) -> None:
    """An early token that has expired is a 401."""
    await refused_as(home, 401, token=home.provider.mint(exp=1))


@provokes(Cause.FORBIDDEN, WS_ALLOWED_ORIGINS="https://app.example")
async def foreign_origin(home: House, _: AsyncExitStack) -> None:
    """A foreign origin is a 403."""
    await refused_as(home, 403, ("Origin", "https://evil.example"), token=home.provider.mint())


@provokes(Cause.FORBIDDEN, MQTT_USERNAME_CLAIM="sub")
async def foreign_name(home: House, _: AsyncExitStack) -> None:
    """Another one's name is CONNACK 0x87 and 1008."""
    async with home.open((PROTOCOL, "mqtt")) as client:
        await client.say(BINARY, home.connect_packet(5).to_bytes())
        assert await client.hear() == (BINARY, True, connack(5, 0x87))
        assert await client.hear_close() == (1008, "Forbidden")


@provokes(Cause.OVERLOADED, WS_HANDSHAKE_TIMEOUT_SECONDS="0.05")
async def no_turn(home: House, _: AsyncExitStack) -> None:
    """Whose turn does not come in time, because others come all the time, is a 503 with Retry-After."""
    with patch.object(Turnstile, "is_free", return_value=False), patch.object(turnstile, "STEPS_PER_TURN", 0):
        assert 1 <= await refused_as(home, 503, token=home.provider.mint()) <= RETRY_AFTER_MAX_SECONDS


@provokes(Cause.KEYS_UNAVAILABLE, JWKS_URL=NOBODY)
async def no_keys_early(home: House, _: AsyncExitStack) -> None:
    """Without any key of the provider an early token is a 503 with Retry-After."""
    assert 1 <= await refused_as(home, 503, token=home.provider.mint()) <= RETRY_AFTER_MAX_SECONDS


@provokes(Cause.KEYS_UNAVAILABLE, JWKS_URL=NOBODY)
async def no_keys(home: House, _: AsyncExitStack) -> None:
    """Without any key of the provider a first message is 1013."""
    async with home.open() as client:
        await client.say(TEXT, home.provider.mint().encode())
        assert await client.hear_close() == (1013, "Try again later")


@provokes(Cause.KEYS_UNAVAILABLE, JWKS_URL=NOBODY)
async def no_keys_for_mqtt_3(home: House, _: AsyncExitStack) -> None:
    """Without any key of the provider an MQTT 3.1.1 client gets CONNACK 0x03 and 1013."""
    await connack_then(home, 4, 0x03, 1013, "Try again later")


@provokes(Cause.KEYS_UNAVAILABLE, JWKS_URL=NOBODY)
async def no_keys_for_mqtt_5(home: House, _: AsyncExitStack) -> None:
    """Without any key of the provider an MQTT 5 client gets CONNACK 0x88 and 1013."""
    await connack_then(home, 5, 0x88, 1013, "Try again later")


async def connack_then(home: House, level: int, code: int, close: int, reason: str) -> None:
    async with home.open((PROTOCOL, "mqtt")) as client:
        await client.say(BINARY, home.connect_packet(level).to_bytes())
        assert await client.hear() == (BINARY, True, connack(level, code))
        assert await client.hear_close() == (close, reason)


# Limits


@provokes(Cause.MESSAGE_TOO_BIG, WS_FIRST_MESSAGE_MAX_BYTES="10")
async def first_message_too_big(home: House, _: AsyncExitStack) -> None:
    """A first message that is too big is 1009."""
    async with home.open() as client:
        await client.say(TEXT, b"hello there")
        assert await client.hear_close() == (1009, "Message too big")


@provokes(Cause.MESSAGE_TOO_BIG, WS_MAX_MESSAGE_BYTES="10")
async def message_too_big(home: House, _: AsyncExitStack) -> None:
    """A message that is too big is 1009, and nothing of it reaches the upstream."""
    async with home.raw() as (client, upstream):
        await client.say(TEXT, b"hello there")
        assert await client.hear_close() == (1009, "Message too big")
        assert await upstream.hear_close() == (1001, "")


@provokes(Cause.UPSTREAM_MESSAGE_TOO_BIG, WS_MAX_MESSAGE_BYTES="10")
async def upstream_message_too_big(home: House, _: AsyncExitStack) -> None:
    """A message of the upstream that is too big is 1009 to it, and nothing of it reaches the client."""
    async with home.raw() as (client, upstream):
        await upstream.say(TEXT, b"hello there")
        assert await client.hear_close() == (1001, "Upstream message too big")
        assert await upstream.hear_close() == (1009, "")


@provokes(Cause.RATE_LIMITED, RATE_LIMIT_PER_SECOND="1", RATE_LIMIT_BURST="2")
async def too_many_messages(home: House, _: AsyncExitStack) -> None:
    """A message beyond the burst is 1008, and 1001 to the upstream, which has heard those before it."""
    async with home.raw() as (client, upstream):
        for text in (b"one", b"two", b"three"):
            await client.say(TEXT, text)
        assert await client.hear_close() == (1008, "Rate limit exceeded")
        assert await upstream.hear() == (TEXT, True, b"one")
        assert await upstream.hear() == (TEXT, True, b"two")
        assert await upstream.hear_close() == (1001, "")


@provokes(Cause.RATE_LIMITED, RATE_LIMIT_PER_SECOND="1", RATE_LIMIT_BURST="2")
async def too_many_messages_in_mqtt_5(home: House, _stack: AsyncExitStack) -> None:
    """A message beyond the burst is DISCONNECT 0x96 to an MQTT 5 client, then 1008."""
    async with home.mqtt(home.connect_packet(5)) as (client, _broker):
        for _ in range(3):
            await client.say(BINARY, b"\xc0\x00")
        assert await client.hear() == (BINARY, True, disconnect(5, 0x96))
        assert await client.hear_close() == (1008, "Rate limit exceeded")


@provokes(Cause.IDLE, WS_IDLE_TIMEOUT_SECONDS="0.1", WS_PING_INTERVAL_SECONDS="0")
async def idle(home: House, _: AsyncExitStack) -> None:
    """Silence is 1001 to both sides."""
    async with home.raw() as (client, upstream):
        assert await client.hear_close() == (1001, "Idle timeout")
        assert await upstream.hear_close() == (1001, "")


@provokes(Cause.TOO_SLOW, WS_WRITE_TIMEOUT_SECONDS="0.1")
async def client_takes_nothing(home: House, _: AsyncExitStack) -> None:
    """A client that takes nothing is cut in the middle of a frame, and the upstream hears 1001."""
    async with home.raw() as (_client, upstream), trio.open_nursery() as nursery:
        nursery.start_soon(flood, upstream)
        assert await upstream.hear_close() == (1001, "")
        nursery.cancel_scope.cancel()


async def flood(peer: Peer) -> None:
    frame = build_frame(BINARY, bytes(1 << 20), masked=peer.masked)
    while True:
        await peer.send(frame)


# Upstreams


@provokes(Cause.UPSTREAM_UNAVAILABLE)
async def upstream_refuses(home: House, _: AsyncExitStack) -> None:
    """An upstream that refuses an early session is a 502."""
    home.upstream.answer = answering("HTTP/1.1 403 Forbidden")
    await refused_as(home, 502, token=home.provider.mint())


@provokes(Cause.UPSTREAM_UNAVAILABLE)
async def upstream_refuses_late(home: House, _: AsyncExitStack) -> None:
    """An upstream that refuses after the 101 is 1013."""
    home.upstream.answer = answering("HTTP/1.1 403 Forbidden")
    async with home.open() as client:
        await client.say(TEXT, home.provider.mint().encode())
        assert await client.hear_close() == (1013, "Upstream unavailable")


@provokes(Cause.UPSTREAM_UNAVAILABLE)
async def broker_refuses_mqtt_5(home: House, _: AsyncExitStack) -> None:
    """A broker that refuses is CONNACK 0x88 and 1013 to an MQTT 5 client."""
    home.upstream.answer = answering("HTTP/1.1 403 Forbidden")
    await connack_then(home, 5, 0x88, 1013, "Upstream unavailable")


@provokes(Cause.CIRCUIT_OPEN)
async def circuit_is_open(home: House, stack: AsyncExitStack) -> None:
    """An upstream that is left alone is a 503 with Retry-After to an early session."""
    stack.enter_context(patch.object(Breaker, "permit", return_value=None))
    assert await refused_as(home, 503, token=home.provider.mint()) >= 1


@provokes(Cause.UPSTREAM_LOST)
async def upstream_lost(home: House, _: AsyncExitStack) -> None:
    """An upstream that ends without a Close is 1011."""
    async with home.raw() as (client, upstream):
        upstream.end_stream()
        assert await client.hear_close() == (1011, "Upstream connection lost")


@provokes(Cause.UPSTREAM_LOST, WS_WRITE_TIMEOUT_SECONDS="0.1")
async def upstream_takes_nothing(home: House, _: AsyncExitStack) -> None:
    """An upstream that takes nothing is as good as lost."""
    async with home.raw() as (client, _upstream), trio.open_nursery() as nursery:
        nursery.start_soon(flood, client)
        assert await client.hear_close() == (1011, "Upstream connection lost")
        nursery.cancel_scope.cancel()


# The gateway


@provokes(Cause.DRAINING, GRACEFUL_DRAIN_TIMEOUT_SECONDS="60")
async def drained(home: House, stack: AsyncExitStack) -> None:
    """A drain is 1012 to the client and 1001 to the upstream."""
    client, upstream = await stack.enter_async_context(home.raw())
    await stack.enter_async_context(home.raw())  # keeps the gateway draining
    home.drain()
    assert await client.hear_close() == (1012, "Service restart")
    assert await upstream.hear_close() == (1001, "")


@provokes(Cause.DRAINING, GRACEFUL_DRAIN_TIMEOUT_SECONDS="60")
async def drained_early(home: House, stack: AsyncExitStack) -> None:
    """A drain is 1012 to a client that has said nothing yet."""
    client = await stack.enter_async_context(home.open())
    await stack.enter_async_context(home.raw())
    home.drain()
    assert await client.hear_close() == (1012, "Service restart")


@provokes(Cause.DRAINING, GRACEFUL_DRAIN_TIMEOUT_SECONDS="60")
async def drained_unasked(home: House, stack: AsyncExitStack) -> None:
    """A drain is a 503 with Retry-After to a client whose request is not whole yet."""
    client = await stack.enter_async_context(home.connect())
    await stack.enter_async_context(home.raw())
    await client.send(b"GET ")
    home.drain()
    answer = parse_response(await client.read_until(b"\r\n\r\n"))
    assert answer.status == 503
    assert 1 <= int(answer.headers.get("retry-after") or 0) <= RETRY_AFTER_MAX_SECONDS


@provokes(Cause.DRAINING, GRACEFUL_DRAIN_TIMEOUT_SECONDS="60")
async def drained_during_the_dial(home: House, stack: AsyncExitStack) -> None:
    """A drain is a 503 to a client whose upstream is being dialled, and ends the dial."""
    home.upstream.answer = lambda _: b""
    client = await stack.enter_async_context(home.connect())
    headers = [*HANDSHAKE, ("Authorization", f"Bearer {home.provider.mint()}")]
    await client.send(build_head("GET /ws HTTP/1.1", headers))
    upstream = await home.upstream.next()
    home.upstream.answer = agreeing()
    await stack.enter_async_context(home.raw())
    home.drain()
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert await upstream.read_to_end() == b""


@provokes(Cause.FAULT)
async def fault_early(home: House, _: AsyncExitStack) -> None:
    """A fault before the 101 is a 500."""
    with patch.object(routes, "introduce", side_effect=ZeroDivisionError):
        await refused_as(home, 500, token=home.provider.mint())


@provokes(Cause.FAULT)
async def fault_for_mqtt_3(home: House, _: AsyncExitStack) -> None:
    """A fault before the CONNACK is CONNACK 0x03 and 1011 to an MQTT 3.1.1 client."""
    with patch.object(routes, "introduce", side_effect=ZeroDivisionError):
        await connack_then(home, 4, 0x03, 1011, "Internal error")


@provokes(Cause.FAULT)
async def fault_for_mqtt_5(home: House, _: AsyncExitStack) -> None:
    """A fault before the CONNACK is CONNACK 0x80 and 1011 to an MQTT 5 client."""
    with patch.object(routes, "introduce", side_effect=ZeroDivisionError):
        await connack_then(home, 5, 0x80, 1011, "Internal error")


@provokes(Cause.FAULT)
async def fault_in_mid_session(home: House, _: AsyncExitStack) -> None:
    """A fault in mid-session is DISCONNECT 0x83 to an MQTT 5 client, then 1011, and 1001 to the upstream."""
    async with home.mqtt(home.connect_packet(5)) as (client, upstream):
        with patch.object(Pump, "step", side_effect=ZeroDivisionError):
            await client.say(BINARY, b"\xc0\x00")
            assert await client.hear() == (BINARY, True, disconnect(5, 0x83))
            assert await client.hear_close() == (1011, "Internal error")
            assert await upstream.hear_close() == (1001, "")


# Ordinary ends


@provokes(Cause.CLOSED_BY_CLIENT)
async def closed_by_client(home: House, _: AsyncExitStack) -> None:
    """A Close of the client passes with its code and reason, and the answer passes back."""
    async with home.raw() as (client, upstream):
        await client.say_close(4001, "enough")
        assert await upstream.hear_close() == (4001, "enough")
        await upstream.say_close(4001)
        assert await client.hear_close() == (4001, "")


@provokes(Cause.CLOSED_BY_CLIENT)
async def close_without_an_answer(home: House, _: AsyncExitStack) -> None:
    """A Close that is not answered in time ends with both sides cut."""
    async with home.raw() as (client, upstream):
        await client.say_close(1000)
        assert await upstream.hear_close() == (1000, "")
        assert await client.read_to_end() == b""
        assert await upstream.read_to_end() == b""


@provokes(Cause.CLOSED_BY_UPSTREAM)
async def closed_by_upstream(home: House, _: AsyncExitStack) -> None:
    """A Close of the upstream passes with its code and reason, and the answer passes back."""
    async with home.raw() as (client, upstream):
        await upstream.say_close(4002, "bye")
        assert await client.hear_close() == (4002, "bye")
        await client.say_close(4002)
        assert await upstream.hear_close() == (4002, "")


@provokes(Cause.CLIENT_LOST)
async def client_lost(home: House, _: AsyncExitStack) -> None:
    """A client that ends without a Close leaves the upstream with a dropped connection."""
    async with home.raw() as (client, upstream):
        client.end_stream()
        assert await upstream.read_to_end() == b""


@provokes(Cause.CLIENT_LOST)
async def client_reset(home: House, _: AsyncExitStack) -> None:
    """So does one whose connection is reset."""
    async with home.raw() as (client, upstream):
        client.reset()
        assert await upstream.read_to_end() == b""


@pytest.mark.parametrize(
    ("cause", "settings", "provoke"), PROVOCATIONS, ids=[provoke.__name__ for *_, provoke in PROVOCATIONS]
)
async def test_provoked(cause: Cause, settings: dict[str, str], provoke: Provocation) -> None:
    """Whoever provokes a cause hears what its row says; it is logged in one line, and counted where it belongs."""
    async with house(**settings) as home, AsyncExitStack() as stack:
        await provoke(home, stack)
        line = await home.end()
        assert line["cause"] == cause.value
        assert line["level"] == (
            "error" if cause is Cause.FAULT else "warning" if COUNTED_IN.get(cause) == PROXY else "info"
        )
        samples = await home.samples()
        assert [name for name in samples if name.startswith("ws_session_ends_total")] == [
            f'ws_session_ends_total{{cause="{cause.value}"}}'
        ]
        counted = {name.partition("{")[0]: value for name, value in samples.items() if value}
        assert [name for name in COUNTERS if name in counted] == ([COUNTED_IN[cause]] if cause in COUNTED_IN else [])
        assert bool(home.lines("fault")) is (cause is Cause.FAULT)


def test_every_row_is_provoked() -> None:
    """Every row of the table is provoked here, but for those that belong to what is not there yet."""
    assert {cause for cause, *_ in PROVOCATIONS} == set(Cause) - LATER
    assert set(TABLE) == set(Cause)


def test_codes_that_libraries_accept() -> None:
    """No row says a close code that wsproto or gorilla refuse to hear."""
    said = {row.close for row in TABLE.values()} | {row.upstream_close for row in TABLE.values()}
    assert said - {None} <= {1000, 1001, 1002, 1003, *range(1007, 1014)}
