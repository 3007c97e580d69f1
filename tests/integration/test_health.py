"""Real brokers that go away and come back: the gateway notices, says so, and lets clients in again by itself."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartGateway
from tests.integration.mqtt_behaviour import SUBJECT, gateway_environment
from tests.mqtt_client import ACCEPTED, V311, Paho
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway
from tests.servers.mosquitto import Mosquitto
from tests.servers.rabbitmq import RabbitMQ

pytestmark = pytest.mark.integration

SERVER_UNAVAILABLE = 0x88
DEADLINE_SECONDS = 60.0
THRESHOLD = 3


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Front:
    """A gateway that is asked and tried."""

    def __init__(self, gateway: Gateway, issuer: OidcProvider) -> None:
        self.gateway = gateway
        self._issuer = issuer

    def connect(self) -> int | None:
        """What a client with a good token hears."""
        token = self._issuer.mint(sub=SUBJECT)
        with Paho(self.gateway.url, version=V311, client_id="c-1", username=SUBJECT, password=token) as client:
            return client.connect()

    def sample(self, name: str) -> float:
        text = httpx.get(f"{self.gateway.http_url}/metrics").text
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + " ")), -1)

    @property
    def is_healthy(self) -> bool:
        return self.sample('ws_upstream_healthy{protocol="mqtt"}') == 1

    @property
    def circuit(self) -> float:
        return self.sample('ws_circuit_state{protocol="mqtt"}')

    @property
    def readiness(self) -> int:
        return httpx.get(f"{self.gateway.http_url}/readyz").status_code


@pytest.fixture
def front(start_gateway: StartGateway, issuer: OidcProvider) -> Callable[..., Front]:
    def start(url: str, **settings: str) -> Front:
        environment = {
            **gateway_environment(issuer, url),
            "UPSTREAM_MQTT_CREDENTIALS": "strip",
            "WS_DIAL_RETRY_MAX": "0",
            "CB_FAILURE_THRESHOLD": str(THRESHOLD),
            "CB_OPEN_TIMEOUT_SECONDS": "86400",
            "CB_HEALTHCHECK_INTERVAL_SECONDS": "0.2",
            "WS_DIAL_TIMEOUT_SECONDS": "2",
            "READY_NEEDS_UPSTREAMS": "mqtt",
            **settings,
        }
        gateway = start_gateway(environment)
        gateway.wait_until_ready()
        return Front(gateway, issuer)

    return start


@pytest.mark.parametrize("mode", ["websocket", "mqtt", "tcp"])
def test_mosquitto_away_and_back(front: Callable[..., Front], tmp_path: Path, mode: str) -> None:
    """Killed, it is left alone after so many failures; restarted, it is found by a probe, and clients are let in."""
    broker = Mosquitto.start(tmp_path)
    try:
        here = front(broker.websocket_url, CB_HEALTHCHECK_MODE=mode)
        assert here.connect() == ACCEPTED
        broker.kill()
        until(lambda: not here.is_healthy, "the probes have noticed")
        assert here.readiness == 503
        assert here.circuit == 0, "probes open nothing"
        assert [here.connect() for _ in range(THRESHOLD + 1)] == [SERVER_UNAVAILABLE] * (THRESHOLD + 1)
        assert here.circuit == 2
        until(lambda: len(here.gateway.events("refused")) == THRESHOLD + 1, "all refusals are logged")
        assert [line["cause"] for line in here.gateway.events("refused")] == [
            *["upstream_unavailable"] * THRESHOLD,
            "circuit_open",
        ]
        broker.start_again()
        until(lambda: here.circuit == 0, "a probe has closed the circuit")
        assert here.connect() == ACCEPTED
        assert here.readiness == 200
        assert here.sample('ws_circuit_open_total{protocol="mqtt"}') == 1
        assert len(here.gateway.events("upstream unhealthy")) <= 2  # of mqtt, and of raw where nobody listens
        assert here.gateway.stop() == 0
    finally:
        broker.kill()


def test_mosquitto_frozen(front: Callable[..., Front], mosquitto: Mosquitto) -> None:
    """A broker that takes connections and says nothing is unhealthy too, and healthy when it goes on."""
    here = front(mosquitto.websocket_url, WS_DIAL_TIMEOUT_SECONDS="0.5")
    mosquitto.freeze()
    try:
        until(lambda: not here.is_healthy, "the probes have noticed")
        assert [here.connect() for _ in range(THRESHOLD)] == [SERVER_UNAVAILABLE] * THRESHOLD
        assert here.circuit == 2
    finally:
        mosquitto.thaw()
    until(lambda: here.circuit == 0, "a probe has closed the circuit")
    assert here.connect() == ACCEPTED


@pytest.mark.parametrize("mode", ["websocket", "mqtt"])
def test_rabbitmq(front: Callable[..., Front], rabbitmq: RabbitMQ, mode: str) -> None:
    """RabbitMQ takes one probe after the other, and clients beside them."""
    here = front(rabbitmq.websocket_url, CB_HEALTHCHECK_MODE=mode)
    until(lambda: here.sample("ws_upstream_health_success_total") >= 5, "five good probes")
    assert here.is_healthy
    assert here.connect() == ACCEPTED


def test_mosquitto_that_knows_nobody(front: Callable[..., Front], mosquitto_with_passwords: Mosquitto) -> None:
    """A broker that refuses the probe as a client is well all the same."""
    here = front(mosquitto_with_passwords.websocket_url, CB_HEALTHCHECK_MODE="mqtt")
    until(lambda: here.sample("ws_upstream_health_success_total") >= 3, "three good probes")
    assert here.is_healthy
