"""What settings mean together."""

from typing import Any

import pytest

from trio_ws_gateway.config.rules import contradictions, warnings_for
from trio_ws_gateway.config.settings import Settings

SOUND: dict[str, Any] = {
    "jwks_url": "https://id.example.com/certs",
    "jwt_expected_issuer": "https://id.example.com",
    "jwt_expected_audience": ("gateway",),
    "ws_allowed_origins": ("https://app.example.com",),
    "mqtt_username_claim": "sub",
}


def warned(given: dict[str, str] | None = None, **changed: Any) -> list[str]:  # noqa: ANN401 - values of any setting
    """The first words of the warnings for otherwise sound settings."""
    return [" ".join(line.split()[:3]) for line in warnings_for(Settings(**(SOUND | changed)), given or {})]


def test_sound_settings_are_silent() -> None:
    """Settings that check everything give no contradiction and no warning."""
    assert list(contradictions(Settings(**SOUND))) == []
    assert warned() == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"jwks_url": None}, "JWKS_URL"),
        ({"ws_ping_interval_seconds": 60.0}, "WS_PING_INTERVAL_SECONDS"),
        ({"rate_limit_burst": 5}, "RATE_LIMIT_BURST"),
        ({"ws_first_message_max_bytes": 2, "ws_max_message_bytes": 1}, "WS_FIRST_MESSAGE_MAX_BYTES"),
        ({"ready_needs_upstreams": ("raw",), "cb_healthcheck_interval_seconds": 0.0}, "READY_NEEDS_UPSTREAMS"),
        ({"ready_needs_upstreams": ("raw", "stomp")}, "READY_NEEDS_UPSTREAMS"),
    ],
)
def test_contradiction_is_found(changed: dict[str, Any], name: str) -> None:
    """Settings that cannot be meant together are named, the one to change first."""
    assert [found.names[0] for found in contradictions(Settings(**(SOUND | changed)))] == [name]


@pytest.mark.parametrize(
    "changed",
    [
        {"jwks_url": None, "oidc_issuer": "https://id.example.com"},
        {"jwks_url": None, "allow_anonymous": True},
        {"ws_ping_interval_seconds": 0.0},
        {"rate_limit_burst": 5, "rate_limit_per_second": 1.0},
        {"ws_max_message_bytes": 0},
        {"ready_needs_upstreams": ("mqtt", "raw")},
    ],
)
def test_no_contradiction_where_there_is_none(changed: dict[str, Any]) -> None:
    """Each rule has a way to be kept."""
    assert list(contradictions(Settings(**(SOUND | changed)))) == []


def test_store_without_its_address() -> None:
    """A store that needs an address, and has none, is warned of."""
    assert warned(jwt_cache_store="redis") == ["JWT_CACHE_STORE=redis needs REDIS_URL,"]


@pytest.mark.parametrize("name", ["INGRESS_HOST", "SHUTDOWN_HARD_LIMIT", "POSTGRES_DSN"])
def test_name_without_meaning_is_warned_of(name: str) -> None:
    """A name of the Go gateway that means nothing here is accepted, and said to."""
    assert warned({name: "x"}) == [f"{name} is accepted"]


def test_postgres_means_memory() -> None:
    """The store that is not offered is accepted, and what happens instead is said."""
    assert warned({"JWT_CACHE_STORE": "Postgres"}) == ["JWT_CACHE_STORE=postgres is accepted"]
    assert warned({"JWT_CACHE_STORE": "memory"}) == []
