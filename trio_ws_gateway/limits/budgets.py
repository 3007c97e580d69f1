"""What an identity may send, or be sent: one budget for all of its sessions in this process. Pure.

A budget is made of purses: a bucket, and what happens where it is empty. It outlives its sessions
until it is full again: who reconnects gets no new burst.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol
from weakref import WeakValueDictionary

from attrs import evolve, frozen

from trio_ws_gateway.limits.rates import Spender
from trio_ws_gateway.wire.frames import NO_LIMIT, FrameScanner

# Pings, empty fragments and the like are no messages, and must be no way around the limit on them.
FRAMES_PER_MESSAGE = 10
FRAMES_PER_SECOND = 1.0  # at the least: who may send next to no messages answers our pings all the same
SWEPT_AT_ONCE = 500  # 1 ms

_WHOEVER_COMES_LATE = "whoever comes late"


class Kind(Enum):
    """What a budget may lack, as it is told."""

    MESSAGES = "messages"
    EXTRAS = "frames that begin no message"
    BYTES = "bytes"
    PACKETS = "packets"


class Bucket(Protocol):
    """Where tokens come from: here (``bucket``, ``window``) or shared by all gateways (``shared``)."""

    def available(self, now: float) -> int:
        """How many tokens may be spent now."""

    def spend(self, tokens: int) -> None:
        """Take tokens that ``available`` said are there, in the same moment."""

    def is_full(self, now: float) -> bool:
        """Nothing is lost by forgetting it."""


class NoBucket:
    """Stands where there is no limit."""

    def available(self, _: float) -> int:
        return NO_LIMIT

    def spend(self, tokens: int) -> None:
        pass

    def is_full(self, _: float) -> bool:
        return True


NO_BUCKET = NoBucket()


@frozen(eq=False)
class Purse:
    """``wait``: sleeps until there may be more; ``False``, or no ``wait`` at all: whoever wants more is refused."""

    bucket: Bucket
    wait: Callable[[], Awaitable[bool]] | None = None


class Budget:
    """Messages; frames that begin none (control frames, further fragments); bytes; and the protocol's packets.

    Around each scan of what passes stand ``open`` and, in the same moment, ``settle``, and where packets are looked at
    ``packets_to_grant`` and ``pay_for_packets``; around each read ``bytes_to_ask_for`` and ``pay_for_bytes``. ``own``:
    the purses of nobody else, for all others are of everybody. ``counts_bytes``, ``counts_packets``: whether those are
    limited at all.
    """

    __slots__ = (
        "__weakref__",
        "_extras_before",
        "_frame",
        "_message",
        "_messages_before",
        "_more_frames",
        "_more_messages",
        "_own",
        "_purses",
        "counts_bytes",
        "counts_packets",
    )

    def __init__(
        self,
        *,
        messages: Sequence[Purse] = (),
        frames: Sequence[Purse] = (),
        bytes: Sequence[Purse] = (),
        packets: Sequence[Purse] = (),
        own: Iterable[Purse] = (),
    ) -> None:
        self._message, *more = [purse.bucket for purse in messages] or [NO_BUCKET]
        self._more_messages = tuple(more)
        self._frame, *more = [purse.bucket for purse in frames] or [NO_BUCKET]
        self._more_frames = tuple(more)
        self._purses = {
            Kind.MESSAGES: tuple(messages),
            Kind.EXTRAS: tuple(frames),
            Kind.BYTES: tuple(bytes),
            Kind.PACKETS: tuple(packets),
        }
        self._own = tuple(own)
        self._messages_before = self._extras_before = 0
        self.counts_bytes = bool(bytes)
        self.counts_packets = bool(packets)

    def __bool__(self) -> bool:
        return any(self._purses.values())

    def open(self, scanner: FrameScanner, now: float) -> None:
        """Let the scanner pass no more than there is."""
        messages = self._message.available(now)
        for bucket in self._more_messages:
            messages = min(messages, bucket.available(now))
        extras = self._frame.available(now)
        for bucket in self._more_frames:
            extras = min(extras, bucket.available(now))
        self._messages_before = before = scanner.messages
        scanner.message_ceiling = before + messages
        self._extras_before = before = scanner.extras
        scanner.extra_ceiling = before + extras

    def settle(self, scanner: FrameScanner) -> None:
        """Take what it has let pass."""
        if passed := scanner.messages - self._messages_before:
            self._message.spend(passed)
            for bucket in self._more_messages:
                bucket.spend(passed)
        if passed := scanner.extras - self._extras_before:
            self._frame.spend(passed)
            for bucket in self._more_frames:
                bucket.spend(passed)

    def packets_to_grant(self, now: float) -> int:
        """How many may begin."""
        return min(purse.bucket.available(now) for purse in self._purses[Kind.PACKETS])

    def pay_for_packets(self, count: int) -> None:
        """So many have begun; they were granted in the same moment."""
        if count:
            for purse in self._purses[Kind.PACKETS]:
                purse.bucket.spend(count)

    def bytes_to_ask_for(self, most: int, now: float) -> int:
        """How many to read: what there is, and one more where the next one is refused and not waited for."""
        for purse in self._purses[Kind.BYTES]:
            most = min(most, purse.bucket.available(now) + (purse.wait is None))
        return most

    def pay_for_bytes(self, count: int, now: float) -> int:
        """Take so many, or what there is; how many that was."""
        for purse in self._purses[Kind.BYTES]:
            count = min(count, purse.bucket.available(now))
        for purse in self._purses[Kind.BYTES]:
            purse.bucket.spend(count)
        return count

    def empty_purse(self, kind: Kind, now: float) -> Purse | None:
        """One of that kind that is empty."""
        return next((purse for purse in self._purses[kind] if purse.bucket.available(now) <= 0), None)

    def is_worth_waiting(self, kind: Kind, now: float) -> bool:
        """Every purse of that kind that is empty may be waited for."""
        return all(purse.wait is not None or purse.bucket.available(now) > 0 for purse in self._purses[kind])

    def is_full(self, now: float) -> bool:
        return all(purse.bucket.is_full(now) for purse in self._own)


class Budgets:
    """The budgets of all spenders. ``make``: a full one for a spender that has none, at a time in seconds.

    ``most``: how many are known at a time; whoever comes beyond that shares one with all who do.
    """

    def __init__(self, make: Callable[[Spender, float], Budget], *, most: float = math.inf) -> None:
        self._make = make
        self._most = most
        self._known: WeakValueDictionary[Spender, Budget] = WeakValueDictionary()  # while a session holds it
        self._spent: dict[Spender, Budget] = {}  # and as long as it is not full
        self._to_look_at: list[Spender] = []
        self._come = 0  # since the last sweep

    def of(self, spender: Spender, now: float) -> Budget | None:
        """The budget of that spender: the same one for all who ask. ``None``: there is no limit."""
        budget = self._known.get(spender)
        if budget is None and len(self._known) >= self._most:
            spender = evolve(spender, identity=_WHOEVER_COMES_LATE)
            budget = self._known.get(spender)
        if budget is None:
            budget = self._make(spender, now)
            if not budget:
                return None
            self._known[spender] = self._spent[spender] = budget
            self._come += 1
        return budget

    def sweep(self, now: float) -> None:
        """Forget those that are as good as new and that nobody holds. To be called every second: it looks at a few, and
        at twice as many as have come since, so that they do not pile up however many come."""
        self._to_look_at = self._to_look_at or list(self._spent)
        several, self._come = max(SWEPT_AT_ONCE, 2 * self._come), 0
        for _ in range(min(several, len(self._to_look_at))):
            spender = self._to_look_at.pop()
            if self._spent[spender].is_full(now):
                del self._spent[spender]
                if (held := self._known.get(spender)) is not None:  # by a session, which may yet spend
                    self._spent[spender] = held

    def __len__(self) -> int:
        """How many are known: those that sessions hold, and those that are not full, or not looked at yet."""
        return len(self._known)
