"""What to look at, for a cause of the gateway's, knowing what was tried.

What a cause means, and what whoever runs the gateway can do about it, says its row in ``causes``. Here is only what
whoever stands outside can see: the token that was sent, the path, the names, the options of the probe. Pure.
"""

from collections.abc import Iterator

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.config.settings import upstream_setting
from trio_ws_gateway.probing import claims
from trio_ws_gateway.probing.attempt import Attempt, Carry

ABOUT_THE_TOKEN = {Cause.MALFORMED_TOKEN, Cause.INVALID_TOKEN, Cause.TOKEN_EXPIRED}
NO_TOKEN = "No token was given: --token-file FILE, or TOKEN in the environment."


def on_cause(cause: Cause, attempt: Attempt, now: float) -> tuple[str, ...]:
    """Sentences, the most likely first; none for an end that needs no advice.

    A token that is bad for everybody to see says it all.
    """
    if cause in ABOUT_THE_TOKEN and (found := on_credentials(attempt, now)):
        return found
    row = cause.row
    return (*_seen_from_outside(cause, attempt, now), *([f"At the gateway: {row.advice}"] if row.advice else []))


def on_credentials(attempt: Attempt, now: float) -> tuple[str, ...]:
    """Where somebody wants credentials, or does not like them, and does not say why."""
    return (NO_TOKEN,) if attempt.token is None else tuple(claims.faults(attempt.token, now))


def _seen_from_outside(cause: Cause, attempt: Attempt, now: float) -> Iterator[str]:
    match cause:
        case Cause.NOT_FOUND:
            yield f"The path here was `{attempt.url.target.partition('?')[0]}`; unless it is set, WS_PATH is `/ws`."
        case Cause.HEAD_TOO_BIG:
            yield f"The token has {len(attempt.token or '')} bytes."
        case Cause.NO_TOKEN:
            yield _why_not_found(attempt)
        case Cause.INVALID_TOKEN:
            yield "From outside the token looks good: it is a JWT, and in time, give or take what clocks differ."
            yield from _claims(attempt, now)
        case Cause.FORBIDDEN:
            yield from _forbidden(attempt, now)
        case Cause.RATE_LIMITED:
            yield "Give a longer --interval, or a smaller --count."
        case Cause.MESSAGE_TOO_BIG:
            yield f"Give a smaller --size than {attempt.size}."
        case Cause.IDLE:
            yield "Give a shorter --interval."
        case Cause.UPSTREAM_UNAVAILABLE | Cause.CIRCUIT_OPEN:
            upstream = upstream_setting("mqtt" if attempt.mqtt is not None else "raw")
            yield f"The gateway itself works. What it cannot reach is behind it: {upstream}, seen from its machine."
        case Cause.OVERLOADED:
            yield "Come again after the seconds of Retry-After."
        case Cause.KEYS_UNAVAILABLE | Cause.DRAINING:
            yield "Its page /readyz says the same, until that is over."


def _why_not_found(attempt: Attempt) -> str:
    if attempt.token is None:
        return NO_TOKEN
    if attempt.carry in (Carry.COOKIE, Carry.QUERY):
        return f"The token went as {attempt.carry.value}, under the name `{attempt.carry_name}` (--carry-name)."
    return f"The token went as {attempt.carry.value}: something in between has removed it. Try another --carry."


def _forbidden(attempt: Attempt, now: float) -> Iterator[str]:
    if attempt.origin is not None:
        yield f"Is the origin `{attempt.origin}` allowed? Scheme, host and port are compared."
    if attempt.mqtt is not None:
        name = "none" if attempt.mqtt.username is None else f"`{attempt.mqtt.username}`"
        yield f"The MQTT user name was {name}, the client id `{attempt.mqtt.client_id}`."
        yield from _claims(attempt, now)


def _claims(attempt: Attempt, now: float) -> Iterator[str]:
    if attempt.token is not None and (said := claims.description(attempt.token, now)) is not None:
        yield said
