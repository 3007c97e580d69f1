"""The properties that a CONNECT, its will, an AUTH and a client's PUBLISH may carry (MQTT 5.0 2.2.2.2).

They are pairs in the order in which they came, so that what was parsed is built again byte for byte.
Reading checks types; ``check_properties`` checks what is permitted, in parsed and in new ones alike.
Properties of other packets are unknown here.
"""

from enum import Enum, IntEnum
from typing import Final

from trio_ws_gateway.wire.mqtt_fields import MalformedConnect, Reader, binary, integer, string, variable


class Property(IntEnum):
    """Identifiers (MQTT 5.0 2.2.2.2)."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SESSION_EXPIRY_INTERVAL = 0x11
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


class Kind(Enum):
    """The type of a property's value; integers by their size in bytes."""

    BYTE = 1
    TWO_BYTES = 2
    FOUR_BYTES = 4
    STRING = "string"
    BINARY = "binary"
    PAIR = "pair"


KINDS: Final = {
    Property.PAYLOAD_FORMAT_INDICATOR: Kind.BYTE,
    Property.MESSAGE_EXPIRY_INTERVAL: Kind.FOUR_BYTES,
    Property.CONTENT_TYPE: Kind.STRING,
    Property.RESPONSE_TOPIC: Kind.STRING,
    Property.CORRELATION_DATA: Kind.BINARY,
    Property.SESSION_EXPIRY_INTERVAL: Kind.FOUR_BYTES,
    Property.AUTHENTICATION_METHOD: Kind.STRING,
    Property.AUTHENTICATION_DATA: Kind.BINARY,
    Property.REQUEST_PROBLEM_INFORMATION: Kind.BYTE,
    Property.WILL_DELAY_INTERVAL: Kind.FOUR_BYTES,
    Property.REQUEST_RESPONSE_INFORMATION: Kind.BYTE,
    Property.REASON_STRING: Kind.STRING,
    Property.RECEIVE_MAXIMUM: Kind.TWO_BYTES,
    Property.TOPIC_ALIAS_MAXIMUM: Kind.TWO_BYTES,
    Property.TOPIC_ALIAS: Kind.TWO_BYTES,
    Property.USER_PROPERTY: Kind.PAIR,
    Property.MAXIMUM_PACKET_SIZE: Kind.FOUR_BYTES,
}

IN_WILL: Final = frozenset(
    {
        Property.PAYLOAD_FORMAT_INDICATOR,
        Property.MESSAGE_EXPIRY_INTERVAL,
        Property.CONTENT_TYPE,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
        Property.WILL_DELAY_INTERVAL,
        Property.USER_PROPERTY,
    }
)
IN_AUTH: Final = frozenset(
    {
        Property.AUTHENTICATION_METHOD,
        Property.AUTHENTICATION_DATA,
        Property.REASON_STRING,
        Property.USER_PROPERTY,
    }
)
IN_PUBLISH: Final = IN_WILL - {Property.WILL_DELAY_INTERVAL} | {Property.TOPIC_ALIAS}
IN_CONNECT: Final = frozenset(Property) - IN_WILL - {Property.REASON_STRING, Property.TOPIC_ALIAS} | {
    Property.USER_PROPERTY
}
NOT_ZERO: Final = frozenset({Property.RECEIVE_MAXIMUM, Property.MAXIMUM_PACKET_SIZE, Property.TOPIC_ALIAS})

Value = int | str | bytes | tuple[str, str]
Properties = tuple[tuple[Property, Value], ...]


def read_properties(reader: Reader, where: str) -> Properties:
    """The properties, length first, that ``reader`` stands before. Raises ``MalformedConnect``."""
    length = reader.variable(f"{where} property length")
    part = Reader(reader.take(length, f"{where} properties"))
    found: list[tuple[Property, Value]] = []
    while part.left:
        identifier = part.variable(f"{where} property identifier")
        try:
            known = Property(identifier)
        except ValueError:
            raise MalformedConnect(f"property 0x{identifier:02x} does not belong in the {where}") from None
        found.append((known, _read_value(part, known)))
    return tuple(found)


def write_properties(properties: Properties, where: str) -> bytes:
    """The way back. Raises ``MalformedConnect`` for a value that does not fit its property."""
    encoded = b"".join(bytes([known]) + _write_value(known, value) for known, value in properties)
    return variable(len(encoded), f"{where} properties") + encoded


def check_properties(properties: Properties, allowed: frozenset[Property], where: str) -> None:
    """Raises ``MalformedConnect`` where one does not belong, comes twice, or has a forbidden value."""
    seen: set[Property] = set()
    for known, value in properties:
        if known not in allowed:
            raise MalformedConnect(f"{known.words} does not belong in the {where}")
        if known in seen and known is not Property.USER_PROPERTY:
            raise MalformedConnect(f"{known.words} comes twice")
        seen.add(known)
        if known in NOT_ZERO and value == 0:
            raise MalformedConnect(f"{known.words} is 0")
        if KINDS[known] is Kind.BYTE and value not in (0, 1):
            raise MalformedConnect(f"{known.words} is neither 0 nor 1")
    if Property.AUTHENTICATION_DATA in seen and Property.AUTHENTICATION_METHOD not in seen:
        raise MalformedConnect("authentication data comes without an authentication method")


def _read_value(part: Reader, known: Property) -> Value:
    kind = KINDS[known]
    match kind:
        case Kind.STRING:
            return part.string(known.words)
        case Kind.BINARY:
            return part.binary(known.words)
        case Kind.PAIR:
            return part.string(known.words), part.string(known.words)
        case _:
            return part.integer(kind.value, known.words)


def _write_value(known: Property, value: Value) -> bytes:
    kind = KINDS[known]
    match kind, value:
        case ((Kind.BYTE | Kind.TWO_BYTES | Kind.FOUR_BYTES), int()):
            return integer(value, kind.value, known.words)
        case Kind.STRING, str():
            return string(value, known.words)
        case Kind.BINARY, bytes():
            return binary(value, known.words)
        case Kind.PAIR, (str() as key, str() as text):
            return string(key, known.words) + string(text, known.words)
        case _:
            raise MalformedConnect(f"{known.words} cannot be a {type(value).__name__}")
