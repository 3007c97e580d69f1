"""Tokens as an OpenID provider mints them, and as none would: for whoever tries out what a gateway lets in.

Pure. Every claim can be overridden, also by something that no verifier should believe. Nothing is checked here.
"""

import json
import math
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence

from trio_ws_gateway.issuer.keys import SigningKey
from trio_ws_gateway.wire.jwt_shape import unverified_part

UNITS_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def mint(
    key: SigningKey,
    *,
    issuer: str,
    subject: str,
    audience: Sequence[str],
    lifetime_seconds: float,
    now: float,
    roles: Sequence[str] = (),
    claims: Mapping[str, object] = {},
) -> str:
    """A signed token, good from ``now`` (seconds since 1970) on. With a negative lifetime it has expired already.

    ``claims`` are merged in last: each replaces what stands there, ``None`` leaves it out.
    """
    begins = math.floor(now)
    usual: dict[str, object] = {
        "iss": issuer,
        "sub": subject,
        "aud": audience[0] if len(audience) == 1 else list(audience) or None,
        "iat": begins,
        "nbf": begins,
        "exp": math.floor(now + lifetime_seconds),
        "jti": secrets.token_urlsafe(12),
        "roles": list(roles) or None,
    }
    payload = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid}
    signed = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
    return b".".join((signed, _base64url(key.sign(signed)))).decode()  # RFC 7515 7.1


def claims_of(token: str) -> dict[str, object]:
    """What a token that was minted here says."""
    return unverified_part(token, 1) or {}


def parse_seconds(text: str) -> float:
    """``90s``, ``15m``, ``8h``, ``1d`` or a number of seconds; below zero too. Raises ``ValueError``."""
    match = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text)
    if match is None:
        raise ValueError("is no span of time")
    number, unit = match.groups()
    return float(number) * UNITS_SECONDS[unit]


def parse_claim(text: str) -> tuple[str, object]:
    """``name=value``: the value as JSON if it is JSON, and as a string if not. Raises ``ValueError``."""
    name, equals, value = parse_text(text).partition("=")
    if not name or not equals:
        raise ValueError("has no name, or no =")
    try:
        found: object = json.loads(value, parse_constant=_refuse_constant, parse_float=_finite)
        parse_text(json.dumps(found, ensure_ascii=False))
        return name, found
    except (ValueError, RecursionError):
        return name, value


def parse_text(text: str) -> str:
    """The text, if it is one: what a shell passes on may be any bytes, and those that are no UTF-8 no JSON can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is no UTF-8") from None
    return text


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("infinite")
    return number


def _refuse_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
