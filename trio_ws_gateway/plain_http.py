"""What a request that wants no WebSocket gets: is it alive, is it ready, what does it count, who has logged out.

One answer a connection, to GET and HEAD, and to POST where somebody logs out. Liveness says only that the loop turns,
so it is 200 while draining too; readiness says that a new session would be taken.
"""

import json
from collections.abc import Awaitable, Callable

from attrs import frozen

from trio_ws_gateway.backchannel import BackchannelLogout, NotDone
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.farewell import http_answer
from trio_ws_gateway.scrape import CONTENT_TYPE, Incomplete
from trio_ws_gateway.wire.http import Request

LOGOUT_PATH = "/backchannel-logout"
TEXT = "text/plain; charset=utf-8"


@frozen(kw_only=True)
class PlainHttp:
    """``unready``: why no new session would be taken now; empty where one would. ``metrics``: their exposition, which
    may raise ``Incomplete``. ``logout``: what is done with one, where that is wanted.
    """

    metrics: Callable[[], Awaitable[bytes]]
    unready: Callable[[], str]
    logout: BackchannelLogout | None = None

    @property
    def takes_body(self) -> str | None:
        """The path that a body may be posted to."""
        return None if self.logout is None else LOGOUT_PATH

    async def answer(self, request: Request, address: str) -> bytes | None:
        """The whole answer to who asks from ``address``, or ``None`` for a path that is none of these. Raises
        ``Refused(METHOD_NOT_ALLOWED)``."""
        if request.path == LOGOUT_PATH and self.logout is not None:
            return await _log_out(self.logout, request, address)
        if request.path not in {"/healthz", "/readyz", "/metrics"}:
            return None
        if request.method not in {"GET", "HEAD"}:
            raise Refused(Cause.METHOD_NOT_ALLOWED)
        head_only = request.method == "HEAD"
        match request.path:
            case "/healthz":
                return http_answer(200, TEXT, b"alive\n", head_only=head_only)
            case "/readyz":
                if why := self.unready():
                    return http_answer(503, TEXT, f"not ready: {why}\n".encode(), head_only=head_only)
                return http_answer(200, TEXT, b"ready\n", head_only=head_only)
        try:
            return http_answer(200, CONTENT_TYPE, await self.metrics(), head_only=head_only)
        except Incomplete:
            return http_answer(503, TEXT, b"the other workers' metrics are not known now\n", head_only=head_only)


async def _log_out(logout: BackchannelLogout, request: Request, address: str) -> bytes:
    """As Back-Channel Logout 1.0, 2.8, wants it. May raise ``Refused``."""
    if request.method != "POST":
        return http_answer(405, TEXT, b"POST only\n", [("Allow", "POST")], head_only=request.method == "HEAD")
    try:
        await logout.log_out(request.headers.get("content-type") or "", request.body, address)
    except NotDone as error:
        problem = {"error": "invalid_request", "error_description": str(error)}
        return http_answer(400, "application/json", json.dumps(problem).encode())
    return http_answer(200, TEXT, b"logged out\n")
