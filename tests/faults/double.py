"""An upstream that misbehaves as no real server does on demand, with a house before it whose other sessions go on."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, field

from tests.faults.others import SETTLE_SECONDS, undisturbed
from tests.house import House, agreeing, house
from tests.serve.outside import echo
from tests.serve.test_leaks import back_to, settled
from tests.serve.visits import backend
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.http import Request, parse_request
from trio_ws_gateway.wire.mqtt import connack, parse_connect

OTHER = {"raw": "mqtt", "mqtt": "raw"}
SETTING = {"raw": "RAW_WS_BACKEND_URL", "mqtt": "UPSTREAM_WS_URL"}

VANISHED_SECONDS = 1.5

Behaviour = Callable[[Peer, Request], Awaitable[None]]
"""What an upstream does once it has read a handshake; when it returns the connection is closed."""


async def well(peer: Peer, request: Request) -> None:
    await peer.send(agreeing()(request))
    await echo(peer)


async def silent(peer: Peer, _request: Request) -> None:
    await peer.read_to_end()


async def broken(peer: Peer, _request: Request) -> None:
    await peer.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


async def no_http(peer: Peer, _request: Request) -> None:
    await peer.send(bytes(range(256)))


async def welcome(peer: Peer, request: Request) -> None:
    """Agree, let an MQTT client in, and hear one message."""
    await peer.send(agreeing()(request))
    if "mqtt" in request.headers.tokens("sec-websocket-protocol"):
        _, _, packet = await peer.hear()
        await peer.say(BINARY, connack(parse_connect(packet).level, 0))
    await peer.hear()


def saying_last(words: bytes, *, reset: bool = False) -> Behaviour:
    """Welcome a client, say that, and be gone."""

    async def behave(peer: Peer, request: Request) -> None:
        await welcome(peer, request)
        await peer.send(words)
        if reset:
            peer.reset()

    return behave


async def vanishing(peer: Peer, request: Request) -> None:
    """Welcome a client, and be gone without a word."""
    await welcome(peer, request)
    peer.vanish()
    await trio.sleep(VANISHED_SECONDS)


async def flooding(peer: Peer, request: Request) -> None:
    """Agree, and say much without a pause."""
    await peer.send(agreeing()(request))
    while True:
        await peer.say(BINARY, bytes(100_000))
        await trio.lowlevel.checkpoint()  # who reads as fast must not have all of the loop


HALF_A_FRAME = build_frame(BINARY, bytes(1000), masked=False)[:500]
HALF_A_HEADER = b"\x82\x7e"
GARBAGE = b"\xff" * 100


@define
class Double:
    """Behaves in the one way or the other, whoever comes, once it has ``come_up`` in the nursery."""

    nursery: trio.Nursery
    behave: Behaviour = well
    port: int = 0
    _listening: trio.CancelScope = field(factory=trio.CancelScope)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def come_up(self) -> None:
        """Listen (again, on the same port)."""
        await self.nursery.start(self._serve)

    def go_down(self) -> None:
        """Refuse connections, and drop those that there are."""
        self._listening.cancel()

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        with trio.CancelScope() as self._listening:
            task_status.started()
            await trio.serve_listeners(self._converse, listeners)

    async def _converse(self, stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        with Peer(sock, masked=False) as peer, suppress(EOFError, OSError, trio.TooSlowError):
            await self.behave(peer, parse_request(await peer.read_until(b"\r\n\r\n")))


@asynccontextmanager
async def harmed(protocol: str, **settings: str) -> AsyncIterator[tuple[House, Double]]:
    """A house whose upstream of that protocol is the double. Sessions of the other one go on; nothing stays."""
    async with trio.open_nursery() as nursery:
        double = Double(nursery)
        await double.come_up()
        upstreams = {
            SETTING[protocol]: double.url,
            SETTING[OTHER[protocol]]: f"ws://127.0.0.1:{await nursery.start(backend)}/",
        }
        terms = {"WS_DIAL_TIMEOUT_SECONDS": "0.3", "WS_DIAL_RETRY_MAX": "1", "CB_FAILURE_THRESHOLD": "2"}
        async with house(**{**upstreams, **terms, **settings}) as home:
            began = await settled()
            async with undisturbed(home, OTHER[protocol]):
                yield home, double
            await nobody_there(home)
            await back_to(began)
            assert home.lines("fault") == []
        nursery.cancel_scope.cancel()


async def nobody_there(home: House) -> None:
    with trio.fail_after(SETTLE_SECONDS):
        while (samples := await home.samples())["ws_active_sessions"] or samples["ws_handshakes"] > 1:
            await trio.sleep(0.02)
