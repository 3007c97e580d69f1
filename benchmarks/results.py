"""All that a run has found, for whoever tells it. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from attrs import asdict, frozen

from benchmarks.figures import Failure, Held, Ratio, Samples
from benchmarks.works import MEMORY, MEMORY_GOALS, VARIANTS, Work

AT_REST = 0.3  # processes that want to run, on average of a minute


@frozen
class Row:
    """One line of ratios of a work: by peer, those of the subject's figure to its. Below 1 speaks for the subject."""

    name: str
    title: str
    figure: str
    ratios: Mapping[str, Ratio]
    goals: Mapping[str, float]

    def missed(self, peer: str) -> bool:
        return peer in self.goals and peer in self.ratios and self.ratios[peer].median > self.goals[peer]


@frozen(kw_only=True)
class Results:
    """``subject``: the gateway's name; ``beside``: its peers' names; ``load_before``: the kernel's load average."""

    machine: Mapping[str, str]
    load_before: float
    versions: Mapping[str, str]
    works: Sequence[Work]
    rounds: int
    seconds: float
    samples: Samples
    failures: Sequence[Failure]
    held: Sequence[Held]
    subject: str
    beside: Sequence[str]

    @property
    def disturbed(self) -> bool:
        """Whether others kept the machine busy when the run began."""
        return self.load_before > AT_REST

    def rows(self) -> Iterator[Row]:
        """Work by work, without the growth curves and the gateway's variants; memory at the end."""
        for work in self.works:
            if work.at is None and work.group not in VARIANTS:
                ratios = {peer: self.samples.ratio(work.name, work.judged, self.subject, peer) for peer in self.beside}
                there = {peer: ratio for peer, ratio in ratios.items() if ratio is not None}
                yield Row(work.name, work.title, work.judged, there, work.goals)
        for sessions in dict.fromkeys(held.sessions for held in self.held):
            each = {held.peer: held.kib_each for held in self.held if held.sessions == sessions}
            measured = [peer for peer in self.beside if each.get(peer)]
            alike = {peer: Ratio(*[each[self.subject] / each[peer]] * 3) for peer in measured}
            yield Row(MEMORY, f"memory of {sessions:,} idle sessions", "kib_each", alike, MEMORY_GOALS)

    def curve(self, group: str, peer: str) -> list[tuple[int, float]]:
        """Cost of a message in microseconds, by what grows."""
        points = [work for work in self.works if work.group == group and work.at is not None]
        measured = [work for work in points if self.samples.of(work.name, peer)]
        return [(work.at or 0, self.samples.median(work.name, peer, "cost_us")) for work in measured]

    def for_json(self) -> dict[str, object]:
        return {
            "machine": self.machine,
            "load_before": self.load_before,
            "versions": self.versions,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "ratios": [
                {
                    "title": row.title,
                    "figure": row.figure,
                    "ratios": {peer: ratio.for_json() for peer, ratio in row.ratios.items()},
                    "goals": dict(row.goals),
                }
                for row in self.rows()
            ],
            "samples": [sample.for_json() for sample in self.samples.all],
            "failures": [asdict(failure) for failure in self.failures],
            "memory": [held.for_json() for held in self.held],
        }
