"""The handshake's request for an upstream: which of the client's headers pass, and what we add.

What a client says of itself (identity headers, forwarding headers, credentials) never reaches an
upstream as the client said it; everything that is nobody's business here passes as it came. Pure:
values in, bytes out. Who the client is, and which upstream is meant, was decided before.
"""

from collections.abc import Iterator
from urllib.parse import quote

from attrs import frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.wire.cookies import without_cookie
from trio_ws_gateway.wire.http import Headers, Request, build_head

# Names are compared in lower case and with "-" for "_": CGI and WSGI cannot tell X_User_Id from X-User-Id.
_IDENTITY = frozenset({"authorization", "x-user-id", "x-user-roles"})
_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "expect", "host", "http2-settings"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_REPLACED = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
_NEVER_PASSED = _IDENTITY | _HOP_BY_HOP | _REPLACED
_FAMILIES_NEVER_PASSED = ("proxy", "sec-websocket-")  # "Proxy" itself becomes HTTP_PROXY in a CGI environment
_ONLY_FROM_TRUSTED = ("forwarded", "x-forwarded-", "x-real-ip")

# In headers of ours visible ASCII but "%" stands for itself, the rest is percent-encoded UTF-8. The space too: white
# space at an end is cut on the way, and " admin" must not arrive as "admin".
_SAFE_IN_SUBJECT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"
_SAFE_IN_ROLE = _SAFE_IN_SUBJECT.replace(",", "")


@frozen(kw_only=True)
class ClientAddress:
    """Where a request came from: ``peer`` is the address at the other end of the connection.

    ``secure``: that connection is TLS. ``trusted``: the peer is a proxy whose forwarding headers count.
    """

    peer: str
    secure: bool = False
    trusted: bool = False


def build_upstream_request(
    url: WebSocketUrl,
    *,
    # Handshake
    key: str,
    subprotocols: tuple[str, ...] = (),
    extensions: str | None = None,
    # Client
    request: Request,
    query: str,
    client: ClientAddress,
    cookie_name: str | None = None,
    # Who the client is, as far as this upstream is told
    identity: Identity | None = None,
    token: str | None = None,
) -> bytes:
    """The request's head. Raises ``ValueError`` for what cannot stand in one.

    ``query``: the client's, without the token; it is joined to the URL's. ``cookie_name``: the cookie that
    holds tokens; it is left out, the others stay. ``identity`` becomes ``X-User-Id`` (the subject) and
    ``X-User-Roles`` (with commas between), percent-encoded where they are not visible ASCII; ``token``
    becomes ``Authorization``. Both are ``None`` for an upstream that shall not have them: MQTT.
    """
    headers = [
        ("Host", url.authority),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    if subprotocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if extensions is not None:
        headers.append(("Sec-WebSocket-Extensions", extensions))
    headers += _passed(request.headers, client, cookie_name)
    headers += _forwarded(request.headers, client)
    if identity is not None:
        headers.append(("X-User-Id", _encoded(identity.subject, _SAFE_IN_SUBJECT)))
        headers.append(("X-User-Roles", ",".join(_encoded(role, _SAFE_IN_ROLE) for role in identity.roles)))
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    return build_head(f"GET {_joined(url.target, query)} HTTP/1.1", headers)


def _joined(target: str, query: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}{query}" if query else target


def _passed(headers: Headers, client: ClientAddress, cookie_name: str | None) -> Iterator[tuple[str, str]]:
    """The client's own headers, as far as the upstream may hear them."""
    named = {_folded(name) for name in headers.tokens("connection")}
    for name, value in headers:
        folded = _folded(name)
        if folded in _NEVER_PASSED or folded in named or folded.startswith(_FAMILIES_NEVER_PASSED):
            continue
        if folded.startswith(_ONLY_FROM_TRUSTED) and not client.trusted:
            continue
        if folded == "cookie" and cookie_name is not None:
            value = without_cookie(value, cookie_name)
            if not value:
                continue
        yield name, value


def _forwarded(headers: Headers, client: ClientAddress) -> Iterator[tuple[str, str]]:
    """Whom this request is for and from. What the peer says of it is kept only if it may be believed."""
    believed = headers if client.trusted else Headers()
    yield "X-Forwarded-For", ", ".join([*believed.all("x-forwarded-for"), client.peer])
    yield "X-Forwarded-Proto", believed.get("x-forwarded-proto") or ("https" if client.secure else "http")
    yield "X-Forwarded-Host", believed.get("x-forwarded-host") or headers.get("host") or ""


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _encoded(value: str, safe: str) -> str:
    return quote(value, safe=safe, errors="surrogatepass")
