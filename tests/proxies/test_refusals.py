"""Whoever is refused behind a proxy hears why, as without one."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.proxies.front import behind
from trio_ws_gateway.wire.frames import TEXT
from trio_ws_gateway.wire.http import build_head

pytestmark = pytest.mark.integration


async def test_before_the_upgrade(kind: ModuleType, tmp_path: Path) -> None:
    """A bad token is a 401 that says so, a page from elsewhere a 403, and what wants no WebSocket a 426."""
    async with behind(kind, tmp_path, WS_ALLOWED_ORIGINS="https://app.example.com") as front:
        answer, problem = await front.refusal(token="eyJhbGciOiJub25lIn0.e30.")
        assert (answer.status, problem["cause"]) == (401, "invalid_token")
        assert answer.headers.get("www-authenticate") == 'Bearer error="invalid_token"'
        answer, problem = await front.refusal(("Origin", "https://evil.example"), token=front.provider.mint())
        assert (answer.status, problem["cause"]) == (403, "forbidden")
        answer, _ = await front.ask(build_head("GET /gateway/ws HTTP/1.1", [("Host", "gateway.example")]))
        assert answer.status == 426


async def test_path(kind: ModuleType, tmp_path: Path) -> None:
    """A path that the proxy passes on and the gateway does not know is the gateway's 404."""
    async with behind(kind, tmp_path, WS_PATH="/elsewhere") as front:
        answer, problem = await front.refusal(token=front.provider.mint())
        assert (answer.status, problem["cause"]) == (404, "not_found")


async def test_upstream_that_is_away(kind: ModuleType, tmp_path: Path) -> None:
    """An upstream that cannot be reached is a 502 of the gateway's own."""
    async with behind(kind, tmp_path, RAW_WS_BACKEND_URL="ws://127.0.0.1:9/", WS_DIAL_RETRY_MAX="0") as front:
        answer, problem = await front.refusal(token=front.provider.mint())
        assert (answer.status, problem["cause"]) == (502, "upstream_unavailable")


async def test_after_the_upgrade(kind: ModuleType, tmp_path: Path) -> None:
    """Close codes arrive: the gateway's own, and those of an upstream."""
    async with behind(kind, tmp_path) as front:
        async with front.open() as client:
            await client.say(TEXT, b"no token")
            assert await client.hear_close() == (1008, "Token missing")
        async with front.raw() as (client, upstream):
            await upstream.say_close(4321, "out of tea")
            assert await client.hear_close() == (4321, "out of tea")
            await client.say_close(4321)
            assert await upstream.hear_close() == (4321, "")
