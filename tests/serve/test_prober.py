"""A group of workers has one prober, whatever becomes of it, and every worker goes by what it finds."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from tests.house import House
from tests.serve.grouped import grouped
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS
from trio_ws_gateway import worker, workers
from trio_ws_gateway.upstream.health import SPREAD
from trio_ws_gateway.worker_link import Link

SIZE = 3
INTERVAL = 0.1
PROTOCOLS = 2  # both go to the one upstream
RAW_IS_HEALTHY = ("ws_upstream_healthy", {"protocol": "raw"})


@define
class Counting:
    """An upstream that counts who connects to it. ``run`` it where it is there, and ``leave`` when not."""

    port: int = 0
    probes: int = 0
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async def count(stream: trio.SocketStream) -> None:
            self.probes += 1
            await stream.aclose()

        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        with trio.CancelScope() as self._scope:
            await trio.serve_listeners(count, listeners)

    def leave(self) -> None:
        self._scope.cancel()


@define
class Group:
    """Workers in processes of their own, their parent in the test's."""

    home: House
    parent: workers.Group
    upstream: Counting
    nursery: trio.Nursery

    def pid(self, number: int) -> int:
        return self.parent._workers[number].pid

    @property
    def prober(self) -> int:
        """The number of the one that was named last."""
        number = self.home.lines("prober")[-1]["worker"]
        assert isinstance(number, int)
        return number

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                await trio.sleep(POLL_SECONDS)

    async def all_know(self, healthy: bool) -> None:
        """Wait until every worker has heard of it, and see that readiness follows."""
        with trio.fail_after(DEADLINE_SECONDS):
            while [await self._heard(link) for link in [*self.parent._links.values()]] != [float(healthy)] * SIZE:
                await trio.sleep(POLL_SECONDS)
        statuses = {(await self.home.get("/readyz"))[0].status for _ in range(2 * SIZE)}
        assert statuses == {200 if healthy else 503}

    async def _heard(self, link: Link) -> float | None:
        """What the worker at the other end says itself of the raw upstream."""
        taken = await link.ask(worker.METRICS, seconds=DEADLINE_SECONDS)
        samples = [sample for family in taken for sample in family[3]]
        return next((value for name, labels, value in samples if (name, labels) == RAW_IS_HEALTHY), None)

    async def one_asks(self) -> None:
        """For a while no more comes than one prober asks."""
        before, began_at = self.upstream.probes, trio.current_time()
        await trio.sleep(6 * INTERVAL)
        intervals = (trio.current_time() - began_at) / INTERVAL
        asked = self.upstream.probes - before
        assert 0 < asked <= PROTOCOLS * (intervals / (1 - SPREAD) + 1)


@asynccontextmanager
async def group(**settings: str) -> AsyncIterator[Group]:
    upstream = Counting()
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.run)
        url = f"ws://127.0.0.1:{upstream.port}/"
        environment = {
            "WORKERS": str(SIZE),
            "UPSTREAM_WS_URL": url,
            "RAW_WS_BACKEND_URL": url,
            "READY_NEEDS_UPSTREAMS": "raw",
            "CB_HEALTHCHECK_MODE": "tcp",
            "CB_HEALTHCHECK_INTERVAL_SECONDS": str(INTERVAL),
            "GRACEFUL_DRAIN_TIMEOUT_SECONDS": "1",
            **settings,
        }
        async with grouped(**environment) as (home, parent):
            yield Group(home, parent, upstream, nursery)
        assert home.lines("killed") == []
        nursery.cancel_scope.cancel()


async def test_one_probe_an_interval() -> None:
    """An upstream is asked once an interval, and counted once; the readiness and circuits of all workers follow."""
    settings = {"WS_DIAL_RETRY_MAX": "0", "CB_FAILURE_THRESHOLD": "1", "CB_OPEN_TIMEOUT_SECONDS": "86400"}
    async with group(**settings) as here:
        home = here.home
        await here.all_know(True)
        await here.one_asks()
        with trio.fail_after(DEADLINE_SECONDS):
            while (await home.samples())["ws_upstream_health_success_total"] != here.upstream.probes:
                await trio.sleep(POLL_SECONDS)
        here.upstream.leave()
        await here.all_know(False)
        with trio.fail_after(DEADLINE_SECONDS):
            while (await home.samples()).get('ws_circuit_open_total{protocol="raw"}') != SIZE:
                await home.refusal(token=home.provider.mint())
        samples = await home.samples()
        assert samples['ws_upstream_healthy{protocol="raw"}'] == 0
        assert samples["ws_upstream_health_failure_total"] > 0
        await here.nursery.start(here.upstream.run)
        await here.all_know(True)
        samples = await home.samples()
        assert samples['ws_upstream_healthy{protocol="raw"}'] == 1
        assert samples['ws_circuit_state{protocol="raw"}'] == 0, "that of the worst-off"


async def test_prober_that_dies_or_stops() -> None:
    """Killed, or stopped for two intervals, the prober is followed by another; one that goes on asks no more."""
    async with group(WS_DIAL_TIMEOUT_SECONDS="1.5") as here:
        killed = here.prober
        os.kill(here.pid(killed), signal.SIGKILL)
        await here.until(lambda: here.prober != killed)
        await here.until(lambda: len(here.parent._accepting) == SIZE)
        await here.all_know(True)
        await here.one_asks()
        stopped = here.prober
        os.kill(here.pid(stopped), signal.SIGSTOP)
        try:
            await here.until(lambda: here.prober != stopped)
            assert here.home.lines("prober silent")[-1]["worker"] == stopped
            await here.one_asks()
        finally:
            os.kill(here.pid(stopped), signal.SIGCONT)
        await here.all_know(True)
        await here.one_asks()
