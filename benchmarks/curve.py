"""What was used while things broke, and what broke, in one picture."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.watch import Watch


def draw(watch: Watch, path: Path) -> None:
    mpl.rcParams["font.size"] = 8
    figure = Figure(figsize=(11, 9), layout="constrained")
    curves = figure.subplots(5, 1, sharex=True)
    values = {
        "MiB resident": [sample.resident_kib / 1024 for sample in watch.samples],
        "descriptors": [sample.descriptors for sample in watch.samples],
        "tasks": [sample.tasks for sample in watch.samples],
        "sessions": [sample.sessions for sample in watch.samples],
        "ms, p99 of an answer": [sample.p99 * 1000 for sample in watch.samples],
    }
    minutes = [sample.at / 60 for sample in watch.samples]
    for axes, (label, curve) in zip(curves, values.items(), strict=True):
        axes.plot(minutes, curve, lw=0.8, color="#d62728")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(lw=0.3)
        for harm in watch.harms:
            colour = "#1f77b4" if "raw" in harm.ends else "#2ca02c" if harm.ends else "#bbbbbb"
            axes.axvspan(harm.began_at / 60, (harm.ended_at or harm.began_at) / 60, alpha=0.15, lw=0, color=colour)
    curves[-1].set_yscale("symlog", linthresh=1)
    curves[-1].set_xlabel("minutes; blue: harm to raw sessions, green: to MQTT ones, grey: to none")
    figure.savefig(path, dpi=110)
