"""How many sessions one subject has at a time: in this process, and through Redis in all.

Each gateway tells Redis how many sessions it has of a subject, not that there is one more: whatever is lost on the way
or forgotten is right again with the next word, and what a gateway that died has said is void soon. Where Redis is away
or late, the count of this process decides. Nobody waits for Redis longer than the link's ``LATE_SECONDS``.
"""

import secrets
from collections.abc import Hashable

import trio

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.scripts import SESSIONS, key_of
from trio_ws_gateway.redis_link import RedisLink, Reply, Script

VALID_SECONDS = 30.0  # so long the sessions of a gateway that died still count
TURNS = 10  # in which all subjects are told anew, well before that

_SESSIONS = Script(SESSIONS)


class Subjects:
    """``limit``: sessions of one subject; 0: any number. ``link``: where gateways share it, in keys with ``prefix``."""

    def __init__(self, limit: int, *, link: RedisLink | None = None, prefix: str = "") -> None:
        self._limit = limit
        self._link = link
        self._prefix = prefix
        self._gateway = secrets.token_hex(6)
        self._counts: dict[Hashable, int] = {}

    async def enter(self, subject: Hashable) -> None:
        """A session more; ``leave`` it later. Raises ``Refused(TOO_MANY_CONNECTIONS)``, and then it has not entered."""
        count = self._counts.get(subject, 0) + 1
        if self._limit and count > self._limit:
            raise _refused()
        self._counts[subject] = count
        try:
            if self._limit and self._link is not None:
                reply = await self._link.call(_SESSIONS, *self._words(subject, self._limit))
                if reply is not None and not reply[0]:
                    raise _refused()
        except BaseException:
            self.leave(subject)
            raise

    def leave(self, subject: Hashable) -> None:
        """A session less."""
        left = self._counts[subject] - 1
        if left:
            self._counts[subject] = left
        else:
            del self._counts[subject]
        self._tell(subject)

    async def run(self) -> None:
        """Tell Redis again and again of the sessions that live, until cancelled."""
        turn = 0
        while True:
            await trio.sleep(VALID_SECONDS / 3 / TURNS)
            turn = (turn + 1) % TURNS
            for subject in [each for each in self._counts if hash(each) % TURNS == turn]:
                self._tell(subject)

    def __len__(self) -> int:
        return len(self._counts)

    def _tell(self, subject: Hashable) -> None:
        if self._limit and self._link is not None:
            self._link.submit(_SESSIONS, *self._words(subject, 0), answered=_unheard)

    def _words(self, subject: Hashable, limit: int) -> tuple[str, str, int, int, int]:
        key = key_of(self._prefix, "sessions", subject)
        return key, self._gateway, self._counts.get(subject, 0), limit, int(VALID_SECONDS * 1000)


def _unheard(_reply: Reply | None) -> None:
    """News needs no answer."""


def _refused() -> Refused:
    return Refused(Cause.TOO_MANY_CONNECTIONS, "sessions of one subject")
