"""Another upstream connection for a session that has lost its own: whether there may be one, and how soon.

It is for who is still welcome, and it is dialled as any other, behind the same breaker. That it was lost counts as a
failed try, so that many that are lost together do not come again together; connections that did not last count as
further ones, so that an upstream that takes sessions and drops them is soon given up. Whether the session stands where
that can be done, and what becomes of its bytes, is the relay's to know.
"""

import math
from collections.abc import Awaitable, Callable

import trio

from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.upstream.dial import Dialled
from trio_ws_gateway.wire.handshake import Accepted

AWAY = {Cause.UPSTREAM_UNAVAILABLE, Cause.CIRCUIT_OPEN}  # for a session that is, it remains lost


class Reconnection:
    """Call it for every connection that is lost.

    ``token``: what ``authenticator``, where there is one, must still believe; there may be a newer one meanwhile.
    ``dial``: is told how many tries have failed before. ``retry_max``: how many connections in a row may end before
    ``lasting_seconds``.
    """

    def __init__(
        self,
        authenticator: Authenticator | None,
        token: str | None,
        dial: Callable[[int], Awaitable[Dialled[Accepted]]],
        *,
        retry_max: int,
        lasting_seconds: float,
    ) -> None:
        self._authenticator = authenticator
        self.token = token
        self._dial = dial
        self._retry_max = retry_max
        self._lasting_seconds = lasting_seconds
        self._reconnected_at = -math.inf
        self._short_ones = 0  # in a row

    async def __call__(self) -> Dialled[Accepted]:
        """Another connection. Raises ``Refused``."""
        lasted = trio.current_time() - self._reconnected_at >= self._lasting_seconds
        self._short_ones = 0 if lasted else self._short_ones + 1
        if self._short_ones > self._retry_max:
            raise Refused(Cause.UPSTREAM_LOST, "again and again")
        if self._authenticator is not None and self.token is not None:
            await self._authenticator.identify(self.token)
        try:
            dialled = await self._dial(1 + self._short_ones)
        except Refused as refused:
            raise Refused(Cause.UPSTREAM_LOST, refused.detail) if refused.cause in AWAY else refused from None
        self._reconnected_at = trio.current_time()
        return dialled
