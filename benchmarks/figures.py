"""From samples to figures: medians over the rounds, and ratios between peers. Pure.

Rounds are interleaved: in each round every peer has its turn. So a ratio is taken within a round, where the machine was
in one mood, and the median is one of ratios, not a ratio of medians.
"""

from collections.abc import Sequence
from statistics import median

from attrs import asdict, frozen


def rounded(figures: dict[str, object]) -> dict[str, object]:
    """For JSON: more digits than three behind the point mean nothing."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}


@frozen(kw_only=True)
class Sample:
    """One turn of one peer. Microseconds of processor time are per message (or session), as are ``per_second``.

    ``refused``: how often somebody was told to come again. ``steady_...``: the latency of those who talked meanwhile.
    """

    work: str
    peer: str
    round: int
    count: int
    seconds: float
    cost_us: float
    user_us: float
    system_us: float
    p50_us: float
    p99_us: float
    refused: int = 0
    steady_p50_us: float = 0.0
    steady_p99_us: float = 0.0
    steady_max_us: float = 0.0

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def figure(self, name: str) -> float:
        value: float = getattr(self, name)
        return value

    def for_json(self) -> dict[str, object]:
        return rounded(asdict(self))


@frozen(kw_only=True)
class Failure:
    """A turn that came to nothing."""

    work: str
    peer: str
    reason: str


@frozen
class Ratio:
    """The median over the rounds, and between what it lay. A ratio below 1 speaks for the gateway."""

    median: float
    lowest: float
    highest: float

    def for_json(self) -> dict[str, object]:
        return rounded(asdict(self))


@frozen(kw_only=True)
class Held:
    """Memory of a process with so many idle sessions, and before it had any."""

    peer: str
    sessions: int
    kib_empty: int
    kib: int

    @property
    def kib_each(self) -> float:
        """What it has grown by, per session."""
        return (self.kib - self.kib_empty) / self.sessions

    def for_json(self) -> dict[str, object]:
        return rounded({**asdict(self), "kib_each": self.kib_each})


@frozen
class Samples:
    """All samples of a run."""

    all: Sequence[Sample]

    def of(self, work: str, peer: str) -> list[Sample]:
        return [sample for sample in self.all if (sample.work, sample.peer) == (work, peer)]

    def peers(self, work: str) -> list[str]:
        """Who was measured at it, in the order of their first turns."""
        return list(dict.fromkeys(sample.peer for sample in self.all if sample.work == work))

    def median(self, work: str, peer: str, figure: str) -> float:
        return median(sample.figure(figure) for sample in self.of(work, peer))

    def ratio(self, work: str, figure: str, subject: str, peer: str) -> Ratio | None:
        """The subject's figure over the peer's; ``None`` where they have no round in common."""
        theirs = {sample.round: sample.figure(figure) for sample in self.of(work, peer)}
        ratios = [
            sample.figure(figure) / theirs[sample.round]
            for sample in self.of(work, subject)
            if theirs.get(sample.round)
        ]
        return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None
