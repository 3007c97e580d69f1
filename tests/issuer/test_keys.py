"""Keys that sign: every algorithm of the gateway, and no other."""

import json
from typing import Any

import pytest
from joserfc.jwk import OctKey, OKPKey, RSAKey

from trio_ws_gateway.auth.keys import parse_key_set
from trio_ws_gateway.auth.token import TokenPolicy, verify
from trio_ws_gateway.issuer.keys import BadKey, SigningKey, jwks
from trio_ws_gateway.issuer.minting import mint
from trio_ws_gateway.wire.jwa import ALGORITHMS

NOW = 1_800_000_000.0
ES256 = SigningKey.generate("ES256")


def changed(**members: Any) -> str:  # noqa: ANN401
    """An ES256 key with some members in another way; ``None`` leaves one out."""
    jwk = {**json.loads(ES256.private_jwk()), **members}
    return json.dumps({name: value for name, value in jwk.items() if value is not None})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gateway_verifies(algorithm: str) -> None:
    """The gateway verifies what a key of any of its algorithms signed, made just now or read back."""
    key = SigningKey.generate(algorithm)
    keys = parse_key_set(jwks([ES256, key]), [algorithm])
    for signer in (key, SigningKey.from_jwk(key.private_jwk())):
        token = mint(signer, issuer="i", subject="robot-7", audience=["a"], lifetime_seconds=60, now=NOW)
        assert verify(token, keys, TokenPolicy(algorithms=(algorithm,)), NOW).subject == "robot-7"
        assert (signer.kid, signer.algorithm) == (key.kid, algorithm)


def test_key_set_holds_no_private_part() -> None:
    """What is published is the public half, with its name, its use and its algorithm."""
    (jwk,) = json.loads(jwks([ES256]))["keys"]
    assert jwk == ES256.public_jwk()
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (jwk["kid"], jwk["use"], jwk["alg"]) == (ES256.kid, "sig", "ES256")


def test_key_is_not_shown() -> None:
    """The representation of a key holds nothing of it."""
    assert json.loads(ES256.private_jwk())["d"] not in repr(ES256)


def test_defaults_of_a_jwk() -> None:
    """Without ``alg`` a key signs with the first algorithm of its type, without ``kid`` it has its thumbprint's."""
    bare = SigningKey.from_jwk(changed(alg=None, kid=None, use=None))
    assert (bare.algorithm, bare.kid) == ("ES256", ES256.kid)
    assert SigningKey.from_jwk(changed(kid="mine")).kid == "mine"
    rsa = RSAKey.generate_key(2048).as_dict(private=True)
    assert SigningKey.from_jwk(json.dumps(rsa)).algorithm == "RS256"
    okp = OKPKey.generate_key("Ed25519").as_dict(private=True)
    assert SigningKey.from_jwk(json.dumps(okp)).algorithm == "EdDSA"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is no JWK: not a JSON object"),
        ("{}", "is no JWK of an RSA, EC or OKP key that signs"),
        (json.dumps(OctKey.generate_key(256).as_dict(private=True)), "is no JWK of an RSA, EC or OKP key that signs"),
        (json.dumps(OKPKey.generate_key("X25519").as_dict(private=True)), "is no JWK of an RSA"),
        (changed(x="!"), "is no JWK of an RSA"),
        (changed(crv=[]), "is no JWK of an RSA"),
        (changed(d=None), "is a public key, which cannot sign"),
        (changed(alg="RS256"), "has an alg that is not one of ES256"),
        (changed(alg=[]), "has an alg that is not one of ES256"),
        (changed(kid=7), "has a kid that is not a string"),
    ],
    ids=range(12),
)
def test_bad_key(text: str, what: str) -> None:
    """What is no private key of the gateway's algorithms is refused with half a sentence that repeats nothing of it."""
    with pytest.raises(BadKey, match=f"^{what}") as refused:
        SigningKey.from_jwk(text)
    assert json.loads(ES256.private_jwk())["d"] not in str(refused.value)


@pytest.mark.filterwarnings("ignore:Key size should be")
def test_weak_key() -> None:
    """An RSA key that the gateway would pass over is refused here already."""
    weak = RSAKey.generate_key(1024).as_dict(private=True)
    with pytest.raises(BadKey, match=r"^is an RSA key of less than 2048 bits$"):
        SigningKey.from_jwk(json.dumps(weak))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256K", ""])
def test_no_such_algorithm(algorithm: str) -> None:
    """No key is made that the gateway could not verify with."""
    with pytest.raises(ValueError, match=r"^is not one of RS256, "):
        SigningKey.generate(algorithm)
