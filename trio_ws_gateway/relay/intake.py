"""The receiving half of a direction: its next bytes, from what was read ahead or else from its source.

There is one way in, whatever was read when: first words, what a pause has put back, and the socket,
in that order. What is read stands in a buffer that all pumps share, so it is gone after the step.
"""

import socket

from trio_ws_gateway.leg import WOULD_BLOCK
from trio_ws_gateway.wire.frames import LONGEST_ASKING

READ_BYTES = 256 * 1024  # 64 KiB cost 30 % in bulk
KEPT_BYTES = LONGEST_ASKING + 16  # room before a read for a cut header, control frame, or text that may be for us


def new_buffer() -> memoryview:
    """The buffer of all pumps of one event loop: a step never waits while it uses it."""
    return memoryview(bytearray(KEPT_BYTES + READ_BYTES))


class Intake:
    """Reads from ``source``, a non-blocking socket of the caller's.

    ``ahead``: what was read already and has not passed, if anything; its first ``free`` bytes draw on no budget, and
    ``paid`` bytes behind those only on one of messages. ``kept``: a cut header or control frame, or a text
    that may be for us, put before the next read. ``bytes``: how many were read in all. ``ended``: the stream has.
    """

    __slots__ = ("ahead", "buffer", "bytes", "ended", "free", "kept", "paid", "source")

    def __init__(self, source: socket.socket, buffer: memoryview, *, ahead: bytes = b"", free: int = 0) -> None:
        self.source = source
        self.buffer = buffer
        self.ahead = memoryview(ahead) if ahead else None
        self.free = free
        self.paid = 0
        self.kept = b""
        self.bytes = len(ahead)
        self.ended = False

    def receive(self, limit: int) -> int:
        """Put up to ``limit`` bytes into the buffer, behind what was kept; how many. 0 at the end of the stream.

        Raises one of ``WOULD_BLOCK`` where there is nothing to read.
        """
        buffer = self.buffer
        if self.kept:
            buffer[: len(self.kept)] = self.kept
            buffer = buffer[len(self.kept) :]
        if self.ahead is not None:
            return self._take_ahead(buffer, self.ahead, limit)
        try:
            size = self.source.recv_into(buffer, limit)
        except WOULD_BLOCK:
            raise
        except OSError:
            size = 0
        if not size:
            self.ended = True
        self.bytes += size
        return size

    def _take_ahead(self, buffer: memoryview, ahead: memoryview, limit: int) -> int:
        size = min(limit, len(ahead), READ_BYTES)
        buffer[:size] = ahead[:size]
        self.ahead = ahead[size:] if size < len(ahead) else None
        if self.free:
            self.free = max(0, self.free - size)
        else:
            self.paid = max(0, self.paid - size)
        return size

    def put_behind(self, data: bytes) -> None:
        """What others have read from the source, behind all that was read here."""
        if data:
            self.ahead = memoryview(data if self.ahead is None else bytes(self.ahead) + data)
            self.bytes += len(data)

    def put_back(self, start: int, end: int, *, free: bool) -> None:
        """What stands there in the buffer has not passed, and comes again. ``free``: it draws on no budget."""
        if start == end:
            return
        rest = bytes(self.buffer[start:end])
        self.ahead = memoryview(rest if self.ahead is None else rest + bytes(self.ahead))
        if free:
            self.free += len(rest)
        else:
            self.paid += len(rest)
