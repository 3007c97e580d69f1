"""From what was seen until the WebSocket was open to words."""

import errno
import socket

import pytest

from tests.diagnosis.failures import certificate_error, tls_error
from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt, said_in
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.farewell import http_refusal
from trio_ws_gateway.probing import before_101
from trio_ws_gateway.wire.http import Response, head_end, parse_response

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
RAW = attempt_at("ws://gw.example/ws")
MQTT = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
TOKEN = PROVIDER.mint()


def answered(data: bytes) -> tuple[Response, bytes]:
    end = head_end(data)
    assert end is not None
    return parse_response(data[:end]), data[end:]


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.row.http is not None])
def test_http_refusal_of_the_gateway(cause: Cause) -> None:
    """Every HTTP refusal of the gateway is recognised as its cause, and told with the meaning of its row."""
    response, body = answered(http_refusal(cause))
    found = before_101.http_refused(RAW, response, body, NOW)
    assert found.causes == (cause,)
    assert found.http_status == cause.row.http
    assert cause.row.meaning in found.what


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("404 Not Found\r\nServer: nginx/1.22.1", ["nginx/1.22.1 answers HTTP 404 Not Found", "routes of a proxy"]),
        ("502 Bad Gateway", ["The server answers HTTP 502", "A proxy in between cannot reach the gateway"]),
        ("301 Moved\r\nLocation: https://elsewhere.example/", ["https://elsewhere.example/", "ws:// or wss://"]),
        ("302 Found", ["it does not say where"]),
        ("200 OK", ["takes no WebSocket at this path"]),
        ("401 Unauthorized", ["no answer of the gateway's", "No token was given"]),
        ("599 Odd", ["HTTP 599 Odd", "its log says why"]),
        ("426 Upgrade Required", ["headers Upgrade and Connection"]),
        ("418 ", ["does not take the request"]),
    ],
)
def test_http_answers_of_others(answer: str, words: list[str]) -> None:
    """Who answers in the gateway's place is named, with what its status means there."""
    response, _ = answered(f"HTTP/1.1 {answer}\r\n\r\n".encode())
    found = before_101.http_refused(RAW, response, b"", NOW)
    assert found.causes == ()
    assert [word for word in words if word not in said_in(found)] == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        b"Client sent an HTTP request to an HTTPS server.\n",
    ],
)
def test_tls_port_that_speaks_http_about_it(body: bytes) -> None:
    """nginx and Go servers say in HTTP that they want TLS."""
    response, _ = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "try wss://" in said_in(before_101.http_refused(RAW, response, body, NOW))


def test_body_of_a_page() -> None:
    """Of a page in HTML the text is shown, not the tags, and not for ever."""
    response, _ = answered(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    body = b"<html><style>p {}</style><body><h1>Members\n only</h1>" + b"x" * 4000
    what = before_101.http_refused(RAW, response, body, NOW).what
    assert "Forbidden: Members only xxx" in what
    assert len(what) < 250


@pytest.mark.parametrize("body", [b'{"cause": "nonsense"}', b'{"cause": {}}', b"[1]", b"[" * 4000])
def test_problem_of_somebody_else(body: bytes) -> None:
    """A problem document with a cause that the gateway does not have is somebody else's."""
    response, _ = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert before_101.http_refused(RAW, response, body, NOW).causes == ()


@pytest.mark.parametrize(
    ("number", "words", "advice"),
    [
        (errno.ECONNREFUSED, "connection refused", "Is the server running"),
        (errno.ENETUNREACH, "there is no way to gw.example from here", "addresses and routes"),
        (errno.EPERM, "does not let the connection out", "the firewall"),
        (None, "no answer", "Packets vanish"),
    ],
)
def test_unreachable(number: int | None, words: str, advice: str) -> None:
    """Each address that was tried is named, and the advice is for what they say together."""
    error = None if number is None else OSError(number, "odd words of a library")
    refused = OSError(errno.ECONNREFUSED, "")
    found = before_101.unreachable(RAW, [("[::1]:80", refused), ("127.0.0.1:80", error)])
    assert "[::1]:80: connection refused: nobody listens on port 80 of gw.example; 127.0.0.1:80: " in found.what
    assert words in found.what
    assert advice in said_in(found)


def test_unresolved() -> None:
    """A name that nobody has is told from a name server that does not answer."""
    assert "gw.example does not resolve" in before_101.unresolved(RAW, socket.gaierror(socket.EAI_NONAME, "x")).what
    assert "no name server answered" in before_101.unresolved(RAW, socket.gaierror(socket.EAI_AGAIN, "x")).what


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "try wss://"),
        (b"\x16\x03\x01", "try wss://"),
        (b"AMQP\x00\x00\x09\x01", "speaks AMQP"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "speaks no HTTP: SSH-2.0-OpenSSH_9.2p1"),
        (bytes(100), "speaks no HTTP."),
        (b"HTTP/1.1 101 Swit", "cut short, or no legal HTTP: HTTP/1.1 101 Swit"),
    ],
)
def test_no_http(heard: bytes, words: str) -> None:
    """What speaks another protocol is named where its first bytes tell."""
    assert words in said_in(before_101.not_http(RAW, heard))


def test_advice_on_the_wrong_port() -> None:
    """The other protocol that is most likely depends on what was asked for."""
    silent = before_101.ended_unanswered(MQTT, b"", reset=False)
    assert "plain MQTT" in said_in(silent)
    assert "plain MQTT" not in said_in(before_101.ended_unanswered(RAW, b"", reset=True))
    secure = attempt_at("wss://gw.example")
    assert "try wss://" not in said_in(before_101.ended_unanswered(secure, b"", reset=True))


@pytest.mark.parametrize(
    ("error", "words", "advice"),
    [
        (None, "does not speak TLS", "Try ws://"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "does not speak TLS", "Try ws://"),
        (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "no version or cipher of TLS in common", "TLS 1.2 and 1.3"),
        (certificate_error(18, "self-signed certificate"), "no authority that is trusted here (self", "--insecure"),
        (
            certificate_error(66, "EE certificate key too weak"),
            "will not do (EE certificate key too weak)",
            "strong key",
        ),
        (certificate_error(62, "certificate is not valid for 'x'"), "other names than gw.example", "Use the name"),
        (certificate_error(10, "certificate has expired"), "has expired", "Renew"),
    ],
)
def test_tls(error: BaseException | None, words: str, advice: str) -> None:
    """A TLS handshake that fails is told by its reason; whoever hangs up in the middle of it speaks none."""
    found = before_101.tls_failed(RAW, error)
    assert words in found.what
    assert advice in said_in(found)
