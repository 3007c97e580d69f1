"""Tokens as a provider mints them, and as none would."""

from collections.abc import Mapping, Sequence

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.keys import parse_key_set
from trio_ws_gateway.auth.token import InvalidToken, MalformedToken, TokenPolicy, verify
from trio_ws_gateway.issuer.keys import SigningKey, jwks
from trio_ws_gateway.issuer.minting import claims_of, mint, parse_claim, parse_seconds

NOW = 1_800_000_000.75
KEY = SigningKey.generate("ES256")
KEYS = parse_key_set(jwks([KEY]), ["ES256"])
POLICY = TokenPolicy(algorithms=("ES256",), issuer="http://issuer", audiences=("gateway",))


def minted(
    *,
    audience: Sequence[str] = ("gateway",),
    lifetime_seconds: float = 60,
    roles: Sequence[str] = (),
    claims: Mapping[str, object] = {},
) -> str:
    return mint(
        KEY,
        issuer="http://issuer",
        subject="robot-7",
        audience=audience,
        lifetime_seconds=lifetime_seconds,
        now=NOW,
        roles=roles,
        claims=claims,
    )


def test_usual_claims() -> None:
    """A token says who, for whom, by whom, from when and until when, in whole seconds, and has an id of its own."""
    claims = claims_of(minted())
    assert claims.pop("jti") != claims_of(minted())["jti"]
    begins, ends = 1_800_000_000, 1_800_000_060
    assert claims == {
        "iss": "http://issuer",
        "sub": "robot-7",
        "aud": "gateway",
        "iat": begins,
        "nbf": begins,
        "exp": ends,
    }


def test_gateway_reads_it() -> None:
    """The gateway finds subject, roles, times and id where it looks for them."""
    token = minted(audience=["other", "gateway"], roles=["operator", "admin"], claims={"preferred_username": "robby"})
    assert verify(token, KEYS, POLICY, NOW) == Identity(
        issuer="http://issuer",
        subject="robot-7",
        preferred_username="robby",
        issued_at=1_800_000_000.0,
        expires_at=1_800_000_060.0,
        token_id=str(claims_of(token)["jti"]),
        roles=("operator", "admin"),
    )


@pytest.mark.parametrize(
    ("claims", "refusal"),
    [
        ({"exp": None}, "exp is missing"),
        ({"exp": "tomorrow"}, "exp is not a number"),
        ({"sub": None}, "sub is missing"),
        ({"sub": 7}, "sub is not a string"),
        ({"iss": "http://evil"}, "another issuer"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"nbf": 1_900_000_000}, "not valid yet"),
    ],
)
def test_overridden(claims: Mapping[str, object], refusal: str) -> None:
    """Any claim can be replaced or left out, so that every refusal can be provoked."""
    with pytest.raises(InvalidToken, match=f"^{refusal}$"):
        verify(minted(claims=claims), KEYS, POLICY, NOW)


def test_expired() -> None:
    """A lifetime below zero is over already."""
    with pytest.raises(InvalidToken, match=r"^expired$"):
        verify(minted(lifetime_seconds=-31), KEYS, POLICY, NOW)


def test_number_that_is_none() -> None:
    """JSON knows no NaN: a claim that has one makes a token that is none."""
    with pytest.raises(MalformedToken):
        verify(minted(claims={"level": float("nan")}), KEYS, POLICY, NOW)


def test_for_nobody() -> None:
    """Without an audience there is no such claim."""
    assert "aud" not in claims_of(minted(audience=()))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("8h", 28_800), ("1d", 86_400), ("1.5h", 5400), ("42", 42), ("-5m", -300), ("0", 0)],
)
def test_span(text: str, seconds: float) -> None:
    """A span has a unit, or is in seconds."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1w", "1h30m", "1e9", "inf", "nan", "--1", "1 h", "9999999999", "\u0661"])
def test_no_span(text: str) -> None:
    """Whatever else is said is refused."""
    with pytest.raises(ValueError, match=r"^is no span of time$"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("level=5", ("level", 5)),
        ('level="5"', ("level", "5")),
        ("name=al", ("name", "al")),
        ("name=", ("name", "")),
        ("formula=a=b", ("formula", "a=b")),
        ("exp=null", ("exp", None)),
        ('realm_access={"roles": ["admin"]}', ("realm_access", {"roles": ["admin"]})),
        ("level=NaN", ("level", "NaN")),
        ("level=1e400", ("level", "1e400")),
        ('level="\\ud800"', ("level", '"\\ud800"')),
        ("deep=" + 100_000 * "[", ("deep", 100_000 * "[")),
    ],
)
def test_claim(text: str, claim: tuple[str, object]) -> None:
    """The value of a claim is JSON where it can be read as such, and a string where not."""
    assert parse_claim(text) == claim


@pytest.mark.parametrize("text", ["", "=", "=5", "level"])
def test_no_claim(text: str) -> None:
    """A claim has a name and an equals sign."""
    with pytest.raises(ValueError, match=r"^has no name, or no =$"):
        parse_claim(text)
