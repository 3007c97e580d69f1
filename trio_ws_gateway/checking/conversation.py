"""What an upstream says after its 101: whether it answers a CONNECT, and whether it lets a session last.

One open WebSocket, left politely. The CONNECT is of MQTT 3.1 or 3.1.1 and brings no user name and no password: a broker
that refuses it has answered, and is well. Deadlines are the caller's, but for the waits that are named here.
"""

import secrets
import socket
from collections import deque
from contextlib import suppress

import trio
from attrs import define, field
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from trio_ws_gateway import leg
from trio_ws_gateway.checking.answers import not_mqtt
from trio_ws_gateway.checking.findings import Trouble, quoted
from trio_ws_gateway.wire.mqtt import Connect, disconnect

SETTLING_SECONDS = 0.3  # in which one that ends every session has done so
GOODBYE_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 60
CONNACK = 0x20
CONNACK_BYTES = 4


class HungUp(Exception):
    """It has ended the session. ``code``: of its Close, ``None`` where there was none."""

    def __init__(self, code: int | None = None, reason: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or ""


@define(eq=False)
class Conversation:
    """``unread``: what came behind the head of the 101. Everything raises ``HungUp``, and ``Trouble`` for garbage."""

    sock: socket.socket
    unread: bytes
    _websocket: Connection = field(factory=lambda: Connection(ConnectionType.CLIENT), init=False)
    _events: deque[Event] = field(factory=deque, init=False)

    async def introduce(self, subprotocol: str) -> None:
        """Send a CONNECT, and wait for its CONNACK, whatever that says."""
        connect = Connect(
            level=3 if subprotocol == "mqttv3.1" else 4,
            client_id=f"check-{secrets.token_hex(6)}",
            keep_alive=KEEP_ALIVE_SECONDS,
        )
        await self._say(BytesMessage(connect.to_bytes()))
        heard = b""
        while len(heard) < CONNACK_BYTES:
            event = await self._next()
            if isinstance(event, TextMessage):
                raise not_mqtt("a CONNECT is answered with text")
            if isinstance(event, BytesMessage):
                heard += event.data
        if heard[0] != CONNACK:
            raise not_mqtt("a CONNECT is answered with something else than a CONNACK")
        if heard[3] == 0:
            await self._say(BytesMessage(disconnect(connect.level)))

    async def settle(self) -> None:
        """See whether it lasts."""
        with trio.move_on_after(SETTLING_SECONDS):
            while True:
                await self._next()

    async def leave(self) -> None:
        """Close, and hear the other side's Close. What comes now is no news: never raises."""
        with suppress(HungUp, Trouble), trio.move_on_after(GOODBYE_SECONDS):
            await self._say(CloseConnection(1000))
            while True:
                await self._next()

    async def _say(self, event: Event) -> None:
        try:
            await leg.send_all(self.sock, self._websocket.send(event))
        except OSError:
            raise HungUp from None

    async def _next(self) -> Event:
        while not self._events:
            data, self.unread = self.unread or await self._receive(), b""
            self._websocket.receive_data(data)
            self._events.extend(self._websocket.events())
            await trio.lowlevel.checkpoint()
        event = self._events.popleft()
        if isinstance(event, CloseConnection):
            # A broken rule looks like a Close of the other side's, but for the state in which it leaves us.
            if self._websocket.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                raise Trouble(
                    f"answers 101, but then breaks the rules of WebSocket: {quoted(event.reason)}",
                    "Look at what it is, and at what stands in between.",
                )
            raise HungUp(event.code, event.reason)
        if isinstance(event, Ping):
            await self._say(event.response())
        return event

    async def _receive(self) -> bytes:
        with suppress(OSError):  # a reset is a way to hang up
            if data := await leg.receive(self.sock, 65536):
                return data
        raise HungUp
