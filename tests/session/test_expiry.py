"""The end of a session with its token, or because it is too old, from outside."""

import time

import pytest

from tests.house import house
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.mqtt import connack, disconnect

EXPIRED, TOO_OLD = (1008, "Token expired"), (1008, "Session too old")
NO_GRACE = {"JWT_EXPIRY_GRACE_SECONDS": "0"}


@pytest.fixture(autouse=True)
def _together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end as soon as they may."""
    monkeypatch.setattr("trio_ws_gateway.session.ENDS_SPREAD_SECONDS", 0)


async def test_token_expires() -> None:
    """A session ends when its token does, and its upstream hears a Close too."""
    async with house(**NO_GRACE) as home:
        expires_at = time.time() + 0.2
        async with home.open(token=home.provider.mint(exp=expires_at)) as client:
            upstream = await home.upstream.next()
            assert await client.hear_close() == EXPIRED
            assert time.time() >= expires_at
            assert (await upstream.hear_close())[0] == 1001
            client.end_stream()
            upstream.end_stream()
        assert (await home.last_line("session ended"))["cause"] == "token_expired"
        assert (await home.samples())['ws_session_ends_total{cause="token_expired"}'] == 1


@pytest.mark.parametrize("level", [4, 5])
async def test_mqtt_token_expires(level: int) -> None:
    """An MQTT 5 client hears why in its own words first; before MQTT 5 a server has none."""
    async with house(**NO_GRACE) as home:
        password = home.provider.mint(exp=time.time() + 0.3).encode()
        async with home.mqtt(home.connect_packet(level, password=password)) as (client, broker):
            if level == 5:
                assert await client.hear() == (BINARY, True, disconnect(5, 0x87))
            assert await client.hear_close() == EXPIRED
            assert (await broker.hear_close())[0] == 1001
            client.end_stream()
            broker.end_stream()


async def test_grace() -> None:
    """JWT_EXPIRY_GRACE_SECONDS come on top, for a client whose new token is late."""
    async with house(JWT_EXPIRY_GRACE_SECONDS="0.5") as home:
        expires_at = time.time()
        async with home.open(token=home.provider.mint(exp=expires_at)) as client:
            upstream = await home.upstream.next()
            assert await client.hear_close() == EXPIRED
            assert time.time() >= expires_at + 0.5
            client.end_stream()
            upstream.end_stream()


async def test_too_old() -> None:
    """MAX_SESSION_SECONDS ends any session, also one without a token."""
    async with house(MAX_SESSION_SECONDS="0.1", ALLOW_ANONYMOUS="true") as home:
        connect = home.connect_packet(5, username=None, password=None)
        async with home.raw() as (client, upstream):
            assert await client.hear_close() == TOO_OLD
            client.end_stream()
            upstream.end_stream()
        async with home.mqtt(connect, welcomed=False) as (client, broker):
            await broker.say(BINARY, connack(5, 0))
            await client.hear()
            assert await client.hear() == (BINARY, True, disconnect(5, 0x87))
            assert await client.hear_close() == TOO_OLD
            client.end_stream()
            broker.end_stream()
        assert (await home.samples())['ws_session_ends_total{cause="session_too_old"}'] == 2
