"""A gateway process over a long run: visitors come and go, idle sessions stay. ``python -m benchmarks.soak``

Prints a curve of descriptors and resident memory, and ends with status 1 where the gateway does not come
back to where it began, or where an idle session takes more than its share.
"""

import random
import resource
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import click
import trio

from tests.house import HANDSHAKE, House
from tests.serve.outside import Outside, echo, outside
from tests.serve.visits import backend, visit
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.http import build_head

AT_A_TIME = 50
STEPS = 10
SESSION_MAX_BYTES = 25_000
GROWTH_MAX_KIB = 2048  # from the first tenth of the visits to the last: the allocator's noise; 50 bytes each are more
SETTLE_SECONDS = 15.0


def show(what: str, there: Outside, samples: dict[str, float]) -> int:
    """One point of the curve; the resident memory in KiB."""
    resident = there.resident_kib
    click.echo(
        f"{what:>24}  {there.descriptors:5} descriptors  {resident:7} KiB"
        f"  {samples['ws_active_sessions']:5.0f} sessions  lag {samples['ws_event_loop_lag_seconds'] * 1000:5.1f} ms"
    )
    return resident


async def settled(there: Outside, descriptors: int) -> bool:
    with trio.move_on_after(SETTLE_SECONDS):
        while there.descriptors > descriptors:  # noqa: ASYNC110 - another process's
            await trio.sleep(0.1)
    return there.descriptors <= descriptors


async def come_and_go(there: Outside, visits: int) -> bool:
    """Whether the gateway is where it began after so many visits."""
    began = there.descriptors
    residents = [show("before", there, await there.house.samples())]

    async def lane(seed: int, count: int) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            with trio.move_on_after(chance.uniform(0.01, 2.0)):
                await visit(there.house, chance)

    for step in range(STEPS):
        async with trio.open_nursery() as nursery:
            for each in range(AT_A_TIME):
                nursery.start_soon(lane, step * AT_A_TIME + each, visits // STEPS // AT_A_TIME)
        back = await settled(there, began)
        samples = await there.house.samples()
        residents.append(show(f"{(step + 1) * visits // STEPS} visits", there, samples))
        if not back or samples["ws_active_sessions"]:
            click.echo("something was left behind")
            return False
    grown = residents[-1] - residents[1]
    click.echo(f"grown by {grown} KiB since the first step, {GROWTH_MAX_KIB} allowed")
    return grown <= GROWTH_MAX_KIB


async def stay(there: Outside, count: int, seconds: float) -> bool:
    """Whether so many idle sessions, raw and MQTT 5 by turns, take no more memory each than their share."""
    before, began = there.resident_kib, there.descriptors
    most = 0.0
    async with AsyncExitStack() as stack, trio.open_nursery() as clients:
        async with trio.open_nursery() as nursery:
            for _ in range(AT_A_TIME):
                nursery.start_soon(open_sessions, there.house, stack, clients, count // AT_A_TIME)
        with trio.move_on_after(seconds):
            while True:
                resident = show(f"{count} idle sessions", there, await there.house.samples())
                most = max(most, (resident - before) * 1024 / count)
                await trio.sleep(10)
        well = (await there.house.samples())["ws_active_sessions"] == count
        clients.cancel_scope.cancel()
    click.echo(f"{most:.0f} bytes a session, {SESSION_MAX_BYTES} allowed")
    well = await settled(there, began) and well
    show("after them", there, await there.house.samples())
    return well and most <= SESSION_MAX_BYTES


async def open_sessions(house: House, stack: AsyncExitStack, clients: trio.Nursery, count: int) -> None:
    token = house.provider.mint()
    for number in range(count):
        client = await stack.enter_async_context(house.connect())
        own = ("Sec-WebSocket-Protocol", "mqtt") if number % 2 else ("Authorization", f"Bearer {token}")
        await client.send(build_head("GET /ws HTTP/1.1", [*HANDSHAKE, own]))
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        if number % 2:
            await client.say(BINARY, house.connect_packet(5).to_bytes())
            await client.hear()
        clients.start_soon(echo, client)  # which answers pings


async def soak(visits: int, sessions: int, seconds: float) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{await nursery.start(backend)}/"
            async with outside(Path(directory), UPSTREAM_WS_URL=url, RAW_WS_BACKEND_URL=url, LOG_LEVEL="info") as there:
                well = await stay(there, sessions, seconds)
                well = await come_and_go(there, visits) and well
                there.gateway.process.popen.terminate()
                well = await there.exit_status() == 0 and well
                faults = there.gateway.events("fault")
                click.echo(f"{len(faults)} faults")
                well = not faults and well
            nursery.cancel_scope.cancel()
    return well


@click.command()
@click.option("--visits", default=50_000)
@click.option("--sessions", default=2_000)
@click.option("--seconds", default=60.0, help="How long the idle sessions stay.")
def main(visits: int, sessions: int, seconds: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.exit(0 if trio.run(soak, visits, sessions, seconds) else 1)


if __name__ == "__main__":
    main()
