"""What is true of every MQTT broker behind the gateway, whichever version its clients speak.

The tests of a broker are a class that inherits from ``MqttBehaviour``; they define the fixtures ``version``,
that its clients speak, and ``gateway``, that stands in front of it.
"""

import secrets
import time
from typing import Protocol

import pytest

from tests.mqtt_client import ACCEPTED, BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, Message, Paho
from tests.oidc_provider import OidcProvider

SUBJECT = "robot-7"
BEYOND_16_BITS = 70_000  # bytes; a WebSocket frame then counts them in 64 bits


class NewClient(Protocol):
    """Makes a client of the gateway, by default with a good token as its password."""

    def __call__(
        self, *, username: str = SUBJECT, password: str | None = None, will: Message | None = None
    ) -> Paho: ...


def gateway_environment(issuer: OidcProvider, broker_url: str) -> dict[str, str]:
    return {
        "JWKS_URL": issuer.jwks_uri,
        "JWT_EXPECTED_ISSUER": issuer.issuer,
        "JWT_EXPECTED_AUDIENCE": "gateway",
        "MQTT_USERNAME_CLAIM": "sub",
        "UPSTREAM_WS_URL": broker_url,
        "GRACEFUL_DRAIN_TIMEOUT_SECONDS": "2",
    }


class MqttBehaviour:
    def test_connect(self, new_client: NewClient) -> None:
        """A good token opens a session."""
        assert new_client().connect() == ACCEPTED

    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_publish(self, new_client: NewClient, topic: str, qos: int) -> None:
        """What one client publishes another receives, with its QoS."""
        subscriber, publisher = new_client(), new_client()
        subscriber.connect()
        publisher.connect()
        granted = subscriber.subscribe(topic, qos)
        publisher.publish(Message(topic, b"hello", qos))
        assert subscriber.receive() == Message(topic, b"hello", min(qos, granted))

    def test_big_message(self, new_client: NewClient, topic: str) -> None:
        """A message too big for the short forms of a length arrives as it was."""
        client = new_client()
        client.connect()
        client.subscribe(topic, 1)
        message = Message(topic, secrets.token_bytes(BEYOND_16_BITS), 1)
        client.publish(message)
        assert client.receive() == message

    def test_retained(self, new_client: NewClient, topic: str) -> None:
        """A retained message greets who subscribes later."""
        publisher, subscriber = new_client(), new_client()
        publisher.connect()
        publisher.publish(Message(topic, b"remember", 1, retained=True))
        subscriber.connect()
        subscriber.subscribe(topic, 1)
        assert subscriber.receive() == Message(topic, b"remember", 1, retained=True)

    def test_will_of_a_lost_client(self, new_client: NewClient, topic: str) -> None:
        """The will of a client whose connection breaks off is published."""
        will = Message(topic, b"lost", 1)
        heir, testator = new_client(), new_client(will=will)
        heir.connect()
        heir.subscribe(topic, 1)
        testator.connect()
        testator.cut()
        assert heir.receive() == will

    def test_no_token(self, new_client: NewClient) -> None:
        """A password that is no token at all is refused as a bad one."""
        assert new_client(password="swordfish").connect() == BAD_USER_NAME_OR_PASSWORD

    def test_forged_token(self, new_client: NewClient, issuer: OidcProvider) -> None:
        """A token that another key has signed is not authorised, though it names the right one."""
        forger = OidcProvider(issuer=issuer.issuer)
        forger.rotate()
        token = forger.mint({"kid": issuer.kid}, sub=SUBJECT)
        assert new_client(password=token).connect() == NOT_AUTHORIZED

    def test_expired_token(self, new_client: NewClient, issuer: OidcProvider) -> None:
        """A token of an hour ago is not authorised."""
        now = int(time.time())
        token = issuer.mint(sub=SUBJECT, iat=now - 3600, exp=now - 3000)
        assert new_client(password=token).connect() == NOT_AUTHORIZED

    def test_somebody_elses_name(self, new_client: NewClient) -> None:
        """A good token does not make a client somebody else."""
        assert new_client(username="robot-8").connect() == NOT_AUTHORIZED

    def test_refused_client_is_disconnected(self, new_client: NewClient) -> None:
        """Whoever is refused is also disconnected."""
        client = new_client(password="swordfish")
        client.connect()
        client.wait_for_disconnect()
