"""The sessions of one process as an operator sees them: which there are, and the end of those that are not to be.

Whoever asks, the parent of a group or the same process, asks in JSON. What is revoked is kept here for whoever
verifies tokens, and known before it is looked who lives: a session is found by one or the other. Nothing is kept of a
session that it does not keep itself. No secret is shown.
"""

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

import structlog
import trio

from trio_ws_gateway.auth.revocation import REVOCATIONS_MAX, Full, Revocation, Revocations
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.ledger import Ledger
from trio_ws_gateway.upstream.health import Health
from trio_ws_gateway.upstream.routes import Routes
from trio_ws_gateway.worker_link import Answer

# What is asked:
REVOKE = "revoke"  # a list of revocations; answered by how many sessions that ends
SESSIONS = "sessions"  # "after" an id, at most "limit", of a "sub" and a "protocol"; answered by them
CUT_SESSION = "cut session"  # an id; answered by whether there is one
UPSTREAMS = "upstreams"  # answered by all of them


class Session(Protocol):
    """What is asked of each."""

    @property
    def ledger(self) -> Ledger: ...
    def end(self, cause: Cause) -> None: ...


class Live:
    """``answers``: of this process, to what is asked. ``revocations``: for who verifies tokens; ``clock`` is theirs."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, clock: Callable[[], float] = time.time) -> None:
        self.revocations = Revocations(REVOCATIONS_MAX)
        self.answers: Mapping[str, Answer] = {
            REVOKE: self._revoke,
            SESSIONS: self._list,
            CUT_SESSION: self._cut,
            UPSTREAMS: self._upstreams,
        }
        self._log = log
        self._clock = clock
        self._sessions: Callable[[], Collection[Session]] = tuple
        self._routes: Routes | None = None
        self._health: Health | None = None

    def watch(self, sessions: Callable[[], Collection[Session]], routes: Routes, health: Health | None) -> None:
        """Know them from now on."""
        self._sessions, self._routes, self._health = sessions, routes, health

    def learn(self, revocations: Iterable[Revocation]) -> None:
        """Have them known to who verifies tokens."""
        now = self._clock()
        for revocation in revocations:
            try:
                self.revocations.add(revocation, now)
            except Full:
                self._log.error("revocation not kept", reason=f"there are {REVOCATIONS_MAX} already")

    async def _revoke(self, body: list[Mapping[str, Any]]) -> int:
        now = self._clock()
        heard = [Revocation.from_json(each) for each in body]
        self.learn(heard)
        these = Revocations(len(heard))  # beside what was known before, of which nobody lives, or what is not kept
        for revocation in heard:
            these.add(revocation, now)
        named = {name for each in heard for name in (each.jti, each.sub, each.sid, each.session) if name is not None}
        count = 0
        for session in list(self._sessions()):
            if _goes_on(session.ledger) and _is_of(session.ledger, these, named, now):
                session.end(Cause.TOKEN_REVOKED)
                count += 1
        return count

    async def _cut(self, body: str) -> bool:
        for session in list(self._sessions()):
            if session.ledger.id == body and _goes_on(session.ledger):
                session.end(Cause.SESSION_CUT)
                return True
        return False

    async def _list(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """By their ids, which are random: so who comes or goes meanwhile moves no other to another page."""
        found = heapq.nsmallest(body["limit"], self._meant(body), key=lambda ledger: ledger.id)
        now = trio.current_time()
        return [_shown(ledger, now) for ledger in found]

    def _meant(self, body: Mapping[str, Any]) -> Iterator[Ledger]:
        for session in self._sessions():
            ledger = session.ledger
            is_nobody = ledger.identity is None and ledger.relay is None
            if ledger.id <= body["after"] or is_nobody or not _goes_on(ledger):
                continue
            if body["sub"] not in (None, None if ledger.identity is None else ledger.identity.subject):
                continue
            if body["protocol"] in (None, None if ledger.greeting is None else ledger.greeting.protocol):
                yield ledger

    async def _upstreams(self, _: object) -> list[dict[str, Any]]:
        return [
            {
                "protocol": route.protocol,
                "url": route.url.text,
                "circuit": route.breaker.state.value,
                "unhealthy": None if self._health is None else self._health.why(route.protocol),
            }
            for route in (self._routes.all if self._routes is not None else ())
        ]


def _is_of(ledger: Ledger, these: Revocations, named: set[str], now: float) -> bool:
    """Looked at closely only where one of its names is among them: it is asked of every session that lives."""
    identity = ledger.identity
    if identity is None:
        return ledger.id in named and these.cuts(ledger.id, now)
    if named.isdisjoint((identity.subject, identity.token_id, identity.session_id, ledger.id)):
        return False
    return these.cuts(ledger.id, now) or bool(these.why(identity, now))


def _goes_on(ledger: Ledger) -> bool:
    """It is not saying goodbye, which may take it some seconds."""
    return ledger.relay is None or ledger.relay.cause is None


def _shown(ledger: Ledger, now: float) -> dict[str, Any]:
    identity, relay = ledger.identity, ledger.relay
    return {
        "id": ledger.id,
        "iss": None if identity is None else identity.issuer,
        "sub": None if identity is None else identity.subject,
        "preferred_username": None if identity is None else identity.preferred_username,
        "jti": None if identity is None else identity.token_id,
        "protocol": None if ledger.greeting is None else ledger.greeting.protocol,
        "client": ledger.address,
        "upstream": ledger.upstream or None,
        "age_seconds": round(now - ledger.began_at, 3),
        "bytes_from_client": 0 if relay is None else relay.to_upstream.bytes_read,
        "bytes_from_upstream": 0 if relay is None else relay.to_client.bytes_read,
        "expires_at": None if identity is None else identity.expires_at,
    }
