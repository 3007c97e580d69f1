"""The token bucket: how many messages may pass now. Pure; ``now`` is passed in, in seconds of any one clock.

A bucket counts what was taken since it was last full, and multiplies once: no rounding adds up,
however long it is busy. It grants whole tokens and never more than ``capacity + rate * elapsed``.
"""


class TokenBucket:
    """``rate``: tokens that come back per second. ``capacity``: the most it holds, and what it begins with."""

    __slots__ = ("_asked_at", "_full_at", "_taken", "capacity", "rate")

    def __init__(self, *, rate: float, capacity: int, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._full_at = self._asked_at = now  # when it was last known to be full, and when it was last asked
        self._taken = 0  # since then

    def available(self, now: float) -> int:
        """How many tokens there are."""
        if now < self._asked_at:  # a clock that steps back gives nothing twice, and takes nothing away
            now = self._asked_at
        else:
            self._asked_at = now
        if not self._taken:
            return self.capacity
        earned = (now - self._full_at) * self.rate
        if earned >= self._taken:  # full again, and what it earned beyond is lost
            self._taken = 0
            return self.capacity
        return self.capacity - self._taken + (int(earned) if earned > 0 else 0)

    def spend(self, tokens: int) -> None:
        """Take tokens that ``available`` said are there, in the same moment."""
        if not self._taken:
            self._full_at = self._asked_at
        self._taken += tokens

    def take(self, tokens: int, now: float) -> int:
        """Take up to so many tokens; how many there were."""
        granted = min(tokens, self.available(now))
        self.spend(granted)
        return granted

    def seconds_until_next(self, now: float) -> float:
        """How long until there is a token, 0 where there is one."""
        if self.available(now):
            return 0.0
        return max(0.0, self._full_at + (self._taken - self.capacity + 1) / self.rate - now)

    def is_full(self, now: float) -> bool:
        return self.available(now) == self.capacity
