"""Purses that are waited for."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import cast

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from tests.limits.test_leases import Shared
from trio_ws_gateway.limits.leases import Question
from trio_ws_gateway.limits.purses import LOOKS_PER_SECOND, in_memory, purse, token_bucket
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.limits.shared import SharedBuckets
from trio_ws_gateway.redis_link import RedisLink, Reply, Script

SECONDS = 10.0


@pytest.mark.parametrize("waiting", [1, 30, 3000])
async def test_those_who_wait(autojump_clock: MockClock, waiting: int) -> None:
    """However many wait for one bucket, together they look at it so often and no oftener; all that comes is taken."""
    rate = Rate(1000, 1000, pauses=True)
    mine = purse(rate, token_bucket(rate, trio.current_time()))
    looks = taken = 0

    async def spender() -> None:
        nonlocal looks, taken
        assert mine.wait is not None
        while True:
            if tokens := mine.bucket.available(trio.current_time()):
                mine.bucket.spend(tokens)
                taken += tokens
            looks += 1
            await mine.wait()

    with trio.move_on_after(SECONDS):
        async with trio.open_nursery() as nursery:
            for _ in range(waiting):
                nursery.start_soon(spender)
    assert looks <= waiting + SECONDS * (LOOKS_PER_SECOND + waiting / SECONDS)
    assert 1000 * SECONDS * 0.9 <= taken <= 1000 + 1000 * SECONDS


@frozen
class Near:
    """In place of a link: a Redis that answers in a millisecond."""

    nursery: trio.Nursery
    bucket: Shared
    is_away: bool = False
    late_at: float = math.inf

    def submit(
        self,
        _script: Script,
        _key: str,
        _rate: float,
        _burst: int,
        back: int,
        wanted: int,
        *,
        answered: Callable[[Reply], None],
    ) -> None:
        async def answer() -> None:
            await trio.sleep(0.0005)
            found = self.bucket.take(Question(back, wanted), Fraction(trio.current_time()))
            await trio.sleep(0.0005)
            answered((found.granted, 1000, math.ceil(found.again_seconds * 1000)))

        self.nursery.start_soon(answer)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("burst", [100, 1000])
async def test_no_pause_is_too_long(autojump_clock: MockClock, burst: int, shared: bool) -> None:
    """Who waits gets all that comes, also where the bucket is full again after a hundredth of a second."""
    rate, taken = Rate(10_000, burst, pauses=True), 0
    robot = Spender("robot", Direction.FROM_CLIENT, Rates(messages=rate))
    async with trio.open_nursery() as nursery:
        link = cast(RedisLink, Near(nursery, Shared(Fraction(10_000), burst)))
        make = SharedBuckets(link, prefix="", algorithm="token-bucket").purse if shared else in_memory
        mine = make("messages", robot, rate, trio.current_time())
        assert mine.wait is not None
        with trio.move_on_after(SECONDS):
            while await mine.wait():
                tokens = mine.bucket.available(trio.current_time())
                mine.bucket.spend(tokens)
                taken += tokens
        nursery.cancel_scope.cancel()
    assert taken >= 0.98 * 10_000 * SECONDS
