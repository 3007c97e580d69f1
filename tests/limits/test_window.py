"""`FixedWindow` grants its capacity in each second, which is what the docs warn of."""

from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.limits.purses import windowed
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.limits.window import WINDOW_SECONDS, FixedWindow


def test_each_second_has_all() -> None:
    """A window grants its capacity, and the next one all of it again, however soon it begins."""
    window = FixedWindow(capacity=5, now=10.0)
    assert window.available(10.9) == 5
    window.spend(5)
    assert window.available(11.8) == 0
    assert window.seconds_until_next(11.4) == 0.5
    assert window.available(11.9) == 5
    assert window.seconds_until_next(11.9) == 0


def test_begins_with_the_first() -> None:
    """A window begins with the first token that is taken, and is as good as new when it has ended."""
    window = FixedWindow(capacity=5, now=0.0)
    assert window.is_full(100.0)
    window.spend(1)
    assert window.available(100.9) == 4
    assert not window.is_full(100.9)
    assert window.is_full(101.0)


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 3), st.integers(0, 200)), max_size=60))
def test_never_more_than_two_windows(capacity: int, steps: list[tuple[float, int]]) -> None:
    """In any second no more is granted than two windows hold, and over T seconds no more than T + 1 windows and one."""
    window = FixedWindow(capacity=capacity, now=0.0)
    now = 0.0
    grants: list[tuple[float, int]] = []
    for pause, wanted in steps:
        now += pause
        taken = min(wanted, window.available(now))
        window.spend(taken)
        grants.append((now, taken))
    for first in range(len(grants)):
        total = 0
        for at, taken in grants[first:]:
            total += taken
            assert total <= capacity * (2 + int((at - grants[first][0]) / WINDOW_SECONDS))


async def test_as_a_purse() -> None:
    """A budget may be made of windows; they refuse, or are waited for."""
    spender = Spender("robot", Direction.FROM_CLIENT, Rates())
    assert windowed("messages", spender, Rate(1000, 3), 0.0).wait is None
    waiting = windowed("messages", spender, Rate(1000, 3, pauses=True), 0.0)
    assert waiting.bucket.available(0.0) == 3
    assert waiting.wait is not None
    assert await waiting.wait()
