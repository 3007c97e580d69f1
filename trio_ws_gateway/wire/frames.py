"""WebSocket frames (RFC 6455 5): headers read in passing, and frames of our own.

``FrameScanner`` walks the headers of one direction of a relayed session and says how much of a
read may pass; payloads stay untouched. ``parse_frame`` reads whole frames, for the few that the
gateway hears itself. Neither knows a socket, and neither decides what a refusal looks like.

Accepted deviations: a header that encodes a short length in a long form (5.2 forbids it) passes,
and so does a masking key that its sender uses twice. Text is not checked for UTF-8: it passes
unread, and its receiver checks it.
"""

import os
import struct
from collections.abc import Callable
from enum import Enum
from itertools import islice, repeat
from typing import Protocol

from attrs import frozen

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# What the first byte of a header means, given what went before it. A control frame is short and whole
# (5.5); a fragment continues a message that was begun, and nothing else does (5.4).
ILLEGAL, WHOLE, BEGINS, CONTINUES, ENDS, CONTROL = range(6)


def _meanings(known: dict[int, int]) -> bytes:
    return bytes(known.get(first, ILLEGAL) for first in range(256))


_CONTROLS = {0x88: CONTROL, 0x89: CONTROL, 0x8A: CONTROL}
_BETWEEN = _CONTROLS | {0x81: WHOLE, 0x82: WHOLE, 0x01: BEGINS, 0x02: BEGINS}
BETWEEN_MESSAGES = _meanings(_BETWEEN)
BETWEEN_BINARY = _meanings(_CONTROLS | {0x82: WHOLE, 0x02: BEGINS})
BETWEEN_COMPRESSED = _meanings(_BETWEEN | {0xC1: WHOLE, 0xC2: WHOLE, 0x41: BEGINS, 0x42: BEGINS})  # RFC 7692 6
INSIDE_MESSAGE = _meanings(_CONTROLS | {0x00: CONTINUES, 0x80: ENDS})

WHOLE_TEXT = 0x81
LONGEST_CONTROL = 125
LONGEST_ASKING = 16 * 1024  # no token is longer
RUN_LEAST, RUN_MOST = 4, 64  # frames in a row that look alike: from how many on it pays to look, and how far
# Headers that one scan looks at, at the most, and how many of them a control frame, or a look for a run, counts as: so
# that no mixture of frames takes longer than some 0.3 ms.
HEADERS, DEAR = 1000, 4
LONG_INTEGER = 2048  # bytes from which on four translations are quicker than one large number: 1.2 GB/s, and not 0.3
XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]
NO_LIMIT = 2**63  # the highest bit of a length is 0 (5.2), so no frame announces this much


class FrameError(ValueError):
    """A frame that RFC 6455 forbids, or one that is too big. The message names the fault."""


class FrameTooBig(FrameError):
    """A header announces more than is allowed."""


@frozen
class Frame:
    """One whole frame: ``payload`` is unmasked, ``size`` is what it took on the wire, in bytes."""

    opcode: int
    fin: bool
    payload: bytes
    size: int


class Found(Enum):
    """What made a scanner stop before the end of a read."""

    CLOSE = "a Close frame has passed"
    OWN_PONG = "the answer to our own ping begins here; it is to be cut out"
    ILLEGAL = "an illegal frame begins here"
    TOO_BIG = "a frame begins here that makes its message too big"
    ENOUGH = "there is more, and that was enough for once: whole frames may follow here"
    TOO_MANY_MESSAGES = "a message begins here for which the ceiling leaves no room"
    TOO_MANY_EXTRAS = "a frame that begins none is here, for which the ceiling leaves no room"
    REFUSED = "the walker lets nothing pass from here on"
    ASKED = "a text message for the gateway itself is here; it is to be cut out"


class PayloadWalker(Protocol):
    """Whoever must know what payloads hold, piece by piece (``mqtt_stream.PacketWalker``)."""

    packets: int
    """How many have begun: that is how much work they were."""

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """``view[start:end]`` is payload of one frame, ``offset`` bytes into it, masked with ``mask``.

        How many bytes at its end must not pass, or not now; mostly 0.
        """


class FrameScanner:
    """The headers of one direction, read incrementally.

    ``masked``: whether this direction's frames must be (client to server: yes; 5.1).
    ``max_message_bytes``: the most that one message may hold on the wire over all its fragments.
    ``max_fragments``: how many those may be.
    ``compressed``: permessage-deflate was agreed on, so RSV1 may mark a message's first frame.
    ``walker``: is fed every payload of data frames, and may say where to stop in the midst of one.
    ``on_control``: is given every control frame that passes. ``binary``: there must be no text.
    ``is_for_us``, which may be set between scans: is asked of every text message in one frame of up to
    ``LONGEST_ASKING`` bytes, unmasked; those pass only when they are whole.

    ``message_ceiling`` and ``extra_ceiling`` may be set between scans: no message is begun beyond
    that number, and no frame passes that begins none (control frames, further fragments).

    After each ``scan``: ``inside`` is how many bytes of the current frame are still to pass,
    ``fragmented`` whether a message is begun and not ended, ``messages`` how many were begun,
    ``extras`` how many frames began none, the answers to our own pings among them.
    """

    __slots__ = (
        "_between",
        "_fragments",
        "_header",
        "_limit",
        "_mask",
        "_masked",
        "_meanings",
        "_message_bytes",
        "_most_fragments",
        "_offset",
        "_on_control",
        "cut",
        "detail",
        "extra_ceiling",
        "extras",
        "found",
        "inside",
        "is_for_us",
        "message_ceiling",
        "messages",
        "own_ping",
        "peer",
        "pings",
        "pings_answered",
        "walker",
    )

    def __init__(
        self,
        *,
        masked: bool,
        max_message_bytes: int = NO_LIMIT,
        max_fragments: int = NO_LIMIT,
        compressed: bool = False,
        binary: bool = False,
        walker: PayloadWalker | None = None,
        on_control: Callable[[memoryview], None] | None = None,
    ) -> None:
        self._masked = masked
        self._header = 6 if masked else 2
        self._limit = max_message_bytes
        self._most_fragments = max_fragments
        self._fragments = 0  # of the current message
        self._between = BETWEEN_BINARY if binary else BETWEEN_COMPRESSED if compressed else BETWEEN_MESSAGES
        self.walker = walker
        self._on_control = on_control
        self._meanings = self._between
        self._message_bytes = 0
        self._mask: bytes | None = None
        self._offset = 0
        self.inside = 0
        self.messages = 0
        self.extras = 0
        self.lift_ceilings()
        self.found: Found | None = None
        self.detail = ""
        self.cut = 0  # after OWN_PONG and ASKED: how many bytes to leave out
        self.is_for_us: Callable[[bytes], bool] | None = None
        self.own_ping: bytes | None = None  # payload of the pings that the gateway sends to this side
        self.peer: FrameScanner | None = None  # of the other direction
        self.pings = 0  # that passed
        self.pings_answered = 0  # how many pings of the peer's had passed when the last pong did

    def lift_ceilings(self) -> None:
        self.message_ceiling = self.extra_ceiling = NO_LIMIT

    @property
    def owes_a_pong(self) -> bool:
        """This direction's sender has not answered the latest ping that passed to it (RFC 6455 5.5.3)."""
        return self.peer is not None and self.peer.pings > self.pings_answered

    @property
    def progress(self) -> tuple[int, int, int]:
        """Changes whenever data passes, in however long a message; control frames do not count."""
        return self.messages, self._message_bytes, self.inside

    @property
    def work(self) -> int:
        """Grows with every header that was looked at: of frames, and of the packets in them."""
        return self.messages + self.extras + (0 if self.walker is None else self.walker.packets)

    @property
    def fragmented(self) -> bool:
        return self._meanings is INSIDE_MESSAGE

    def scan(self, view: memoryview, size: int) -> int:
        """How many of ``view[:size]`` may pass now: payloads, and headers that are whole and legal.

        Less than ``size`` means: where ``found`` is set, stop there for that reason. Otherwise the
        rest is a header that is cut, or a control frame that is not whole yet (131 bytes at the
        most): keep it, and put it before the next read. So what has passed never ends in a header.
        """
        self.found = None
        at = self.inside
        if at and self.walker is not None:
            end = min(at, size)
            refused = self.walker.feed(view, 0, end, self._mask, self._offset)
            self._offset += end - refused
            if refused:
                self.inside = at - end + refused
                self._stop(Found.REFUSED, "")
                return end - refused
        masked, meanings, limit, walker = self._masked, self._meanings, self._limit, self.walker
        is_for_us = self.is_for_us
        unread = walker is None and is_for_us is None
        messages, message_ceiling = self.messages, self.message_ceiling
        before = -1  # length of the latest message in one frame
        turns = repeat(None, HEADERS)
        for _ in turns:
            if at + 2 > size:
                break
            second = view[at + 1]
            meaning = meanings[view[at]]
            if meaning == ILLEGAL or (second > 127) is not masked:
                self._stop(Found.ILLEGAL, fault(view[at], second, fragmented=self.fragmented, masked=masked))
                break
            length = second & 0x7F
            payload = at + self._header
            if length > LONGEST_CONTROL:
                if meaning == CONTROL:
                    self._stop(Found.ILLEGAL, "a control frame of more than 125 bytes")
                    break
                extended = 2 if length == 126 else 8
                payload += extended
                if payload > size:
                    break
                length = int.from_bytes(view[at + 2 : at + 2 + extended], "big")
                if length >= NO_LIMIT:
                    self._stop(Found.ILLEGAL, "a length with its highest bit set")
                    break
            elif payload > size:
                break
            if meaning == WHOLE:
                if length > limit:
                    self._stop(Found.TOO_BIG, f"a message of {length} bytes")
                    break
                if messages >= message_ceiling:
                    self._stop(Found.TOO_MANY_MESSAGES, "messages")
                    break
                if is_for_us is not None and length <= LONGEST_ASKING and view[at] == WHOLE_TEXT:
                    if payload + length > size:
                        break
                    text = bytes(view[payload : payload + length])
                    if is_for_us(masked_with(text, bytes(view[payload - 4 : payload])) if masked else text):
                        messages += 1
                        self.cut = payload + length - at
                        self._stop(Found.ASKED, "")
                        break
                messages += 1
                if length == before and unread and at + RUN_LEAST * (payload - at + length) < size:
                    alike = repeated(view, at, size, payload - at + length)
                    alike = min(alike, message_ceiling - messages)
                    messages += alike
                    at += (alike + 1) * (payload - at + length)
                    for _ in islice(turns, DEAR):
                        pass
                    continue
                before = length
            elif meaning == CONTROL:
                if payload + length > size:
                    break
                if self.extras >= self.extra_ceiling:
                    self._stop(Found.TOO_MANY_EXTRAS, "control frames")
                    break
                found = self._control(view, at, payload, length)
                if found is Found.OWN_PONG:
                    break
                self.extras += 1
                if self._on_control is not None:
                    self._on_control(view[at : payload + length])
                at = payload + length
                if found is Found.CLOSE:
                    break
                for _ in islice(turns, DEAR):
                    pass
                continue
            else:
                gone = 0 if meaning == BEGINS else self._message_bytes
                if gone + length > limit:
                    self._stop(Found.TOO_BIG, f"a message of {gone + length} bytes in fragments")
                    break
                fragments = 1 if meaning == BEGINS else self._fragments + 1
                if fragments > self._most_fragments:
                    self._stop(Found.TOO_BIG, f"a message of {fragments} fragments")
                    break
                if meaning == BEGINS and messages >= message_ceiling:
                    self._stop(Found.TOO_MANY_MESSAGES, "messages")
                    break
                if meaning != BEGINS and self.extras >= self.extra_ceiling:
                    self._stop(Found.TOO_MANY_EXTRAS, "fragments")
                    break
                self._message_bytes = gone + length
                self._fragments = fragments
                if meaning == BEGINS:
                    messages += 1
                else:
                    self.extras += 1
                self._meanings = meanings = self._between if meaning == ENDS else INSIDE_MESSAGE
            at = payload + length
            if walker is not None:
                self._mask = bytes(view[payload - 4 : payload]) if masked else None
                end = min(at, size)
                refused = walker.feed(view, payload, end, self._mask, 0)
                self._offset = end - refused - payload
                if refused:
                    self.messages = messages
                    self.inside = at - end + refused
                    self._stop(Found.REFUSED, "")
                    return end - refused
        else:
            if at < size:
                self._stop(Found.ENOUGH, "")
        self.messages = messages
        if at > size:
            self.inside = at - size
            return size
        self.inside = 0
        return at

    def _stop(self, found: Found, detail: str) -> Found:
        self.found = found
        self.detail = detail
        return found

    def _control(self, view: memoryview, at: int, payload: int, length: int) -> Found | None:
        """Note a whole control frame; what it is found to be, if the scan must stop for it."""
        opcode = view[at] & 0x0F
        if opcode == PING:
            self.pings += 1
            return None
        body = b""
        if opcode == CLOSE or (self.own_ping is not None and length == len(self.own_ping)):
            body = bytes(view[payload : payload + length])
            if self._masked:
                body = masked_with(body, bytes(view[payload - 4 : payload]))
        if opcode == CLOSE:
            code = int.from_bytes(body[:2], "big") if length >= 2 else 1005
            return self._stop(Found.CLOSE, f"close code {code}")
        if body == self.own_ping:
            self.cut = payload + length - at
            self.extras += 1
            return self._stop(Found.OWN_PONG, "")
        if self.peer is not None:
            self.pings_answered = self.peer.pings
        return None


def repeated(view: memoryview, at: int, size: int, stride: int) -> int:
    """How many frames behind the one at ``at`` stand whole in ``view[:size]`` with the same header, masks aside.

    ``stride``: bytes of a frame. Looks at ``RUN_MOST`` frames at the most, column by column: who sends messages of
    one size without a pause costs a tenth of what it costs to read them header by header.
    """
    alike = min((size - at) // stride - 1, RUN_MOST)
    length = view[at + 1] & 0x7F
    for column in range(at, at + (2 if length < 126 else 4 if length == 126 else 10)):
        same = view[column + stride : column + alike * stride + 1 : stride].tobytes()
        alike = len(same) - len(same.lstrip(same[:1])) if same[:1] == view[column : column + 1] else 0
        if not alike:
            break
    return alike


def fault(first: int, second: int, *, fragmented: bool, masked: bool) -> str:
    """What is wrong with a header that starts with these two bytes, in words."""
    if (second > 127) is not masked:
        return "a frame that is not masked" if masked else "a masked frame"
    if first & 0x70:
        return "a reserved bit is set"
    opcode = first & 0x0F
    if opcode not in {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
        return f"reserved opcode {opcode}"
    if opcode >= CLOSE:
        return "a fragmented control frame"
    if fragmented:
        return "a new message inside a fragmented one"
    return "a continuation of nothing" if opcode == CONTINUATION else "a text message where there must be none"


def masked_with(payload: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """``payload`` masked, or unmasked, with a four-byte key (RFC 6455 5.3)."""
    size = len(payload)
    if size > LONG_INTEGER:
        masked = bytearray(payload)
        for at, byte in enumerate(key):
            masked[at::4] = masked[at::4].translate(XOR[byte])
        return bytes(masked)
    pattern = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


def build_frame(opcode: int, payload: bytes | bytearray = b"", *, fin: bool = True, masked: bool) -> bytes:
    """One frame on the wire; ``masked`` as a client sends it, with a fresh key (RFC 6455 5.3)."""
    first = opcode | (0x80 if fin else 0)
    bit = 0x80 if masked else 0
    size = len(payload)
    if size <= LONGEST_CONTROL:
        head = bytes((first, bit | size))
    elif size <= 0xFFFF:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + masked_with(payload, key)


def close_frame(code: int, reason: str = "", *, masked: bool) -> bytes:
    """A Close frame (RFC 6455 5.5.1); ``reason`` takes 123 bytes of UTF-8 at the most."""
    return build_frame(CLOSE, code.to_bytes(2, "big") + reason.encode(), masked=masked)


def parse_frame(data: bytes | bytearray, *, fragmented: bool, max_bytes: int) -> Frame | None:
    """The client's frame that ``data`` begins with; ``None`` while it is not whole.

    Raises ``FrameError`` for an illegal header and ``FrameTooBig`` for one that announces more
    than ``max_bytes``, both as soon as the header says so.
    """
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    length = second & 0x7F
    payload = 6
    meaning = (INSIDE_MESSAGE if fragmented else BETWEEN_MESSAGES)[first]
    if meaning == ILLEGAL or second < 128:
        raise FrameError(fault(first, second, fragmented=fragmented, masked=True))
    if length > LONGEST_CONTROL:
        if meaning == CONTROL:
            raise FrameError("a control frame of more than 125 bytes")
        extended = 2 if length == 126 else 8
        payload += extended
        if len(data) < 2 + extended:
            return None
        length = int.from_bytes(data[2 : 2 + extended], "big")
        if length >= NO_LIMIT:
            raise FrameError("a length with its highest bit set")
    if length > max_bytes and meaning != CONTROL:
        raise FrameTooBig(f"a frame of {length} bytes where {max_bytes} are allowed")
    end = payload + length
    if len(data) < end:
        return None
    body = masked_with(bytes(data[payload:end]), bytes(data[payload - 4 : payload]))
    return Frame(first & 0x0F, bool(first & 0x80), body, end)
