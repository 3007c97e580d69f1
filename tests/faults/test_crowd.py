"""A thousand clients at once that vanish, trickle or read nothing, beside good ones, at a gateway process."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio

from tests.faults.others import before_an_echo, nothing_stays, undisturbed
from tests.house import HANDSHAKE, House
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head

CROWD, LANES = 1000, 25
DEADLINE_SECONDS = 2.0  # each of the gateway's
AT_MOST_SECONDS = DEADLINE_SECONDS + 5.0  # the rest is for a goodbye, and for a machine that has other things to do
TRICKLED_SECONDS = DEADLINE_SECONDS + 1.0
SETTINGS = {
    "WS_HANDSHAKE_TIMEOUT_SECONDS": "2",
    "WS_AUTH_TIMEOUT_SECONDS": "2",
    "WS_PING_INTERVAL_SECONDS": "0.7",
    "WS_IDLE_TIMEOUT_SECONDS": "2",
    "WS_WRITE_TIMEOUT_SECONDS": "2",
    "TCP_RECEIVE_BUFFER_BYTES": "16384",  # soon full
    "TCP_UNSENT_MAX_BYTES": "16384",
    "LOG_LEVEL": "info",
}
UPGRADE = build_head("GET /ws HTTP/1.1", HANDSHAKE)
MESSAGE = build_frame(BINARY, bytes(100), masked=True)


async def one_byte_a_second(client: Peer, data: bytes) -> None:
    for byte in data:
        await client.send(bytes([byte]))
        await trio.sleep(1)


async def cut(client: Peer) -> None:
    """Until the gateway has cut it: in time."""
    with trio.fail_after(AT_MOST_SECONDS):
        await client.read_to_end()


async def head_that_trickles(_: str, client: Peer) -> None:
    await until_cut(client, one_byte_a_second, UPGRADE)


async def first_message_that_trickles(token: str, client: Peer) -> None:
    await client.send(UPGRADE)
    await client.read_until(b"\r\n\r\n")
    await until_cut(client, one_byte_a_second, build_frame(TEXT, token.encode(), masked=True))


async def says_nothing(_: str, client: Peer) -> None:
    await cut(client)


async def until_cut(client: Peer, do: Callable[[Peer, bytes], Awaitable[None]], data: bytes) -> None:
    async with trio.open_nursery() as nursery:

        async def doing() -> None:
            with suppress(OSError):
                await do(client, data)

        nursery.start_soon(doing)
        await cut(client)
        nursery.cancel_scope.cancel()


async def enter(token: str, client: Peer) -> None:
    await client.send(UPGRADE[:-2] + f"Authorization: Bearer {token}\r\n\r\n".encode())
    assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


async def frame_that_trickles(token: str, client: Peer) -> None:
    """It is let go on; then it leaves within the frame."""
    await enter(token, client)
    with trio.move_on_after(TRICKLED_SECONDS):
        await one_byte_a_second(client, MESSAGE)


async def vanishes(token: str, client: Peer) -> None:
    await enter(token, client)
    await client.say(BINARY, b"hello")
    await client.hear()
    client.vanish()
    await trio.sleep(TRICKLED_SECONDS)


async def vanishes_early(_: str, client: Peer) -> None:
    await client.send(UPGRADE)
    client.vanish()
    await trio.sleep(TRICKLED_SECONDS)


async def never_reads(token: str, client: Peer) -> None:
    """It says more than it and its upstream have room for, and reads nothing of what is said back."""
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        client.sock.setsockopt(socket.SOL_SOCKET, buffer, 16_384)
    await enter(token, client)
    with trio.fail_after(AT_MOST_SECONDS), suppress(OSError):
        while True:
            await client.say(BINARY, bytes(50_000))


KINDS = (
    *(head_that_trickles, first_message_that_trickles, says_nothing, frame_that_trickles),
    *(vanishes, vanishes_early, never_reads),
)


@pytest.mark.alone
async def test_a_thousand_at_once(tmp_path: Path) -> None:
    """Each of a thousand is cut in time, but for who trickles within a frame: he is slow, and no more. Ten good ones
    hear their answers all the while, and nothing of the thousand stays."""
    async with (
        before_an_echo(tmp_path, **SETTINGS) as there,
        nothing_stays(there),
        undisturbed(there.house, "raw", 10),
    ):
        await crowd(there.house)


async def crowd(house: House) -> None:
    token, lanes = house.provider.mint(), trio.CapacityLimiter(LANES)

    async def come(number: int) -> None:
        async with AsyncExitStack() as stack:
            async with lanes:
                client = await stack.enter_async_context(house.connect())
            with suppress(EOFError, OSError):
                await KINDS[number % len(KINDS)](token, client)

    async with trio.open_nursery() as nursery:
        for number in range(CROWD):
            nursery.start_soon(come, number)
