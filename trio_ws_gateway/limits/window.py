"""The fixed window: at most so many tokens in each window of one second. Pure; ``now`` is passed in, in seconds.

What the Go gateway does, for those who count on it. It allows the whole capacity every second, whatever the rate, and
twice of it around the end of a window: a ``TokenBucket`` is the better limit. To the outside it is like one.
"""

WINDOW_SECONDS = 1.0


class FixedWindow:
    """``capacity``: tokens in each window. A window begins with the first token that is taken from it."""

    __slots__ = ("_ends_at", "_left", "_now", "capacity", "rate")

    def __init__(self, *, capacity: int, now: float) -> None:
        self.capacity = capacity
        self.rate = capacity / WINDOW_SECONDS
        self._left = capacity
        self._ends_at = self._now = now

    def available(self, now: float) -> int:
        """How many tokens there are."""
        self._now = now
        if now >= self._ends_at:
            self._left = self.capacity
            self._ends_at = now  # until somebody begins a new one
        return self._left

    def spend(self, tokens: int) -> None:
        """Take tokens that ``available`` said are there, in the same moment."""
        if tokens and self._left == self.capacity:
            self._ends_at = self._now + WINDOW_SECONDS
        self._left -= tokens

    def seconds_until_next(self, now: float) -> float:
        """How long until there is a token, 0 where there is one."""
        return 0.0 if self.available(now) > 0 else self._ends_at - now

    def is_full(self, now: float) -> bool:
        return self.available(now) == self.capacity
