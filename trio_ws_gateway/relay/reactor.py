"""One edge-triggered epoll drives all pumps of an event loop as plain function calls.

A pump whose source becomes readable costs a call here, not the wake-up of a task: its owner sleeps
on until something must be awaited. ``run`` is one Trio task that waits for the epoll's own
descriptor, so the loop sees one busy socket in place of thousands.

What a Trio core developer would ask:

- *Starvation.* A pump's step has a budget, and so has a pass: what is left over is queued before
  what comes next, and while anything is queued ``run`` checkpoints instead of waiting.
- *Errors.* Nothing that a pump raises leaves the reactor: its owner gets it (``Pump.work``).
- *Cancellation.* A pump is removed by its owner before its socket is closed, and an owner that is
  cancelled disarms its pump first. So no descriptor is stale here, and nobody is woken twice.
- *Lost edges.* An edge that comes while the owner is awake is not lost: an owner sleeps only after
  a step that drained the source, and no checkpoint lies between.
- *Context.* Pumps run in this task's context: they use no contextvars and log nothing.
- *Visibility.* ``ws_event_loop_lag_seconds`` shows a pass that takes too long.
"""

import select
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Protocol, Self

import trio

PASS_SECONDS = 0.001  # then the rest of the loop has its turn
PUMPS_PER_LOOK = 4  # between two looks at the clock


class Pumping(Protocol):
    """What the reactor asks of a pump."""

    queued: bool
    heard_at: float

    def fileno(self) -> int:
        """The descriptor of its source."""

    def read_to_the_end(self) -> None:
        """From now on a short read does not mean that the source is drained."""

    def work(self) -> bool:
        """Do one step, if the owner sleeps; whether there is more to do. Never raises."""


def reactor_if_possible() -> AbstractContextManager["Reactor | None"]:
    """A reactor to enter where the system has epoll (Linux); elsewhere pumps wait for their sources themselves."""
    return Reactor() if hasattr(select, "epoll") else nullcontext()


class Reactor:
    """Add a pump and remove it in one task, ``run`` in another until it is cancelled.

    A context manager, to be entered outside the nursery that holds both: pumps are removed while it is cancelled.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readable = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
        # Behind these flags no further edge comes, however short a read is: the source must be read to its end.
        self._ending = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLPRI
        self._pumps: dict[int, Pumping] = {}
        self._queue: deque[Pumping] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()

    def add(self, pump: Pumping) -> None:
        """Call it whenever its source has become readable. What is readable already counts."""
        fd = pump.fileno()
        self._epoll.register(fd, self._readable)
        self._pumps[fd] = pump

    def remove(self, pump: Pumping) -> None:
        """Never call it again. Its socket must still be open."""
        fd = pump.fileno()
        del self._pumps[fd]
        self._epoll.unregister(fd)

    async def run(self) -> None:
        while True:
            if self._queue:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._make_pass()

    def _make_pass(self) -> None:
        queue, pumps, ending, now = self._queue, self._pumps, self._ending, trio.current_time()
        for fd, flags in self._epoll.poll(0):
            pump = pumps[fd]
            pump.heard_at = now
            if flags & ending:
                pump.read_to_the_end()
            if not pump.queued:
                pump.queued = True
                queue.append(pump)
        time_is_up = perf_counter() + PASS_SECONDS
        for turn in range(len(queue)):
            pump = queue.popleft()
            pump.queued = pump.work()
            if pump.queued:
                queue.append(pump)
            if turn % PUMPS_PER_LOOK == 0 and perf_counter() > time_is_up:
                return
