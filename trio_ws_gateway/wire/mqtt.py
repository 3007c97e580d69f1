"""CONNECT of MQTT 3.1, 3.1.1 and 5 as a value, from bytes and back, and the few packets that a gateway says itself.

What is parsed, built and parsed again is the same; a canonical packet is built again byte for byte.
A ``Connect`` that breaks a rule of the protocol does not exist, whoever makes it. Left to the broker,
on purpose: which topics a will may name, and MQTT 3.1's limit of 23 characters for a client id, which
no broker enforces. MQTT 3.1's user name flag without a user name is refused: nobody sends it.
Knows no WebSocket, no token and no cause.
"""

from typing import Final

from attrs import evolve, field, frozen

from trio_ws_gateway.wire.mqtt_fields import (
    EmptyClientId,
    MalformedConnect,
    MqttError,
    Reader,
    UnsupportedVersion,
    binary,
    integer,
    read_variable,
    string,
    variable,
)
from trio_ws_gateway.wire.mqtt_properties import (
    IN_CONNECT,
    IN_WILL,
    Properties,
    Property,
    check_properties,
    read_properties,
    write_properties,
)

__all__ = [
    "Connect",
    "ConnectHead",
    "EmptyClientId",
    "MalformedConnect",
    "MqttError",
    "Properties",
    "Property",
    "UnsupportedVersion",
    "Will",
    "connack",
    "connect_head",
    "disconnect",
    "packet_length",
    "parse_connect",
]

CONNECT: Final = 0x10
NAMES: Final = {b"\x00\x04MQTT": (4, 5), b"\x00\x06MQIsdp": (3,)}  # with the levels that go with each
LONGEST_NAME: Final = max(map(len, NAMES))

# Connect flags (MQTT 5.0 3.1.2.3)
RESERVED: Final = 0x01
CLEAN_START: Final = 0x02
WILL: Final = 0x04
WILL_QOS: Final = 0x18
WILL_RETAIN: Final = 0x20
PASSWORD: Final = 0x40
USER_NAME: Final = 0x80

AUTH_PROPERTIES: Final = frozenset({Property.AUTHENTICATION_METHOD, Property.AUTHENTICATION_DATA})


@frozen(kw_only=True)
class Will:
    """What the broker publishes when the client is lost. ``properties``: MQTT 5 only."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        if self.qos not in (0, 1, 2):
            raise MalformedConnect(f"will QoS is {self.qos}")
        check_properties(self.properties, IN_WILL, "will")


@frozen(kw_only=True)
class Connect:
    """A CONNECT packet. ``level``: 3 (MQTT 3.1), 4 (3.1.1) or 5; ``keep_alive``: seconds, 0 for none.

    ``clean_start`` is called clean session before MQTT 5. Raises ``MalformedConnect`` or
    ``UnsupportedVersion`` where the fields contradict each other.
    """

    level: int
    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    will: Will | None = None
    keep_alive: int = 0
    clean_start: bool = True
    properties: Properties = field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        if self.level not in (3, 4, 5):
            raise UnsupportedVersion(self.level)
        check_properties(self.properties, IN_CONNECT, "CONNECT")
        if self.level == 5:
            return
        if self.properties or (self.will is not None and self.will.properties):
            raise MalformedConnect("properties before MQTT 5")
        if self.password is not None and self.username is None:  # MQTT 3.1.1 3.1.2.9; MQTT 5 allows it
            raise MalformedConnect("password without a user name")
        if not self.client_id and not self.clean_start:
            raise EmptyClientId("client id is empty and clean session is 0")

    @property
    def protocol(self) -> str:
        """The protocol name: ``MQIsdp`` or ``MQTT``."""
        return "MQIsdp" if self.level == 3 else "MQTT"

    @property
    def auth_method(self) -> str | None:
        """The authentication method that it names (MQTT 5.0 3.1.2.11.9)."""
        value = dict(self.properties).get(Property.AUTHENTICATION_METHOD)
        return value if isinstance(value, str) else None

    @property
    def auth_data(self) -> bytes | None:
        value = dict(self.properties).get(Property.AUTHENTICATION_DATA)
        return value if isinstance(value, bytes) else None

    def without_auth(self) -> "Connect":
        """The same, naming no authentication method."""
        kept = tuple(each for each in self.properties if each[0] not in AUTH_PROPERTIES)
        return evolve(self, properties=kept)

    def to_bytes(self) -> bytes:
        """The canonical packet. Raises ``MalformedConnect`` for a field that is too long or no legal string."""
        flags = (
            CLEAN_START * self.clean_start
            | PASSWORD * (self.password is not None)
            | USER_NAME * (self.username is not None)
        )
        if self.will is not None:
            flags |= WILL | self.will.qos << 3 | WILL_RETAIN * self.will.retain
        parts = [string(self.protocol, "protocol name"), bytes([self.level, flags])]
        parts.append(integer(self.keep_alive, 2, "keep alive"))
        if self.level == 5:
            parts.append(write_properties(self.properties, "CONNECT"))
        parts.append(string(self.client_id, "client id"))
        if self.will is not None:
            if self.level == 5:
                parts.append(write_properties(self.will.properties, "will"))
            parts.append(string(self.will.topic, "will topic"))
            parts.append(binary(self.will.payload, "will payload"))
        if self.username is not None:
            parts.append(string(self.username, "user name"))
        if self.password is not None:
            parts.append(binary(self.password, "password"))
        body = b"".join(parts)
        return bytes([CONNECT]) + variable(len(body), "CONNECT") + body


@frozen(kw_only=True)
class ConnectHead:
    """The start of a CONNECT. ``length``: bytes of the whole packet; ``minimal``: its remaining length takes no more
    bytes than it needs; ``fields_at``: where the connect flags stand."""

    length: int
    minimal: bool
    level: int
    fields_at: int


def packet_length(head: bytes | bytearray | memoryview) -> int | None:
    """Bytes of the whole packet that starts here; ``None`` while its fixed header is incomplete.

    Raises ``MalformedConnect`` for a length of more than four bytes (MQTT 5.0 2.1.4).
    """
    found = read_variable(head, 1)
    return None if found is None else sum(found)


def connect_head(head: bytes) -> ConnectHead | None:
    """The CONNECT that starts here, as far as its level; ``None`` while ``head`` may still become one.

    Raises ``MalformedConnect`` as soon as it cannot, and ``UnsupportedVersion`` as soon as the level is there.
    """
    if head and head[0] != CONNECT:
        raise MalformedConnect("the fixed header is not that of a CONNECT")
    found = read_variable(head, 1)
    if found is None:
        return None
    at = found[1]
    length = sum(found)
    rest = head[at : min(length, at + LONGEST_NAME + 1)]  # the level as well; a long packet is looked at often
    for name, levels in NAMES.items():
        if rest.startswith(name) and len(rest) > len(name):
            level = rest[len(name)]
            if level not in levels:
                raise UnsupportedVersion(level)
            minimal = at == 2 or head[at - 1] != 0
            return ConnectHead(length=length, minimal=minimal, level=level, fields_at=at + len(name) + 1)
    if len(head) >= length or not any(name.startswith(rest) for name in NAMES):
        raise MalformedConnect("the protocol name is neither MQTT nor MQIsdp")
    return None


def parse_connect(packet: bytes) -> Connect:
    """The CONNECT that ``packet`` is, from its fixed header to its last byte.

    Raises ``UnsupportedVersion``, or ``MalformedConnect`` naming what is wrong. A remaining length in more bytes
    than it needs is legal before MQTT 5 and malformed in it.
    """
    head = connect_head(packet)
    if head is None or len(packet) < head.length:
        raise MalformedConnect("the packet is cut short")
    if len(packet) > head.length:
        raise MalformedConnect("bytes follow the packet")
    if head.level == 5 and not head.minimal:  # MQTT 5.0 1.5.5
        raise MalformedConnect("remaining length is not encoded in the fewest bytes")
    reader = Reader(packet, head.fields_at)
    flags = reader.integer(1, "connect flags")
    if flags & RESERVED:
        raise MalformedConnect("the reserved connect flag is set")
    if not flags & WILL and flags & (WILL_QOS | WILL_RETAIN):
        raise MalformedConnect("will QoS or will retain without a will")
    keep_alive = reader.integer(2, "keep alive")
    properties = read_properties(reader, "CONNECT") if head.level == 5 else ()
    client_id = reader.string("client id")
    will = _read_will(reader, head.level, flags) if flags & WILL else None
    username = reader.string("user name") if flags & USER_NAME else None
    password = reader.binary("password") if flags & PASSWORD else None
    if reader.left:
        raise MalformedConnect("bytes follow the last field")
    return Connect(
        level=head.level,
        client_id=client_id,
        username=username,
        password=password,
        will=will,
        keep_alive=keep_alive,
        clean_start=bool(flags & CLEAN_START),
        properties=properties,
    )


def _read_will(reader: Reader, level: int, flags: int) -> Will:
    properties = read_properties(reader, "will") if level == 5 else ()
    return Will(
        topic=reader.string("will topic"),
        payload=reader.binary("will payload"),
        qos=(flags & WILL_QOS) >> 3,
        retain=bool(flags & WILL_RETAIN),
        properties=properties,
    )


def connack(level: int, code: int) -> bytes:
    """A CONNACK without a session: a return code before MQTT 5, from then on a reason code and no properties."""
    return bytes([0x20, 3, 0, code, 0]) if level >= 5 else bytes([0x20, 2, 0, code])


def disconnect(level: int, code: int = 0) -> bytes:
    """A DISCONNECT. Before MQTT 5 it has no ``code``, and only a client may send it."""
    return bytes([0xE0, 2, code, 0]) if level >= 5 and code else b"\xe0\x00"
