"""Who of a group asks the upstreams how they are, and how the others hear of it: one asks, however many there are.

The parent names the prober: the lowest worker that accepts, and another one where that dies or is silent for too long.
What the prober finds it tells the parent, who keeps the last finding on each upstream and tells it to the other
workers, to those that come later too. All that passes is news over the links. Knows nothing of processes, nor of how
an upstream is asked.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import structlog
import trio

from trio_ws_gateway.upstream.health import Health
from trio_ws_gateway.worker_link import Answer

# What passes over a link. From the parent:
PROBE = "probe"  # whether to
# From the prober to the parent, and from there to the others:
FOUND = "found"  # of which protocol's upstream, and why it is not well


def silence_seconds(interval_seconds: float, timeout_seconds: float) -> float:
    """How long a prober may say nothing: two intervals, and as long as an upstream may take to answer."""
    return 2 * interval_seconds + timeout_seconds


class Appointment:
    """The parent's part. ``tell``: news to the worker of that number. A service: ``run`` ends by cancellation."""

    def __init__(
        self,
        tell: Callable[[int, str, object], object],
        *,
        silence_seconds: float,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._tell = tell
        self._silence_seconds = silence_seconds
        self._log = log
        self._accepting: set[int] = set()
        self._prober: int | None = None
        self._found: dict[str, str] = {}  # last, by protocol
        self._silent_at = math.inf
        self._patience = trio.CancelScope()

    async def run(self) -> None:
        """Name another prober whenever one was silent for too long, as one that is stopped is."""
        while True:
            with trio.move_on_at(self._silent_at) as self._patience:
                await trio.sleep_forever()
            if self._prober is not None:
                self._log.warning("prober silent", worker=self._prober)
                self._tell(self._prober, PROBE, False)  # for when it goes on
                self._name(self._next_to(self._prober))

    def accepts(self, number: int) -> None:
        """A worker takes sessions from now on, and so needs to know how their upstreams are."""
        self._accepting.add(number)
        for finding in self._found.items():
            self._tell(number, FOUND, finding)
        if self._prober is None:
            self._name(number)

    def leaves(self, number: int) -> None:
        """A worker is gone."""
        self._accepting.discard(number)
        if number == self._prober:
            self._name(min(self._accepting, default=None))

    def hear(self, number: int, protocol: str, why: str) -> None:
        """What that worker has found; nobody listens to one that is prober no more."""
        if number != self._prober:
            return
        self._be_patient()
        self._found[protocol] = why
        for other in self._accepting - {number}:
            self._tell(other, FOUND, (protocol, why))

    def _next_to(self, number: int) -> int:
        """In turn, so that several that are silent do not take it from each other for ever."""
        return min(self._accepting, key=lambda each: (each <= number, each))

    def _name(self, number: int | None) -> None:
        self._prober = number
        self._be_patient()
        if number is not None:
            self._log.info("prober", worker=number)
            self._tell(number, PROBE, True)

    def _be_patient(self) -> None:
        self._silent_at = math.inf if self._prober is None else trio.current_time() + self._silence_seconds
        self._patience.deadline = self._silent_at


class Appointee:
    """A worker's part. ``answers``: for its link; ``tell``: a finding to the parent."""

    def __init__(self, tell: Callable[[str, str], object]) -> None:
        self._tell = tell
        self._give, self._news = trio.open_memory_channel[tuple[str, Any]](math.inf)

        async def probe(body: bool) -> None:
            self._give.send_nowait((PROBE, body))

        async def found(body: list[str]) -> None:
            self._give.send_nowait((FOUND, body))

        self.answers: Mapping[str, Answer] = {PROBE: probe, FOUND: found}

    async def watch(self, health: Health) -> None:
        """Ask while this worker is the prober, and else hear. Until it is cancelled."""
        asking = trio.CancelScope()

        async def ask(scope: trio.CancelScope) -> None:
            with scope:
                await health.run(self._tell)

        async with trio.open_nursery() as nursery:
            async for subject, body in self._news:
                if subject == FOUND:
                    health.hear(*body)
                    continue
                asking.cancel()
                if body:
                    asking = trio.CancelScope()
                    nursery.start_soon(ask, asking)
