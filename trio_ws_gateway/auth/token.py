"""From a token to an ``Identity``, or a ``TokenError`` that says why not.

Pure: a string, a key set, a policy and the time go in. Every rule of RFC 8725 that a verifier can keep is kept here.
Nothing in a token chooses how it is verified; no error holds a value of it. Knows neither HTTP nor clocks.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn, TypeGuard

from attrs import Attribute, field, frozen
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.keys import KeySet, PublicKey
from trio_ws_gateway.auth.verdicts import NO_VERDICTS, Verdicts
from trio_ws_gateway.wire.jwa import ALGORITHMS, OKP


class TokenError(Exception):
    """The token is not good. The message is fit for a log: it names the rule, never a value."""


class MalformedToken(TokenError):
    """It is no JWT at all."""


class InvalidToken(TokenError):
    """It is a JWT, and not to be believed here and now."""


class UnknownKey(InvalidToken):
    """Its key is not in the set: a newer set may have it. ``kid`` is what the token says, unverified."""

    def __init__(self, kid: str | None) -> None:
        super().__init__("no such key in the key set" if kid is not None else "no key in the key set fits")
        self.kid = kid


MAX_TOKEN_CHARACTERS = 16 * 1024
MAX_KEYS_TRIED = 8  # a token without kid must not cost as many signatures as there are keys
MAX_BRACKETS = 512  # how deep a parser may go differs between Pythons; this bounds it in all, and for one look
MAX_NAME_CHARACTERS = 1024  # of which OpenID Connect allows a subject 255
MAX_NUMERIC_DATE = 253_402_300_799  # the end of the year 9999: 1e308 would overflow whoever adds to it

# RFC 8725 3.11: logout tokens, DPoP proofs and the like are signed with the same keys and are no access tokens.
TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


def _checked_algorithms(_: object, attribute: "Attribute[tuple[str, ...]]", algorithms: tuple[str, ...]) -> None:
    if not algorithms or not set(ALGORITHMS).issuperset(algorithms):
        raise ValueError(f"{attribute.name} must be some of {', '.join(ALGORITHMS)}")


def _with_both_names(algorithms: Iterable[str]) -> frozenset[str]:
    """EdDSA and Ed25519 are two names of one signature (RFC 9864): who allows one allows the other."""
    aliases = (names for names in OKP.values() if not set(names).isdisjoint(algorithms))
    return frozenset(algorithms).union(*aliases)


@frozen(kw_only=True)
class TokenPolicy:
    """What a token must fulfil. ``issuer`` ``None`` and ``audiences`` empty mean "not checked".

    ``kept_claims``: those that later decisions read.
    """

    algorithms: tuple[str, ...] = field(validator=_checked_algorithms)
    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    leeway_seconds: float = 30.0
    kept_claims: frozenset[str] = frozenset()
    admitted: frozenset[str] = field(init=False)

    @admitted.default
    def _admitted(self) -> frozenset[str]:
        return _with_both_names(self.algorithms)


def verify(token: str, keys: KeySet, policy: TokenPolicy, now: float, *, verdicts: Verdicts = NO_VERDICTS) -> Identity:
    """Who the token says that its bearer is. Raises ``TokenError``.

    ``now`` is in seconds since 1970. ``keys`` must have been parsed for the policy's algorithms. ``verdicts``: what is
    known of signatures, and what will be.
    """
    header_segment, payload_segment, signature_segment = _segments(token)
    algorithm, kid = _read_header(_json_object(header_segment, "header"), policy, TOKEN_TYPES)
    signature = _bytes(signature_segment, "signature")
    candidates = _candidates(keys, kid, algorithm)
    if verdicts.signer(token, now) in candidates:  # else its key has left the set since, or is for another algorithm
        return _identity(_json_object(payload_segment, "payload"), policy, now)
    signed = token[: -len(signature_segment) - 1].encode()
    signer = _signer(signed, signature, algorithm, candidates)
    identity = _identity(_json_object(payload_segment, "payload"), policy, now)
    verdicts.keep(token, signer, identity.expires_at)
    return identity


def signed_claims(token: str, keys: KeySet, policy: TokenPolicy, kinds: frozenset[str]) -> dict[str, Any]:
    """What a token of one of these kinds (``typ``) says, whose signature is good. Of the policy only the algorithms
    have been held against it. Raises ``TokenError``."""
    header_segment, payload_segment, signature_segment = _segments(token)
    algorithm, kid = _read_header(_json_object(header_segment, "header"), policy, kinds)
    signed = token[: -len(signature_segment) - 1].encode()
    _signer(signed, _bytes(signature_segment, "signature"), algorithm, _candidates(keys, kid, algorithm))
    return _json_object(payload_segment, "payload")


def _segments(token: str) -> list[str]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise MalformedToken(f"longer than {MAX_TOKEN_CHARACTERS} characters")
    segments = token.split(".")
    if len(segments) != 3 or not token.isascii():
        raise MalformedToken("not three segments of base64url")
    return segments


# The signature


def _read_header(header: dict[str, Any], policy: TokenPolicy, kinds: frozenset[str]) -> tuple[str, str | None]:
    """Algorithm and kid. ``jwk``, ``jku``, ``x5c`` and ``x5u`` are never looked at (RFC 8725 3.10)."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str):
        raise MalformedToken("alg is not a string")
    if not isinstance(kid, str | None):
        raise MalformedToken("kid is not a string")
    if algorithm not in policy.admitted:
        raise InvalidToken("algorithm not allowed")
    if "crit" in header:  # RFC 7515 4.1.11: we understand no extension, so there is none that we may accept
        raise InvalidToken("crit names extensions that are not understood")
    if not isinstance(kind, str) or kind.lower() not in kinds:
        raise InvalidToken("typ names another kind of token")
    return algorithm, kid


def _candidates(keys: KeySet, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
    if kid is None:
        candidates = keys.of_algorithm.get(algorithm, ())
    elif kid in keys.by_kid:
        candidates = keys.by_kid[kid].get(algorithm, ())
        if not candidates:
            raise InvalidToken("the key is for another algorithm")
    else:
        raise UnknownKey(kid)
    if not candidates:
        raise UnknownKey(None)
    return candidates[:MAX_KEYS_TRIED]


def _signer(signed: bytes, signature: bytes, algorithm: str, candidates: Sequence[PublicKey]) -> PublicKey:
    # Looked up directly: the registry's own look-up warns about EdDSA's older name each time.
    verifier = JWSRegistry.algorithms[algorithm]
    for key in candidates:
        if verifier.verify(signed, signature, key):
            return key
    raise InvalidToken("signature does not match")


# The claims


def _identity(claims: dict[str, Any], policy: TokenPolicy, now: float) -> Identity:
    events = claims.get("events")
    if isinstance(events, dict) and LOGOUT_EVENT in events:  # older providers give it no typ of its own
        raise InvalidToken("it is a logout token")
    issuer = claims.get("iss", "")
    if not is_name(issuer):
        raise InvalidToken("iss is not a string, is too long, or holds a control character")
    if policy.issuer is not None and issuer != policy.issuer:
        raise InvalidToken("another issuer")
    if policy.audiences:
        _check_audience(claims, policy.audiences)
    expires_at, issued_at = _check_times(claims, policy.leeway_seconds, now)
    return Identity(
        issuer=issuer,
        subject=_subject(claims),
        preferred_username=optional_name(claims.get("preferred_username")),
        issued_at=issued_at,
        expires_at=expires_at,
        token_id=optional_name(claims.get("jti")),
        session_id=optional_name(claims.get("sid")),
        roles=tuple(dict.fromkeys(role for role in _roles(claims) if _is_role(role))),
        claims={name: claims[name] for name in policy.kept_claims if name in claims},
    )


def _subject(claims: dict[str, Any]) -> str:
    if "sub" not in claims:
        raise InvalidToken("sub is missing")
    subject = claims["sub"]
    if not isinstance(subject, str):
        raise InvalidToken("sub is not a string")
    if not subject:
        raise InvalidToken("sub is empty")
    if len(subject) > MAX_NAME_CHARACTERS:
        raise InvalidToken(f"sub is longer than {MAX_NAME_CHARACTERS} characters")
    if not is_name(subject):
        raise InvalidToken("sub holds a control character")
    return subject


def _check_audience(claims: dict[str, Any], audiences: tuple[str, ...]) -> None:
    """One of several (RFC 7519 4.1.3). Access tokens of Cognito have no ``aud``: there ``client_id`` counts.
    ``azp`` never does: it says who asked for the token, not whom it is for."""
    audience = claims["aud"] if "aud" in claims else claims.get("client_id")
    if audience is None:
        raise InvalidToken("aud is missing")
    if not isinstance(audience, str | list):
        raise InvalidToken("aud is neither a string nor a list")
    if not any(entry in audiences for entry in ([audience] if isinstance(audience, str) else audience)):
        raise InvalidToken("another audience")


def _check_times(claims: dict[str, Any], leeway: float, now: float) -> tuple[float, float | None]:
    """``exp`` and ``iat``, after ``exp``, ``nbf`` and ``iat`` were held against ``now`` (RFC 7519 4.1.4-6)."""
    expires_at = _numeric_date(claims, "exp")
    not_before = _numeric_date(claims, "nbf")
    issued_at = _numeric_date(claims, "iat")
    if expires_at is None:
        raise InvalidToken("exp is missing")
    if now >= expires_at + leeway:
        raise InvalidToken("expired")
    if not_before is not None and now < not_before - leeway:
        raise InvalidToken("not valid yet")
    if issued_at is not None and now < issued_at - leeway:
        raise InvalidToken("issued in the future")
    return expires_at, issued_at


def _numeric_date(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(f"{name} is not a number")
    if not 0 <= value <= MAX_NUMERIC_DATE:
        raise InvalidToken(f"{name} is no date")
    return float(value)


def _roles(claims: dict[str, Any]) -> Iterable[object]:
    """Every role that the token grants, in this order, with whatever else stands in their place:

    - Keycloak: ``realm_access.roles``, and ``resource_access.<client>.roles`` as ``client:role``, because two
      clients may mean different things by one name
    - Entra ID, Auth0: ``roles``; Cognito: ``cognito:groups``
    - OAuth 2: ``scope``, Entra's and Okta's ``scp``: words in a string, or a list
    """
    yield from _list(_member(claims.get("realm_access"), "roles"))
    resources = claims.get("resource_access")
    if isinstance(resources, dict):
        for client, access in resources.items():
            granted = _list(_member(access, "roles"))
            yield from (f"{client}:{role}" for role in granted if _is_role(role))
    yield from _list(claims.get("roles"))
    yield from _list(claims.get("cognito:groups"))
    for name in ("scope", "scp"):
        scopes = claims.get(name)
        yield from scopes.split(" ") if isinstance(scopes, str) else _list(scopes)


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_role(role: object) -> TypeGuard[str]:
    """Roles go to the upstream as a header, separated by commas. One with a comma in it, or with blanks around it
    that a reader strips, would arrive there as a role that was never granted; a line break as another header."""
    return isinstance(role, str) and role != "" and role.isprintable() and "," not in role and role == role.strip()


# Controls and line separators split log lines and headers, NUL and surrogates are illegal in MQTT (MQTT 5.0 1.5.4).
UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_name(value: object) -> TypeGuard[str]:
    """Whether it may name somebody, or something of his: what does not cannot be revoked either."""
    return isinstance(value, str) and len(value) <= MAX_NAME_CHARACTERS and UNFIT.search(value) is None


def optional_name(value: object) -> str | None:
    """A name that a claim holds, where it holds one."""
    return value if isinstance(value, str) and value and is_name(value) else None


# The encoding


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7519 4 lets a parser refuse duplicates. Two readers that choose differently see two identities."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)


def _json_object(segment: str, name: str) -> dict[str, Any]:
    try:
        text = _bytes(segment, name).decode()
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            raise MalformedToken(f"{name} is nested too deep")
        members = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise MalformedToken(f"{name} is not JSON, or says something twice") from None
    if not isinstance(members, dict):
        raise MalformedToken(f"{name} is not a JSON object")
    return members


def _bytes(segment: str, name: str) -> bytes:
    """Strict base64url: what decodes alike must be spelt alike, or one token has many spellings."""
    try:
        return urlsafe_b64decode(segment.encode())
    except ValueError:
        raise MalformedToken(f"{name} is not base64url") from None
