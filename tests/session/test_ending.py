"""How a session ends on the wire: Close frames pass, streams are flushed, and nothing is left open."""

from typing import Any
from unittest.mock import patch

import pytest
import trio

from tests.house import House, house
from tests.tcp import Peer
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.relay.relay import Relay
from trio_ws_gateway.session import Session
from trio_ws_gateway.wire.frames import BINARY, CLOSE, TEXT

SIDES = ("client", "upstream")


def by_name(client: Peer, upstream: Peer, name: str) -> tuple[Peer, Peer]:
    """The side of that name, and the other."""
    return (client, upstream) if name == "client" else (upstream, client)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("payload", [b"", b"\x03", b"\x03\xed", b"\x03\xe8" + b"\xff" * 123, b"\x0f\xa0gone fishing"])
async def test_close_passes_as_it_came(side: str, payload: bytes) -> None:
    """A Close frame passes to the other side whatever it holds, and so does the answer."""
    async with house() as home, home.raw() as both:
        says, hears = by_name(*both, side)
        await says.say(CLOSE, payload)
        assert await hears.hear() == (CLOSE, True, payload)
        await hears.say(CLOSE, payload)
        assert await says.hear() == (CLOSE, True, payload)
        assert await says.read_to_end() == b""
        assert await hears.read_to_end() == b""
        assert (await home.end())["cause"] == f"closed_by_{side}"


@pytest.mark.parametrize("side", SIDES)
async def test_close_that_is_not_answered(side: str) -> None:
    """The other side has WS_CLOSE_TIMEOUT_SECONDS to answer a Close; then both are cut."""
    async with house(WS_CLOSE_TIMEOUT_SECONDS="0.2") as home, home.raw() as both:
        says, hears = by_name(*both, side)
        began_at = trio.current_time()
        await says.say_close(1000)
        assert await hears.hear_close() == (1000, "")
        assert await says.read_to_end() == b""
        assert await hears.read_to_end() == b""
        assert 0.15 < trio.current_time() - began_at < 2
        assert (await home.end())["cause"] == f"closed_by_{side}"


@pytest.mark.parametrize("side", SIDES)
async def test_what_is_said_between_close_and_answer(side: str) -> None:
    """What the other side still says before it answers a Close passes."""
    async with house() as home, home.raw() as both:
        says, hears = by_name(*both, side)
        await says.say_close(1000)
        await hears.hear_close()
        await hears.say(TEXT, b"one more thing")
        await hears.say_close(1000)
        assert await says.hear() == (TEXT, True, b"one more thing")
        assert await says.hear_close() == (1000, "")


async def test_nothing_passes_behind_a_close() -> None:
    """What a client says behind its Close goes nowhere."""
    async with house() as home, home.raw() as (client, upstream):
        await client.say_close(1000)
        await client.say(TEXT, b"too late")
        assert await upstream.hear_close() == (1000, "")
        await upstream.say_close(1000)
        assert await upstream.read_to_end() == b""


@pytest.mark.parametrize("side", SIDES)
async def test_end_of_stream_is_flushed_first(side: str) -> None:
    """All that a side said before the end of its stream reaches the other first."""
    async with house() as home, home.raw() as both:
        says, hears = by_name(*both, side)
        message = bytes(range(256)) * 4096
        async with trio.open_nursery() as nursery:

            async def say_much_and_leave() -> None:
                for _ in range(8):
                    await says.say(BINARY, message)
                says.end_stream()

            nursery.start_soon(say_much_and_leave)
            for _ in range(8):
                assert await hears.hear() == (BINARY, True, message)
        if side == "upstream":
            assert await hears.hear_close() == (1011, "Upstream connection lost")
        else:
            assert await hears.read_to_end() == b""


async def test_nothing_is_left_of_a_session() -> None:
    """When the last session has ended, nobody is active and both connections of each are closed."""
    async with house() as home:
        upstreams = []
        for _ in range(5):
            async with home.raw() as (_, upstream):
                upstreams.append(upstream)
        for upstream in upstreams:
            assert await upstream.read_to_end() == b""
        await all_ended(home, 5)
        assert (await home.samples())["ws_active_sessions"] == 0


async def all_ended(home: House, sessions: int) -> None:
    with trio.fail_after(5):
        while len(home.lines("session ended")) < sessions:
            await trio.sleep(0.005)


async def test_end_that_comes_too_late_for_the_opening() -> None:
    """An end that nothing before the relay can hear any more, because nothing there waits, is the relay's."""
    connect = Session._connect

    def ended_meanwhile(session: Session, *given: Any) -> Relay:  # noqa: ANN401
        session.end(Cause.DRAINING)
        return connect(session, *given)

    with patch.object(Session, "_connect", ended_meanwhile):
        async with house() as home, home.raw() as (client, upstream):
            assert await client.hear_close() == (1012, "Service restart")
            assert (await upstream.hear_close())[0] == 1001
            client.end_stream()
            assert (await home.end())["cause"] == "draining"
