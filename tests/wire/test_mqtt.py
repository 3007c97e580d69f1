"""CONNECT from bytes and back: every field, every cut, every malformation by its name."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.connects import connects
from trio_ws_gateway.wire.mqtt import (
    Connect,
    EmptyClientId,
    MalformedConnect,
    MqttError,
    Property,
    UnsupportedVersion,
    Will,
    connack,
    connect_head,
    disconnect,
    packet_length,
    parse_connect,
)
from trio_ws_gateway.wire.mqtt_fields import LONGEST_PACKET, variable

NAME_3 = b"\x00\x06MQIsdp\x03"
NAME_4 = b"\x00\x04MQTT\x04"
NAME_5 = b"\x00\x04MQTT\x05"
SECRET = b"sesame"


def packet(body: bytes) -> bytes:
    return b"\x10" + variable(len(body), "test") + body


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def three(flags: int, *fields: bytes) -> bytes:
    """An MQTT 3.1.1 CONNECT of client ``c``."""
    return packet(NAME_4 + bytes([flags]) + b"\x00\x3c" + sized(b"c") + b"".join(fields))


def five(properties: bytes, flags: int = 0x02, *fields: bytes) -> bytes:
    """An MQTT 5 CONNECT of client ``c``."""
    size = variable(len(properties), "test")
    return packet(NAME_5 + bytes([flags]) + b"\x00\x3c" + size + properties + sized(b"c") + b"".join(fields))


def five_with_will(properties: bytes) -> bytes:
    return five(b"", 0x06, variable(len(properties), "test"), properties, sized(b"t"), sized(SECRET))


@given(connects())
@settings(max_examples=150, deadline=None)
def test_what_is_built_parses_to_the_same(connect: Connect) -> None:
    """Parse, build, parse gives the same, and a canonical packet is built again byte for byte."""
    built = connect.to_bytes()
    assert parse_connect(built) == connect
    assert parse_connect(built).to_bytes() == built


@given(connects())
@settings(max_examples=40, deadline=None)
def test_a_packet_cut_anywhere_is_cut_short(connect: Connect) -> None:
    """Every valid packet, cut at every byte, is refused as cut short, and may still become a CONNECT."""
    built = connect.to_bytes()
    for cut in range(len(built)):
        with pytest.raises(MalformedConnect, match="the packet is cut short"):
            parse_connect(built[:cut])
        assert packet_length(built[:cut]) in (None, len(built))
        head = connect_head(built[:cut])
        assert head is None or (head.length, head.level) == (len(built), connect.level)


@given(connects())
@settings(max_examples=40, deadline=None)
def test_fields_cut_anywhere_are_named(connect: Connect) -> None:
    """A packet whose remaining length ends inside its fields is malformed wherever it ends."""
    built = connect.to_bytes()
    body = built[packet_size_bytes(built) :]
    for cut in range(len(body)):
        with pytest.raises(MalformedConnect):
            parse_connect(packet(body[:cut]))


def packet_size_bytes(built: bytes) -> int:
    return next(at + 1 for at in range(1, 5) if built[at] < 0x80)


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: packet(NAME_5 + tail)))
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Whatever the bytes are, the parser gives a Connect or an MqttError."""
    try:
        connect = parse_connect(data)
    except MqttError:
        return
    assert parse_connect(connect.to_bytes()) == connect


def test_every_field_of_mqtt_31() -> None:
    """MQTT 3.1 is MQIsdp at level 3."""
    connect = parse_connect(packet(NAME_3 + b"\xc2\x00\x0a" + sized(b"id") + sized(b"u") + sized(b"p")))
    assert connect == Connect(level=3, client_id="id", username="u", password=b"p", keep_alive=10)
    assert connect.protocol == "MQIsdp"


def test_every_field_of_mqtt_311() -> None:
    """A will stands before the user name, and its flags are its own."""
    connect = parse_connect(three(0xF4, sized(b"t"), sized(b"gone"), sized(b"u"), sized(b"p")))
    assert connect == Connect(
        level=4,
        client_id="c",
        username="u",
        password=b"p",
        will=Will(topic="t", payload=b"gone", qos=2, retain=True),
        keep_alive=60,
        clean_start=False,
    )
    assert connect.protocol == "MQTT"


def test_every_field_of_mqtt_5() -> None:
    """Properties keep their order, and user properties may come twice."""
    connect = parse_connect(
        five(b"\x26\x00\x01k\x00\x01v\x11\x00\x00\x00\x05\x26\x00\x01k\x00\x01w", 0x42, sized(b"p"))
    )
    assert connect.properties == (
        (Property.USER_PROPERTY, ("k", "v")),
        (Property.SESSION_EXPIRY_INTERVAL, 5),
        (Property.USER_PROPERTY, ("k", "w")),
    )
    assert (connect.username, connect.password) == (None, b"p")


def test_a_long_remaining_length_is_legal_before_mqtt_5() -> None:
    """A remaining length in more bytes than it needs is legal in MQTT 3 and malformed in MQTT 5."""
    assert parse_connect(b"\x10\x8d\x80\x00" + three(2)[2:]) == parse_connect(three(2))
    with pytest.raises(MalformedConnect, match="remaining length is not encoded in the fewest bytes"):
        parse_connect(b"\x10\x8e\x00" + five(b"")[2:])


def test_a_byte_order_mark_is_kept() -> None:
    """U+FEFF is never skipped (MQTT 5.0 1.5.4)."""
    assert parse_connect(three(0x82, sized(b"\xef\xbb\xbfu"))).username == "\ufeffu"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x11" + three(2)[1:], "fixed header"),
        (b"\x30" + three(2)[1:], "fixed header"),
        (b"\x10\xff\xff\xff\xff\x01" + three(2)[2:], "more than four bytes"),
        (b"\x10\xff\xff\xff\xff", "more than four bytes"),
        (b"\x10\x00", "protocol name"),
        (packet(b"\x00\x04MQ"), "protocol name"),
        (packet(b"\x00\x04MQTX\x04\x02\x00\x00\x00\x01c"), "protocol name"),
        (packet(b"\x00\x04mqtt\x04\x02\x00\x00\x00\x01c"), "protocol name"),
        (three(2) + b"\x00", "bytes follow the packet"),
        (three(2, b"\x00"), "bytes follow the last field"),
        (packet(NAME_4), "connect flags is cut short"),
        (packet(NAME_4 + b"\x02\x00"), "keep alive is cut short"),
        (packet(NAME_4 + b"\x02\x00\x00\x00\x05c"), "client id is cut short"),
        (three(0x03), "reserved connect flag"),
        (three(0x0A), "without a will"),
        (three(0x22), "without a will"),
        (three(0x1E, sized(b"t"), sized(SECRET)), "will QoS is 3"),
        (three(0x06), "will topic is cut short"),
        (three(0x06, sized(b"t")), "will payload is cut short"),
        (three(0x42, sized(SECRET)), "password without a user name"),
        (three(0x82), "user name is cut short"),
        (three(0xC2, sized(b"u")), "password is cut short"),
        (three(0xC2, sized(b"u"), b"\x00\x09" + SECRET), "password is cut short"),
        (three(0x82, sized(b"\xff" + SECRET)), "user name is not UTF-8"),
        (three(0x82, sized(b"\xed\xa0\x80")), "user name is not UTF-8"),
        (three(0x82, sized(b"\xc0\x80")), "user name is not UTF-8"),
        (three(0x82, sized(b"a\0b")), "user name holds NUL"),
        (three(0x06, sized(b"\0"), sized(b"")), "will topic holds NUL"),
        (packet(NAME_4 + b"\x00\x00\x00\x00\x00"), "client id is empty and clean session is 0"),
        (packet(NAME_5 + b"\x02\x00\x00"), "CONNECT property length is cut short"),
        (packet(NAME_5 + b"\x02\x00\x00\x05\x11"), "CONNECT properties is cut short"),
        (packet(NAME_5 + b"\x02\x00\x00\x80\x00\x00\x01c"), "CONNECT property length is not encoded in the fewest"),
        (packet(NAME_5 + b"\x02\x00\x00\xff\xff\xff\xff"), "more than four bytes"),
        (five(b"\x91\x00\x00\x00\x00\x01"), "property identifier is not encoded in the fewest"),
        (five(b"\x91"), "property identifier is cut short"),
        (five(b"\x23\x00\x01"), "topic alias does not belong in the CONNECT"),
        (five(b"\x7f"), "property 0x7f does not belong"),
        (five(b"\x18\x00\x00\x00\x01"), "will delay interval does not belong in the CONNECT"),
        (five_with_will(b"\x21\x00\x01"), "receive maximum does not belong in the will"),
        (five(b"\x11\x00\x00"), "session expiry interval is cut short"),
        (five(b"\x21\x00\x05\x21\x00\x05"), "receive maximum comes twice"),
        (five(b"\x21\x00\x00"), "receive maximum is 0"),
        (five(b"\x27\x00\x00\x00\x00"), "maximum packet size is 0"),
        (five(b"\x17\x02"), "request problem information is neither 0 nor 1"),
        (five(b"\x19\x02"), "request response information is neither 0 nor 1"),
        (five_with_will(b"\x01\x02"), "payload format indicator is neither 0 nor 1"),
        (five_with_will(b"\x01"), "payload format indicator is cut short"),
        (five_with_will(b"\x03\x00\x01\xff"), "content type is not UTF-8"),
        (five_with_will(b"\x09\x00\x05a"), "correlation data is cut short"),
        (five(b"\x16\x00\x06" + SECRET), "authentication data comes without an authentication method"),
        (five(b"\x26\x00\x01k\x00\x02v"), "user property is cut short"),
        (five(b"\x26\x00\x01\x00\x00\x00"), "user property holds NUL"),
    ],
)
def test_each_malformation_is_named(data: bytes, says: str) -> None:
    """Each malformation is named in its error, which shows nothing that the packet held."""
    with pytest.raises(MalformedConnect) as caught:
        parse_connect(data)
    assert says in str(caught.value)
    assert SECRET.decode() not in f"{caught.value} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_empty_client_id_is_an_error_of_its_own() -> None:
    """MQTT 3.1.1 has a return code for an empty client id without a clean session; MQTT 5 allows it."""
    with pytest.raises(EmptyClientId):
        Connect(level=4, client_id="", clean_start=False)
    assert Connect(level=5, client_id="", clean_start=False).client_id == ""


@pytest.mark.parametrize(
    ("name", "level"), [("MQTT", 0), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0x84), ("MQIsdp", 4), ("MQIsdp", 5)]
)
def test_a_level_must_be_known_and_go_with_its_name(name: str, level: int) -> None:
    """A level that is unknown, or known under the other name, is an unsupported version as soon as it is read."""
    data = b"\x10\x20" + sized(name.encode()) + bytes([level])
    with pytest.raises(UnsupportedVersion, match=f"level {level} is not supported") as caught:
        parse_connect(data)
    assert caught.value.level == level


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"username": "u" * 65536}, "user name is longer than 65535 bytes"),
        ({"username": "é" * 32768}, "user name is longer than 65535 bytes"),
        ({"username": "a\0b"}, "user name holds NUL"),
        ({"username": "\ud800"}, "user name is not UTF-8"),
        ({"username": "u", "password": bytes(65536)}, "password is longer"),
        ({"keep_alive": 65536}, "keep alive does not fit 2 bytes"),
        ({"keep_alive": -1}, "keep alive does not fit 2 bytes"),
        ({"properties": ((Property.RECEIVE_MAXIMUM, "many"),)}, "receive maximum cannot be a str"),
        ({"properties": ((Property.USER_PROPERTY, "alone"),)}, "user property cannot be a str"),
        ({"properties": ((Property.AUTHENTICATION_METHOD, b"x"),)}, "authentication method cannot be a bytes"),
        ({"properties": ((Property.RECEIVE_MAXIMUM, 65536),)}, "receive maximum does not fit 2 bytes"),
    ],
)
def test_what_cannot_be_said_is_not_built(fields: dict[str, Any], says: str) -> None:
    """Building never gives an illegal packet: a value that does not fit is named."""
    connect = Connect(level=5, client_id="c", **fields)
    with pytest.raises(MalformedConnect, match=says):
        connect.to_bytes()


def test_contradictions_are_no_connect() -> None:
    """A Connect that breaks a rule cannot be made, whoever makes it."""
    with pytest.raises(UnsupportedVersion):
        Connect(level=6, client_id="c")
    with pytest.raises(MalformedConnect, match="password without a user name"):
        Connect(level=4, client_id="c", password=SECRET)
    with pytest.raises(MalformedConnect, match="properties before MQTT 5"):
        Connect(level=4, client_id="c", properties=((Property.RECEIVE_MAXIMUM, 1),))
    with pytest.raises(MalformedConnect, match="properties before MQTT 5"):
        Connect(level=4, client_id="c", will=Will(topic="t", payload=b"", properties=((Property.CONTENT_TYPE, "x"),)))
    with pytest.raises(MalformedConnect, match="will QoS is 3"):
        Will(topic="t", payload=b"", qos=3)


def test_a_connect_shows_no_secret() -> None:
    """The repr of a Connect shows neither password nor payload nor properties."""
    connect = Connect(
        level=5,
        client_id="c",
        password=SECRET,
        will=Will(topic="t", payload=SECRET, properties=((Property.CORRELATION_DATA, SECRET),)),
        properties=((Property.AUTHENTICATION_METHOD, "m"), (Property.AUTHENTICATION_DATA, SECRET)),
    )
    assert SECRET.decode() not in repr(connect)


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"", None),
        (b"\x30", None),
        (b"\x30\x80", None),
        (b"\x30\xff\xff\xff", None),
        (b"\xc0\x00", 2),
        (b"\x30\x7frest", 129),
        (b"\x30\x80\x01", 131),
        (b"\x30\xff\xff\xff\x7f", LONGEST_PACKET + 5),
    ],
)
def test_packet_length(head: bytes, length: int | None) -> None:
    """The length of a packet counts its fixed header, and is unknown while that is incomplete."""
    assert packet_length(head) == length
    assert packet_length(memoryview(head)) == length


def test_a_length_of_five_bytes_is_malformed() -> None:
    """A fourth length byte that announces a fifth is malformed without waiting for it."""
    with pytest.raises(MalformedConnect, match="more than four bytes"):
        packet_length(b"\x30\xff\xff\xff\xff")


def test_no_length_is_written_in_five_bytes() -> None:
    """What is longer than a packet can be is not built."""
    assert variable(LONGEST_PACKET, "x") == b"\xff\xff\xff\x7f"
    with pytest.raises(MalformedConnect, match="x is longer than 268435455 bytes"):
        variable(LONGEST_PACKET + 1, "x")


def test_connack_and_disconnect() -> None:
    """A CONNACK has properties from MQTT 5 on; a DISCONNECT has a code only there, and only if it is not 0."""
    assert connack(3, 5) == connack(4, 5) == b"\x20\x02\x00\x05"
    assert connack(5, 0x87) == b"\x20\x03\x00\x87\x00"
    assert disconnect(4) == disconnect(4, 0x8B) == disconnect(5) == b"\xe0\x00"
    assert disconnect(5, 0x8B) == b"\xe0\x02\x8b\x00"
