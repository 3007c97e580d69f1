"""Workers in processes of their own, and their parent in the test's, so that it can be asked who they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from tests.house import House, house
from trio_ws_gateway import workers
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.gateway import Order
from trio_ws_gateway.listening import listen


@asynccontextmanager
async def grouped(
    grace_seconds: float = workers.GRACE_SECONDS, /, **settings: str
) -> AsyncIterator[tuple[House, workers.Group]]:
    """A group that takes sessions. It drains behind the block, and has stopped when that is left."""
    give, orders = trio.open_memory_channel[Order](1)
    parents: list[workers.Group] = []

    async def serve(
        settings: Settings, log: structlog.typing.FilteringBoundLogger, *, task_status: trio.TaskStatus[int]
    ) -> None:
        with await listen(settings.listen) as listener:
            task_status.started(listener.getsockname()[1])
            parents.append(workers.Group(settings, listener, log, grace_seconds=grace_seconds))
            await parents[0].run(orders)
        log.info("stopped")

    async with house(serve, **settings) as home:
        await home.last_line("listening")
        yield home, parents[0]
        give.send_nowait(Order.DRAIN)
        await home.last_line("stopped")
