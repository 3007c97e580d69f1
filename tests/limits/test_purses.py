"""Purses that are waited for."""

import pytest
import trio
from trio.testing import MockClock

from trio_ws_gateway.limits.purses import LOOKS_PER_SECOND, purse, token_bucket
from trio_ws_gateway.limits.rates import Rate

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
