"""Who may come in at the operator's door: an ASGI middleware before everything that is behind it.

With a credential: whoever has it. Without one the listener is on a loopback address, and only what is no browser's page
may come: any page that is open on the machine can send requests there, under the name of a host of its own too.
"""

import hmac
import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LET_IN = "let_in"  # in the state of a connection: what is to be called when somebody has come in by it

_HERE = re.compile(r"(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?", re.IGNORECASE)


class Door:
    """``credential``: what must follow ``Bearer`` in ``Authorization``; ``None``: there is none."""

    def __init__(self, app: ASGIApp, credential: str | None) -> None:
        self._app = app
        self._expected = None if credential is None else credential.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] == "http"  # else the server's own start and end, or a WebSocket, which has no route
        refusal = self._refusal(Headers(scope=scope)) if is_request else None
        if is_request and refusal is None:
            scope["state"][LET_IN]()
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        if self._expected is None:
            if headers.get("origin") is None and _HERE.fullmatch(headers.get("host", "")):
                return None
            return JSONResponse({"error": "not for web pages: come to the loopback address by its name"}, 403)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Threat: a comparison that ends at the first wrong character tells how many were right.
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._expected):
            return None
        return JSONResponse({"error": "the credential is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})
