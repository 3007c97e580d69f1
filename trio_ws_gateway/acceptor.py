"""Who comes and who is still here: accepts connections, knows the sessions that live, and drains them.

A fault of one session, its making included, ends that one. Whatever keeps it from accepting is
waited out and logged, never spun on. Knows nothing of what a session does.
"""

import errno
import math
import socket
from collections.abc import Callable
from typing import Protocol

import structlog
import trio
from attrs import field, mutable

from trio_ws_gateway.causes import Cause

ACCEPTS_PER_TURN = 64  # then sessions have their turn
# What Linux reports of the one connection that it thereby takes off the queue (accept(2)). Of any other error the
# connection, or the cause, is still there: EMFILE and its like, but also EPERM of a security module.
GONE = {
    *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
}
PAUSE_SECONDS = 0.1
COMPLAINT_INTERVAL_SECONDS = 10.0
DRAIN_SHARE = 0.8  # of the drain time: over this part sessions are told, the rest is for their goodbyes


class Session(Protocol):
    """``run`` closes its socket; ``end`` may come at any time, and more than once."""

    async def run(self) -> None: ...
    def end(self, cause: Cause) -> None: ...


@mutable(eq=False)
class Acceptor:
    """``new_session`` makes one of a connected socket and the address of its peer."""

    new_session: Callable[[socket.socket, str], Session]
    log: structlog.typing.FilteringBoundLogger
    draining: bool = field(default=False, init=False)
    _live: dict[Session, None] = field(factory=dict, init=False)  # in the order of their arrival
    _departure: trio.Event = field(factory=trio.Event, init=False)  # the next session to leave while draining

    @property
    def sessions(self) -> int:
        """How many live."""
        return len(self._live)

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Accept until cancelled. The nursery runs the sessions; the listener is the caller's, and non-blocking."""
        complain_at = -math.inf
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    client, peer = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in GONE:
                        continue
                    if trio.current_time() >= complain_at:
                        self.log.error("cannot accept", reason=error.strerror, sessions=self.sessions)
                        complain_at = trio.current_time() + COMPLAINT_INTERVAL_SECONDS
                    await trio.sleep(PAUSE_SECONDS)
                    break
                nursery.start_soon(self._run, client, peer[0])

    async def _run(self, client: socket.socket, peer: str) -> None:
        try:
            with client:  # for the case that no session comes to own it
                session = self.new_session(client, peer)
                self._live[session] = None
                try:
                    await session.run()
                finally:
                    del self._live[session]
                    if self.draining:
                        self._departure.set()
                        self._departure = trio.Event()
        except Exception as error:  # a session deals with what it expects; whatever this is, the others go on
            self.log.error("fault", exc_info=error)

    async def drain(self, seconds: float) -> None:
        """Tell the sessions to end, spread over the drain time; return when they have, or time is up."""
        self.draining = True
        live = list(self._live)
        self.log.info("draining", sessions=len(live), seconds=seconds)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_tell, live, seconds * DRAIN_SHARE)
                for session in live:
                    while session in self._live:
                        await self._departure.wait()
                nursery.cancel_scope.cancel()  # those that are left to tell have gone by themselves
        if left := sum(session in self._live for session in live):
            self.log.warning("cut", sessions=left)


async def _tell(live: list[Session], seconds: float) -> None:
    began_at = trio.current_time()
    for position, session in enumerate(live):
        await trio.sleep_until(began_at + seconds * position / len(live))
        session.end(Cause.DRAINING)
