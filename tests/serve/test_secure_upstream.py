"""Sessions whose upstream is behind TLS."""

import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from tests.certificates import Authority, accept_tls
from tests.house import House, agreeing, house
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.http import parse_request

MEBIBYTE = 1 << 20
MESSAGES = 8


@asynccontextmanager
async def secure_session(directory: Path) -> AsyncIterator[tuple[House, Peer, Peer]]:
    """A raw session with an upstream behind TLS: the house, the client, the upstream."""
    async with home_with_secure_upstream(directory) as (home, connections), home.open(token=home.provider.mint()) as it:
        with trio.fail_after(10):
            yield home, it, await connections.receive()


@asynccontextmanager
async def home_with_secure_upstream(
    directory: Path, name: str = "localhost", **settings: str
) -> AsyncIterator[tuple[House, trio.MemoryReceiveChannel[Peer]]]:
    """A house whose raw upstream is at ``wss://localhost``, with a certificate for ``name``; and its connections."""
    authority = Authority(directory)
    context: ssl.SSLContext = authority.server(name)
    taken, connections = trio.open_memory_channel[Peer](10)

    async def accept(stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        with suppress(OSError), Peer(await accept_tls(sock, context), masked=False) as peer:
            await peer.send(agreeing()(parse_request(await peer.read_until(b"\r\n\r\n"))))
            taken.send_nowait(peer)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, accept, listeners)
        url = f"wss://localhost:{listeners[0].socket.getsockname()[1]}/"
        async with house(RAW_WS_BACKEND_URL=url, UPSTREAM_CA_FILE=str(authority.ca_file), **settings) as home:
            yield home, connections
        nursery.cancel_scope.cancel()


async def test_bulk_both_ways(tmp_path: Path) -> None:
    """Megabytes pass through TLS in both directions at once, and the close handshake after them."""
    async with (
        home_with_secure_upstream(tmp_path) as (home, connections),
        home.open(token=home.provider.mint()) as client,
    ):
        upstream = await connections.receive()
        assert isinstance(upstream.sock, ssl.SSLSocket)
        messages = [os.urandom(MEBIBYTE) for _ in range(MESSAGES)]

        async def say_all(side: Peer) -> None:
            for message in messages:
                await side.say(BINARY, message)

        async def hear_all(side: Peer) -> None:
            for message in messages:
                opcode, fin, payload = await side.hear()
                assert (opcode, fin, len(payload)) == (BINARY, True, MEBIBYTE)
                assert payload == message

        async with trio.open_nursery() as nursery:
            for side in (client, upstream):
                nursery.start_soon(say_all, side)
                nursery.start_soon(hear_all, side)
        await client.say_close(1000, "done")
        assert await upstream.hear_close() == (1000, "done")
        await upstream.say_close(1000)
        assert await client.hear_close() == (1000, "")
        line = await home.last_line("session ended")
        assert line["cause"] == "closed_by_client"
        assert line["messages_from_client"] == line["messages_from_upstream"] == MESSAGES


async def test_small_messages_in_one_record(tmp_path: Path) -> None:
    """What TLS has decrypted already, and no poll can see, is passed on without waiting for more."""
    async with (
        home_with_secure_upstream(tmp_path) as (home, connections),
        home.open(token=home.provider.mint()) as client,
    ):
        upstream = await connections.receive()
        for size in (1, 125, 16_384, 65_536, 262_144, 262_145):
            await upstream.say(TEXT, b"x" * size)
            assert await client.hear() == (TEXT, True, b"x" * size)


async def test_upstream_that_is_lost(tmp_path: Path) -> None:
    """The end of TLS without a Close is an upstream that is lost."""
    async with (
        home_with_secure_upstream(tmp_path) as (home, connections),
        home.open(token=home.provider.mint()) as client,
    ):
        upstream = await connections.receive()
        upstream.reset()
        assert await client.hear_close() == (1011, "Upstream connection lost")


async def test_certificate_of_another(tmp_path: Path) -> None:
    """An upstream with another one's certificate is not spoken to: 502, and the log says why."""
    async with home_with_secure_upstream(tmp_path, "other.example", WS_DIAL_RETRY_MAX="0") as (home, _):
        answer, problem = await home.refusal(token=home.provider.mint())
        assert (answer.status, problem["cause"]) == (502, "upstream_unavailable")
        assert "certificate: Hostname mismatch" in (await home.end())["detail"]
