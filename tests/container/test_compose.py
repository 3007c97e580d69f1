"""``compose.yaml`` and the files that it mounts: valid by the schema, and of one mind about names and ports."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trio_ws_gateway.checking.dangers import at_start
from trio_ws_gateway.config.loading import Loaded, load

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


@pytest.fixture
def gateway(services: dict[str, Any]) -> Loaded:
    return load(services["gateway"]["environment"])


def mounted(service: dict[str, Any]) -> str:
    """The text of the one file that a service mounts, read-only."""
    [volume] = service["volumes"]
    source, _, mode = str(volume).split(":")
    assert mode == "ro,z"  # z: for SELinux
    return (ROOT / source).read_text()


def test_schema() -> None:
    """The schema of the Compose Specification has nothing against it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings(gateway: Loaded) -> None:
    """The gateway takes its settings, and warns at start only of what is meant: no TLS inside."""
    assert gateway.warnings == ()
    assert [warning.partition(" ")[0] for warning in at_start(gateway)] == ["JWKS_URL"]


def test_tokens(services: dict[str, Any], gateway: Loaded) -> None:
    """The issuer is Keycloak as clients see it, the keys are where the gateway sees it, tokens have the audience."""
    realm = json.loads(mounted(services["keycloak"]))
    [client] = realm["clients"]
    [audience] = client["protocolMappers"]
    settings = gateway.settings
    outside = services["keycloak"]["environment"]["KC_HOSTNAME"]
    published, inside = services["keycloak"]["ports"][0].split(":")[1:]
    assert outside == f"http://localhost:{published}"
    assert settings.jwt_expected_issuer == f"{outside}/realms/{realm['realm']}"
    certs = f"/realms/{realm['realm']}/protocol/openid-connect/certs"
    assert str(settings.jwks_url) == f"http://keycloak:{inside}{certs}"
    assert settings.jwt_expected_audience == (audience["config"]["included.custom.audience"],)


def test_broker(services: dict[str, Any], gateway: Loaded) -> None:
    """The broker has a WebSocket listener where the gateway looks for it, and no port that is published."""
    upstream = gateway.settings.upstreams["mqtt"]
    assert (upstream.host, "ports" in services["mosquitto"]) == ("mosquitto", False)
    assert f"listener {upstream.port}\nprotocol websockets\n" in mounted(services["mosquitto"])


def test_time_to_drain(services: dict[str, Any], gateway: Loaded) -> None:
    """The gateway has more time than the drain takes before it is killed."""
    assert int(services["gateway"]["stop_grace_period"].removesuffix("s")) > (
        gateway.settings.graceful_drain_timeout_seconds
    )
