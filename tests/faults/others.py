"""Who must not notice: sessions that mind their own business while something befalls others; and what must not stay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import trio
from attrs import define, field

from tests.house import House
from tests.serve.outside import Outside, outside
from tests.serve.visits import backend
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, PING, PONG
from trio_ws_gateway.wire.mqtt import Connect

OTHERS = 3
PAUSE_SECONDS = 0.02
WAIT_MAX_SECONDS = 1.0  # for an answer, on a machine that has other things to do
SETTLE_SECONDS = 10.0
SAMPLES = 5


@asynccontextmanager
async def session(home: House, protocol: str, connect: Connect | None = None) -> AsyncIterator[Peer]:
    """A client that is let in. One of MQTT has said its CONNECT, and heard an answer."""
    if protocol == "raw":
        async with home.open(token=home.provider.mint()) as client:
            yield client
        return
    async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
        await client.say(BINARY, (connect or home.connect_packet()).to_bytes())
        await client.hear()
        yield client


@define
class Others:
    """Sessions that say one message after the other to an upstream that echoes."""

    waits: list[float] = field(factory=list)  # for the answers, of all, in seconds
    over: bool = False

    async def talk(self, client: Peer, name: int) -> None:
        for number in count():
            said = b"%d of %d" % (number, name)
            began_at = trio.current_time()
            await client.say(BINARY, said)
            assert await heard(client) == (BINARY, True, said)
            self.waits.append(trio.current_time() - began_at)
            if self.over:
                return
            await trio.sleep(PAUSE_SECONDS)


async def heard(client: Peer) -> tuple[int, bool, bytes]:
    """The next frame that is no ping; those are answered."""
    while (frame := await client.hear())[0] == PING:
        await client.say(PONG, frame[2])
    return frame


@asynccontextmanager
async def undisturbed(home: House, protocol: str, number: int = OTHERS) -> AsyncIterator[Others]:
    """So many sessions, whose upstream echoes, go on through the block: each answer comes, soon and in its order."""
    others = Others()

    async def one(name: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with session(home, protocol) as client:
            task_status.started()
            await others.talk(client, name)
            await client.say_close()
            await client.hear_close()

    async with trio.open_nursery() as nursery:
        for name in range(number):
            await nursery.start(one, name)
        yield others
        others.over = True
    assert max(others.waits) < WAIT_MAX_SECONDS


@asynccontextmanager
async def before_an_echo(directory: Path, **settings: str) -> AsyncIterator[Outside]:
    """A gateway process whose upstreams say back what they hear, but for those that the settings name."""
    async with trio.open_nursery() as nursery:
        url = f"ws://127.0.0.1:{await nursery.start(backend)}/"
        terms = {"RAW_WS_BACKEND_URL": url, "UPSTREAM_WS_URL": url, **settings}
        async with outside(directory, ready=True, **terms) as there:
            yield there
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def nothing_stays(there: Outside) -> AsyncIterator[None]:
    """After the block the process has no more sessions, tasks and descriptors than before, and has logged no fault."""

    async def state() -> tuple[float, float, int]:
        samples = await there.house.samples()
        await trio.sleep(PAUSE_SECONDS)  # until the connection that has asked is closed
        return samples["ws_active_sessions"], samples["ws_event_loop_tasks"], there.descriptors

    several = [await state() for _ in range(SAMPLES)]  # a probe may be on its way in one
    before = tuple(map(min, *several))
    yield
    left = [await state()]
    with trio.move_on_after(SETTLE_SECONDS):
        while any(now > then for now, then in zip(left[-1], before, strict=True)):
            left.append(await state())
    assert all(now <= then for now, then in zip(left[-1], before, strict=True)), (before, left[-1])
    assert there.gateway.events("fault") == []
