"""Round trips in numbers and in a picture: least, median, 99th percentile, most, and a histogram in text.

Pure. Times come in seconds and are shown in milliseconds, seconds where that is shorter.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from attrs import frozen

MOST_BINS: Final = 8
BAR_CELLS: Final = 30
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@frozen(kw_only=True)
class Summary:
    """Over all round trips, in seconds."""

    least: float
    median: float
    p99: float
    most: float


@frozen
class Bin:
    """How many took ``low`` seconds and less than ``high``; the last bin has its ``high`` too."""

    low: float
    high: float
    count: int


def summary(seconds: Sequence[float]) -> Summary:
    """Of at least one. Percentiles are of the nearest rank: a time that was really measured."""
    ranked = sorted(seconds)
    return Summary(least=ranked[0], median=_at(ranked, 0.5), p99=_at(ranked, 0.99), most=ranked[-1])


def histogram(seconds: Sequence[float]) -> tuple[Bin, ...]:
    """Each bin is as many times as wide as the one before it, or one straggler would push all others into the first."""
    least, most = max(min(seconds), 1e-9), max(*seconds, 1e-9)
    if least == most:
        return (Bin(least, most, len(seconds)),)
    bins = min(MOST_BINS, 1 + math.isqrt(len(seconds)))
    edges = [least * (most / least) ** (number / bins) for number in range(bins)] + [most]
    counts = [0] * bins
    for each in seconds:
        number = int(math.log(max(each, least) / least) / math.log(most / least) * bins)
        counts[min(number, bins - 1)] += 1
    return tuple(Bin(low, high, count) for (low, high), count in zip(pairwise(edges), counts, strict=True))


def lines(bins: Sequence[Bin], *, plain: bool) -> list[str]:
    """The histogram, a line a bin. ``plain``: bars in ASCII."""
    ranges = [f"{duration(each.low)} - {duration(each.high)}" for each in bins]
    width = max(map(len, ranges))
    fullest = max(each.count for each in bins)
    return [
        f"{text:>{width}}  {_bar(each.count / fullest, plain=plain)} {each.count}".rstrip()
        for text, each in zip(ranges, bins, strict=True)
    ]


def duration(seconds: float) -> str:
    """``0.42 ms``, ``12.3 ms``, ``1.24 s``."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


def _at(ranked: Sequence[float], share: float) -> float:
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def _bar(share: float, *, plain: bool) -> str:
    """Whoever is there at all is seen."""
    if plain:
        return "#" * math.ceil(share * BAR_CELLS)
    eighths = math.ceil(share * BAR_CELLS * 8)
    return EIGHTHS[-1] * (eighths // 8) + EIGHTHS[eighths % 8].strip()
