"""Which credential of a client decides, and where in its request it was.

The first that is there counts, there is no second chance: ``Authorization: Bearer``, the subprotocol
pair, the query, the first words, the cookie. Pure, and believes nothing: verifying is for others.
"""

from enum import Enum
from urllib.parse import unquote_plus

from attrs import field, frozen

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.wire.cookies import cookie_values
from trio_ws_gateway.wire.handshake import Upgrade
from trio_ws_gateway.wire.http import HttpError, Request
from trio_ws_gateway.wire.jwt_shape import looks_like_jwt


class Carrier(Enum):
    """What a credential came in; the value is the word for logs."""

    HEADER = "header"
    SUBPROTOCOL = "subprotocol"
    QUERY = "query"
    FIRST_WORDS = "first words"  # the password of an MQTT CONNECT, or a raw session's first message
    COOKIE = "cookie"


@frozen
class Credential:
    """A token that nobody has verified yet."""

    token: str = field(repr=False)
    carrier: Carrier


def early_credential(
    request: Request,
    upgrade: Upgrade,
    *,
    query_parameters: tuple[str, ...],
    cookie_name: str | None,
    cookie_waits: bool,
) -> Credential | None:
    """The credential that a request itself carries.

    ``cookie_name`` is ``None`` where a cookie is no credential at all. ``cookie_waits``: the client offers a
    protocol whose first words come before it, see ``late_cookie``. Raises ``HttpError`` for two Authorization
    headers, of which nobody can say which one the next reader would take.
    """
    if (token := _bearer(request)) is not None:
        return Credential(token, Carrier.HEADER)
    if upgrade.bearer is not None:
        return Credential(upgrade.bearer, Carrier.SUBPROTOCOL)
    if (token := _query_token(request.query, query_parameters)) is not None:
        return Credential(token, Carrier.QUERY)
    return None if cookie_waits else late_cookie(request, cookie_name)


def late_cookie(request: Request, cookie_name: str | None) -> Credential | None:
    """The token in the cookie of that name, the first one of the shape of a JWT."""
    values = () if cookie_name is None else cookie_values(request.headers.all("cookie"), cookie_name)
    token = next(filter(looks_like_jwt, values), None)
    return None if token is None else Credential(token, Carrier.COOKIE)


def without_token(query: str, names: tuple[str, ...]) -> str:
    """A query without the parameters of these names, whatever their values; the others stay byte for byte."""
    return "&".join(pair for pair in query.split("&") if _name(pair) not in names)


def _bearer(request: Request) -> str | None:
    """RFC 6750 2.1; the scheme has no case (RFC 9110 11.1). A Bearer without a token is a credential, and a bad one."""
    values = request.headers.all("authorization")
    if len(values) > 1:
        raise HttpError(Cause.BAD_REQUEST, "two Authorization headers")
    scheme, _, token = values[0].partition(" ") if values else ("", "", "")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def _query_token(query: str, names: tuple[str, ...]) -> str | None:
    values = (unquote_plus(pair.partition("=")[2]) for pair in query.split("&") if _name(pair) in names)
    return next(filter(looks_like_jwt, values), None)


def _name(pair: str) -> str:
    # Decoded, or "%74oken" would carry a token past us to the upstream.
    return unquote_plus(pair.partition("=")[0])
