"""MQTT packets, taken out of the frames that they came in and put into frames of ours, so that each may be looked at.

What came in any frames is one stream of packets. Whole packets leave together in one message; a packet that is longer
than ``WHOLE_MAX_BYTES`` leaves in fragments as it comes, and a shorter one is held until it is whole. So nothing more
than that is ever held, and what has left always ends where a frame of ours ends. No packet begins beyond ``ceiling``.
Messages of whole packets stay short, as some receivers take no long ones. Control frames keep their place among the
packets. Knows no socket and no budget, and not what packets mean: that is a ``Watch``'s.
"""

from typing import Final, Protocol

from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, NO_LIMIT, build_frame, masked_with
from trio_ws_gateway.wire.mqtt_fields import MqttError, read_variable
from trio_ws_gateway.wire.mqtt_packets import CONNACK
from trio_ws_gateway.wire.mqtt_stream import PacketWalker

MESSAGE_BYTES: Final = 8 * 1024  # of whole packets: with so many there is a message, and what comes is the next one's
WHOLE_MAX_BYTES: Final = 20 * 1024  # a token has 16 KiB at the most, and what carries it may name a topic


class Watch(Protocol):
    """Reads some packets, and may take them out or change them."""

    @property
    def firsts(self) -> bytes:
        """256 flags: packets that may concern it, by their first byte."""

    def concerns(self, data: bytes | bytearray, at: int, body: int, end: int) -> bool | None:
        """Whether it wants to judge the packet at ``at``, whose fixed header ends at ``body``.

        ``None`` where too little of it is there, up to ``end``, to say so.
        """

    def judge(self, packet: bytes) -> bytes | Asked:
        """What passes in place of a whole packet, or what it asks of the gateway. Raises ``MqttError``."""


class Reframer:
    """Feed it what one side says (it is a ``frames.PayloadWalker``), and ``take`` what the other shall hear.

    ``masked``: what that other side hears is. ``packets``: how many have begun. ``ceiling``: no packet begins beyond
    that number. ``asked``: what a packet that was taken out asks for; until it is set to ``None`` again nothing more
    passes. ``fault``: why nothing ever will. ``welcomed``: a CONNACK has passed, where there is a watch for it.
    """

    __slots__ = (
        "_batch",
        "_body",
        "_continues",
        "_follower",
        "_frames",
        "_held",
        "_masked",
        "_missing",
        "_streams",
        "_watch",
        "asked",
        "ceiling",
        "fault",
        "packets",
        "welcomed",
    )

    def __init__(self, *, masked: bool, watch: Watch | None = None) -> None:
        self._masked = masked
        self._watch = watch
        self.packets = 0
        self.ceiling = NO_LIMIT
        self.asked: Asked | None = None
        self.fault = ""
        self.welcomed = False
        self._frames = bytearray()  # to be taken
        self._batch = bytearray()  # the payload of the next one
        self._continues = False  # it is no message's first
        self._held = bytearray()  # a packet that is not whole
        self._body = 0  # where its fixed header ends
        self._missing = 0  # bytes of the packet that has begun; 0 while its length is not known either
        self._streams = False  # it leaves in fragments
        self._follower: PacketWalker | None = None  # once frames pass as they come

    @property
    def at_boundary(self) -> bool:
        """What has left ends where a packet ends."""
        return self._follower.at_boundary if self._follower is not None else not self._streams

    @property
    def has_finished(self) -> bool:
        """The CONNACK that was waited for has left, and nothing is held: frames may pass as they come."""
        return self.welcomed and not (self._held or self._streams or self._batch)

    def step_aside(self) -> None:
        """From here on frames pass as they come; packets are only followed."""
        self._follower = PacketWalker()

    @property
    def held_bytes(self) -> int:
        return len(self._held)

    def take(self) -> bytearray:
        """The frames that shall be heard now."""
        if self._batch:
            self._end_frame()
        frames, self._frames = self._frames, bytearray()
        return frames

    def on_control(self, frame: memoryview) -> None:
        """A control frame passes, as it came."""
        if self._follower is not None:
            return
        if self._batch:
            self._end_frame()
        self._frames += frame

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """``view[start:end]`` is payload of one frame, ``offset`` bytes into it, masked with ``mask``.

        How many bytes at its end do not pass: those of packets beyond the ceiling, and behind what was asked, or a
        fault.
        """
        if self._follower is not None:
            return self._follow(self._follower, view, start, end, mask, offset)
        if len(self._batch) >= MESSAGE_BYTES and not self._streams:
            self._end_frame()
        if mask is None:
            data = bytes(view[start:end])
        else:
            turn = offset & 3
            data = masked_with(view[start:end], mask[turn:] + mask[:turn] if turn else mask)
        size, watch = end - start, self._watch
        at = begin = self._go_on(data) if self._held or self._streams else 0
        while at < size and self.asked is None and not self.fault:
            if self.packets >= self.ceiling:
                break
            self.packets += 1
            if at + 1 < size and data[at + 1] < 0x80:
                body = at + 2
                packet_end = body + data[at + 1]
            else:
                found = self._length(data, at)
                if found is None:
                    break
                body, packet_end = found
            if packet_end > size:
                self._batch += data[begin:at]
                self._hold(data[at:], body - at, packet_end - size)
                return 0
            if watch is not None and watch.firsts[data[at]] and watch.concerns(data, at, body, packet_end):
                self._batch += data[begin:at]
                self._judge(data[at:packet_end])
                begin = packet_end
            at = packet_end
        self._batch += data[begin:at]
        return size - at

    def _follow(
        self, follower: PacketWalker, view: memoryview, start: int, end: int, mask: bytes | None, offset: int
    ) -> int:
        before = follower.packets
        follower.feed(view, start, end, mask, offset)
        self.packets += follower.packets - before
        return 0

    def _length(self, data: bytes | bytearray, at: int) -> tuple[int, int] | None:
        """Where the fixed header of the packet at ``at`` ends, and the packet; ``NO_LIMIT`` while its length is cut,
        ``None`` where that is a fault."""
        try:
            found = read_variable(data, at + 1)
        except MqttError as error:
            self.fault = f"MQTT: {error}"
            return None
        return (NO_LIMIT, NO_LIMIT) if found is None else (found[1], sum(found))

    def _hold(self, data: bytes, body: int, missing: int) -> None:
        """The beginning of a packet."""
        self._held += data
        if body < NO_LIMIT // 2:
            self._body, self._missing = body, missing
            self._let_go()

    def _let_go(self) -> None:
        """A packet that is too long to be held leaves as it comes, if it is no one to be judged."""
        if len(self._held) + self._missing <= WHOLE_MAX_BYTES:
            return
        watch = self._watch
        if watch is not None and watch.firsts[self._held[0]]:
            concerned = watch.concerns(self._held, 0, self._body, len(self._held))
            if concerned:
                self.fault = f"MQTT: more than {WHOLE_MAX_BYTES} bytes in a packet for the gateway"
            if concerned is not False:
                return
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
            at += 1
            found = self._length(self._held, 0)
            if found is None:
                return at
            body, packet_end = found
            if packet_end == len(self._held):
                self._end_packet()
                return at
            if packet_end < NO_LIMIT:
                self._hold(b"", body, packet_end - len(self._held))
        piece = data[at : at + self._missing]
        self._missing -= len(piece)
        if self._streams:
            self._batch += piece
        else:
            self._held += piece
            self._let_go()
        if not self._missing:
            self._end_packet()
        return at + len(piece)

    def _end_packet(self) -> None:
        """The packet that had begun is whole."""
        if self._streams:
            self._streams = False
            self._end_frame()
            return
        packet = bytes(self._held)
        self._held.clear()
        watch = self._watch
        if watch is not None and watch.firsts[packet[0]] and watch.concerns(packet, 0, self._body, len(packet)):
            self._judge(packet)
        else:
            self._batch += packet

    def _judge(self, packet: bytes) -> None:
        if self._watch is None:
            return
        try:
            verdict = self._watch.judge(packet)
        except MqttError as error:
            self.fault = f"MQTT: {error}"
            return
        if isinstance(verdict, Asked):
            self.asked = verdict
            return
        self.welcomed |= packet[0] == CONNACK
        self._batch += verdict

    def _end_frame(self) -> None:
        opcode = CONTINUATION if self._continues else BINARY
        self._continues = self._streams
        self._frames += build_frame(opcode, self._batch, fin=not self._streams, masked=self._masked)
        self._batch.clear()
