"""Logout tokens: what each rule refuses, and what a good one takes back."""

import json
from typing import Any

import pytest

from tests.oidc_provider import ABSENT, OidcProvider
from trio_ws_gateway.auth.keys import parse_key_set
from trio_ws_gateway.auth.logout import Logout, read_logout
from trio_ws_gateway.auth.revocation import ARRIVAL_SECONDS, Revocation, Terms
from trio_ws_gateway.auth.token import LOGOUT_EVENT, MAX_NUMERIC_DATE, InvalidToken, TokenError, TokenPolicy

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
TERMS = Terms(life_seconds=3600, leeway_seconds=30, issuer=None)


def logout_token(header: dict[str, Any] | None = None, /, **claims: Any) -> str:  # noqa: ANN401
    return PROVIDER.mint(
        header or {"typ": "logout+jwt"}, **{"aud": "our-client", "jti": "l-1", "events": {LOGOUT_EVENT: {}}, **claims}
    )


def read(token: str, *, issuer: str | None = PROVIDER.issuer, now: float = NOW) -> Logout:
    keys = parse_key_set(PROVIDER.jwks(), ("RS256",))
    policy = TokenPolicy(algorithms=("RS256",), issuer=issuer, audiences=("gateway",))
    return read_logout(token, keys, policy, "our-client", TERMS, now)


@pytest.mark.parametrize("kind", ["logout+jwt", "JWT", "application/logout+jwt"])
def test_of_a_subject(kind: str) -> None:
    """Who has logged out loses what was issued until then, and may log in again."""
    revocation = read(logout_token({"typ": kind})).revocation
    assert (revocation.iss, revocation.sub, revocation.sid) == (PROVIDER.issuer, "robot-7", None)
    assert revocation.issued_before == NOW + 1
    assert revocation.until == NOW + 3630


def test_of_a_session() -> None:
    """A session at the provider does not come back; others of its subject are not touched."""
    revocation = read(logout_token(sid="s-1")).revocation
    assert (revocation.sid, revocation.sub, revocation.issued_before) == ("s-1", "robot-7", None)
    assert read(logout_token(sid="s-1", sub=ABSENT)).revocation.sub is None


def test_used() -> None:
    """The token itself is remembered for as long as it would be good."""
    assert read(logout_token()).used.jti == "l-1"
    assert read(logout_token()).used.until == NOW + 330
    assert read(logout_token(exp=ABSENT)).used.until == NOW + 150
    used = read(logout_token(exp=MAX_NUMERIC_DATE)).used
    assert Revocation.from_json(used.to_json()) == used
    assert read(logout_token(exp=NOW - 20)).used.until == NOW + ARRIVAL_SECONDS


@pytest.mark.parametrize(
    ("claims", "wrong"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"iss": ABSENT}, "another issuer"),
        ({"aud": "gateway"}, "another audience"),
        ({"aud": ["gateway"]}, "another audience"),
        ({"aud": ABSENT}, "another audience"),
        ({"events": ABSENT}, "events"),
        ({"events": {}}, "events"),
        ({"events": [LOGOUT_EVENT]}, "events"),
        ({"events": {LOGOUT_EVENT: True}}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"iat": ABSENT}, "iat is missing"),
        ({"iat": "x"}, "iat is no date"),
        ({"iat": NOW + 60}, "in the future"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": ABSENT, "iat": NOW - 151}, "expired"),
        ({"jti": ABSENT}, "jti is missing"),
        ({"jti": ""}, "jti is missing"),
        ({"sub": ABSENT}, "neither sub nor sid"),
        ({"sub": 7}, "neither sub nor sid"),
    ],
)
def test_refused(claims: dict[str, Any], wrong: str) -> None:
    """What is not for us, no logout, too old, or nobody's, logs nobody out."""
    with pytest.raises(InvalidToken, match=wrong):
        read(logout_token(**claims))


@pytest.mark.parametrize("header", [{"typ": "at+jwt"}, {"alg": "none"}, {"alg": "HS256"}, {"kid": "x"}])
def test_of_another_kind(header: dict[str, Any]) -> None:
    """A token of another kind, algorithm or key is none of these."""
    with pytest.raises(TokenError):
        read(logout_token(header))


def test_forged() -> None:
    """A signature that is not the provider's logs nobody out."""
    token = logout_token()
    with pytest.raises(InvalidToken, match="signature"):
        read(f"{token[:-8]}{'A' * 8}")


def test_access_token() -> None:
    """An access token is no logout token, and a logout token lets nobody in."""
    with pytest.raises(InvalidToken):
        read(PROVIDER.mint(aud="our-client", jti="a"))


def test_issuer_that_is_not_checked() -> None:
    """Where any issuer will do, the token's own is what its tokens are taken back of."""
    token = PROVIDER.sign(
        json.dumps(
            {
                "iss": "https://any.example",
                "sub": "a",
                "aud": "our-client",
                "jti": "l",
                "iat": NOW,
                "events": {LOGOUT_EVENT: {}},
            }
        ).encode()
    )
    assert read(token, issuer=None).revocation.iss == "https://any.example"
