"""The bytes that each row of the table of causes becomes."""

import json

import pytest

from trio_ws_gateway import farewell
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.wire.frames import BINARY, CLOSE, TEXT, parse_frame
from trio_ws_gateway.wire.http import Response, head_end, parse_response

REFUSALS = [cause for cause in Cause if cause.row.http is not None]


def parsed(answer: bytes) -> tuple[Response, bytes]:
    end = head_end(answer)
    assert end is not None
    return parse_response(answer[:end]), answer[end:]


def frame_of_server(data: bytes) -> tuple[int, bytes]:
    """Opcode and payload of one short frame that is not masked."""
    assert data[1] == len(data) - 2 < 126
    assert data[0] & 0x80
    return data[0] & 0x0F, data[2:]


@pytest.mark.parametrize("cause", REFUSALS, ids=lambda cause: cause.value)
def test_http_refusal(cause: Cause) -> None:
    """A refusal before the 101 is its status, a problem document of the length it says, and a closed connection."""
    response, body = parsed(farewell.http_refusal(cause, retry_after_seconds=3))
    assert response.status == cause.row.http
    assert response.headers.get("content-type") == "application/problem+json"
    assert response.headers.get("content-length") == str(len(body))
    assert response.headers.get("connection") == "close"
    assert response.headers.get("cache-control") == "no-store"
    assert response.headers.get("retry-after") == ("3" if cause.row.retry else None)
    problem = json.loads(body)
    assert (problem["status"], problem["cause"]) == (cause.row.http, cause.value)
    assert problem.get("detail", "") == cause.row.reason


@pytest.mark.parametrize(
    ("cause", "name", "value"),
    [
        (Cause.NO_TOKEN, "www-authenticate", 'Bearer error="invalid_token"'),
        (Cause.METHOD_NOT_ALLOWED, "allow", "GET, HEAD"),
        (Cause.UPGRADE_REQUIRED, "upgrade", "websocket"),
        (Cause.UPGRADE_REQUIRED, "sec-websocket-version", "13"),
        (Cause.DRAINING, "retry-after", "1"),
    ],
)
def test_headers_of_a_status(cause: Cause, name: str, value: str) -> None:
    """Statuses say what their definitions ask for (RFC 6750 3, RFC 9110 15.5.6, RFC 6455 4.4)."""
    response, _ = parsed(farewell.http_refusal(cause))
    assert response.headers.get(name) == value


def test_cause_without_a_status() -> None:
    """A cause that has no status of its own is a 500 where one is needed."""
    response, _ = parsed(farewell.http_refusal(Cause.IDLE))
    assert response.status == 500


def test_answer_to_head() -> None:
    """The answer to a HEAD is that to a GET without the body."""
    whole = farewell.http_refusal(Cause.NOT_FOUND)
    head = farewell.http_refusal(Cause.NOT_FOUND, head_only=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.value)
def test_client_hears(cause: Cause) -> None:
    """The client's Close has the code and reason of the row, not masked; no Close where the row has none."""
    words, close = farewell.to_client(cause, b"")
    assert words == b""
    if cause.row.close is None:
        assert close == b""
    else:
        code = cause.row.close.to_bytes(2, "big")
        assert frame_of_server(close) == (CLOSE, code + cause.row.reason.encode())


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.value)
def test_upstream_hears(cause: Cause) -> None:
    """The upstream's Close has the code of the row and is masked; none where its connection is dropped."""
    words, close = farewell.to_upstream(cause, b"")
    assert words == b""
    if cause.row.upstream_close is None:
        assert close == b""
    else:
        frame = parse_frame(close, fragmented=False, max_bytes=125)
        assert frame is not None
        assert (frame.opcode, frame.payload) == (CLOSE, cause.row.upstream_close.to_bytes(2, "big"))


def test_last_words_of_the_protocol() -> None:
    """What the protocol says is a message of its own before the Close: bytes a binary one, a string a text one."""
    disconnect = b"\xe0\x02\x8b\x00"
    words, _ = farewell.to_client(Cause.DRAINING, disconnect)
    assert frame_of_server(words) == (BINARY, disconnect)
    words, _ = farewell.to_client(Cause.DRAINING, "bye\n")
    assert frame_of_server(words) == (TEXT, b"bye\n")
    words, _ = farewell.to_upstream(Cause.DRAINING, b"\xe0\x00")
    frame = parse_frame(words, fragmented=False, max_bytes=125)
    assert frame is not None
    assert (frame.opcode, frame.payload) == (BINARY, b"\xe0\x00")
