"""Mosquitto behind the gateway."""

from contextlib import suppress

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.conftest import USERS, StartGateway
from tests.house import house
from tests.integration.mqtt_behaviour import SUBJECT, MqttBehaviour, NewClient, gateway_environment
from tests.mqtt_client import ACCEPTED, NOT_AUTHORIZED, V5, V31, V311, Message
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway
from tests.servers.mosquitto import Mosquitto
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.mqtt import Property
from trio_ws_gateway.wire.mqtt_fields import variable
from trio_ws_gateway.wire.mqtt_packets import auth_success

pytestmark = pytest.mark.integration


@pytest.fixture(params=[V31, V311, V5], ids=["3.1", "3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> MQTTProtocolVersion:
    chosen: MQTTProtocolVersion = request.param
    return chosen


class TestMosquitto(MqttBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto: Mosquitto) -> Gateway:
        return serving(gateway_environment(issuer, mosquitto.websocket_url))

    def test_will_of_a_client_that_says_goodbye(self, new_client: NewClient, topic: str) -> None:
        """The will of a client that disconnects as it should is not published.

        Not so behind RabbitMQ 3.10, which publishes it all the same.
        """
        heir, testator = new_client(), new_client(will=Message(topic, b"lost", 1))
        heir.connect()
        heir.subscribe(topic, 1)
        with testator:
            testator.connect()
        heir.publish(Message(topic, b"nothing before this", 1))
        assert heir.receive() == Message(topic, b"nothing before this", 1)


class TestInspected(MqttBehaviour):
    """Where packets are counted, so that they pass in frames of ours."""

    @pytest.fixture
    def version(self) -> MQTTProtocolVersion:
        return V5

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto: Mosquitto) -> Gateway:
        environment = gateway_environment(issuer, mosquitto.websocket_url)
        return serving({**environment, "RATE_LIMIT_PACKETS_PER_SECOND": "1000"})


class TestRenewal:
    """A newer token in mid-session, by a topic that no client can hear."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto: Mosquitto) -> Gateway:
        environment = gateway_environment(issuer, mosquitto.websocket_url)
        return serving({**environment, "MQTT_RENEW_TOPIC": "gateway/renew"})

    def test_published_tokens(self, new_client: NewClient, issuer: OidcProvider, topic: str) -> None:
        """Published at any QoS a newer token is acknowledged, and nobody who listens at the broker hears it."""
        listener, client = new_client(), new_client()
        for each in (listener, client):
            each.connect()
        listener.subscribe("gateway/#", 2)
        listener.subscribe(topic, 2)
        for qos in (0, 1, 2, 2):
            client.publish(Message("gateway/renew", issuer.mint(sub=SUBJECT).encode(), qos))
        client.publish(Message(topic, b"nothing before this", 2))
        assert listener.receive() == Message(topic, b"nothing before this", 2)

    def test_a_bad_token(self, new_client: NewClient) -> None:
        """A bad one ends the session."""
        client = new_client()
        client.connect()
        with suppress(RuntimeError):  # the session is over before paho has looked whether it was published
            client.publish(Message("gateway/renew", b"swordfish", 0))
        client.wait_for_disconnect()


async def test_re_authentication(mosquitto: Mosquitto) -> None:
    """Mosquitto, which knows no such method, never hears of one; the client does, and renews by AUTH."""
    async with (
        house(UPSTREAM_WS_URL=mosquitto.websocket_url) as home,
        home.open(("Sec-WebSocket-Protocol", "mqtt")) as client,
    ):
        method = (Property.AUTHENTICATION_METHOD, "JWT")
        await client.say(BINARY, home.connect_packet(5, properties=(method,)).to_bytes())
        _, _, welcome = await client.hear()
        assert (welcome[0], welcome[3]) == (0x20, 0)
        assert b"\x15\x00\x03JWT" in welcome
        token = home.provider.mint().encode()
        data = b"\x15\x00\x03JWT\x16" + len(token).to_bytes(2) + token
        body = b"\x19" + variable(len(data), "properties") + data
        await client.say(BINARY, b"\xf0" + variable(len(body), "AUTH") + body + b"\xc0\x00")
        assert {(await client.hear())[2], (await client.hear())[2]} == {auth_success("JWT"), b"\xd0\x00"}
        client.end_stream()


class TestCredentialsPassed:
    """``UPSTREAM_MQTT_CREDENTIALS=pass``, the default."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto_with_passwords: Mosquitto) -> Gateway:
        return serving(gateway_environment(issuer, mosquitto_with_passwords.websocket_url))

    def test_refusal_of_the_broker(self, new_client: NewClient) -> None:
        """A broker that knows nothing of tokens refuses the client itself, and the client hears its words."""
        assert new_client().connect() == NOT_AUTHORIZED


class TestCredentialsStripped:
    """``UPSTREAM_MQTT_CREDENTIALS=strip``."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto: Mosquitto) -> Gateway:
        environment = gateway_environment(issuer, mosquitto.websocket_url)
        return serving({**environment, "UPSTREAM_MQTT_CREDENTIALS": "strip"})

    def test_nobody(self, new_client: NewClient, mosquitto: Mosquitto) -> None:
        """The broker hears neither user name nor password."""
        client = new_client()
        assert client.connect() == ACCEPTED
        [arrival] = [line for line in mosquitto.log_text().splitlines() if f"as {client.client_id} " in line]
        assert "u'" not in arrival


class TestCredentialsReplaced:
    """``UPSTREAM_MQTT_CREDENTIALS=user:password``."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto_with_passwords: Mosquitto) -> Gateway:
        environment = gateway_environment(issuer, mosquitto_with_passwords.websocket_url)
        return serving({**environment, "UPSTREAM_MQTT_CREDENTIALS": f"{{sub}}:{USERS[SUBJECT]}"})

    def test_user_of_the_token(self, new_client: NewClient, mosquitto_with_passwords: Mosquitto) -> None:
        """The broker hears the token's subject as the user name, with the configured password."""
        client = new_client()
        assert client.connect() == ACCEPTED
        log = mosquitto_with_passwords.log_text()
        [arrival] = [line for line in log.splitlines() if f"as {client.client_id} " in line]
        assert f"u'{SUBJECT}'" in arrival

    def test_user_that_the_broker_does_not_know(self, new_client: NewClient, issuer: OidcProvider) -> None:
        """A token of a subject whom the broker does not know opens nothing."""
        client = new_client(username="robot-8", password=issuer.mint(sub="robot-8"))
        assert client.connect() == NOT_AUTHORIZED
