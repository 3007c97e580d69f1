"""One edge-triggered epoll drives all pumps of an event loop as plain function calls.

A pump whose source becomes readable, or whose target takes more again, costs a call here and not
the wake-up of a task: its owner sleeps until its direction has ended. ``run`` is one Trio task that
waits for the epoll's own descriptor, so the loop sees one busy socket in place of thousands.

What a Trio core developer would ask:

- *Starvation.* A pump's step has a budget, and so has a pass. Who has just come goes before those who
  had a step and have more to do, but not before those who had none for want of time. While anything is
  queued ``run`` checkpoints instead of waiting. While one
  answer follows the next, ``run`` looks again before it goes back to Trio; that has a budget too,
  and where answers do not come at once it seldom does.
- *Many who leave at once.* Whoever leaves waits for all who stay, and few of them leave in a pass: each wakes
  tasks that have a session to end.
- *Errors.* Nothing that a pump raises leaves the reactor: its owner gets it (``Pump.work``).
- *Cancellation.* Pumps are taken back before their sockets are closed, and an owner that is
  cancelled disarms its pump first. So no descriptor is stale here, and nobody is woken twice.
- *Lost edges.* An edge that comes while the owner is awake is not lost: an owner sleeps only after
  a step that drained the source or filled the target, and no checkpoint lies between. A pump that
  is blocked is not called for its source; it reads that anew once its target has taken everything.
- *Context.* Pumps run in this task's context: they use no contextvars and log nothing.
- *Visibility.* ``ws_event_loop_lag_seconds`` shows a pass that takes too long.
"""

import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Protocol, Self

import trio

from trio_ws_gateway.relay.outlet import Outlet
from trio_ws_gateway.relay.steps import END, TOKENS, TURN, Need

# Then the rest of the loop has its turn. In a storm that takes 3 ms, mostly for handshakes (``turnstile``): so what is
# relayed has the larger part, and yet nobody waits for long.
PASS_SECONDS = 0.005
PUMPS_PER_LOOK = 4  # between two looks at the clock
EVENTS_PER_PASS = 10_000  # Python's own number is 1,023: behind so many who leave at once others would wait
FEW = 16  # who may all leave in one pass, to spare the turns of the loop
LEAVING_PER_PASS = 4  # of more; to end a session takes 0.2 ms
# Who has just been told something often answers at once. A turn of Trio's loop costs 25 us, to wait for an answer here
# costs a tenth of that. (The system adds its timer slack of 50 us. epoll's own time-out counts in milliseconds.)
LINGER_SECONDS = 20e-6
IN_VAIN_MAX = 64  # passes to go without it, after having waited in vain; 1 at first, and twice as many each time
FD_SETSIZE = 1024  # `select` knows no descriptor beyond


class Pumping(Protocol):
    """What the reactor asks of a pump. ``queued``: the reactor's own mark."""

    outlet: Outlet
    heard_at: float
    queued: bool

    def fileno(self) -> int:
        """The descriptor of its source."""

    def source_ends(self, *, left: bool, reset: bool) -> None:
        """From now on a short read does not mean that the source is drained: urgent data, or its end, comes behind.

        ``left``: it sends no more; ``reset``: and takes no more.
        """

    def work(self) -> Need:
        """Do one step, if the owner sleeps; what that leaves to do. Never raises."""

    def wake_owner(self) -> None:
        """Let the owner go on, if it sleeps."""


def reactor_if_possible() -> AbstractContextManager["Reactor | None"]:
    """A reactor to enter where the system has epoll (Linux); elsewhere pumps wait for their sockets themselves."""
    return Reactor() if hasattr(select, "epoll") else nullcontext()


class Reactor:
    """Give it the pumps of a session in one task, ``run`` it in another until it is cancelled.

    A context manager, to be entered outside the nursery that holds both: pumps are taken back while it is cancelled.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # Urgent data ends a read short of what is there. Without its edge that would be taken for all there was.
        self._edges = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
        self._writable = select.EPOLLOUT
        # Behind these flags no further edge comes, however short a read is: the source must be read to its end.
        self._ending = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
        self._reset = select.EPOLLHUP | select.EPOLLERR
        self._left = select.EPOLLRDHUP | self._reset
        self._pumps: dict[int, tuple[Pumping, Pumping]] = {}  # by descriptor: who reads from it, who writes to it
        self._queue: deque[Pumping] = deque()
        self._again: deque[Pumping] = deque()  # had a step, and have more to do
        self._leaving: deque[Pumping] = deque()  # whose direction has ended, or is about to
        self._in_vain = 1  # how many passes go without lingering after the next time in vain
        self._without = 0  # how many still do

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def drive(self, one: Pumping, other: Pumping) -> None:
        """Call them whenever there is something to do; what is there already counts.

        Each one's target is the other's source. Both sockets stay open until ``leave``, which is called whatever
        happens (a context manager would cost every session 2 kB). Raises ``OSError``; then nothing is driven.
        """
        try:
            self._add(one, other, self._edges)
            self._add(other, one, self._edges)
        except OSError:
            self.leave(one, other)
            raise

    def _add(self, reader: Pumping, writer: Pumping, edges: int) -> None:
        fd = reader.fileno()
        self._epoll.register(fd, edges)
        self._pumps[fd] = (reader, writer)

    def leave(self, *pumps: Pumping) -> None:
        """Never call them again."""
        for pump in pumps:
            fd = pump.fileno()
            if self._pumps.pop(fd, None) is not None:
                self._epoll.unregister(fd)

    def watch(self, sock: socket.socket, leaves: Callable[[], object]) -> "Watch":
        """Call ``leaves`` when the peer of a socket does, for the length of a block; what it sends stays unread."""
        return Watch(self, sock, leaves)

    def add_watch(self, watch: "Watch") -> None:
        self._add(watch, watch, select.EPOLLRDHUP | select.EPOLLET)

    async def run(self) -> None:
        while True:
            if self._has_more:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            now, time_is_up = trio.current_time(), perf_counter() + PASS_SECONDS
            self._make_pass(now, time_is_up)
            while not self._has_more and perf_counter() < time_is_up and self._is_answered_at_once():
                self._make_pass(now, time_is_up)

    @property
    def _has_more(self) -> bool:
        return bool(self._queue or self._again or self._leaving)

    def _is_answered_at_once(self) -> bool:
        """Wait for a moment whether there is more to do; not where that has been in vain lately."""
        if self._without:
            self._without -= 1
            return False
        fd = self._epoll.fileno()
        if fd < FD_SETSIZE and select.select((fd,), (), (), LINGER_SECONDS)[0]:
            self._in_vain = 1
            return True
        self._without = self._in_vain
        self._in_vain = min(2 * self._in_vain, IN_VAIN_MAX)
        return False

    def _make_pass(self, now: float, time_is_up: float) -> None:
        """Every pump that is queued or has something to do has one step, while there is time; then some may leave."""
        queue, again, leaving, pumps = self._queue, self._again, self._leaving, self._pumps
        writable, ending = self._writable, self._ending
        for fd, flags in self._epoll.poll(0, EVENTS_PER_PASS):
            reader, writer = pumps[fd]
            if flags != writable:
                reader.heard_at = now
                if flags & ending:
                    reader.source_ends(left=bool(flags & self._left), reset=bool(flags & self._reset))
                if not (reader.queued or reader.outlet.held):
                    reader.queued = True
                    (leaving if flags & ending else queue).append(reader)
            if writer.outlet.held and not writer.queued:
                writer.queued = True
                queue.append(writer)
        if again:
            queue += again
            again.clear()
        for turn in range(len(queue)):
            pump = queue.popleft()
            need = pump.work()
            if need is TURN:
                again.append(pump)
            elif need is END:
                leaving.append(pump)
            else:
                pump.queued = False
                if need is TOKENS:
                    pump.wake_owner()
            if turn % PUMPS_PER_LOOK == 0 and perf_counter() > time_is_up:
                break
        for _ in range(len(leaving) if len(leaving) <= FEW else LEAVING_PER_PASS):
            pump = leaving.popleft()
            need = pump.work()
            if need is TURN:
                again.append(pump)
                continue
            pump.queued = False
            if need is END or need is TOKENS:
                pump.wake_owner()


class Watch:
    """A pump with nothing to do but to hear that its source ends."""

    __slots__ = ("_leaves", "_reactor", "_sock", "heard_at", "outlet", "queued")

    def __init__(self, reactor: Reactor, sock: socket.socket, leaves: Callable[[], object]) -> None:
        self._reactor = reactor
        self._sock = sock
        self._leaves = leaves
        self.outlet = Outlet(sock, stalls=lambda: None)
        self.heard_at = 0.0
        self.queued = False

    def __enter__(self) -> None:
        self._reactor.add_watch(self)

    def __exit__(self, *_: object) -> None:
        self._reactor.leave(self)

    def fileno(self) -> int:
        return self._sock.fileno()

    def source_ends(self, *, left: bool, reset: bool) -> None:
        pass  # there is no other event

    def work(self) -> Need:
        return END

    def wake_owner(self) -> None:
        self._leaves()
