"""Where the sessions of each protocol go: one route a protocol, for as long as the gateway runs.

A route reaches its upstream on behalf of a visitor; what is known of that upstream beyond the
single try belongs here. The socket that comes back is the caller's.
"""

import secrets
from base64 import b64encode
from collections.abc import Mapping

import trio
from attrs import evolve, frozen

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.protocols.base import Greeting
from trio_ws_gateway.upstream.dial import Dialled, Dialler
from trio_ws_gateway.upstream.introduction import Visitor, introduce
from trio_ws_gateway.wire.handshake import Accepted, Offer


@frozen(kw_only=True)
class Route:
    """The way to the upstream of a protocol. ``forwards_token``: its handshake may carry the visitor's token."""

    url: WebSocketUrl
    dialler: Dialler
    metrics: Metrics
    forwards_token: bool

    async def reach(self, greeting: Greeting, visitor: Visitor, offer: Offer) -> Dialled[Accepted]:
        """An upstream that has accepted the visitor. Raises ``Refused(UPSTREAM_UNAVAILABLE)``."""
        introduction = introduce(
            self.url,
            visitor if self.forwards_token else evolve(visitor, token=None),
            offer,
            key=b64encode(secrets.token_bytes(16)).decode(),
            by_name=greeting.names_the_client,
        )
        count_retry = self.metrics.proxy_retries.labels(greeting.protocol).inc
        began_at = trio.current_time()
        dialled = await self.dialler.dial(self.url, introduction.request, introduction.check, count_retry)
        self.metrics.dial_seconds.labels(greeting.protocol).observe(trio.current_time() - began_at)
        return dialled


class Routes:
    """All routes. ``upstreams``: by the names of the protocols."""

    def __init__(
        self, upstreams: Mapping[str, WebSocketUrl], *, dialler: Dialler, metrics: Metrics, forwards_token: bool
    ) -> None:
        self._routes = {
            protocol: Route(url=url, dialler=dialler, metrics=metrics, forwards_token=forwards_token)
            for protocol, url in upstreams.items()
        }

    def of(self, protocol: str) -> Route:
        """Raises ``Refused(UPSTREAM_UNAVAILABLE)`` where none is configured."""
        route = self._routes.get(protocol)
        if route is None:
            raise Refused(Cause.UPSTREAM_UNAVAILABLE, f"UPSTREAM_{protocol.upper()}_URL is not set")
        return route
