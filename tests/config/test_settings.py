"""The table of settings."""

from typing import Any

import attrs
import pytest

from trio_ws_gateway.config.settings import GROUPS, Settings, rows
from trio_ws_gateway.config.values import WebSocketUrl

DEFAULTS = """
    JWKS_TTL_MINUTES=10 JWT_VALID_ALGORITHMS=RS256 JWT_COOKIE_NAME=session WS_IDLE_TIMEOUT_SECONDS=60
    WS_WRITE_TIMEOUT_SECONDS=10 WS_CONTROL_TIMEOUT_SECONDS=1 GRACEFUL_DRAIN_TIMEOUT_SECONDS=30
    UPSTREAM_WS_URL=ws://rabbitmq:15675/ws RAW_WS_BACKEND_URL=ws://localhost:8081/raw CB_FAILURE_THRESHOLD=5
    CB_OPEN_TIMEOUT_SECONDS=60 CB_HEALTHCHECK_INTERVAL_SECONDS=30 WS_DIAL_RETRY_MAX=3
    WS_DIAL_RETRY_INTERVAL_SECONDS=2 JWT_CACHE_STORE=memory JWT_CACHE_PREFIX=jwt_cached_token_
    LISTEN=0.0.0.0:8080 WS_PATH=/ws WS_HANDSHAKE_TIMEOUT_SECONDS=10 WS_AUTH_TIMEOUT_SECONDS=10
    WS_FIRST_MESSAGE_MAX_BYTES=65536 WS_MAX_MESSAGE_BYTES=67108864 WS_PING_INTERVAL_SECONDS=30
    WS_CLOSE_TIMEOUT_SECONDS=5 WS_DIAL_TIMEOUT_SECONDS=10 WS_COMPRESSION=pass EARLY_DIAL=true
    JWT_LEEWAY_SECONDS=30 ALLOW_ANONYMOUS=false WORKERS=1 LOG_FORMAT=json UPSTREAM_MQTT_CREDENTIALS=pass
    METRICS_MAX_IDENTITIES=1000 RAW_FORWARD_TOKEN=true JWT_QUERY_PARAMETER=token
"""


@pytest.mark.parametrize("default", DEFAULTS.split())
def test_default_is_the_documented_one(default: str) -> None:
    """The defaults that deployments rely on do not change by accident."""
    name, text = default.split("=")
    row = dict(rows())[name]
    assert getattr(Settings(), name.lower()) == row.kind.parse(text)
    assert row.is_derived or row.default == text


@pytest.mark.parametrize(
    "name",
    [
        *("jwks_url", "oidc_issuer", "jwt_expected_issuer", "jwt_expected_audience", "ws_allowed_origins", "redis_url"),
        *("rate_limit_per_second", "rate_limit_burst", "trusted_proxies", "upstream_ca_file", "upstream_urls"),
        *("mqtt_username_claim", "mqtt_client_id_prefix"),
    ],
)
def test_unset_is_false(name: str) -> None:
    """What has no default is ``None`` or empty."""
    assert not getattr(Settings(), name)


def test_every_field_is_a_row_of_the_table() -> None:
    """The class is the table: each field but the mapping of further upstreams carries its row."""
    fields = [field.name for field in attrs.fields(Settings)]
    assert [name.lower() for name, _ in rows()] == [name for name in fields if name != "upstream_urls"]
    assert GROUPS.keys() <= set(fields)


@pytest.mark.parametrize(
    ("given", "derived"),
    [
        ({"ws_idle_timeout_seconds": 10.0}, {"ws_ping_interval_seconds": 5.0}),
        ({"oidc_issuer": "https://id"}, {"jwt_expected_issuer": "https://id"}),
        ({"rate_limit_per_second": 10.0}, {"rate_limit_burst": 30}),
        ({"rate_limit_per_second": 0.1}, {"rate_limit_burst": 1}),
        ({"ws_max_message_bytes": 1000}, {"ws_first_message_max_bytes": 1000}),
        ({"ws_max_message_bytes": 0}, {"ws_first_message_max_bytes": 65536}),
    ],
)
def test_some_defaults_follow_from_others(given: dict[str, Any], derived: dict[str, Any]) -> None:
    """Half the idle time-out, the discovered issuer, three seconds' worth of messages, the smaller size."""
    settings = Settings(**given)
    assert {name: getattr(settings, name) for name in derived} == derived


@pytest.mark.parametrize(("origins", "accepted"), [((), False), (("*",), False), (("https://a", "*"), False)])
def test_cookies_need_a_list_of_origins(origins: tuple[str, ...], accepted: bool) -> None:
    """Where any page may connect, a cookie proves nothing."""
    assert Settings(ws_allowed_origins=origins).accepts_cookies is accepted
    assert Settings(ws_allowed_origins=("https://a",)).accepts_cookies


def test_each_protocol_has_its_upstream() -> None:
    """MQTT and raw sessions go where the Go gateway sends them; a further protocol to its own, or nowhere."""
    stomp = WebSocketUrl(False, "broker", 80, "/stomp")
    settings = Settings(upstream_urls={"stomp": stomp})
    assert settings.upstreams["mqtt"] == WebSocketUrl.parse("ws://rabbitmq:15675/ws")
    assert settings.upstreams["raw"] == WebSocketUrl.parse("ws://localhost:8081/raw")
    assert settings.upstreams["stomp"] == stomp
    assert "amqp" not in settings.upstreams
