"""Clients that leave without a word, fall silent, or do not read: the proxy between hides none of it."""

import socket
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
import trio

from tests.proxies.front import behind
from tests.serve.outside import echo
from trio_ws_gateway.wire.frames import BINARY

pytestmark = pytest.mark.integration

MEBIBYTE = 1 << 20


async def test_vanished(kind: ModuleType, tmp_path: Path) -> None:
    """A client whose connection to the proxy breaks is lost, and its upstream hears the end."""
    async with behind(kind, tmp_path) as front, front.raw() as (client, upstream):
        client.reset()
        assert await upstream.read_to_end() == b""
        assert (await front.end())["cause"] == "client_lost"


async def test_unplugged(kind: ModuleType, tmp_path: Path) -> None:
    """A client that answers no ping any more is idle, though the proxy still holds its connection."""
    async with (
        behind(kind, tmp_path, WS_PING_INTERVAL_SECONDS="0.2", WS_IDLE_TIMEOUT_SECONDS="0.6") as front,
        front.raw() as (_client, upstream),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, upstream)
        assert (await front.end())["cause"] == "idle"
        nursery.cancel_scope.cancel()


async def test_slow(kind: ModuleType, tmp_path: Path) -> None:
    """A client that reads nothing is too slow as soon as the proxy's buffers are full."""
    async with (
        behind(kind, tmp_path, WS_WRITE_TIMEOUT_SECONDS="0.5") as front,
        front.raw() as (client, upstream),
        trio.open_nursery() as nursery,
    ):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        async def flood() -> None:
            with suppress(OSError):
                while True:
                    await upstream.say(BINARY, bytes(MEBIBYTE))

        nursery.start_soon(flood)
        assert (await front.end())["cause"] == "too_slow"
        nursery.cancel_scope.cancel()
