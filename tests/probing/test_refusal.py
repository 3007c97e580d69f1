"""From what was seen to words."""

import errno
import json
import ssl

import pytest

from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt, said_in
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.farewell import http_refusal
from trio_ws_gateway.probing import advice, refusal
from trio_ws_gateway.probing.attempt import Carry
from trio_ws_gateway.probing.codes import close_words, connack_words, reason_words
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
    found = refusal.http_refused(RAW, response, body, NOW)
    assert found.causes == (cause,)
    assert found.http_status == cause.row.http
    assert cause.row.meaning in found.what


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.row.close is not None])
def test_close_of_the_gateway(cause: Cause) -> None:
    """Every Close of the gateway is recognised as its cause, alone or with the one that says the same."""
    assert cause.row.close is not None
    found = refusal.closed(RAW, cause.row.close, cause.row.reason, NOW, meanwhile="meanwhile")
    assert cause in found.causes
    assert len(found.causes) == (2 if cause in (Cause.KEYS_UNAVAILABLE, Cause.CIRCUIT_OPEN) else 1)
    assert cause.row.meaning in found.what


@pytest.mark.parametrize("level", [3, 5])
def test_connack_of_gateway_and_broker(level: int) -> None:
    """A CONNACK is the gateway's where a Close of its own follows, and the broker's otherwise."""
    spoken = mqtt(level)
    attempt = attempt_at("ws://gw.example/ws", mqtt=spoken)
    code = 0x87 if level == 5 else 0x05
    found = refusal.connack_refused(attempt, spoken, code, (1008, "JWT invalid or expired"), NOW)
    assert found.causes == (Cause.INVALID_TOKEN,)
    for closing in (None, (1000, ""), (1008, "go away")):
        found = refusal.connack_refused(attempt, spoken, code, closing, NOW)
        assert (found.causes, found.connack_code) == ((), code)
        assert "The broker refuses" in found.what
        assert "UPSTREAM_MQTT_CREDENTIALS" in said_in(found)
    assert "UPSTREAM_MQTT_CREDENTIALS" not in said_in(refusal.connack_refused(attempt, spoken, 0x03, None, NOW))


def test_broker_without_mqtt_5() -> None:
    """A broker that answers MQTT 5 in the words of 3.1.1 does not speak it."""
    attempt = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
    found = refusal.connack_refused(attempt, mqtt(5), 0x01, None, NOW)
    assert "0x01, unacceptable protocol version, as MQTT 3.1.1 has it" in found.what
    assert found.look_at == ("It does not speak MQTT 5: try --mqtt 3.1.1.",)


def advised(cause: Cause, **fields: object) -> str:
    return " ".join(advice.on_cause(cause, attempt_at("ws://gw.example/other?x=1", **fields), NOW))


def test_advice_sees_the_token() -> None:
    """A token that is bad for everybody to see says it all; a good one is described for comparing."""
    old = PROVIDER.mint(exp=int(NOW) - 190)
    for cause in (Cause.INVALID_TOKEN, Cause.MALFORMED_TOKEN, Cause.TOKEN_EXPIRED):
        assert advised(cause, token=old) == "This token expired 3 minutes ago: get a new one."
    assert "aud gateway" in advised(Cause.INVALID_TOKEN, token=TOKEN)
    assert "JWT_EXPECTED_AUDIENCE" in advised(Cause.INVALID_TOKEN, token=TOKEN)


def test_advice_sees_the_options() -> None:
    """What to look at names what was tried: path, carrier, names, origin, sizes."""
    assert "`/other`" in advised(Cause.NOT_FOUND)
    assert "No token was given" in advised(Cause.NO_TOKEN)
    assert "under the name `sid`" in advised(Cause.NO_TOKEN, token=TOKEN, carry=Carry.COOKIE, carry_name="sid")
    assert "Try another --carry" in advised(Cause.NO_TOKEN, token=TOKEN)
    assert f"{len(TOKEN)} bytes" in advised(Cause.HEAD_TOO_BIG, token=TOKEN)
    assert "https://a.example" in advised(Cause.FORBIDDEN, origin="https://a.example")
    assert "user name was `me`, the client id `me-1`" in advised(
        Cause.FORBIDDEN, mqtt=mqtt(username="me", client_id="me-1")
    )
    assert "smaller --size than 77" in advised(Cause.MESSAGE_TOO_BIG, size=77)
    assert "RAW_WS_BACKEND_URL" in advised(Cause.UPSTREAM_UNAVAILABLE)
    assert "UPSTREAM_WS_URL" in advised(Cause.UPSTREAM_UNAVAILABLE, mqtt=mqtt())


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
        ("418 ", ["does not take the request"]),
    ],
)
def test_http_answers_of_others(answer: str, words: list[str]) -> None:
    """Who answers in the gateway's place is named, with what its status means there."""
    response, _ = answered(f"HTTP/1.1 {answer}\r\n\r\n".encode())
    found = refusal.http_refused(RAW, response, b"", NOW)
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
    assert "try wss://" in said_in(refusal.http_refused(RAW, response, body, NOW))


def test_body_of_a_page() -> None:
    """Of a page in HTML the text is shown, not the tags, and not for ever."""
    response, _ = answered(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    body = b"<html><style>p {}</style><body><h1>Members\n only</h1>" + b"x" * 4000
    what = refusal.http_refused(RAW, response, body, NOW).what
    assert "Forbidden: Members only xxx" in what
    assert len(what) < 250


@pytest.mark.parametrize("body", [b'{"cause": "nonsense"}', b'{"cause": {}}', b"[1]", b"[" * 4000])
def test_problem_of_somebody_else(body: bytes) -> None:
    """A problem document with a cause that the gateway does not have is somebody else's."""
    response, _ = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert refusal.http_refused(RAW, response, body, NOW).causes == ()


def test_nothing_secret_is_shown() -> None:
    """What a server gives back of the token, the query or a header is cut out; nothing writes to the terminal."""
    attempt = attempt_at(
        "ws://gw.example/?key=hunter22", token="op&que", carry=Carry.QUERY, headers=(("X-Key", "swordfish"),)
    )
    text = "key=hunter22 op&que op%26que swordfish \x1b[31m\r\n" + TOKEN
    shown = refusal.said(text, attempt)
    assert shown == "[secret] [secret] [secret] [secret] [31m [token]"
    response, _ = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    body = json.dumps({"cause": "bad_request", "detail": text}).encode()
    for found in (
        refusal.http_refused(attempt, response, text.encode(), NOW),
        refusal.http_refused(attempt, response, body, NOW),
        refusal.closed(attempt, 4000, text, NOW, meanwhile=""),
        refusal.not_http(attempt, text.encode()),
    ):
        assert not [each for each in ("hunter22", "op&que", "op%26que", "swordfish", TOKEN) if each in said_in(found)]
        assert said_in(found).isprintable()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ECONNREFUSED, "Nobody listens there"),
        (errno.ENETUNREACH, "does not lead there"),
        (None, "Packets vanish"),
    ],
)
def test_unreachable(number: int | None, words: str) -> None:
    """Each address that was tried is named, and the advice is for what they say together."""
    error = None if number is None else OSError(number, "odd words of a library")
    found = refusal.unreachable(RAW, [("[::1]:80", OSError(errno.ECONNREFUSED, "")), ("127.0.0.1:80", error)])
    assert "[::1]:80: Connection refused, 127.0.0.1:80: " in found.what
    assert words in said_in(found)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x46", "Try wss://"),
        (b"\x16\x03\x01", "Try wss://"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "speaks no HTTP: SSH-2.0-OpenSSH_9.2p1"),
        (bytes(100), "speaks no HTTP."),
        (b"HTTP/1.1 101 Swit", "cut short, or no legal HTTP: HTTP/1.1 101 Swit"),
    ],
)
def test_no_http(heard: bytes, words: str) -> None:
    """What speaks another protocol is named where its first bytes tell."""
    assert words in said_in(refusal.not_http(RAW, heard))


def test_advice_on_the_wrong_port() -> None:
    """The other protocol that is most likely depends on what was asked for."""
    silent = refusal.ended_unanswered(MQTT, b"", reset=False)
    assert "plain MQTT" in said_in(silent)
    assert "plain MQTT" not in said_in(refusal.ended_unanswered(RAW, b"", reset=True))
    secure = attempt_at("wss://gw.example")
    assert "try wss://" not in said_in(refusal.ended_unanswered(secure, b"", reset=True))


def test_tls_without_words() -> None:
    """A TLS handshake that breaks off, or fails for a reason of its own, is told with what there is."""
    assert "broke off" in refusal.tls_failed(RAW, None).what
    assert "broke off" in refusal.tls_failed(RAW, OSError()).what
    error = ssl.SSLError(1, "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure")
    error.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert "sslv3 alert handshake failure" in refusal.tls_failed(RAW, error).what


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1014, 3000, 4001])
def test_every_close_has_words(code: int) -> None:
    """A Close that is not the gateway's is told with what the standard calls it, and something to look at."""
    found = refusal.closed(RAW, code, "", NOW, meanwhile="meanwhile")
    assert found.close_code == code
    assert found.causes == ()
    assert found.look_at


def test_names_of_codes() -> None:
    """Codes are called what the standards call them, and a code that none has is no error."""
    assert close_words(1008) == "1008, policy violation"
    assert close_words(1006) == "the connection broke off without a Close"
    assert close_words(4001) == "4001, of the application"
    assert close_words(2999) == "2999, no standard code"
    assert connack_words(4, 5) == "0x05, not authorised"
    assert connack_words(5, 0x87) == "0x87, not authorised"
    assert connack_words(4, 0x87) == "0x87, no standard code"
    assert reason_words(0x96) == "0x96, message rate too high"


def test_disconnect() -> None:
    """A DISCONNECT is the gateway's where a Close of its own follows."""
    found = refusal.mqtt_ended(MQTT, 0x96, (1008, "Rate limit exceeded"), NOW)
    assert found.causes == (Cause.RATE_LIMITED,)
    assert "--interval" in said_in(found)
    found = refusal.mqtt_ended(MQTT, 0x8E, None, NOW)
    assert found.what == "The broker ends the session: DISCONNECT 0x8e, session taken over."
