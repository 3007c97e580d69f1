"""The works that are measured, in one table: their shape, and the goals they are held to.

A work's ``options`` are the load generator's own (``go/load/main.go``).
"""

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class Work:
    """``judged``: the figure that goals and ratios speak of. ``unit``: what its cost is per.

    ``goals``: by peer, what the ratio of the gateway's figure to the peer's should not exceed.
    """

    name: str
    title: str
    options: Mapping[str, object]
    judged: str = "cost_us"
    unit: str = "message"
    goals: Mapping[str, float] = field(factory=dict)


def ping_pong(connections: int, goals: Mapping[str, float], judged: str = "cost_us") -> Work:
    return Work(
        name=f"ping-{connections}",
        title=f"ping-pong, {connections} connection{'s' if connections > 1 else ''}, 100 B",
        options={"connections": connections},
        judged=judged,
        goals=goals,
    )


def pipelined(connections: int, inflight: int, size: int, shown: str, goals: Mapping[str, float]) -> Work:
    return Work(
        name=f"{connections}x{inflight}",
        title=f"{connections} x {inflight} in flight, {shown}",
        options={"connections": connections, "inflight": inflight, "size": size},
        goals=goals,
    )


WORKS = (
    ping_pong(1, {"go": 1.3, "haproxy": 1.3}, judged="p50_us"),
    ping_pong(10, {"go": 1.0, "haproxy": 1.3}),
    ping_pong(100, {"go": 0.75, "haproxy": 1.0}),
    ping_pong(1000, {"go": 0.75, "haproxy": 1.25}),
    pipelined(10, 64, 100, "100 B", {"go": 0.06, "haproxy": 3}),
    pipelined(10, 16, 4096, "4 KiB", {"go": 0.10, "haproxy": 0.8}),
    pipelined(4, 4, 60_000, "60 kB", {"go": 0.12, "haproxy": 0.6}),
)
