"""The image, built once for all of its tests, and containers of it."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.oidc_provider import OidcProvider
from tests.servers.mosquitto import Mosquitto
from tests.servers.podman import Container, Podman
from tests.servers.ports import free_port

# Stricter than anybody is by default: podman would mount writable directories over a read-only root.
CONFINED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")


class StartContainer(Protocol):
    def __call__(self, **settings: str) -> tuple[Container, int]: ...


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    return Podman.found(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def image(podman: Podman) -> Iterator[str]:
    """The name of an image of the sources as they are."""
    with podman.image(f"localhost/trio-ws-gateway-test:{secrets.token_hex(4)}") as name:
        yield name


@pytest.fixture
def start_container(podman: Podman, image: str, issuer: OidcProvider, mosquitto: Mosquitto) -> Iterator[StartContainer]:
    """Starts gateways in confined containers, in front of Mosquitto; with each comes the port it listens on."""
    with ExitStack() as stack:

        def start(**settings: str) -> tuple[Container, int]:
            port = free_port()
            environment = {
                "LISTEN": f"127.0.0.1:{port}",
                "JWKS_URL": issuer.jwks_uri,
                "JWT_EXPECTED_ISSUER": issuer.issuer,
                "JWT_EXPECTED_AUDIENCE": "gateway",
                "MQTT_USERNAME_CLAIM": "sub",
                "UPSTREAM_WS_URL": mosquitto.websocket_url,
                **settings,
            }
            container = podman.start(f"gateway-test-{secrets.token_hex(4)}", image, environment, options=CONFINED)
            stack.callback(container.remove)
            ready = ["trio-ws-gateway", "healthcheck", "--ready"]
            container.wait_until(lambda: container.exec(*ready).returncode == 0, "ready")
            return container, port

        yield start
