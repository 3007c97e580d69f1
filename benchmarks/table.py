"""The figures in words and columns. Pure."""

from collections.abc import Iterator

from benchmarks.figures import Failure, Ratio, Sample, Samples
from benchmarks.results import Results, Row
from benchmarks.works import Work

FIGURES = ("cost_us", "user_us", "system_us", "per_second", "p50_us", "p99_us")
COLUMNS = ("CPU us", "user", "system", "per second", "p50 us", "p99 us")
STEADY_FIGURES = ("seconds", "refused", "steady_p50_us", "steady_p99_us", "steady_max_us")
STEADY_COLUMNS = ("all in, s", "refused", "echo p50 us", "echo p99 us", "echo max us")
FIGURE_NAMES = {"cost_us": "CPU", "p50_us": "p50 latency", "kib_each": "memory"}


def line(sample: Sample | Failure) -> str:
    """One turn, as progress."""
    if isinstance(sample, Failure):
        return f"  {sample.work} {sample.peer}: FAILED: {sample.reason}"
    return f"  {sample.work} {sample.peer}: {significant(sample.cost_us)} us of CPU, {sample.per_second:,.0f}/s"


def significant(value: float) -> str:
    """Three digits, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def work_table(samples: Samples, work: Work) -> Iterator[str]:
    """All peers at one work: medians over the rounds."""
    yield f"{work.title} (CPU per {work.unit})"
    yield f"{'':16}" + "".join(f"{column:>12}" for column in columns(work))
    for peer in samples.peers(work.name):
        yield f"{peer:16}" + "".join(f"{cell:>12}" for cell in cells(samples, work, peer))


def columns(work: Work) -> tuple[str, ...]:
    return COLUMNS + STEADY_COLUMNS if work.steady else COLUMNS


def cells(samples: Samples, work: Work, peer: str) -> list[str]:
    figures = FIGURES + STEADY_FIGURES if work.steady else FIGURES
    return [significant(samples.median(work.name, peer, figure)) for figure in figures]


def ratio_table(results: Results) -> Iterator[str]:
    """The subject against its peers, work by work: median of the rounds' ratios, lowest and highest."""
    yield f"{results.subject} / peer: median (lowest-highest) of the rounds' ratios; *: beyond the goal"
    yield f"{'':44}" + "".join(f"{peer:>20} {'goal':<9}" for peer in results.beside)
    for row in results.rows():
        title = f"{row.title}, {FIGURE_NAMES[row.figure]}"
        yield f"{title:44}" + "".join(f"{ratio(row, peer):>20} {goal(row, peer):<9}" for peer in results.beside)


def ratio(row: Row, peer: str) -> str:
    return shown(row.ratios.get(peer))


def shown(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ({ratio.lowest:.2f}-{ratio.highest:.2f})" if ratio else "-"


def goal(row: Row, peer: str) -> str:
    """A star where it is missed."""
    if peer not in row.goals or peer not in row.ratios:
        return ""
    return f"<={row.goals[peer]:g}{'*' if row.missed(peer) else ''}"
