"""Buckets that all gateways share, through Redis. A shell around ``leases``, which decides everything.

A ``SharedBucket`` is spent from like any other, without waiting; what it needs it asks for ahead of time. Whoever finds
it empty may wait for it: not longer than ``LATE_SECONDS`` of the link, and not at all while Redis is late with what
others have asked. Needs nobody to keep it: what is left in a lease when its sessions have gone ``run`` gives back.
"""

from collections.abc import Callable, Hashable

import trio

from trio_ws_gateway import redis_link
from trio_ws_gateway.limits.budgets import Purse
from trio_ws_gateway.limits.leases import Answer, Lease, Memory, lease_size
from trio_ws_gateway.limits.purses import Waiters, fixed_window, shortest_pause, token_bucket
from trio_ws_gateway.limits.rates import Rate, Spender
from trio_ws_gateway.limits.scripts import FIXED_WINDOW, TOKEN_BUCKET, key_of
from trio_ws_gateway.redis_link import RedisLink, Reply, Script

SWEEP_SECONDS = 0.25


ALGORITHMS: dict[str, tuple[Script, Callable[[Rate, float], Memory]]] = {
    "token-bucket": (Script(TOKEN_BUCKET, numbers=3), token_bucket),
    "fixed-window": (Script(FIXED_WINDOW, numbers=3), fixed_window),
}
"""What happens in Redis, and what decides where Redis does not."""


class SharedBucket:
    """Made by ``SharedBuckets``."""

    __slots__ = ("_answer", "_key", "_lease", "_link", "_owner", "_pause_seconds", "_rate", "_waiters", "watched")

    def __init__(self, owner: "SharedBuckets", key: str, rate: Rate, memory: Memory) -> None:
        self._owner = owner
        self._link = owner.link
        self._key = key
        self._rate = rate
        self._pause_seconds = shortest_pause(rate.burst, rate.per_second)
        self._lease = Lease(size=lease_size(rate.burst), memory=memory, patience_seconds=redis_link.LATE_SECONDS)
        self._answer = trio.Event()  # the next one
        self._waiters = Waiters()
        self.watched = False  # the owner's mark

    def available(self, now: float) -> int:
        """How many tokens may be spent now."""
        return self._lease.available(now, away=self._link.is_away)

    def spend(self, tokens: int) -> None:
        """Take tokens that ``available`` said are there, in the same moment."""
        if self._lease.spend(tokens):
            self.ask()

    async def wait_for_more(self) -> bool:
        """Sleep until there are tokens. ``False``: there are none, and none can be had now."""
        while not self.available(now := trio.current_time()):
            self.ask()
            if (answer_by := self._lease.answer_by(now)) is None:
                return self.available(now) > 0
            answer = self._answer
            with trio.move_on_at(min(answer_by, self._link.late_at)):
                await answer.wait()
            if not answer.is_set():
                await trio.lowlevel.checkpoint()  # where it is the loop that was late, the answer may be there by now
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
                if not answer.is_set() and self._lease.give_up(now, late=now >= self._link.late_at):
                    self._owner.gave_up()
            if answer.is_set() and self._lease.is_exhausted:
                return self.available(trio.current_time()) > 0
        return True

    async def pause(self) -> bool:
        """Sleep until there may be tokens, however long that is."""
        if not await self.wait_for_more():
            await self._waiters.sleep(max(self._pause_seconds, self._lease.seconds_until_next(trio.current_time())))
        return True

    def is_full(self, now: float) -> bool:
        """Nothing is lost by forgetting it."""
        return self._lease.is_settled and self._lease.memory.is_full(now)

    def ask(self) -> None:
        """Ask for tokens, where that is due."""
        question = self._lease.question(trio.current_time())
        if question is not None:
            self._submit(question.back, question.wanted)

    def settle(self, now: float) -> bool:
        """Give back what is void; whether there is nothing left to see to."""
        if (question := self._lease.surrender(now)) is not None:
            self._submit(question.back, question.wanted)
        return self._lease.is_settled

    @property
    def void_at(self) -> float:
        return self._lease.void_at

    def _submit(self, back: int, wanted: int) -> None:
        owner = self._owner
        if self._link.is_away:
            self._answered(None)
            return
        owner.watch(self)
        terms = (self._rate.per_second, self._rate.burst, back, wanted)
        self._link.submit(owner.script, self._key, *terms, answered=self._answered)

    def _answered(self, reply: Reply | None) -> None:
        now = trio.current_time()
        if reply is None:
            self._lease.unanswered(now)
        else:
            granted, valid_ms, again_us = reply
            again_seconds = again_us / 1_000_000
            if again_seconds and self._rate.pauses:
                again_seconds = max(again_seconds, self._pause_seconds)  # who asks sooner is given crumbs
            self._lease.answered(Answer(granted, valid_ms / 1000, again_seconds), now)
        answer, self._answer = self._answer, trio.Event()
        if answer.statistics().tasks_waiting:
            answer.set()
        elif self.available(now) >= max(1, self._lease.size // 2):  # nobody is woken for every byte
            self._waiters.wake_one()


class SharedBuckets:
    """Makes buckets over one Redis, and gives back what they leave. ``algorithm``: a key of ``ALGORITHMS``.

    ``gave_up`` is called when an answer was not waited for any more.
    """

    def __init__(
        self, link: RedisLink, *, prefix: str, algorithm: str, gave_up: Callable[[], object] = lambda: None
    ) -> None:
        self.link = link
        self.gave_up = gave_up
        self.script, self._memory = ALGORITHMS[algorithm]
        self._prefix = f"{prefix}{algorithm}:"  # what one keeps is of another kind than what the other does
        self._watched: list[SharedBucket] = []

    def purse(self, what: str, spender: Spender, rate: Rate, now: float) -> Purse:
        """A ``MakePurse``: shared by all gateways. It asks for nothing before something is sent: a silent session must
        not hold what its subject wants to spend at another gateway."""
        bucket = self.bucket(what, (spender.identity, spender.direction.name, rate.per_second, rate.burst), rate, now)
        return Purse(bucket, bucket.pause if rate.pauses else bucket.wait_for_more)

    def bucket(self, what: str, whose: Hashable, rate: Rate, now: float) -> SharedBucket:
        """The bucket of that name, whatever it counts."""
        return SharedBucket(self, key_of(self._prefix, what, whose), rate, self._memory(rate, now))

    def watch(self, bucket: SharedBucket) -> None:
        if not bucket.watched:
            bucket.watched = True
            self._watched.append(bucket)

    async def run(self) -> None:
        """Give back what is void, again and again, until cancelled."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self._sweep(trio.current_time())

    def _sweep(self, now: float) -> None:
        """Look at all of them: no order is kept, for a lease is renewed as long as somebody spends it."""
        watched, self._watched = self._watched, []
        for bucket in watched:
            bucket.watched = bucket.void_at > now or not bucket.settle(now)
            if bucket.watched:
                self._watched.append(bucket)
