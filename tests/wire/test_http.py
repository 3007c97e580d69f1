"""HTTP heads: what is read, what is refused, and the way back to bytes."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.wire.http import (
    HEAD_LIMIT,
    MAX_FIELDS,
    BadUpstream,
    Headers,
    HttpError,
    Request,
    build_head,
    head_end,
    is_token,
    parse_request,
    parse_response,
)

HANDSHAKE = (
    b"GET /ws?a=1&b=%20 HTTP/1.1\r\nHost: gw.example.com:8080\r\nUpgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nX-Empty:\r\nx-empty: \t caf\xe9 \t\r\n\r\n"
)


def refusal(head: bytes) -> Cause:
    with pytest.raises(HttpError) as caught:
        parse_request(head)
    return caught.value.cause


def with_lines(*lines: str) -> bytes:
    return "\r\n".join(["GET /ws HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


def test_request_is_read_as_it_was_sent() -> None:
    """Method, path, query, version and headers are those that were sent, nothing is decoded."""
    request = parse_request(HANDSHAKE)
    assert (request.method, request.target, request.version) == ("GET", "/ws?a=1&b=%20", "1.1")
    assert (request.path, request.query) == ("/ws", "a=1&b=%20")
    assert list(request.headers)[-2:] == [("X-Empty", ""), ("x-empty", "caf\xe9")]


def test_path_is_not_resolved() -> None:
    """Neither percent-encoding nor dot segments are resolved: only who means a path exactly gets there."""
    assert parse_request(b"GET /a/../%77s?/x HTTP/1.1\r\nHost: a\r\n\r\n").path == "/a/../%77s"


def test_http_1_0_needs_no_host() -> None:
    """A plain HTTP/1.0 request is taken, a Host it may lack."""
    assert parse_request(b"GET /healthz HTTP/1.0\r\n\r\n").version == "1.0"


def test_headers_are_found_in_any_case() -> None:
    """A field is found whatever the case of its name, with every value in order."""
    headers = parse_request(HANDSHAKE).headers
    assert headers.get("HOST") == "gw.example.com:8080"
    assert headers.all("x-EMPTY") == ("", "caf\xe9")
    assert headers.get("absent") is None
    assert headers.all("absent") == ()


def test_list_elements_are_gathered_over_lines() -> None:
    """The elements of a list field come from all its lines, none of them empty, lower-cased where case is nothing."""
    headers = Headers([("Connection", "Keep-Alive,, Upgrade"), ("connection", " TE "), ("Other", "A, b")])
    assert headers.tokens("Connection") == ("keep-alive", "upgrade", "te")
    assert headers.tokens("other") == ("A", "b")
    assert headers.tokens("absent") == ()


def test_headers_are_values() -> None:
    """Headers are equal when their fields are, and show no value: those hold tokens."""
    headers = Headers([("Authorization", "Bearer secret")])
    assert headers == Headers([("Authorization", "Bearer secret")])
    assert hash(headers) == hash(Headers(headers))
    assert headers != Headers()
    assert headers != "Authorization"
    assert "Authorization" in repr(headers)
    assert "secret" not in repr(headers)


def test_request_shows_no_query() -> None:
    """The representation of a request, which may get into a log, shows neither query nor header values."""
    shown = repr(parse_request(b"GET /ws?token=secret HTTP/1.1\r\nHost: a\r\nCookie: session=secret\r\n\r\n"))
    assert "/ws" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /ws HTTP/1.1\nHost: a\r\n\r\n", id="bare LF"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\n\n", id="blank line of bare LFs"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", id="bare CR"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\n\rX: b\r\n\r\n", id="LF before CR"),
        pytest.param(with_lines("X: a", " b"), id="folded with a space"),
        pytest.param(with_lines("X: a", "\tb: c"), id="folded with a tab"),
        pytest.param(b"GET /ws HTTP/1.1\r\n Host: a\r\n\r\n", id="first header folded"),
        pytest.param(with_lines(": nameless"), id="nameless header"),
        pytest.param(with_lines("no colon"), id="no colon"),
        pytest.param(with_lines("X : a"), id="space before the colon"),
        pytest.param(with_lines("X\xe9: a"), id="name that is no token"),
        pytest.param(with_lines("X: a\0b"), id="NUL"),
        pytest.param(with_lines("X: a\x1bb"), id="control character"),
        pytest.param(with_lines("X: a\x7fb"), id="DEL"),
        pytest.param(with_lines("Host: a"), id="two Hosts"),
        pytest.param(b"GET /ws HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", id="two Hosts in 1.0"),
        pytest.param(b"GET /ws HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a b\r\n\r\n", id="space in Host"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a/b\r\n\r\n", id="path in Host"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a@b\r\n\r\n", id="user in Host"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a:b\r\n\r\n", id="no port in Host"),
        pytest.param(with_lines("Content-Length: 0", "Content-Length: 0"), id="two lengths"),
        pytest.param(with_lines("Content-Length: 5", "Transfer-Encoding: chunked"), id="length and chunked"),
        pytest.param(with_lines("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), id="chunked twice"),
        pytest.param(with_lines("Transfer-Encoding: chunked, chunked"), id="chunked twice in one line"),
        pytest.param(with_lines("Transfer-Encoding: xchunked"), id="unknown coding"),
        pytest.param(b"GET /ws HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunked in 1.0"),
        pytest.param(with_lines("Content-Length: 5, 5"), id="list of lengths"),
        pytest.param(with_lines("Content-Length: +5"), id="signed length"),
        pytest.param(with_lines("Content-Length: \xb2"), id="digit that is not ASCII"),
        pytest.param(with_lines("Content-Length:"), id="empty length"),
        pytest.param(b"GET http://a/ws HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute-form"),
        pytest.param(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", id="authority-form"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", id="asterisk-form"),
        pytest.param(b"GET /ws#x HTTP/1.1\r\nHost: a\r\n\r\n", id="fragment"),
        pytest.param(b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", id="target not ASCII"),
        pytest.param(b"GET  /ws HTTP/1.1\r\nHost: a\r\n\r\n", id="two spaces"),
        pytest.param(b"GET /ws\tHTTP/1.1\r\nHost: a\r\n\r\n", id="tab in the request line"),
        pytest.param(b"GET /ws HTTP/1.1 \r\nHost: a\r\n\r\n", id="space behind the request line"),
        pytest.param(b" GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", id="space before the request line"),
        pytest.param(b"\r\nGET /ws HTTP/1.1\r\nHost: a\r\n\r\n", id="empty line before the request line"),
        pytest.param(b"G(T /ws HTTP/1.1\r\nHost: a\r\n\r\n", id="method that is no token"),
        pytest.param(b"GET /ws HTTP/2.0\r\nHost: a\r\n\r\n", id="HTTP/2.0"),
        pytest.param(b"GET /ws HTTP/1.10\r\nHost: a\r\n\r\n", id="HTTP/1.10"),
        pytest.param(b"GET /ws http/1.1\r\nHost: a\r\n\r\n", id="http in lower case"),
        pytest.param(b"GET /ws\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\n", id="preface of HTTP/2"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: a\r\n", id="no blank line"),
        pytest.param(HANDSHAKE + b"\x82", id="more than a head"),
        pytest.param(HANDSHAKE + HANDSHAKE, id="two heads"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="only a blank line"),
    ],
)
def test_what_parsers_read_differently_is_refused(head: bytes) -> None:
    """Whatever another parser could take for something else is a bad request (RFC 9112 11.2)."""
    assert refusal(head) is Cause.BAD_REQUEST


@pytest.mark.parametrize(
    "line", ["Content-Length: 1", "Content-Length: 007", f"Content-Length: {'9' * 5000}", "Transfer-Encoding: Chunked"]
)
def test_body_is_not_taken(line: str) -> None:
    """A request that announces a body is refused, however long that is."""
    assert refusal(with_lines(line)) is Cause.BODY_NOT_TAKEN


def test_empty_body_is_none() -> None:
    """A length of nought announces no body."""
    assert parse_request(with_lines("Content-Length: 0")).headers.get("content-length") == "0"


def test_head_is_limited() -> None:
    """A head of one byte more than the limit, or one line more, is too big; up to there it is read."""
    room = HEAD_LIMIT - len(with_lines("X: "))
    assert parse_request(with_lines("X: " + "a" * room))
    assert refusal(with_lines("X: " + "a" * (room + 1))) is Cause.HEAD_TOO_BIG
    assert parse_request(with_lines(*["X: a"] * (MAX_FIELDS - 1)))
    assert refusal(with_lines(*["X: a"] * MAX_FIELDS)) is Cause.HEAD_TOO_BIG


@pytest.mark.parametrize("host", ["", "a:", "a:80", "[::1]:8080", "127.0.0.1", "xn--bcher-kva.example", "a_b"])
def test_host_is_an_authority(host: str) -> None:
    """Names, addresses and ports are a Host, and so is an empty one (RFC 9112 3.2)."""
    assert parse_request(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).headers.get("host") == host


def test_error_quotes_nothing() -> None:
    """An error, which is logged, repeats nothing of what was sent."""
    with pytest.raises(HttpError) as caught:
        parse_request(with_lines("Authorization : Bearer secret"))
    assert "secret" not in str(caught.value)


def test_head_ends_behind_the_blank_line() -> None:
    """The end of a head is found behind its blank line, and what follows is left alone."""
    assert head_end(HANDSHAKE + b"\x81\x00\r\n\r\n") == len(HANDSHAKE)


def test_head_without_blank_line_has_no_end() -> None:
    """Cut at any byte, a head has no end yet."""
    assert all(head_end(HANDSHAKE[:cut]) is None for cut in range(len(HANDSHAKE)))


@pytest.mark.parametrize("blank", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_head_end_is_found_byte_by_byte(blank: bytes) -> None:
    """Searching only what is new finds the same end, also where a bare LF makes the blank line."""
    head = b"GET /ws HTTP/1.1\r\nHost: a" + blank
    buffer = bytearray()
    ends = []
    for byte in head:
        seen = len(buffer)
        buffer.append(byte)
        ends.append(head_end(buffer, seen))
    assert ends == [None] * (len(head) - 1) + [len(head)]


def test_response_is_read() -> None:
    """Status, reason, version and headers of an answer are read; the reason may be missing."""
    response = parse_response(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    assert (response.status, response.reason, response.version) == (101, "Switching Protocols", "1.1")
    assert response.headers.get("upgrade") == "websocket"
    assert parse_response(b"HTTP/1.0 502 \r\n\r\n").reason == ""
    assert parse_response(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n").status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 20 Odd\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"HTTP/1.1 101 OK\nUpgrade: websocket\n\n",
        b"HTTP/1.1 101 OK\r\nUpgrade : websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * HEAD_LIMIT + b"\r\n\r\n",
        b"",
    ],
)
def test_answer_that_cannot_be_read_is_a_bad_upstream(head: bytes) -> None:
    """What is wrong with an answer is the upstream's fault: no refusal of the client, and never its 400."""
    with pytest.raises(BadUpstream) as caught:
        parse_response(head)
    assert not isinstance(caught.value, Refused)
    assert caught.value.status is None
    assert caught.value.detail


@pytest.mark.parametrize("text", ["a\r\nX-User-Id: root", "a\nb", "a\rb", "a\0b", "a\x1bb", "\u20ac"])
def test_head_cannot_be_injected(text: str) -> None:
    """A line break, NUL, any control character and what Latin-1 cannot say are refused wherever they stand."""
    with pytest.raises(ValueError, match=r"control character|latin-1"):
        build_head("GET / HTTP/1.1", [("X", text)])
    with pytest.raises(ValueError, match=r"control character|latin-1"):
        build_head(f"GET /{text} HTTP/1.1", [])
    with pytest.raises(ValueError, match="no header name"):
        build_head("GET / HTTP/1.1", [(text, "a")])


@pytest.mark.parametrize("name", ["", "a b", "a:", " a"])
def test_header_name_is_a_token(name: str) -> None:
    """A name that is no token is refused."""
    assert not is_token(name)
    with pytest.raises(ValueError, match="no header name"):
        build_head("GET / HTTP/1.1", [(name, "a")])


TOKENS = st.text("!#$%&'*+-.^_`|~abzABZ019", min_size=1, max_size=8)
TARGETS = st.text("".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#"), max_size=20).map("/".__add__)
VALUES = st.text([" ", "\t", *map(chr, range(0x21, 0x7F)), "\xa0", "\xff"], max_size=12).map(
    lambda text: text.strip(" \t")
)
NAMES = TOKENS.filter(lambda name: name.lower() not in {"host", "content-length", "transfer-encoding"})


@given(method=TOKENS, target=TARGETS, fields=st.lists(st.tuples(NAMES, VALUES), max_size=8))
@settings(max_examples=100)
def test_valid_request_survives_parse_build_parse(method: str, target: str, fields: list[tuple[str, str]]) -> None:
    """Any valid request is read, written and read again as the same."""
    head = build_head(f"{method} {target} HTTP/1.1", [("Host", "a"), *fields])
    request = parse_request(head)
    assert (request.method, request.target) == (method, target)
    assert list(request.headers) == [("Host", "a"), *fields]
    again: Request = parse_request(build_head(f"{request.method} {request.target} HTTP/1.1", request.headers))
    assert again == request
    assert head_end(head) == len(head)


PIECES = [
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.1 101 X\r\n",
    b"Host: a\r\n",
    b"Content-Length:",
    b"\r\n",
    b"\n",
    b":",
    b" ",
    b"0",
]


@given(head=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES) | st.binary(max_size=3)).map(b"".join))
@settings(max_examples=150)
def test_arbitrary_bytes_are_read_or_refused(head: bytes) -> None:
    """Whatever comes is a request or an HttpError, an answer or a BadUpstream, and nothing else is raised."""
    with contextlib.suppress(HttpError):
        assert parse_request(head).path.startswith("/")
        assert head.endswith(b"\r\n\r\n")
    with contextlib.suppress(BadUpstream):
        assert 100 <= parse_response(head).status < 600
        assert head.endswith(b"\r\n\r\n")
