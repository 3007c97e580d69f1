"""The key set: which keys of a JWKS count, and for what."""

import json
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import OctKey, OKPKey, RSAKey

from tests.oidc_provider import OidcProvider, signing_key
from trio_ws_gateway.auth.keys import BadKeySet, KeySet, parse_key_set

ALL = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def jwks(*keys: object) -> str:
    return json.dumps({"keys": keys})


def jwk(algorithm: str = "RS256", **members: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**signing_key(algorithm).as_dict(private=False), "kid": "good", **members}


def algorithms_of(keys: KeySet, kid: str = "good") -> set[str]:
    return set(keys.by_kid.get(kid, {}))


@pytest.mark.parametrize(
    ("algorithm", "fits"),
    [
        ("RS256", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("Ed25519", {"EdDSA", "Ed25519"}),
        ("Ed448", {"EdDSA", "Ed448"}),
    ],
)
def test_key_serves_algorithms_of_its_type_and_curve(algorithm: str, fits: set[str]) -> None:
    """A key without ``alg`` may verify the algorithms of its own type and curve, and no other."""
    assert algorithms_of(parse_key_set(jwks(jwk(algorithm)), ALL)) == fits


def test_settings_narrow_what_a_key_serves() -> None:
    """Of a key's algorithms only those of the settings remain."""
    assert algorithms_of(parse_key_set(jwks(jwk()), ("PS256", "ES256"))) == {"PS256"}


def test_alg_of_a_key_narrows_what_it_serves() -> None:
    """A key that names its algorithm serves no other."""
    assert algorithms_of(parse_key_set(jwks(jwk(alg="RS512")), ALL)) == {"RS512"}


def test_both_names_of_eddsa_are_one() -> None:
    """Where the settings or the key say EdDSA, Ed25519 is meant too, and the other way round."""
    for setting in ("EdDSA", "Ed25519"):
        for own in ({}, {"alg": "EdDSA"}, {"alg": "Ed25519"}):
            assert algorithms_of(parse_key_set(jwks(jwk("Ed25519", **own)), (setting,))) == {"EdDSA", "Ed25519"}


def weak_key() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return {**RSAKey.generate_key(1024).as_dict(private=False), "kid": "bad"}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("no object", id="no object"),
        pytest.param(None, id="null"),
        pytest.param({}, id="empty"),
        pytest.param({"kty": "RSA", "kid": "bad"}, id="no members"),
        pytest.param(jwk(kid="bad", n=7), id="n is a number"),
        pytest.param(jwk(kid="bad", n="!" * 400), id="n is not base64url"),
        pytest.param(jwk(kid="bad", e="AA"), id="e is zero"),
        pytest.param(jwk(kid="bad", kty=["RSA"]), id="kty is a list"),
        pytest.param(jwk(kid="bad", use="enc"), id="for encryption"),
        pytest.param(jwk(kid="bad", use=["sig"]), id="use is a list"),
        pytest.param(jwk(kid="bad", key_ops=["sign"]), id="for signing only"),
        pytest.param(jwk(kid="bad", key_ops="verify"), id="key_ops is a string"),
        pytest.param(jwk(kid="bad", alg="ES256"), id="alg of another type"),
        pytest.param(jwk(kid="bad", alg="none"), id="alg none"),
        pytest.param(jwk(kid="bad", alg=["RS256"]), id="alg is a list"),
        pytest.param(jwk(kid=7), id="kid is a number"),
        pytest.param(jwk("ES256", kid="bad", crv="P-384"), id="point of another curve"),
        pytest.param(jwk("ES256", kid="bad", crv="secp256k1"), id="curve that is not taken"),
        pytest.param(jwk("ES256", kid="bad", crv=["P-256"]), id="crv is a list"),
        pytest.param({**OKPKey.generate_key("X25519").as_dict(private=False), "kid": "bad"}, id="key agreement"),
        pytest.param({**OctKey.generate_key(256).as_dict(), "kid": "bad"}, id="symmetric"),
        pytest.param(weak_key(), id="RSA of 1024 bits"),
    ],
)
def test_bad_key_is_passed_over(bad: object) -> None:
    """A key that is malformed, weak, symmetric or for something else is skipped; the others stay."""
    assert parse_key_set(jwks(bad, jwk()), ALL).kids == ("good",)


def test_private_part_is_not_read() -> None:
    """Of a private key that was published by mistake only the public part is kept."""
    keys = parse_key_set(jwks({**signing_key("RS256").as_dict(private=True), "kid": "good"}), ("RS256",))
    assert [key.is_private for key in keys.by_kid["good"]["RS256"]] == [False]


def test_same_kid_twice() -> None:
    """Two keys with one kid are both kept."""
    second = {**signing_key("RS256", 1).as_dict(private=False), "kid": "good"}
    assert len(parse_key_set(jwks(jwk(), second), ("RS256",)).by_kid["good"]["RS256"]) == 2


def test_key_without_kid_serves_tokens_without_kid() -> None:
    """A key without kid is filed under its algorithms only."""
    nameless = {name: value for name, value in jwk().items() if name != "kid"}
    keys = parse_key_set(jwks(nameless), ("RS256",))
    assert keys.kids == ()
    assert len(keys.of_algorithm["RS256"]) == 1


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (b"\xff", "not JSON"),
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list named keys"),
        ('{"keys": {}}', "no list named keys"),
        ('{"keys": []}', "none of its 0 keys"),
        ('{"keys": [{}, 1]}', "none of its 2 keys can verify RS256"),
    ],
)
def test_document_that_is_no_key_set(document: bytes | str, complaint: str) -> None:
    """What is no JWKS, or has no usable key, is refused with the reason."""
    with pytest.raises(BadKeySet, match=complaint):
        parse_key_set(document, ("RS256",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    member=st.sampled_from(["kty", "n", "e", "crv", "x", "y", "kid", "alg", "use", "key_ops"]),
    value=json_values | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB"]),
    algorithm=st.sampled_from(["RS256", "ES256", "Ed25519"]),
)
def test_no_member_of_a_key_breaks_the_set(member: str, value: object, algorithm: str) -> None:
    """Whatever one member of one key is, the other key is there."""
    assert "other" in parse_key_set(jwks(jwk(algorithm, **{member: value}), jwk(kid="other")), ALL).kids


@given(st.binary() | st.text())
def test_anything_at_all(document: bytes | str) -> None:
    """Arbitrary bytes and strings are a ``BadKeySet`` and never another error."""
    with pytest.raises(BadKeySet):
        parse_key_set(document, ALL)


def test_provider_of_the_tests_is_understood() -> None:
    """The test double publishes a key set like any other."""
    provider = OidcProvider(algorithm="ES256")
    assert parse_key_set(provider.jwks(), ("ES256",)).kids == (provider.kid,)
