"""What a token says of itself."""

import math

import pytest

from tests.oidc_provider import ABSENT, OidcProvider
from trio_ws_gateway.probing import claims

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def provider() -> OidcProvider:
    return OidcProvider(clock=lambda: NOW)


def faults(token: str) -> str:
    return " ".join(claims.faults(token, NOW))


def test_good_token(provider: OidcProvider) -> None:
    """A token that anybody would believe has no faults, and says what it is."""
    token = provider.mint()
    assert faults(token) == ""
    assert claims.subject_of(token) == "robot-7"
    assert claims.description(token, NOW) == (
        "The token says: iss https://id.example.com/realms/robots, aud gateway, sub robot-7, alg RS256, kid key-1,"
        " 5 minutes left."
    )


def test_times(provider: OidcProvider) -> None:
    """A token that is over, or not yet, says by how much."""
    assert faults(provider.mint(exp=NOW - 190)) == "This token expired 3 minutes ago: get a new one."
    assert faults(provider.mint(exp=NOW - 30)).startswith("This token expired 30 seconds ago")
    assert faults(provider.mint(nbf=NOW + 7200)).startswith("This token is not valid for another 2 hours (`nbf`)")
    assert faults(provider.mint(iat=NOW + 60)).startswith("This token was issued 1 minute from now (`iat`)")
    assert faults(provider.mint(exp=ABSENT)) == "The token has no time of expiry (`exp`), which the gateway requires."
    assert faults(provider.mint(exp=True)).startswith("The token has no time of expiry")


def test_leeway(provider: OidcProvider) -> None:
    """What the gateway forgives is no fault; that its time is over is said for comparing."""
    token = provider.mint(exp=NOW - 29)
    assert faults(token) == ""
    assert (claims.description(token, NOW) or "").endswith(", 29 seconds over.")


@pytest.mark.parametrize("algorithm", ["none", "HS256", None, 7])
def test_algorithm_that_nobody_takes(provider: OidcProvider, algorithm: object) -> None:
    """An algorithm that no setting allows is named."""
    assert "which the gateway never accepts" in faults(provider.mint({"alg": algorithm}))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("Bearer eyJ.e30.x", "begins with `Bearer `"),
        ("opaque", "it has 1 part between its dots"),
        ("a.b.c.d.e", "it has 5 parts"),
        ("a.b .c", "white space"),
        ("e30.e3.x", "not JSON in base64url"),
        ("W10.W10.x", "not JSON in base64url"),
        ("\N{SNOWMAN}.a.b", "not JSON in base64url"),
    ],
)
def test_no_jwt(token: str, why: str) -> None:
    """What is no JWT is told so, with what is wrong; nothing is read from it."""
    assert why in faults(token)
    assert claims.subject_of(token) is None
    assert claims.description(token, NOW) is None


def test_lost_signature(provider: OidcProvider) -> None:
    """A token that was cut off behind its last dot is noticed."""
    assert faults(provider.mint().rpartition(".")[0] + ".") == "The token has lost its signature."


def test_odd_claims(provider: OidcProvider) -> None:
    """Claims of any type are shown on one short line."""
    token = provider.mint(iss=None, aud=["a", "b"], sub="line\nbreak \x1b[31m" + "x" * 500)
    said = claims.description(token, NOW)
    assert said is not None
    assert said.isprintable()
    assert len(said) < 400
    assert 'iss missing, aud ["a", "b"], sub line?break ?[31m' in said
    assert claims.subject_of(token) is None
    assert claims.subject_of(provider.mint(sub=7)) is None


@pytest.mark.parametrize("time", [math.inf, math.nan, 10**400, -1, True, "soon", None])
def test_times_that_are_none(provider: OidcProvider, time: object) -> None:
    """A time that no clock shows is none, and no error."""
    token = provider.mint(exp=time, nbf=time, iat=time)
    assert faults(token) == "The token has no time of expiry (`exp`), which the gateway requires."
    assert "left" not in (claims.description(token, NOW) or "")
