"""From a logout token to what it takes back (OpenID Connect Back-Channel Logout 1.0). Pure; ``now`` is passed in.

The provider says that somebody has logged out, with a token that is signed like all of its tokens. Threat: whoever
holds another of its tokens, or an old one of these, must not log anybody out with it. So the token is for us, says
what it is, has none of what an ID token has, is minutes old at most, and counts once.
"""

from typing import Any, Final

from attrs import frozen

from trio_ws_gateway.auth.keys import KeySet
from trio_ws_gateway.auth.revocation import ARRIVAL_SECONDS, Revocation, Terms
from trio_ws_gateway.auth.token import (
    LOGOUT_EVENT,
    MAX_NUMERIC_DATE,
    InvalidToken,
    TokenPolicy,
    optional_name,
    signed_claims,
)

LOGOUT_TYPES: Final = frozenset({"jwt", "logout+jwt", "application/logout+jwt"})  # 2.4; older providers say JWT
AGE_MAX_SECONDS: Final = 120.0  # what 2.4 advises for ``exp``, which some providers leave out


@frozen
class Logout:
    """``revocation``: what the provider takes back; ``used``: the token itself, so that it counts once."""

    revocation: Revocation
    used: Revocation


def read_logout(token: str, keys: KeySet, policy: TokenPolicy, client_id: str, terms: Terms, now: float) -> Logout:
    """Verify a logout token (2.6). ``client_id``: ours at the provider. Raises ``TokenError``."""
    claims = signed_claims(token, keys, policy, LOGOUT_TYPES)
    issuer = optional_name(claims.get("iss"))
    if issuer is None or policy.issuer not in (None, issuer):
        raise InvalidToken("another issuer")
    audience = claims.get("aud")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise InvalidToken("another audience")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise InvalidToken("events does not say that it is a logout")
    if "nonce" in claims:
        raise InvalidToken("nonce is there: it is an ID token")
    issued_at, expires_at = _times(claims, policy.leeway_seconds, now)
    jti, sub, sid = (optional_name(claims.get(name)) for name in ("jti", "sub", "sid"))
    if jti is None:
        raise InvalidToken("jti is missing")
    if sub is None and sid is None:
        raise InvalidToken("there is neither sub nor sid")
    life = terms.life_seconds + terms.leeway_seconds
    return Logout(
        # Who has logged out may log in again: of a subject only what was issued until then. A session never comes back.
        Revocation(
            iss=issuer,
            sub=sub,
            sid=sid,
            issued_before=issued_at + 1 if sid is None else None,
            until=max(now + ARRIVAL_SECONDS, issued_at + life),
        ),
        Revocation(iss=issuer, jti=jti, until=max(now + ARRIVAL_SECONDS, expires_at + policy.leeway_seconds)),
    )


def _times(claims: dict[str, Any], leeway: float, now: float) -> tuple[float, float]:
    issued_at, expires_at = _date(claims, "iat"), _date(claims, "exp")
    if issued_at is None:
        raise InvalidToken("iat is missing")
    if expires_at is None:
        expires_at = issued_at + AGE_MAX_SECONDS
    if now >= expires_at + leeway:
        raise InvalidToken("expired")
    if now < issued_at - leeway:
        raise InvalidToken("issued in the future")
    return issued_at, expires_at


def _date(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_NUMERIC_DATE
    ):
        raise InvalidToken(f"{name} is no date")
    return value
