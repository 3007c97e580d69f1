"""An MQTT client's packets, taken out of its frames and put into frames of ours, so that each may be looked at.

What came in any frames is one stream of packets. Whole packets leave together in one message; a packet that is longer
than ``WHOLE_MAX_BYTES`` leaves in fragments as it comes, and a shorter one is held until it is whole. So nothing more
than that is ever held, and what has left always ends where a frame of ours ends. No packet begins beyond ``ceiling``.
Control frames keep their place among the packets. Knows no socket and no budget.
"""

from typing import Final

from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, NO_LIMIT, build_frame, masked_with
from trio_ws_gateway.wire.mqtt_fields import MalformedConnect, read_variable

WHOLE_MAX_BYTES: Final = 20 * 1024  # a token has 16 KiB at the most, and what carries it may name a topic


class Reframer:
    """Feed it what a client says (it is a ``frames.PayloadWalker``), and ``take`` what the upstream shall hear.

    ``packets``: how many have begun. ``ceiling``: no packet begins beyond that number. ``fault``: why nothing more can
    be understood.
    """

    __slots__ = ("_batch", "_continues", "_frames", "_held", "_missing", "_streams", "ceiling", "fault", "packets")

    def __init__(self) -> None:
        self.packets = 0
        self.ceiling = NO_LIMIT
        self.fault = ""
        self._frames = bytearray()  # to be taken
        self._batch = bytearray()  # the payload of the next one
        self._continues = False  # it is no message's first
        self._held = bytearray()  # a packet that is not whole
        self._missing = 0  # bytes of the packet that has begun; 0 while its length is not known either
        self._streams = False  # it leaves in fragments

    @property
    def at_boundary(self) -> bool:
        """What has left ends where a packet ends."""
        return not self._streams

    @property
    def held_bytes(self) -> int:
        return len(self._held)

    def take(self) -> bytearray:
        """The frames that the upstream shall hear now."""
        if self._batch:
            self._end_frame()
        frames, self._frames = self._frames, bytearray()
        return frames

    def on_control(self, frame: memoryview) -> None:
        """A control frame passes, as it came."""
        if self._batch:
            self._end_frame()
        self._frames += frame

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """``view[start:end]`` is payload of one frame, ``offset`` bytes into it, masked with ``mask``.

        How many bytes at its end must not pass: those of packets beyond the ceiling, and behind a fault.
        """
        if mask is None:
            data = bytes(view[start:end])
        else:
            turn = offset & 3
            data = masked_with(view[start:end], mask[turn:] + mask[:turn] if turn else mask)
        size = end - start
        at = begin = self._go_on(data) if self._held or self._streams else 0
        while at < size and not self.fault:
            if self.packets >= self.ceiling:
                break
            self.packets += 1
            if at + 1 < size and data[at + 1] < 0x80:
                packet_end = at + 2 + data[at + 1]
            else:
                packet_end = self._end_of_packet(data, at)
            if packet_end > size:
                self._batch += data[begin:at]
                self._held += data[at:]
                if packet_end < NO_LIMIT:
                    self._expect(packet_end - size)
                return 0
            at = packet_end
        self._batch += data[begin:at]
        return size - at

    def _end_of_packet(self, data: bytes | bytearray, at: int) -> int:
        """Where the packet at ``at`` ends; ``NO_LIMIT`` while its length is cut, ``at`` where that is none."""
        try:
            found = read_variable(data, at + 1)
        except MalformedConnect as error:
            self.fault = f"MQTT: {error}"
            return at
        return NO_LIMIT if found is None else sum(found)

    def _expect(self, missing: int) -> None:
        """So much is still to come of the packet that is held."""
        self._missing = missing
        if len(self._held) + missing > WHOLE_MAX_BYTES:
            if self._batch:
                self._end_frame()
            self._streams = True
            self._batch += self._held
            self._held.clear()

    def _go_on(self, data: bytes) -> int:
        """Take what belongs to the packet that has begun; how much that was."""
        at = 0
        while not self._missing:
            if at == len(data):
                return at
            self._held.append(data[at])
            packet_end = self._end_of_packet(self._held, 0)
            if self.fault:
                return at
            at += 1
            if packet_end == len(self._held):
                self._end_packet()
                return at
            if packet_end < NO_LIMIT:
                self._expect(packet_end - len(self._held))
        piece = data[at : at + self._missing]
        (self._batch if self._streams else self._held).extend(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._end_packet()
        return at + len(piece)

    def _end_packet(self) -> None:
        """The packet that had begun is whole."""
        if self._streams:
            self._streams = False
            self._end_frame()
        else:
            self._batch += self._held
            self._held.clear()

    def _end_frame(self) -> None:
        opcode = CONTINUATION if self._continues else BINARY
        self._continues = self._streams
        self._frames += build_frame(opcode, self._batch, fin=not self._streams, masked=True)
        self._batch.clear()
