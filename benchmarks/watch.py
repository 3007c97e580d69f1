"""What must hold while things break: harms, the ends that they excuse, violations, and samples of what is used."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import click
import trio
from attrs import define, field

AFTERMATH_SECONDS = 5.0  # for so long a harm still excuses what ends: goodbyes and time-outs take their time
CALM_P99_SECONDS = 0.25  # of a machine that the storm shares


@define
class Harm:
    """``ends``: the sessions that may end of it, ``raw`` and ``mqtt``."""

    name: str
    ends: frozenset[str]
    began_at: float
    ended_at: float | None = None

    def covers(self, at: float, aftermath_seconds: float) -> bool:
        return self.began_at <= at and (self.ended_at is None or at <= self.ended_at + aftermath_seconds)


@define
class Sample:
    at: float
    resident_kib: int
    descriptors: int
    tasks: float
    sessions: float
    p99: float


@define
class Watch:
    """All times are seconds since it began."""

    began_at: float = field(factory=trio.current_time)
    harms: list[Harm] = field(factory=list)
    samples: list[Sample] = field(factory=list)
    violations: list[str] = field(factory=list)
    waits: list[tuple[float, float]] = field(factory=list)  # when an answer came, and how long it took
    sessions_ended: int = 0

    @property
    def now(self) -> float:
        return trio.current_time() - self.began_at

    def violated(self, what: str) -> None:
        self.violations.append(f"{self.now:.1f} s: {what}")
        click.echo(f"VIOLATION at {self.violations[-1]}")

    def ended(self, who: str, kind: str, why: str) -> None:
        """A good session has ended: only a harm excuses that."""
        self.sessions_ended += 1
        if not any(kind in harm.ends and harm.covers(self.now, AFTERMATH_SECONDS) for harm in self.harms):
            latest = [f"{harm.name} {harm.began_at:.1f} to {harm.ended_at or self.now:.1f}" for harm in self.harms[-3:]]
            self.violated(f"the session of {who} ended for no reason: {why!r}, {latest}")

    def answered(self, seconds: float) -> None:
        self.waits.append((self.now, seconds))

    @contextmanager
    def harm(self, name: str, *ends: str) -> Iterator[None]:
        harm = Harm(name, frozenset(ends), self.now)
        self.harms.append(harm)
        try:
            yield
        finally:
            harm.ended_at = self.now

    def latest_p99(self) -> float:
        """Of the last second."""
        latest = itertools.takewhile(lambda each: each[0] > self.now - 1, reversed(self.waits))
        return p99([wait for _, wait in latest])

    def calm_p99(self) -> float:
        """Of the answers that came while no harm to their sessions was under way, or fresh."""
        harms = [harm for harm in self.harms if "raw" in harm.ends]
        return p99([wait for at, wait in self.waits if not any(harm.covers(at, AFTERMATH_SECONDS) for harm in harms)])


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0
