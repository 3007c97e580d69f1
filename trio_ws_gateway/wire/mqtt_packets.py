"""The packets of a live MQTT session that a gateway reads, answers or changes.

All that is read here is a whole packet. Knows no token, and no topic from another.
"""

from typing import Final

from attrs import field, frozen

from trio_ws_gateway.wire.mqtt_fields import MalformedConnect, Reader, read_variable, variable
from trio_ws_gateway.wire.mqtt_properties import (
    IN_AUTH,
    IN_PUBLISH,
    Properties,
    Property,
    Value,
    check_properties,
    read_properties,
    write_properties,
)

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62  # its flags are fixed
PUBCOMP: Final = 0x70
AUTH: Final = 0xF0
RE_AUTHENTICATE: Final = 0x19  # MQTT 5.0 3.15.2.1


@frozen(kw_only=True)
class Auth:
    """An AUTH packet (MQTT 5.0 3.15)."""

    reason: int
    method: str | None
    data: bytes | None = field(repr=False)


@frozen(kw_only=True)
class Publish:
    """A PUBLISH (MQTT 5.0 3.3). ``packet_id``: 0 where its QoS is."""

    topic: str
    qos: int
    packet_id: int
    aliased: bool
    payload: bytes = field(repr=False)


def _body(packet: bytes) -> int:
    found = read_variable(packet, 1)
    if found is None or sum(found) != len(packet):
        raise MalformedConnect("the packet is not whole")
    return found[1]


def _only(properties: Properties, wanted: Property) -> Value | None:
    return next((value for known, value in properties if known is wanted), None)


def parse_auth(packet: bytes) -> Auth:
    """Raises ``MqttError``."""
    reader = Reader(packet, _body(packet))
    reason = reader.integer(1, "reason code") if reader.left else 0  # may be left out (3.15.2.1)
    properties = read_properties(reader, "AUTH") if reader.left else ()
    check_properties(properties, IN_AUTH, "AUTH")
    if reader.left:
        raise MalformedConnect("bytes follow the last field")
    method = _only(properties, Property.AUTHENTICATION_METHOD)
    data = _only(properties, Property.AUTHENTICATION_DATA)
    return Auth(
        reason=reason,
        method=method if isinstance(method, str) else None,
        data=data if isinstance(data, bytes) else None,
    )


def parse_publish(packet: bytes, level: int) -> Publish:
    """Raises ``MqttError``."""
    reader = Reader(packet, _body(packet))
    qos = packet[0] >> 1 & 3
    if qos == 3:
        raise MalformedConnect("QoS is 3")
    topic = reader.string("topic")
    packet_id = reader.integer(2, "packet identifier") if qos else 0
    if qos and not packet_id:
        raise MalformedConnect("packet identifier is 0")
    properties = read_properties(reader, "PUBLISH") if level == 5 else ()
    check_properties(properties, IN_PUBLISH, "PUBLISH")
    aliased = _only(properties, Property.TOPIC_ALIAS) is not None
    payload = reader.take(reader.left, "payload")
    return Publish(topic=topic, qos=qos, packet_id=packet_id, aliased=aliased, payload=payload)


def acknowledged(packet: bytes) -> int:
    """The packet identifier in a PUBACK, PUBREC, PUBREL or PUBCOMP. Raises ``MqttError``."""
    return Reader(packet, _body(packet)).integer(2, "packet identifier")


def acknowledgement(first: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, by its ``first`` byte: success, which all versions spell alike."""
    return bytes([first, 2]) + packet_id.to_bytes(2)


def auth_success(method: str) -> bytes:
    """The server's AUTH that ends an authentication (MQTT 5.0 4.12)."""
    body = b"\0" + write_properties(((Property.AUTHENTICATION_METHOD, method),), "AUTH")
    return bytes([AUTH]) + variable(len(body), "AUTH") + body


def with_auth_method(connack: bytes, method: str) -> bytes:
    """A CONNACK of MQTT 5 that says by which method the client was authenticated (3.2.2.3.17).

    One that is none, or of another version, is left as it is: it is for the client to judge.
    """
    body = _body(connack)
    found = read_variable(connack, body + 2)
    if found is None or sum(found) != len(connack):
        return connack
    named = write_properties(((Property.AUTHENTICATION_METHOD, method),), "CONNACK")[1:]
    properties = named + connack[found[1] :]
    rest = connack[body : body + 2] + variable(len(properties), "CONNACK") + properties
    return connack[:1] + variable(len(rest), "CONNACK") + rest
