"""The run in one picture: ratios with their goals, and the growth curves."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks.results import Results

COLOURS = {"gateway": "#d62728", "go": "#1f77b4", "haproxy": "#2ca02c", "nginx": "#9467bd", "go-open": "#7fb3d9"}
OTHER = "#7f7f7f"


def _colour(peer: str) -> str:
    return COLOURS.get(peer, OTHER)


def draw(results: Results, path: Path) -> None:
    mpl.rcParams["font.size"] = 8
    figure = Figure(figsize=(11, 8), layout="constrained")
    ratios, connections, sizes, memory = figure.subplot_mosaic("AAB\nAAC\nAAD").values()
    _ratios(results, ratios)
    _curve(results, connections, "connections", "connections, ping-pong at 100 B")
    _curve(results, sizes, "size", "bytes of a message, 10 x 4 in flight")
    _memory(results, memory)
    figure.savefig(path, dpi=110)


def _ratios(results: Results, axes: Axes) -> None:
    rows = list(results.rows())[::-1]
    height = 0.7 / max(1, len(results.beside))
    for place, peer in enumerate(results.beside):
        for y, row in enumerate(rows):
            if peer not in row.ratios:
                continue
            ratio, at = row.ratios[peer], y - place * height
            axes.plot([ratio.lowest, ratio.highest], [at, at], "-", lw=1, color=_colour(peer))
            axes.plot([ratio.median], [at], "o", ms=5, color=_colour(peer))
            if peer in row.goals:
                axes.plot([row.goals[peer]] * 2, [at - height / 2, at + height / 2], "-", lw=2, color=_colour(peer))
        axes.plot([], [], "o", color=_colour(peer), label=peer)
    axes.axvline(1, color="black", lw=0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", lw=0.3)
    axes.set_yticks([y - 0.35 + height / 2 for y in range(len(rows))], [row.title for row in rows])
    axes.set_title(f"{results.subject} / peer: left of 1 the {results.subject} takes less; strokes are goals")
    if results.beside:
        axes.legend(loc="best")


def _curve(results: Results, axes: Axes, group: str, label: str) -> None:
    for peer in (results.subject, *results.beside):
        if points := results.curve(group, peer):
            axes.plot(*zip(*points, strict=True), "o-", ms=3, lw=1, color=_colour(peer), label=peer)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(label)
    axes.set_ylabel("CPU us per message")
    if axes.lines:
        axes.legend(fontsize=6)


def _memory(results: Results, axes: Axes) -> None:
    most = max((held.sessions for held in results.held), default=0)
    bars = [held for held in results.held if held.sessions == most]
    axes.bar(
        [held.peer for held in bars],
        [held.kib_each for held in bars],
        color=[_colour(held.peer) for held in bars],
    )
    axes.set_ylabel("KiB")
    axes.set_title(f"memory of each of {most:,} idle sessions")
