"""The issuer at a URL, and the gateway that believes it."""

import json
import time
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import httpx
import pytest
import trio

from tests.house import House, house
from trio_ws_gateway.issuer import server
from trio_ws_gateway.issuer.keys import SigningKey
from trio_ws_gateway.issuer.minting import claims_of, mint
from trio_ws_gateway.issuer.server import Issuer, serving

KEY = SigningKey.generate()
URL = "http://127.0.0.1:8085"
NOW = 1_800_000_000.0


def asked(
    target: str,
    *,
    method: str = "GET",
    host: str = "127.0.0.1:8085",
    body: bytes = b"",
    url: str = URL,
    minting: bool = True,
) -> tuple[int, dict[str, Any]]:
    """What an issuer answers, without a socket."""
    status, document = Issuer(url=url, keys=[KEY], minting=minting).answer(method, target, host, body, NOW)
    return status, json.loads(document)


def form(fields: Sequence[tuple[str, str]]) -> str:
    return urlencode(fields)


FIELDS = form([("sub", "bob"), ("aud", "a"), ("aud", "b"), ("role", "r"), ("lifetime", "2m"), ("claim", "level=5")])


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", f"/token?{FIELDS}", ""),
        ("POST", "/token", FIELDS),
        ("POST", f"/token?{FIELDS.partition('&')[0]}", FIELDS.partition("&")[2]),
    ],
)
def test_mints_what_is_asked_for(method: str, target: str, body: str) -> None:
    """The fields of a query, of a form, or of both become the token's claims."""
    status, answer = asked(target, method=method, body=body.encode())
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 120)
    claims = claims_of(answer["access_token"])
    assert (claims["iss"], claims["sub"], claims["aud"], claims["level"]) == (URL, "bob", ["a", "b"], 5)
    assert (claims["roles"], claims["iat"], claims["exp"]) == (["r"], NOW, NOW + 120)


def test_mints_without_being_told_anything() -> None:
    """There is a default for each field."""
    _, answer = asked("/token")
    claims = claims_of(answer["access_token"])
    assert (claims["sub"], claims["aud"], claims["exp"]) == ("alice", "gateway", NOW + 3600)


@pytest.mark.parametrize(
    "query",
    ["lifetime=soon", "claim=level", "sub=%FF", "sub=", "foo=1", "audience=a", "a&" * 200, "claim=a%3D" + 9000 * "["],
)
def test_fields_that_are_none(query: str) -> None:
    """What cannot be read is a 400 that says what can; a claim nested too deep is a string."""
    status, answer = asked(f"/token?{query}")
    if query.startswith("claim=a"):
        assert status == 200
    else:
        assert (status, answer["error"]) == (400, "invalid_request")
        assert "lifetime" in answer["error_description"]


def test_mints_only_when_told_to() -> None:
    """Unless it was said at the start, nobody is given a token, and discovery does not speak of it."""
    assert asked("/token", minting=False)[0] == 404
    assert "token_endpoint" not in asked("/.well-known/openid-configuration", minting=False)[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8085", ""])
def test_mints_for_nobody_who_means_another_host(host: str) -> None:
    """A page whose host name was made to mean this machine is given no token."""
    assert asked("/token", host=host)[0] == 421
    assert asked("/jwks.json", host=host)[0] == 200


def test_discovery() -> None:
    """Discovery names the issuer exactly as it calls itself, and where the rest is."""
    status, metadata = asked("/.well-known/openid-configuration")
    assert status == 200
    assert metadata["issuer"] == URL
    assert metadata["jwks_uri"] == f"{URL}/jwks.json"
    assert metadata["token_endpoint"] == f"{URL}/token"
    assert metadata["id_token_signing_alg_values_supported"] == ["RS256"]


def test_issuer_with_a_path() -> None:
    """An issuer may have a path, with or without a slash at its end; everything is beneath it."""
    for url in (f"{URL}/realms/dev", f"{URL}/realms/dev/"):
        status, metadata = asked("/realms/dev/.well-known/openid-configuration", url=url)
        assert (status, metadata["issuer"], metadata["jwks_uri"]) == (200, url, f"{URL}/realms/dev/jwks.json")
        assert asked("/realms/dev/jwks.json", url=url)[0] == 200


@pytest.mark.parametrize("asked_for", ["GET /", "GET //[", "DELETE /token", "POST /jwks.json"])
def test_no_such_page(asked_for: str) -> None:
    """Anything else is a 404."""
    method, target = asked_for.split()
    assert asked(target, method=method)[0] == 404


async def test_over_http() -> None:
    """What is decided is what is sent, to HEAD without a body."""
    async with serving([KEY], minting=True) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/jwks.json")
        assert (answer.status_code, answer.json()["keys"]) == (200, [KEY.public_jwk()])
        assert (await client.head(f"{url}/jwks.json")).content == b""
        minted = await client.post(f"{url}/token", data={"sub": "bob"})
        assert claims_of(minted.json()["access_token"])["sub"] == "bob"
        assert (await client.post(f"{url}/token", data={"sub": 20_000 * "x"})).status_code == 413
        assert (await client.get(f"{url}/{30_000 * 'x'}")).status_code == 431
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port or 0)


async def test_called_by_another_name() -> None:
    """An issuer that is reached by another address than its own is called by that."""
    async with serving([KEY], url="http://host.containers.internal:8085") as url:
        assert url == "http://host.containers.internal:8085"
    async with serving([KEY], host="0.0.0.0") as url:
        assert url.startswith("http://127.0.0.1:")


async def test_port_that_is_taken() -> None:
    """Where it cannot listen it says so before the block begins."""
    async with serving([KEY]) as url:
        with pytest.raises(OSError, match="in use"):
            async with serving([KEY], port=httpx.URL(url).port or 0):
                pytest.fail("two on one port")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /jwks.json HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 400 "),
        (b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsub", b"HTTP/1.1 400 "),
        (b"", b""),
    ],
)
async def test_client_that_makes_no_sense(said: bytes, heard: bytes) -> None:
    """What is no whole request is a 400, and the next client is served all the same."""
    async with serving([KEY]) as url, httpx.AsyncClient() as client:
        async with await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port or 0) as stream:
            await stream.send_all(said)
            await stream.send_eof()
            assert (await read_to_end(stream))[:13] == heard
        assert (await client.get(f"{url}/jwks.json")).status_code == 200


async def test_client_that_says_nothing() -> None:
    """A client that takes its time is left after a few seconds."""
    with patch.object(server, "REQUEST_SECONDS", 0.05), trio.fail_after(10):
        async with (
            serving([KEY]) as url,
            await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port or 0) as stream,
        ):
            await stream.send_all(b"GET /")
            assert await read_to_end(stream) == b""


async def read_to_end(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(10):
        return b"".join([bytes(chunk) async for chunk in stream])


@pytest.mark.parametrize("by", ["OIDC_ISSUER", "JWKS_URL"])
async def test_gateway_believes_it(by: str) -> None:
    """A gateway that is pointed to the issuer, or to its keys, takes its tokens, and no expired or forged one."""
    async with serving([KEY]) as url:
        settings = {"JWKS_URL": f"{url}/jwks.json"} if by == "JWKS_URL" else {"JWKS_URL": "", "OIDC_ISSUER": url}
        async with house(**settings, JWT_EXPECTED_ISSUER=url, JWT_EXPECTED_AUDIENCE="gateway") as home:
            await until_ready(home)
            async with home.open(token=minted(KEY, url, 60)):
                await home.upstream.next()
            for token in (minted(KEY, url, -60), minted(SigningKey.generate(), url, 60)):
                answer, _ = await home.refusal(token=token)
                assert answer.status == 401


def minted(key: SigningKey, issuer: str, lifetime_seconds: float) -> str:
    return mint(
        key,
        issuer=issuer,
        subject="robot-7",
        audience=["gateway"],
        lifetime_seconds=lifetime_seconds,
        now=time.time(),
    )


async def until_ready(home: House) -> None:
    with trio.fail_after(30):
        while (await home.get("/readyz"))[0].status != 200:
            await trio.sleep(0.01)
