"""`FrameScanner` lets legal bytes pass, whatever reads they come in, and stops exactly where it must."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEAR,
    HEADERS,
    LONGEST_ASKING,
    PING,
    PONG,
    TEXT,
    Found,
    FrameError,
    FrameScanner,
    FrameTooBig,
    build_frame,
    close_frame,
    masked_with,
    parse_frame,
)

PAYLOADS = st.one_of(
    st.binary(max_size=140), st.sampled_from([bytes(n) for n in (0, 1, 125, 126, 127, 65535, 65536, 70000)])
)


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[int, bool, bytes]]:
    """Frames (opcode, fin, payload) of one message, control frames between its fragments."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    fragments = draw(st.lists(PAYLOADS, min_size=1, max_size=4))
    frames = []
    for position, payload in enumerate(fragments):
        first, last = position == 0, position == len(fragments) - 1
        frames.append((opcode if first else CONTINUATION, last, payload))
        if draw(st.booleans()):
            frames.append((draw(st.sampled_from([PING, PONG])), True, draw(st.binary(max_size=125))))
    return frames


def on_the_wire(frames: list[tuple[int, bool, bytes]], *, masked: bool) -> bytes:
    return b"".join(build_frame(opcode, payload, fin=fin, masked=masked) for opcode, fin, payload in frames)


class Reads:
    """A pump without sockets: what passes when the stream comes in these reads."""

    def __init__(self, scanner: FrameScanner) -> None:
        self.scanner = scanner
        self.passed = b""
        self.kept = b""

    def read(self, data: bytes) -> None:
        data = self.kept + data
        passed = self.scanner.scan(memoryview(data), len(data))
        self.passed += data[:passed]
        self.kept = data[passed:]


class TestPassing:
    @given(st.lists(messages(), max_size=4), st.booleans(), st.lists(st.integers(1, 400), max_size=30))
    def test_any_reads(self, sent: list[list[tuple[int, bool, bytes]]], masked: bool, sizes: list[int]) -> None:
        """Legal frames pass unchanged and are counted alike, whatever reads they come in."""
        wire = b"".join(on_the_wire(frames, masked=masked) for frames in sent)
        reads = Reads(FrameScanner(masked=masked))
        rest = wire
        for size in sizes:
            reads.read(rest[:size])
            rest = rest[size:]
        reads.read(rest)
        assert reads.passed == wire
        assert reads.kept == b""
        assert reads.scanner.messages == len(sent)
        assert not reads.scanner.inside
        assert not reads.scanner.fragmented
        assert reads.scanner.pings == sum(frame[0] == PING for frames in sent for frame in frames)

    @pytest.mark.parametrize("masked", [True, False])
    def test_cut_at_every_byte(self, masked: bool) -> None:
        """What has passed never ends inside a header or a control frame, wherever a read is cut."""
        frames = [(TEXT, False, b"x" * 130), (PING, True, b"ping"), (CONTINUATION, True, b"y" * 5)]
        wire = on_the_wire(frames, masked=masked)
        legal_ends = set()
        at = 0
        for opcode, fin, payload in frames:
            frame = build_frame(opcode, payload, fin=fin, masked=masked)
            header = len(frame) - len(payload)
            legal_ends |= {at} | (set() if opcode == PING else set(range(at + header, at + len(frame))))
            at += len(frame)
        legal_ends.add(at)
        for cut in range(len(wire) + 1):
            reads = Reads(FrameScanner(masked=masked))
            reads.read(wire[:cut])
            assert len(reads.passed) in legal_ends
            assert len(reads.kept) <= 131
            reads.read(wire[cut:])
            assert reads.passed == wire

    def test_compressed(self) -> None:
        """RSV1 is legal on the first frame of a data message where permessage-deflate was agreed on (RFC 7692 6)."""
        wire = b"\xc1\x01a" + b"\x41\x01b" + b"\x80\x01c"
        scanner = FrameScanner(masked=False, compressed=True)
        assert scanner.scan(memoryview(wire), len(wire)) == len(wire)
        assert scanner.messages == 2

    def test_64_bit_length(self) -> None:
        """A payload longer than any read passes piece by piece."""
        head = b"\x82\x7f" + (1_000_000).to_bytes(8, "big")
        reads = Reads(FrameScanner(masked=False))
        reads.read(head)
        for _ in range(10):
            assert reads.scanner.inside
            reads.read(bytes(100_000))
        assert not reads.scanner.inside
        assert len(reads.passed) == 1_000_010


class TestRuns:
    """Frames in a row whose headers are the same are counted in one go, and that changes nothing."""

    SIZES = st.sampled_from([0, 1, 100, 125, 126, 300, 65_535, 65_536])

    @given(
        runs=st.lists(
            st.tuples(st.sampled_from([TEXT, BINARY]), SIZES, st.integers(1, 150))
            | st.tuples(st.just(PING), SIZES, st.integers(1, HEADERS // DEAR // 10)),  # one scan takes them all
            min_size=1,
            max_size=5,
        ),
        masked=st.booleans(),
        ceiling=st.integers(0, 200),
        cut=st.integers(0, 1 << 20),
    )
    def test_as_one_by_one(self, runs: list[tuple[int, int, int]], masked: bool, ceiling: int, cut: int) -> None:
        """However many look alike: as many pass, and it stops in the same place, as where each comes alone."""
        frames = [
            build_frame(opcode, bytes(min(size, 125) if opcode == PING else size), masked=masked)
            for opcode, size, count in runs
            for _ in range(min(count, 2) if size > 300 else count)
        ]
        wire = b"".join(frames)
        cut %= len(wire) + 1
        whole, alone = FrameScanner(masked=masked), FrameScanner(masked=masked)
        whole.message_ceiling = alone.message_ceiling = ceiling
        reads = Reads(whole)
        passed = 0
        for read in (wire[:cut], wire[cut:]):
            if whole.found is None:
                reads.read(read)
        for frame in frames:
            if alone.scan(memoryview(frame), len(frame)) < len(frame):
                break
            passed += len(frame)
        assert reads.passed == wire[:passed]
        assert (whole.messages, whole.extras, whole.found) == (alone.messages, alone.extras, alone.found)

    @pytest.mark.parametrize("odd", range(4))
    def test_one_that_differs(self, odd: int) -> None:
        """A header that differs in any of its bytes ends the run: what it announces is believed."""
        even = build_frame(BINARY, bytes(0x0101), masked=False)
        other = [build_frame(TEXT, bytes(0x0101), masked=False), None, bytes(0x0201), bytes(0x0102)][odd]
        if not isinstance(other, bytes):
            other = b"\x82\x81" + bytes(5)  # masked, where no frame may be
        elif odd > 1:
            other = build_frame(BINARY, other, masked=False)
        wire = even * 20 + other + even * 20
        scanner = FrameScanner(masked=False)
        passed = scanner.scan(memoryview(wire), len(wire))
        if odd == 1:
            assert (passed, scanner.found) == (20 * len(even), Found.ILLEGAL)
        else:
            assert (passed, scanner.messages, scanner.inside) == (len(wire), 41, 0)


class TestStopping:
    @pytest.mark.parametrize(
        ("wire", "compressed", "fault"),
        [
            (b"\xc1\x00", False, "a reserved bit"),
            (b"\xa1\x00", True, "a reserved bit"),
            (b"\x91\x00", True, "a reserved bit"),
            (b"\xc9\x00", True, "a reserved bit"),
            (b"\x83\x00", False, "reserved opcode 3"),
            (b"\x8b\x00", False, "reserved opcode 11"),
            (b"\x09\x00", False, "a fragmented control frame"),
            (b"\x89\x7e\x00\x7e", False, "more than 125"),
            (b"\x80\x00", False, "a continuation of nothing"),
            (b"\x01\x00\x81\x00", False, "a new message inside"),
            (b"\x01\x00\xc0\x00", True, "a reserved bit"),
            (b"\x81\x80\x00\x00\x00\x00", False, "a masked frame"),
            (b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", False, "highest bit"),
            (b"\x89\x7f", False, "more than 125"),
            (b"\x01\x00\x00\x7f\x80\x00\x00\x00\x00\x00\x00\x00", False, "highest bit"),
        ],
    )
    def test_illegal(self, wire: bytes, compressed: bool, fault: str) -> None:
        """An illegal header stops the scan where it begins, and its fault has a name."""
        legal = build_frame(BINARY, b"before", masked=False)
        scanner = FrameScanner(masked=False, compressed=compressed)
        passed = scanner.scan(memoryview(legal + wire), len(legal + wire))
        assert scanner.found is Found.ILLEGAL
        assert fault in scanner.detail
        assert passed - len(legal) == (2 if wire.startswith(b"\x01") else 0)

    def test_unmasked_client(self) -> None:
        """A client's frame that is not masked is illegal (RFC 6455 5.1)."""
        scanner = FrameScanner(masked=True)
        assert scanner.scan(memoryview(b"\x81\x01x"), 2) == 0
        assert scanner.detail == "a frame that is not masked"

    def test_message_too_big(self) -> None:
        """A message is refused from its header, before any of it has passed."""
        scanner = FrameScanner(masked=False, max_message_bytes=10)
        fits, not_fits = build_frame(BINARY, bytes(10), masked=False), build_frame(BINARY, bytes(11), masked=False)
        assert scanner.scan(memoryview(fits + not_fits), len(fits) + 2) == len(fits)
        assert scanner.found is Found.TOO_BIG
        assert scanner.messages == 1

    def test_fragments_too_big(self) -> None:
        """The size of a message is that of all its fragments, and the next message starts anew."""
        wire = on_the_wire(
            [(TEXT, False, bytes(6)), (CONTINUATION, True, bytes(4)), (TEXT, False, bytes(6))], masked=False
        )
        scanner = FrameScanner(masked=False, max_message_bytes=10)
        assert scanner.scan(memoryview(wire), len(wire)) == len(wire)
        more = build_frame(CONTINUATION, bytes(5), fin=False, masked=False)
        assert scanner.scan(memoryview(more), len(more)) == 0
        assert scanner.found is Found.TOO_BIG
        assert "11 bytes in fragments" in scanner.detail

    @pytest.mark.parametrize("masked", [True, False])
    def test_close(self, masked: bool) -> None:
        """A Close passes whole, and nothing behind it."""
        close = close_frame(1000, "bye", masked=masked)
        wire = close + build_frame(TEXT, b"late", masked=masked)
        scanner = FrameScanner(masked=masked)
        assert scanner.scan(memoryview(wire), len(close) - 1) == 0
        assert scanner.scan(memoryview(wire), len(wire)) == len(close)
        assert scanner.found is Found.CLOSE
        assert scanner.detail == "close code 1000"

    def test_close_without_code(self) -> None:
        """A Close without a code is one all the same."""
        scanner = FrameScanner(masked=False)
        assert scanner.scan(memoryview(b"\x88\x00"), 2) == 2
        assert scanner.detail == "close code 1005"

    @pytest.mark.parametrize("masked", [True, False])
    def test_own_pong(self, masked: bool) -> None:
        """Only the pong with our own payload is to be cut out; every other passes and counts."""
        scanner = FrameScanner(masked=masked)
        scanner.own_ping = b"12345678"
        other = build_frame(PONG, b"87654321", masked=masked)
        ours = build_frame(PONG, b"12345678", masked=masked)
        wire = other + ours + other
        assert scanner.scan(memoryview(wire), len(wire)) == len(other)
        assert scanner.found is Found.OWN_PONG
        assert scanner.cut == len(ours)


class Walked:
    """A walker that notes what it is fed, unmasked."""

    def __init__(self) -> None:
        self.payload = b""
        self.packets = 0
        self.most = 1 << 30  # bytes that may pass

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        refused = max(0, len(self.payload) + end - start - self.most)
        piece = bytes(view[start : end - refused])
        if mask is not None:
            piece = bytes(byte ^ mask[(offset + at) % 4] for at, byte in enumerate(piece))
        self.payload += piece
        return refused


class TestWalker:
    @given(messages(), st.booleans(), st.integers(1, 50))
    def test_is_fed_every_payload(self, sent: list[tuple[int, bool, bytes]], masked: bool, size: int) -> None:
        """A walker sees the payloads of data frames, whatever reads they come in."""
        sent = [(opcode, fin, payload[:300]) for opcode, fin, payload in sent]
        wire = on_the_wire(sent, masked=masked)
        walker = Walked()
        reads = Reads(FrameScanner(masked=masked, walker=walker))
        for at in range(0, len(wire), size):
            reads.read(wire[at : at + size])
        assert walker.payload == b"".join(payload for opcode, _, payload in sent if opcode < CLOSE)

    @given(messages(), st.integers(1, 50), st.integers(1, 40))
    def test_stops_where_it_refuses(self, sent: list[tuple[int, bool, bytes]], size: int, most: int) -> None:
        """A walker may refuse the end of a payload, and is fed from there on when it is scanned again."""
        wire = on_the_wire([(opcode, fin, payload[:300]) for opcode, fin, payload in sent], masked=True)
        walker = Walked()
        scanner = FrameScanner(masked=True, walker=walker)
        walker.most, at, passed = most, 0, 0
        while at < len(wire):
            passed = scanner.scan(memoryview(wire)[at : at + size], min(size, len(wire) - at))
            at += passed
            if scanner.found is Found.REFUSED:
                assert len(walker.payload) == walker.most
                walker.most += most
            elif scanner.found is Found.CLOSE or not passed:
                size += 200
        assert walker.payload == b"".join(payload[:300] for opcode, _, payload in sent if opcode < CLOSE)

    def test_stops_in_a_payload(self) -> None:
        """Where a walker refuses, the rest of the frame is still to pass."""
        walker = Walked()
        walker.most = 3
        scanner = FrameScanner(masked=True, walker=walker)
        wire = build_frame(BINARY, b"12345", masked=True)
        assert scanner.scan(memoryview(wire), len(wire)) == len(wire) - 2
        assert (scanner.found, scanner.inside) == (Found.REFUSED, 2)


class TestAsking:
    @given(st.lists(st.sampled_from([b"", b"ask", b"?", b"x" * 200, b"ask" * 50]), max_size=8), st.data())
    def test_is_cut_out(self, texts: list[bytes], data: st.DataObject) -> None:
        """Of text messages in any reads those for us are cut out, and no other; what is not whole waits."""
        frames = [build_frame(TEXT, text, masked=True) for text in texts]
        wire = b"".join(frames)
        asked: list[bytes] = []

        def is_for_us(text: bytes) -> bool:
            if text.startswith(b"ask"):
                asked.append(text)
            return text.startswith(b"ask")

        scanner = FrameScanner(masked=True)
        scanner.is_for_us = is_for_us
        passed, rest = b"", b""
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            rest += wire[start:end]
            while True:
                size = scanner.scan(memoryview(rest), len(rest))
                passed += rest[:size]
                rest = rest[size:]
                if scanner.found is not Found.ASKED:
                    break
                rest = rest[scanner.cut :]
        ours = [text for text in texts if text.startswith(b"ask")]
        assert (asked, rest) == (ours, b"")
        assert passed == b"".join(frame for frame, text in zip(frames, texts, strict=True) if text not in ours)
        assert scanner.messages == len(texts)

    @pytest.mark.parametrize(("opcode", "fin"), [(BINARY, True), (TEXT, False)])
    def test_what_is_not_asked(self, opcode: int, fin: bool) -> None:
        """Binary messages, fragments and long texts pass as they come, unread."""
        for payload, first, last in ((b"ask", opcode, fin), (b"x" * (LONGEST_ASKING + 1), TEXT, True)):
            wire = build_frame(first, payload, fin=last, masked=True)
            scanner = FrameScanner(masked=True)
            scanner.is_for_us = lambda _: True
            assert scanner.scan(memoryview(wire), len(wire) - 1) == len(wire) - 1
            assert scanner.found is None


def test_binary_alone() -> None:
    """Where there must be no text a text message is illegal, whole or in fragments; all else is as ever."""
    controls: list[bytes] = []
    for fin in (True, False):
        scanner = FrameScanner(masked=True, binary=True, on_control=lambda frame: controls.append(bytes(frame)))
        legal = build_frame(BINARY, b"1", masked=True) + build_frame(PING, b"2", masked=True)
        wire = legal + build_frame(TEXT, b"3", fin=fin, masked=True)
        assert scanner.scan(memoryview(wire), len(wire)) == len(legal)
        assert (scanner.found, scanner.detail) == (Found.ILLEGAL, "a text message where there must be none")
    assert [frame[:2] for frame in controls] == [b"\x89\x81"] * 2


class TestFrames:
    @given(PAYLOADS, st.binary(min_size=4, max_size=4))
    def test_masking_twice(self, payload: bytes, key: bytes) -> None:
        """Masking with the same key twice changes nothing (RFC 6455 5.3)."""
        masked = masked_with(payload, key)
        assert masked_with(masked, key) == payload
        assert masked == bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))

    @given(PAYLOADS, st.booleans())
    def test_parse(self, payload: bytes, fin: bool) -> None:
        """A frame that is built is read back; with less of it there is none yet."""
        wire = build_frame(BINARY, payload, fin=fin, masked=True)
        frame = parse_frame(wire + b"more", fragmented=False, max_bytes=len(payload))
        assert frame is not None
        assert (frame.opcode, frame.fin, frame.payload, frame.size) == (BINARY, fin, payload, len(wire))
        for cut in range(min(20, len(wire))):
            assert parse_frame(wire[:cut], fragmented=False, max_bytes=len(payload)) is None

    @pytest.mark.parametrize("length", [1, 126, 65536])
    def test_parse_too_big(self, length: int) -> None:
        """A frame that announces too much is refused from its header."""
        head = build_frame(BINARY, bytes(length), masked=True)[:10]
        with pytest.raises(FrameTooBig, match=f"{length} bytes where {length - 1}"):
            parse_frame(head, fragmented=False, max_bytes=length - 1)

    @pytest.mark.parametrize(
        "wire",
        [b"\x81\x00", b"\xc1\x80", b"\x80\x80", b"\x09\x80", b"\x89\xfe", b"\x82\xff" + b"\x80" + bytes(7)],
    )
    def test_parse_illegal(self, wire: bytes) -> None:
        """What the scanner calls illegal, `parse_frame` does too."""
        with pytest.raises(FrameError):
            parse_frame(wire, fragmented=False, max_bytes=100)
