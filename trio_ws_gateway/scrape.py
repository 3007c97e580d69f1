"""What ``/metrics`` says: of one process, or of a whole group of workers summed up.

A snapshot is what a process has counted, as JSON values, so that it can cross a link. Counters and histograms of
several are added up; a gauge is that of the worst-off, unless it counts something, or all know it from one of them.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import trio
from attrs import frozen
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SAMPLES_PER_TURN = 100  # 1 ms
disable_created_metrics()  # type: ignore[no-untyped-call] # series that say nothing that ``up`` does not

Snapshot = Sequence[Any]
"""Of each family its name, documentation, type, and samples; of each sample name, labels and value."""

COUNTING_GAUGES = {
    "ws_active_sessions",
    "ws_event_loop_tasks",
    "ws_handshakes",
    "ws_handshakes_waiting",
    "ws_sessions_limit",
}
TOLD_GAUGES = {"ws_upstream_healthy"}  # alike in all that have heard the latest, as one that is stuck has not
COUNTS = {"counter", "histogram"}


class Incomplete(Exception):
    """What the others of a group have counted is not known now: part of a sum would look like counters set back."""


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """What the registry holds now."""
    return [
        [family.name, family.documentation, family.type, [[*sample[:3]] for sample in family.samples]]
        for family in registry.collect()
    ]


def counts_of(taken: Snapshot) -> Snapshot:
    """What of a snapshot stays true when its process has gone: counters and histograms."""
    return [family for family in taken if family[2] in COUNTS]


def summed(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several, the own first; families and samples stand in the order in which they were first seen."""
    families: dict[str, tuple[list[Any], dict[tuple[Any, ...], float]]] = {}
    for taken in snapshots:
        for name, documentation, kind, samples in taken:
            _, values = families.setdefault(name, ([name, documentation, kind], {}))
            adds_up = kind in COUNTS or name in COUNTING_GAUGES
            for sample, labels, value in samples:
                key = (sample, *labels.items())
                before = values.get(key)
                if before is None:
                    values[key] = value
                elif name not in TOLD_GAUGES:
                    values[key] = before + value if adds_up else max(before, value)
    return [
        [*head, [[key[0], dict(key[1:]), value] for key, value in values.items()]] for head, values in families.values()
    ]


def text(source: CollectorRegistry | Snapshot) -> bytes:
    """The text format of Prometheus."""
    return b"".join(_parts(source))


async def text_in_turns(source: CollectorRegistry | Snapshot) -> bytes:
    """The same, giving others their turn: with a thousand subjects it takes 10 ms."""
    parts = []
    for part in _parts(source):
        parts.append(part)
        await trio.lowlevel.checkpoint()
    return b"".join(parts)


class OneAtATime:
    """An exposition that is made anew for whoever asks, and once for all who ask while one is being made."""

    def __init__(self, make: Callable[[], Awaitable[bytes]]) -> None:
        self._make = make
        self._making = trio.Lock()
        self._began_at = -math.inf  # of the latest
        self._made: bytes | None = None  # by it; ``None``: it was incomplete

    async def __call__(self) -> bytes:
        """The text. Raises ``Incomplete``."""
        asked_at = trio.current_time()
        async with self._making:
            if self._began_at < asked_at:
                began_at = trio.current_time()
                try:
                    self._made = await self._make()
                except Incomplete:
                    self._made = None
                self._began_at = began_at
        if self._made is None:
            raise Incomplete
        return self._made


def _parts(source: CollectorRegistry | Snapshot) -> Iterator[bytes]:
    families = source.collect() if isinstance(source, CollectorRegistry) else map(_family, source)
    for family in families:
        samples = family.samples
        for at in range(0, max(1, len(samples)), SAMPLES_PER_TURN):
            family.samples = samples[at : at + SAMPLES_PER_TURN]
            lines = generate_latest(_Only(family))
            yield lines if at == 0 else b"".join(line for line in lines.splitlines(True) if not line.startswith(b"#"))


def _family(taken: Sequence[Any]) -> Metric:
    name, documentation, kind, samples = taken
    family = Metric(name, documentation, kind)
    for sample, labels, value in samples:
        family.add_sample(sample, labels, value)
    return family


@frozen
class _Only(Collector):
    """What a registry is where there is one family."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        return [self.family]
