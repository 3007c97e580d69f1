"""Readers that stall, behind an upstream that sends as fast as it can: what do a proxy and the system hold for them?

``python -m benchmarks.stalled`` prints a curve, while more and more clients connect and read nothing: resident memory
of the proxy, and what the system holds in the buffers of its sockets (``ss -m``). Ends with status 1 where the
gateway's process holds more for one of them than its bound.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.costs import resident_kib
from benchmarks.peers import AUDIENCE, GATEWAY, STARTED, Site
from benchmarks.programs import compiled
from tests.serve.stalling import Flood, kernel_kib, readers
from tests.servers.issuer import issuer
from trio_ws_gateway.relay.intake import READ_BYTES

STEPS = 4
SETTLED_SECONDS = 1.0  # as long as nothing more flows, all that stalls has stalled
HELD_MAX_BYTES = READ_BYTES + 40 * 1024  # of the process, for each: one read held, and a session


def settle(flood: Flood) -> None:
    """Wait until nothing flows any more."""
    before = -1
    while before != flood.sent:
        before = flood.sent
        time.sleep(SETTLED_SECONDS)


def curve(site: Site, name: str, flood: Flood, count: int, token: str) -> float:
    """Print one peer's; what each reader costs its processes in the last step, in bytes."""
    peer = site.start(name)
    try:
        empty = resident_kib(peer.pids)
        points = [(0, empty)]
        with ExitStack() as stack:
            for step in range(1, STEPS + 1):
                stack.enter_context(readers(peer.port, count // STEPS, token))
                settle(flood)
                here, resident, kernel = step * count // STEPS, resident_kib(peer.pids), kernel_kib(peer.pids)
                points.append((here, resident))
                click.echo(
                    f"{name:>10}  {here:5} readers  {resident:8,} KiB resident  {kernel:9,} KiB in its sockets"
                    f"  {(resident - empty) / here:7.1f} + {kernel / here:7.1f} KiB each"
                )
        return (points[-1][1] - points[-2][1]) * 1024 / (points[-1][0] - points[-2][0])
    finally:
        peer.stop()


@click.command()
@click.option("--readers", "count", default=1000, type=click.IntRange(STEPS))
@click.option("--peer", "peers", multiple=True, type=click.Choice([GATEWAY, *STARTED]), help="Only this proxy.")
@click.option("--setting", "settings", multiple=True, help="NAME=value for the gateway.")
def main(count: int, peers: Sequence[str], settings: Sequence[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="stalled-") as name, issuer() as provider, Flood() as flood:
        directory = Path(name)
        given = dict(setting.split("=", 1) for setting in settings)
        site = Site(
            directory=directory,
            upstream=flood.port,
            provider=provider,
            compiled=compiled(directory),
            settings={"WS_WRITE_TIMEOUT_SECONDS": "600", "WS_MAX_SESSIONS_PER_ADDRESS": "0", **given},
        )
        token = provider.mint(aud=AUDIENCE)
        each = {peer: curve(site, peer, flood, count, token) for peer in peers or (GATEWAY, "go", "nginx")}
    if each.get(GATEWAY, 0) > HELD_MAX_BYTES:
        click.echo(f"the gateway holds {each[GATEWAY]:.0f} bytes for each, {HELD_MAX_BYTES} allowed")
        sys.exit(1)


if __name__ == "__main__":
    main()
