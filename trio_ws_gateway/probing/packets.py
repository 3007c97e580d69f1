"""The packets that an MQTT client needs beside its CONNECT: SUBSCRIBE, PUBLISH, and the broker's answers to them.

Written for MQTT 3.1, 3.1.1 and 5 alike. What comes in is cut into packets, whatever messages it came in; properties
of a broker's packets are leapt over. Knows no WebSocket and no token. Errors are ``wire``'s ``MqttError``.
"""

from enum import IntEnum
from typing import Final

from attrs import frozen

from trio_ws_gateway.wire.mqtt import packet_length
from trio_ws_gateway.wire.mqtt_fields import MqttError, Reader, integer, string, variable

SUBSCRIBE: Final = 0x82  # the reserved flags are 0010 (MQTT 5.0 2.1.3)
REFUSAL: Final = 0x80  # from here on a code refuses (MQTT 5.0 2.4); before MQTT 5 too in a SUBACK


class Kind(IntEnum):
    """Packet types (MQTT 5.0 2.1.2) that a broker sends to a probe."""

    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBACK = 9
    DISCONNECT = 14


@frozen
class Packet:
    """A whole packet. ``kind`` may be one that ``Kind`` does not name."""

    kind: int
    flags: int
    body: bytes

    @property
    def name(self) -> str:
        return Kind(self.kind).name if self.kind in list(Kind) else f"a packet of type {self.kind}"


@frozen(kw_only=True)
class Published:
    """A message from the broker. ``packet_id``: to be acknowledged, ``None`` at QoS 0."""

    topic: str
    payload: bytes
    packet_id: int | None


class PacketReader:
    """Cuts a stream of bytes into packets of ``max_bytes`` at most."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole now. Raises ``MqttError`` for a length that none has."""
        buffer = memoryview(self._buffer + data)
        packets = []
        at = 0
        while (length := packet_length(buffer[at : at + 5])) is not None:
            if length > self._max_bytes:
                raise MqttError(f"a packet of {length} bytes")
            if length > len(buffer) - at:
                break
            head = buffer[at]
            body_at = at + 2
            while buffer[body_at - 1] & 0x80:
                body_at += 1
            packets.append(Packet(head >> 4, head & 0x0F, bytes(buffer[body_at : at + length])))
            at += length
        self._buffer = bytes(buffer[at:])
        return packets


def subscribe(level: int, packet_id: int, topic: str, qos: int) -> bytes:
    body = integer(packet_id, 2, "packet id") + _no_properties(level) + string(topic, "topic") + bytes([qos])
    return _packet(SUBSCRIBE, body)


def publish(level: int, topic: str, payload: bytes, packet_id: int | None = None) -> bytes:
    """At QoS 1 with a ``packet_id``, at QoS 0 without."""
    numbered = b"" if packet_id is None else integer(packet_id, 2, "packet id")
    head = Kind.PUBLISH << 4 | (0 if packet_id is None else 1) << 1
    return _packet(head, string(topic, "topic") + numbered + _no_properties(level) + payload)


def puback(packet_id: int) -> bytes:
    return _packet(Kind.PUBACK << 4, integer(packet_id, 2, "packet id"))


def connack_code(packet: Packet) -> int:
    """The return code, or reason code of MQTT 5; 0 lets in."""
    reader = Reader(packet.body)
    reader.integer(1, "acknowledge flags")
    return reader.integer(1, "CONNACK code")


def suback_code(level: int, packet: Packet) -> tuple[int, int]:
    """The packet id, and the QoS that is granted, or from ``REFUSAL`` on why none is."""
    reader = Reader(packet.body)
    packet_id = reader.integer(2, "packet id")
    _skip_properties(level, reader)
    return packet_id, reader.integer(1, "SUBACK code")


def puback_code(packet: Packet) -> tuple[int, int]:
    """The packet id, and the reason code, 0 where none is said."""
    reader = Reader(packet.body)
    return reader.integer(2, "packet id"), reader.integer(1, "PUBACK code") if reader.left else 0


def disconnect_code(packet: Packet) -> int:
    return packet.body[0] if packet.body else 0


def published(level: int, packet: Packet) -> Published:
    reader = Reader(packet.body)
    topic = reader.string("topic")
    packet_id = reader.integer(2, "packet id") if packet.flags & 0x06 else None
    _skip_properties(level, reader)
    return Published(topic=topic, payload=reader.take(reader.left, "payload"), packet_id=packet_id)


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + variable(len(body), "packet") + body


def _no_properties(level: int) -> bytes:
    return b"\0" if level == 5 else b""


def _skip_properties(level: int, reader: Reader) -> None:
    if level == 5:
        reader.take(reader.variable("property length"), "properties")
