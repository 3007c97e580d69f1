"""Four ways to ask an upstream whether it is well. Each says why it is not; empty where it is.

A probe is nobody's session: it carries no client's token, and no header of one. Names are resolved afresh each time,
for they may be what is wrong. How long an answer may take, and what follows from it, is the caller's to decide.
"""

import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import trio
from attrs import evolve, frozen
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from trio_ws_gateway.config.values import WebSocketUrl, bracketed
from trio_ws_gateway.wire.mqtt import Connect, disconnect

GOODBYE_SECONDS = 1.0  # for the answer to our Close; an upstream that took the handshake is well without it
CONNACK: Final = 0x20
SERVER_UNAVAILABLE: Final = 0x03  # MQTT 3.1.1 3.2.2.3

Talk = Callable[[WebSocketConnection], Awaitable[str]]


@frozen(kw_only=True)
class Probes:
    """The ways to one upstream. ``subprotocol``: the one name that it is offered, and must choose."""

    url: WebSocketUrl
    tls: ssl.SSLContext
    subprotocol: str | None = None

    async def tcp(self) -> str:
        """Somebody listens."""
        async with await trio.open_tcp_stream(self.url.host, self.url.port):
            return ""

    async def http(self, target: str) -> str:
        """A GET of ``target`` is answered with less than 400."""
        scheme = "https" if self.url.secure else "http"
        url = f"{scheme}://{bracketed(self.url.host)}:{self.url.port}{target}"
        # No proxy of the environment's: sessions take none either. The caller's deadline is the only one.
        async with (
            httpx.AsyncClient(verify=self.tls, trust_env=False, timeout=None) as client,  # noqa: S113
            client.stream("GET", url) as response,
        ):
            return "" if response.status_code < 400 else f"answers {response.status_code}"

    async def websocket(self) -> str:
        """It shakes hands as for a session, and is left politely."""

        async def nothing_more(_: WebSocketConnection) -> str:
            return ""

        return await self._talk(nothing_more)

    async def mqtt(self, connect: Connect) -> str:
        """After the handshake it answers a CONNECT like ``connect``, under a client id that nobody else has.

        A broker that refuses this client is well; only one that calls itself unavailable is not.
        """
        packet = evolve(connect, client_id=f"probe-{secrets.token_hex(6)}").to_bytes()

        async def introduce(connection: WebSocketConnection) -> str:
            await connection.send_message(packet)
            heard = b""
            while len(heard) < 4:
                message = await connection.get_message()
                if isinstance(message, str):
                    return "answers a CONNECT with text"
                heard += message
            if heard[0] != CONNACK:
                return "answers a CONNECT with something else than a CONNACK"
            if heard[3] == SERVER_UNAVAILABLE:
                return "calls itself unavailable"
            if heard[3] == 0:
                await connection.send_message(disconnect(connect.level))
            return ""

        return await self._talk(introduce)

    async def _talk(self, talk: Talk) -> str:
        why = ""
        offered = () if self.subprotocol is None else (self.subprotocol,)
        stream = await self._stream()
        try:
            async with stream, trio.open_nursery() as nursery:
                connection = await wrap_client_stream(
                    nursery, stream, self.url.authority, self.url.target, subprotocols=offered
                )
                why = "names no subprotocol" if connection.subprotocol != self.subprotocol else await talk(connection)
                with trio.move_on_after(GOODBYE_SECONDS):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as rejected:
            why = f"answers {_only(rejected).status_code}, not 101"
        except* ConnectionClosed:
            why = "closes the connection"
        except* Exception:  # garbage is answered with errors of its own by each of the libraries beneath
            why = "speaks no WebSocket"
        return why

    async def _stream(self) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        if not self.url.secure:
            return await trio.open_tcp_stream(self.url.host, self.url.port)
        stream = await trio.open_ssl_over_tcp_stream(
            self.url.host, self.url.port, ssl_context=self.tls, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


def _only(group: BaseExceptionGroup[ConnectionRejected]) -> ConnectionRejected:
    """Of a nursery in which one task can raise it there is but one."""
    first = group.exceptions[0]
    return _only(first) if isinstance(first, BaseExceptionGroup) else first
