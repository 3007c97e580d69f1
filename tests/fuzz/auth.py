"""Tokens and keys: whatever is not signed is not believed, and what is signed is believed for what it says."""

import json
from contextlib import suppress
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.fuzz.target import Target, repeated, says_little
from tests.oidc_provider import OidcProvider, b64, sign, signing_key
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.keys import MIN_RSA_BITS, BadKeySet, parse_key_set
from trio_ws_gateway.auth.token import MAX_TOKEN_CHARACTERS, UNFIT, TokenError, TokenPolicy, verify
from trio_ws_gateway.protocols.raw import credential_in
from trio_ws_gateway.wire.jwa import ALGORITHMS, EC
from trio_ws_gateway.wire.jwt_shape import looks_like_jwt

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(algorithm="Ed25519", clock=lambda: NOW)
POLICY = TokenPolicy(algorithms=("Ed25519", "RS256"), issuer=PROVIDER.issuer, audiences=("gateway",), leeway_seconds=30)
KEYS = parse_key_set(PROVIDER.jwks(), POLICY.algorithms)
CLAIMS = {"iss": PROVIDER.issuer, "sub": "robot-7", "aud": "gateway", "exp": NOW + 300}
SIGNED = {
    PROVIDER.mint(),
    PROVIDER.mint(preferred_username="R", jti="t", scope="a b", realm_access={"roles": ["x"]}, aud=["gateway", "b"]),
}
HEADER = json.dumps({"alg": "Ed25519", "kid": PROVIDER.kid}).encode()


def verified(token: str) -> Identity | None:
    try:
        return verify(token, KEYS, POLICY, NOW)
    except TokenError as error:
        says_little(error)
        return None


def check_token(data: bytes) -> None:
    """A token is believed only if it was signed, character by character; and of one that was, header and claims may
    hold anything: who is believed is fit for headers and logs, and is whom the claims name."""
    if data[:1] != b"\x01":
        text = data[1:].decode("latin-1")
        looks_like_jwt(text)
        credential_in(data[1:])
        assert verified(text) is None or text in SIGNED
        return
    header, _, payload = data[1:].partition(b"\0")
    token = sign(PROVIDER.key, payload, header or HEADER, algorithm="Ed25519")
    identity = verified(token)
    if identity is None:
        return
    assert looks_like_jwt(token)
    assert credential_in(token.encode()) == token
    claims = json.loads(payload)
    assert (identity.issuer, identity.subject) == (POLICY.issuer, claims["sub"])
    assert identity.expires_at + POLICY.leeway_seconds > NOW
    assert "gateway" in claims.get("aud", claims.get("client_id"))
    for name in (identity.subject, identity.preferred_username, identity.token_id):
        assert name is None or (name and not UNFIT.search(name))
    assert all(role and role == role.strip() and "," not in role and role.isprintable() for role in identity.roles)


def claims(**more: Any) -> bytes:  # noqa: ANN401
    return json.dumps(CLAIMS | more).encode()


def forged(one: str, other: str) -> bytes:
    """The claims of one token with the signature of the other."""
    return f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}".encode()


def signed(payload: bytes) -> bytes:
    return sign(PROVIDER.key, payload, HEADER, algorithm="Ed25519").encode()


TOKEN = Target(
    name="token",
    check=check_token,
    seeds=[
        *(b"\0" + token.encode() for token in sorted(SIGNED)),
        b"\0" + forged(*sorted(SIGNED)),
        b"\0" + f"{b64(HEADER)}.{b64(claims())}.{b64(bytes(64))}".encode(),
        b"\0" + f"{b64(HEADER.replace(b'Ed25519', b'none'))}.{b64(claims())}.".encode(),
        b'\0{"token":"a.b.c"}',
        b"\x01\0" + claims(),
        b"\x01\0" + claims(roles=["a", "b,c", " d"], scope="x y", realm_access={"roles": ["r"]}, nbf=1, iat=2.5),
        b"\x01\0" + claims(resource_access={"c": {"roles": ["r"]}}, preferred_username="p", jti="\u2028"),
        b"\x01\0" + claims(sub="robot\r\n-7"),
        b"\x01\0" + claims(exp=NOW - 100),
        b"\x01\0" + claims(aud="another"),
        b"\x01\0" + claims(iss="another"),
        b'\x01{"alg":"Ed25519","kid":null,"typ":"at+jwt"}\0' + claims(aud=["gateway"]),
        b'\x01{"alg":"RS256","crit":["exp"],"jwk":{}}\0' + claims(),
    ],
    read=lambda data: verified(data.decode("latin-1")),
    worst={
        "dots": repeated(b"."),
        "roles": lambda size: signed(claims(scope="a " * (size * 3 // 8 - 200))),
        "brackets": lambda size: signed(b"[" * (size * 3 // 4 - 200)),
        "digits": lambda size: signed(claims()[:-1] + b',"a":' + b"9" * (size * 3 // 4 - 400) + b"}"),
        "escapes": lambda size: signed(b'{"a":"' + b"\\u0061" * (size // 8 - 40) + b'"}'),
    },
    most_bytes=MAX_TOKEN_CHARACTERS,
)


# Keys


EC_NAMES = sum(EC.values(), ())


def check_keys(data: bytes) -> None:
    """Of a document that is taken every key is public, strong, and filed under algorithms of its own type alone."""
    try:
        keys = parse_key_set(data, ALGORITHMS)
    except BadKeySet as error:
        says_little(error)
        return
    assert keys.of_algorithm
    filed = [(algorithm, key) for algorithm, found in keys.of_algorithm.items() for key in found]
    for algorithm, key in filed:
        assert algorithm in ALGORITHMS
        assert not key.is_private
        assert isinstance(key, OKPKey if algorithm.startswith("Ed") else ECKey if algorithm in EC_NAMES else RSAKey)
        if isinstance(key, RSAKey):
            assert key.raw_value.key_size >= MIN_RSA_BITS
    for by_algorithm in keys.by_kid.values():
        for algorithm, found in by_algorithm.items():
            assert all((algorithm, key) in filed for key in found)


def key_set(*jwks: object) -> bytes:
    return json.dumps({"keys": jwks}).encode()


PUBLIC = {name: signing_key(name).as_dict(private=False) for name in ("RS256", "ES256", "ES512", "Ed25519", "Ed448")}
SMALL = json.dumps(PUBLIC["Ed25519"]).encode() + b","


def read_keys(data: bytes) -> None:
    with suppress(BadKeySet):
        parse_key_set(data, ALGORITHMS)


KEY_SET = Target(
    name="keys",
    check=check_keys,
    seeds=[
        *(key_set({**jwk, "kid": name, "use": "sig"}) for name, jwk in PUBLIC.items()),
        *(key_set(signing_key(name).as_dict(private=True)) for name in PUBLIC),
        key_set(PUBLIC["RS256"], {"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, 7, None),
        key_set({**PUBLIC["RS256"], "alg": "RS256", "key_ops": ["verify"]}),
    ],
    read=read_keys,
    worst={
        "keys": lambda size: b'{"keys":[' + SMALL * ((size - 20) // len(SMALL)) + b"null]}",
        "brackets": repeated(b"["),
        "no keys": lambda size: b'{"keys":[' + b"{}," * ((size - 20) // 3) + b"7]}",
        "a long modulus": lambda size: key_set({"kty": "RSA", "e": "AQAB", "n": "_" * (size - 100)}),
        "a long exponent": lambda size: key_set({**PUBLIC["RS256"], "e": "_" * (size - 600)}),
    },
)
