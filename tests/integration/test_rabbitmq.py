"""RabbitMQ behind the gateway. Debian's 3.10 speaks MQTT 3.1 and 3.1.1 only."""

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.conftest import StartGateway
from tests.integration.mqtt_behaviour import SUBJECT, MqttBehaviour, NewClient, gateway_environment
from tests.mqtt_client import ACCEPTED, V31, V311
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway
from tests.servers.rabbitmq import SERVICE_ACCOUNT, RabbitMQ

pytestmark = pytest.mark.integration


@pytest.fixture(params=[V31, V311], ids=["3.1", "3.1.1"])
def version(request: pytest.FixtureRequest) -> MQTTProtocolVersion:
    chosen: MQTTProtocolVersion = request.param
    return chosen


class TestRabbitMQ(MqttBehaviour):
    """With a service account, of which the clients know nothing."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, rabbitmq: RabbitMQ) -> Gateway:
        environment = gateway_environment(issuer, rabbitmq.websocket_url)
        return serving({**environment, "UPSTREAM_MQTT_CREDENTIALS": ":".join(SERVICE_ACCOUNT)})


class TestCredentialsPassed:
    """``UPSTREAM_MQTT_CREDENTIALS=pass``, the default."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, rabbitmq: RabbitMQ) -> Gateway:
        return serving(gateway_environment(issuer, rabbitmq.websocket_url))

    def test_refusal_of_the_broker(self, new_client: NewClient, rabbitmq: RabbitMQ) -> None:
        """RabbitMQ without its OAuth plugin refuses a token as password, by closing without a CONNACK."""
        assert new_client().connect() is None
        told = f"MQTT login failed for user '{SUBJECT}'"
        rabbitmq.process.wait_until(lambda: told in rabbitmq.log_text(), "telling who was refused")


class TestCredentialsStripped:
    """``UPSTREAM_MQTT_CREDENTIALS=strip``."""

    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, rabbitmq: RabbitMQ) -> Gateway:
        environment = gateway_environment(issuer, rabbitmq.websocket_url)
        return serving({**environment, "UPSTREAM_MQTT_CREDENTIALS": "strip"})

    def test_nobody(self, new_client: NewClient) -> None:
        """A client without a name is whom the broker says that it is: here, its guest."""
        assert new_client().connect() == ACCEPTED
