"""One worker by itself: what it asks its parent, and what it does where there is none."""

import socket

import structlog
import trio

from tests.house import house
from trio_ws_gateway import scrape, worker
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.listening import listen
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.worker_link import Answer, Link


class Parent:
    """Starts one worker, in its own process; what ``others`` have counted is its answer."""

    def __init__(self) -> None:
        self.others: list[scrape.Snapshot] | Exception = []

    async def serve(
        self, settings: Settings, log: structlog.typing.FilteringBoundLogger, *, task_status: trio.TaskStatus[int]
    ) -> None:
        async def accepting(_: object) -> None:
            task_status.started(listener.getsockname()[1])

        async def others_metrics(_: object) -> list[scrape.Snapshot]:
            if isinstance(self.others, Exception):
                raise self.others
            return self.others

        async def revoked(_: object) -> list[object]:
            return []

        ours, theirs = socket.socketpair()
        answers: dict[str, Answer] = {worker.ACCEPTING: accepting, worker.OTHERS_METRICS: others_metrics}
        link = Link(ours, {**answers, worker.REVOKED: revoked}, log)
        with await listen(settings.listen) as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                nursery.start_soon(worker.work, settings, log, listener, theirs)


async def test_metrics() -> None:
    """``/metrics`` is the sum with the others; where their part is not to be had it is 503, and not a smaller sum."""
    parent = Parent()
    other = Metrics(max_identities=0)
    other.worker_restarts.inc(3)
    parent.others = [scrape.snapshot(other.registry)]
    async with house(parent.serve) as home:
        assert (await home.samples())["ws_worker_restarts_total"] == 3
        parent.others = ZeroDivisionError()
        for method in ("GET", "HEAD"):
            answer, body = await home.get("/metrics", method)
            assert answer.status == 503
            assert (b"not known" in body) is (method == "GET")
        assert len(home.lines("metrics incomplete")) == 2
