"""A further protocol is one file and one line: nothing else in the gateway has heard of whispering."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import trio

from tests.house import House, Upstream, agreeing, house
from tests.protocols.whisper import WhisperAdapter
from trio_ws_gateway import wiring
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.protocols.registry import Registry, standard_registry
from trio_ws_gateway.wire.frames import TEXT

PROTOCOL = "Sec-WebSocket-Protocol"


def with_whisper(settings: Settings) -> Registry:
    """The line."""
    return Registry([WhisperAdapter(), *standard_registry(settings).adapters])


@asynccontextmanager
async def whispering(**settings: str) -> AsyncIterator[tuple[House, Upstream]]:
    """A gateway that knows the protocol, and the upstream that speaks it."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, upstream.accept, listeners)
        settings = {"UPSTREAM_WHISPER_URL": f"ws://127.0.0.1:{upstream.port}/whisper", **settings}
        with patch.object(wiring, "standard_registry", with_whisper):
            async with house(**settings) as home:
                yield home, upstream
        nursery.cancel_scope.cancel()


async def test_recognised_by_its_first_words() -> None:
    """Its greeting is known, its token is verified, and its own upstream hears what the protocol makes of it."""
    async with whispering() as (home, upstream), home.open() as client:
        await client.say(TEXT, f"WHISPER ann {home.provider.mint()}".encode())
        peer = await upstream.next()
        assert await peer.hear() == (TEXT, True, b"WHISPER ann")
        await peer.say(TEXT, b"psst")
        assert await client.hear() == (TEXT, True, b"psst")
        (request,) = upstream.requests
        assert (request.path, request.headers.get(PROTOCOL)) == ("/whisper", "whisper")
        assert home.upstream.connections == 0
        client.end_stream()
        line = await home.end()
        assert (line["protocol"], line["name"], line["sub"]) == ("whisper", "ann", "robot-7")
        assert (await home.samples())['ws_protocol_connections_total{protocol="whisper"}'] == 1


async def test_known_by_its_subprotocol() -> None:
    """A client that offers its subprotocol is answered with it, and a token in the header makes it no raw client."""
    async with (
        whispering() as (home, upstream),
        home.knock((PROTOCOL, "chat, whisper"), token=home.provider.mint()) as (client, answer),
    ):
        assert answer.headers.get(PROTOCOL) == "whisper"
        await client.say(TEXT, b"WHISPER ann -")
        assert await (await upstream.next()).hear() == (TEXT, True, b"WHISPER ann")


async def test_refused_in_its_own_words() -> None:
    """A bad token is refused in a text message of the protocol, before the Close."""
    async with whispering() as (home, upstream), home.open() as client:
        await client.say(TEXT, f"WHISPER ann {home.provider.mint(exp=1)}".encode())
        assert await client.hear() == (TEXT, True, b"SORRY invalid_token")
        assert await client.hear_close() == (1008, "JWT invalid or expired")
        assert upstream.connections == 0


async def test_greeting_that_is_none() -> None:
    """So is a greeting that never became one."""
    async with whispering() as (home, _), home.open() as client:
        await client.say(TEXT, b"WHISPER ann")
        assert await client.hear() == (TEXT, True, b"SORRY bad_first_message")
        assert await client.hear_close() == (1002, "Bad CONNECT")


async def test_upstream_that_must_choose() -> None:
    """An upstream that does not name the protocol's subprotocol is none of its upstreams."""
    async with whispering(WS_DIAL_RETRY_MAX="0") as (home, upstream), home.open() as client:
        upstream.answer = agreeing({PROTOCOL: ""})
        await client.say(TEXT, f"WHISPER ann {home.provider.mint()}".encode())
        assert await client.hear() == (TEXT, True, b"SORRY upstream_unavailable")
        assert "names no subprotocol" in (await home.end())["detail"]


async def test_without_an_upstream() -> None:
    """Where its upstream is not configured, the log names the setting that is missing."""
    async with whispering(UPSTREAM_WHISPER_URL="") as (home, _), home.open() as client:
        await client.say(TEXT, f"WHISPER ann {home.provider.mint()}".encode())
        assert await client.hear() == (TEXT, True, b"SORRY upstream_unavailable")
        assert (await home.end())["detail"] == "UPSTREAM_WHISPER_URL is not set"


async def test_goodbye_in_its_own_words() -> None:
    """When the gateway drains, both sides hear it in the protocol's words before their Close."""
    async with whispering() as (home, upstream), home.open() as client:
        await client.say(TEXT, f"WHISPER ann {home.provider.mint()}".encode())
        peer = await upstream.next()
        await peer.hear()
        home.drain()
        assert await client.hear() == (TEXT, True, b"SORRY draining")
        assert await client.hear_close() == (1012, "Service restart")
        assert await peer.hear() == (TEXT, True, b"BYE")
        assert await peer.hear_close() == (1001, "")
