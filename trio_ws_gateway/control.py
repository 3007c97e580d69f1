"""What an operator can do to a gateway, however many processes it has, and what other gateways have it do.

Everything is asked of all its processes at once, and what they say is put together here. A revocation is in effect in
all that have answered; one that is silent has it in its queue, and one that starts later is given what ``revocations``
holds. Knows nothing of HTTP, nor of how a process is reached.
"""

import heapq
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import trio
from attrs import frozen

from trio_ws_gateway.auth.revocation import Full, Revocation, Revocations
from trio_ws_gateway.live import CUT_SESSION, REVOKE, SESSIONS, UPSTREAMS

HEARD_MAX = 500  # at a time
# Threat: whoever logs in and out again fills the table, and the operator has no room for what he takes back.
LOGOUT_SHARE = 0.5


@frozen
class Heard:
    """What the processes have answered, and how many were silent."""

    answers: list[Any]
    silent: int = 0


AskAll = Callable[[str, object], Awaitable[Heard]]
"""A question to every process that lives, in the words of ``live``."""


class Shares(Protocol):
    """The way to other gateways."""

    async def tell(self, revocation: Revocation) -> bool:
        """Whether they hear of it now; else they do later."""


@frozen
class Outcome:
    """Of a revocation. ``cut``: so many live sessions; ``silent``: processes; ``told``: whether other gateways hear of
    it now, ``None`` where there is no way to them; ``kept``: whether there was room for it. If not, who comes later is
    not refused."""

    cut: int
    silent: int
    told: bool | None
    kept: bool = True


@frozen
class Found:
    """``items``: what was asked for. ``silent``: of so many processes it is not known."""

    items: list[dict[str, Any]]
    silent: int


class Control:
    """``revocations``: what whoever asks last has to know. Of one process it is that process's own."""

    def __init__(
        self,
        revocations: Revocations,
        ask_all: AskAll,
        *,
        shares: Shares | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._revocations = revocations
        self._ask_all = ask_all
        self._shares = shares
        self._clock = clock

    async def revoke(self, revocation: Revocation) -> Outcome:
        """In effect when this returns: on what lives even where there is no room for it."""
        kept = True
        try:
            self._revocations.add(revocation, self._clock())
        except Full:
            kept = False
        heard = await self._ask_all(REVOKE, [revocation.to_json()])
        told = None if self._shares is None else await self._shares.tell(revocation)
        return Outcome(cut=sum(heard.answers), silent=heard.silent, told=told, kept=kept)

    async def obey(self, revocations: Iterable[Revocation]) -> bool:
        """What a provider has ordered. Whether it is in effect in all processes that are not silent."""
        try:
            for revocation in revocations:
                self._revocations.add(revocation, self._clock(), share=LOGOUT_SHARE)
                await self.revoke(revocation)
        except Full:
            return False
        return True

    async def hear(self, revocations: Sequence[Revocation]) -> None:
        """What other gateways have revoked. What is known already changes nothing."""
        for first in range(0, len(revocations), HEARD_MAX):
            now, new = self._clock(), []
            for revocation in revocations[first : first + HEARD_MAX]:
                try:
                    is_new = self._revocations.add(revocation, now)
                except Full:
                    is_new = True  # to what lives; that it is not kept each process says
                if is_new:
                    new.append(revocation.to_json())
            if new:
                await self._ask_all(REVOKE, new)
            await trio.lowlevel.checkpoint()

    async def sessions(self, *, after: str, limit: int, sub: str | None, protocol: str | None) -> Found:
        """Live sessions in the order of their ids, at most ``limit`` of those after ``after``."""
        heard = await self._ask_all(SESSIONS, {"after": after, "limit": limit, "sub": sub, "protocol": protocol})
        ordered = heapq.merge(*heard.answers, key=lambda session: session["id"])
        return Found(list(islice(ordered, limit)), heard.silent)

    async def cut(self, session: str) -> bool:
        """End one live session; whether there was one of that id."""
        return any((await self._ask_all(CUT_SESSION, session)).answers)

    async def upstreams(self) -> Found:
        """Each upstream: what the last probe has found, and in how many processes its circuit is in which state."""
        heard = await self._ask_all(UPSTREAMS, None)
        by_protocol: dict[str, dict[str, Any]] = {}
        for each in (each for answer in heard.answers for each in answer):
            one = by_protocol.setdefault(
                each["protocol"],
                {
                    "protocol": each["protocol"],
                    "url": each["url"],
                    "healthy": None if each["unhealthy"] is None else not each["unhealthy"],
                    "reason": each["unhealthy"] or None,
                    "circuits": {"closed": 0, "half-open": 0, "open": 0},
                },
            )
            one["circuits"][each["circuit"]] += 1
        return Found(list(by_protocol.values()), heard.silent)


def of_one_process(answers: Mapping[str, Callable[[Any], Awaitable[Any]]]) -> AskAll:
    """A gateway that has no other processes than this one."""

    async def ask(subject: str, body: object) -> Heard:
        return Heard([await answers[subject](body)])

    return ask
