"""An issuer at a URL: discovery, the key set and, only when asked for, a place that mints for whoever comes.

For development, on this machine. One request, one answer, and a few seconds for both; nothing is logged. What is
answered is decided in ``Issuer.answer``, which knows no socket.
"""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from attrs import frozen

from trio_ws_gateway.config.values import Address
from trio_ws_gateway.issuer.keys import SigningKey, jwks
from trio_ws_gateway.issuer.minting import mint, parse_claim, parse_seconds

DISCOVERY_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/jwks.json"
TOKEN_PATH = "/token"

REQUEST_SECONDS = 5.0
MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 1024
CHUNK_BYTES = 4 * 1024  # h11 limits what is not whole yet: it should look often
MAX_FIELDS = 100
FIELD_NAMES = {"sub", "aud", "role", "lifetime", "claim"}
FIELDS = "it takes sub, aud, role, lifetime (90s, 15m, 8h, 1d or seconds) and claim (name=value)"

Answer = tuple[HTTPStatus, str]
"""A status, and a document in JSON."""


@frozen(kw_only=True)
class Issuer:
    """What is said under ``url``. The first key mints, all are published.

    ``minting``: whether ``/token`` is there. It gives whoever asks a token in any name.
    """

    url: str
    keys: Sequence[SigningKey]
    minting: bool = False

    def answer(self, method: str, target: str, host: str, body: bytes, now: float) -> Answer:
        full_path, _, query = target.partition("?")
        match method, full_path.removeprefix(urlsplit(self.url).path.rstrip("/")):
            case (("GET" | "HEAD"), path) if path == DISCOVERY_PATH:
                return HTTPStatus.OK, json.dumps(self._metadata(), indent=2) + "\n"
            case (("GET" | "HEAD"), path) if path == JWKS_PATH:
                return HTTPStatus.OK, jwks(self.keys)
            case (("GET" | "POST"), path) if path == TOKEN_PATH and self.minting:
                # A web page can make its own host name mean this machine (DNS rebinding), and then read the answer.
                if host.lower() != urlsplit(self.url).netloc.lower():
                    return _problem(HTTPStatus.MISDIRECTED_REQUEST, f"ask for it at {self.url}{TOKEN_PATH}")
                return self._minted(query, body, now)
            case _:
                return _problem(HTTPStatus.NOT_FOUND, "there is no such page")

    def _metadata(self) -> dict[str, object]:
        """OpenID Connect Discovery 1.0 section 3, as far as it means something here."""
        base = self.url.rstrip("/")
        return {
            "issuer": self.url,
            "jwks_uri": base + JWKS_PATH,
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self.keys}),
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            **({"token_endpoint": base + TOKEN_PATH} if self.minting else {}),
        }

    def _minted(self, query: str, body: bytes, now: float) -> Answer:
        """``sub``, ``aud``, ``role``, ``lifetime`` and ``claim`` (``name=value``) from the query and from a form."""
        try:
            form = f"{query}&{body.decode()}"
            fields = parse_qs(form, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
            if not fields.keys() <= FIELD_NAMES or "" in fields.get("sub", ()):
                raise ValueError
            lifetime_seconds = parse_seconds(fields.get("lifetime", ["1h"])[-1])
            token = mint(
                self.keys[0],
                issuer=self.url,
                subject=fields.get("sub", ["alice"])[-1],
                audience=fields.get("aud", ["gateway"]),
                lifetime_seconds=lifetime_seconds,
                now=now,
                roles=fields.get("role", ()),
                claims=dict(map(parse_claim, fields.get("claim", ()))),
            )
        except (ValueError, RecursionError):
            return _problem(HTTPStatus.BAD_REQUEST, FIELDS)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime_seconds)}  # RFC 6749 5.1
        return HTTPStatus.OK, json.dumps(answer) + "\n"


@asynccontextmanager
async def serving(
    keys: Sequence[SigningKey],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    url: str | None = None,
    minting: bool = False,
) -> AsyncIterator[str]:
    """An issuer for the length of the block, and its URL; port 0 is a free one.

    ``url``: what it calls itself where others reach it by another address than the one that it listens on. Raises
    ``OSError`` where it cannot listen.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    found_at = Address(host, listeners[0].socket.getsockname()[1]).reachable()
    issuer = Issuer(url=url or f"http://{found_at}", keys=keys, minting=minting)

    async def converse(stream: trio.SocketStream) -> None:
        with trio.move_on_after(REQUEST_SECONDS):
            await _converse(stream, issuer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield issuer.url
        nursery.cancel_scope.cancel()


async def _converse(stream: trio.SocketStream, issuer: Issuer) -> None:
    """One request, one answer. The caller closes the stream."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    request = None
    try:
        try:
            request, body = await _request(stream, http)
            status, document = issuer.answer(
                request.method.decode(),
                request.target.decode("latin-1"),
                dict(request.headers).get(b"host", b"").decode("latin-1"),
                body,
                time.time(),
            )
        except h11.RemoteProtocolError as error:
            status, document = _problem(HTTPStatus(error.error_status_hint), "that is no request that is taken here")
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(document))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        said = http.send(h11.Response(status_code=status, headers=headers)) or b""
        if request is None or request.method != b"HEAD":
            said += http.send(h11.Data(data=document.encode())) or b""
        await stream.send_all(said)
    except (EOFError, trio.BrokenResourceError):
        pass  # the client went away


async def _request(stream: trio.SocketStream, http: h11.Connection) -> tuple[h11.Request, bytes]:
    """The next request and its body. Raises ``h11.RemoteProtocolError``, and ``EOFError`` where none comes."""
    request, body = None, b""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("too long", error_status_hint=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, body
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError
        else:
            http.receive_data(bytes(await stream.receive_some(CHUNK_BYTES)))


def _problem(status: HTTPStatus, description: str) -> Answer:
    """An error in the words of RFC 6749 5.2."""
    return status, json.dumps({"error": "invalid_request", "error_description": description}) + "\n"
