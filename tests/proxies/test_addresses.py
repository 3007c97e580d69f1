"""Whose address and which names count behind a proxy: what the proxy says, never what a client says."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.house import HANDSHAKE, house
from tests.proxies.front import behind
from trio_ws_gateway.wire.frames import TEXT
from trio_ws_gateway.wire.http import build_head

pytestmark = pytest.mark.integration

ROBOT, OTHER = "127.0.0.2", "127.0.0.3"  # where clients connect from; the proxy connects from 127.0.0.1
FORGED = (
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-For", "203.0.113.8, 127.0.0.1"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-User", "admin"),
    ("X-Real-IP", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7"),
    ("X_Forwarded_For", "203.0.113.7"),
    ("X_Forwarded_User", "admin"),
)


async def test_client_behind_a_trusted_proxy(kind: ModuleType, tmp_path: Path) -> None:
    """With TRUSTED_PROXIES the log and the raw upstream know the client's own address, the scheme and the name."""
    async with behind(kind, tmp_path) as front:
        async with front.seen_from(ROBOT).raw():
            [request] = front.upstream.requests
            assert request.headers.all("x-forwarded-for") == (f"{ROBOT}, 127.0.0.1",)
            assert request.headers.all("x-forwarded-proto") == ("https",)
            assert request.headers.all("x-forwarded-host") == ("gateway.example",)
        assert (await front.end())["client"] == ROBOT


async def test_forged_headers(kind: ModuleType, tmp_path: Path) -> None:
    """What a client says under the proxy's names reaches neither the log nor the raw upstream."""
    async with behind(kind, tmp_path) as front:
        async with front.seen_from(ROBOT).raw(*FORGED):
            [request] = front.upstream.requests
            said = repr(list(request.headers))
            for forged in ("203.0.113.", "gopher", "evil.example", "admin"):
                assert forged not in said
            assert request.headers.all("x-forwarded-for") == (f"{ROBOT}, 127.0.0.1",)
        assert (await front.end())["client"] == ROBOT


async def test_proxy_that_is_not_trusted(kind: ModuleType, tmp_path: Path) -> None:
    """Without TRUSTED_PROXIES every client is the proxy."""
    async with behind(kind, tmp_path, TRUSTED_PROXIES="") as front:
        async with front.seen_from(ROBOT).raw(*FORGED):
            [request] = front.upstream.requests
            assert request.headers.all("x-forwarded-for") == ("127.0.0.1",)
            assert request.headers.all("x-forwarded-proto") == ("http",)
        assert (await front.end())["client"] == "127.0.0.1"


async def test_limits(kind: ModuleType, tmp_path: Path) -> None:
    """Clients without a token have each their own limit, and nobody gets another's with a forged address."""
    async with (
        behind(kind, tmp_path, ALLOW_ANONYMOUS="true", RATE_LIMIT_PER_SECOND="0.001", RATE_LIMIT_BURST="1") as front,
        front.seen_from(ROBOT).open() as robot,
        front.seen_from(ROBOT).open(("X-Forwarded-For", OTHER)) as same_robot,
        front.seen_from(OTHER).open() as other,
    ):
        await robot.say(TEXT, b"one")
        assert await (await front.upstream.next()).hear() == (TEXT, True, b"one")
        await same_robot.say(TEXT, b"two")
        assert await same_robot.hear_close() == (1008, "Rate limit exceeded")
        await other.say(TEXT, b"one")
        await front.upstream.next()  # that of ``same_robot``
        assert await (await front.upstream.next()).hear() == (TEXT, True, b"one")


async def test_proxy_protocol() -> None:
    """The PROXY protocol is not spoken: a connection that begins with it is no HTTP."""
    async with house() as home:
        line = b"PROXY TCP4 203.0.113.7 127.0.0.1 50000 8080\r\n"
        answer, _ = await home.ask(line + build_head("GET /ws HTTP/1.1", HANDSHAKE))
        assert answer.status == 400
