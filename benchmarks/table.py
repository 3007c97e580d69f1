"""The figures in words and columns. Pure."""

from collections.abc import Sequence

from benchmarks.figures import Sample, Samples
from benchmarks.works import Work

HEAD = f"{'':14} {'CPU us':>9} {'user':>8} {'system':>8} {'per second':>11} {'p50 us':>8} {'p99 us':>8}"


def line(sample: Sample) -> str:
    """One turn, as progress."""
    return f"  {sample.work} {sample.peer}: {significant(sample.cost_us)} us of CPU, {sample.per_second:,.0f}/s"


def significant(value: float) -> str:
    """Three digits, no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def work_table(samples: Samples, work: Work) -> list[str]:
    """All peers at one work: medians over the rounds."""
    lines = [f"{work.title} (CPU per {work.unit})", HEAD]
    for peer in samples.peers(work.name):
        cost, user, system, rate, p50, p99 = (
            samples.median(work.name, peer, figure)
            for figure in ("cost_us", "user_us", "system_us", "per_second", "p50_us", "p99_us")
        )
        cells = f"{significant(cost):>9} {significant(user):>8} {significant(system):>8} {rate:>11,.0f}"
        lines.append(f"{peer:14} {cells} {significant(p50):>8} {significant(p99):>8}")
    return lines


def ratio_cells(samples: Samples, work: Work, subject: str, peer: str) -> tuple[str, str]:
    """The ratio with its range, and what became of its goal."""
    ratio = samples.ratio(work.name, work.judged, subject, peer)
    if ratio is None:
        return "-", ""
    shown = f"{ratio.median:.2f} ({ratio.lowest:.2f}-{ratio.highest:.2f})"
    goal = work.goals.get(peer)
    if goal is None:
        return shown, ""
    return shown, f"<= {goal:g} {'reached' if ratio.median <= goal else 'missed'}"


def ratio_table(samples: Samples, works: Sequence[Work], subject: str, peers: Sequence[str]) -> list[str]:
    """The subject against its peers, work by work: median of the rounds' ratios, lowest and highest."""
    lines = [f"{subject} / peer: below 1 speaks for {subject}; median (lowest-highest) over the rounds"]
    lines.append(f"{'':36}" + "".join(f" {peer:>20} {'goal':<16}" for peer in peers))
    for work in works:
        cells = (ratio_cells(samples, work, subject, peer) for peer in peers)
        judged = " p50" if work.judged == "p50_us" else ""
        lines.append(f"{work.title + judged:36}" + "".join(f" {ratio:>20} {goal:<16}" for ratio, goal in cells))
    return lines
