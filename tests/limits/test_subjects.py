"""`Subjects`: sessions of one subject, counted here and, through a real Redis, in all gateways."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog import get_logger
from structlog.testing import capture_logs

from tests.servers.redis import Redis
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.limits import subjects
from trio_ws_gateway.limits.subjects import Subjects
from trio_ws_gateway.redis_link import RedisLink


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis.start(tmp_path)
    yield server
    server.kill()


@asynccontextmanager
async def gateway(redis: Redis, limit: int = 3) -> AsyncIterator[Subjects]:
    with capture_logs():
        async with trio.open_nursery() as nursery:
            link = RedisLink(RedisUrl.parse(redis.url), prefix="t:", log=get_logger(), changed=lambda _: None)
            await nursery.start(link.run)
            member = Subjects(limit, link=link, prefix="t:")
            nursery.start_soon(member.run)
            yield member
            nursery.cancel_scope.cancel()


async def refused(member: Subjects, subject: str = "robot") -> None:
    with pytest.raises(Refused) as caught:
        await member.enter(subject)
    assert (caught.value.cause, caught.value.detail) == (Cause.TOO_MANY_CONNECTIONS, "sessions of one subject")


async def test_in_one_process() -> None:
    """So many sessions of one subject, others have their own; who has left makes room, and nothing stays of him."""
    here = Subjects(2)
    await here.enter("robot")
    await here.enter("robot")
    await refused(here)
    await here.enter("another")
    here.leave("robot")
    await here.enter("robot")
    for subject in ("robot", "robot", "another"):
        here.leave(subject)
    assert len(here) == 0


async def test_without_a_limit() -> None:
    """Without a limit everybody may come."""
    here = Subjects(0)
    for _ in range(100):
        await here.enter("robot")


@pytest.mark.integration
async def test_in_all_gateways(redis: Redis) -> None:
    """The sessions of all gateways count together; who leaves one makes room in the other."""
    async with gateway(redis) as one, gateway(redis) as two:
        await one.enter("robot")
        await one.enter("robot")
        await two.enter("robot")
        await refused(two)
        await refused(one)
        one.leave("robot")
        await trio.sleep(0.02)
        await two.enter("robot")


@pytest.mark.integration
async def test_gateway_that_dies(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway that is gone has said is void after a while; what the living say is said again before that."""
    monkeypatch.setattr(subjects, "VALID_SECONDS", 0.6)
    async with gateway(redis) as one:
        async with gateway(redis) as two:
            await one.enter("robot")
            await two.enter("robot")
            await two.enter("robot")
            await refused(one)
            await trio.sleep(0.8)
            await refused(one)
        await trio.sleep(0.8)
        await one.enter("robot")
        await one.enter("robot")
        await refused(one)


@pytest.mark.integration
async def test_redis_that_forgets(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a flush the counts are there again soon; while Redis is gone each gateway counts by itself."""
    monkeypatch.setattr(subjects, "VALID_SECONDS", 0.6)
    async with gateway(redis) as one, gateway(redis) as two:
        for _ in range(3):
            await one.enter("robot")
        with redis.client() as client:
            client.flushall()
        await trio.sleep(0.3)
        await refused(two)
        redis.kill()
        await two.enter("robot")
        await refused(one)


@pytest.mark.integration
async def test_frozen_redis_holds_nobody(redis: Redis) -> None:
    """A session waits 50 ms for a frozen Redis, and then comes in."""
    async with gateway(redis) as one:
        redis.freeze()
        began_at = trio.current_time()
        await one.enter("robot")
        assert trio.current_time() - began_at < 0.1
        redis.thaw()
