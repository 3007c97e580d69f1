"""The works that are measured, in one table: their shape, and the goals they are held to. Pure.

A work's ``options`` are the load generator's own (``go/load/main.go``).
"""

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen


@frozen(kw_only=True)
class Work:
    """``name`` is unique; ``group`` is whose it is. ``unit``: what its cost is per.

    ``judged``: the figure that ratios and goals speak of; ``goals``: by peer, what the ratio of the gateway's to the
    peer's should not exceed. ``upstream``: "echo" or "mosquitto". ``peers``: those that have something to show here
    besides the gateway; empty: all. ``fresh_tokens``: so many for each round, which nobody has seen before.
    ``steady``: options of a second generator, which keeps some sessions talking at a steady pace meanwhile.
    ``at``: its place on the horizontal axis of its group's curve. ``quick``: options of a quick run.
    """

    name: str
    group: str
    title: str
    options: Mapping[str, object]
    unit: str = "message"
    judged: str = "cost_us"
    goals: Mapping[str, float] = field(factory=dict)
    upstream: str = "echo"
    peers: Sequence[str] = ()
    fresh_tokens: int = 0
    steady: Mapping[str, object] = field(factory=dict)
    rounds_max: int = 100
    at: int | None = None
    quick: Mapping[str, object] | None = field(factory=dict)  # None: not in a quick run

    def in_a_hurry(self) -> "Work":
        count = self.quick.get("connections") if self.quick else None
        tokens = count if self.fresh_tokens and isinstance(count, int) else self.fresh_tokens
        return evolve(self, options={**self.options, **(self.quick or {})}, fresh_tokens=tokens)


RELAYS = ("go", "haproxy", "nginx")
CHECKING = ("go", "haproxy", "nginx", "go-open")
WORKERS, SEVERAL = "workers", "gateway-2-workers"
INSPECTION, INSPECTED = "inspected", "gateway-inspecting"
VARIANTS = {WORKERS: SEVERAL, INSPECTION: INSPECTED}
"""Groups of works in which the gateway is held against itself, otherwise set up."""
SESSIONS = 1000
STORM = 5000
ESTABLISHED = {"connections": 20, "pace": 0.02, "inflight": 1000}  # one message every millisecond, late ones too


def ping_pong(connections: int, goals: Mapping[str, float], judged: str = "cost_us") -> Work:
    return Work(
        name=f"ping-{connections}",
        group="ping",
        title=f"ping-pong, {connections} connection{'s' if connections > 1 else ''}",
        options={"connections": connections},
        judged=judged,
        goals=goals,
        peers=RELAYS,
    )


def pipelined(connections: int, inflight: int, size: int, shown: str, goals: Mapping[str, float]) -> Work:
    return Work(
        name=f"{connections}x{inflight}",
        group="bulk",
        title=f"{connections} x {inflight} in flight, {shown}",
        options={"connections": connections, "inflight": inflight, "size": size},
        goals=goals,
        peers=RELAYS,
    )


def fan(clients: int) -> Work:
    return Work(
        name=f"fan-{clients}",
        group="fan",
        title=f"fan-out to {clients} clients",
        options={"mode": "fan", "connections": clients},
        peers=RELAYS,
    )


def mqtt(connections: int, inflight: int, version: int, shown: str) -> Work:
    return Work(
        name=f"mqtt-{connections}x{inflight}",
        group="mqtt",
        title=f"MQTT {shown} QoS 0, {connections} x {inflight}",
        options={"connections": connections, "inflight": inflight, "mqtt": version},
        upstream="mosquitto",
        peers=RELAYS,
    )


def with_workers(work: Work) -> Work:
    """The same before a gateway with one worker and before one with several."""
    name = f"{WORKERS}-{work.name}"
    return evolve(work, name=name, group=WORKERS, goals={}, peers=(SEVERAL,), rounds_max=3, quick=None)


def inspected(work: Work) -> Work:
    """The same before a gateway that looks at no packet and before one that limits them."""
    name = f"{INSPECTION}-{work.name}"
    return evolve(work, name=name, group=INSPECTION, goals={}, peers=(INSPECTED,), rounds_max=3, quick=None)


def across_connections(connections: int) -> Work:
    return Work(
        name=f"connections-{connections}",
        group="connections",
        title=f"growth: {connections} connections",
        options={"connections": connections},
        peers=RELAYS,
        rounds_max=2,
        at=connections,
        quick=None,
    )


def across_sizes(size: int) -> Work:
    return Work(
        name=f"size-{size}",
        group="size",
        title=f"growth: 10 x 4 in flight, {size:,} B",
        options={"connections": 10, "inflight": 4, "size": size},
        peers=RELAYS,
        rounds_max=2,
        at=size,
        quick=None,
    )


KNOWN = Work(
    name="sessions-known",
    group="sessions",
    title="sessions, tokens seen before",
    options={"mode": "sessions", "connections": SESSIONS, "opening": 16},
    unit="session",
    peers=CHECKING,
    quick={"connections": 300},
)
WORKS = (
    ping_pong(1, {"go": 1.3, "haproxy": 1.3}, judged="p50_us"),
    ping_pong(10, {"go": 1.0, "haproxy": 1.3}),
    ping_pong(100, {"go": 0.75, "haproxy": 1.0}),
    ping_pong(1000, {"go": 0.75, "haproxy": 1.25}),
    pipelined(10, 64, 100, "100 B", {"go": 0.06, "haproxy": 3}),
    pipelined(10, 16, 4096, "4 KiB", {"go": 0.10, "haproxy": 0.8}),
    pipelined(4, 4, 60_000, "60 kB", {"go": 0.12, "haproxy": 0.6}),
    fan(100),
    fan(1000),
    mqtt(100, 1, 4, "3.1.1"),
    mqtt(10, 16, 5, "5.0"),
    Work(
        name="sessions",
        group="sessions",
        title="sessions, tokens never seen before",
        options={"mode": "sessions", "connections": SESSIONS, "opening": 16},
        unit="session",
        goals={"go": 1.5},
        peers=CHECKING,
        fresh_tokens=SESSIONS,
        quick={"connections": 300},
    ),
    KNOWN,
    Work(
        name="storm",
        group="storm",
        title="reconnect storm",
        options={"mode": "storm", "connections": STORM, "opening": 64, "returning": True},
        steady=ESTABLISHED,
        unit="session",
        peers=CHECKING,
        rounds_max=3,
        quick={"connections": 1000},
    ),
    with_workers(ping_pong(100, {})),
    with_workers(pipelined(10, 64, 100, "100 B", {})),
    with_workers(pipelined(4, 4, 60_000, "60 kB", {})),
    with_workers(KNOWN),
    inspected(mqtt(100, 1, 4, "3.1.1")),
    inspected(mqtt(10, 16, 5, "5.0")),
    *(across_connections(count) for count in (1, 3, 10, 30, 100, 300, 1000, 3000)),
    *(across_sizes(size) for size in (10, 100, 1000, 4000, 16_000, 64_000, 256_000, 1_000_000)),
)
MEMORY = "memory"
MEMORY_GOALS = {"go": 0.30}
CHOICES = (*dict.fromkeys([*(work.group for work in WORKS), MEMORY, *(work.name for work in WORKS)]),)


def chosen(names: Sequence[str], *, quick: bool) -> list[Work]:
    """Those of that name or group, or all."""
    works = [work for work in WORKS if not names or {work.name, work.group} & set(names)]
    return [work.in_a_hurry() for work in works if work.quick is not None or names] if quick else works
