"""Causes turned into bytes: the only place that does it, together with the adapters' own last words.

Before the 101 a cause is an HTTP answer with a problem document (RFC 9457); after it, a Close
frame for each side, and before that whatever the protocol says. Nothing here decides who hears it.
"""

import json
import random
from collections.abc import Iterable
from http import HTTPStatus

from trio_ws_gateway.causes import Cause, Words
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame, close_frame
from trio_ws_gateway.wire.http import build_head

SAID_BY_STATUS: dict[int, tuple[tuple[str, str], ...]] = {
    401: (("WWW-Authenticate", 'Bearer error="invalid_token"'),),  # RFC 6750 3
    405: (("Allow", "GET, HEAD"),),
    426: (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),  # RFC 6455 4.4
}


RETRY_AFTER_MAX_SECONDS = 10  # as long as those wait who are let in


def retry_after_seconds() -> int:
    """When somebody shall come again: at different times, or those who were refused together would come together."""
    return random.randint(1, RETRY_AFTER_MAX_SECONDS)  # noqa: S311 - a spread, not a secret


def http_answer(
    status: int, content_type: str, body: bytes, headers: Iterable[tuple[str, str]] = (), *, head_only: bool = False
) -> bytes:
    """A whole response, after which the connection is closed. ``head_only``: the answer to a HEAD."""
    head = build_head(
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
            *headers,
        ],
    )
    return head if head_only else head + body


def http_refusal(cause: Cause, *, retry_after_seconds: int = 1, head_only: bool = False) -> bytes:
    """The answer to a request that is refused for ``cause``; 500 for one that has no status of its own."""
    row = cause.row
    status = row.http or 500
    headers = list(SAID_BY_STATUS.get(status, ()))
    if row.retry:
        headers.append(("Retry-After", str(retry_after_seconds)))
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "cause": cause.value}
    if row.reason:
        problem["detail"] = row.reason
    body = json.dumps(problem).encode() + b"\n"
    return http_answer(status, "application/problem+json", body, headers, head_only=head_only)


def to_client(cause: Cause, words: Words) -> tuple[bytes, bytes]:
    """What the client of a WebSocket hears: the frame with the protocol's last words (or none), and the Close frame."""
    row = cause.row
    closing = close_frame(row.close, row.reason, masked=False) if row.close is not None else b""
    return message(words, masked=False), closing


def to_upstream(cause: Cause, words: Words) -> tuple[bytes, bytes]:
    """The same for the upstream; no Close frame where its connection is dropped."""
    code = cause.row.upstream_close
    closing = close_frame(code, masked=True) if code is not None else b""
    return message(words, masked=True), closing


def message(words: Words, *, masked: bool) -> bytes:
    """Words as a frame; none for none."""
    if not words:
        return b""
    if isinstance(words, str):
        return build_frame(TEXT, words.encode(), masked=masked)
    return build_frame(BINARY, words, masked=masked)
