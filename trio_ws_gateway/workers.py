"""The parent of a group: it listens, starts the workers that accept, and replaces those that die.

The listener is one for all, so connections that wait in its queue survive the worker that dies: lost are the sessions
that it had, nothing else. There is a pause before each replacement, which grows while that does not help. Signals come
to the parent, which passes them on; it ends when all workers have.
"""

import os
import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
import trio

from trio_ws_gateway import scrape, wiring, worker
from trio_ws_gateway.auth.revocation import REVOCATIONS_MAX, Revocation, Revocations
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.control import Heard
from trio_ws_gateway.gateway import Order, SignalledOrders
from trio_ws_gateway.listening import listen
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.operating import Operation, door_of
from trio_ws_gateway.prober import FOUND, Appointment, silence_seconds
from trio_ws_gateway.worker_link import Link, NoAnswer

COUNTING_SECONDS = 1.0  # to answer a scrape; of a worker that is stuck counts what it said last
ASKING_SECONDS = 1.0  # for what an operator wants to know
GRACE_SECONDS = 5.0  # beyond the drain time, then a worker that does not end is killed
PAUSE_SECONDS = 0.5
PAUSE_MAX_SECONDS = 30.0
LIVED_WELL_SECONDS = 60.0


class DidNotStart(Exception):
    """A worker ended before it accepted anything, and none ever had: it would be so again."""


def as_asked(workers: int) -> int:
    """How many workers the setting means; 0: one for each processor that this process may use."""
    return workers or len(os.sched_getaffinity(0))


def pause_seconds(deaths: int) -> float:
    """How long to wait after so many deaths in a row before there is a next life."""
    return min(PAUSE_SECONDS * 2.0 ** (deaths - 1), PAUSE_MAX_SECONDS)


async def serve(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    """Run a group until a signal ends it.

    Raises ``OSError`` where the address cannot be listened on, ``BadSettings`` for a file that will not do, and
    ``DidNotStart``.
    """
    wiring.try_out(settings)
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        await listen(settings.listen) as listener,
    ):
        async with door_of(settings) as door:
            group = Group(settings, listener, log, door=door)
            await group.run(SignalledOrders(signals, log))
    log.info("stopped")


class Group:
    """The workers that live, by number, and what the dead have counted."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        log: structlog.typing.FilteringBoundLogger,
        *,
        door: socket.socket | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._log = log
        self._grace_seconds = grace_seconds
        self._size = as_asked(settings.workers)
        self._metrics = Metrics(max_identities=0)
        self._workers: dict[int, trio.Process] = {}
        self._links: dict[int, Link] = {}
        self._counted: dict[int, scrape.Snapshot] = {}  # at the last scrape, so that a death takes little with it
        self._counted_by_the_dead: scrape.Snapshot = []
        self._revocations = Revocations(REVOCATIONS_MAX)
        self._operation = Operation(settings, self._revocations, self.ask_all, door, log)
        self._accepting: set[int] = set()
        self._all_accepted = trio.Event()
        self._ending = trio.Event()
        self._probes = settings.cb_healthcheck_interval_seconds > 0
        self._appointment = Appointment(
            self._tell,
            silence_seconds=silence_seconds(settings.cb_healthcheck_interval_seconds, settings.ws_dial_timeout_seconds),
            log=log,
        )

    async def run(self, orders: AsyncIterator[Order]) -> None:
        """Until it was ordered to end and all workers have."""
        failure: DidNotStart | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, orders)
            nursery.start_soon(self._announce)
            nursery.start_soon(self._appointment.run)
            await nursery.start(self._operation.run)
            try:
                async with trio.open_nursery() as keepers:
                    for number in range(1, self._size + 1):
                        keepers.start_soon(self._keep, number)
            except* DidNotStart as group:
                failure = DidNotStart(*group.exceptions[0].args)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _obey(self, orders: AsyncIterator[Order]) -> None:
        async with trio.open_nursery() as nursery:
            async for order in orders:
                self._ending.set()
                if order is Order.DRAIN:
                    for process in self._workers.values():
                        process.terminate()
                    nursery.start_soon(
                        self._kill_after, self._settings.graceful_drain_timeout_seconds + self._grace_seconds
                    )
                else:
                    for link in self._links.values():
                        link.tell(worker.CUT)
                    nursery.start_soon(self._kill_after, self._grace_seconds)

    async def _kill_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        for number, process in self._workers.items():
            self._log.error("killed", worker=number, pid=process.pid)
            process.kill()

    async def _announce(self) -> None:
        await self._all_accepted.wait()
        where = self._settings
        port = self._listener.getsockname()[1]
        self._log.info("listening", host=where.listen.host, port=port, path=where.ws_path, workers=self._size)

    async def _keep(self, number: int) -> None:
        """Have a worker of that number, one after the other."""
        deaths = 0
        while not self._ending.is_set():
            began_at = trio.current_time()
            status: int | str = ""
            try:
                status = await self._live(number)
            except* OSError as errors:  # processes, memory or descriptors have run out; the other workers are well
                status = f"not started: {errors.exceptions[0]}"
            self._accepting.discard(number)
            self._appointment.leaves(number)
            self._counted_by_the_dead = scrape.summed(
                [self._counted_by_the_dead, scrape.counts_of(self._counted.pop(number, []))]
            )
            if self._ending.is_set():
                return
            if not self._all_accepted.is_set():
                raise DidNotStart(f"worker {number} ended before it accepted anything (status: {status})")
            self._metrics.worker_restarts.inc()
            deaths = deaths + 1 if trio.current_time() - began_at < LIVED_WELL_SECONDS else 1
            pause = pause_seconds(deaths)
            self._log.error("worker ended", worker=number, status=status, pause=pause)
            with trio.move_on_after(pause):
                await self._ending.wait()

    def _tell(self, number: int, subject: str, body: object) -> None:
        link = self._links.get(number)
        if link is not None:  # else it has just died
            link.tell(subject, body)

    async def _live(self, number: int) -> int:
        """One life of a worker, from its start to its exit status. Raises ``OSError``, in a group or not."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", worker.__name__, str(self._listener.fileno()), str(theirs.fileno())]
        with ours, theirs:  # whatever happens; else the link closes ours
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(
                    partial(
                        trio.run_process,
                        command,
                        stdin=pickle.dumps((self._settings, number)),
                        check=False,
                        pass_fds=(self._listener.fileno(), theirs.fileno()),
                        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                    )
                )
                theirs.close()
                self._workers[number] = process
                link = self._links[number] = Link(ours, self._answers(number), self._log.bind(worker=number))
                nursery.start_soon(link.run)
                if self._ending.is_set():  # the order came while it was started
                    process.terminate()
                try:
                    status = await process.wait()
                finally:
                    del self._workers[number], self._links[number]
                nursery.cancel_scope.cancel()
        return status

    def _answers(self, number: int) -> dict[str, Any]:
        async def accepting(_: object) -> None:
            self._accepting.add(number)
            if len(self._accepting) == self._size:
                self._all_accepted.set()
            if self._probes:
                self._appointment.accepts(number)

        async def found(finding: list[str]) -> None:
            self._appointment.hear(number, *finding)

        async def others_metrics(own: scrape.Snapshot) -> list[scrape.Snapshot]:
            self._counted[number] = own
            async with trio.open_nursery() as nursery:
                for other, link in self._links.items():
                    if other != number:
                        nursery.start_soon(self._count, other, link)
            others = [taken for other, taken in self._counted.items() if other != number]
            return [*others, self._counted_by_the_dead, scrape.snapshot(self._metrics.registry)]

        async def revoked(_: object) -> list[dict[str, Any]]:
            return [revocation.to_json() for revocation in self._revocations]

        async def revoke_all(body: list[dict[str, Any]]) -> bool:
            return await self._operation.control.obey(map(Revocation.from_json, body))

        return {
            worker.ACCEPTING: accepting,
            worker.OTHERS_METRICS: others_metrics,
            worker.REVOKED: revoked,
            worker.REVOKE_ALL: revoke_all,
            FOUND: found,
        }

    async def ask_all(self, subject: str, body: object) -> Heard:
        """Ask every worker that accepts. One that is silent hears the question when it goes on, and one that is still
        starting hears it before it accepts anything."""
        answers: list[Any] = []
        asked = [link for number, link in self._links.items() if number in self._accepting]
        for number, link in self._links.items():
            if number not in self._accepting:
                link.tell(subject, body)

        async def ask(link: Link) -> None:
            with suppress(NoAnswer):
                answers.append(await link.ask(subject, body, seconds=ASKING_SECONDS))

        async with trio.open_nursery() as nursery:
            for link in asked:
                nursery.start_soon(ask, link)
        return Heard(answers, silent=len(asked) - len(answers))

    async def _count(self, number: int, link: Link) -> None:
        try:
            taken = await link.ask(worker.METRICS, seconds=COUNTING_SECONDS)
        except NoAnswer:
            self._log.warning("not counted", worker=number)
        else:
            if self._links.get(number) is link:  # else it has died since, and is counted with the dead
                self._counted[number] = taken
