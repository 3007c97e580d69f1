"""How many sessions somebody has at a time, a subject or an address: in this process, and through Redis in all.

Each gateway tells Redis how many sessions it has of somebody, not that there is one more: whatever is lost on the way
or forgotten is right again with the next word, and what a gateway that died has said is void soon. Where Redis is away
or late, the count of this process decides. Nobody waits for Redis longer than the link's ``LATE_SECONDS``.

Few sessions are not worth a word: up to a hundredth of the limit a gateway keeps them to itself, so most of those who
come wait for nobody, and all gateways together may be over a limit by a hundredth each.
"""

import math
import secrets
from collections.abc import Hashable

import trio
from attrs import mutable

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.scripts import SESSIONS, key_of
from trio_ws_gateway.redis_link import RedisLink, Reply, Script

VALID_SECONDS = 30.0  # so long the sessions of a gateway that died still count
TURNS = 10  # in which all are told anew, well before that
WORTH_A_WORD = 0.01  # of the limit

_SESSIONS = Script(SESSIONS, numbers=2)


@mutable
class _Count:
    """``quiet``: up to so many sessions Redis hears nothing of them."""

    sessions: int = 0
    quiet: float = math.inf

    @property
    def told(self) -> int:
        return self.sessions if self.sessions > self.quiet else 0


class SessionCounts:
    """``of_one``: whose sessions it counts, ``subject`` or ``address``. ``link``: where gateways share it, in keys with
    ``prefix``."""

    def __init__(self, of_one: str, *, link: RedisLink | None = None, prefix: str = "") -> None:
        self._of_one = of_one
        self._link = link
        self._prefix = prefix
        self._gateway = secrets.token_hex(6)
        self._counts: dict[Hashable, _Count] = {}

    async def enter(self, who: Hashable, limit: float) -> None:
        """A session more, where there may be so many, ``math.inf`` for any number; ``leave`` it later.

        Raises ``Refused(TOO_MANY_CONNECTIONS)``, and then it has not entered.
        """
        count = self._counts.get(who) or _Count()
        if count.sessions >= limit:
            raise self._refused()
        self._counts[who] = count
        count.sessions += 1
        count.quiet = min(count.quiet, limit * WORTH_A_WORD)
        try:
            if self._link is not None and count.told:
                words = self._words(who, count, 0 if limit == math.inf else int(limit))
                reply = await self._link.call(_SESSIONS, *words)
                if reply is not None and not reply[0]:
                    raise self._refused()
        except BaseException:
            self.leave(who)
            raise

    def leave(self, who: Hashable) -> None:
        """A session less."""
        count = self._counts[who]
        has_been_told = count.told
        count.sessions -= 1
        if not count.sessions:
            del self._counts[who]
        if has_been_told:
            self._tell(who, count)

    async def run(self) -> None:
        """Tell Redis again and again of the sessions that live, until cancelled."""
        turn = 0
        while True:
            await trio.sleep(VALID_SECONDS / 3 / TURNS)
            turn = (turn + 1) % TURNS
            for who, count in [each for each in self._counts.items() if hash(each[0]) % TURNS == turn]:
                if count.told:
                    self._tell(who, count)

    def __len__(self) -> int:
        return len(self._counts)

    def _tell(self, who: Hashable, count: _Count) -> None:
        if self._link is not None:
            self._link.submit(_SESSIONS, *self._words(who, count, 0), answered=_unheard)

    def _words(self, who: Hashable, count: _Count, limit: int) -> tuple[str, str, int, int, int]:
        key = key_of(self._prefix, f"sessions-of-one-{self._of_one}", who)
        return key, self._gateway, count.told, limit, int(VALID_SECONDS * 1000)

    def _refused(self) -> Refused:
        return Refused(Cause.TOO_MANY_CONNECTIONS, f"sessions of one {self._of_one}")


def _unheard(_reply: Reply | None) -> None:
    """News needs no answer."""
