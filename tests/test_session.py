"""The story of a session from outside, once for each kind of client; its sentences one by one are in ``session/``."""

from tests.house import house
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.mqtt import connack, disconnect


async def test_raw_session_with_a_header_token() -> None:
    """A raw client with a good token in its header talks to the upstream, and the upstream is told who it is."""
    async with house() as home, home.knock(token=home.provider.mint(sub="robot-7")) as (client, answer):
        assert answer.status == 101
        upstream = await home.upstream.next()
        await upstream.say(TEXT, b"welcome")
        assert await client.hear() == (TEXT, True, b"welcome")
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")
        assert home.upstream.requests[0].headers.get("x-user-id") == "robot-7"
        await client.say_close(1000)
        assert await upstream.hear_close() == (1000, "")
        await upstream.say_close(1000)
        assert await client.hear_close() == (1000, "")
        assert (await home.last_line("session ended"))["cause"] == "closed_by_client"


async def test_raw_session_with_a_token_in_its_first_message() -> None:
    """A raw client that says who it is in its first message talks to the upstream from its second one on."""
    async with house() as home, home.knock() as (client, answer):
        assert answer.status == 101
        await client.say(TEXT, home.provider.mint().encode())
        upstream = await home.upstream.next()
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")
        await upstream.say(TEXT, b"hello yourself")
        assert await client.hear() == (TEXT, True, b"hello yourself")


async def test_mqtt_session() -> None:
    """An MQTT client whose password is a good token talks to the broker, whom nobody else could."""
    async with house() as home, home.knock(("Sec-WebSocket-Protocol", "mqtt")) as (client, answer):
        assert answer.headers.get("sec-websocket-protocol") == "mqtt"
        connect = home.connect_packet().to_bytes()
        await client.say(BINARY, connect)
        broker = await home.upstream.next()
        assert await broker.hear() == (BINARY, True, connect)
        await broker.say(BINARY, connack(4, 0))
        assert await client.hear() == (BINARY, True, connack(4, 0))
        await client.say(BINARY, disconnect(4))
        assert await broker.hear() == (BINARY, True, disconnect(4))
        broker.end_stream()
        client.end_stream()
        assert (await home.end())["protocol"] == "mqtt"
