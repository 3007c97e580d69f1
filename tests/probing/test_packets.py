"""Packets to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.probing import packets
from trio_ws_gateway.probing.packets import Kind, Packet, PacketReader
from trio_ws_gateway.wire.mqtt import connack
from trio_ws_gateway.wire.mqtt_fields import MqttError

LIMIT = 100_000


def only(data: bytes) -> Packet:
    [packet] = PacketReader(LIMIT).feed(data)
    return packet


@pytest.mark.parametrize(
    ("level", "encoded"),
    [(3, b"\x82\x08\x00\x07\x00\x03a/b\x01"), (4, b"\x82\x08\x00\x07\x00\x03a/b\x01"), (5, b"\x82\x09\0\7\0\0\3a/b\1")],
)
def test_subscribe(level: int, encoded: bytes) -> None:
    """SUBSCRIBE has a packet id, since MQTT 5 properties, and a topic with its QoS."""
    assert packets.subscribe(level, 7, "a/b", 1) == encoded


@given(
    level=st.sampled_from([3, 4, 5]),
    topic=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    payload=st.binary(max_size=300),
    packet_id=st.none() | st.integers(1, 0xFFFF),
)
def test_publish_and_back(level: int, topic: str, payload: bytes, packet_id: int | None) -> None:
    """What is published is read again as it was."""
    packet = only(packets.publish(level, topic, payload, packet_id))
    assert packet.kind == Kind.PUBLISH
    read = packets.published(level, packet)
    assert (read.topic, read.payload, read.packet_id) == (topic, payload, packet_id)


@given(data=st.data(), payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_cut_anywhere(data: st.DataObject, payloads: list[bytes]) -> None:
    """Packets are the same however the bytes of them come."""
    stream = b"".join(packets.publish(4, "t", payload) for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = PacketReader(LIMIT)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    found = [packet for piece in pieces for packet in reader.feed(piece)]
    assert [packets.published(4, packet).payload for packet in found] == payloads


def test_packet_that_is_too_long() -> None:
    """A length beyond the limit, or of more than four bytes, is an error before the packet is there."""
    with pytest.raises(MqttError, match="a packet of 100003 bytes"):
        PacketReader(LIMIT).feed(b"\x30\x9f\x8d\x06")
    with pytest.raises(MqttError, match="four bytes"):
        PacketReader(LIMIT).feed(b"\x30\xff\xff\xff\xff")


@pytest.mark.parametrize("level", [3, 4, 5])
def test_answers(level: int) -> None:
    """The codes of CONNACK, SUBACK, PUBACK and DISCONNECT are where each version has them."""
    assert packets.connack_code(only(connack(level, 5))) == 5
    suback = b"\x90\x04\x00\x07\x00\x80" if level == 5 else b"\x90\x03\x00\x07\x80"
    assert packets.suback_code(level, only(suback)) == (7, 0x80)
    assert packets.puback_code(only(packets.puback(9))) == (9, 0)
    assert packets.puback_code(only(b"\x40\x03\x00\x09\x87")) == (9, 0x87)
    assert packets.disconnect_code(only(b"\xe0\x02\x8b\x00")) == 0x8B
    assert packets.disconnect_code(only(b"\xe0\x00")) == 0


def test_answers_cut_short() -> None:
    """A packet without what belongs into it is an error, and no other exception."""
    for data in (b"\x20\x00", b"\x20\x01\x00"):
        with pytest.raises(MqttError):
            packets.connack_code(only(data))
    with pytest.raises(MqttError):
        packets.suback_code(5, only(b"\x90\x02\x00\x07"))
    with pytest.raises(MqttError):
        packets.published(5, only(b"\x30\x03\x00\x05a"))


def test_names() -> None:
    """A packet is called what the standard calls it, as far as a client needs to know."""
    assert only(b"\x20\x02\x00\x00").name == "CONNACK"
    assert only(b"\xf0\x00").name == "a packet of type 15"
