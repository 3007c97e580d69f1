"""The OpenID provider of the tests does what the tests that lean on it believe."""

import json

import httpx
import pytest
import trio
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.oidc_provider import ABSENT, Answer, OidcProvider


def test_mints_without_a_server() -> None:
    """A token verifies with the published key, and carries the claims that were asked for."""
    provider = OidcProvider()
    token = provider.mint(sub="robot-8", aud=ABSENT)
    claims = jwt.decode(token, KeySet.import_key_set(json.loads(provider.jwks()))).claims
    assert claims["sub"] == "robot-8"
    assert "aud" not in claims


async def test_serves_discovery_and_keys() -> None:
    """The discovery document names the issuer and a key set that holds the signing key."""
    async with OidcProvider().serving() as provider, httpx.AsyncClient() as client:
        document = (await client.get(f"{provider.issuer}/.well-known/openid-configuration")).json()
        keys = (await client.get(document["jwks_uri"])).json()["keys"]
        assert document["issuer"] == provider.issuer
        assert [key["kid"] for key in keys] == [provider.kid]
        assert provider.requests == [provider.discovery_path, provider.jwks_path]


async def test_goes_down_and_comes_back_on_the_same_port() -> None:
    """While down it refuses connections; afterwards the same URL answers."""
    async with OidcProvider().serving() as provider, httpx.AsyncClient() as client:
        uri = provider.jwks_uri
        await provider.go_down()
        with pytest.raises(httpx.ConnectError):
            await client.get(uri)
        await provider.come_up()
        assert (await client.get(uri)).status_code == 200
        assert provider.jwks_uri == uri


async def test_stalls_until_it_flows() -> None:
    """A request that meets a stalled provider is answered once it flows."""
    async with OidcProvider().serving() as provider, httpx.AsyncClient() as client, trio.open_nursery() as nursery:
        provider.stall()
        nursery.start_soon(client.get, provider.jwks_uri)
        while not provider.requests:
            await trio.lowlevel.checkpoint()
        assert len(nursery.child_tasks) == 1
        provider.flow()


async def test_says_what_it_is_told() -> None:
    """An answer of the test's own replaces that of a path; an unknown path is a 404."""
    async with OidcProvider().serving() as provider, httpx.AsyncClient() as client:
        provider.answers[provider.jwks_path] = Answer(status=503, body=b"no", padding_bytes=100_000)
        response = await client.get(provider.jwks_uri)
        assert (response.status_code, len(response.content)) == (503, 100_002)
        assert (await client.get(f"{provider.origin}/elsewhere")).status_code == 404
