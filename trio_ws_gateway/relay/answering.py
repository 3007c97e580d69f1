"""What a client asks of the gateway itself in mid-session: told from what is meant for its upstream, and answered.

So a client shows a newer token. It is not read on before it has its answer, or the session ends. How it asks is its
protocol's, and what follows from a token the caller's.
"""

from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from trio_ws_gateway import farewell
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.relay.side import Side
from trio_ws_gateway.wire.asking import Asked

# Threat: who asks again and again while its upstream is in the midst of a packet would fill the memory with answers.
UNSAID_MAX_BYTES = 4096


@frozen(kw_only=True)
class Authorised:
    """What holds from now on for a client whose newer token is believed."""

    token_ends_at: float
    budget: Budget | None
    budget_to_client: Budget | None


Authorise = Callable[[str], Awaitable[Authorised]]
"""Believes a newer token, or raises ``Refused``."""


class Answering:
    """Answers the ``client``. ``authorised`` is told what follows from a newer token, ``end`` why the session ends."""

    __slots__ = ("_authorise", "_authorised", "_client", "_end")

    def __init__(
        self,
        client: Side,
        authorise: Authorise | None,
        *,
        authorised: Callable[[Authorised], object],
        end: Callable[[Cause, str], object],
    ) -> None:
        self._client = client
        self._authorise = authorise
        self._authorised = authorised
        self._end = end

    def overhear(self, find: Callable[[bytes], Asked | None], text: bytes) -> bool:
        """Whether a message of the client's is for the gateway itself."""
        self._client.hears.asked = find(text)
        return self._client.hears.asked is not None

    async def answer(self, asked: Asked) -> None:
        """See to what the client asks."""
        if asked.token is not None and self._authorise is not None:
            try:
                authorised = await self._authorise(asked.token)
            except Refused as refused:
                self._end(refused.cause, f"renewal: {refused.detail}")
                await trio.lowlevel.checkpoint()  # cancelled here, so that nothing more of the client's passes
                return
            self._authorised(authorised)
        if self._client.says.unsaid_bytes > UNSAID_MAX_BYTES:
            self._end(Cause.TOO_SLOW, "it asks on and hears no answer")
        elif asked.reply:
            self._client.says.say(farewell.message(asked.reply, masked=False), self._client.hears_words)
