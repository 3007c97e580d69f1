"""An MQTT 3.1.1 client that keeps its session over any number of connections, on Trio.

What a client has to remember (MQTT 3.1.1 4.1) is in its fields; when a connection is lost it comes again, repeats what
was not acknowledged, and counts: what the broker has acknowledged, and what has arrived.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import trio
from attrs import define, field

from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, CLOSE, PING, PONG
from trio_ws_gateway.wire.mqtt import Connect
from trio_ws_gateway.wire.mqtt_fields import read_variable, string, variable

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK = 0x20, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90
DUP = 0x08
PAUSE_SECONDS = 0.05  # before it comes again

Connection = Callable[[], AbstractAsyncContextManager[Peer]]
"""A WebSocket that has its 101, for MQTT."""


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + variable(len(body), "packet") + body


@define(eq=False)
class Outgoing:
    """A message that is not acknowledged yet. ``received``: with QoS 2, the broker has said so much."""

    payload: bytes
    qos: int
    received: bool = False
    done: trio.Event = field(factory=trio.Event)


@define(eq=False)
class Robot:
    """``connect`` makes its CONNECT, for each connection. ``topic``: what it publishes to, or, ``listens``, subscribes.

    ``acknowledged``, ``arrived``: payloads, in their order. ``welcome``: it has been, and has subscribed if it does.
    ``connections``: how many were welcomed; ``lost`` is called when such a one has ended.
    """

    name: str
    connect: Callable[[], Connect]
    topic: str
    listens: bool = False
    lost: Callable[[], object] = lambda: None
    acknowledged: list[bytes] = field(factory=list)
    arrived: list[bytes] = field(factory=list)
    connections: int = 0
    welcome: trio.Event = field(factory=trio.Event)
    _peer: Peer | None = None  # while it is welcome
    _last_id: int = 0
    _outgoing: dict[int, Outgoing] = field(factory=dict)
    _incoming: set[int] = field(factory=set)  # of QoS 2, until they are released
    _mouth: trio.Lock = field(factory=trio.Lock)  # one packet at a time

    async def run(self, connection: Connection) -> None:
        """Until cancelled."""
        while True:
            with suppress(EOFError, OSError, trio.TooSlowError, trio.ClosedResourceError):
                async with connection() as peer:
                    await self._converse(peer)
            if self._peer is not None:
                self.lost()
            self._peer = None
            await trio.sleep(PAUSE_SECONDS)

    async def publish(self, payload: bytes, qos: int) -> None:
        """Return when it is acknowledged, over however many connections; with QoS 0 at once."""
        if not qos:
            if self._peer is not None:
                with suppress(OSError, trio.ClosedResourceError):
                    await self._say(self._peer, packet(PUBLISH, string(self.topic, "topic") + payload))
            return
        self._last_id = self._last_id % 65535 + 1
        number, message = self._last_id, Outgoing(payload, qos)
        self._outgoing[number] = message
        if self._peer is not None:
            with suppress(OSError, trio.ClosedResourceError):
                await self._publish(self._peer, number, message)
        await message.done.wait()

    async def _say(self, peer: Peer, packet: bytes) -> None:
        async with self._mouth:
            await peer.say(BINARY, packet)

    async def _converse(self, peer: Peer) -> None:
        await self._say(peer, self.connect().to_bytes())
        heard = bytearray()
        while (said := await next_packet(peer, heard)) is not None:
            first, body = said
            if first == CONNACK:
                await self._welcomed(peer, present=bool(body[0]), code=body[1])
            elif first & 0xF0 == PUBLISH:
                await self._take(peer, first, body)
            elif first == SUBACK:
                self.welcome.set()
            else:
                await self._acknowledge(peer, first, int.from_bytes(body[:2], "big"))

    async def _welcomed(self, peer: Peer, *, present: bool, code: int) -> None:
        if code:
            raise EOFError(code)
        self.connections += 1
        if not present:
            self._incoming.clear()
        if self.listens:
            await self._say(peer, packet(SUBSCRIBE, b"\x00\x01" + string(self.topic, "topic") + b"\x02"))
        else:
            self.welcome.set()
        for number, message in list(self._outgoing.items()):
            if message.received:
                await self._say(peer, packet(PUBREL, number.to_bytes(2, "big")))
            else:
                await self._publish(peer, number, message, again=DUP)
        self._peer = peer

    async def _publish(self, peer: Peer, number: int, message: Outgoing, *, again: int = 0) -> None:
        head = string(self.topic, "topic") + number.to_bytes(2, "big")
        await self._say(peer, packet(PUBLISH | again | message.qos << 1, head + message.payload))

    async def _take(self, peer: Peer, first: int, body: bytes) -> None:
        qos, at = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        number = int.from_bytes(body[at : at + 2], "big") if qos else 0
        payload = body[at + 2 * bool(qos) :]
        if qos < 2 or number not in self._incoming:
            self.arrived.append(payload)
        if qos == 1:
            await self._say(peer, packet(PUBACK, body[at : at + 2]))
        elif qos == 2:
            self._incoming.add(number)
            await self._say(peer, packet(PUBREC, body[at : at + 2]))

    async def _acknowledge(self, peer: Peer, first: int, number: int) -> None:
        if first == PUBREL:
            self._incoming.discard(number)
            await self._say(peer, packet(PUBCOMP, number.to_bytes(2, "big")))
        elif first == PUBREC:
            if (message := self._outgoing.get(number)) is not None:
                message.received = True
            await self._say(peer, packet(PUBREL, number.to_bytes(2, "big")))
        elif (done := self._outgoing.pop(number, None)) is not None:  # PUBACK, PUBCOMP
            self.acknowledged.append(done.payload)
            done.done.set()


async def next_packet(peer: Peer, heard: bytearray) -> tuple[int, bytes] | None:
    """The first byte and the body of the next packet; ``None`` when the other side closes. ``heard``: what is over."""
    while True:
        if len(heard) > 1 and (length := read_variable(heard, 1)) is not None:
            size, at = length
            if len(heard) >= at + size:
                first, body = heard[0], bytes(heard[at : at + size])
                del heard[: at + size]
                return first, body
        await peer.wait()
        opcode, _, payload = await peer.hear()
        if opcode == PING:
            await peer.say(PONG, payload)
        elif opcode == CLOSE:
            return None
        elif opcode != PONG:
            heard += payload
