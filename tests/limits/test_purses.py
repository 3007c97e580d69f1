"""Purses that are waited for."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import cast

import pytest
import trio
from attrs import field, frozen
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
    questions: list[Question] = field(factory=list)

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
        self.questions.append(Question(back, wanted))

        async def answer() -> None:
            await trio.sleep(0.0005)
            found = self.bucket.take(Question(back, wanted), Fraction(trio.current_time()))
            await trio.sleep(0.0005)
            answered((found.granted, 1000, math.ceil(found.again_seconds * 10**6)))

        self.nursery.start_soon(answer)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("per_second", "burst", "waiting"),
    [(10_000, 100, 1), (10_000, 1000, 1), (200, 1, 1), (900, 10, 1), (900, 10, 20), (100, 300, 100)],
)
async def test_no_pause_is_too_long(
    autojump_clock: MockClock, per_second: int, burst: int, waiting: int, shared: bool
) -> None:
    """Those who wait get all that comes, also where the bucket is full again after a hundredth of a second, or holds
    but one token, and however many they are."""
    rate, taken = Rate(per_second, burst, pauses=True), 0
    robot = Spender("robot", Direction.FROM_CLIENT, Rates(messages=rate))
    async with trio.open_nursery() as nursery:
        link = cast(RedisLink, Near(nursery, Shared(Fraction(per_second), burst)))
        make = SharedBuckets(link, prefix="", algorithm="token-bucket").purse if shared else in_memory
        mine = make("messages", robot, rate, trio.current_time())
        assert mine.wait is not None
        wait = mine.wait

        async def spender() -> None:
            nonlocal taken
            while await wait():
                tokens = mine.bucket.available(trio.current_time())
                mine.bucket.spend(tokens)
                taken += tokens

        with trio.move_on_after(SECONDS):
            async with trio.open_nursery() as spenders:
                for _ in range(waiting):
                    spenders.start_soon(spender)
        nursery.cancel_scope.cancel()
    assert taken >= 0.98 * per_second * SECONDS


async def test_nobody_asks_for_crumbs(autojump_clock: MockClock) -> None:
    """Those who wait for bytes ask for them some 50 times a second, and not as fast as there are answers."""
    rate = Rate(10_000, 8000, pauses=True)
    robot = Spender("robot", Direction.FROM_CLIENT, Rates(bytes=rate))
    async with trio.open_nursery() as nursery:
        link = Near(nursery, Shared(Fraction(10_000), 8000))
        mine = SharedBuckets(cast(RedisLink, link), prefix="", algorithm="token-bucket").purse(
            "bytes", robot, rate, trio.current_time()
        )
        assert mine.wait is not None
        with trio.move_on_after(SECONDS):
            while await mine.wait():
                mine.bucket.spend(mine.bucket.available(trio.current_time()))
        nursery.cancel_scope.cancel()
    assert len(link.questions) < 60 * SECONDS
