"""A session, seen from outside."""

from tests.house import house
from trio_ws_gateway.wire.frames import TEXT


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
