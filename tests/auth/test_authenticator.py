"""The authenticator: tokens, keys that come and go, and what a session hears of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.oidc_provider import Answer, OidcProvider
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.jwks import KeySource
from trio_ws_gateway.auth.token import TokenPolicy
from trio_ws_gateway.causes import Cause, Refused

NOW = 1_800_000_000.0


@pytest.fixture
async def provider(mock_clock: MockClock) -> AsyncIterator[OidcProvider]:
    async with OidcProvider(clock=lambda: NOW).serving() as serving:
        yield serving


@asynccontextmanager
async def authenticating(provider: OidcProvider) -> AsyncIterator[Authenticator]:
    policy = TokenPolicy(algorithms=("RS256",), issuer=provider.issuer, audiences=("gateway",))
    keys = KeySource(issuer=provider.issuer, algorithms=policy.algorithms)
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        yield Authenticator(keys=keys, policy=policy, clock=lambda: NOW)
        nursery.cancel_scope.cancel()


async def refused(authenticator: Authenticator, token: str) -> str:
    with pytest.raises(Refused) as caught:
        await authenticator.identify(token)
    return str(caught.value)


async def test_identifies(provider: OidcProvider) -> None:
    """A good token becomes an identity, also one that comes while the first keys are still on their way."""
    async with authenticating(provider) as authenticator:
        assert (await authenticator.identify(provider.mint())).subject == "robot-7"


async def test_refusals(provider: OidcProvider) -> None:
    """What is no token is malformed, what is not to be believed is invalid; the detail says why."""
    async with authenticating(provider) as authenticator:
        assert await refused(authenticator, "junk") == "malformed_token: not three segments of base64url"
        assert await refused(authenticator, provider.mint(exp=NOW - 60)) == "invalid_token: expired"


async def test_expiry_is_by_the_given_clock(provider: OidcProvider) -> None:
    """Whether a token is expired is decided by the clock that was passed in."""
    async with authenticating(provider) as authenticator:
        assert (await authenticator.identify(provider.mint(exp=NOW + 1))).expires_at == NOW + 1


async def test_token_of_a_new_key(provider: OidcProvider) -> None:
    """A token signed with a key that was published a moment ago is good: the keys are fetched again for it."""
    async with authenticating(provider) as authenticator:
        await authenticator.identify(provider.mint())
        provider.rotate()
        assert (await authenticator.identify(provider.mint())).subject == "robot-7"
        assert provider.count(provider.jwks_path) == 2


async def test_unknown_key(provider: OidcProvider) -> None:
    """A token whose key even the newest set does not know is invalid, and asks the provider once only."""
    async with authenticating(provider) as authenticator:
        await authenticator.identify(provider.mint())
        for _ in range(3):
            assert await refused(authenticator, provider.mint({"kid": "x"})) == (
                "invalid_token: no such key in the key set"
            )
        assert provider.count(provider.jwks_path) == 2


async def test_no_keys(provider: OidcProvider) -> None:
    """Without any keys nobody can be judged: the cause is not the token's."""
    provider.answers[provider.jwks_path] = Answer(status=503)
    async with authenticating(provider) as authenticator:
        with pytest.raises(Refused) as caught:
            await authenticator.identify(provider.mint())
        assert caught.value.cause is Cause.KEYS_UNAVAILABLE


async def test_outage(provider: OidcProvider) -> None:
    """While the provider is away tokens of known keys are good, and those of unknown keys invalid."""
    async with authenticating(provider) as authenticator:
        await authenticator.identify(provider.mint())
        await provider.go_down()
        assert (await authenticator.identify(provider.mint())).subject == "robot-7"
        assert await refused(authenticator, provider.mint({"kid": "x"})) == "invalid_token: no such key in the key set"
