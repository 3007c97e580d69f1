"""Numbers and pictures of round trips."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.probing import figures
from trio_ws_gateway.probing.figures import Bin

times = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=300)


def test_summary() -> None:
    """Percentiles are times that were measured; with few of them the 99th is the longest."""
    counted = figures.summary([0.005, 0.001, 0.002])
    assert (counted.least, counted.median, counted.p99, counted.most) == (0.001, 0.002, 0.005, 0.005)
    counted = figures.summary([number / 1000 for number in range(1, 1001)])
    assert (counted.median, counted.p99) == (0.5, 0.99)


@given(times)
def test_summary_in_order(seconds: list[float]) -> None:
    """Least, median, 99th percentile, most never come in another order."""
    counted = figures.summary(seconds)
    assert min(seconds) == counted.least <= counted.median <= counted.p99 <= counted.most == max(seconds)


@given(times)
def test_histogram_counts_all(seconds: list[float]) -> None:
    """Every time is in one bin, and the bins lie side by side from the least to the most."""
    bins = figures.histogram(seconds)
    assert sum(each.count for each in bins) == len(seconds)
    assert bins[-1].high == max(*seconds, 1e-9)
    assert all(one.high == other.low for one, other in itertools.pairwise(bins))


def test_straggler_hides_nothing() -> None:
    """One time a thousand times as long leaves the others apart."""
    bins = figures.histogram([0.001] * 20 + [0.003] * 20 + [1.0])
    assert sorted(each.count for each in bins if each.count) == [1, 20, 20]


def test_bars() -> None:
    """The fullest bin has the longest bar, an empty one none, and who is there at all is seen."""
    bins = [Bin(0.001, 0.002, 1000), Bin(0.002, 0.004, 0), Bin(0.004, 1.5, 1)]
    full = "█" * figures.BAR_CELLS
    assert figures.lines(bins, plain=False) == [
        f"1.00 ms - 2.00 ms  {full} 1000",
        "2.00 ms - 4.00 ms   0",
        " 4.00 ms - 1.50 s  ▏ 1",
    ]
    assert figures.lines(bins, plain=True)[0] == "1.00 ms - 2.00 ms  " + "#" * figures.BAR_CELLS + " 1000"
    assert "".join(figures.lines(bins, plain=True)).isascii()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.000042, "0.04 ms"), (0.00999, "9.99 ms"), (0.0123, "12.3 ms"), (1.236, "1.24 s")]
)
def test_duration(seconds: float, text: str) -> None:
    """Milliseconds with what is worth reading, seconds from one on."""
    assert figures.duration(seconds) == text
