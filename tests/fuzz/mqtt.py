"""MQTT: the CONNECT that is parsed and written again, the walk over other packets, and what is taken out of them."""

from collections.abc import Iterator
from contextlib import suppress

from attrs import evolve

from tests.fuzz.target import Target, readings, repeated, same, says_little
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.protocols.base import Opening
from trio_ws_gateway.protocols.mqtt import MqttAdapter, MqttGreeting, parse_mqtt_credentials
from trio_ws_gateway.protocols.mqtt_renewal import RenewalWatch
from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.frames import masked_with
from trio_ws_gateway.wire.mqtt import (
    Connect,
    MqttError,
    Property,
    Will,
    connack,
    connect_head,
    packet_length,
    parse_connect,
)
from trio_ws_gateway.wire.mqtt_fields import MalformedConnect, read_variable, variable
from trio_ws_gateway.wire.mqtt_reframing import WHOLE_MAX_BYTES, Reframer
from trio_ws_gateway.wire.mqtt_stream import CONNACK, PacketWalker

ADAPTER = MqttAdapter(credentials=parse_mqtt_credentials("pass"), max_connect_bytes=65536)
WILL = Will(topic="t", payload=b"gone", qos=1, retain=True)
CONNECTS = [
    Connect(level=3, client_id="c", username="u", password=b"p", will=WILL),
    Connect(level=4, client_id="", clean_start=True, keep_alive=60),
    Connect(
        level=5,
        client_id="é",
        password=b"\xff",
        will=evolve(WILL, properties=((Property.WILL_DELAY_INTERVAL, 5), (Property.USER_PROPERTY, ("a", "b")))),
        properties=(
            (Property.AUTHENTICATION_METHOD, "m"),
            (Property.AUTHENTICATION_DATA, b"d"),
            (Property.RECEIVE_MAXIMUM, 7),
            (Property.REQUEST_PROBLEM_INFORMATION, 1),
            (Property.USER_PROPERTY, ("a", "b")),
        ),
    ),
]


def check_connect(data: bytes) -> None:
    """What is parsed is written again as the same, byte for byte where its length was in the fewest bytes; a packet
    that is whole was not given up before; an error shows nothing of it; and the adapter says what the parser says."""
    try:
        connect = parse_connect(data)
    except MqttError as error:
        says_little(error)
    else:
        head = connect_head(data)
        assert head is not None
        assert packet_length(data) == head.length == len(data)
        assert parse_connect(connect.to_bytes()) == connect
        assert (connect.to_bytes() == data) is head.minimal
        assert head.minimal or head.level < 5
        once = [known for known, _ in connect.properties if known is not Property.USER_PROPERTY]
        assert len(once) == len(set(once))
        for cut in {*range(min(20, len(data))), len(data) // 2, len(data) - 1}:
            early = connect_head(data[:cut])
            assert early is None or early == head
    try:
        found = ADAPTER.recognise(Opening(payload=data, text=False, complete=True))
    except Refused:
        return
    if isinstance(found, MqttGreeting):
        packet = data[: len(data) - len(found.rest)]
        assert parse_connect(packet) == found.connect


def property_flood(size: int) -> bytes:
    properties = b"\x26\x00\x00\x00\x00" * ((size - 40) // 5)
    body = b"\x00\x04MQTT\x05\x02\x00\x00" + variable(len(properties), "properties") + properties + b"\x00\x01c"
    return b"\x10" + variable(len(body), "packet") + body


def long_field(size: int) -> bytes:
    """A password of the greatest length, and what does not belong behind it."""
    body = b"\x00\x04MQTT\x04\xc2\x00\x00\x00\x01c\x00\x01u\xff\xff".ljust(size - 5, b"p")
    return b"\x10" + variable(len(body), "packet") + body


def read_connect(data: bytes) -> None:
    with suppress(MqttError):
        parse_connect(data).to_bytes()


CONNECT = Target(
    name="connect",
    check=check_connect,
    seeds=[
        *(connect.to_bytes() for connect in CONNECTS),
        b"\x10\x8d\x00\x00\x04MQTT\x04\x02\x00\x00\x00\x01a",
        b"\x10\x8e\x00\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a",
        b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01aX",
        b"\x10\x14\x00\x04MQTT\x05\x02\x00\x00\x06\x21\x00\x01\x21\x00\x02\x00\x01a",
        b"\x10\x19\x00\x04MQTT\x04\xee\x00\x05\x00\x01c\x00\x01t\x00\x01m\x00\x01u\x00\x01p",
        b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00",
    ],
    read=read_connect,
    worst={
        "user properties": property_flood,
        "a long field": long_field,
        "a long packet": lambda size: b"\x10" + variable(size, "packet") + b"\x00\x04MQTT\x04".ljust(size, b"\0"),
    },
)


# Walker


def walked(pieces: list[bytes], mask: bytes | None) -> tuple[bool, bool, bool]:
    """One frame in pieces, each in the midst of a read."""
    walker = PacketWalker()
    offset = 0
    for piece in pieces:
        if mask is not None:
            turn = offset % 4
            wire = masked_with(piece, mask[turn:] + mask[:turn])
        else:
            wire = piece
        walker.feed(memoryview(b"head" + wire + b"tail"), 4, 4 + len(wire), mask, offset)
        offset += len(piece)
    return walker.at_boundary, walker.welcomed, walker.lost


def packets(stream: bytes) -> Iterator[int | None]:
    """The type of each whole packet that has a body (a CONNACK must), and ``None`` for one that is not whole.

    Raises ``MalformedConnect``.
    """
    at = 0
    while at < len(stream):
        found = read_variable(stream, at + 1)
        if found is None or sum(found) > len(stream):
            yield None
            return
        if found[0]:
            yield stream[at] >> 4
        at = sum(found)


def check_walker(data: bytes) -> None:
    """Any pieces, masked or not, give the same as cutting the whole stream into packets."""
    mask, stream = data[:4] if len(data) >= 4 else bytes(4), data[4:]
    same(walked(pieces, key) for pieces in readings(stream) for key in (None, mask))
    types: list[int | None] = []
    try:
        types.extend(packets(stream))
    except MalformedConnect:
        lost = True
    else:
        lost = False
    assert walked([stream], None) == (not lost and None not in types, CONNACK in types, lost)


WALKER = Target(
    name="stream",
    check=check_walker,
    seeds=[
        b"\x01\x02\x03\x04" + connack(5, 0) + b"\x30\x05\x00\x01thi\xe0\x00",
        bytes(4) + b"\x30\xff\xff\xff\xff\x01",
        bytes(4) + b"\x30\x80\x80\x80\x00\x20\x80\x01" + bytes(128),
    ],
    read=lambda data: walked([data], b"mask"),
    worst={"empty packets": repeated(b"\xc0\x00"), "long lengths": repeated(b"\xc0\x80\x80\x80\x00")},
)


# Reframer


SLICE_BYTES = 4096  # a pump feeds no more at once: what does not pass is unmasked again


def reframed(pieces: list[bytes], mask: bytes | None) -> tuple[bytes, list[Asked], str]:
    """What of a stream, in pieces of one frame, passes on, what it asks of the gateway, and what is wrong with it."""
    reframer = Reframer(masked=False, watch=RenewalWatch(level=5, method="JWT", topic="renew"))
    passed, asked, offset = b"", list[Asked](), 0
    for piece in pieces:
        turn = offset % 4
        wire = piece if mask is None else masked_with(piece, mask[turn:] + mask[:turn])
        start = 0
        while start < len(wire):
            end = min(start + SLICE_BYTES, len(wire))
            start = end - reframer.feed(memoryview(wire), start, end, mask, offset + start)
            assert reframer.held_bytes <= WHOLE_MAX_BYTES
            passed += payloads(bytes(reframer.take()))
            if reframer.fault:
                return passed, asked, reframer.fault
            if reframer.asked is not None:
                asked.append(reframer.asked)
                reframer.asked = None
        offset += len(piece)
    return passed, asked, ""


def payloads(wire: bytes) -> bytes:
    """Those of whole frames of a server's, joined."""
    joined, at = b"", 0
    while at < len(wire):
        length, at = wire[at + 1], at + 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(wire[at : at + size]), at + size
        joined, at = joined + wire[at : at + length], at + length
    assert at == len(wire), "what leaves ends where a frame ends"
    return joined


def check_reframer(data: bytes) -> None:
    """Any pieces, masked or not, ask for the same and let the same pass, and that is a part of what came."""
    mask, stream = data[:4] if len(data) >= 4 else bytes(4), data[4:]
    same(reframed(pieces, key) for pieces in readings(stream) for key in (None, mask))
    passed, asked, fault = reframed([stream], None)
    assert len(passed) <= len(stream)
    if not asked and not fault:
        assert stream.startswith(passed)


RE_AUTH = b"\xf0\x12\x19\x10\x15\x00\x03JWT\x16\x00\x07a token"
PUBLISHED = b"\x34\x0f\x00\x05renew\x00\x07\x00token"
REFRAMER = Target(
    name="reframer",
    check=check_reframer,
    seeds=[
        b"\x01\x02\x03\x04\xc0\x00" + RE_AUTH + b"\x30\x06\x00\x01t\x00hi",
        bytes(4) + PUBLISHED + b"\x62\x02\x00\x07\x62\x02\x00\x07" + b"\x30\xff\xff\x03\x00\x05renewed",
        bytes(4) + b"\x30\xff\xff\x03\x00\x05rene" + b"\xf0\x00",
    ],
    read=lambda data: reframed([data], b"mask"),
    worst={"empty packets": repeated(b"\xc0\x00"), "renewals": repeated(RE_AUTH), "releases": repeated(b"\x62\x00")},
)
