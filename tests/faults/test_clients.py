"""Clients that vanish without a FIN, trickle, or read nothing: each is cut in time, and the others go on."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
import trio

from tests.faults.double import flooding, harmed
from tests.faults.others import heard, session
from tests.house import HANDSHAKE, House
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head

SOON = {
    "WS_HANDSHAKE_TIMEOUT_SECONDS": "0.3",
    "WS_AUTH_TIMEOUT_SECONDS": "0.3",
    "WS_PING_INTERVAL_SECONDS": "0.2",
    "WS_IDLE_TIMEOUT_SECONDS": "0.9",  # longer than a busy machine keeps the others waiting
    "WS_WRITE_TIMEOUT_SECONDS": "0.3",
}
DEADLINE_SECONDS = 0.9 + 2.0  # the rest is for a goodbye, and for a machine that has other things to do
BYTE_SECONDS = 0.04

Come = Callable[[House, Peer], Awaitable[None]]


async def half_a_head(_home: House, client: Peer) -> None:
    await client.send(b"GET /ws HTTP/1.1\r\nHost: ")


async def upgraded(_home: House, client: Peer) -> None:
    await client.send(build_head("GET /ws HTTP/1.1", HANDSHAKE))
    await client.read_until(b"\r\n\r\n")


async def half_a_first_message(home: House, client: Peer) -> None:
    await upgraded(home, client)
    await client.say(TEXT, home.provider.mint().encode()[:20], fin=False)


async def ended(home: House, count: int = 1) -> list[object]:
    """The causes of so many sessions that were not let go on."""
    with trio.fail_after(DEADLINE_SECONDS):
        while len(lines := home.lines("session ended") + home.lines("refused")) < count:
            await trio.sleep(0.005)
    return [line["cause"] for line in lines]


async def test_vanish_before_their_sessions() -> None:
    """Who is gone before it is known who it is has said nothing in time."""
    comes: tuple[Come, ...] = (half_a_head, upgraded, half_a_first_message)
    async with harmed("raw", **SOON) as (home, _), AsyncExitStack() as stack:
        for come in comes:
            client = await stack.enter_async_context(home.connect())
            await come(home, client)
            client.vanish()
        assert await ended(home, len(comes)) == ["nothing_said"] * len(comes)


@pytest.mark.parametrize("protocol", ["raw", "mqtt"])
async def test_vanishes(protocol: str) -> None:
    """Who is gone in mid-session answers no ping, and is idle."""
    async with harmed(protocol, **SOON) as (home, _), session(home, protocol) as client:
        client.vanish()
        assert await ended(home) == ["idle"]
        [line] = home.lines("session ended")
        assert line["detail"] == "client"


async def test_vanishes_while_it_is_spoken_to() -> None:
    """Who is gone while its upstream says much is too slow, or idle, whatever comes first."""
    async with harmed("raw", **SOON) as (home, double):
        double.behave = flooding
        async with home.open(token=home.provider.mint()) as client:
            await client.hear()
            client.vanish()
            assert await ended(home) in (["idle"], ["too_slow"])


async def test_never_reads() -> None:
    """Who reads nothing of what its upstream says is cut when it has taken nothing for the write timeout."""
    async with harmed("raw", **{**SOON, "WS_IDLE_TIMEOUT_SECONDS": "60"}) as (home, double):
        double.behave = flooding
        async with home.open(token=home.provider.mint()):
            assert await ended(home) == ["too_slow"]
        assert (await home.samples())['ws_held_bytes{direction="upstream_to_client"}'] == 0


async def test_never_reads_its_echo() -> None:
    """So is who says much, and reads nothing of what is said back."""
    async with (
        harmed("raw", **SOON) as (home, _),
        home.open(token=home.provider.mint()) as client,
        trio.open_nursery() as nursery,
    ):

        async def talk() -> None:
            with suppress(OSError):  # it is cut
                while True:
                    await client.say(BINARY, bytes(100_000))

        nursery.start_soon(talk)
        assert await ended(home) in (["too_slow"], ["idle"])
        nursery.cancel_scope.cancel()


async def trickle(client: Peer, data: bytes) -> None:
    for byte in data:
        await client.send(bytes([byte]))
        await trio.sleep(BYTE_SECONDS)


async def test_trickles_its_head() -> None:
    """One deadline holds for the whole head, however many bytes trickle in."""
    async with harmed("raw", **SOON) as (home, _), home.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(trickle, client, build_head("GET /ws HTTP/1.1", HANDSHAKE))
        with trio.fail_after(DEADLINE_SECONDS):
            assert (await client.read_until(b"\r\n")).startswith(b"HTTP/1.1 408 ")
        nursery.cancel_scope.cancel()


async def test_trickles_its_first_message() -> None:
    """And one for the whole first message, be it in one frame or in many."""
    async with harmed("raw", **SOON) as (home, _), home.open() as one, home.open() as other:
        token = home.provider.mint().encode()
        fragments = b"".join(build_frame(CONTINUATION, bytes([byte]), fin=False, masked=True) for byte in token)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, one, build_frame(TEXT, token, masked=True))
            await other.say(TEXT, fin=False)
            nursery.start_soon(trickle, other, fragments)
            with trio.fail_after(DEADLINE_SECONDS):
                for client in (one, other):
                    assert await client.hear_close() == (1008, "Authentication timeout")
            nursery.cancel_scope.cancel()


async def test_trickles_a_message() -> None:
    """Who trickles a frame in mid-session is slow and no more: what takes longer than any timeout arrives, whole; who
    stops in the middle of one is idle."""
    async with harmed("raw", **SOON) as (home, _), home.open(token=home.provider.mint()) as client:
        message = b"slowly, byte by byte"
        await trickle(client, build_frame(BINARY, message, masked=True))
        assert await heard(client) == (BINARY, True, message)
        await client.send(build_frame(BINARY, message, masked=True)[:-1])
        client.vanish()
        assert await ended(home) == ["idle"]
