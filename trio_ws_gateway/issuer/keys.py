"""Keys that sign, from JWK and to JWK (RFC 7517), and the key set that a gateway verifies with.

Pure. Every algorithm that the gateway accepts can be had here, and no other. An error never repeats what it read, for
that may be half a private key. Knows nothing of files and tokens.
"""

import json
from collections.abc import Iterable
from typing import Any, Self

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from trio_ws_gateway.wire.jwa import ALGORITHMS, EC, OKP, RSA

RSA_BITS = 2048  # the least that the gateway takes (RFC 7518 3.3), and quick to make


class BadKey(ValueError):
    """The text is no private key that the gateway's users could sign with."""


@frozen
class SigningKey:
    """A private key, and the one algorithm that it signs with. ``kid`` names it in tokens and key sets."""

    _key: RSAKey | ECKey | OKPKey = field(repr=False)
    algorithm: str
    kid: str

    @classmethod
    def generate(cls, algorithm: str = "RS256") -> Self:
        """A new key, named by its thumbprint (RFC 7638). Raises ``ValueError`` for what the gateway cannot verify."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"is not one of {', '.join(ALGORITHMS)}")
        key: RSAKey | ECKey | OKPKey
        if algorithm in RSA:
            key = RSAKey.generate_key(RSA_BITS)
        elif curve := next((curve for curve, names in EC.items() if algorithm in names), None):
            key = ECKey.generate_key(curve)
        else:
            key = OKPKey.generate_key("Ed448" if algorithm == "Ed448" else "Ed25519")
        return cls(key, algorithm, key.thumbprint())

    @classmethod
    def from_jwk(cls, text: str) -> Self:
        """The private key in a JWK; without ``alg`` it signs with the first algorithm of its type, without ``kid`` it
        is named by its thumbprint. Raises ``BadKey``."""
        try:
            jwk = json.loads(text)
        except (ValueError, RecursionError):
            raise BadKey("is not JSON") from None
        if not isinstance(jwk, dict):
            raise BadKey("is no JWK: not a JSON object")
        try:
            key, family = _private_key(jwk)
            thumbprint = key.thumbprint()
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
            raise BadKey("is no JWK of an RSA, EC or OKP key that signs") from None
        algorithm, kid = jwk.get("alg", family[0]), jwk.get("kid", thumbprint)
        if not key.is_private:
            raise BadKey("is a public key, which cannot sign")
        if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS:
            raise BadKey(f"is an RSA key of less than {RSA_BITS} bits")
        if algorithm not in family:
            raise BadKey(f"has an alg that is not one of {', '.join(family)}")
        if not isinstance(kid, str):
            raise BadKey("has a kid that is not a string")
        return cls(key, algorithm, kid)

    def private_jwk(self) -> str:
        """The whole key: a secret."""
        return json.dumps(self._jwk(private=True), indent=2) + "\n"

    def public_jwk(self) -> dict[str, object]:
        return self._jwk(private=False)

    def sign(self, data: bytes) -> bytes:
        # Looked up directly: the registry's own look-up warns about EdDSA's older name each time.
        signature: bytes = JWSRegistry.algorithms[self.algorithm].sign(data, self._key)
        return signature

    def _jwk(self, *, private: bool) -> dict[str, object]:
        return {**self._key.as_dict(private=private), "kid": self.kid, "use": "sig", "alg": self.algorithm}


def jwks(keys: Iterable[SigningKey]) -> str:
    """A JWKS of the public halves (RFC 7517 5)."""
    return json.dumps({"keys": [key.public_jwk() for key in keys]}, indent=2) + "\n"


def _private_key(jwk: dict[str, Any]) -> tuple[RSAKey | ECKey | OKPKey, tuple[str, ...]]:
    """The key and the algorithms of its type, read without what else the JWK says of its use."""
    bare = {name: value for name, value in jwk.items() if name not in ("use", "key_ops", "alg", "kid")}
    match jwk.get("kty"):
        case "RSA":
            return RSAKey.import_key(bare), RSA
        case "EC":
            return ECKey.import_key(bare), EC[jwk["crv"]]
        case "OKP":
            return OKPKey.import_key(bare), OKP[jwk["crv"]]
        case _:
            raise ValueError("another kind of key")
