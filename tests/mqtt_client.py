"""paho-mqtt, the client that most MQTT programs in Python use, with a deadline for everything that it waits for."""

import os
import socket
import threading
from pathlib import Path
from queue import Queue
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from attrs import field, frozen
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

V31 = MQTTProtocolVersion.MQTTv31
V311 = MQTTProtocolVersion.MQTTv311
V5 = MQTTProtocolVersion.MQTTv5

# Reason codes of MQTT 5.0 2.4; paho translates the return codes of older versions to them.
ACCEPTED = 0x00
BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87

DEADLINE_SECONDS = 15.0


@frozen
class Message:
    topic: str
    payload: bytes = field(repr=lambda payload: f"{payload[:40]!r} of {len(payload)}")
    qos: int
    retained: bool = False


class Paho:
    """One client over WebSocket, and TLS where it is given a ``ca_file``.

    Leave its ``with`` block and its thread and socket are gone.
    """

    def __init__(
        self,
        url: str,
        *,
        version: MQTTProtocolVersion = V311,
        client_id: str = "",
        username: str | None = None,
        password: str | None = None,
        will: Message | None = None,
        headers: dict[str, str] | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.client_id = client_id
        target = urlsplit(url)
        self._address = (target.hostname or "", target.port or 80)
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            transport="websockets",
            reconnect_on_failure=False,
        )
        subprotocol = {"Sec-Websocket-Protocol": "mqttv3.1" if version == V31 else "mqtt"}
        client.ws_set_options(path=target.path, headers={**subprotocol, **(headers or {})})
        if ca_file is not None:
            client.tls_set(str(ca_file))
        client.username_pw_set(username, password)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retained)
        self._answers: Queue[int | None] = Queue()
        self._grants: Queue[list[int]] = Queue()
        self._messages: Queue[Message] = Queue()
        self._disconnected = threading.Event()
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect

    def __enter__(self) -> "Paho":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its last sockets when it is freed, which a circle of references would put off to who knows when.
        client = self._client
        client.on_connect = client.on_subscribe = client.on_message = client.on_disconnect = None

    def connect(self) -> int | None:
        """Connect, and return the reason code of the CONNACK, or ``None`` if the connection ends without one."""
        self._client.connect(*self._address)
        self._client.loop_start()
        return self._answers.get(timeout=DEADLINE_SECONDS)

    def subscribe(self, topic: str, qos: int = 0) -> int:
        """Subscribe, and return the QoS that was granted or the reason code of the refusal."""
        self._client.subscribe(topic, qos)
        [granted] = self._grants.get(timeout=DEADLINE_SECONDS)
        return granted

    def publish(self, message: Message) -> None:
        """Publish, and wait until the broker has it as surely as its QoS says."""
        published = self._client.publish(message.topic, message.payload, message.qos, message.retained)
        published.wait_for_publish(DEADLINE_SECONDS)
        assert published.is_published(), f"{message} was not published"

    def receive(self) -> Message:
        """Wait for the next message of any subscription."""
        return self._messages.get(timeout=DEADLINE_SECONDS)

    def cut(self) -> None:
        """Lose the TCP connection without a word: no DISCONNECT, no Close."""
        connection = self._client.socket()
        assert connection is not None
        with socket.socket(fileno=os.dup(connection.fileno())) as beneath_the_websocket:
            beneath_the_websocket.shutdown(socket.SHUT_RDWR)

    def wait_for_disconnect(self) -> None:
        assert self._disconnected.wait(DEADLINE_SECONDS), "still connected"

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answers.put(code.value)

    def _on_subscribe(
        self, client: paho.Client, data: object, mid: int, codes: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._grants.put([code.value for code in codes])

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        self._messages.put(Message(message.topic, bytes(message.payload), message.qos, message.retain))

    def _on_disconnect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._disconnected.set()
        self._answers.put(None)
