"""What stands beside the sessions of a group: the operator's door, and the way to other gateways' revocations.

A service of the process that can ask all others: the parent of a group, or the only process that there is.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from trio_ws_gateway import wiring
from trio_ws_gateway.admin.credential import credential_of
from trio_ws_gateway.auth.revocation import Revocations
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.control import AskAll, Control
from trio_ws_gateway.listening import listen


async def operate(
    settings: Settings,
    revocations: Revocations,
    ask_all: AskAll,
    door: socket.socket | None,
    log: structlog.typing.FilteringBoundLogger,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Until cancelled. Started when sessions may come: what other gateways have revoked is known, if Redis is there.

    ``door``: a listener for operators, where there is one.
    """
    exchange = wiring.exchange(settings, revocations, lambda heard: control.hear(heard), log)
    control = Control(revocations, ask_all, shares=exchange)
    async with trio.open_nursery() as nursery:
        if exchange is not None:
            await nursery.start(exchange.run)
        if door is not None:
            nursery.start_soon(_answer_operators, settings, control, door, log)
        task_status.started()


async def _answer_operators(
    settings: Settings,
    control: Control,
    door: socket.socket,
    log: structlog.typing.FilteringBoundLogger,
) -> None:
    # Imported here: who has no such door needs no HTTP stack in its memory.
    from trio_ws_gateway.admin.app import application
    from trio_ws_gateway.admin.serving import serve

    app = application(control, wiring.revocation_terms(settings), credential=credential_of(settings), log=log)
    host, port, *_ = door.getsockname()
    log.info("operators welcome", host=host, port=port)
    await serve(app, door, log)


@asynccontextmanager
async def door_of(settings: Settings) -> AsyncIterator[socket.socket | None]:
    """The listener for operators, where the settings want one. Raises ``OSError``."""
    if settings.admin_listen is None:
        yield None
    else:
        with await listen(settings.admin_listen) as door:
            yield door
