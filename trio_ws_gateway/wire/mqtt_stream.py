"""Where MQTT packets begin and end in one direction of a session, whatever frames they came in.

A DISCONNECT of the gateway's own may only stand between two packets. The walker reads packet
headers and leaps over bodies, so it costs by the packet and not by the byte, and nothing but a
subtraction where a piece lies inside a packet. It never raises: it is on the path of every message.
"""

from typing import Final

CONNACK: Final = 2


class PacketWalker:
    """Follows the packets of one direction.

    ``packets``: how many have begun. ``welcomed``: a CONNACK has passed whole. ``lost``: a length had more than four
    bytes, so that nobody knows where packets begin any more.
    """

    __slots__ = ("_body", "_length", "_shift", "_type", "lost", "packets", "welcomed")

    def __init__(self) -> None:
        self.packets = 0
        self.welcomed = False
        self.lost = False
        self._body = 0  # bytes of the current packet's body still to come
        self._shift = -1  # where the next length byte goes; -1: a packet's first byte is next
        self._type = 0
        self._length = 0

    @property
    def at_boundary(self) -> bool:
        """No packet is half passed."""
        return not self._body and self._shift < 0 and not self.lost

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """``view[start:end]`` passes: a piece of a frame's payload that begins ``offset`` bytes into that payload.

        ``mask``: the frame's masking key, if it has one (RFC 6455 5.3). 0: all of it may pass.
        """
        body = self._body
        if end - start < body:
            self._body = body - (end - start)
            return 0
        if self.lost:
            return 0
        origin = offset - start
        shift = self._shift
        at = start
        while True:
            if body:
                if end - at < body:
                    body -= end - at
                    break
                at += body
                body = 0
                if self._type == CONNACK:
                    self.welcomed = True
            if at == end:
                break
            byte = view[at]
            if mask is not None:
                byte ^= mask[(origin + at) & 3]
            at += 1
            if shift < 0:
                self._type = byte >> 4
                self._length = shift = 0
                self.packets += 1
                continue
            self._length |= (byte & 0x7F) << shift
            if byte < 0x80:
                body = self._length
                shift = -1
            elif shift == 21:
                self.lost = True
                return 0
            else:
                shift += 7
        self._body = body
        self._shift = shift
        return 0
