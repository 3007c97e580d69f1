"""What is written down of a session when it ends: its counters, and its one log line.

Facts are entered as they become known. No token is among them.
"""

import logging
import secrets

import structlog
import trio

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Counts
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.protocols.base import Greeting
from trio_ws_gateway.relay.relay import Relay


class Ledger:
    """The page of one session. ``id`` names it, ``address`` is the client's, as far as it is known.

    ``relay``: ``None`` before there is one."""

    def __init__(self, metrics: Metrics, log: structlog.typing.FilteringBoundLogger, address: str) -> None:
        self.id = secrets.token_hex(6)
        self._metrics = metrics
        self._log = log
        self.began_at = trio.current_time()
        self.relay: Relay | None = None
        self.address = address
        self.greeting: Greeting | None = None
        self.identity: Identity | None = None
        self.upstream = ""
        self.reconnects = 0

    def begin(self, relay: Relay) -> None:
        """From now on the session is an active one. Not a context manager: those live as long as the session."""
        self.relay = relay
        metrics, protocol = self._metrics, relay.greeting.protocol
        metrics.protocol_connections.labels(protocol).inc()
        metrics.active_sessions.inc()
        metrics.traffic.begin(relay, protocol)

    def end(self, relay: Relay) -> None:
        """It is none any more."""
        self._metrics.active_sessions.dec()
        self._metrics.traffic.end(relay)
        self._metrics.duration.observe(trio.current_time() - self.began_at)

    def fault(self, error: BaseException) -> None:
        """A mistake of the gateway's own, with its traceback."""
        self._log.error("fault", session=self.id, exc_info=error)

    def close(self, cause: Cause, detail: str) -> None:
        """The session has ended, or was refused."""
        relay = self.relay
        line: dict[str, object] = {"session": self.id, "cause": cause.value, "detail": detail, "client": self.address}
        protocol = "unknown"
        if self.greeting is not None:
            protocol = self.greeting.protocol
            line |= {"protocol": protocol, **self.greeting.describes}
        if self.identity is not None:
            line |= {"sub": self.identity.subject, "preferred_username": self.identity.preferred_username}
        if self.upstream:
            line["upstream"] = self.upstream
        if relay is not None:
            line |= relay.counts
        if self.reconnects:
            line["reconnects"] = self.reconnects
        line["duration"] = round(trio.current_time() - self.began_at, 3)
        self._metrics.count_end(cause, protocol)
        self._log.log(level_of(cause), "session ended" if relay is not None else "refused", **line)


def level_of(cause: Cause) -> int:
    """Faults are errors, trouble with upstreams is a warning, and what clients do is information."""
    if cause is Cause.FAULT:
        return logging.ERROR
    return logging.WARNING if cause.row.counts is Counts.PROXY_ERROR else logging.INFO
