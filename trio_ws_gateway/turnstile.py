"""How handshakes get on: few costly steps in each turn of the event loop, so that everybody else has his turn too.

Trio runs all tasks that can run before it looks at its sockets again. Were a thousand handshakes among them, whatever
comes for those who are in already would wait for all thousand. So a handshake asks here before each step that takes
more than a moment. A step is work and not waiting: who waits for a client or an upstream takes nobody's turn.

Who has begun goes before who has not, so that few are half done at a time. Addresses take turns, so that nobody waits
for all who came from one place before him.
"""

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count

import outcome
import trio

from trio_ws_gateway.limits.connections import block_of
from trio_ws_gateway.limits.lines import Lines

# Steps take some 0.3 ms each. With a few new connections and a few sessions that end (``acceptor``, ``reactor``) a turn
# of the loop takes 3 to 4 ms of a storm.
STEPS_PER_TURN = 4
AT_ONCE = 16  # that begin without waiting, where nobody waits: to wait costs a tenth of a step
TURNED_AWAY_PER_TURN = 8  # of those whose time is over: it is often over for all at once, and telling them is work

Line = Lines[trio.lowlevel.Task]


class Turnstile:
    """``run`` it in a task of its own. Ask whether it ``is_free`` before each step, and wait where it is not."""

    def __init__(self) -> None:
        self._left = AT_ONCE  # that need not wait; none while anybody waits
        self._newcomers: Line = Lines()
        self._begun: Line = Lines()
        self._patience: list[tuple[float, int, Hashable, trio.lowlevel.Task]] = []  # a heap: of newcomers, until when
        self._numbers = count()  # of those who came by the same time: tasks have no order
        self._keeper: trio.lowlevel.Task | None = None  # while it sleeps

    @property
    def waiting(self) -> int:
        return len(self._newcomers) + len(self._begun)

    def is_free(self) -> bool:
        """Whether a step may begin at once, which then counts; otherwise its turn is to be waited for."""
        if not self._left:
            return False
        self._left -= 1
        if self._left <= AT_ONCE // 2:
            self._wake_keeper()
        return True

    async def wait_to_enter(self, address: str, until: float) -> bool:
        """Wait for the turn of a new handshake from there; whether it has come by then, or soon after."""
        block = block_of(address)
        heappush(self._patience, (until, next(self._numbers), block, trio.lowlevel.current_task()))
        return await self._wait_in(self._newcomers, block)

    async def wait_to_go_on(self, address: str) -> None:
        """Wait for the turn of one that has entered and has more to do."""
        await self._wait_in(self._begun, block_of(address))

    async def _wait_in(self, line: Line, block: Hashable) -> bool:
        task = trio.lowlevel.current_task()

        def give_up(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            line.leave(block, task)
            return trio.lowlevel.Abort.SUCCEEDED

        line.join(block, task)
        self._left = 0
        self._wake_keeper()
        has_come: bool = await trio.lowlevel.wait_task_rescheduled(give_up)
        return has_come

    def _wake_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            trio.lowlevel.reschedule(keeper)

    async def run(self) -> None:
        """Say whose turn it is, in each turn of the loop, as long as somebody waits."""
        while True:
            for _ in range(min(STEPS_PER_TURN, self.waiting)):
                trio.lowlevel.reschedule((self._begun or self._newcomers).next(), outcome.Value(True))
            self._turn_away_some(trio.current_time())
            if self.waiting:
                await trio.lowlevel.checkpoint()
            else:
                self._left = AT_ONCE
                self._keeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._keeper_is_cancelled)

    def _turn_away_some(self, now: float) -> None:
        """Of the newcomers who have waited for too long; those who wait no longer are forgotten."""
        patience, turned_away = self._patience, 0
        while patience and turned_away < TURNED_AWAY_PER_TURN:
            until, _, block, task = patience[0]
            if until > now and self._newcomers.has(block, task):
                return
            heappop(patience)
            if self._newcomers.leave(block, task):
                trio.lowlevel.reschedule(task, outcome.Value(False))
                turned_away += 1

    def _keeper_is_cancelled(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._keeper = None
        return trio.lowlevel.Abort.SUCCEEDED
