"""The circuit breaker of one upstream: whether it is worth asking now. Pure; ``now`` is passed in, in seconds.

Closed until so many failures came in a row, then open for a while, then half-open: one trial at a time, whose outcome
decides. A success closes it whenever it comes, for it says how things are now. A failure counts only if its try
began in the same state: what was dialled before the outage was noticed, and times out after its end, opens nothing
again. What counts as a failure is not decided here.
"""

from collections.abc import Callable
from enum import Enum

from attrs import frozen


class State(Enum):
    """The ``value`` is the word for logs, the ``level`` the gauge's: the worse, the higher."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"

    @property
    def level(self) -> int:
        return list(State).index(self)


@frozen(eq=False)
class Permit:
    """Leave to ask the upstream. ``trial``: the whole circuit waits for this one."""

    trial: bool


class Breaker:
    """Every permit is handed back once: by ``succeed``, ``fail``, or ``abandon``.

    ``threshold``: failures in a row that open it. ``open_seconds``: how long nobody asks then. ``changed`` is told
    each new state.
    """

    def __init__(self, *, threshold: int, open_seconds: float, changed: Callable[[State], object]) -> None:
        self.state = State.CLOSED
        self._threshold = threshold
        self._open_seconds = open_seconds
        self._changed = changed
        self._failures = 0  # in a row
        self._open_until = 0.0
        self._current: Permit | None = Permit(trial=False)  # shared while closed; none while open; half-open: the trial

    def permit(self, now: float) -> Permit | None:
        """Leave to ask the upstream, ``None`` where it is not to be asked now."""
        if self.state is State.CLOSED:
            return self._current
        if self.state is State.OPEN and now >= self._open_until:
            self._become(State.HALF_OPEN, None)
        if self.state is State.OPEN or self._current is not None:
            return None
        self._current = Permit(trial=True)
        return self._current

    def is_current(self, permit: Permit) -> bool:
        """Whether the state is still the one that gave it: else its holder shall not ask again."""
        return permit is self._current

    def succeed(self) -> None:
        """The upstream answered, a session or a probe."""
        self._failures = 0
        if self.state is not State.CLOSED:
            self._become(State.CLOSED, Permit(trial=False))

    def fail(self, permit: Permit, now: float) -> None:
        """The upstream is away."""
        if permit is not self._current:
            return
        self._failures += 1
        if permit.trial or self._failures >= self._threshold:
            self._open_until = now + self._open_seconds
            self._become(State.OPEN, None)

    def abandon(self, permit: Permit) -> None:
        """Nothing was learnt of the upstream; a trial makes room for the next one."""
        if permit.trial and permit is self._current:
            self._current = None

    def _become(self, state: State, current: Permit | None) -> None:
        self.state, self._current = state, current
        self._changed(state)
