"""The reframer: whatever frames packets come in, they leave whole and in their order, and none beyond the ceiling."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.wire.frames import BINARY, PING, Found, FrameScanner, build_frame, parse_frame
from trio_ws_gateway.wire.mqtt_fields import variable
from trio_ws_gateway.wire.mqtt_reframing import MESSAGE_BYTES, WHOLE_MAX_BYTES, Reframer

PINGREQ = b"\xc0\x00"
WHATEVER = 1 << 30


def packet(kind: int, size: int) -> bytes:
    return bytes([kind << 4]) + variable(size, "body") + bytes(at % 251 for at in range(size))


sizes = st.integers(0, 5) | st.sampled_from([126, 127, 128, 300, 16_384, WHOLE_MAX_BYTES - 4, 25_000, 90_000])
packets = st.builds(packet, st.integers(1, 15), sizes)


class Way:
    """A client's stream on its way: scanned as a pump does it. ``messages``: what the upstream has heard, whole ones,
    and ``half`` of one that is not; ``pings``: after how many bytes of packets each came."""

    def __init__(self, reframer: Reframer | None = None, *, masked: bool = True) -> None:
        self.reframer = reframer or Reframer(masked=masked)
        self.scanner = FrameScanner(
            masked=masked, binary=True, walker=self.reframer, on_control=self.reframer.on_control
        )
        self.masked = masked
        self.messages: list[bytes] = []
        self.pings: list[int] = []
        self.half = b""
        self.rest = b""

    def read(self, wire: bytes) -> None:
        """What does not pass waits in ``rest``."""
        wire = self.rest + wire
        passed = self.scanner.scan(memoryview(wire), len(wire))
        self.rest = wire[passed:]
        self._hear(bytes(self.reframer.take()))

    @property
    def heard(self) -> bytes:
        return b"".join(self.messages) + self.half

    def _hear(self, wire: bytes) -> None:
        while wire:
            if not self.masked:  # `parse_frame` reads what clients say; these frames are short
                wire = wire[:1] + bytes([wire[1] | 0x80]) + bytes(4) + wire[2:]
            frame = parse_frame(wire, fragmented=bool(self.half), max_bytes=WHATEVER)
            assert frame is not None, "what leaves ends where a frame ends"
            wire = wire[frame.size :]
            if frame.opcode == PING:
                self.pings.append(len(self.heard))
            elif frame.fin:
                self.messages.append(self.half + frame.payload)
                self.half = b""
            else:
                self.half += frame.payload


def frames_of(stream: bytes, cuts: list[int], *, masked: bool = True) -> bytes:
    """The stream in messages that end at the cuts."""
    return b"".join(
        build_frame(BINARY, stream[start:end], masked=masked)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )


@given(st.lists(packets, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_any_frames_and_reads(sent: list[bytes], data: st.DataObject) -> None:
    """In any frames and any reads the packets leave as they are, a message ends with a packet, and little is held."""
    stream = b"".join(sent)
    wire = frames_of(stream, sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8))))
    reads = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    way = Way()
    for start, end in zip([0, *reads], [*reads, len(wire)], strict=True):
        way.read(wire[start:end])
        assert way.reframer.held_bytes < WHOLE_MAX_BYTES
        assert way.reframer.at_boundary is not bool(way.half)
    assert (way.heard, way.half, way.reframer.packets) == (stream, b"", len(sent))
    ends = {sum(map(len, sent[:count])) for count in range(1, len(sent) + 1)}
    at = 0
    for message in way.messages:
        at += len(message)
        assert at in ends


@pytest.mark.parametrize("sent", [[PINGREQ], [PINGREQ, packet(3, 200), packet(15, 0), packet(3, 127)]])
def test_cut_at_every_byte(sent: list[bytes]) -> None:
    """A packet leaves with its last byte and not before, wherever frames and reads are cut."""
    stream = b"".join(sent)
    ends = [sum(map(len, sent[:count])) for count in range(len(sent) + 1)]
    for cut in range(len(stream) + 1):
        wire = frames_of(stream, [cut])
        way = Way()
        way.read(wire[: len(wire) - (len(stream) - cut)])
        assert len(way.heard) == max(end for end in ends if end <= cut)
        way.read(wire[len(wire) - (len(stream) - cut) :])
        assert way.heard == stream
    bytewise = Way()
    for at in range(len(stream)):
        for byte in build_frame(BINARY, stream[at : at + 1], masked=True):
            bytewise.read(bytes([byte]))
        assert len(bytewise.heard) == max(end for end in ends if end <= at + 1)
    assert bytewise.messages == sent


def test_a_long_packet_leaves_as_it_comes() -> None:
    """A packet longer than what may be held leaves in fragments; what came before it in a message of its own."""
    long = packet(3, WHOLE_MAX_BYTES)
    stream = PINGREQ + long + PINGREQ
    way = Way()
    for at in range(0, len(stream), 5000):
        way.read(build_frame(BINARY, stream[at : at + 5000], masked=True))
        assert way.heard == stream[: at + 5000]
    assert way.messages == [PINGREQ, long, PINGREQ]


def test_messages_stay_short() -> None:
    """However many packets come at once, a message of them is hardly longer than what a receiver surely takes."""
    way = Way()
    stream = packet(3, 98) * 1000
    way.read(frames_of(stream, list(range(1000, len(stream), 1000))))
    assert b"".join(way.messages) == stream
    assert max(map(len, way.messages)) <= MESSAGE_BYTES + 1000
    assert len(way.messages) < 20


@given(st.lists(packets.filter(lambda each: len(each) < 200), min_size=1, max_size=8), st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_the_ceiling(sent: list[bytes], size: int, data: st.DataObject) -> None:
    """Exactly as many packets leave as may begin, however that number grows, and what is refused comes again."""
    stream = b"".join(sent)
    wire = frames_of(stream, sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4))))
    way, at = Way(), 0
    for ceiling in range(len(sent) + 1):
        way.reframer.ceiling = ceiling
        way.read(b"")
        while way.scanner.found is not Found.REFUSED and at < len(wire):
            way.read(wire[at : at + size])
            at += size
        assert way.heard == b"".join(sent[:ceiling])
        assert way.reframer.packets == ceiling
    assert (way.scanner.found, way.rest) == (None, b"")


def test_control_frames_keep_their_place() -> None:
    """A ping passes behind the packets before it, and is not kept waiting by one that is only half there."""
    way = Way()
    ping = build_frame(PING, b"?", masked=True)
    half = packet(3, 100)
    way.read(build_frame(BINARY, PINGREQ, masked=True) + ping + build_frame(BINARY, half[:50], masked=True) + ping)
    assert (way.heard, way.pings) == (PINGREQ, [2, 2])
    way.read(build_frame(BINARY, half[50:], masked=True) + ping)
    assert (way.messages, way.pings) == ([PINGREQ, half], [2, 2, 104])
    long = packet(3, 30_000)
    way.read(build_frame(BINARY, long[:20], masked=True) + ping + build_frame(BINARY, long[20:], masked=True))
    assert (way.messages[-1], way.pings[-1]) == (long, 124)


@pytest.mark.parametrize("cut", range(6))
def test_a_length_that_is_none(cut: int) -> None:
    """After a length of more than four bytes nothing passes; the packets before it have."""
    way = Way()
    stream = PINGREQ + b"\x30\xff\xff\xff\xff\x01" + PINGREQ
    wire = frames_of(stream, [2 + cut])
    way.read(wire)
    assert (way.scanner.found, way.reframer.fault) == (Found.REFUSED, "MQTT: length has more than four bytes")
    assert way.heard == PINGREQ
