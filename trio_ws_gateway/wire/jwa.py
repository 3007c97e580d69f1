"""The names of signature algorithms in tokens and keys (RFC 7518 3.1, RFC 8037, RFC 9864), by the keys that make them.

Public-key signatures only: with HMAC, whoever can verify can also forge.
"""

from typing import Final

RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
EC: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
# RFC 9864 gives each curve a name of its own beside the older, common one; they are the same signature.
OKP: Final = {"Ed25519": ("EdDSA", "Ed25519"), "Ed448": ("EdDSA", "Ed448")}

ALGORITHMS: Final = tuple(dict.fromkeys((*RSA, *sum(EC.values(), ()), *sum(OKP.values(), ()))))
"""All of them, each once."""
