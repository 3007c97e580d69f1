"""Tokens of live sessions that expire, in a gateway process."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from tests.serve.outside import outside
from tests.tcp import Peer

SESSIONS = 16
SPREAD_SECONDS = 5.0


async def test_tokens_of_one_moment(tmp_path: Path) -> None:
    """Sessions whose tokens expire together end one by one, none before its grace is over and none much later."""
    async with outside(tmp_path, JWT_EXPIRY_GRACE_SECONDS="0.5") as there, AsyncExitStack() as stack:
        home, ended_at = there.house, list[float]()
        expires_at = time.time() + 1

        async def last(client: Peer) -> None:
            await trio.lowlevel.wait_readable(client.sock)
            assert await client.hear_close() == (1008, "Token expired")
            ended_at.append(time.time())
            client.end_stream()

        async with trio.open_nursery() as nursery:
            for _ in range(SESSIONS):
                client = await stack.enter_async_context(home.open(token=home.provider.mint(exp=expires_at)))
                nursery.start_soon(last, client)
        first, last_one = min(ended_at) - expires_at, max(ended_at) - expires_at
        assert first >= 0.5
        assert last_one < 0.5 + SPREAD_SECONDS + 3
        assert last_one - first > 1
        await there.log_line("session ended", SESSIONS)
        assert {line["cause"] for line in there.gateway.events("session ended")} == {"token_expired"}
