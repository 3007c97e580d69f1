"""The packets of a live session: read, answered and changed as MQTT says."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.wire.mqtt import connack
from trio_ws_gateway.wire.mqtt_fields import MqttError, string, variable
from trio_ws_gateway.wire.mqtt_packets import (
    PUBACK,
    PUBREL,
    Auth,
    Publish,
    acknowledged,
    acknowledgement,
    auth_success,
    parse_auth,
    parse_publish,
    with_auth_method,
)

METHOD, DATA = b"\x15\x00\x03JWT", b"\x16\x00\x05a.b.c"


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + variable(len(body), "body") + body


def auth(reason: int, properties: bytes) -> bytes:
    return packet(0xF0, bytes([reason]) + variable(len(properties), "properties") + properties)


def test_auth() -> None:
    """An AUTH says its reason, its method and its data, whatever stands beside them; an empty one says success."""
    note = b"\x26\x00\x01k\x00\x01v"
    assert parse_auth(auth(0x19, METHOD + note + DATA)) == Auth(reason=0x19, method="JWT", data=b"a.b.c")
    assert parse_auth(b"\xf0\x00") == Auth(reason=0, method=None, data=None)
    assert parse_auth(b"\xf0\x01\x18") == Auth(reason=0x18, method=None, data=None)
    assert parse_auth(auth_success("JWT")) == Auth(reason=0, method="JWT", data=None)


@pytest.mark.parametrize(
    "wrong",
    [
        auth(0x19, DATA),
        auth(0x19, METHOD + METHOD),
        auth(0x19, METHOD + b"\x23\x00\x01"),
        auth(0x19, METHOD + b"\x7f"),
        packet(0xF0, b"\x19\x00more"),
        b"\xf0\x05\x19",
    ],
)
def test_auth_that_is_none(wrong: bytes) -> None:
    """Data without a method, a property twice or of another packet, and bytes behind the last field are malformed."""
    with pytest.raises(MqttError):
        parse_auth(wrong)


@pytest.mark.parametrize("level", [3, 4, 5])
@given(topic=st.text("ab/$é", max_size=20), qos=st.integers(0, 2), packet_id=st.integers(1, 65535), payload=st.binary())
def test_publish(level: int, topic: str, qos: int, packet_id: int, payload: bytes) -> None:
    """A PUBLISH says its topic, its QoS, its packet identifier and its payload."""
    body = string(topic, "topic") + (packet_id.to_bytes(2) if qos else b"")
    body += b"\x02\x01\x01" * (level == 5) + payload
    said = parse_publish(packet(0x30 | qos << 1, body), level)
    assert said == Publish(topic=topic, qos=qos, packet_id=packet_id * (qos > 0), aliased=False, payload=payload)


def test_publish_with_an_alias() -> None:
    """It is said whether a PUBLISH sets a topic alias."""
    assert parse_publish(packet(0x30, b"\x00\x01t\x03\x23\x00\x01"), 5).aliased


@pytest.mark.parametrize("body", [b"\x00\x05t", b"\x00\x01t\x00\x00", b"\x00\x01\xff\x00\x01", b"\x00\x01t\x00"])
def test_publish_that_is_none(body: bytes) -> None:
    """A topic that is cut or no text, and a packet identifier of 0 or less than two bytes, are malformed."""
    with pytest.raises(MqttError):
        parse_publish(packet(0x32, body), 4)
    with pytest.raises(MqttError):
        parse_publish(packet(0x36, b"\x00\x01t\x00\x01"), 4)


def test_acknowledgements() -> None:
    """They name the packet, and say nothing else."""
    assert acknowledgement(PUBACK, 258) == b"\x40\x02\x01\x02"
    assert acknowledgement(PUBREL, 1) == b"\x62\x02\x00\x01"
    assert [acknowledged(said) for said in (b"\x62\x02\x01\x02", b"\x62\x84\x00\x01\x02\x00\x00")] == [258, 258]
    with pytest.raises(MqttError):
        acknowledged(b"\x62\x01\x00")


@given(st.binary(max_size=200).map(lambda text: b"\x1f" + len(text).to_bytes(2) + text), st.integers(0, 1))
def test_connack_with_a_method(properties: bytes, present: int) -> None:
    """A CONNACK keeps all that it says, and names the method besides."""
    body = bytes([present, 0]) + variable(len(properties), "properties") + properties
    named = bytes([present, 0]) + variable(len(METHOD + properties), "properties") + METHOD + properties
    assert with_auth_method(packet(0x20, body), "JWT") == packet(0x20, named)


@pytest.mark.parametrize("other", [connack(4, 0), b"\x20\x01\x00", b"\x20\x00", b"\x20\x04\x00\x00\x05\x00"])
def test_connack_of_another_version(other: bytes) -> None:
    """One that is not MQTT 5's stays as it is."""
    assert with_auth_method(other, "JWT") == other


@given(st.binary(max_size=60), st.sampled_from([0xF0, 0x30, 0x32, 0x34]))
def test_junk(body: bytes, first: int) -> None:
    """Junk is malformed, or is read as something; nothing else is raised."""
    for read in (parse_auth, lambda junk: parse_publish(junk, 5)):
        with suppress(MqttError):
            read(packet(first, body))
