"""`SessionCounts`: sessions of one subject, counted here and, through a real Redis, in all gateways."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from structlog import get_logger
from structlog.testing import capture_logs

from tests.servers.redis import Redis
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.limits import session_counts
from trio_ws_gateway.limits.session_counts import SessionCounts
from trio_ws_gateway.redis_link import RedisLink


@asynccontextmanager
async def gateway(redis: Redis) -> AsyncIterator[SessionCounts]:
    with capture_logs():
        async with trio.open_nursery() as nursery:
            link = RedisLink(RedisUrl.parse(redis.url), prefix="t:", log=get_logger(), changed=lambda _: None)
            await nursery.start(link.run)
            member = SessionCounts("subject", link=link, prefix="t:")
            nursery.start_soon(member.run)
            yield member
            nursery.cancel_scope.cancel()


async def refused(member: SessionCounts, subject: str = "robot", *, limit: int = 3) -> None:
    with pytest.raises(Refused) as caught:
        await member.enter(subject, limit)
    assert (caught.value.cause, caught.value.detail) == (Cause.TOO_MANY_CONNECTIONS, "sessions of one subject")


async def until_told_of(redis: Redis, subjects: int) -> None:
    """Until Redis knows of sessions of so many."""
    with redis.client() as client, trio.fail_after(5):
        while len(client.keys("t:sessions*")) != subjects:
            await trio.sleep(0.01)


async def test_in_one_process() -> None:
    """So many sessions of one subject, others have their own; who has left makes room, and nothing stays of him."""
    here = SessionCounts("subject")
    await here.enter("robot", 2)
    await here.enter("robot", 2)
    await refused(here, limit=2)
    await here.enter("another", 2)
    here.leave("robot")
    await here.enter("robot", 2)
    for subject in ("robot", "robot", "another"):
        here.leave(subject)
    assert len(here) == 0


async def test_without_a_limit() -> None:
    """Without a limit everybody may come."""
    here = SessionCounts("subject")
    for _ in range(100):
        await here.enter("robot", math.inf)


@pytest.mark.integration
async def test_in_all_gateways(redis: Redis, patient: None) -> None:
    """The sessions of all gateways count together; who leaves one makes room in the other."""
    async with gateway(redis) as one, gateway(redis) as two:
        await one.enter("robot", 3)
        await one.enter("robot", 3)
        await two.enter("robot", 3)
        await refused(two)
        await refused(one)
        one.leave("robot")
        await trio.sleep(0.02)
        await two.enter("robot", 3)


@pytest.mark.integration
async def test_gateway_that_dies(redis: Redis, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway that is gone has said is void after a while; what the living say is said again before that."""
    monkeypatch.setattr(session_counts, "VALID_SECONDS", 0.6)
    async with gateway(redis) as one:
        async with gateway(redis) as two:
            await one.enter("robot", 3)
            await two.enter("robot", 3)
            await two.enter("robot", 3)
            await refused(one)
            await trio.sleep(0.8)
            await refused(one)
        await trio.sleep(0.8)
        await one.enter("robot", 3)
        await one.enter("robot", 3)
        await refused(one)


@pytest.mark.integration
async def test_redis_that_forgets(redis: Redis, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a flush the counts are there again soon; while Redis is gone each gateway counts by itself."""
    monkeypatch.setattr(session_counts, "VALID_SECONDS", 0.6)
    async with gateway(redis) as one, gateway(redis) as two:
        for _ in range(3):
            await one.enter("robot", 3)
        with redis.client() as client:
            client.flushall()
        await until_told_of(redis, 1)
        await refused(two)
        redis.kill()
        await two.enter("robot", 3)
        await refused(one)


@pytest.mark.integration
@pytest.mark.alone
async def test_frozen_redis_holds_nobody(redis: Redis) -> None:
    """A session waits 50 ms for a frozen Redis, and then comes in; who comes while it is late does not wait."""
    async with gateway(redis) as one:
        redis.freeze()
        for longest in (0.1, 0.02):
            began_at = trio.current_time()
            await one.enter("robot", 3)
            assert trio.current_time() - began_at < longest
        redis.thaw()


@pytest.mark.integration
async def test_few_are_not_worth_a_word(redis: Redis, patient: None) -> None:
    """Redis hears of nobody who has a hundredth of the limit or less; of who has more it hears how many in all, until
    there are few again."""
    async with gateway(redis) as one, gateway(redis) as two:
        with redis.client() as client:
            for _ in range(2):
                await one.enter("robot", 200)
            await two.enter("robot", 200)
            assert not client.keys("t:sessions*")
            await one.enter("robot", 200)
            (key,) = client.keys("t:sessions*")
            assert [told.split()[0] for told in client.hgetall(key).values()] == [b"3"]
            await two.enter("robot", 5)  # by another rule it may have fewer, and so its two are told
            assert sorted(told.split()[0] for told in client.hgetall(key).values()) == [b"2", b"3"]
            await refused(two, limit=5)
            two.leave("robot")
            two.leave("robot")
            one.leave("robot")
            await until_told_of(redis, 0)


@pytest.mark.integration
async def test_lives_no_longer_than_it_is_told_of(redis: Redis, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in Redis of a gateway that has died is forgotten by Redis itself."""
    monkeypatch.setattr(session_counts, "VALID_SECONDS", 0.3)
    async with gateway(redis) as one:
        await one.enter("robot", 3)
    with redis.client() as client:
        (key,) = client.keys("t:sessions*")
        assert 0 < client.pttl(key) <= 300
