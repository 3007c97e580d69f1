"""The operator's door in operation: Hypercorn speaks HTTP with whoever comes, one connection at a time.

Its own ``serve`` is not used: what one connection brings about there ends all of them, and the process with them (a
malformed body behind an answer is enough, and needs no credential). Nor may somebody who reads nothing hold up the
end: Hypercorn shields what it sends from cancellation. Nor may those who show no credential keep out who has one: each
has five seconds for it, and where there is no room the first of them goes, so the last to come finds the door open.
"""

import math
import socket

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.applications import Starlette

from trio_ws_gateway.admin.door import LET_IN

HEAD_SECONDS = 5.0  # by then the door must have let in whoever comes
READ_SECONDS = 10  # a connection that says nothing for so long is closed
WRITE_SECONDS = 5.0
CONNECTIONS_MAX = 100


async def serve(app: Starlette, listener: socket.socket, log: structlog.typing.FilteringBoundLogger) -> None:
    """Until cancelled. The listener stays the caller's."""
    config = Config()
    config.errorlog = None  # what goes wrong is logged here and by the application, without tokens
    config.include_server_header = False
    config.read_timeout = READ_SECONDS
    room = _Room(CONNECTIONS_MAX)
    context = WorkerContext(None)

    async def converse(stream: trio.SocketStream) -> None:
        visit = room.enter(stream)
        if visit is None:
            return
        state = {LET_IN: visit.let_in}
        try:
            with visit.scope:
                await TCPServer(ASGIWrapper(app), config, context, state, _Patient(stream))  # type: ignore[arg-type]
        except Exception as error:  # whatever comes through this door ends nothing but itself
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            log.warning("operator's connection failed", reason=f"{type(error).__name__}: {error}")
        finally:
            room.leave(visit)

    copy = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
    await trio.serve_listeners(converse, [copy])


class _Visit:
    """A connection. ``scope``: of all that is done for it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.scope = trio.CancelScope(deadline=trio.current_time() + HEAD_SECONDS)

    def let_in(self) -> None:
        self.scope.deadline = math.inf

    @property
    def is_let_in(self) -> bool:
        return self.scope.deadline == math.inf


class _Room:
    """For ``size`` connections."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._visits: dict[_Visit, None] = {}  # in the order in which they came

    def enter(self, stream: trio.SocketStream) -> _Visit | None:
        """``None`` where nobody can be sent away for it."""
        if len(self._visits) >= self._size:
            first = next((visit for visit in self._visits if not visit.is_let_in), None)
            if first is None:
                return None
            self.leave(first)
            first.stream.socket.close()  # at once, whatever is sent to it, or waited for
        visit = _Visit(stream)
        self._visits[visit] = None
        return visit

    def leave(self, visit: _Visit) -> None:
        self._visits.pop(visit, None)


class _Patient(trio.abc.HalfCloseableStream):
    """A connection that is given up where the other side takes nothing."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket  # asked for addresses

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with trio.move_on_after(WRITE_SECONDS) as patience:
            await self._stream.send_all(data)
        if patience.cancelled_caught:
            await trio.aclose_forcefully(self._stream)
            raise trio.BrokenResourceError("it takes nothing")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
