"""HTTP/1.1 heads as values: the client's request, the upstream's answer, and the way back to bytes.

A head is everything up to and including the blank line, and nothing here reads further: a request
that announces a body is refused. What two parsers could read differently is refused too (RFC 9112
2.2, 5.1, 5.2, 6.3): the one behind this gateway may be the other parser. This module knows no
WebSocket, no socket and no policy.

Accepted deviations: absolute-form targets (a server must take them, RFC 9112 3.2.2) are refused,
since they name the host a second time; so is an empty line before the request line (RFC 9112 2.2).
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn

from attrs import field, frozen

from trio_ws_gateway.causes import Cause, Refused

HEAD_LIMIT = 16 * 1024  # bytes; Node's limit. Room for an 8 KiB token twice, little for 10,000 idle attackers
BODY_LIMIT = 16 * 1024
MAX_FIELDS = 100  # header lines; a browser sends 15, a chain of proxies 30

_BLANK_LINE = re.compile(rb"\n\r?\n")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r'/[!"$-~]*')  # visible ASCII without "#": no fragment is ever sent
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_STATUS_LINE = re.compile(r"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: (.*))?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HARMLESS = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\t\r\n"})

CASE_INSENSITIVE = frozenset({"connection", "te", "trailer", "transfer-encoding", "upgrade"})
"""The list fields whose elements ``Headers.tokens`` lower-cases."""


class HttpError(Refused):
    """A request that is not taken, or cannot be read. ``detail`` never quotes what was sent."""


class BadUpstream(Exception):
    """An upstream's answer that is no use. ``status``: its HTTP status, ``None`` where it could not be read."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class Headers:
    """Header fields in their order and spelling. Names are looked up without regard to case."""

    __slots__ = ("_fields", "_index")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = tuple(fields)
        self._index: dict[str, list[str]] = {}
        for name, value in self._fields:
            self._index.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The first value of a field."""
        values = self._index.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field, one for each of its lines."""
        return tuple(self._index.get(name.lower(), ()))

    def tokens(self, name: str) -> tuple[str, ...]:
        """The elements of a comma-separated field, over all of its lines (RFC 9110 5.6.1); see ``CASE_INSENSITIVE``."""
        name = name.lower()
        joined = ",".join(self._index.get(name, ()))
        elements = (joined.lower() if name in CASE_INSENSITIVE else joined).split(",")
        return tuple(stripped for element in elements if (stripped := element.strip(" \t")))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, Headers) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._fields)

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(name for name, _ in self._fields)}>"  # values hold tokens


@frozen(kw_only=True)
class Request:
    """A request's head.

    ``target``, ``path`` and ``query`` are as they were sent: nothing is percent-decoded, no dot segment
    resolved. ``query`` is without its ``?``. ``version``: ``1.0`` or ``1.1``. ``body_bytes``: how many follow;
    ``body``: those, once somebody has read them.
    """

    method: str
    target: str = field(repr=False)
    path: str
    query: str = field(repr=False)
    version: str
    headers: Headers
    body_bytes: int = 0
    body: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class Response:
    """A response's head. ``version``: ``1.0`` or ``1.1``."""

    status: int
    reason: str
    version: str
    headers: Headers


def head_end(buffer: bytes | bytearray, start: int = 0) -> int | None:
    """The position after the blank line, ``None`` while there is none.

    ``start``: how many bytes were there when this was asked before, so that a head that comes byte by
    byte costs no rescans. Blank lines of bare LFs end a head too: their sender gets its 400 at once
    instead of being waited for.
    """
    found = _BLANK_LINE.search(buffer, max(0, start - 2))
    return found.end() if found else None


def parse_request(head: bytes | bytearray, *, takes_body: str | None = None) -> Request:
    """Read one request's head, blank line included. ``takes_body``: the one path that a body may be posted to, of a
    length that is said, up to ``BODY_LIMIT``. Raises ``HttpError``."""
    start_line, headers = _lines(head)
    method, _, rest = start_line.partition(" ")
    target, _, protocol = rest.partition(" ")
    if protocol not in ("HTTP/1.1", "HTTP/1.0") or not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        _bad("no request line of HTTP/1.1 with a path as its target")
    version = protocol[5:]
    hosts = headers.all("host")
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        _bad("needs exactly one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        _bad("no host name in Host")
    body_bytes = _body_bytes(headers, version)
    path, _, query = target.partition("?")
    if body_bytes and (method != "POST" or path != takes_body or body_bytes > BODY_LIMIT):
        raise HttpError(Cause.BODY_NOT_TAKEN)
    return Request(
        method=method,
        target=target,
        path=path,
        query=query,
        version=version,
        headers=headers,
        body_bytes=int(body_bytes),
    )


def parse_response(head: bytes | bytearray) -> Response:
    """Read one response's head, blank line included. Raises ``BadUpstream``."""
    try:
        start_line, headers = _lines(head)
        status_line = _STATUS_LINE.fullmatch(start_line)
        if not status_line:
            _bad("no status line of HTTP/1.1")
        version, status, reason = status_line.groups(default="")
        _body_bytes(headers, version)
    except HttpError as error:
        raise BadUpstream(error.detail or error.cause.value) from None
    return Response(status=int(status), reason=reason, version=version, headers=headers)


def build_head(start_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A head, blank line included.

    Raises ``ValueError`` for a name that is no token, for control characters anywhere and for what
    Latin-1 cannot say: a claim with a line break in it must not become a header of its own.
    """
    lines = [start_line]
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("no header name")
        lines.append(f"{name}: {value}")
    if any(_CONTROL.search(line) for line in lines):
        raise ValueError("a control character in a head")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def is_token(text: str) -> bool:
    """Whether a text is a token (RFC 9110 5.6.2): a name of a method, a header, a subprotocol."""
    return _TOKEN.fullmatch(text) is not None


def _bad(detail: str) -> NoReturn:
    raise HttpError(Cause.BAD_REQUEST, detail)


def _lines(head: bytes | bytearray) -> tuple[str, Headers]:
    if len(head) > HEAD_LIMIT:
        raise HttpError(Cause.HEAD_TOO_BIG)
    line_ends = head.count(b"\r\n")
    if head.count(b"\n") != line_ends or head.count(b"\r") != line_ends:
        _bad("a bare CR or LF")
    if head.translate(None, _HARMLESS):
        _bad("a control character")
    start_line, *lines = head.decode("latin-1").split("\r\n")
    if lines[-2:] != ["", ""]:
        _bad("no blank line at the end")
    del lines[-2:]
    if len(lines) > MAX_FIELDS:
        raise HttpError(Cause.HEAD_TOO_BIG)
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        # Catches white space before the colon, folded lines, nameless headers and lines without a colon.
        if not colon or not _TOKEN.fullmatch(name):
            _bad("a header line without a proper name")
        fields.append((name, value.strip(" \t")))
    return start_line, Headers(fields)


def _body_bytes(headers: Headers, version: str) -> float:
    """How long a body follows (RFC 9112 6.3), ``math.inf`` where that is not said. Raises ``HttpError`` where two
    parsers could disagree on it."""
    lengths = headers.all("content-length")
    codings = headers.all("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        _bad("two lengths")
    if codings and (version == "1.0" or headers.tokens("transfer-encoding") != ("chunked",)):
        _bad("an unknown transfer coding")
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        _bad("a length that is no number")
    if codings:
        return math.inf
    length = lengths[0].lstrip("0") if lengths else ""
    return int(length or 0) if len(length) < 10 else math.inf  # more digits take Python long to read
