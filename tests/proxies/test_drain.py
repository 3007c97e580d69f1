"""A gateway that drains behind a proxy: its clients hear it, and the next ones are taken by the other."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
import trio
from attrs import define

from tests.house import House, house
from tests.proxies.front import TRUSTED, Front, behind, in_front_of
from tests.serve.outside import Outside, outside
from tests.servers import caddy, haproxy, nginx
from tests.tcp import Peer

pytestmark = pytest.mark.integration


async def test_goodbye(kind: ModuleType, tmp_path: Path) -> None:
    """Close code 1012 arrives through the proxy, and while the gateway drains new clients get a 503."""
    async with (
        behind(kind, tmp_path, GRACEFUL_DRAIN_TIMEOUT_SECONDS="10") as front,
        front.raw() as (first, _),
        front.raw() as (second, _),
    ):
        front.drain()
        assert await first.hear_close() == (1012, "Service restart")
        async with front.knock(token=front.provider.mint()) as (_, answer):
            assert answer.status == 503
        assert (await front.get("/gateway/readyz"))[0].status == 503
        second.end_stream()


@define
class Pair:
    """Two gateways behind one proxy; ``leaving`` is told to drain as soon as both have sessions."""

    front: Front
    staying: House
    leaving: Outside
    clients: list[Peer]

    async def statuses(self, count: int) -> list[int]:
        """What so many clients who come now hear."""
        return [await self.status() for _ in range(count)]

    async def status(self) -> int:
        async with self.front.knock(token=self.staying.provider.mint()) as (_, answer):
            return answer.status

    async def told(self) -> list[tuple[int, str]]:
        """What those clients have heard who were there before, if they have heard anything."""
        heard = []
        for client in self.clients:
            with trio.move_on_after(0.1):
                heard.append(await client.hear_close())
        return heard


@asynccontextmanager
async def one_of_two_drains(kind: ModuleType, directory: Path) -> AsyncIterator[Pair]:
    async with (
        house(**TRUSTED) as staying,
        outside(
            directory,
            JWKS_URL=staying.provider.jwks_uri,
            TRUSTED_PROXIES=TRUSTED["TRUSTED_PROXIES"],
            GRACEFUL_DRAIN_TIMEOUT_SECONDS="2",
        ) as leaving,
        in_front_of(staying, kind, directory / "proxy", also=[leaving.gateway.port]) as front,
        AsyncExitStack() as stack,
    ):
        token = staying.provider.mint()
        clients = [await stack.enter_async_context(front.open(token=token)) for _ in range(4)]
        assert leaving.house.upstream.connections > 0
        assert staying.upstream.connections > 0
        leaving.gateway.signal(signal.SIGTERM)
        with trio.fail_after(10):
            while (await leaving.house.get("/readyz"))[0].status != 503:
                await trio.sleep(0.01)
        yield Pair(front, staying, leaving, clients)


@pytest.mark.parametrize("kind", [nginx, haproxy], ids=["nginx", "haproxy"])
async def test_nobody_notices(kind: ModuleType, tmp_path: Path) -> None:
    """Of two gateways one drains: whoever comes now, and when it is gone, gets a session with the other.

    Whoever has a session with the other keeps it.
    """
    async with one_of_two_drains(kind, tmp_path) as pair:
        while pair.leaving.gateway.process.popen.poll() is None:
            assert await pair.status() == 101
            await trio.sleep(0.05)
        assert await pair.statuses(4) == [101] * 4
        assert await pair.told() == [(1012, "Service restart")] * pair.leaving.house.upstream.connections


async def test_one_may_notice(tmp_path: Path) -> None:
    """Caddy asks nobody else when it was told 503: one client has to come again, the next ones are taken."""
    async with one_of_two_drains(caddy, tmp_path) as pair:
        assert (await pair.statuses(8)).count(101) >= 7
        await trio.to_thread.run_sync(pair.leaving.gateway.process.wait)
        assert await pair.told() == [(1012, "Service restart")] * pair.leaving.house.upstream.connections
