"""What a request that wants no WebSocket gets: is it alive, is it ready, what does it count.

One answer a connection, GET and HEAD. Liveness says only that the loop turns, so it is 200 while
draining too; readiness says that a new session would be taken.
"""

from collections.abc import Awaitable, Callable

from attrs import frozen

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.farewell import http_answer
from trio_ws_gateway.scrape import CONTENT_TYPE, Incomplete
from trio_ws_gateway.wire.http import Request

TEXT = "text/plain; charset=utf-8"


@frozen(kw_only=True)
class PlainHttp:
    """``unready``: why no new session would be taken now; empty where one would. ``metrics``: their exposition.

    That may raise ``Incomplete``.
    """

    metrics: Callable[[], Awaitable[bytes]]
    unready: Callable[[], str]

    async def answer(self, request: Request) -> bytes | None:
        """The whole answer, or ``None`` for a path that is none of these. Raises ``Refused(METHOD_NOT_ALLOWED)``."""
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
