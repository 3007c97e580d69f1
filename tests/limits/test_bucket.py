"""`TokenBucket` grants its capacity at once and its rate in the long run, never more and never less."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.limits.bucket import TokenBucket

RATES = st.floats(0.01, 10_000)
CAPACITIES = st.integers(1, 10_000)
STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 500)), max_size=60)


def test_begins_full() -> None:
    """A new bucket grants its capacity, and then nothing while the clock stands still."""
    bucket = TokenBucket(rate=10, capacity=5, now=100.0)
    assert bucket.take(3, 100.0) == 3
    assert bucket.take(3, 100.0) == 2
    assert bucket.take(3, 100.0) == 0


def test_refills() -> None:
    """A token comes back every 1/rate seconds, whole, and not a moment before."""
    bucket = TokenBucket(rate=10, capacity=5, now=0.0)
    bucket.take(5, 0.0)
    assert bucket.take(1, 0.0999) == 0
    assert bucket.take(1, 0.1001) == 1
    assert bucket.take(9, 10.0) == 5


def test_what_is_not_spent() -> None:
    """What was seen and not spent is still there, and fills nothing beyond the capacity."""
    bucket = TokenBucket(rate=1, capacity=5, now=0.0)
    assert bucket.available(0.0) == 5
    bucket.spend(2)
    assert bucket.available(0.0) == 3
    assert bucket.available(100.0) == 5


def test_a_clock_that_goes_back() -> None:
    """A clock that steps back takes nothing away and gives nothing twice."""
    bucket = TokenBucket(rate=10, capacity=5, now=100.0)
    assert bucket.take(4, 50.0) == 4
    assert bucket.take(4, 40.0) == 1
    assert bucket.take(4, 100.0) == 0


@given(RATES, CAPACITIES, st.lists(st.tuples(st.floats(-30, 30), st.integers(0, 500)), max_size=60))
def test_clocks_that_differ(rate: float, capacity: int, steps: list[tuple[float, int]]) -> None:
    """Whoever asks with a clock that is behind finds no debt, and leaves none."""
    bucket = TokenBucket(rate=rate, capacity=capacity, now=0.0)
    for now, tokens in steps:
        available = bucket.available(now)
        assert 0 <= available <= capacity
        bucket.spend(min(tokens, available))
    assert 0 <= bucket.available(0.0) <= capacity


@given(RATES, CAPACITIES, st.lists(st.tuples(st.floats(-30, 30), st.integers(0, 500)), max_size=60))
def test_any_clock(rate: float, capacity: int, steps: list[tuple[float, int]]) -> None:
    """However the clock jumps, no more is granted than capacity + rate x (the latest moment it ever showed)."""
    now = latest = 0.0
    bucket = TokenBucket(rate=rate, capacity=capacity, now=now)
    total = 0
    for jump, tokens in steps:
        now += jump
        latest = max(latest, now)
        total += bucket.take(tokens, now)
        assert total <= capacity + Fraction(rate) * Fraction(latest) + Fraction(1, 10**6)


@given(RATES, CAPACITIES, STEPS)
def test_never_more(rate: float, capacity: int, steps: list[tuple[float, int]]) -> None:
    """Over any stretch no more is granted than capacity + rate x elapsed."""
    now = 0.0
    bucket = TokenBucket(rate=rate, capacity=capacity, now=now)
    grants: list[tuple[float, int]] = []
    for pause, tokens in steps:
        now += pause
        grants.append((now, bucket.take(tokens, now)))
    for first in range(len(grants)):
        total = 0
        for at, granted in grants[first:]:
            total += granted
            assert total <= capacity + Fraction(rate) * (Fraction(at) - Fraction(grants[first][0])) + Fraction(1, 10**6)


@given(RATES, CAPACITIES, STEPS)
def test_never_less_for_the_patient(rate: float, capacity: int, steps: list[tuple[float, int]]) -> None:
    """Who asks for no more than the exact bucket would hold gets it, give or take the one token that is not whole."""
    now = 0.0
    bucket = TokenBucket(rate=rate, capacity=capacity, now=now)
    exact = Fraction(capacity)
    for pause, tokens in steps:
        exact = min(Fraction(capacity), exact + Fraction(rate) * (Fraction(now + pause) - Fraction(now)))
        now += pause
        asked = max(0, min(tokens, int(exact) - 1))
        assert bucket.take(asked, now) == asked
        exact -= asked


@pytest.mark.parametrize("rate", [0.3, 7.0, 333.3])
def test_no_drift(rate: float) -> None:
    """After a million takes the sum is still capacity + rate x elapsed, to the token."""
    bucket = TokenBucket(rate=rate, capacity=10, now=0.0)
    granted = 0
    step = 0.1 / rate
    for number in range(1_000_000):
        granted += bucket.take(1, number * step)
    expected = 10 + rate * 999_999 * step
    assert abs(granted - expected) <= 1
