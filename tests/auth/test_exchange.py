"""Revocations between gateways, through a real Redis that comes and goes."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trio
from structlog.testing import capture_logs

from tests.servers.ports import free_port
from tests.servers.redis import Cluster, Redis, SentinelGroup
from trio_ws_gateway.auth.exchange import LISTEN_SECONDS, Exchange
from trio_ws_gateway.auth.revocation import Revocation, Revocations
from trio_ws_gateway.auth.token import MAX_NUMERIC_DATE
from trio_ws_gateway.config.redis_url import RedisUrl

pytestmark = pytest.mark.integration

KEY = "test:revocations"
SOON_SECONDS = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis.start(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(server: Redis) -> Redis:
    with server.client() as client:
        client.flushall()
    return server


class Gateway:
    """What a gateway knows, and its part in the exchange."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self.known = Revocations(100)
        self.exchange = Exchange(
            RedisUrl.parse(url),
            prefix="test:",
            revocations=self.known,
            hear=self._hear,
            log=structlog.get_logger(),
            clock=clock,
        )

    async def _hear(self, heard: list[Revocation]) -> None:
        for revocation in heard:
            self.known.add(revocation, time.time())

    async def revoke(self, jti: str) -> bool:
        revocation = of(jti)
        self.known.add(revocation, time.time())
        return await self.exchange.tell(revocation)

    async def knows(self, *jtis: str) -> None:
        """Wait until it does."""
        with trio.fail_after(SOON_SECONDS):
            while not {revocation.jti for revocation in self.known}.issuperset(jtis):
                await trio.sleep(0.005)


def of(jti: str) -> Revocation:
    return Revocation(jti=jti, until=float(int(time.time()) + 600))


@asynccontextmanager
async def taking_part(*gateways: Gateway) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for gateway in gateways:
            await nursery.start(gateway.exchange.run)
        yield
        nursery.cancel_scope.cancel()


async def told(gateway: Gateway, jti: str) -> None:
    """Revoke again and again until others hear of it at once: Redis has been found."""
    with trio.fail_after(5):
        while not await gateway.revoke(jti):
            await trio.sleep(0.01)


async def test_all_hear(redis: Redis) -> None:
    """What one revokes all know within a second, and one that starts later from its start on."""
    one, other, late = (Gateway(redis.url) for _ in range(3))
    async with taking_part(one, other):
        assert await one.revoke("a")
        assert await other.revoke("b")
        await one.knows("b")
        await other.knows("a")
        async with taking_part(late):
            assert {revocation.jti for revocation in late.known} == {"a", "b"}


async def test_no_longer_than_needed(redis: Redis) -> None:
    """Redis keeps none that is over, and the key no longer than its last one."""
    one = Gateway(redis.url)
    async with taking_part(one):
        await one.exchange.tell(Revocation(jti="over", until=time.time() - 1))
        await one.revoke("a")
        with redis.client() as client:
            assert client.zcard(KEY) == 1
            assert 590 < client.ttl(KEY) <= 602


async def test_cut_off(redis: Redis, tmp_path: Path) -> None:
    """Gateways that were cut off learn what they have missed, in both directions, also from a Redis that has lost its
    memory meanwhile. None waits for Redis, and each says once that it is away."""
    redis = Redis.start(tmp_path, port=free_port())
    one, other = Gateway(redis.url), Gateway(redis.url)
    with capture_logs() as lines:
        async with taking_part(one, other):
            assert await one.revoke("before")
            await other.knows("before")
            redis.kill()
            began_at = trio.current_time()
            assert not await one.revoke("meanwhile")
            assert not await other.revoke("too")
            assert trio.current_time() - began_at < 0.6
            await trio.sleep(0.3)
            redis = Redis.start(tmp_path, port=redis.port, name="back")
            try:
                with trio.fail_after(3):
                    while {revocation.jti for revocation in other.known} != {"before", "meanwhile", "too"}:
                        await trio.sleep(0.01)
                await one.knows("before", "meanwhile", "too")
                with redis.client() as client:
                    assert client.zcard(KEY) == 3
            finally:
                redis.kill()
    away = [line for line in lines if line["event"] == "revocations not shared"]
    assert 2 <= len(away) <= 4  # the second time when it is killed at the end


async def test_frozen(redis: Redis) -> None:
    """A Redis that does not answer is away, and what was revoked meanwhile is told when it does."""
    one, other = Gateway(redis.url), Gateway(redis.url)
    async with taking_part(one, other):
        redis.freeze()
        try:
            assert not await one.revoke("a")
            await trio.sleep(0.3)
        finally:
            redis.thaw()
        with trio.fail_after(3):
            while not len(other.known):
                await trio.sleep(0.01)


async def test_starts_without(tmp_path: Path) -> None:
    """A gateway whose Redis is not there starts all the same, and takes part as soon as it is."""
    port = free_port()
    one = Gateway(f"redis://127.0.0.1:{port}/0")
    async with taking_part(one):
        assert not await one.revoke("a")
        redis = Redis.start(tmp_path, port=port)
        try:
            with trio.fail_after(5), redis.client() as client:
                while not client.zcard(KEY):
                    await trio.sleep(0.02)
        finally:
            redis.kill()


async def test_what_cannot_be_written(redis: Redis) -> None:
    """Where Redis takes nothing, a revocation is told as soon as it does."""
    one, other = Gateway(redis.url), Gateway(redis.url)
    async with taking_part(one, other):
        with redis.client() as client:
            client.config_set("min-replicas-to-write", 1)
            assert not await one.revoke("a")
            client.config_set("min-replicas-to-write", 0)
        await other.knows("a")


async def test_junk(redis: Redis) -> None:
    """What is no revocation is not believed, nor a reason to stop."""
    one = Gateway(redis.url)
    huge = [f'{{"until": {"9" * 400}, "jti": "a"}}', '{"until": 1e17, "jti": "a"}']
    junk = [*huge, "", "{", "7", "[]", '{"until": "x"}', '{"until": 1e999, "jti": "a"}', '{"jti": "a"}', "[" * 100_000]
    with redis.client() as client:
        client.zadd(KEY, dict.fromkeys(junk, time.time() + 60))
        async with taking_part(one):
            for text in junk:
                client.publish(KEY, text)
            other = Gateway(redis.url)
            async with taking_part(other):
                await other.revoke("a")
                await one.knows("a")
        assert len(one.known) == 1


@pytest.mark.parametrize("score", ["+inf", 1e17, 9.2e15])
async def test_entry_that_never_ends(redis: Redis, score: str | float) -> None:
    """An entry of somebody else's that would be kept for ever keeps nobody from being told, and goes."""
    one, other = Gateway(redis.url), Gateway(redis.url)
    async with taking_part(one, other):
        with redis.client() as client:
            client.zadd(KEY, {"junk": score})
            assert await one.revoke("a")
            await other.knows("a")
            assert client.zcard(KEY) == 1
            assert 590 < client.ttl(KEY) <= 602


async def test_last_day(redis: Redis) -> None:
    """What is to be remembered for as long as any token may be good is told like the rest."""
    one, other = Gateway(redis.url), Gateway(redis.url)
    async with taking_part(one, other):
        revocation = Revocation(jti="a", until=MAX_NUMERIC_DATE)
        assert await one.exchange.tell(revocation)
        await other.knows("a")


async def test_key_of_another_kind(redis: Redis) -> None:
    """A key that is no sorted set gives way to the next revocation, whoever comes before or after it was there."""
    one = Gateway(redis.url)
    with redis.client() as client:
        client.set(KEY, "junk")
        async with taking_part(one):
            assert await one.revoke("a")
            client.delete(KEY)
            client.set(KEY, "junk")
            assert await one.revoke("b")
            late = Gateway(redis.url)
            async with taking_part(late):
                await late.knows("b")


@pytest.mark.parametrize("kind", [Cluster, SentinelGroup])
async def test_of_several_servers(tmp_path: Path, kind: type[Cluster] | type[SentinelGroup]) -> None:
    """It works over a cluster, and with a master that Sentinels name."""
    servers = kind.start(tmp_path)
    try:
        one, other, late = (Gateway(servers.url) for _ in range(3))
        async with taking_part(one, other):
            await trio.sleep(2 * LISTEN_SECONDS)  # silence is not taken for an absence
            assert await one.revoke("a")
            await other.knows("a")
            async with taking_part(late):
                assert len(late.known) == 1
    finally:
        servers.stop()
