"""Fixtures that many tests share: the real servers, each started only if a test asks for it, and but for Redis, which
tests do harm to, once in a test run."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.oidc_provider import OidcProvider
from tests.servers import issuer as issuers
from tests.servers.gateway import Gateway
from tests.servers.mosquitto import Mosquitto
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import Redis
from trio_ws_gateway import redis_link

# Whom the Mosquitto with passwords lets in.
USERS = {"robot-7": "what the gateway sends for robot-7"}


class StartGateway(Protocol):
    def __call__(self, environment: Mapping[str, str]) -> Gateway: ...


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A Mosquitto that lets in everybody."""
    server = Mosquitto.start(tmp_path_factory.mktemp("mosquitto"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mosquitto_with_passwords(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A Mosquitto that lets in ``USERS`` only."""
    server = Mosquitto.start(tmp_path_factory.mktemp("mosquitto"), users=USERS)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ that lets in a service account, and whoever says nothing as guest."""
    server = RabbitMQ.start(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own, to be frozen, emptied or killed."""
    server = Redis.start(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finds an answer of Redis late because the machine is busy."""
    monkeypatch.setattr(redis_link, "LATE_SECONDS", 5.0)


@pytest.fixture(scope="session")
def issuer() -> Iterator[OidcProvider]:
    """A provider whose keys the gateways of a test run can fetch."""
    with issuers.issuer() as provider:
        yield provider


@pytest.fixture
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways, and after the test kills what it has not stopped."""
    with ExitStack() as stack:

        def start(environment: Mapping[str, str]) -> Gateway:
            gateway = Gateway.start(tmp_path_factory.mktemp("gateway"), environment)
            stack.callback(gateway.process.kill)
            return gateway

        yield start


@pytest.fixture(scope="class")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways for all tests of a class; each must be ready soon, and end with status 0 afterwards."""
    with ExitStack() as stack:

        def start(environment: Mapping[str, str]) -> Gateway:
            return stack.enter_context(Gateway.serving(tmp_path_factory.mktemp("gateway"), environment))

        yield start
