"""A client's first words after the 101, gathered frame by frame until a protocol adapter knows them.

Pings and closes are answered here and never forwarded. Data frames are kept twice: as they came,
because they may be forwarded like that, and as payload, because adapters read it. Only whole
frames count, so what follows an opening always starts at a frame boundary.
"""

from enum import Enum

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Opening
from trio_ws_gateway.wire.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameTooBig,
    build_frame,
    parse_frame,
)

# Threat: empty fragments add no payload and would pile up for as long as the deadline lasts. A CONNECT of
# 4 kB that comes a byte a frame still fits.
FRAMING_MAX_BYTES = 32 * 1024
# Threat: pings and pongs are answered at no cost to their sender, who need not even have a token.
CONTROL_FRAMES_MAX = 100

# What may stand in a Close frame (RFC 6455 7.4, and IANA's 1012 to 1014). We answer with what we hear, and must not
# say what nobody may.
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


class Heard(Enum):
    """What one step of the reader found."""

    WORDS = "a data frame was added to the opening"
    CONTROL = "a ping or pong; `reply` is to be sent"
    CLOSE = "the client leaves; `reply` is to be sent"


class OpeningReader:
    """Feed it bytes, then ``step`` until it says ``None``: more bytes are needed.

    ``max_bytes`` bounds the payload of the whole opening; a header that announces more is refused
    at once. ``rest`` is what came behind the last frame that was taken.
    """

    def __init__(self, *, max_bytes: int, offered: tuple[str, ...] = ()) -> None:
        self._max_bytes = max_bytes
        self._offered = offered
        self._payload = bytearray()
        self._frames = bytearray()
        self._text = False
        self._fin = True
        self._begun = False
        self._controls = 0
        self.rest = bytearray()
        self.reply = b""

    def feed(self, data: bytes) -> None:
        self.rest += data

    def step(self) -> Heard | None:
        """Take one frame. Raises ``Refused`` with ``ILLEGAL_FRAME`` or ``MESSAGE_TOO_BIG``."""
        room = self._max_bytes - len(self._payload)
        try:
            frame = parse_frame(self.rest, fragmented=not self._fin, max_bytes=room)
        except FrameTooBig as error:
            raise Refused(Cause.MESSAGE_TOO_BIG, str(error)) from None
        except FrameError as error:
            raise Refused(Cause.ILLEGAL_FRAME, str(error)) from None
        if frame is None:
            return None
        raw = self.rest[: frame.size]
        del self.rest[: frame.size]
        if frame.opcode == CLOSE:
            if frame.payload and not _may_be_said(frame.payload):
                raise Refused(Cause.ILLEGAL_FRAME, "a Close with an illegal code or reason")
            self.reply = build_frame(CLOSE, frame.payload[:2], masked=False)
            return Heard.CLOSE
        if frame.opcode in {PING, PONG}:
            self._controls += 1
            if self._controls > CONTROL_FRAMES_MAX:
                raise Refused(Cause.RATE_LIMITED, "pings or pongs before the first message")
            self.reply = build_frame(PONG, frame.payload, masked=False) if frame.opcode == PING else b""
            return Heard.CONTROL
        if not self._begun:
            self._begun = True
            self._text = frame.opcode == TEXT
        self._payload += frame.payload
        self._frames += raw
        if len(self._frames) > self._max_bytes + FRAMING_MAX_BYTES:
            raise Refused(Cause.MESSAGE_TOO_BIG, "an opening that is mostly frame headers")
        self._fin = frame.fin
        return Heard.WORDS

    @property
    def opening(self) -> Opening:
        return Opening(payload=bytes(self._payload), text=self._text, complete=self._fin, offered=self._offered)

    @property
    def as_it_came(self) -> bytes:
        """The opening's data frames as the client sent them."""
        return bytes(self._frames)

    def rewritten(self, payload: bytes) -> bytes:
        """One frame that says ``payload`` in place of the opening; the client's message may go on behind it."""
        return build_frame(TEXT if self._text else BINARY, payload, fin=self._fin, masked=True)


def _may_be_said(close: bytes) -> bool:
    """Whether a Close may have this payload: a code that may be sent, and a reason in UTF-8 (RFC 6455 5.5.1, 7.4)."""
    try:
        close[2:].decode()
    except UnicodeDecodeError:
        return False
    return int.from_bytes(close[:2], "big") in CLOSE_CODES
