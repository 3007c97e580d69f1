"""A gateway with a provider before it and an upstream behind it, all in the test's own event loop.

For what must be seen from outside, but needs no process of its own. The upstream is a double that
does as it is told; real brokers are in ``tests/integration``.
"""

import io
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog
import trio
from attrs import define, field

from tests.oidc_provider import OidcProvider
from tests.tcp import Peer
from trio_ws_gateway import gateway, leg, logs
from trio_ws_gateway.config.loading import load
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.handshake import accept_key
from trio_ws_gateway.wire.http import Request, Response, build_head, parse_request, parse_response
from trio_ws_gateway.wire.mqtt import Connect, connack

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3
HANDSHAKE = (
    ("Host", "gateway.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)


Answer = Callable[[Request], bytes]


def agreeing(changes: Mapping[str, str] | None = None, rest: bytes = b"") -> Answer:
    """A 101 that chooses the first subprotocol on offer and no extension, and ``rest`` in the same segment.

    ``changes`` are made to its headers; an empty value leaves one out.
    """

    def answer(request: Request) -> bytes:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_key(request.headers.get("sec-websocket-key") or ""),
            "Sec-WebSocket-Protocol": next(iter(request.headers.tokens("sec-websocket-protocol")), ""),
            **(changes or {}),
        }
        kept = [(name, value) for name, value in headers.items() if value]
        return build_head("HTTP/1.1 101 Switching Protocols", kept) + rest

    return answer


def answering(status_line: str) -> Answer:
    """Just that, and no header."""
    return lambda _request: build_head(status_line, [])


@define
class Upstream:
    """A server whose connections the test takes one by one with ``next``. ``answer`` is what it says to a handshake."""

    port: int
    answer: Answer = field(factory=agreeing)
    requests: list[Request] = field(factory=list)
    connections: int = 0
    _taken: Any = field(factory=lambda: trio.open_memory_channel[Peer](100))

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/raw"

    async def next(self) -> Peer:
        """The next connection that has shaken hands."""
        with trio.fail_after(10):
            peer: Peer = await self._taken[1].receive()
        return peer

    async def accept(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        peer = Peer(sock, masked=False)
        try:
            request = parse_request(await peer.read_until(b"\r\n\r\n"))
            self.requests.append(request)
            await peer.send(self.answer(request))
            self._taken[0].send_nowait(peer)
            await trio.sleep_forever()
        except (EOFError, OSError):
            pass
        finally:
            leg.close(sock)


@define
class House:
    """``knock`` is how tests come in; ``port`` is the gateway's."""

    provider: OidcProvider
    upstream: Upstream
    port: int
    scope: trio.CancelScope  # of the gateway
    _output: io.StringIO

    def drain(self) -> None:
        """Send the gateway the signal that drains it."""
        signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Peer]:
        """A bare TCP connection to the gateway."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        with Peer(sock, masked=True) as peer:
            yield peer

    @asynccontextmanager
    async def knock(
        self,
        *headers: tuple[str, str],
        token: str | None = None,
        target: str = "/ws",
        without: Iterable[str] = (),
    ) -> AsyncIterator[tuple[Peer, Response]]:
        """Ask for an upgrade; the peer and the answer's head. ``token`` goes into ``Authorization``."""
        fields = [each for each in HANDSHAKE if each[0] not in without]
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        async with self.connect() as peer:
            await peer.send(build_head(f"GET {target} HTTP/1.1", [*fields, *headers]))
            yield peer, parse_response(await peer.read_until(b"\r\n\r\n"))

    @asynccontextmanager
    async def open(
        self, *headers: tuple[str, str], token: str | None = None, target: str = "/ws"
    ) -> AsyncIterator[Peer]:
        """A client that has its 101."""
        async with self.knock(*headers, token=token, target=target) as (client, answer):
            assert answer.status == 101, answer
            yield client

    @asynccontextmanager
    async def raw(self, *headers: tuple[str, str]) -> AsyncIterator[tuple[Peer, Peer]]:
        """A raw session with a good token: the client and its upstream."""
        async with self.open(*headers, token=self.provider.mint()) as client:
            yield client, await self.upstream.next()

    @asynccontextmanager
    async def mqtt(self, connect: Connect, *, welcomed: bool = True) -> AsyncIterator[tuple[Peer, Peer]]:
        """An MQTT session whose CONNECT has passed, and with ``welcomed`` its CONNACK: client and broker."""
        async with self.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
            await client.say(BINARY, connect.to_bytes())
            broker = await self.upstream.next()
            await broker.hear()
            if welcomed:
                await broker.say(BINARY, connack(connect.level, 0))
                await client.hear()
            yield client, broker

    def connect_packet(self, level: int = 4, **fields: Any) -> Connect:  # noqa: ANN401
        """The CONNECT of a client whose password is a good token."""
        given = {"client_id": "c-1", "username": "anybody", "password": self.provider.mint().encode(), **fields}
        return Connect(level=level, **given)

    async def refusal(
        self, *headers: tuple[str, str], token: str | None = None, target: str = "/ws"
    ) -> tuple[Response, dict[str, Any]]:
        """Knock and be refused: the answer's head, and the problem that its body describes."""
        async with self.knock(*headers, token=token, target=target) as (client, answer):
            return answer, json.loads(await client.read_to_end())

    async def get(self, target: str, method: str = "GET") -> tuple[Response, bytes]:
        """A plain request: the answer's head and body."""
        return await self.ask(build_head(f"{method} {target} HTTP/1.1", [("Host", "gateway.example")]))

    async def ask(self, request: bytes) -> tuple[Response, bytes]:
        """Whatever bytes as a request: the answer's head and body."""
        async with self.connect() as peer:
            await peer.send(request)
            return parse_response(await peer.read_until(b"\r\n\r\n")), await peer.read_to_end()

    async def samples(self) -> dict[str, float]:
        """What ``/metrics`` says now, by name and labels as written."""
        _, body = await self.get("/metrics")
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    @property
    def output(self) -> str:
        return self._output.getvalue()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of that event."""
        return [line for line in map(json.loads, self.output.splitlines()) if line["event"] == event]

    async def last_line(self, event: str) -> dict[str, Any]:
        """The last log line of that event, as soon as there is one."""
        with trio.fail_after(10):
            while not (lines := self.lines(event)):
                await trio.sleep(0.005)
        return lines[-1]

    async def end(self) -> dict[str, Any]:
        """The line of the one session of this house, let in or not, as soon as it has ended."""
        with trio.fail_after(10):
            while not (lines := self.lines("session ended") + self.lines("refused")):
                await trio.sleep(0.005)
        (line,) = lines
        return line


class Serve(Protocol):
    async def __call__(
        self, settings: Settings, log: structlog.typing.FilteringBoundLogger, *, task_status: trio.TaskStatus[int]
    ) -> None: ...


@asynccontextmanager
async def house(serve: Serve = gateway.serve, /, **settings: str) -> AsyncIterator[House]:
    """A running gateway with these settings on top of short time-outs; ready, unless they name another provider."""
    output = io.StringIO()
    logs.configure(format="json", level="debug", file=output)
    async with OidcProvider().serving() as provider, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, upstream.accept, listeners)
        environment = {
            "LISTEN": "127.0.0.1:0",
            "JWKS_URL": provider.jwks_uri,
            "UPSTREAM_WS_URL": f"ws://127.0.0.1:{upstream.port}/mqtt",
            "RAW_WS_BACKEND_URL": upstream.url,
            "WS_CONTROL_TIMEOUT_SECONDS": "0.3",
            "WS_CLOSE_TIMEOUT_SECONDS": "0.3",
            "WS_DIAL_RETRY_INTERVAL_SECONDS": "0.05",
            "CB_HEALTHCHECK_INTERVAL_SECONDS": "0",  # whoever connects to the upstream is a session
            "LOG_LEVEL": "debug",
            **settings,
        }
        scope = trio.CancelScope()
        port = await nursery.start(_serve, serve, scope, environment)
        running = House(provider, upstream, port, scope, output)
        with trio.fail_after(10):
            while "JWKS_URL" not in settings and (await running.get("/readyz"))[1].strip() != b"ready":
                await trio.sleep(0.01)
        yield running
        nursery.cancel_scope.cancel()


async def _serve(
    serve: Serve,
    scope: trio.CancelScope,
    environment: dict[str, str],
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    with scope:
        await serve(load(environment).settings, structlog.get_logger(), task_status=task_status)
