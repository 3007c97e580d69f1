"""A gateway that has no descriptors left waits for some, and goes on."""

import os
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from tests.serve.outside import Outside, outside
from tests.serve.test_start import talk
from trio_ws_gateway.limits.connections import sessions_for
from trio_ws_gateway.wire.frames import TEXT

DESCRIPTORS = 40
LAUNCHER = ("sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh")
WATCHED_SECONDS = 0.5


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def room(there: Outside) -> None:
    """Until it has noticed that they have gone."""
    with trio.fail_after(10):
        while (await there.house.get("/healthz"))[0].status != 200:
            await trio.sleep(0.02)


async def test_no_descriptors_left(tmp_path: Path) -> None:
    """It says so once, spends no time on it, keeps the sessions it has, and tells who comes to come again; it accepts
    again when there is room."""
    async with outside(tmp_path, launcher=LAUNCHER) as there, there.house.raw() as (client, upstream):
        async with AsyncExitStack() as stack:
            for _ in range(DESCRIPTORS):
                await stack.enter_async_context(there.house.connect())
            await there.log_line("cannot accept")
            async with there.house.connect() as late:
                late.end_stream()
                assert (await late.read_to_end()).startswith(b"HTTP/1.1 429 ")
            before = cpu_seconds(there.pid)
            await trio.sleep(WATCHED_SECONDS)
            assert cpu_seconds(there.pid) - before < WATCHED_SECONDS / 2
            assert len(there.gateway.events("cannot accept")) == 1
            await client.say(TEXT, b"still there?")
            assert await upstream.hear() == (TEXT, True, b"still there?")
        await room(there)
        await talk(there, there.house.provider.mint())


async def test_no_more_sessions_than_descriptors(tmp_path: Path) -> None:
    """There are as many sessions as descriptors allow, which a warning says at the start; the others are refused."""
    async with outside(tmp_path, launcher=LAUNCHER, WS_DIAL_RETRY_MAX="0") as there:
        statuses: list[int] = []

        async def come(stack: AsyncExitStack) -> None:
            _, answer = await stack.enter_async_context(there.house.knock(token=there.house.provider.mint()))
            statuses.append(answer.status)
            if answer.status == 101:
                await there.house.upstream.next()

        async with AsyncExitStack() as stack:
            for _ in range(5):
                async with trio.open_nursery() as nursery:
                    for _ in range(4):
                        nursery.start_soon(come, stack)
            assert statuses.count(101) == sessions_for(DESCRIPTORS)
            assert set(statuses) == {101, 429}
            [warning] = [
                line["warning"] for line in there.gateway.events("setting") if "descriptors" in line["warning"]
            ]
            assert f"good for {sessions_for(DESCRIPTORS)} sessions" in warning
        await room(there)
        await talk(there, there.house.provider.mint())
        assert there.gateway.events("fault") == []
