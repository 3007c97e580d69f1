"""What an identity may send: one budget for all of its sessions in this process. Pure.

A budget outlives its sessions until it is full again: who reconnects gets no new burst.
"""

from collections.abc import Hashable
from weakref import WeakValueDictionary

from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.wire.frames import FrameScanner

# Pings, empty fragments and the like are no messages, and must be no way around the limit on them.
FRAMES_PER_MESSAGE = 10


class Budget:
    """Messages, and the frames that begin none: control frames and further fragments.

    Around each scan of what a session of that identity sends stand ``open`` and, in the same moment, ``settle``.
    """

    __slots__ = ("__weakref__", "_extras_before", "_messages_before", "frames", "messages")

    def __init__(self, *, rate: float, burst: int, now: float) -> None:
        self.messages = TokenBucket(rate=rate, capacity=burst, now=now)
        self.frames = TokenBucket(rate=rate * FRAMES_PER_MESSAGE, capacity=burst * FRAMES_PER_MESSAGE, now=now)
        self._messages_before = self._extras_before = 0

    def open(self, scanner: FrameScanner, now: float) -> None:
        """Let the scanner pass no more than there is."""
        self._messages_before, self._extras_before = scanner.messages, scanner.extras
        scanner.message_ceiling = scanner.messages + self.messages.available(now)
        scanner.extra_ceiling = scanner.extras + self.frames.available(now)

    def settle(self, scanner: FrameScanner) -> None:
        """Take what it has let pass."""
        self.messages.spend(scanner.messages - self._messages_before)
        if scanner.extras != self._extras_before:
            self.frames.spend(scanner.extras - self._extras_before)

    def is_full(self, now: float) -> bool:
        return self.messages.is_full(now) and self.frames.is_full(now)


class Budgets:
    """The budgets of all identities. ``rate``: messages per second; ``burst``: messages at once."""

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._known: WeakValueDictionary[Hashable, Budget] = WeakValueDictionary()  # while a session holds it
        self._spent: dict[Hashable, Budget] = {}  # and as long as it is not full

    def of(self, identity: Hashable, now: float) -> Budget:
        """The budget of that identity: the same one for all who ask."""
        budget = self._known.get(identity)
        if budget is None:
            budget = self._known[identity] = Budget(rate=self._rate, burst=self._burst, now=now)
            self._spent[identity] = budget
        return budget

    def sweep(self, now: float) -> None:
        """Forget the budgets that are as good as new. To be called now and then."""
        self._spent = {identity: budget for identity, budget in self._known.items() if not budget.is_full(now)}

    def __len__(self) -> int:
        return len(self._known)
