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


class Operation:
    """``control``: what can be done to the group. ``door``: a listener for operators, where there is one."""

    def __init__(
        self,
        settings: Settings,
        revocations: Revocations,
        ask_all: AskAll,
        door: socket.socket | None,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._settings = settings
        self._exchange = wiring.exchange(settings, revocations, lambda heard: self.control.hear(heard), log)
        self._door = door
        self._log = log
        self.control = Control(revocations, ask_all, shares=self._exchange)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started when sessions may come: what other gateways have revoked is known, if Redis is
        there."""
        async with trio.open_nursery() as nursery:
            if self._exchange is not None:
                await nursery.start(self._exchange.run)
            if self._door is not None:
                nursery.start_soon(_answer_operators, self._settings, self.control, self._door, self._log)
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
