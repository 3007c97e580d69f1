"""How a client is introduced to its upstream: one handshake request, and what is expected in answer.

Pure: everything that the request says comes in as values, and so does the key.
"""

from attrs import frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.protocols.base import Greeting
from trio_ws_gateway.upstream.request import ClientAddress, build_upstream_request
from trio_ws_gateway.wire.handshake import Accepted, check_upstream_answer
from trio_ws_gateway.wire.http import BadUpstream, Request, Response


@frozen(kw_only=True)
class Introduction:
    """A handshake for the upstream. ``check`` is for the answer to ``request``."""

    request: bytes
    key: str
    subprotocols: tuple[str, ...]
    extensions: str | None
    must_choose: bool

    def check(self, response: Response) -> Accepted:
        """Raises ``BadUpstream`` for an answer that will not do."""
        accepted = check_upstream_answer(response, self.key, self.subprotocols, self.extensions)
        if self.must_choose and accepted.subprotocol is None:
            raise BadUpstream("names no subprotocol", response.status)
        return accepted


def introduce(
    url: WebSocketUrl,
    greeting: Greeting,
    *,
    key: str,
    subprotocols: tuple[str, ...],
    extensions: str | None,
    request: Request,
    query: str,
    client: ClientAddress,
    cookie_name: str,
    identity: Identity | None,
    token: str | None,
) -> Introduction:
    """``identity`` and ``token`` are passed on only where the protocol's upstreams read headers; the rest is as for
    ``build_upstream_request``."""
    named = greeting.names_the_client
    head = build_upstream_request(
        url,
        key=key,
        subprotocols=subprotocols,
        extensions=extensions,
        request=request,
        query=query,
        client=client,
        cookie_name=cookie_name,
        identity=identity if named else None,
        token=token if named else None,
    )
    return Introduction(
        request=head,
        key=key,
        subprotocols=subprotocols,
        extensions=extensions,
        must_choose=greeting.subprotocol is not None,
    )
