"""What ``/metrics`` says."""

from attrs import define, field
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from trio_ws_gateway import __version__
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.metrics import Metrics

SPECIFIED = {
    "ws_connections_total": (),
    "ws_auth_failures_total": (),
    "ws_auth_success_total": ("sub", "preferred_username"),
    "ws_active_sessions": (),
    "ws_protocol_connections_total": ("protocol",),
    "ws_proxy_errors_total": ("protocol",),
    "ws_proxy_retries_total": ("protocol",),
    "ws_circuit_open_total": ("protocol",),
    "ws_upstream_health_success_total": (),
    "ws_upstream_health_failure_total": (),
    "ws_rate_limit_violations_total": (),
    "ws_revocations_total": (),
}


@define(eq=False)
class Direction:
    messages: int = 0
    bytes_read: int = 0
    bytes_held: int = 0


@define(eq=False)
class Session:
    to_upstream: Direction = field(factory=Direction)
    to_client: Direction = field(factory=Direction)


def families(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.expose().decode())}


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of that name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == name
    }


def test_specified_metrics() -> None:
    """Every specified metric is exposed under exactly its name, with exactly its labels."""
    metrics = Metrics(max_identities=10)
    metrics.count_success("robot-7", "robby")
    for counter in (metrics.protocol_connections, metrics.proxy_errors, metrics.proxy_retries, metrics.circuit_open):
        counter.labels("mqtt").inc()
    exposed = {
        sample.name: tuple(sorted(sample.labels)) for family in families(metrics).values() for sample in family.samples
    }
    assert {name: tuple(sorted(labels)) for name, labels in SPECIFIED.items()}.items() <= exposed.items()


def test_durations_from_seconds_to_days() -> None:
    """Durations fall into buckets from a second to a week."""
    metrics = Metrics(max_identities=10)
    metrics.duration.observe(2 * 86400)
    buckets = {float(le): count for (le,), count in samples(metrics, "ws_connection_duration_seconds_bucket").items()}
    assert min(buckets) == 1
    assert max(edge for edge in buckets if edge < float("inf")) == 7 * 86400
    assert (buckets[86400.0], buckets[3 * 86400.0]) == (0, 1)


def test_no_created_series() -> None:
    """No ``_created`` series is exposed, of no kind of metric, with or without labels."""
    metrics = Metrics(max_identities=10)
    metrics.count_success("robot-7", None)
    metrics.dial_seconds.labels("mqtt").observe(0.1)
    text = metrics.expose()
    assert b"_created" not in text
    assert b'ws_auth_success_total{preferred_username="",sub="robot-7"} 1.0' in text


def test_label_that_looks_like_a_series() -> None:
    """A subject cannot put lines of its own into the exposition, or take any out."""
    metrics = Metrics(max_identities=10)
    subject = 'x"} 1\nevil_created{a="'
    metrics.count_success(subject, None)
    assert samples(metrics, "ws_auth_success_total") == {("", subject): 1}


def test_identities_are_bounded() -> None:
    """After so many identities the rest count as ``other``, and those that are known count on."""
    metrics = Metrics(max_identities=2)
    for subject, name in (("a", "A"), ("b", None), ("c", "C"), ("d", "D"), ("a", "A"), ("a", "AA")):
        metrics.count_success(subject, name)
    assert samples(metrics, "ws_auth_success_total") == {("A", "a"): 2, ("", "b"): 1, ("", "other"): 3}


def test_no_identities() -> None:
    """With a bound of 0 the labels are there and stay empty."""
    metrics = Metrics(max_identities=0)
    metrics.count_success("a", "A")
    metrics.count_success("b", "B")
    assert samples(metrics, "ws_auth_success_total") == {("", ""): 2}


def test_ends_count_where_their_row_says() -> None:
    """Each cause counts in ``ws_session_ends_total`` and in the counter of its row."""
    metrics = Metrics(max_identities=10)
    for cause in (Cause.INVALID_TOKEN, Cause.UPSTREAM_LOST, Cause.RATE_LIMITED, Cause.TOKEN_REVOKED, Cause.IDLE):
        metrics.count_end(cause, "mqtt")
    assert samples(metrics, "ws_auth_failures_total") == {(): 1}
    assert samples(metrics, "ws_proxy_errors_total") == {("mqtt",): 1}
    assert samples(metrics, "ws_rate_limit_violations_total") == {(): 1}
    assert samples(metrics, "ws_revocations_total") == {(): 1}
    assert samples(metrics, "ws_session_ends_total") == {
        (cause,): 1 for cause in ("invalid_token", "upstream_lost", "rate_limited", "token_revoked", "idle")
    }


def test_traffic_of_live_and_ended_sessions() -> None:
    """Messages and bytes are those of sessions that live, read when asked, and of those that ended."""
    metrics = Metrics(max_identities=10)
    lasting, passing = Session(), Session()
    for session in (lasting, passing):
        metrics.traffic.begin(session, "mqtt")
    lasting.to_upstream.messages, lasting.to_upstream.bytes_read = 2, 200
    passing.to_upstream.messages, passing.to_upstream.bytes_read = 3, 300
    passing.to_client.messages, passing.to_client.bytes_read = 4, 400
    lasting.to_upstream.bytes_held, passing.to_client.bytes_held = 5, 6
    assert samples(metrics, "ws_held_bytes") == {("client_to_upstream",): 5, ("upstream_to_client",): 6}
    counted = {("client_to_upstream", "mqtt"): 5, ("upstream_to_client", "mqtt"): 4}
    assert samples(metrics, "ws_messages_total") == counted
    metrics.traffic.end(passing)
    assert samples(metrics, "ws_held_bytes") == {("client_to_upstream",): 5, ("upstream_to_client",): 0}
    assert samples(metrics, "ws_messages_total") == counted
    lasting.to_upstream.messages += 1
    assert samples(metrics, "ws_messages_total")["client_to_upstream", "mqtt"] == 6
    metrics.traffic.end(lasting)
    assert samples(metrics, "ws_messages_total")["client_to_upstream", "mqtt"] == 6
    assert samples(metrics, "ws_bytes_total") == {
        ("client_to_upstream", "mqtt"): 500,
        ("upstream_to_client", "mqtt"): 400,
    }


def test_age_of_keys() -> None:
    """The age of the key set is asked for when somebody scrapes; there is no sample while there are no keys."""
    metrics = Metrics(max_identities=10)
    ages = [None, 7.5]
    metrics.watch_keys(lambda: ages[0])
    assert samples(metrics, "ws_jwks_age_seconds") == {}
    del ages[0]
    assert samples(metrics, "ws_jwks_age_seconds") == {(): 7.5}


def test_build_info() -> None:
    """The version is a label."""
    assert samples(Metrics(max_identities=10), "ws_build_info") == {(__version__,): 1}
