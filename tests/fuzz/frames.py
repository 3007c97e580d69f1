"""WebSocket frames: the scanner of a relay, and the reader of an opening."""

from contextlib import suppress

from attrs import frozen

from tests.fuzz.target import Target, readings, repeated, same
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.mqtt import MqttAdapter, parse_mqtt_credentials
from trio_ws_gateway.protocols.opening import CLOSE_CODES, CONTROL_FRAMES_MAX, FRAMING_MAX_BYTES, Heard, OpeningReader
from trio_ws_gateway.protocols.raw import RawAdapter
from trio_ws_gateway.protocols.registry import Registry
from trio_ws_gateway.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_LIMIT,
    PING,
    PONG,
    TEXT,
    Found,
    FrameError,
    FrameScanner,
    build_frame,
    close_frame,
    masked_with,
    parse_frame,
)

LONGEST_KEPT = 131
LONGEST_HEADER = 14
OWN_PING = b"ping"
CONVERSATION = [
    (TEXT, b"hello", True),
    (BINARY, b"x" * 130, False),
    (PING, b"", True),
    (PONG, OWN_PING, True),
    (CONTINUATION, b"", False),
    (CONTINUATION, b"y" * 3, True),
]


def conversation(*, masked: bool) -> bytes:
    """Seeds must not change from run to run: the key is four zeros."""
    frames = []
    for opcode, payload, fin in CONVERSATION:
        frame = build_frame(opcode, payload, fin=fin, masked=False)
        if masked:
            at = 2 if len(payload) < 126 else 4
            frame = bytes([frame[0], frame[1] | 0x80]) + frame[2:at] + bytes(4) + frame[at:]
        frames.append(frame)
    return b"".join(frames)


# Scanner


@frozen(kw_only=True)
class Options:
    """How a scanner is set up, from the first byte of the input."""

    masked: bool
    compressed: bool
    max_message_bytes: int
    ceiling: int
    own_ping: bytes | None

    @classmethod
    def of(cls, byte: int) -> "Options":
        return cls(
            masked=bool(byte & 1),
            compressed=bool(byte & 2),
            max_message_bytes=100 if byte & 4 else NO_LIMIT,
            ceiling=3 if byte & 8 else NO_LIMIT,
            own_ping=OWN_PING if byte & 16 else None,
        )

    def scanner(self, walker: "Payloads") -> FrameScanner:
        scanner = FrameScanner(
            masked=self.masked, max_message_bytes=self.max_message_bytes, compressed=self.compressed, walker=walker
        )
        scanner.message_ceiling = scanner.extra_ceiling = self.ceiling
        scanner.own_ping = self.own_ping
        return scanner


class Payloads:
    """A walker that notes all that it is fed, unmasked."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.packets = 0

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        turn = offset % 4
        self.bytes += masked_with(bytes(view[start:end]), mask[turn:] + mask[:turn]) if mask else view[start:end]
        return 0


@frozen
class Scanned:
    """What came of a stream; ``kept`` only where nothing was found that ends it."""

    passed: bytes
    kept: bytes
    found: Found | None
    detail: str
    counts: tuple[int, int, int, int]
    fragmented: bool
    payloads: bytes


def scanned(reads: list[bytes], options: Options) -> Scanned:
    """What a pump makes of these reads."""
    walker = Payloads()
    scanner = options.scanner(walker)
    passed, kept = bytearray(), b""
    cuts = 0
    for read in reads:
        data = memoryview(kept + read)
        while True:
            size = scanner.scan(data, len(data))
            passed += data[:size]
            if scanner.found is not Found.OWN_PONG:
                break
            data = data[size + scanner.cut :]
            cuts += 1
        kept = bytes(data[size:])
        if scanner.found is not None:
            kept = b""
            break
        assert len(kept) <= LONGEST_KEPT
    counts = scanner.messages, scanner.extras - cuts, scanner.pings, scanner.inside
    detail = scanner.detail if scanner.found is not None else ""
    return Scanned(bytes(passed), kept, scanner.found, detail, counts, scanner.fragmented, bytes(walker.bytes))


def check_scanner(data: bytes) -> None:
    """Any reads give the same; what passes is what came, legal frame by legal frame and within the limits; and
    ``parse_frame`` sees the same frames and the same fault."""
    options, stream = Options.of(data[0] if data else 0), data[1:]
    same(scanned(reads, options) for reads in readings(stream))
    whole = scanned([stream], options)
    check_passed(whole, options)
    if options.own_ping is None:
        assert stream.startswith(whole.passed + whole.kept)
        if whole.found is None:
            assert len(whole.passed + whole.kept) == len(stream)
    if options == Options.of(1):
        check_against_parse_frame(stream, whole)


def check_passed(whole: Scanned, options: Options) -> None:
    """Reads anew what has passed, which never ends in a header."""
    at = begun = others = size = 0
    fragmented = False
    while at < len(whole.passed):
        first, second = whole.passed[at : at + 2]
        extended = {126: 2, 127: 8}.get(second & 127, 0)
        assert (second > 127) is options.masked
        header = 2 + extended + 4 * options.masked
        length = int.from_bytes(whole.passed[at + 2 : at + 2 + extended]) if extended else second & 127
        assert length < NO_LIMIT
        opcode, fin = first & 15, first > 127
        begins = opcode in {TEXT, BINARY}
        assert first & 0x70 == 0 or (first & 0x70 == 0x40 and begins and options.compressed)
        if opcode >= CLOSE:
            assert opcode <= PONG
            assert fin
            assert length <= 125
        else:
            assert begins or opcode == CONTINUATION
            assert begins is not fragmented
            fragmented = not fin
            size = length if begins else size + length
            assert size <= options.max_message_bytes
        begun, others = begun + begins, others + (not begins)
        at += header + length
        assert at - length <= len(whole.passed)
    inside = at - len(whole.passed)
    assert (begun, others, inside) == (whole.counts[0], whole.counts[1], whole.counts[3])
    assert max(begun, others) <= options.ceiling
    assert fragmented is whole.fragmented


def check_against_parse_frame(stream: bytes, whole: Scanned) -> None:
    at, fragmented = 0, False
    while True:
        try:
            frame = parse_frame(stream[at:], fragmented=fragmented, max_bytes=NO_LIMIT)
        except FrameError as error:
            illegal = (Found.ILLEGAL, at, str(error))
            break
        if frame is None:
            assert whole.found is None
            return
        at += frame.size
        if frame.opcode == CLOSE:
            assert (whole.found, len(whole.passed)) == (Found.CLOSE, at)
            return
        if frame.opcode < CLOSE:
            fragmented = not frame.fin
    if whole.found is None:  # a length can be illegal, and the scanner waits for the mask that follows it
        assert len(whole.passed) == at
        assert len(stream) - at < LONGEST_HEADER
    else:
        assert (whole.found, len(whole.passed), whole.detail) == illegal


SCANNER = Target(
    name="frames",
    check=check_scanner,
    seeds=[
        *(bytes([1 | more]) + conversation(masked=True) for more in (0, 2, 4, 8, 16)),
        b"\x00" + conversation(masked=False) + close_frame(1000, "bye", masked=False),
        b"\x04\x01\x3c" + b"a" * 60 + b"\x80\x3c" + b"b" * 60,
        b"\x08" + b"\x81\x00\x89\x00" * 5,
        b"\x00\x01\x00\x81\x00",
        b"\x01\x82\xff\x80" + bytes(12),
        b"\x02\xc1\x01a\x41\x01b\x80\x01c",
        b"\x00\x82\x7f" + (70_000).to_bytes(8, "big"),
        b"\x01\x89\xfe\x00\x7e",
    ],
    read=lambda data: scanned([data[at : at + 65536] for at in range(1, len(data), 65536)], Options.of(data[0])),
    worst={
        "empty messages": repeated(b"\x81\x80aaaa", before=b"\x01"),
        "empty fragments": repeated(b"\x00\x80aaaa", before=b"\x01\x01\x80aaaa"),
        "fragments of a byte": repeated(b"\x00\x81aaaab", before=b"\x01\x01\x80aaaa"),
        "pings": repeated(b"\x89\x80aaaa", before=b"\x01"),
        "answers to our own ping": repeated(b"\x8a\x84\0\0\0\0" + OWN_PING, before=b"\x11"),
        "one long message": repeated(b"a", before=b"\x01\x82\xff\0\0\0\0\0\x10\0\0aaaa"),
    },
)


# Opening

REGISTRY = Registry([MqttAdapter(credentials=parse_mqtt_credentials("pass"), max_connect_bytes=65536), RawAdapter()])
LIMITS = (16, 300, 65536)


@frozen
class HeardOut:
    """What a reader has said step by step, and what it has at the end."""

    steps: list[tuple[object, bytes]]
    payload: bytes
    frames: bytes
    complete: bool


def heard(reads: list[bytes], max_bytes: int) -> HeardOut:
    reader = OpeningReader(max_bytes=max_bytes)
    steps: list[tuple[object, bytes]] = []
    try:
        for read in reads:
            reader.feed(read)
            while (step := reader.step()) is not None:
                steps.append((step, b"" if step is Heard.WORDS else reader.reply))
                if step is Heard.CLOSE:
                    break
            if step is Heard.CLOSE:
                break
    except Refused as refused:
        steps.append((refused.cause, refused.detail.encode()))
    opening = reader.opening
    return HeardOut(steps, opening.payload, reader.as_it_came, opening.complete)


def check_opening(data: bytes) -> None:
    """Any reads give the same; nothing grows past its limit; no answer of ours is illegal; and what is forwarded says
    the same as what was heard."""
    max_bytes, stream = LIMITS[data[0] % 3 if data else 0], data[1:]
    same(heard(reads, max_bytes) for reads in readings(stream))
    whole = heard([stream], max_bytes)
    last = whole.steps[-1][0] if whole.steps else None
    refused = isinstance(last, Cause)
    if last is Cause.ILLEGAL_FRAME:
        padded = stream + bytes(4)  # the scanner judges a length with its mask
        assert scanned([padded], Options.of(1)).found in {Found.ILLEGAL, Found.CLOSE}
    assert len(whole.payload) <= max_bytes
    assert refused or len(whole.frames) <= max_bytes + FRAMING_MAX_BYTES
    assert sum(step is Heard.CONTROL for step, _ in whole.steps) <= CONTROL_FRAMES_MAX
    for step, reply in whole.steps:
        if step is Heard.CLOSE:
            assert len(reply) == 2 or int.from_bytes(reply[2:4]) in CLOSE_CODES
    if not refused:
        again = heard([whole.frames], max_bytes)
        assert (again.payload, again.frames, again.complete) == (whole.payload, whole.frames, whole.complete)
    reader = OpeningReader(max_bytes=max_bytes)
    reader.feed(whole.frames)
    try:
        while reader.step() is Heard.WORDS:
            REGISTRY.recognise(reader.opening)
    except Refused:
        return
    said = parse_frame(reader.rewritten(whole.payload), fragmented=False, max_bytes=NO_LIMIT)
    assert said is not None
    assert (said.payload, said.fin) == (whole.payload, whole.complete)


def understood(data: bytes) -> None:
    """What ``Client.hear`` does, for as long as nobody understands."""
    reader = OpeningReader(max_bytes=65536)
    with suppress(Refused):
        for at in range(0, len(data), 65536):
            reader.feed(data[at : at + 65536])
            while (step := reader.step()) is not None:
                if step is Heard.WORDS:
                    REGISTRY.recognise(reader.opening)


def slow_connect(size: int) -> bytes:
    """A CONNECT of half that size that lacks its last byte, and then empty messages without end."""
    announced = size // 2
    length = bytes([announced & 0x7F | 0x80, announced >> 7 & 0x7F | 0x80, announced >> 14])
    packet = (b"\x10" + length + b"\x00\x04MQTT\x04").ljust(announced, b"\0")
    start = b"\x82\xff" + len(packet).to_bytes(8) + bytes(4) + packet
    return start + b"\x82\x80\0\0\0\0" * ((size - len(start)) // 6)


OPENING = Target(
    name="opening",
    check=check_opening,
    seeds=[
        *(bytes([number]) + conversation(masked=True) for number in range(3)),
        b"\x01\x88\x82\0\0\0\0\x03\xe8",
        b"\x01\x88\x86\0\0\0\0\x03\xe8caf\xe9",
        b"\x01" + b"\x89\x80\0\0\0\0" * (CONTROL_FRAMES_MAX + 2),
        b"\x01\x81\x87\0\0\0\0a.b.cde",
        b"\x01\x82\x8f\0\0\0\0\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a",
        b"\x01\x02\x81\0\0\0\0\x10\x80\x8e\0\0\0\0\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a",
    ],
    read=understood,
    worst={
        "empty fragments": repeated(b"\x00\x80aaaa", before=b"\x02\x80aaaa"),
        "fragments of a byte": repeated(b"\x00\x81aaaab", before=b"\x02\x80aaaa"),
        "pings": repeated(b"\x89\x80aaaa"),
        "a CONNECT that is never whole": slow_connect,
    },
    most_bytes=65536 + FRAMING_MAX_BYTES,  # the default, and it costs more than its share beyond
)
