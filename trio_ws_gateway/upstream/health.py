"""Are the upstreams well? Each is asked again and again, and what was found is told to whoever needs it.

A service: ``run`` belongs in the caller's nursery and ends by cancellation; one process of a group runs it, and the
others ``hear`` what it finds. A healthy probe closes an open circuit. A failing one opens none: it may ask the wrong
question, and must not lock out sessions that succeed.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
import trio

from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.upstream.failures import failed_try

SPREAD = 0.2  # of the interval, either way: many gateways must not ask in step

Probe = Callable[[], Awaitable[str]]
"""Why the upstream is not well, empty where it is; whatever it raises says that it is not."""


class Health:
    """``probes``: by protocol. ``timeout_seconds``: for one answer. ``well``: told the protocol after a good one."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        *,
        interval_seconds: float,
        timeout_seconds: float,
        well: Callable[[str], object],
        metrics: Metrics,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._probes = probes
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._well = well
        self._metrics = metrics
        self._log = log
        self._why: dict[str, str] = {}  # by protocol, of each upstream that was asked

    async def run(self, tell: Callable[[str, str], object] = lambda _protocol, _why: None) -> None:
        """Ask at once, and then every interval. ``tell``: whoever else is to ``hear`` what was found."""
        async with trio.open_nursery() as nursery:
            for protocol, probe in self._probes.items():
                nursery.start_soon(self._watch, protocol, probe, tell)

    def hear(self, protocol: str, why: str) -> None:
        """What a probe has found of that upstream: why it is not well, empty where it is."""
        self._why[protocol] = why
        self._metrics.upstream_healthy.labels(protocol).set(not why)
        if not why:
            self._well(protocol)

    def why(self, protocol: str) -> str | None:
        """Why that upstream was not well when last asked; empty where it was, ``None`` where nobody asked."""
        return self._why.get(protocol)

    def unready(self, protocols: Iterable[str]) -> str:
        """Why not all of these upstreams are well; empty where they are."""
        for protocol in protocols:
            if why := self._why.get(protocol, "not known yet"):
                return f"the upstream of {protocol}: {why}"
        return ""

    async def _watch(self, protocol: str, probe: Probe, tell: Callable[[str, str], object]) -> None:
        while True:
            why = await self._asked(probe)
            (self._metrics.health_failure if why else self._metrics.health_success).inc()
            self._log_change(protocol, why)
            self.hear(protocol, why)
            tell(protocol, why)
            await trio.sleep(self._interval_seconds * random.uniform(1 - SPREAD, 1 + SPREAD))  # noqa: S311 - no secret

    def _log_change(self, protocol: str, why: str) -> None:
        before = self._why.get(protocol)
        if before is not None and bool(before) == bool(why):
            return
        if why:
            self._log.warning("upstream unhealthy", protocol=protocol, reason=why)
        else:
            self._log.info("upstream healthy", protocol=protocol)

    async def _asked(self, probe: Probe) -> str:
        try:
            with trio.move_on_after(self._timeout_seconds):
                return await probe()
        except Exception as error:  # ``_log_change`` logs it: whatever an upstream says, no gateway ends for it
            return _reason(error)
        return "no answer in time"


def _reason(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if isinstance(error, trio.BrokenResourceError) and isinstance(cause, OSError):  # Trio's word for a failed TLS
        error = cause
    return failed_try(error).detail if isinstance(error, OSError) else str(error) or type(error).__name__
