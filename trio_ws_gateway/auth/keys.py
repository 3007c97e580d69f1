"""The keys of an OpenID provider, parsed once and indexed so that a token finds its key in one look-up.

Pure. A key is filed only under the algorithms that it may verify: those of its own type and curve, of its own
``alg`` and ``use``, and of the settings. So no token can talk a key into another algorithm (RFC 8725 3.1).
Knows nothing of tokens, nor of where the document came from.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from trio_ws_gateway.wire.jwa import EC, OKP, RSA


class BadKeySet(ValueError):
    """The document is no JWKS, or none of its keys can be used."""


MIN_RSA_BITS = 2048  # RFC 7518 3.3

PublicKey = RSAKey | ECKey | OKPKey


@frozen
class KeySet:
    """Public keys by key id and algorithm. ``of_algorithm`` serves tokens that name no key."""

    by_kid: Mapping[str, Mapping[str, Sequence[PublicKey]]] = field(factory=dict)
    of_algorithm: Mapping[str, Sequence[PublicKey]] = field(factory=dict)

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(self.by_kid)


def parse_key_set(document: bytes | str, algorithms: Sequence[str]) -> KeySet:
    """The usable public keys of a JWKS (RFC 7517 5). Raises ``BadKeySet``.

    Keys that are malformed, weak, symmetric, not for signatures or not for ``algorithms`` are passed over;
    private parts are not read. Two keys with the same kid are both kept.
    """
    try:
        jwks = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BadKeySet(f"not JSON: {error}") from None
    jwk_list = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(jwk_list, list):
        raise BadKeySet("not a JWKS: no list named keys")
    by_kid: dict[str, dict[str, list[PublicKey]]] = {}
    of_algorithm: dict[str, list[PublicKey]] = {}
    for jwk in jwk_list:
        for kid, algorithm, key in _uses(jwk, algorithms):
            of_algorithm.setdefault(algorithm, []).append(key)
            if kid is not None:
                by_kid.setdefault(kid, {}).setdefault(algorithm, []).append(key)
    if not of_algorithm:
        raise BadKeySet(f"none of its {len(jwk_list)} keys can verify {', '.join(algorithms)}")
    return KeySet(by_kid, of_algorithm)


def _uses(jwk: object, algorithms: Sequence[str]) -> Iterator[tuple[str | None, str, PublicKey]]:
    """What one JWK may be used for, as (kid, algorithm, key); nothing where it is of no use here."""
    if not isinstance(jwk, dict) or not _signs(jwk):
        return
    kid, own_algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str | None):
        return
    try:
        key, family = _public_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        return
    if own_algorithm is not None and own_algorithm not in family:
        return
    if isinstance(key, OKPKey):
        names = family if any(name in algorithms for name in family) else ()
    else:
        names = tuple(name for name in family if name in algorithms and own_algorithm in (None, name))
    for name in names:
        yield kid, name, key


def _signs(jwk: dict[str, Any]) -> bool:
    """Whether the key is meant for signatures (RFC 7517 4.2, 4.3)."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _public_key(jwk: dict[str, Any]) -> tuple[PublicKey, Sequence[str]]:
    """The key and the algorithms of its type. Only public members are handed on: a private key that was
    published by mistake still verifies, and never gets into our memory as a key."""
    match jwk.get("kty"):
        case "RSA":
            if int.from_bytes(urlsafe_b64decode(jwk["n"].encode())).bit_length() < MIN_RSA_BITS:
                raise ValueError("weak key")
            return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]}), RSA
        case "EC":
            key = {"kty": "EC", "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]}
            return ECKey.import_key(key), EC[jwk["crv"]]
        case "OKP":
            return OKPKey.import_key({"kty": "OKP", "crv": jwk["crv"], "x": jwk["x"]}), OKP[jwk["crv"]]
        case _:
            raise ValueError("another kind of key")
