"""What the tests of all brokers share."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.integration.mqtt_behaviour import SUBJECT, NewClient
from tests.mqtt_client import Message, Paho
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway


@pytest.fixture
def new_client(gateway: Gateway, version: MQTTProtocolVersion, issuer: OidcProvider) -> Iterator[NewClient]:
    """Makes clients of the gateway, by default with a good token as their password."""
    with ExitStack() as stack:

        def new(*, username: str = SUBJECT, password: str | None = None, will: Message | None = None) -> Paho:
            return stack.enter_context(
                Paho(
                    gateway.url,
                    version=version,
                    client_id=f"client-{secrets.token_hex(4)}",
                    username=username,
                    password=issuer.mint(sub=SUBJECT) if password is None else password,
                    will=will,
                )
            )

        yield new


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"tests/{secrets.token_hex(4)}"
