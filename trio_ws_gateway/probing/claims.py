"""What a token says of itself, read without believing it: why a gateway may have refused it.

Nothing is verified here, and no part of a token is ever quoted but the claims that are no secret: who issued it, for
whom, about whom, until when.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.diagnosis.spans import span
from trio_ws_gateway.wire.jwa import ALGORITHMS
from trio_ws_gateway.wire.jwt_shape import looks_like_jwt, unverified_part

LEEWAY_SECONDS = Settings().jwt_leeway_seconds  # of a gateway that has the default: two clocks never agree
LAST_TIME = 253402300799  # the end of the year 9999; JSON has greater numbers, and ones that are none


def claims_of(token: str) -> Mapping[str, Any] | None:
    """The claims, ``None`` where they cannot be read."""
    return unverified_part(token, 1)


def subject_of(token: str | None) -> str | None:
    """The ``sub`` of a token, where there is one that can be read, and shown."""
    subject = (claims_of(token) or {}).get("sub") if token is not None else None
    return subject if isinstance(subject, str) and subject and subject.isprintable() else None


def faults(token: str, now: float) -> Iterator[str]:
    """What is wrong with it for everybody to see, a sentence each."""
    if token[:7].lower() == "bearer ":
        yield "The token begins with `Bearer `: give it without that word."
        return
    header, claims = unverified_part(token, 0), unverified_part(token, 1)
    if not looks_like_jwt(token) or header is None or claims is None:
        parts = token.count(".") + 1
        yield f"The token is no JWT that can be read: {_why_none(token, parts)}."
        return
    if token.endswith("."):
        yield "The token has lost its signature."
    if header.get("alg") not in ALGORITHMS:
        yield f"The token is signed with {_shown(header.get('alg'))}, which the gateway never accepts."
    expires_at, valid_from, issued_at = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires_at is None:
        yield "The token has no time of expiry (`exp`), which the gateway requires."
    elif expires_at + LEEWAY_SECONDS <= now:  # before that the gateway has forgiven it
        yield f"This token expired {span(now - expires_at)} ago: get a new one."
    if valid_from is not None and valid_from > now + LEEWAY_SECONDS:
        yield f"This token is not valid for another {span(valid_from - now)} (`nbf`): compare the clocks."
    elif issued_at is not None and issued_at > now + LEEWAY_SECONDS:
        yield f"This token was issued {span(issued_at - now)} from now (`iat`): compare the clocks."


def description(token: str, now: float) -> str | None:
    """One sentence for comparing with what a gateway expects; ``None`` where nothing can be read."""
    claims, header = claims_of(token), unverified_part(token, 0)
    if claims is None or header is None:
        return None
    expires_at = _time(claims, "exp")
    left = ""
    if expires_at is not None:
        left = f", {span(expires_at - now)} left" if expires_at > now else f", {span(now - expires_at)} over"
    said = ", ".join(f"{name} {_shown(claims.get(name))}" for name in ("iss", "aud", "sub"))
    return f"The token says: {said}, alg {_shown(header.get('alg'))}, kid {_shown(header.get('kid'))}{left}."


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LAST_TIME
    return value if is_time else None


def _why_none(token: str, parts: int) -> str:
    if any(character.isspace() for character in token):
        return "there is white space in it"
    if parts != 3:
        return f"it has {parts} part{'s' if parts > 1 else ''} between its dots, not 3"
    return "its parts are not JSON in base64url"


def _shown(value: object) -> str:
    """A claim as it is, on one line, and not for ever."""
    text = "missing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "?" for character in text[:120])
