"""The run itself: round by round, every peer has its turn at a work. Tells each sample as it comes."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from benchmarks.costs import settle, spent
from benchmarks.figures import Failure, Sample
from benchmarks.load import Load, LoadFailed
from benchmarks.peers import Peer
from benchmarks.works import Work

LATENCIES = {"p50_us", "p99_us", "max_us"}


@frozen(kw_only=True)
class Plan:
    """How long, and how often."""

    load: Path
    rounds: int
    warm_seconds: float
    seconds: float


def turn(plan: Plan, work: Work, peer: Peer, number: int, tokens: Path, broadcast: int) -> Sample:
    """One peer at one work, with a file of tokens. Raises ``LoadFailed``."""
    options = {
        "port": peer.port,
        "tokens": tokens,
        "broadcast": broadcast,
        "warm": plan.warm_seconds,
        "seconds": plan.seconds,
        **work.options,
    }
    with ExitStack() as stack:
        load = stack.enter_context(Load.running(plan.load, options))
        load.heard()
        steady = None
        if work.steady:
            talking = {"mode": "steady", "port": peer.port, "tokens": tokens, **work.steady}
            steady = stack.enter_context(Load.running(plan.load, talking))
            steady.heard()
        settle(peer.pids)
        before = spent(peer.pids)
        if steady is not None:
            steady.tell()
        load.tell()
        heard = load.heard()
        meanwhile = {}
        if steady is not None:
            steady.tell()
            meanwhile = {f"steady_{name}": value for name, value in steady.heard().items() if name in LATENCIES}
        settle(peer.pids)  # what the work has left to do is part of it
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
        refused=heard["refused"],
        **meanwhile,
    )


def measure(
    plan: Plan,
    work: Work,
    peers: Sequence[Peer],
    *,
    tokens: Callable[[], Path],
    broadcast: int,
    tell: Callable[[Sample | Failure], None],
) -> None:
    """All rounds of a work. Who begins changes from round to round; ``tokens`` is asked once a round.

    Who fails has no further turn at this work.
    """
    failed = set()
    for number in range(min(plan.rounds, work.rounds_max)):
        first = number % len(peers)
        file = tokens()
        for peer in (*peers[first:], *peers[:first]):
            if peer.name in failed:
                continue
            try:
                tell(turn(plan, work, peer, number, file, broadcast))
            except LoadFailed as failure:
                failed.add(peer.name)
                tell(Failure(work=work.title, peer=peer.name, reason=str(failure)))
