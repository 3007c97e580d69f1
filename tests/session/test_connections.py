"""How many may come, from outside: in all, of one address, of one subject; and through Redis in all gateways."""

from contextlib import AsyncExitStack

import pytest
import trio

from tests.house import House, house
from tests.servers.ports import free_port
from tests.servers.redis import Redis
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.mqtt import connack

EXEMPT_NOBODY = {"WS_ADDRESS_LIMITS_EXEMPT": "203.0.113.0/24"}
BEHIND = {"TRUSTED_PROXIES": "127.0.0.1/32", **EXEMPT_NOBODY}


def come_from(address: str) -> tuple[str, str]:
    return ("X-Forwarded-For", address)


async def counted(home: House, cause: str = "too_many_connections") -> float:
    return (await home.samples()).get(f'ws_session_ends_total{{cause="{cause}"}}', 0)


async def test_sessions_in_all() -> None:
    """When there are as many sessions as there may be a further one is refused, and pages still answer."""
    async with house(WS_MAX_SESSIONS="1") as home, home.raw() as (client, upstream):
        answer, problem = await home.refusal(token=home.provider.mint())
        assert (answer.status, problem["cause"]) == (429, "too_many_connections")
        assert answer.headers.get("retry-after")
        assert (await home.samples())["ws_sessions_limit"] == 1
        assert (await home.last_line("refused"))["detail"] == "connections in all"
        client.end_stream()
        upstream.end_stream()
        await home.last_line("session ended")
        async with home.raw():
            pass


async def test_before_any_crypto() -> None:
    """A session too many is refused before its token is looked at."""
    async with house(WS_MAX_SESSIONS="1") as home, home.raw():
        answer, _ = await home.refusal(token="no.token.atall")
        assert answer.status == 429
        assert await counted(home, "malformed_token") == 0


async def test_sessions_of_one_subject() -> None:
    """One more session of a subject than it may have is refused, in the words of its protocol; others come in."""
    async with (
        house(WS_MAX_SESSIONS_PER_SUBJECT="1") as home,
        home.knock(token=home.provider.mint(sub="robot")) as (_, first),
        home.knock(token=home.provider.mint(sub="another")) as (_, second),
    ):
        assert (first.status, second.status) == (101, 101)
        answer, _ = await home.refusal(token=home.provider.mint(sub="robot"))
        assert answer.status == 429
        async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
            token = home.provider.mint(sub="robot").encode()
            await client.say(BINARY, home.connect_packet(password=token).to_bytes())
            assert await client.hear() == (BINARY, True, connack(4, 3))
            assert await client.hear_close() == (1013, "Too many connections")


async def test_address_that_connects_too_fast() -> None:
    """An address that connects too often is refused before it has said a word."""
    terms = {"WS_CONNECTIONS_PER_SECOND_PER_ADDRESS": "0.001", "WS_CONNECTIONS_BURST_PER_ADDRESS": "8"}
    async with house(**terms, **EXEMPT_NOBODY) as home:
        for _ in range(10):
            async with home.connect() as silent:
                silent.end_stream()
                last = await silent.read_to_end()
        assert last.startswith(b"HTTP/1.1 429 ")


async def test_sessions_of_one_address() -> None:
    """Behind a trusted proxy it is the client's address that counts; of IPv6 its /64."""
    async with house(WS_MAX_SESSIONS_PER_ADDRESS="1", **BEHIND) as home, AsyncExitStack() as stack:
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            _, answer = await stack.enter_async_context(home.knock(come_from(address), token=home.provider.mint()))
            assert answer.status == 101
        for address in ("192.0.2.1", "2001:db8::2"):
            answer, _ = await home.refusal(come_from(address), token=home.provider.mint())
            assert answer.status == 429
        with trio.fail_after(5):
            while len(lines := home.lines("refused")) < 2:
                await trio.sleep(0.005)
        assert [line["detail"] for line in lines] == ["connections of one address"] * 2


async def test_handshakes_of_one_address() -> None:
    """Who says nothing takes a place until he is known, or gone; who is known takes none."""
    async with house(WS_MAX_HANDSHAKES_PER_ADDRESS="2", **BEHIND) as home, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(home.knock(come_from("192.0.2.1"), token=home.provider.mint()))
        silent = [await stack.enter_async_context(home.knock(come_from("192.0.2.1"))) for _ in range(2)]
        assert (await home.samples())["ws_handshakes"] == 3  # and the one that asks
        answer, _ = await home.refusal(come_from("192.0.2.1"), token=home.provider.mint())
        assert answer.status == 429
        for client, _ in silent:
            client.end_stream()
            await client.read_to_end()
        async with home.knock(come_from("192.0.2.1"), token=home.provider.mint()) as (_, answer):
            assert answer.status == 101


async def test_handshakes_in_all() -> None:
    """No more connections are unknown at a time than may be, wherever they come from: a further one is a 503."""
    async with (
        house(WS_MAX_HANDSHAKES="3", **EXEMPT_NOBODY) as home,
        home.raw() as (client, upstream),
        AsyncExitStack() as stack,
    ):
        for _ in range(3):
            await stack.enter_async_context(home.connect())
        async with home.connect() as late:
            late.end_stream()
            assert (await late.read_to_end()).startswith(b"HTTP/1.1 503 ")
        await client.say(TEXT, b"still there?")
        assert await upstream.hear() == (TEXT, True, b"still there?")


async def test_private_addresses_are_many() -> None:
    """What comes from a private network may be a proxy: by default nothing there is limited by address."""
    async with house(WS_MAX_SESSIONS_PER_ADDRESS="1") as home, home.raw(), home.raw():
        pass


@pytest.mark.integration
async def test_in_all_gateways(redis: Redis, patient: None) -> None:
    """Two gateways over one Redis count the sessions of a subject together, and those of an address, before any crypto;
    and forget them when they end."""
    terms = {"WS_MAX_SESSIONS_PER_SUBJECT": "1", "WS_MAX_SESSIONS_PER_ADDRESS": "2", "REDIS_URL": redis.url, **BEHIND}
    async with house(**terms) as one, house(**terms, JWKS_URL=one.provider.jwks_uri) as two:
        token, here = one.provider.mint(), come_from("192.0.2.1")
        with trio.fail_after(5):
            while len(one.lines("redis is there") + two.lines("redis is there")) < 2:
                await trio.sleep(0.01)
            while (await two.get("/readyz"))[0].status != 200:
                await trio.sleep(0.01)
        async with one.knock(come_from("192.0.2.9"), token=token) as (_, answer):
            assert answer.status == 101
            refused, _ = await two.refusal(token=token)
            assert refused.status == 429
        await two.last_line("session ended")  # of the other one: they share the log
        async with two.knock(here, token=token) as (_, first), one.knock(here, token=one.provider.mint(sub="b")):
            assert first.status == 101
            refused, _ = await one.refusal(here, token="no.token.atall")
            assert refused.status == 429
            async with one.knock(come_from("192.0.2.2"), token=one.provider.mint(sub="c")) as (_, answer):
                assert answer.status == 101
        with trio.fail_after(5):
            while len(lines := two.lines("refused")) < 2:
                await trio.sleep(0.005)
        assert [line["detail"] for line in lines] == ["sessions of one subject", "sessions of one address"]
        assert (await one.samples())["ws_redis_away"] == 0


async def test_without_redis() -> None:
    """Where Redis is not there a gateway starts and serves all the same; a line and a gauge say so."""
    async with house(REDIS_URL=f"redis://:pass-word@127.0.0.1:{free_port()}") as home, home.raw():
        assert (await home.last_line("redis is away"))["level"] == "warning"
        assert (await home.samples())["ws_redis_away"] == 1
        assert "pass-word" not in home.output
