"""`SharedBucket`: several gateways over one real Redis, which is also frozen and killed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog import get_logger
from structlog.testing import capture_logs

from tests.servers.redis import Redis
from trio_ws_gateway.checking.redis_store import check_redis
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.limits.budgets import Kind
from trio_ws_gateway.limits.purses import Common, budget
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.limits.session_counts import SessionCounts
from trio_ws_gateway.limits.shared import SharedBucket, SharedBuckets
from trio_ws_gateway.redis_link import RedisLink

pytestmark = pytest.mark.integration

ROBOT = ("issuer", "robot-7")


@asynccontextmanager
async def fleet(redis: Redis, gateways: int = 1, algorithm: str = "token-bucket") -> AsyncIterator[list[SharedBuckets]]:
    with capture_logs():
        async with trio.open_nursery() as nursery:
            members = []
            for _ in range(gateways):
                link = RedisLink(RedisUrl.parse(redis.url), prefix="t:", log=get_logger(), changed=lambda _: None)
                await nursery.start(link.run)
                members.append(SharedBuckets(link, prefix="t:", algorithm=algorithm))
                nursery.start_soon(members[-1].run)
            yield members
            nursery.cancel_scope.cancel()


def bucket(member: SharedBuckets, *, rate: float = 0.001, burst: int = 24) -> SharedBucket:
    return member.bucket("messages", ROBOT, Rate(rate, burst), trio.current_time())


async def until(fact: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not fact():
            await trio.sleep(0.01)


async def spend_all(robot: SharedBucket) -> int:
    """All that can be had now."""
    spent = 0
    while await robot.wait_for_more():
        tokens = robot.available(trio.current_time())
        robot.spend(tokens)
        spent += tokens
    return spent


async def test_one_limit_for_all(redis: Redis, patient: None) -> None:
    """What one gateway has granted another one does not grant again."""
    async with fleet(redis, 2) as (one, two):
        here, there = bucket(one), bucket(two)
        assert await here.wait_for_more()
        here.spend(2)
        assert await spend_all(there) == 24 - 2 - 3  # those spent here, and the lease that is held here
        here.spend(here.available(trio.current_time()))
        assert not await there.wait_for_more()
        assert not await here.wait_for_more()


async def test_asks_ahead(redis: Redis, patient: None) -> None:
    """Whoever asks at the beginning and sends no faster than answers come never finds it empty."""
    async with fleet(redis) as (one,):
        robot = bucket(one, burst=80)
        robot.ask()
        await until(lambda: robot.available(trio.current_time()) == 10)
        for _ in range(14):
            robot.spend(5)
            assert robot.available(trio.current_time()) == 5
            await until(lambda: robot.available(trio.current_time()) == 10)


async def test_silent_sessions_hold_nothing(redis: Redis, patient: None) -> None:
    """A session that sends nothing holds nothing: the whole of a small burst is there at another gateway."""
    rates = Rates(messages=Rate(0.001, 1))
    async with fleet(redis, 2) as (one, two):
        spender = Spender(ROBOT, Direction.FROM_CLIENT, rates)
        silent = budget(Common.of(Rates()), spender, trio.current_time(), make=one.purse)
        await trio.sleep(0.05)
        assert silent.is_full(trio.current_time())
        purse = two.purse("messages", spender, Rate(0.001, 1), trio.current_time())
        assert purse.wait is not None
        assert await purse.wait()


async def test_what_is_left_is_given_back(redis: Redis, patient: None) -> None:
    """A lease that nobody spends is back a second later, also when its sessions have gone, and while others take new
    ones without a pause."""
    async with fleet(redis, 2) as (one, two):
        busy = one.bucket("messages", "busy", Rate(1000, 24), trio.current_time())
        assert await busy.wait_for_more()
        left = bucket(one)
        assert await left.wait_for_more()
        with trio.move_on_after(1.4):
            while True:
                await busy.wait_for_more()
                busy.spend(1)
                await trio.sleep(0.02)
        assert left.is_full(trio.current_time())
        assert await spend_all(bucket(two)) == 24


async def test_fixed_window(redis: Redis, patient: None) -> None:
    """With fixed windows all gateways together grant the burst in each second."""
    async with fleet(redis, 2, "fixed-window") as (one, two):
        here, there = bucket(one), bucket(two)
        assert await spend_all(here) + await spend_all(there) == 24
        await trio.sleep(1.1)
        assert await spend_all(there) + await spend_all(here) == 24


@pytest.mark.alone
async def test_redis_that_freezes(redis: Redis) -> None:
    """A session waits 50 ms at the longest, and then has the limit of this gateway, less what it has spent; another one
    that comes while Redis is late does not wait."""
    async with fleet(redis) as (one,):
        robot = bucket(one)
        assert await robot.wait_for_more()
        robot.spend(robot.available(trio.current_time()))
        await trio.sleep(0.02)
        redis.freeze()
        spent = 3
        longest = other_waited = 0.0
        while True:
            began_at = trio.current_time()
            more = await robot.wait_for_more()
            longest = max(longest, trio.current_time() - began_at)
            if not more:
                break
            robot.spend(1)
            spent += 1
            await trio.sleep(0.01)
            if longest > 0.04 and not other_waited:
                other = one.bucket("messages", "another", Rate(1, 24), began_at := trio.current_time())
                assert await other.wait_for_more()
                other_waited = trio.current_time() - began_at
        assert spent == 24
        assert longest < 0.06
        assert other_waited < 0.02
        await until(lambda: one.link.is_away)
        redis.thaw()
        await until(lambda: not one.link.is_away)
        assert not await robot.wait_for_more()  # what memory granted while it was late has been paid


async def test_redis_that_is_flushed(redis: Redis, patient: None) -> None:
    """A flush gives everybody a new burst, and nothing else happens."""
    async with fleet(redis) as (one,):
        robot = bucket(one)
        assert await spend_all(robot) == 24
        with redis.client() as client:
            client.flushall()
        await trio.sleep(1.05)  # for which it was told that there is none
        assert await spend_all(robot) == 24


async def test_what_a_user_must_be_allowed(tmp_path: Path, patient: None) -> None:
    """A Redis user who may do what docs/limits.md names, and nothing else, is enough for all that is shared; and the
    algorithms do not meddle with each other's keys."""
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    words = page.partition("access lists needs\n`")[2].partition("`")[0].split()
    assert words[0] == "~ws-gateway:*"
    server = Redis.start(
        tmp_path, *("--user", "default", "off"), *("--user", "gateway", "on", ">sesame", "-@all", *words)
    )
    url = RedisUrl.parse(f"redis://gateway:sesame@127.0.0.1:{server.port}")
    try:
        for algorithm in ("token-bucket", "fixed-window"):
            async with trio.open_nursery() as nursery:
                link = RedisLink(url, prefix="ws-gateway:", log=get_logger(), changed=lambda _: None)
                await nursery.start(link.run)
                member = SharedBuckets(link, prefix="ws-gateway:", algorithm=algorithm)
                assert await spend_all(bucket(member)) == 24
                for _ in range(2):
                    subjects = SessionCounts("subject", link=link, prefix="ws-gateway:")
                    await subjects.enter(ROBOT, 10)
                    subjects.leave(ROBOT)
                assert not link.is_away
                nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_redis, url, "ws-gateway:", 5.0)
    finally:
        server.kill()


async def test_no_more_requests_than_needed(redis: Redis, patient: None) -> None:
    """Who is denied asks once a second, however often he tries."""
    async with fleet(redis) as (one,):
        robot = bucket(one)
        await spend_all(robot)
        with redis.client() as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            for _ in range(1000):
                assert not await robot.wait_for_more()
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] <= before + 1


async def test_two_sessions_that_wait(redis: Redis, patient: None) -> None:
    """All who wait hear of the answer; each is told so only when there is something for it."""
    async with fleet(redis) as (one,):
        robot = bucket(one, burst=2)
        got: list[bool] = []

        async def session() -> None:
            for _ in range(2):
                got.append(await robot.wait_for_more())
                if got[-1]:
                    robot.spend(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(session)
            nursery.start_soon(session)
        assert sorted(got) == [False, False, True, True]


async def test_packets(redis: Redis, patient: None) -> None:
    """Packets are limited over all gateways too: together they grant the burst, and then refuse."""
    rates = Rates(packets=Rate(0.001, 24))
    spender = Spender(ROBOT, Direction.FROM_CLIENT, rates)
    async with fleet(redis, 2) as members:
        budgets = [budget(Common.of(Rates()), spender, trio.current_time(), make=member.purse) for member in members]
        granted, refused = 0, 0
        while refused < len(budgets):
            refused = 0
            for each in budgets:
                granted += (count := each.packets_to_grant(trio.current_time()))
                each.pay_for_packets(count)
                purse = each.empty_purse(Kind.PACKETS, trio.current_time())
                assert purse is not None
                assert purse.wait is not None
                refused += not await purse.wait()
        assert granted == 24
