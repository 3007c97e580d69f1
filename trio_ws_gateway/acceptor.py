"""Who comes and who is still here: accepts connections, knows the sessions that live, and drains them.

A fault of one session, its making included, ends that one. Who may not come in is turned away here,
without a task or a line of his own. Whatever keeps it from accepting is waited out and logged, never
spun on; one descriptor is kept, so that who comes while there are no others is told to come again.
Knows nothing of what a session does.
"""

import errno
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Generic, Protocol, Self, TypeVar

import structlog
import trio
from attrs import field, mutable

from trio_ws_gateway import farewell
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.connections import block_of
from trio_ws_gateway.limits.lines import Lines

# Of the event loop; then others have their turn. To accept takes 0.03 ms, to begin, until the head is read, 0.1 ms, and
# what is dearer the ``turnstile`` allots. Addresses take turns to begin: so the queue of the kernel, where they cannot,
# is emptied faster.
ACCEPTS_PER_TURN = 64
BEGINNINGS_PER_TURN = 8
# What Linux reports of the one connection that it thereby takes off the queue (accept(2)). Of any other error the
# connection, or the cause, is still there: EMFILE and its like, but also EPERM of a security module.
GONE = {
    *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
}
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}
PAUSE_SECONDS = 0.1
HEAD_BYTES = 16 * 1024
SHOWN_OUT_SECONDS = 1.0  # for reading the answer: a socket that is closed before its request has come resets it
SHOWN_OUT_MAX = 50
TURNED_AWAY_INTERVAL_SECONDS = 1.0
COMPLAINT_INTERVAL_SECONDS = 10.0
DRAIN_SHARE = 0.8  # of the drain time: over this part sessions are told, the rest is for their goodbyes


class Session(Protocol):
    """``run`` closes its socket; ``end`` may come at any time, and more than once."""

    async def run(self) -> None: ...
    def end(self, cause: Cause) -> None: ...


S = TypeVar("S", bound=Session)


@mutable(eq=False)
class Acceptor(Generic[S]):
    """``new_session`` makes one of a connected socket and the address of its peer, or raises ``Refused``.

    ``turned_away`` is told how many were, and why: by that, or for want of a descriptor.
    """

    new_session: Callable[[socket.socket, str], S]
    log: structlog.typing.FilteringBoundLogger
    turned_away: Callable[[Cause, int], object] = lambda _cause, _count: None
    _way_out: "WayOut" = field(init=False)
    draining: bool = field(default=False, init=False)
    _live: dict[S, None] = field(factory=dict, init=False)  # in the order of their arrival
    _arrived: Lines[tuple[socket.socket, S]] = field(factory=Lines, init=False)  # of those who are to begin
    _departure: trio.Event = field(factory=trio.Event, init=False)  # the next session to leave while draining

    @_way_out.default
    def _of_this_door(self) -> "WayOut":
        return WayOut(self.log, lambda cause, count: self.turned_away(cause, count))

    @property
    def sessions(self) -> int:
        """How many live."""
        return len(self._live)

    @property
    def live(self) -> Collection[S]:
        """Those that live now, in the order of their arrival; one that sleeps while it looks takes a copy."""
        return self._live.keys()

    async def accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        """Accept until cancelled. The nursery runs the sessions; the listener is the caller's, and non-blocking."""
        try:
            await self._accept(listener, nursery)
        finally:
            self._let_begin(nursery, len(self._arrived))  # to be cancelled like the others

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        complain_at = -math.inf
        with Spare() as spare, self._way_out:
            while True:
                if self._arrived:
                    await trio.lowlevel.checkpoint()
                else:
                    with trio.move_on_at(self._way_out.next_at):
                        await trio.lowlevel.wait_readable(listener)
                self._way_out.close(trio.current_time())
                self._let_begin(nursery, BEGINNINGS_PER_TURN)
                failure = self._accept_some(listener, nursery)
                if failure is None:
                    continue
                if failure.errno in NO_DESCRIPTORS:
                    self.turned_away(Cause.TOO_MANY_CONNECTIONS, spare.turn_away(listener))
                if trio.current_time() >= complain_at:
                    self.log.error("cannot accept", reason=failure.strerror, connections=self.sessions)
                    complain_at = trio.current_time() + COMPLAINT_INTERVAL_SECONDS
                with trio.move_on_after(PAUSE_SECONDS):
                    while self._arrived:
                        await trio.lowlevel.checkpoint()
                        self._let_begin(nursery, BEGINNINGS_PER_TURN)
                    await trio.sleep_forever()

    def _accept_some(self, listener: socket.socket, nursery: trio.Nursery) -> OSError | None:
        """A turn's worth of those who wait; what keeps it from accepting more, if anything does."""
        at_once = 0 if self._arrived else BEGINNINGS_PER_TURN  # where nobody is before them
        for accepted in range(ACCEPTS_PER_TURN):
            try:
                client, peer = listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in GONE:
                    continue
                return error
            try:
                session = self.new_session(client, peer[0])
            except Refused as refused:
                self._way_out.show(client, peer[0], refused)
            except Exception as error:  # the others go on
                client.close()
                self.log.error("fault", exc_info=error)
            else:
                self._live[session] = None
                if accepted < at_once:
                    nursery.start_soon(self._run, client, session)
                else:
                    self._arrived.join(block_of(peer[0]), (client, session))
        return None

    def _let_begin(self, nursery: trio.Nursery, most: int) -> None:
        for _ in range(min(most, len(self._arrived))):
            nursery.start_soon(self._run, *self._arrived.next())

    async def _run(self, client: socket.socket, session: S) -> None:
        try:
            with client:  # for the case that the session does not come to close it
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


class WayOut:
    """Where those who may not come in are answered, given a moment to read it, and counted, with a line a second."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, turned_away: Callable[[Cause, int], object]) -> None:
        self._log = log
        self._turned_away = turned_away
        self._going: deque[tuple[float, socket.socket]] = deque()  # when each is closed
        self._unsaid = 0
        self._say_at = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(math.inf)

    def show(self, client: socket.socket, peer: str, refused: Refused) -> None:
        now = trio.current_time()
        self.close(now)
        _tell_to_go(client, refused.cause)
        self._going.append((now + SHOWN_OUT_SECONDS, client))
        self._turned_away(refused.cause, 1)
        self._unsaid += 1
        if now >= self._say_at:
            self._log.info("turned away", detail=refused.detail, client=peer, connections=self._unsaid)
            self._unsaid, self._say_at = 0, now + TURNED_AWAY_INTERVAL_SECONDS

    @property
    def next_at(self) -> float:
        """When there is somebody to close."""
        return self._going[0][0] if self._going else math.inf

    def close(self, now: float) -> None:
        """Close whose time is over, and the eldest where there are too many."""
        while self._going and (self._going[0][0] <= now or len(self._going) >= SHOWN_OUT_MAX):
            self._going.popleft()[1].close()


@cache
def _answer(cause: Cause, seconds: int) -> bytes:
    return farewell.http_refusal(cause, retry_after_seconds=seconds)


def _tell_to_go(client: socket.socket, cause: Cause) -> None:
    """Answer, and drop what has come of the request: a close with something unread in it is a reset."""
    with suppress(OSError):
        client.setblocking(False)
        client.send(_answer(cause, farewell.retry_after_seconds()))
        client.shutdown(socket.SHUT_WR)
        client.recv(HEAD_BYTES)


class Spare:
    """A descriptor that is kept for the time when there are no others: to accept with, one after the other."""

    def __enter__(self) -> Self:
        self._descriptor: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def turn_away(self, listener: socket.socket) -> int:
        """Answer those who wait, up to a turn's worth; how many. Who has no room to read it is cut."""
        self._let_go()
        count = 0
        try:
            while count < ACCEPTS_PER_TURN:
                client, _ = listener.accept()
                count += 1
                with client:
                    _tell_to_go(client, Cause.TOO_MANY_CONNECTIONS)
        except OSError:  # nobody waits any more, or somebody else took the descriptor
            pass
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return count

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def _tell(live: Sequence[Session], seconds: float) -> None:
    began_at = trio.current_time()
    for position, session in enumerate(live):
        await trio.sleep_until(began_at + seconds * position / len(live))
        session.end(Cause.DRAINING)
