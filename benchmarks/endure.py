"""A gateway of two workers, with everything around it breaking at random. ``python -m benchmarks.endure --minutes 10``

Good sessions talk, robots count what is acknowledged to them, visitors misbehave, and harms befall broker, backend, key
server and workers. Now and then the storm stops, and it is counted whether what is left is what should be. Ends with
status 1 where anything was not as it should be; draws the curve of what was used.
"""

import os
import random
import resource
import secrets
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import trio
from attrs import define

from benchmarks.costs import resident_kib
from benchmarks.curve import draw
from benchmarks.harms import Harms, workers
from benchmarks.traffic import Talker, visitors
from benchmarks.watch import CALM_P99_SECONDS, Sample, Watch
from tests.faults.site import Count, Site, publishing, site
from tests.servers.backend import Backend

TALKERS, VISITORS = 20, 30
STORM_SECONDS = 30.0  # from one census to the next
BETWEEN_SECONDS = 4.0  # one harm and the next of its kind, at most
SETTLE_SECONDS = 25.0  # a time-out of ours, and those of a circuit and its probes
SLACK = 8  # tasks or descriptors: of a probe, a fetch, a question for the metrics
WORKER_MAX_KIB = 96 * 1024
SETTINGS = {
    "WS_IDLE_TIMEOUT_SECONDS": "6",
    "WS_PING_INTERVAL_SECONDS": "2",
    "WS_HANDSHAKE_TIMEOUT_SECONDS": "3",
    "WS_AUTH_TIMEOUT_SECONDS": "3",
    "WS_WRITE_TIMEOUT_SECONDS": "3",
    "WS_DIAL_TIMEOUT_SECONDS": "2",
    "CB_HEALTHCHECK_INTERVAL_SECONDS": "1",
    "CB_OPEN_TIMEOUT_SECONDS": "1",
    "JWKS_TTL_MINUTES": "0.05",
    "LOG_LEVEL": "info",
}


async def used(at: Site, watch: Watch) -> Sample | None:
    """What is used now; ``None`` while the gateway cannot say it."""
    pids = [at.gateway.process.popen.pid, *workers(at)]
    with trio.move_on_after(2), suppress(OSError, EOFError, KeyError, ValueError):
        samples = await at.house.samples()
        return Sample(
            at=watch.now,
            resident_kib=resident_kib(pids),
            descriptors=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            tasks=samples["ws_event_loop_tasks"],
            sessions=samples["ws_active_sessions"],
            p99=watch.latest_p99(),
        )
    return None


@define
class Endurance:
    at: Site
    watch: Watch
    talkers: list[Talker]
    count: Count
    empty: Sample  # before the first session
    acknowledged: int = 0

    async def keep_sampling(self) -> None:
        while True:
            if (sample := await used(self.at, self.watch)) is not None:
                self.watch.samples.append(sample)
            await trio.sleep(1)

    async def census(self) -> None:
        """The storm is over: good sessions are there and no others, use what they should, and no message is lost."""
        good = len(self.talkers) + self.count.robots
        acknowledged, now = set(self.count.acknowledged), None
        with trio.move_on_after(SETTLE_SECONDS) as patience:
            while not (  # noqa: ASYNC110 - another process's
                (now := await used(self.at, self.watch)) is not None
                and all(talker.live for talker in self.talkers)
                and now.sessions == good
                and now.tasks <= self.empty.tasks + 3 * good + SLACK
                and now.descriptors <= self.empty.descriptors + 2 * good + SLACK
                and acknowledged <= set(self.count.listener.arrived)
            ):
                await trio.sleep(0.2)
        if patience.cancelled_caught:
            lost = len(acknowledged - set(self.count.listener.arrived))
            live = sum(talker.live for talker in self.talkers)
            self.watch.violated(f"{good} sessions should be left, with {live} talkers live; {lost} lost: {now}")
        for pid in workers(self.at):
            if (kib := resident_kib([pid])) > WORKER_MAX_KIB:
                self.watch.violated(f"a worker has {kib} KiB")
        self._forget(acknowledged)
        self._show(now)

    def _forget(self, acknowledged: set[bytes]) -> None:
        """What has been counted."""
        self.acknowledged += len(acknowledged)
        arrived = self.count.listener.arrived
        arrived[:] = [each for each in arrived if each not in acknowledged and not each.startswith(b"0-")]
        for robots in self.count.publishers.values():
            for robot in robots:
                robot.acknowledged[:] = [each for each in robot.acknowledged if each not in acknowledged]

    def _show(self, now: Sample | None) -> None:
        if now is not None:
            click.echo(
                f"{now.at / 60:5.1f} min  {len(self.watch.harms):4} harms  {now.sessions:3.0f} sessions"
                f"  {now.resident_kib / 1024:6.1f} MiB  {now.descriptors:4} descriptors  {now.tasks:4.0f} tasks"
                f"  {self.acknowledged:7,} acknowledged  {len(self.watch.waits):7,} answers"
                f"  {self.watch.sessions_ended:4} good sessions ended by a harm"
                f"  p99 {self.watch.calm_p99() * 1000:.0f} ms in calm"
            )


async def endure(minutes: float, seed: int, directory: Path) -> Watch:
    chance, watch = random.Random(seed), Watch()
    backend = await trio.to_thread.run_sync(Backend.start, directory, "benchmarks.fickle")
    try:
        async with site(directory, chance, RAW_WS_BACKEND_URL=backend.websocket_url, **SETTINGS) as at:
            harms = Harms(at, backend, chance, watch)
            await weather(at, harms, watch, minutes * 60)
            judge(at, harms, watch)
    finally:
        backend.thaw()
        backend.kill()
    return watch


async def weather(at: Site, harms: Harms, watch: Watch, seconds: float) -> None:
    """Storms, and a census behind each."""
    empty, chance = await used(at, watch), harms.chance
    assert empty is not None
    robot_lost = partial(watch.ended, "a robot", "mqtt", "")
    async with publishing(at, qos=(0, 1, 2), pause_seconds=0.1, lost=robot_lost) as count, trio.open_nursery() as crew:
        talkers = [Talker(f"talker-{number}", chance, watch) for number in range(TALKERS)]
        for talker in talkers:
            crew.start_soon(talker.run, at.house)
        endurance = Endurance(at, watch, talkers, count, empty)
        await endurance.census()
        crew.start_soon(endurance.keep_sampling)
        while (left := seconds - watch.now) > 0:
            async with trio.open_nursery() as storm:
                for _ in range(VISITORS):
                    storm.start_soon(visitors, at.house, chance)
                storm.start_soon(harms.now_and_then, harms.of_servers, BETWEEN_SECONDS)
                storm.start_soon(harms.now_and_then, harms.of_the_rest, BETWEEN_SECONDS)
                await trio.sleep(min(STORM_SECONDS, left))
                storm.cancel_scope.cancel()
            await endurance.census()
        crew.cancel_scope.cancel()


def judge(at: Site, harms: Harms, watch: Watch) -> None:
    """What the whole of it must show."""
    log = at.gateway.output()
    if faults := log.count('"event": "fault"') + log.count("Traceback"):
        watch.violated(f"{faults} faults in the log of the gateway")
    if (ended := log.count('"event": "worker ended"')) != harms.workers_killed:
        watch.violated(f"{ended} workers have ended, {harms.workers_killed} were killed")
    if (calm := watch.calm_p99()) > CALM_P99_SECONDS:
        watch.violated(f"the p99 of an answer is {calm:.3f} s where nothing disturbs it")


@click.command()
@click.option("--minutes", default=10.0)
@click.option("--seed", type=int, help="Of a run that is to be repeated, as far as chance goes.")
@click.option("--picture", type=click.Path(path_type=Path), default=Path("endurance.png"), show_default=True)
def main(minutes: float, seed: int | None, picture: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    click.echo(f"--seed {seed}")
    with tempfile.TemporaryDirectory(prefix="endure-") as directory:
        watch = trio.run(endure, minutes, seed, Path(directory))
    draw(watch, picture)
    click.echo(f"{len(watch.violations)} violations; the curve is in {picture}")
    sys.exit(1 if watch.violations else 0)


if __name__ == "__main__":
    main()
