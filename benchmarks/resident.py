"""What a session that does nothing holds in memory: a fresh process of each peer, before and with its sessions."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.costs import resident_kib, settle
from benchmarks.figures import Held
from benchmarks.load import Load
from benchmarks.peers import Site


def hold(site: Site, name: str, counts: Sequence[int], load: Path, tokens: Path, tell: Callable[[Held], None]) -> None:
    """Open so many sessions through a peer, each with one message behind it; then so many in all."""
    peer = site.start(name)
    try:
        with Load.running(load, {"mode": "idle", "port": peer.port, "tokens": tokens}) as idle:
            idle.heard()
            settle(peer.pids)
            empty = resident_kib(peer.pids)
            for count in counts:
                idle.tell(str(count))
                idle.heard()
                settle(peer.pids)
                tell(Held(peer=name, sessions=count, kib_empty=empty, kib=resident_kib(peer.pids)))
    finally:
        peer.stop()
