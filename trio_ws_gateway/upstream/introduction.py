"""How a client is introduced to its upstream: the handshake's request, and which answer to it will do.

What a client says of itself (identity headers, forwarding headers, credentials) never reaches an
upstream as the client said it; everything that is nobody's business here passes as it came. Pure:
values in, values out, and the key is one of them. Which upstream is meant was decided before.
"""

from collections.abc import Iterator
from urllib.parse import quote

from attrs import field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.wire.cookies import without_cookie
from trio_ws_gateway.wire.handshake import Accepted, Offer, check_upstream_answer
from trio_ws_gateway.wire.http import Headers, Request, Response, build_head

# Names are compared in lower case and with "-" for "_": CGI and WSGI cannot tell X_User_Id from X-User-Id.
_IDENTITY = frozenset({"authorization", "x-user-id", "x-user-roles"})
_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "expect", "host", "http2-settings"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_NEVER_PASSED = _IDENTITY | _HOP_BY_HOP
# "Proxy" itself becomes HTTP_PROXY in a CGI environment. Three of the forwarding headers are written anew; of the rest,
# X-Forwarded-User say, nobody knows whether a proxy or the client in front of it wrote them.
_FAMILIES_NEVER_PASSED = ("proxy", "sec-websocket-", "forwarded", "x-forwarded-", "x-real-ip")

# In headers of ours visible ASCII but "%" stands for itself, the rest is percent-encoded UTF-8. The space too: white
# space at an end is cut on the way, and " admin" must not arrive as "admin".
_SAFE_IN_SUBJECT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"
_SAFE_IN_ROLE = _SAFE_IN_SUBJECT.replace(",", "")


@frozen(kw_only=True)
class Visitor:
    """A client as its upstream may hear of it.

    ``peer``: the address at the other end of its connection; ``secure``: that connection is TLS; ``trusted``: the peer
    is a proxy whose forwarding headers count. ``request``: as it came. ``query``: its own, without the token.
    ``cookie_name``: the cookie that holds tokens; it is left out, the others stay. ``identity``, ``token``: who it is,
    and the token that says so, verified.
    """

    peer: str
    secure: bool = False
    trusted: bool = False
    request: Request
    query: str = field(default="", repr=False)
    cookie_name: str | None = None
    identity: Identity | None = None
    token: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Introduction:
    """A handshake for the upstream, with its ``request`` as bytes."""

    request: bytes = field(repr=False)
    key: str
    offer: Offer

    def check(self, response: Response) -> Accepted:
        """What the answer agrees to. Raises ``BadUpstream`` for one that will not do."""
        return check_upstream_answer(response, self.key, self.offer)


def introduce(url: WebSocketUrl, visitor: Visitor, offer: Offer, *, key: str, by_name: bool) -> Introduction:
    """The handshake with the upstream at ``url``. Raises ``ValueError`` for what cannot stand in a head.

    The visitor's query is joined to the URL's. ``by_name``: the identity becomes ``X-User-Id`` (the subject) and
    ``X-User-Roles`` (with commas between), percent-encoded where they are not visible ASCII, and the token
    ``Authorization``; an upstream that reads no headers shall not have them.
    """
    headers = [
        ("Host", url.authority),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if offer.subprotocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(offer.subprotocols)))
    if offer.extensions is not None:
        headers.append(("Sec-WebSocket-Extensions", offer.extensions))
    headers += _passed(visitor)
    headers += _forwarded(visitor)
    if by_name:
        headers += _named(visitor)
    head = build_head(f"GET {_joined(url.target, visitor.query)} HTTP/1.1", headers)
    return Introduction(request=head, key=key, offer=offer)


def _joined(target: str, query: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}{query}" if query else target


def _passed(visitor: Visitor) -> Iterator[tuple[str, str]]:
    """The client's own headers, as far as the upstream may hear them."""
    headers = visitor.request.headers
    named = {_folded(name) for name in headers.tokens("connection")}
    for name, value in headers:
        folded = _folded(name)
        if folded in _NEVER_PASSED or folded in named or folded.startswith(_FAMILIES_NEVER_PASSED):
            continue
        if folded == "cookie" and visitor.cookie_name is not None:
            value = without_cookie(value, visitor.cookie_name)
            if not value:
                continue
        yield name, value


def _forwarded(visitor: Visitor) -> Iterator[tuple[str, str]]:
    """Whom this request is for and from. What the peer says of it is kept only if it may be believed."""
    headers = visitor.request.headers
    believed = headers if visitor.trusted else Headers()
    yield "X-Forwarded-For", ", ".join([*believed.all("x-forwarded-for"), visitor.peer])
    yield "X-Forwarded-Proto", believed.get("x-forwarded-proto") or ("https" if visitor.secure else "http")
    yield "X-Forwarded-Host", believed.get("x-forwarded-host") or headers.get("host") or ""


def _named(visitor: Visitor) -> Iterator[tuple[str, str]]:
    """Who the client is."""
    if visitor.identity is not None:
        yield "X-User-Id", _encoded(visitor.identity.subject, _SAFE_IN_SUBJECT)
        yield "X-User-Roles", ",".join(_encoded(role, _SAFE_IN_ROLE) for role in visitor.identity.roles)
    if visitor.token is not None:
        yield "Authorization", f"Bearer {visitor.token}"


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _encoded(value: str, safe: str) -> str:
    return quote(value, safe=safe, errors="surrogatepass")
