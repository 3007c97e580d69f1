"""What is legal but dangerous, row by row: settings that a row is about, and their nearest that it is not about."""

import pytest

from trio_ws_gateway.checking.dangers import at_start, dangers
from trio_ws_gateway.checking.findings import Status
from trio_ws_gateway.config.loading import Loaded, load

SAFE = {
    "JWKS_URL": "https://id.example.com/certs",
    "JWT_EXPECTED_ISSUER": "https://id.example.com",
    "JWT_EXPECTED_AUDIENCE": "gateway",
    "MQTT_USERNAME_CLAIM": "sub",
    "UPSTREAM_WS_URL": "wss://broker.example/ws",
    "RAW_WS_BACKEND_URL": "wss://backend.example/raw",
    "RATE_LIMIT_PER_SECOND": "10",
}
ORIGINS = {"WS_ALLOWED_ORIGINS": "https://app.example"}
ANYBODY = {"ALLOW_ANONYMOUS": "true", **ORIGINS}
DISCOVERED = {"JWKS_URL": "", "OIDC_ISSUER": "https://id.example", "JWT_EXPECTED_ISSUER": ""}
ACCOUNT = "gateway:pass-word"


def loaded(**changes: str) -> Loaded:
    return load({**SAFE, **changes})


def words(**changes: str) -> list[str]:
    return [finding.detail for finding in dangers(loaded(**changes))]


def test_safe_settings() -> None:
    """There are settings of which there is nothing to say."""
    assert words() == []


@pytest.mark.parametrize(
    ("dangerous", "begins", "harmless"),
    [
        ({"ALLOW_ANONYMOUS": "true", **ORIGINS}, "ALLOW_ANONYMOUS=true: clients without a token", ORIGINS),
        (
            {"JWKS_URL": "HTTP://id.example.com/certs"},
            "JWKS_URL begins with http://",
            {"JWKS_URL": "https://id.example.com/certs"},
        ),
        (
            {**DISCOVERED, "OIDC_ISSUER": "http://id.example"},
            "OIDC_ISSUER begins with http://",
            {**DISCOVERED, "OIDC_ISSUER": "https://id.example"},
        ),
        ({"JWT_EXPECTED_ISSUER": ""}, "JWT_EXPECTED_ISSUER is unset", DISCOVERED),
        (
            {"JWT_EXPECTED_AUDIENCE": ""},
            "JWT_EXPECTED_AUDIENCE is unset",
            {"JWT_EXPECTED_AUDIENCE": "", "JWKS_URL": "", **ANYBODY},
        ),
        (
            {"JWT_COOKIE_NAME": "session", "WS_ALLOWED_ORIGINS": "*"},
            "JWT_COOKIE_NAME is set, but no cookie counts",
            {"JWT_COOKIE_NAME": "session", **ORIGINS},
        ),
        (
            {"MQTT_USERNAME_CLAIM": ""},
            "UPSTREAM_MQTT_CREDENTIALS=pass without",
            {"MQTT_USERNAME_CLAIM": "", "MQTT_CLIENT_ID_PREFIX": "{sub}"},
        ),
        (
            {"ADMIN_LISTEN": "127.0.0.1:9000"},
            "ADMIN_LISTEN=127.0.0.1:9000 has no ADMIN_TOKEN",
            {"ADMIN_LISTEN": "127.0.0.1:9000", "ADMIN_TOKEN": "x" * 16},
        ),
        (
            {"OIDC_CLIENT_ID": "gateway", "REDIS_URL": "redis://redis"},
            "REDIS_URL is set, but not JWT_CACHE_STORE=redis",
            {"OIDC_CLIENT_ID": "gateway", "REDIS_URL": "redis://redis", "JWT_CACHE_STORE": "redis"},
        ),
        (
            {"MQTT_USERNAME_CLAIM": ""},
            "UPSTREAM_MQTT_CREDENTIALS=pass without",
            {"MQTT_USERNAME_CLAIM": "", "UPSTREAM_MQTT_CREDENTIALS": "{sub}:pass-word"},
        ),
        (
            {**DISCOVERED, "JWT_EXPECTED_ISSUER": "https://id.example/"},
            "JWT_EXPECTED_ISSUER is not OIDC_ISSUER",
            {**DISCOVERED, "JWT_EXPECTED_ISSUER": "https://id.example"},
        ),
        (
            {"RAW_WS_BACKEND_URL": "ws://localhost:8080/ws"},
            "the upstream of raw is the address in LISTEN",
            {"RAW_WS_BACKEND_URL": "ws://localhost:8081/ws"},
        ),
        (
            {"LISTEN": "192.0.2.7:8080", "UPSTREAM_WS_URL": "wss://192.0.2.7:8080/ws"},
            "the upstream of mqtt is the address in LISTEN",
            {"LISTEN": "192.0.2.7:8080", "UPSTREAM_WS_URL": "wss://192.0.2.8:8080/ws"},
        ),
        (
            {**ANYBODY, "UPSTREAM_MQTT_CREDENTIALS": ACCOUNT, "MQTT_CLIENT_ID_PREFIX": "c-"},
            "ALLOW_ANONYMOUS=true with a service account",
            {**ANYBODY, "UPSTREAM_MQTT_CREDENTIALS": ACCOUNT, "MQTT_CLIENT_ID_PREFIX": "{sub}"},
        ),
        (
            {"ALLOW_ANONYMOUS": "true", "WS_ALLOWED_ORIGINS": "*"},
            "ALLOW_ANONYMOUS=true without a list in WS_ALLOWED_ORIGINS",
            ANYBODY,
        ),
        (
            {"UPSTREAM_MQTT_CREDENTIALS": "strip"},
            "MQTT_CLIENT_ID_PREFIX is unset and the broker sees one user",
            {"UPSTREAM_MQTT_CREDENTIALS": "strip", "MQTT_CLIENT_ID_PREFIX": "{sub}"},
        ),
        (
            {"UPSTREAM_MQTT_CREDENTIALS": ACCOUNT},
            "MQTT_CLIENT_ID_PREFIX is unset and the broker sees one user",
            {"UPSTREAM_MQTT_CREDENTIALS": "{sub}:pass-word"},
        ),
        (
            {"UPSTREAM_WS_URL": "ws://broker:1/?q=secret"},
            "ws:// to broker:1: passwords and tokens of MQTT clients",
            {"UPSTREAM_WS_URL": "ws://127.0.0.1:1/"},
        ),
        (
            {"RAW_WS_BACKEND_URL": "ws://10.1.2.3/"},
            "ws:// to 10.1.2.3 with RAW_FORWARD_TOKEN=true",
            {"RAW_WS_BACKEND_URL": "ws://10.1.2.3/", "RAW_FORWARD_TOKEN": "false"},
        ),
        (
            {"RAW_WS_BACKEND_URL": "ws://notlocalhost/"},
            "ws:// to notlocalhost with RAW_FORWARD_TOKEN=true",
            {"RAW_WS_BACKEND_URL": "ws://backend.localhost/"},
        ),
        (
            {"TRUSTED_PROXIES": "10.0.0.0/8,::/0"},
            "TRUSTED_PROXIES covers every address",
            {"TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8"},
        ),
        (
            {"TRUSTED_PROXIES": "0.0.0.0/1,128.0.0.0/1"},
            "TRUSTED_PROXIES covers every address",
            {"TRUSTED_PROXIES": "0.0.0.0/1,128.0.0.0/2"},
        ),
        (
            {"RATE_LIMIT_ALGORITHM": "fixed-window"},
            "RATE_LIMIT_ALGORITHM=fixed-window",
            {"RATE_LIMIT_ALGORITHM": "token-bucket"},
        ),
        ({"RATE_LIMIT_PER_SECOND": ""}, "RATE_LIMIT_PER_SECOND is unset", {"RATE_LIMIT_PER_SECOND": "1"}),
        (
            {"WS_IDLE_TIMEOUT_SECONDS": "120"},
            "a silent client is not pinged within a minute",
            {"WS_IDLE_TIMEOUT_SECONDS": "118"},
        ),
        (
            {"WS_PING_INTERVAL_SECONDS": "0"},
            "a silent client is not pinged within a minute",
            {"WS_PING_INTERVAL_SECONDS": "1"},
        ),
        (
            {"JWT_LEEWAY_SECONDS": "301"},
            "JWT_LEEWAY_SECONDS is above five minutes",
            {"JWT_LEEWAY_SECONDS": "300"},
        ),
    ],
)
def test_row(dangerous: dict[str, str], begins: str, harmless: dict[str, str]) -> None:
    """Dangerous settings are warned of in one line with advice, the nearest harmless ones not at all."""
    (finding,) = [each for each in dangers(loaded(**dangerous)) if each.detail not in words(**harmless)]
    assert finding.detail.startswith(begins)
    assert finding.status is Status.WARNING
    assert finding.advice
    assert "secret" not in finding.detail
    assert "pass-word" not in finding.detail + finding.advice
    assert not any(each.startswith(begins) for each in words(**harmless))


def test_default_that_is_safe() -> None:
    """That no cookie counts is worth a word only to somebody who has named one."""
    assert words(WS_ALLOWED_ORIGINS="") == []


def test_without_keys_nothing_is_said_of_tokens() -> None:
    """A gateway for anybody checks no token, so that warnings about its checks would mislead."""
    anybody = {**ANYBODY, "MQTT_USERNAME_CLAIM": "", "JWT_EXPECTED_ISSUER": "", "JWT_EXPECTED_AUDIENCE": ""}
    assert [each.partition(":")[0] for each in words(**anybody, JWKS_URL="")] == ["ALLOW_ANONYMOUS=true"]


def test_at_start() -> None:
    """The gateway warns at start of the rows that say so, with their advice, and of no others."""
    found = loaded(JWKS_URL="http://id.example.com/certs", RATE_LIMIT_PER_SECOND="")
    keys, rate = dangers(found)
    assert list(at_start(found)) == [f"{keys.detail}; {keys.advice}"]
    assert rate.detail.startswith("RATE_LIMIT_PER_SECOND is unset")
