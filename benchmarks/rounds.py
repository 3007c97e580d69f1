"""The run itself: round by round, every peer has its turn at a work. Tells each sample as it comes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from benchmarks.costs import settle, spent
from benchmarks.figures import Sample
from benchmarks.load import Load
from benchmarks.peers import Peer
from benchmarks.works import Work


@frozen(kw_only=True)
class Plan:
    """How long, and how often. ``tokens``: a file of them for the generator."""

    load: Path
    tokens: Path
    broadcast: int
    rounds: int
    warm_seconds: float
    seconds: float


def turn(plan: Plan, work: Work, peer: Peer, number: int) -> Sample:
    """One peer at one work. Raises ``LoadFailed``."""
    options = {
        "port": peer.port,
        "tokens": plan.tokens,
        "broadcast": plan.broadcast,
        "warm": plan.warm_seconds,
        "seconds": plan.seconds,
        **work.options,
    }
    with Load.running(plan.load, options) as load:
        load.heard()
        settle(peer.pids)
        before = spent(peer.pids)
        load.tell()
        heard = load.heard()
        cost = spent(peer.pids) - before
    settle(peer.pids)
    cost_us = cost.total / heard["count"] * 1e6
    return Sample(
        work=work.name,
        peer=peer.name,
        round=number,
        count=heard["count"],
        seconds=heard["seconds"],
        cost_us=cost_us,
        user_us=cost_us * cost.user_share,
        system_us=cost_us * (1 - cost.user_share),
        p50_us=heard["p50_us"],
        p99_us=heard["p99_us"],
    )


def measure(plan: Plan, work: Work, peers: Sequence[Peer], tell: Callable[[Sample], None]) -> None:
    """All rounds of a work. Who begins changes from round to round."""
    for number in range(plan.rounds):
        first = number % len(peers)
        for peer in (*peers[first:], *peers[:first]):
            tell(turn(plan, work, peer, number))
