"""The WebSocket handshake (RFC 6455 4), both sides of it: toward the client and toward the upstream.

Values in, values or bytes out: what a client's request asks for and its 101, what an upstream's
answer agrees to. Each leg has a key of its own, which the caller draws. Which headers pass from leg
to leg, and whether a client may come in at all, is not decided here.
"""

import base64
import hashlib
import re
from collections.abc import Container
from itertools import islice

from attrs import field, frozen

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.wire.http import BadUpstream, Headers, HttpError, Request, Response, build_head, is_token

BEARER = "bearer"  # the subprotocol that says that the next one is a token

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_OFFER = re.compile(r"permessage-deflate[ \t]*(?:;[^\"]*)?")


@frozen(kw_only=True)
class Upgrade:
    """What a client's handshake asks for.

    ``subprotocols``: what it offers, in its order, the ``bearer`` pair removed. ``bearer``: the token of
    that pair, ``bearer_name``: how it spelled the other half. ``extensions``: its offer as it came.
    """

    key: str
    subprotocols: tuple[str, ...] = ()
    bearer: str | None = field(default=None, repr=False)
    bearer_name: str = BEARER
    extensions: str | None = None


@frozen(kw_only=True)
class Offer:
    """What an upstream may choose from. ``must_choose``: naming no subprotocol, it does not speak the protocol."""

    subprotocols: tuple[str, ...] = ()
    extensions: str | None = None
    must_choose: bool = False


@frozen(kw_only=True)
class Accepted:
    """What an upstream agreed to; both are ``None`` where it named nothing."""

    subprotocol: str | None
    extensions: str | None

    @property
    def again(self) -> Offer:
        """What to offer to whom this should be agreed on with as well, for a client that has heard it already."""
        name = self.subprotocol
        return Offer() if name is None else Offer(subprotocols=(name,), must_choose=True)


def check_upgrade(request: Request, path: str) -> Upgrade:
    """What the handshake in a request asks for (RFC 6455 4.2.1). Raises ``HttpError``.

    ``path`` is compared with the request's as it is, without decoding.
    """
    headers = request.headers
    if request.path != path:
        raise HttpError(Cause.NOT_FOUND)
    if request.method not in {"GET", "HEAD"}:
        raise HttpError(Cause.METHOD_NOT_ALLOWED)
    # An HTTP/1.0 client cannot upgrade, whatever it says (RFC 9110 7.8).
    asks = "websocket" in headers.tokens("upgrade") and "upgrade" in headers.tokens("connection")
    asks = asks and request.method == "GET" and request.version == "1.1"
    if not asks or _only(headers, "sec-websocket-version") != "13":
        raise HttpError(Cause.UPGRADE_REQUIRED)
    key = _only(headers, "sec-websocket-key")
    if key is None or not _KEY.fullmatch(key):
        raise HttpError(Cause.BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes of base64")
    _only(headers, "origin")
    subprotocols, bearer_name, bearer = _subprotocols(headers.tokens("sec-websocket-protocol"))
    return Upgrade(
        key=key,
        subprotocols=subprotocols,
        bearer=bearer,
        bearer_name=bearer_name,
        extensions=", ".join(headers.all("sec-websocket-extensions")) or None,
    )


def choose_subprotocol(offered: tuple[str, ...], known: Container[str]) -> str | None:
    """The answer to an offer when the upstream is yet to be reached: the first in ``known``, else the first."""
    return next((name for name in offered if name in known), offered[0] if offered else None)


def permessage_deflate_offer(extensions: str | None) -> str | None:
    """Those offers of a ``Sec-WebSocket-Extensions`` that are permessage-deflate; ``None`` if none is.

    Nobody quotes its parameters (RFC 7692 7.1), and a quoted string could hide a comma: such a header
    is declined as a whole.
    """
    if not extensions or '"' in extensions:
        return None
    offers = [offer.strip(" \t") for offer in extensions.split(",")]
    return ", ".join(offer for offer in offers if _OFFER.fullmatch(offer)) or None


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a key (RFC 6455 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def build_101(upgrade: Upgrade, subprotocol: str | None, extensions: str | None) -> bytes:
    """The answer to a client that is let in.

    A browser that offered subprotocols fails without one in the answer: who offered the ``bearer`` pair alone
    hears its name, and never the token.
    """
    if subprotocol is None and upgrade.bearer is not None and not upgrade.subprotocols:
        subprotocol = upgrade.bearer_name
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(upgrade.key)),
    ]
    if subprotocol is not None:
        headers.append(("Sec-WebSocket-Protocol", subprotocol))
    if extensions is not None:
        headers.append(("Sec-WebSocket-Extensions", extensions))
    return build_head("HTTP/1.1 101 Switching Protocols", headers)


def check_upstream_answer(response: Response, key: str, offer: Offer) -> Accepted:
    """What the upstream agreed to (RFC 6455 4.1). Raises ``BadUpstream``.

    The parameters of an extension are between the upstream and the client.
    """
    headers = response.headers

    def bad(detail: str) -> BadUpstream:
        return BadUpstream(detail, response.status)

    if response.status != 101:
        raise bad(f"answers {response.status}, not 101")
    if headers.tokens("upgrade") != ("websocket",) or "upgrade" not in headers.tokens("connection"):
        raise bad("does not upgrade to WebSocket")
    if headers.all("sec-websocket-accept") != (accept_key(key),):
        raise bad("has a wrong Sec-WebSocket-Accept")
    named = headers.all("sec-websocket-protocol")
    if named and (len(named) > 1 or named[0] not in offer.subprotocols):
        raise bad("answers with another subprotocol than one that was offered")
    if offer.must_choose and not named:
        raise bad("names no subprotocol")
    answered = headers.tokens("sec-websocket-extensions")
    if answered and (offer.extensions is None or len(answered) > 1 or permessage_deflate_offer(answered[0]) is None):
        raise bad("answers with another extension than one that was offered")
    return Accepted(subprotocol=named[0] if named else None, extensions=answered[0] if answered else None)


def _only(headers: Headers, name: str) -> str | None:
    """The value of a field that must not come twice."""
    values = headers.all(name)
    if len(values) > 1:
        raise HttpError(Cause.BAD_REQUEST, f"{name} comes twice")
    return values[0] if values else None


def _subprotocols(elements: tuple[str, ...]) -> tuple[tuple[str, ...], str, str | None]:
    """The offered names, ``bearer`` as it was spelled, and the token that follows it.

    Subprotocols have case, but ``Bearer`` is as good as ``bearer`` here: the token after it would be offered
    upstream otherwise, and echoed.
    """
    if not all(is_token(element) for element in elements):
        raise HttpError(Cause.BAD_REQUEST, "Sec-WebSocket-Protocol is no list of names")
    names: list[str] = []
    tokens: list[str] = []
    spelled = BEARER
    remaining = iter(elements)
    for element in remaining:
        if element.lower() == BEARER:
            spelled = element
            tokens.extend(islice(remaining, 1))
        else:
            names.append(element)
    if len(tokens) > 1:
        raise HttpError(Cause.BAD_REQUEST, "two tokens in Sec-WebSocket-Protocol")
    return tuple(dict.fromkeys(names)), spelled, tokens[0] if tokens else None
