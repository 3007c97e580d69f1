"""Where the sessions of each protocol go: one route a protocol, for as long as the gateway runs.

A route reaches its upstream on behalf of a visitor; what is known of that upstream beyond the
single try belongs here. The socket that comes back is the caller's.
"""

import secrets
from base64 import b64encode
from collections.abc import Collection, Mapping

import structlog
import trio
from attrs import evolve, frozen

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.settings import upstream_setting
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.protocols.base import Greeting
from trio_ws_gateway.upstream.breaker import Breaker, Permit, State
from trio_ws_gateway.upstream.dial import Dialled, Dialler
from trio_ws_gateway.upstream.failures import DialFailed, Failure
from trio_ws_gateway.upstream.introduction import Visitor, introduce
from trio_ws_gateway.wire.handshake import Accepted, Offer

# Servers that have no room for a head hang up on it without a word (libwebsockets, so Mosquitto, from 4 KiB on). What
# is in it is the client's doing, and no client shall lock out the others.
LONG_HEAD_BYTES = 4096


@frozen(kw_only=True)
class Route:
    """The way to the upstream of a protocol. ``forwards_token``: its handshake may carry the visitor's token.

    The breaker is this protocol's own, though another's upstream may be on the same host and port: what listens there
    is often a proxy before several. A dial counts once, with all its tries: the breaker counts sessions that could not
    be had, and a blip that a second try outlives opens nothing. A trial has one try, since others wait for it.
    """

    protocol: str
    url: WebSocketUrl
    dialler: Dialler
    breaker: Breaker
    metrics: Metrics
    forwards_token: bool

    async def reach(self, greeting: Greeting, visitor: Visitor, offer: Offer, *, tried: int = 0) -> Dialled[Accepted]:
        """An upstream that has accepted the visitor. Raises ``Refused``: UPSTREAM_UNAVAILABLE or CIRCUIT_OPEN.

        ``tried``: how many tries have failed before, of a session that was had and is lost. Of those that are lost
        together some are soon out of tries, so they count only as a trial; else they would close off all others.
        """
        introduction = introduce(
            self.url,
            visitor if self.forwards_token else evolve(visitor, token=None),
            offer,
            key=b64encode(secrets.token_bytes(16)).decode(),
            by_name=greeting.names_the_client,
        )
        permit = self._permit()

        def trying_again() -> None:
            nonlocal permit
            if not self.breaker.is_current(permit):
                if self.breaker.state is not State.CLOSED:
                    raise self._closed_off()
                permit = self._permit()  # it was open meanwhile
            self.metrics.proxy_retries.labels(self.protocol).inc()

        began_at = trio.current_time()
        try:
            dialled = await self.dialler.dial(
                self.url, introduction.request, introduction.check, trying_again, once=permit.trial, tried=tried
            )
        except DialFailed as failed:
            of_this_head = failed.failure is Failure.NO_ANSWER and len(introduction.request) > LONG_HEAD_BYTES
            if failed.failure.row.away and not of_this_head and (permit.trial or not tried):
                self.breaker.fail(permit, trio.current_time())
            else:
                self.breaker.abandon(permit)
            raise Refused(Cause.UPSTREAM_UNAVAILABLE, failed.detail) from None
        except BaseException:  # nothing is learnt of whoever leaves or is at fault itself
            self.breaker.abandon(permit)
            raise
        self.breaker.succeed()
        self.metrics.dial_seconds.labels(self.protocol).observe(trio.current_time() - began_at)
        return dialled

    def _permit(self) -> Permit:
        """Leave to dial; the breaker has to learn what came of it."""
        permit = self.breaker.permit(trio.current_time())
        if permit is None:
            raise self._closed_off()
        return permit

    def _closed_off(self) -> Refused:
        return Refused(Cause.CIRCUIT_OPEN, f"{self.url.authority}: the circuit is {self.breaker.state.value}")


class Routes:
    """All routes. ``upstreams``: by the names of the protocols. ``threshold``, ``open_seconds``: of their breakers."""

    def __init__(
        self,
        upstreams: Mapping[str, WebSocketUrl],
        *,
        dialler: Dialler,
        threshold: int,
        open_seconds: float,
        metrics: Metrics,
        forwards_token: bool,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._routes = {
            protocol: Route(
                protocol=protocol,
                url=url,
                dialler=dialler,
                breaker=self._breaker(protocol, url, threshold, open_seconds),
                metrics=metrics,
                forwards_token=forwards_token,
            )
            for protocol, url in upstreams.items()
        }

    def of(self, protocol: str) -> Route:
        """Raises ``Refused(UPSTREAM_UNAVAILABLE)`` where none is configured."""
        route = self._routes.get(protocol)
        if route is None:
            raise Refused(Cause.UPSTREAM_UNAVAILABLE, f"{upstream_setting(protocol)} is not set")
        return route

    @property
    def all(self) -> Collection[Route]:
        return self._routes.values()

    def is_healthy(self, protocol: str) -> None:
        """A probe has found that upstream well. There is no such word for the other finding: it opens nothing."""
        self._routes[protocol].breaker.succeed()

    def _breaker(self, protocol: str, url: WebSocketUrl, threshold: int, open_seconds: float) -> Breaker:
        opened, state_now = self._metrics.circuit_open.labels(protocol), self._metrics.circuit_state.labels(protocol)

        def changed(state: State) -> None:
            state_now.set(state.level)
            if state is State.OPEN:
                opened.inc()
                self._log.warning("circuit open", protocol=protocol, upstream=url.text)
            else:
                self._log.info(f"circuit {state.value}", protocol=protocol, upstream=url.text)

        state_now.set(State.CLOSED.level)
        return Breaker(threshold=threshold, open_seconds=open_seconds, changed=changed)
