"""Logging out at the provider: what ``POST /backchannel-logout`` answers, and whose sessions end."""

import secrets
import time
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.house import House, house
from trio_ws_gateway import backchannel
from trio_ws_gateway.auth.token import LOGOUT_EVENT
from trio_ws_gateway.wire.http import Response

FORM = "application/x-www-form-urlencoded"


def logout_token(home: House, **claims: Any) -> str:  # noqa: ANN401
    given = {"aud": "our-client", "jti": secrets.token_hex(4), "events": {LOGOUT_EVENT: {}}, **claims}
    return home.provider.mint({"typ": "logout+jwt"}, **given)


async def post(
    home: House, body: str, *, kind: str = FORM, method: str = "POST", extra: str = "", length: int | None = None
) -> tuple[Response, bytes]:
    length = len(body) if length is None else length
    head = f"{method} /backchannel-logout HTTP/1.1\r\nHost: gateway\r\nContent-Type: {kind}\r\nContent-Length: {length}"
    return await home.ask(f"{head}\r\n{extra}\r\n{body}".encode())


async def log_out(home: House, token: str) -> int:
    return (await post(home, urlencode({"logout_token": token})))[0].status


async def test_logout() -> None:
    """A logout cuts the sessions of its provider session, or of its subject; a token counts once, and who logs in again
    may come again."""
    async with house(OIDC_CLIENT_ID="our-client") as home:
        async with (
            home.open(token=home.provider.mint(sid="s-1")) as one,
            home.open(token=home.provider.mint()) as other,
        ):
            token = logout_token(home, sid="s-1")
            assert await log_out(home, token) == 200
            assert await one.hear_close() == (1008, "Token revoked")
            assert (await home.refusal(token=home.provider.mint(sid="s-1")))[1]["cause"] == "token_revoked"
            assert await log_out(home, token) == 400
            assert (await home.last_line("logout refused"))["detail"] == "used before"
            assert await log_out(home, logout_token(home)) == 200
            assert await other.hear_close() == (1008, "Token revoked")
        later = home.provider.mint(iat=int(time.time()) + 2)
        async with home.open(token=later):
            pass


async def test_refused() -> None:
    """What is no logout token of the provider's ends nothing, and is told in the words of OAuth."""
    async with house(OIDC_CLIENT_ID="our-client") as home, home.raw() as (client, upstream):
        good = logout_token(home)
        for body, kind in (
            (urlencode({"logout_token": home.provider.mint()}), FORM),
            (urlencode({"logout_token": good[:-4] + "AAAA"}), FORM),
            (urlencode({"logout_token": "x"}), FORM),
            (urlencode([("logout_token", good), ("logout_token", good)]), FORM),
            (urlencode({"token": good}), FORM),
            ("&".join(["a=b"] * 20), FORM),
            ("logout_token=\xff", FORM),
            ("", FORM),
            (f'{{"logout_token": "{good}"}}', "application/json"),
        ):
            answer, said = await post(home, body, kind=kind, length=len(body.encode()))
            assert answer.status == 400
            assert b'"error": "invalid_request"' in said
            assert answer.headers.get("cache-control") == "no-store"
        assert good not in home.output
        await client.say_close()
        assert (await upstream.hear_close())[0] == 1000


async def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is too long, of no length, or posted elsewhere is not read, and there are so many at a time."""
    async with house(OIDC_CLIENT_ID="our-client", WS_HANDSHAKE_TIMEOUT_SECONDS="0.3") as home:
        assert (await post(home, "x", length=16 * 1024 + 1))[0].status == 413
        assert (await post(home, "x", length=10**30))[0].status == 413
        chunked = "POST /backchannel-logout HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert (await home.ask(chunked.encode()))[0].status == 413
        assert (await home.ask(b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"))[0].status == 413
        assert (await post(home, "x", length=2))[0].status == 408
        assert (await post(home, "", method="GET"))[0].status == 405
        answer, said = await post(home, "x=y", extra="Expect: 100-continue\r\n")
        assert (answer.status, b"400 Bad Request" in said) == (100, True)
    monkeypatch.setattr(backchannel, "BURST", 2)
    async with house(OIDC_CLIENT_ID="our-client") as home:
        assert [(await post(home, "x=y"))[0].status for _ in range(3)] == [400, 400, 429]


async def test_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a trusted proxy requests count for the client's address."""
    monkeypatch.setattr(backchannel, "BURST", 1)
    async with house(OIDC_CLIENT_ID="our-client", TRUSTED_PROXIES="127.0.0.1") as home:
        came_from = [f"X-Forwarded-For: 192.0.2.{end}\r\n" for end in (1, 1, 2)]
        assert [(await post(home, "x=y", extra=line))[0].status for line in came_from] == [400, 429, 400]


async def test_off() -> None:
    """Where it is not wanted there is no such page."""
    async with house() as home:
        assert (await post(home, ""))[0].status == 404
        assert (await post(home, "x"))[0].status == 413
