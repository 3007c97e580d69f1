"""The check of upstreams in front of real brokers: their WebSocket listeners, and the ports that are taken for them."""

import pytest

from tests.servers.mosquitto import Mosquitto
from tests.servers.rabbitmq import RabbitMQ
from trio_ws_gateway.checking.findings import Trouble
from trio_ws_gateway.checking.upstreams import check_upstream, upstreams_of
from trio_ws_gateway.config.loading import load
from trio_ws_gateway.upstream.dial import tls_context

pytestmark = pytest.mark.integration

PATIENCE = 30.0


async def visit(url: str, subprotocol: str = "auto") -> str:
    environment = {"ALLOW_ANONYMOUS": "true", "UPSTREAM_WS_URL": url, "UPSTREAM_MQTT_SUBPROTOCOL": subprotocol}
    broker = upstreams_of(load(environment).settings)[0]
    (finding,) = await check_upstream(broker, tls_context(None), PATIENCE)
    return finding.detail


async def trouble(url: str) -> Trouble:
    with pytest.raises(Trouble) as caught:
        await visit(url)
    return caught.value


@pytest.mark.parametrize("subprotocol", ["mqtt", "mqttv3.1"])
async def test_good_brokers(mosquitto: Mosquitto, rabbitmq: RabbitMQ, subprotocol: str) -> None:
    """Both agree to the one subprotocol that they are offered."""
    for url in (mosquitto.websocket_url, rabbitmq.websocket_url):
        assert (await visit(url, subprotocol)).endswith(f"takes WebSocket connections, subprotocol {subprotocol}")


async def test_plain_mqtt_ports(mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> None:
    """A port of plain MQTT is recognised by how it hangs up, and the advice names the listener that is needed."""
    for port in (mosquitto.plain_port, rabbitmq.plain_port):
        wrong = await trouble(f"ws://127.0.0.1:{port}/")
        assert wrong.detail.endswith("takes the connection and hangs up on the handshake")
        assert wrong.advice.startswith("Perhaps that is the plain MQTT port (1883)?")


async def test_tls_to_plain_brokers(mosquitto: Mosquitto, rabbitmq: RabbitMQ) -> None:
    """wss:// to a listener without TLS is told as that, on WebSocket ports and on plain ones."""
    urls = [mosquitto.websocket_url, rabbitmq.websocket_url, f"ws://127.0.0.1:{mosquitto.plain_port}/"]
    for url in urls:
        assert (await trouble(url.replace("ws:", "wss:"))).detail.endswith("what answers there does not speak TLS")


async def test_wrong_path(rabbitmq: RabbitMQ) -> None:
    """RabbitMQ knows one path only."""
    wrong = await trouble(rabbitmq.websocket_url.removesuffix("/ws") + "/mqtt")
    assert wrong.detail.endswith("answers 404 Not Found, not 101")
    assert wrong.advice.startswith("The path /mqtt is wrong in UPSTREAM_WS_URL")
