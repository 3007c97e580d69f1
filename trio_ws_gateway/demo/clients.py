"""The two kinds of client that the demo plays, and what a gateway answered them as a value.

An MQTT client speaks as much of it as it takes to hear itself.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import trio
from attrs import evolve, frozen
from trio_websocket import CloseReason, ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.groups import leaves
from trio_ws_gateway.probing.codes import connack_words
from trio_ws_gateway.probing.packets import Kind, Packet, PacketReader, connack_code, publish, published, subscribe
from trio_ws_gateway.wire.mqtt import Connect

DEADLINE_SECONDS = 10.0
CLOSE_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 30
ACCEPTED = 0
LEVEL = 4  # MQTT 3.1.1, which every broker speaks
MAX_PACKET_BYTES = 64 * 1024


@frozen(kw_only=True)
class Answer:
    """What a client was told, in this order; what it was not told is ``None``.

    ``http``: the status of its handshake; MQTT clients look further. ``connack``: a return code. ``close``: a close
    code. ``reason``: the words of that, or of the HTTP answer. ``echoed``: what it said came back to it.
    """

    http: int | None = None
    connack: int | None = None
    close: int | None = None
    reason: str = ""
    echoed: bool = False

    def __str__(self) -> str:
        words = []
        if self.http is not None:
            words.append(f"HTTP {self.http} {self.reason}")
        if self.connack is not None:
            words.append(f"CONNACK {connack_words(LEVEL, self.connack)}")
        if self.close is not None:
            words.append(f"close {self.close} {self.reason}")
        if self.echoed:
            words.append("echoed")
        return "; ".join(word.strip() for word in words) or self.reason or "nothing"


class Ended(Exception):
    """The gateway did not let a client in, or ended its session. ``answer`` is what it said."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


@asynccontextmanager
async def websocket(
    url: str, *, bearer: str = "", subprotocols: Sequence[str] = ()
) -> AsyncIterator[WebSocketConnection]:
    """Raises ``Ended`` where there is none, or where it was closed while somebody still listened."""
    target = WebSocketUrl.parse(url)
    answer: Answer | None = None
    try:
        with _in_time():
            stream = await trio.open_tcp_stream(target.host, target.port)
        # open_websocket would do all of this, but leaves the connection open where the handshake is refused.
        async with stream, trio.open_nursery() as nursery:
            with _in_time():
                connection = await wrap_client_stream(
                    nursery,
                    stream,
                    target.authority,
                    target.target,
                    subprotocols=subprotocols or None,
                    extra_headers=[(b"Authorization", f"Bearer {bearer}".encode())] if bearer else None,
                )
            yield connection
            with trio.move_on_after(CLOSE_SECONDS):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    except* (ConnectionRejected, ConnectionClosed, OSError) as group:
        answer = _answer_of(next(leaves(group)))
    except* Ended as group:
        answer = next(leaves(group)).answer
    if answer is not None:
        raise Ended(answer)


@frozen(kw_only=True)
class Session:
    """``welcome`` is how it was let in; ``round_trip`` says a text, waits until it comes back, and raises ``Ended``."""

    welcome: Answer
    round_trip: Callable[[str], Awaitable[None]]


@asynccontextmanager
async def raw_session(url: str, *, bearer: str = "", subprotocols: Sequence[str] = ()) -> AsyncIterator[Session]:
    """A raw session with an echo behind it. Raises ``Ended``."""
    async with websocket(url, bearer=bearer, subprotocols=subprotocols) as connection:

        async def round_trip(text: str) -> None:
            with _in_time():
                await connection.send_message(text)
                while await connection.get_message() != text:
                    pass

        yield Session(welcome=Answer(http=101), round_trip=round_trip)


@asynccontextmanager
async def mqtt_session(url: str, *, client_id: str, username: str, token: str, topic: str) -> AsyncIterator[Session]:
    """An MQTT session that hears what it publishes to ``topic``; the token is its password. Raises ``Ended``."""
    async with websocket(url, subprotocols=["mqtt"]) as connection:
        client = _MqttClient(connection)
        with _in_time():
            await client.connect(client_id, username, token)
            await client.subscribe(topic)

        async def round_trip(text: str) -> None:
            with _in_time():
                await client.publish_and_hear(topic, text.encode())

        yield Session(welcome=Answer(connack=ACCEPTED), round_trip=round_trip)


class _MqttClient:
    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._reader = PacketReader(MAX_PACKET_BYTES)
        self._packets: deque[Packet] = deque()

    async def connect(self, client_id: str, username: str, token: str) -> None:
        connect = Connect(
            level=LEVEL,
            client_id=client_id,
            username=username,
            password=token.encode() or None,
            keep_alive=KEEP_ALIVE_SECONDS,
        )
        await self._connection.send_message(connect.to_bytes())
        code = connack_code(await self._receive(Kind.CONNACK))
        if code != ACCEPTED:
            try:
                await self._connection.get_message()
            except ConnectionClosed as closed:
                raise Ended(evolve(_answer_of(closed), connack=code)) from None
            raise Ended(Answer(connack=code))

    async def subscribe(self, topic: str) -> None:
        await self._connection.send_message(subscribe(LEVEL, 1, topic, 0))
        await self._receive(Kind.SUBACK)

    async def publish_and_hear(self, topic: str, payload: bytes) -> None:
        await self._connection.send_message(publish(LEVEL, topic, payload))
        while published(LEVEL, await self._receive(Kind.PUBLISH)).payload != payload:
            pass

    async def _receive(self, kind: Kind) -> Packet:
        """The next packet of that kind; others are left out."""
        while True:
            while not self._packets:
                message = await self._connection.get_message()
                self._packets.extend(self._reader.feed(message if isinstance(message, bytes) else message.encode()))
            packet = self._packets.popleft()
            if packet.kind == kind:
                return packet


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        with trio.fail_after(DEADLINE_SECONDS):
            yield
    except trio.TooSlowError:
        raise Ended(Answer(reason=f"nothing for {DEADLINE_SECONDS:g} s")) from None


def _answer_of(error: ConnectionRejected | ConnectionClosed | OSError) -> Answer:
    match error:
        case ConnectionRejected():
            return Answer(http=error.status_code, reason=_detail(error.body))
        case ConnectionClosed(reason=CloseReason() as why):
            return Answer(close=why.code, reason=why.reason or "")
        case _:
            return Answer(reason="no connection")


def _detail(body: bytes | None) -> str:
    """The gateway's own words in a problem document (RFC 9457)."""
    try:
        return str(json.loads(body or b"")["detail"])
    except (ValueError, LookupError, TypeError):
        return ""
