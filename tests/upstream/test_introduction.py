"""How a client is introduced to its upstream: what it hears, what it never does, which answers will do."""

from typing import Any

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.upstream.introduction import Visitor, introduce
from trio_ws_gateway.wire.handshake import Accepted, Offer, accept_key
from trio_ws_gateway.wire.http import BadUpstream, Request, Response, build_head, parse_request, parse_response

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PROXY: dict[str, Any] = {"peer": "10.0.0.1", "secure": True, "trusted": True}
ALICE = Identity(issuer="https://id", subject="alice", roles=("admin",), expires_at=1.0)


def from_client(*fields: tuple[str, str]) -> Request:
    return parse_request(build_head("GET /ws?a=1 HTTP/1.1", [("Host", "gw.example.com"), *fields]))


def sent(
    *fields: tuple[str, str],
    url: str = "ws://backend:8081/raw",
    offer: Offer = Offer(),  # noqa: B008 - a value
    by_name: bool = True,
    **visitor: Any,  # noqa: ANN401
) -> Request:
    """What the upstream reads."""
    given = {"peer": "203.0.113.7", "cookie_name": "session", **visitor}
    who = Visitor(request=from_client(*fields), **given)
    return parse_request(introduce(WebSocketUrl.parse(url), who, offer, key=KEY, by_name=by_name).request)


def answer(subprotocol: str) -> Response:
    given = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(KEY)),
        ("Sec-WebSocket-Protocol", subprotocol),
    ]
    return parse_response(build_head("HTTP/1.1 101 Switching Protocols", given))


def identity(subject: str = "alice", *roles: str) -> Identity:
    return Identity(issuer="https://id", subject=subject, roles=roles, expires_at=1.0)


def test_handshake_is_our_own() -> None:
    """Host, key, version, subprotocols and extensions are ours, whatever the client's were."""
    request = sent(
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Protocol", "bearer, a.b.c, chat"),
        ("Sec-WebSocket-Extensions", "x-foo"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        offer=Offer(subprotocols=("chat", "b"), extensions="permessage-deflate"),
    )
    assert request.target == "/raw"
    assert list(request.headers)[:7] == [
        ("Host", "backend:8081"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "chat, b"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ]
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))


def test_nothing_is_offered_where_nothing_is_asked() -> None:
    """Without subprotocols and extensions neither header is sent."""
    headers = sent(("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Extensions", "x")).headers
    assert headers.get("sec-websocket-protocol") is None
    assert headers.get("sec-websocket-extensions") is None


@pytest.mark.parametrize(
    ("url", "host"), [("ws://b/", "b"), ("wss://b:443/", "b"), ("wss://b:80/", "b:80"), ("ws://[::1]:1/", "[::1]:1")]
)
def test_host_is_the_upstreams(url: str, host: str) -> None:
    """Host names the upstream, with its port where that is not the scheme's own."""
    assert sent(url=url).headers.get("host") == host


@pytest.mark.parametrize(
    ("url", "query", "target"),
    [
        ("ws://b/raw", "", "/raw"),
        ("ws://b/raw", "a=1&b=%20", "/raw?a=1&b=%20"),
        ("ws://b/raw?x=1", "a=1", "/raw?x=1&a=1"),
        ("ws://b/raw?x=1", "", "/raw?x=1"),
        ("ws://b", "a", "/?a"),
    ],
)
def test_clients_query_joins_the_urls(url: str, query: str, target: str) -> None:
    """The client's query goes to the upstream, behind the one of the upstream's URL."""
    assert sent(url=url, query=query).target == target


def test_origin_and_the_rest_pass() -> None:
    """Origin passes, and so does every header that is nobody's business here, in its spelling."""
    fields = [("ORIGIN", "https://app.example.com"), ("user-agent", "caf\xe9"), ("X-Trace", "1"), ("X-Trace", "2")]
    assert list(sent(*fields).headers)[5:9] == fields


@pytest.mark.parametrize(
    "name",
    [
        *("Keep-Alive", "TE", "Trailer", "Proxy-Authorization", "Proxy-Connection", "Proxy", "HTTP2-Settings"),
        *("Expect", "Sec-WebSocket-Foo", "keep_alive"),
    ],
)
def test_hop_by_hop_headers_are_removed(name: str) -> None:
    """What belongs to one leg stays on it (RFC 9110 7.6.1)."""
    assert sent((name, "trailers")).headers.get(name) is None


def test_length_of_nothing_is_removed() -> None:
    """A Content-Length, though it be of nought, is not passed."""
    assert sent(("Content-Length", "0")).headers.get("content-length") is None


def test_what_connection_names_is_removed() -> None:
    """A header that Connection names belongs to that leg, in any spelling."""
    headers = sent(("Connection", "Upgrade, X-Hop"), ("x-hop", "1"), ("X_Hop", "1"), ("X-Hops", "1")).headers
    assert headers.get("x-hop") is None
    assert headers.get("x_hop") is None
    assert headers.get("x-hops") == "1"


@pytest.mark.parametrize(
    "name", ["Authorization", "X-User-Id", "X-User-Roles", "x-user-id", "X_User_Id", "X-User_Roles", "x_user-id"]
)
@pytest.mark.parametrize("told", [identity(), None])
def test_identity_headers_of_a_client_are_removed(name: str, told: Identity | None) -> None:
    """What a client sends under the names of identity headers never passes, with ours or without."""
    assert "forged" not in str(list(sent((name, "forged"), identity=told, **PROXY).headers))


def test_raw_upstream_hears_who_it_is() -> None:
    """The token becomes ``Authorization``, the subject ``X-User-Id``, the roles ``X-User-Roles``."""
    headers = sent(("Authorization", "Basic eA=="), identity=identity("alice", "admin", "ops"), token="a.b.c").headers
    assert headers.all("authorization") == ("Bearer a.b.c",)
    assert headers.all("x-user-id") == ("alice",)
    assert headers.all("x-user-roles") == ("admin,ops",)


def test_token_need_not_be_forwarded() -> None:
    """Without the token only the identity headers are set."""
    headers = sent(identity=identity()).headers
    assert headers.get("authorization") is None
    assert headers.get("x-user-id") == "alice"
    assert headers.get("x-user-roles") == ""


def test_mqtt_upstream_hears_none_of_it() -> None:
    """Without identity and token none of these headers is set, nor is the client's own Authorization passed."""
    headers = sent(("Authorization", "Bearer a.b.c")).headers
    assert not {"authorization", "x-user-id", "x-user-roles"} & {name.lower() for name, _ in headers}


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("auth0|5f7c", "auth0|5f7c"),
        ("a@b.example", "a@b.example"),
        ("uid=a,ou=b", "uid=a,ou=b"),
        ("x\r\nX-User-Roles: admin", "x%0D%0AX-User-Roles:%20admin"),
        (" admin", "%20admin"),
        ("50%", "50%25"),
        ("J\xf6rg \u20ac", "J%C3%B6rg%20%E2%82%AC"),
        ("\ud800", "%ED%A0%80"),
        ("\0\x7f", "%00%7F"),
    ],
)
def test_subject_is_encoded_where_a_header_cannot_hold_it(subject: str, written: str) -> None:
    """A subject that is not visible ASCII is percent-encoded: it never becomes another header or another subject."""
    headers = sent(identity=identity(subject)).headers
    assert headers.all("x-user-id") == (written,)
    assert headers.all("x-user-roles") == ("",)


def test_role_is_encoded_where_the_list_cannot_hold_it() -> None:
    """A comma in a role does not make it two."""
    assert sent(identity=identity("alice", "user,admin", "a b")).headers.get("x-user-roles") == "user%2Cadmin,a%20b"


def test_token_cannot_inject() -> None:
    """A token that no header can hold is an error, not a header."""
    with pytest.raises(ValueError, match="control character"):
        sent(token="a\r\nX: b")


def test_tokens_cookie_is_removed() -> None:
    """Only the token's cookie is left out; a line with nothing else in it goes."""
    headers = sent(("Cookie", "a=1; session=x; b=2"), ("Cookie", "session=y")).headers
    assert headers.all("cookie") == ("a=1; b=2",)


def test_every_cookie_passes_where_none_is_the_tokens() -> None:
    """Without the name of a token's cookie all cookies pass."""
    assert sent(("Cookie", "session=x"), cookie_name=None).headers.get("cookie") == "session=x"


def test_forwarding_headers_say_who_asked() -> None:
    """The peer, the scheme it used and the host it asked for are told."""
    headers = sent().headers
    assert headers.get("x-forwarded-for") == "203.0.113.7"
    assert headers.get("x-forwarded-proto") == "http"
    assert headers.get("x-forwarded-host") == "gw.example.com"
    assert sent(**PROXY).headers.get("x-forwarded-proto") == "https"


FORWARDING = [
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-For", "198.51.100.9"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "public.example.com"),
    ("X-Forwarded-Port", "70"),
    ("Forwarded", "for=192.0.2.1"),
    ("X-Real-IP", "192.0.2.1"),
]


def test_client_is_not_believed_where_it_is_from() -> None:
    """Forwarding headers of a peer that is no trusted proxy are dropped, in any spelling."""
    headers = sent(*FORWARDING, ("X_Forwarded_For", "192.0.2.1"), ("X_Real_IP", "192.0.2.1")).headers
    assert headers.all("x-forwarded-for") == ("203.0.113.7",)
    assert headers.all("x-forwarded-proto") == ("http",)
    assert headers.all("x-forwarded-host") == ("gw.example.com",)
    assert "192.0.2.1" not in str(list(headers))
    assert headers.get("x-forwarded-port") is None


def test_trusted_proxy_is_believed() -> None:
    """A trusted proxy says for whom, by what and to where; its own address is appended, and no more passes."""
    headers = sent(*FORWARDING, **PROXY).headers
    assert headers.all("x-forwarded-for") == ("192.0.2.1, 198.51.100.9, 10.0.0.1",)
    assert headers.all("x-forwarded-proto") == ("gopher",)
    assert headers.all("x-forwarded-host") == ("public.example.com",)
    assert not {"x-forwarded-port", "forwarded", "x-real-ip"} & {name.lower() for name, _ in headers}


def test_host_may_be_unknown() -> None:
    """An HTTP/1.0 request without Host has an empty X-Forwarded-Host."""
    visitor = Visitor(peer="203.0.113.7", request=parse_request(b"GET / HTTP/1.0\r\n\r\n"))
    introduction = introduce(WebSocketUrl.parse("ws://b/"), visitor, Offer(), key=KEY, by_name=True)
    assert parse_request(introduction.request).headers.get("x-forwarded-host") == ""


def test_upstream_is_told_who_the_client_is() -> None:
    """An upstream that reads headers gets the identity and the token."""
    headers = sent(identity=ALICE, token="a.b.c").headers
    assert headers.get("x-user-id") == "alice"
    assert headers.get("x-user-roles") == "admin"
    assert headers.get("authorization") == "Bearer a.b.c"


def test_broker_is_told_nothing_in_headers() -> None:
    """An upstream that reads no headers has neither identity nor token in its handshake."""
    headers = sent(by_name=False, identity=ALICE, token="a.b.c").headers
    assert [name for name in ("x-user-id", "x-user-roles", "authorization") if headers.get(name) is not None] == []


def test_answer_is_held_against_the_offer() -> None:
    """What was offered may be chosen, for the key that was sent; anything else is a bad upstream."""
    visitor = Visitor(peer="203.0.113.7", request=from_client())
    offer = Offer(subprotocols=("chat",))
    introduction = introduce(WebSocketUrl.parse("ws://b/"), visitor, offer, key=KEY, by_name=True)
    assert introduction.check(answer("chat")) == Accepted(subprotocol="chat", extensions=None)
    with pytest.raises(BadUpstream):
        introduction.check(answer("mqtt"))


def test_introduction_shows_no_token() -> None:
    """Neither a visitor nor an introduction shows a token in its representation."""
    visitor = Visitor(peer="203.0.113.7", request=from_client(), query="a=hush", token="a.b.c")
    introduction = introduce(WebSocketUrl.parse("ws://b/"), visitor, Offer(), key=KEY, by_name=True)
    assert "a.b.c" not in repr(visitor) + repr(introduction)
    assert "hush" not in repr(visitor) + repr(introduction)
