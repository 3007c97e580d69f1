"""docs/performance.md: method, machine, figures, and where a peer is ahead. Pure: written from the results alone."""

from collections.abc import Iterator

from benchmarks import table
from benchmarks.results import Results, Row
from benchmarks.why import WHY
from benchmarks.works import INSPECTED, INSPECTION, SEVERAL, VARIANTS, WORKERS, Work

HEAD = """\
# Performance

*Written by `nox -s bench`. Do not edit: run it.*

What a session and a message cost in this gateway, beside the proxies that people would use in its place, measured in
one run on one machine. Absolute figures move with the machine; the ratios are the point.
"""

METHOD = """\
## Method

- **The gateway** runs as one process with its checks on: every session brings an RS256 token that is verified,
  the message limit is configured and out of reach, metrics are on, log lines are written.
- **The peers** run with one worker each. `go` is a proxy on gorilla/websocket in the usual shape (two
  goroutines per session, whole messages, a deadline for each read and write) that verifies an RS256 token;
  `go-open` is the same without tokens. nginx and HAProxy are Debian's, with plain WebSocket proxying: they
  check nothing, and see no frames.
- **Load** comes from a generator in Go, and goes to an echo in Go; both are one epoll loop that touches each
  byte once, so that they are not the bottleneck. Every byte that comes back is compared. All share the
  machine's processors.
- **Cost** is the processor time, user and system, of all processes of a proxy between two moments at which
  nothing moves, divided by the number of messages (a message and its echo are one; in a fan-out, each delivery
  is one).
- **Rounds**: {rounds} at the most, each of {seconds:g} s per peer. In each round every peer has its turn, and
  another one begins. A ratio is taken within a round; shown are the median of the rounds' ratios, and in
  parentheses the lowest and the highest.
- **A session** is a handshake with a token, one message and its echo, and a Close. In the **storm** all
  sessions (5,000; in a quick run 1,000) are cut at once, and all come back at once; who is told to come
  again (503, `Retry-After`) does. Latency is that of an opening, from the first try to the first echo; `all
  in` when the last was there. `echo` is what it was meanwhile for 20 sessions that were there before and
  that a process of its own has send a message every 20 ms each, answered or not. **Memory** is what a fresh process has
  grown by, per idle session with one message behind it.
- With MQTT each client subscribes to a topic of its own and publishes there, through Mosquitto.

Run it yourself: `nox -s bench`, or shorter with `nox -s bench -- --quick`, for one group of works with
`nox -s bench -- --only bulk`, before and after a change with `nox -s bench -- --against REVISION`.
"""


def written(results: Results) -> str:
    sections = [
        HEAD,
        "\n".join(_ratios(results)),
        "![The same as a picture](performance.png)\n",
        "\n".join(_behind(results)),
        "\n".join(_missed(results)),
        METHOD.format(rounds=results.rounds, seconds=results.seconds),
        "\n".join(_machine(results)),
        "\n".join(_figures(results)),
        "\n".join(_workers(results)),
        "\n".join(_inspection(results)),
        "\n".join(_memory(results)),
        "\n".join(_growth(results)),
    ]
    return "\n".join(section for section in sections if section)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _ratios(results: Results) -> Iterator[str]:
    yield "## Ratios\n"
    whose = results.subject
    yield f"The {whose}'s figure divided by the peer's: below 1 speaks for the {whose}. In bold: beyond the goal.\n"
    head = ("work", "figure", *results.beside)
    rows = (
        (row.title, table.FIGURE_NAMES[row.figure], *(_cell(row, peer) for peer in results.beside))
        for row in results.rows()
    )
    yield from _table(head, rows)


def _cell(row: Row, peer: str) -> str:
    shown = table.ratio(row, peer)
    if peer not in row.goals or peer not in row.ratios:
        return shown
    return f"**{shown}**, goal {row.goals[peer]:g}" if row.missed(peer) else f"{shown}, goal {row.goals[peer]:g}"


def _behind(results: Results) -> Iterator[str]:
    yield "## Where a peer is ahead\n"
    found = False
    for row in results.rows():
        ahead = sorted((ratio.median, peer) for peer, ratio in row.ratios.items() if ratio.median > 1)
        if ahead:
            found = True
            whom = ", ".join(f"{peer} by {ratio:.2f}" for ratio, peer in ahead)
            yield f"- {row.title}, {table.FIGURE_NAMES[row.figure]}: {whom}"
    for failure in results.failures:
        found = True
        yield f"- {failure.work}: {failure.peer} failed: {failure.reason}"
    if not found:
        yield "Nowhere in this run."
    yield ""


def _missed(results: Results) -> Iterator[str]:
    missed = [row for row in results.rows() if any(map(row.missed, row.goals))]
    if missed:
        yield "## Why a goal is missed\n"
        missed_for: dict[str, list[str]] = {}
        for row in missed:
            missed_for.setdefault(WHY.get(row.name, "not looked into yet"), []).append(row.title)
        for reason, titles in missed_for.items():
            yield f"- {'; '.join(titles)}: {reason}"
        yield ""


def _machine(results: Results) -> Iterator[str]:
    yield "## Machine and versions\n"
    if results.disturbed:
        yield "The machine was not at rest before this run: where a range is wide, trust the median little.\n"
    rows = (*results.machine.items(), *results.versions.items())
    yield from _table(("", ""), ((name, value) for name, value in rows))


def _figures(results: Results) -> Iterator[str]:
    yield "## Figures\n"
    yield "Medians over the rounds. CPU is per message or session; latency: a round trip's, or a session's opening's.\n"
    for work in results.works:
        if work.at is None and work.group not in VARIANTS:
            yield f"### {work.title[0].upper()}{work.title[1:]}\n"
            peers = results.samples.peers(work.name)
            head = ("", *table.columns(work))
            yield from _table(head, ((peer, *table.cells(results.samples, work, peer)) for peer in peers))


def _workers(results: Results) -> Iterator[str]:
    works = [work for work in results.works if work.group == WORKERS and results.samples.of(work.name, SEVERAL)]
    if works:
        yield "## Several workers\n"
        yield "What two workers get through, beside one. Load and upstream want a processor each as well: where there"
        yield "are no more than two for all, this is not what two workers can do, but what is left to them.\n"
        rows = ((work.title, *_throughput(results, work)) for work in works)
        yield from _table(("work", "1 worker, per second", "2 workers", "gain", "CPU, 2 workers to 1"), rows)


def _throughput(results: Results, work: Work) -> Iterator[str]:
    for peer in (results.subject, SEVERAL):
        yield f"{results.samples.median(work.name, peer, 'per_second'):,.0f}"
    for figure in ("per_second", "cost_us"):
        ratio = results.samples.ratio(work.name, figure, SEVERAL, results.subject)
        yield table.shown(ratio)


def _inspection(results: Results) -> Iterator[str]:
    works = [work for work in results.works if work.group == INSPECTION and results.samples.of(work.name, INSPECTED)]
    if works:
        yield "## Packets that are looked at\n"
        yield "What an MQTT session costs whose packets are counted (`RATE_LIMIT_PACKETS_PER_SECOND`), beside one whose"
        yield "frames pass as they came.\n"
        rows = ((work.title, *_costs(results, work)) for work in works)
        yield from _table(("work", "passed on, CPU us", "looked at, CPU us", "ratio"), rows)


def _costs(results: Results, work: Work) -> Iterator[str]:
    for peer in (results.subject, INSPECTED):
        yield table.significant(results.samples.median(work.name, peer, "cost_us"))
    yield table.shown(results.samples.ratio(work.name, "cost_us", INSPECTED, results.subject))


def _memory(results: Results) -> Iterator[str]:
    if results.held:
        yield "### Memory\n"
        rows = (
            (held.peer, f"{held.sessions:,}", f"{held.kib_empty:,}", f"{held.kib_each:.1f}") for held in results.held
        )
        yield from _table(("", "idle sessions", "KiB without any", "KiB for each"), rows)


def _growth(results: Results) -> Iterator[str]:
    """CPU per message against what grows."""
    for group, title in (("connections", "connections (ping-pong, 100 B)"), ("size", "bytes (10 x 4 in flight)")):
        curves = {peer: dict(results.curve(group, peer)) for peer in (results.subject, *results.beside)}
        curves = {peer: curve for peer, curve in curves.items() if curve}
        if curves:
            yield f"### Growth: CPU us per message against {title}\n"
            points = list(curves[results.subject])
            rows = ((f"{at:,}", *(table.significant(curve[at]) for curve in curves.values())) for at in points)
            yield from _table(("", *curves), rows)
