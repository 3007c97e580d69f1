"""Every metric of the gateway, by name, in a registry of its own.

Nothing on the per-message path touches a metric: pumps count in plain integers, and ``Traffic``
adds those up when somebody scrapes. Labels that hold identities are bounded, because a label value
is kept for ever and a subject is the client's choice.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trio_ws_gateway import __version__, scrape
from trio_ws_gateway.causes import Cause, Counts

SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86400
DURATION_BUCKETS = (
    *(SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE),
    *(HOUR, 4 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY),
)
LATENCY_BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
OTHER = "other"


@frozen
class Row:
    """What the reference page says of a metric; ``buckets`` are a histogram's upper bounds."""

    name: str
    kind: str
    sentence: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


LABELS = {
    "cause": "The cause, as in the log; [causes.md](causes.md) has them all.",
    "direction": "`client_to_upstream` or `upstream_to_client`.",
    "preferred_username": "That claim of the same token, empty where it has none.",
    "protocol": "`mqtt`, `raw`, or the name of a further adapter; `unknown` where a client did not get so far.",
    "sub": "The token's subject: the first `METRICS_MAX_IDENTITIES`, then `other`; empty where that is 0.",
    "version": "As `trio-ws-gateway --version` says it.",
}

MESSAGES = Row("ws_messages_total", "counter", "Messages relayed.", ("direction", "protocol"))
BYTES = Row("ws_bytes_total", "counter", "Bytes relayed, frame headers included.", ("direction", "protocol"))
HELD = Row("ws_held_bytes", "gauge", "Bytes that wait for a peer that does not read, or for tokens.", ("direction",))
KEYS_AGE = Row("ws_jwks_age_seconds", "gauge", "Seconds since the key set was fetched; not there while there is none.")


class Direction(Protocol):
    """What is counted of one direction of a live session."""

    @property
    def messages(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...
    @property
    def bytes_held(self) -> int: ...


class BothDirections(Protocol):
    """A live session."""

    @property
    def to_upstream(self) -> Direction: ...
    @property
    def to_client(self) -> Direction: ...


class IdentityLabels:
    """Bounded label values: the first ``max_identities`` that come are told apart, the rest are ``other``."""

    def __init__(self, max_identities: int) -> None:
        self._max = max_identities
        self._known: set[tuple[str, str]] = set()

    def labels(self, subject: str, preferred_username: str) -> tuple[str, str]:
        """``(sub, preferred_username)`` as label values; both empty where identities are not to be told apart."""
        if self._max == 0:
            return "", ""
        identity = (subject, preferred_username)
        if identity not in self._known:
            if len(self._known) >= self._max:
                return OTHER, ""
            self._known.add(identity)
        return identity


class Traffic(Collector):
    """Messages and bytes of all sessions: those that ended, and at scrape time those that live, and what they hold."""

    def __init__(self) -> None:
        self._messages: Tally[tuple[str, str]] = Tally()
        self._bytes: Tally[tuple[str, str]] = Tally()
        self._live: dict[BothDirections, str] = {}  # and their protocols

    def begin(self, session: BothDirections, protocol: str) -> None:
        """Count a session from now on; ``end`` keeps what it has counted for ever."""
        self._live[session] = protocol

    def end(self, session: BothDirections) -> None:
        _add(session, self._live.pop(session), self._messages, self._bytes)

    def collect(self) -> Iterator[Metric]:
        messages, octets = self._messages.copy(), self._bytes.copy()
        for session, protocol in self._live.items():
            _add(session, protocol, messages, octets)
        for row, tally in ((MESSAGES, messages), (BYTES, octets)):
            family = CounterMetricFamily(row.name, row.sentence, labels=row.labels)
            for labels, count in tally.items():
                family.add_metric(labels, count)
            yield family
        held = GaugeMetricFamily(HELD.name, HELD.sentence, labels=HELD.labels)
        held.add_metric(["client_to_upstream"], sum(session.to_upstream.bytes_held for session in self._live))
        held.add_metric(["upstream_to_client"], sum(session.to_client.bytes_held for session in self._live))
        yield held


def _add(
    session: BothDirections, protocol: str, messages: Tally[tuple[str, str]], octets: Tally[tuple[str, str]]
) -> None:
    for name, direction in (("client_to_upstream", session.to_upstream), ("upstream_to_client", session.to_client)):
        messages[name, protocol] += direction.messages
        octets[name, protocol] += direction.bytes_read


class KeysAge(Collector):
    """The age of the key set, asked for at scrape time; no sample while there is none."""

    def __init__(self, age: Callable[[], float | None]) -> None:
        self._age = age

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(KEYS_AGE.name, KEYS_AGE.sentence)
        if (age := self._age()) is not None:
            family.add_metric([], age)
        yield family


class Metrics:
    """The metrics as attributes; ``expose`` writes them all, ``table`` has a row for each."""

    def __init__(self, *, max_identities: int) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._identities = IdentityLabels(max_identities)
        self.table = [MESSAGES, BYTES, HELD, KEYS_AGE]

        def counter(name: str, text: str, *labels: str) -> Counter:
            self.table.append(Row(name, "counter", text, labels))
            return Counter(name, text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self.table.append(Row(name, "gauge", text, labels))
            return Gauge(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
            self.table.append(Row(name, "histogram", text, labels, buckets))
            return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

        self.connections = counter("ws_connections_total", "Upgrade requests, admitted or not.")
        self.auth_failures = counter("ws_auth_failures_total", "Tokens missing, malformed, invalid or expired.")
        self.auth_success = counter("ws_auth_success_total", "Tokens verified.", "sub", "preferred_username")
        self.renewals = counter("ws_token_renewals_total", "Newer tokens accepted in live sessions.")
        self.active_sessions = gauge("ws_active_sessions", "Sessions being relayed.")
        self.duration = histogram(
            "ws_connection_duration_seconds",
            "How long sessions lasted, from their acceptance.",
            buckets=DURATION_BUCKETS,
        )
        self.protocol_connections = counter("ws_protocol_connections_total", "Sessions relayed.", "protocol")
        self.proxy_errors = counter("ws_proxy_errors_total", "Sessions that an upstream or a fault ended.", "protocol")
        self.proxy_retries = counter(
            "ws_proxy_retries_total", "Further tries to reach an upstream, also in mid-session.", "protocol"
        )
        self.circuit_open = counter("ws_circuit_open_total", "Circuit breakers that opened.", "protocol")
        self.circuit_state = gauge("ws_circuit_state", "Circuit breakers: 0 closed, 1 half-open, 2 open.", "protocol")
        self.health_success = counter("ws_upstream_health_success_total", "Health probes that succeeded.")
        self.health_failure = counter("ws_upstream_health_failure_total", "Health probes that failed.")
        self.upstream_healthy = gauge("ws_upstream_healthy", "Whether the last health probe succeeded.", "protocol")
        self.rate_limit_violations = counter("ws_rate_limit_violations_total", "Sessions over a rate limit.")
        self.revocations = counter("ws_revocations_total", "Sessions ended or refused because their token was revoked.")
        self.ends = counter("ws_session_ends_total", "Sessions and requests that ended or were refused.", "cause")
        self.worker_restarts = counter("ws_worker_restarts_total", "Workers that ended unasked and were replaced.")
        self.handshakes = gauge("ws_handshakes", "Connections of which it is not known yet who they are.")
        self.handshakes_waiting = gauge("ws_handshakes_waiting", "Handshakes that wait for their turn.")
        self.sessions_limit = gauge(
            "ws_sessions_limit", "Sessions that there may be, as descriptors and settings allow."
        )
        self.redis_away = gauge("ws_redis_away", "Whether Redis is away (1), so that each gateway counts by itself.")
        self.redis_late = counter(
            "ws_redis_late_total",
            "Answers of Redis that a session did not wait for any longer, so that memory decided.",
        )
        self.auth_seconds = histogram("ws_auth_seconds", "Time to verify a token.", buckets=LATENCY_BUCKETS)
        self.dial_seconds = histogram(
            "ws_dial_seconds", "Time to reach an upstream.", "protocol", buckets=LATENCY_BUCKETS
        )
        self.loop_lag = gauge("ws_event_loop_lag_seconds", "By how much a timer came late.")
        self.loop_tasks = gauge("ws_event_loop_tasks", "Tasks that live: about ten, and three for each session.")
        gauge("ws_build_info", "The version.", "version").labels(__version__).set(1)
        self.traffic = Traffic()
        self.registry.register(self.traffic)

    def watch_keys(self, age: Callable[[], float | None]) -> None:
        self.registry.register(KeysAge(age))

    def count_success(self, subject: str, preferred_username: str | None) -> None:
        self.auth_success.labels(*self._identities.labels(subject, preferred_username or "")).inc()

    def count_end(self, cause: Cause, protocol: str) -> None:
        """Count an end or a refusal in every counter that its row names."""
        self.ends.labels(cause.value).inc()
        match cause.row.counts:
            case Counts.AUTH_FAILURE:
                self.auth_failures.inc()
            case Counts.PROXY_ERROR:
                self.proxy_errors.labels(protocol).inc()
            case Counts.RATE_LIMIT:
                self.rate_limit_violations.inc()
            case Counts.REVOCATION:
                self.revocations.inc()

    def count_turned_away(self, cause: Cause, count: int) -> None:
        """Those who did not come past the door."""
        self.ends.labels(cause.value).inc(count)

    def expose(self) -> bytes:
        """All at once, in the text format of Prometheus."""
        return scrape.text(self.registry)
