"""What comes before a WebSocket: heads, the handshake in them, and the credentials in that."""

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl

import h11

from tests.fuzz.target import Target, repeated
from trio_ws_gateway.credentials import early_credential, without_token
from trio_ws_gateway.wire.cookies import cookie_values, without_cookie
from trio_ws_gateway.wire.handshake import (
    Offer,
    build_101,
    check_upgrade,
    check_upstream_answer,
    choose_subprotocol,
    permessage_deflate_offer,
)
from trio_ws_gateway.wire.http import (
    HEAD_LIMIT,
    MAX_FIELDS,
    BadUpstream,
    HttpError,
    Request,
    build_head,
    head_end,
    is_token,
    parse_request,
    parse_response,
)

JWT = "eyJh.eyJz.c2ln"
HANDSHAKE = (
    b"GET /ws?a=1&token=" + JWT.encode() + b" HTTP/1.1\r\nHost: gw.example.com:8080\r\nUpgrade: h2c, WebSocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Origin: https://a\r\n%b\r\n"
)
HANDSHAKES = [
    HANDSHAKE % more
    for more in (
        b"",
        b"Sec-WebSocket-Protocol: mqtt, Bearer, a.b.c\r\nSec-WebSocket-Protocol: chat\r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-foo\r\n",
        b"Authorization: Bearer a.b.c\r\nCookie: session=" + JWT.encode() + b"; a=1\r\n",
        b"Content-Length: 0\r\nX-Empty:\r\nx-empty: \t caf\xe9 \t\r\n",
        b"Sec-WebSocket-Protocol: bearer, a.b.c\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 0\r\n",
        b"X : a\r\n",
        b"X: a\r\n b\r\n",
        b"X: \xa0\x85a\xa0\r\n",
        b"X: a\rY: b\r\n",
    )
]
ANSWERS = [
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.0 502 \r\nContent-Length: 5\r\n\r\n",
]


def check_head(data: bytes) -> None:
    """The end of a head is found byte by byte where it is found at once; a request that is taken is written again as
    it was read, within the limits, and h11 reads the same in it."""
    assert found_byte_by_byte(data) == head_end(data)
    try:
        response = parse_response(data)
    except BadUpstream:
        pass
    else:
        again = build_head(f"HTTP/{response.version} {response.status} {response.reason}", response.headers)
        assert parse_response(again) == response
        assert 100 <= response.status < 600
    try:
        request = parse_request(data)
    except HttpError:
        return
    assert head_end(data) == len(data) <= HEAD_LIMIT
    assert len(list(request.headers)) <= MAX_FIELDS
    assert parse_request(build_head(f"{request.method} {request.target} HTTP/{request.version}", request.headers)) == (
        request
    )
    check_against_h11(data, request)


def found_byte_by_byte(data: bytes) -> int | None:
    buffer = bytearray()
    for byte in data:
        seen = len(buffer)
        buffer.append(byte)
        if (end := head_end(buffer, seen)) is not None:
            return end
    return None


def check_against_h11(data: bytes, request: Request) -> None:
    """What another parser could read differently, it could be made to read differently."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (request.method.encode(), request.target.encode())
    assert event.http_version == request.version.encode()
    fields = [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
    assert [(name, value) for name, value in event.headers.raw_items()] == fields
    assert isinstance(connection.next_event(), h11.EndOfMessage)


def check_handshake(data: bytes) -> None:
    """No token is among what an upstream is offered or a client is told; and our 101 is one that we would take."""
    try:
        request = parse_request(data)
        upgrade = check_upgrade(request, "/ws")
        early_credential(request, upgrade, query_parameters=("token",), cookie_name="session", cookie_waits=False)
    except HttpError:
        return
    assert all(is_token(name) and name.lower() != "bearer" for name in upgrade.subprotocols)
    query = without_token(request.query, ("token",))
    assert "token" not in (name for name, _ in parse_qsl(query, keep_blank_values=True, errors="replace"))
    assert without_token(query, ("token",)) == query
    subprotocol = choose_subprotocol(upgrade.subprotocols, {"mqtt"})
    extensions = permessage_deflate_offer(upgrade.extensions)
    extension = extensions.split(",")[0] if extensions is not None else None
    answer = parse_response(build_101(upgrade, subprotocol, extension))
    if upgrade.bearer not in (*upgrade.subprotocols, upgrade.bearer_name):  # a client may call a subprotocol like it
        assert upgrade.bearer not in answer.headers.all("sec-websocket-protocol")
    offered = upgrade.subprotocols or ((upgrade.bearer_name,) if upgrade.bearer is not None else ())
    accepted = check_upstream_answer(answer, upgrade.key, Offer(subprotocols=offered, extensions=extensions))
    assert accepted.extensions == extension
    assert accepted.subprotocol == subprotocol or not upgrade.subprotocols


def read_handshake(data: bytes) -> None:
    with suppress(HttpError):
        request = parse_request(data)
        upgrade = check_upgrade(request, "/ws")
        permessage_deflate_offer(upgrade.extensions)
        early_credential(request, upgrade, query_parameters=("token",), cookie_name="session", cookie_waits=False)
        without_token(request.query, ("token",))


def check_cookies(data: bytes) -> None:
    """A cookie that is left out is gone, whatever the spelling, and the others are what they were."""
    line = data.decode("latin-1")
    rest = without_cookie(line, "session")
    assert cookie_values([rest], "session") == ()
    assert without_cookie(rest, "session") == rest
    names = {pair.partition("=")[0].strip(" \t") for pair in line.split(";")} - {"session"}
    for name in names:
        assert cookie_values([rest], name) == cookie_values([line], name)


def read_head(data: bytes) -> None:
    head_end(data)
    with suppress(HttpError):
        parse_request(data)


def grown(start: bytes, unit: bytes) -> Callable[[int], bytes]:
    """A handshake with a header line that begins like that and goes on with the unit."""
    return lambda size: HANDSHAKE % (start + unit * ((size - 400) // len(unit)) + b"\r\n")


HEAD = Target(
    name="http",
    check=check_head,
    seeds=[
        *HANDSHAKES,
        *ANSWERS,
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ],
    read=read_head,
    worst={
        "line breaks that end nothing": repeated(b"\r\n\r"),
        "a long target": lambda size: b"GET /".ljust(size - 21, b"a") + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        "blanks": lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX:".ljust(size - 5, b" ") + b"b\r\n\r\n",
        "a long host": lambda size: b"GET / HTTP/1.1\r\nHost: ".ljust(size - 5, b"a") + b"@\r\n\r\n",
    },
    most_bytes=HEAD_LIMIT,
)
UPGRADE = Target(
    name="handshake",
    check=check_handshake,
    seeds=[*HANDSHAKES, HANDSHAKES[0].replace(b"token", b"%74oken")],
    read=read_handshake,
    worst={
        "subprotocols": grown(b"Sec-WebSocket-Protocol: ", b"a,"),
        "bearers": grown(b"Sec-WebSocket-Protocol: ", b"bearer,a,"),
        "extensions": grown(b"Sec-WebSocket-Extensions: ", b"permessage-deflate;a,"),
        "blanks in an extension": grown(b"Sec-WebSocket-Extensions: permessage-deflate", b" \t"),
        "cookies": grown(b"Cookie: ", b"session=a.b.c;"),
    },
    most_bytes=HEAD_LIMIT,
)
COOKIES = Target(
    name="cookies",
    check=check_cookies,
    seeds=[b'a=1; session="x=y"; sessions=no', b"session; a=1", b"session=x; session=y;a=session=z", b"; ;=;session"],
    read=lambda data: (
        without_cookie(data.decode("latin-1"), "session"),
        cookie_values([data.decode("latin-1")], "session"),
    ),
    worst={"empty pairs": repeated(b";"), "the cookie itself": repeated(b"session=a;"), "blanks": repeated(b" ")},
)
