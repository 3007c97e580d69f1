"""The parent of a group by itself; `tests/serve/test_workers.py` sees a whole one from outside."""

import socket
import sys

import pytest
import structlog
import trio

from trio_ws_gateway import scrape, worker, workers
from trio_ws_gateway.config.loading import load
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.worker_link import Link

SETTINGS = {
    "LISTEN": "127.0.0.1:0",
    "JWKS_URL": "http://127.0.0.1:9/certs",
    "RAW_WS_BACKEND_URL": "ws://127.0.0.1:9/",
    "WORKERS": "2",
}


async def test_no_worker_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system starts no process at all it is said why, and nothing is left open."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(workers.DidNotStart, match="No such file or directory: '/nonexistent'"):
        await workers.serve(load(SETTINGS).settings, structlog.get_logger())


@pytest.mark.parametrize("dies", [False, True])
async def test_answer_of_one_that_has_died(dies: bool) -> None:
    """What a worker answers is kept while it lives; once it is counted with the dead, a late answer is not."""
    with socket.socket() as listener:
        group = workers.Group(load(SETTINGS).settings, listener, structlog.get_logger())
        taken = scrape.snapshot(Metrics(max_identities=0).registry)
        asked, may_answer = trio.Event(), trio.Event()

        async def answer(_: object) -> scrape.Snapshot:
            asked.set()
            await may_answer.wait()
            return taken

        near, far = socket.socketpair()
        link = group._links[1] = Link(near, {}, structlog.get_logger())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            nursery.start_soon(Link(far, {worker.METRICS: answer}, structlog.get_logger()).run)
            async with trio.open_nursery() as counting:
                counting.start_soon(group._count, 1, link)
                await asked.wait()
                if dies:
                    del group._links[1]
                may_answer.set()
            nursery.cancel_scope.cancel()
        assert set(group._counted) == (set() if dies else {1})
