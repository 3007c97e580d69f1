"""What an upstream's answer to a handshake means."""

import pytest

from tests.house import KEY
from trio_ws_gateway.checking.answers import Upstream, agreed, silence
from trio_ws_gateway.checking.findings import Trouble
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.upstream.introduction import Introduction
from trio_ws_gateway.wire.handshake import Offer, accept_key

MQTT = Upstream(
    protocol="mqtt", setting="UPSTREAM_WS_URL", url=WebSocketUrl.parse("ws://broker/ws?key=secret"), offers="mqtt"
)
RAW = Upstream(protocol="raw", setting="RAW_WS_BACKEND_URL", url=WebSocketUrl.parse("ws://backend/raw?key=secret"))
RAW_WITH_TOKEN = Upstream(protocol="raw", setting="RAW_WS_BACKEND_URL", url=RAW.url, has_token=True)
UPGRADES = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(KEY)}\r\n"


def says(upstream: Upstream, heard: bytes) -> str:
    offer = Offer(subprotocols=(upstream.offers,), must_choose=True) if upstream.offers else Offer()
    return agreed(heard, upstream, Introduction(request=b"", key=KEY, offer=offer))


def answer(status_line: str, headers: str = "", body: str = "") -> bytes:
    return f"HTTP/1.1 {status_line}\r\n{headers}\r\n{body}".encode()


def test_good_answers() -> None:
    """A 101 that agrees is good; so is a backend that wants a token, where sessions bring one."""
    assert says(RAW, answer("101 Yes", UPGRADES)) == "takes WebSocket connections"
    chosen = UPGRADES + "Sec-WebSocket-Protocol: mqtt\r\n"
    assert says(MQTT, answer("101 Yes", chosen)) == "takes WebSocket connections, subprotocol mqtt"
    for status in ("401", "403"):
        assert says(RAW_WITH_TOKEN, answer(status)).startswith(f"is there and answers {status} without a token")


@pytest.mark.parametrize(
    ("upstream", "heard", "detail", "advice"),
    [
        (MQTT, b"", "hangs up on the handshake", "plain MQTT port (1883)"),
        (RAW, b"", "hangs up on the handshake", "wss://"),
        (RAW, b"\x15\x03\x03\x00\x02\x02\x46", "answers with TLS", "Begin RAW_WS_BACKEND_URL with wss://"),
        (MQTT, b"AMQP\x00\x00\x09\x01", "answers with AMQP", "rabbitmq_web_mqtt"),
        (MQTT, b"SSH-2.0-x\x1b[2J\r\n\r\n", r"not with HTTP: 'SSH-2.0-x\x1b[2J\r\n\r\n'", "port"),
        (RAW, b"HTTP/1.1 200 OK\r\nA: b\r\n", "has no end", "port"),
        (RAW, b"HTTP/1.1 what\r\n\r\n", "no good HTTP", "web server"),
        (RAW, answer("200 OK"), "answers 200 OK, not 101", "The path is /raw, of RAW_WS_BACKEND_URL"),
        (
            RAW,
            answer("301 Moved", "Location: https://a.example/ws?token=secret\r\n"),
            "answers 301 Moved, not 101",
            "to 'https://a.example/ws': the gateway does not follow",
        ),
        (RAW, answer("400 Bad", body="plain HTTP request was sent to HTTPS port"), "400", "with wss:// instead"),
        (MQTT, answer("400 Bad"), "answers 400 Bad", "another subprotocol than mqtt (UPSTREAM_MQTT_SUBPROTOCOL)"),
        (RAW, answer("400 Bad"), "answers 400 Bad", "headers Upgrade and Connection"),
        (RAW, answer("426 Upgrade Required"), "answers 426", "headers Upgrade and Connection"),
        (MQTT, answer("401 Who"), "answers 401 Who", "the gateway has none"),
        (RAW, answer("403 No"), "answers 403 No", "Origin"),
        (MQTT, answer("404 Not Found"), "answers 404", "The path /ws is wrong in UPSTREAM_WS_URL"),
        (RAW, answer("404 Not Found"), "answers 404", "The path /raw is wrong in RAW_WS_BACKEND_URL"),
        (RAW, answer("418 Teapot"), "answers 418", "Is RAW_WS_BACKEND_URL right?"),
        (RAW, answer("500 Oh"), "answers 500", "its log says why"),
        (RAW, answer("502 Oh"), "answers 502", "A proxy is there"),
        (RAW, answer("101 Yes"), "101, but does not upgrade", "RFC 6455"),
        (MQTT, answer("101 Yes", UPGRADES), "101, but names no subprotocol", "mqtt was offered"),
        (
            MQTT,
            answer("101 Yes", UPGRADES + "Sec-WebSocket-Protocol: mqtt, mqttv3.1\r\n"),
            "another subprotocol",
            "UPSTREAM_MQTT_SUBPROTOCOL",
        ),
    ],
)
def test_bad_answer(upstream: Upstream, heard: bytes, detail: str, advice: str) -> None:
    """Each is named, with advice of its own, and nothing that may be secret or move a terminal's cursor."""
    with pytest.raises(Trouble) as trouble:
        says(upstream, heard)
    assert detail in trouble.value.detail
    assert advice in trouble.value.advice
    assert "secret" not in trouble.value.detail + trouble.value.advice
    assert (trouble.value.detail + trouble.value.advice).isprintable()


def test_silence() -> None:
    """Silence after the connection means another thing of a broker than of a backend."""
    assert "plain MQTT port" in silence(MQTT)
    assert "MQTT" not in silence(RAW)
