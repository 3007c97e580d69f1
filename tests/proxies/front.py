"""A house with a proxy before it."""

import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import trio
from attrs import define, evolve

from tests.certificates import Authority
from tests.house import House, house
from tests.servers.proxies import NAME, Place, Proxy
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.wire.http import Response, parse_response

TRUSTED = {"TRUSTED_PROXIES": "127.0.0.1/32"}
PREFIX = "/gateway"


@define
class Front(House):
    """The house as clients from ``source`` see it through the proxy: over TLS, and with a prefix before each path."""

    proxy: Proxy
    ca_file: Path
    source: str = "127.0.0.1"

    @property
    def websocket_url(self) -> str:
        return f"wss://{NAME}:{self.proxy.port}{PREFIX}/ws"

    def seen_from(self, source: str) -> "Front":
        return evolve(self, source=source)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Peer]:
        """A TLS connection to the proxy."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.proxy.port, local_address=self.source)
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        secure = await leg.start_tls(sock, ssl.create_default_context(cafile=self.ca_file), NAME)
        with Peer(secure, masked=True) as peer:
            yield peer

    @asynccontextmanager
    async def knock(
        self,
        *headers: tuple[str, str],
        token: str | None = None,
        target: str = "/ws",
        without: Iterable[str] = (),
    ) -> AsyncIterator[tuple[Peer, Response]]:
        async with House.knock(self, *headers, token=token, target=PREFIX + target, without=without) as knocked:
            yield knocked

    async def refusal(
        self, *headers: tuple[str, str], token: str | None = None, target: str = "/ws"
    ) -> tuple[Response, dict[str, Any]]:
        async with self.knock(*headers, token=token, target=target) as (client, answer):
            return answer, json.loads(await _body(client, answer))

    async def ask(self, request: bytes) -> tuple[Response, bytes]:
        async with self.connect() as peer:
            await peer.send(request)
            answer = parse_response(await peer.read_until(b"\r\n\r\n"))
            return answer, await _body(peer, answer)


async def _body(peer: Peer, answer: Response) -> bytes:
    """Proxies keep the connection open behind it."""
    return await peer.read(int(answer.headers.get("content-length") or "-1"))


def _certified(directory: Path) -> Path:
    """Make the directory, with a certificate in it. Returns what must be trusted for that."""
    directory.mkdir()
    authority = Authority(directory)
    authority.server(NAME)
    return authority.ca_file


@asynccontextmanager
async def in_front_of(
    home: House, kind: ModuleType, directory: Path, *, also: Sequence[int] = (), changes: Mapping[str, str] = {}
) -> AsyncIterator[Front]:
    """A proxy of that kind before the gateway of ``home``, and those at the ports ``also``."""
    ca_file = _certified(directory)
    place = Place(
        directory=directory, certificate=directory / "server.pem", gateways=[home.port, *also], changes=changes
    )
    proxy = await trio.to_thread.run_sync(kind.start, place)
    try:
        yield Front(
            home.provider,
            home.upstream,
            home.port,
            home.scope,
            home._output,
            proxy,
            ca_file,
        )
    finally:
        proxy.stop()


@asynccontextmanager
async def behind(
    kind: ModuleType, directory: Path, *, changes: Mapping[str, str] = {}, **settings: str
) -> AsyncIterator[Front]:
    """A gateway that trusts the proxy before it, unless ``settings`` say otherwise."""
    async with (
        house(**{**TRUSTED, **settings}) as home,
        in_front_of(home, kind, directory / "proxy", changes=changes) as front,
    ):
        yield front
