"""A WebSocket server that says every message back, compressed where its client offers that: wsproto on Trio.

Run as a program with the port as its argument. A message is said back once it is whole: the client of the cases
reads nothing while it writes, so an echo in pieces would wait for it for ever.
"""

import sys
from functools import partial

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError


class Echo:
    """One connection: bytes that were heard in, bytes to say out."""

    def __init__(self) -> None:
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._text: list[str] = []
        self._binary: list[bytes | bytearray] = []

    @property
    def over(self) -> bool:
        return self._websocket.state is ConnectionState.CLOSED

    def hear(self, data: bytes) -> bytes:
        """What to say to these bytes; to a breach of the protocol, a Close that names it."""
        said = b""
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                said += self._answer(event)
        except RemoteProtocolError as error:
            if error.event_hint is not None:
                said += self._websocket.send(error.event_hint)
        return said

    def _answer(self, event: Event) -> bytes:
        match event:
            case Request():
                answer: Event = AcceptConnection(extensions=[PerMessageDeflate()])
            case Ping() | CloseConnection():
                answer = event.response()
            case TextMessage():
                self._text.append(event.data)
                if not event.message_finished:
                    return b""
                answer = TextMessage("".join(self._text))
                self._text.clear()
            case BytesMessage():
                self._binary.append(event.data)
                if not event.message_finished:
                    return b""
                answer = BytesMessage(b"".join(self._binary))
                self._binary.clear()
            case _:
                return b""
        return self._websocket.send(answer)


async def converse(stream: trio.SocketStream) -> None:
    echo = Echo()
    try:
        async for data in stream:
            await stream.send_all(echo.hear(bytes(data)))
            if echo.over:
                break
    except trio.BrokenResourceError:
        pass  # some cases leave without a word
    finally:
        await trio.aclose_forcefully(stream)


if __name__ == "__main__":
    trio.run(partial(trio.serve_tcp, converse, int(sys.argv[1]), host="127.0.0.1"))
