"""Silence behind a proxy: pings keep a session, and one that is cut has lost its client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.house import House, house
from tests.proxies.front import TRUSTED, Front, in_front_of
from tests.serve.outside import echo
from tests.servers import haproxy, nginx
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import PING, PONG, TEXT

pytestmark = pytest.mark.integration

LIMIT_SECONDS = 2
IMPATIENT = {  # Caddy cuts no silent session by itself
    nginx: {"proxy_read_timeout 75s": f"proxy_read_timeout {LIMIT_SECONDS}s"},
    haproxy: {"timeout tunnel 75s": f"timeout tunnel {LIMIT_SECONDS}s"},
}


@asynccontextmanager
async def behind_the_impatient(directory: Path, **settings: str) -> AsyncIterator[tuple[House, list[Front]]]:
    """One gateway behind all of them at once, which spares the tests the sum of their time-outs."""
    async with house(**{**TRUSTED, **settings}) as home, AsyncExitStack() as stack:
        fronts = []
        for kind, changes in IMPATIENT.items():
            front = in_front_of(home, kind, directory / kind.__name__, changes=changes)
            fronts.append(await stack.enter_async_context(front))
        yield home, fronts


async def stay_silent(client: Peer, seconds: float) -> None:
    """Answer pings and hear nothing else."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        opcode, _, payload = await client.hear()
        assert opcode == PING
        await client.say(PONG, payload)


async def test_pings_keep_it(tmp_path: Path) -> None:
    """A session in which nobody says anything outlives the proxy's time-out several times over."""

    async with behind_the_impatient(tmp_path, WS_PING_INTERVAL_SECONDS="0.5") as (_, fronts), AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(front.raw()) for front in fronts]
        async with trio.open_nursery() as echoing:
            for _, upstream in sessions:
                echoing.start_soon(echo, upstream)
            async with trio.open_nursery() as nursery:
                for client, _ in sessions:
                    nursery.start_soon(stay_silent, client, 2.5 * LIMIT_SECONDS)
            for client, _ in sessions:
                await client.say(TEXT, b"still there?")
                while (heard := await client.hear())[0] == PING:
                    await client.say(PONG, heard[2])
                assert heard == (TEXT, True, b"still there?")
            echoing.cancel_scope.cancel()


async def test_cut_without_pings(tmp_path: Path) -> None:
    """Without pings the proxy cuts a silent session: its client counts as lost, and its upstream hears the end."""

    async def session(front: Front) -> None:
        async with front.open(token=front.provider.mint()) as client:
            assert await client.read_to_end() == b""

    async with behind_the_impatient(tmp_path, WS_PING_INTERVAL_SECONDS="0") as (home, fronts):
        async with trio.open_nursery() as nursery:
            for front in fronts:
                nursery.start_soon(session, front)
        for _ in fronts:
            assert await (await home.upstream.next()).read_to_end() == b""
        with trio.fail_after(10):
            while len(lines := home.lines("session ended")) < len(fronts):
                await trio.sleep(0.01)
        assert [line["cause"] for line in lines] == ["client_lost"] * len(fronts)
        samples = await home.samples()
        assert sum(n for name, n in samples.items() if 'cause="client_lost"' in name) == len(fronts)
        assert samples["ws_active_sessions"] == 0
