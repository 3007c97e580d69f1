"""Where the sessions of each protocol go, and what their upstreams are told on the way."""

import socket
from collections.abc import Callable

import pytest
import trio
from attrs import field, frozen

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.upstream.dial import Dialled, Dialler, T, tls_context
from trio_ws_gateway.upstream.introduction import Visitor
from trio_ws_gateway.upstream.routes import Routes
from trio_ws_gateway.wire.handshake import Offer, accept_key
from trio_ws_gateway.wire.http import Request, Response, build_head, parse_request, parse_response

URL = WebSocketUrl.parse("ws://backend:8081/raw")
VISITOR = Visitor(
    peer="203.0.113.7", request=parse_request(b"GET /ws HTTP/1.1\r\nHost: gateway.example\r\n\r\n"), token="a.b.c"
)


@frozen(kw_only=True)
class Answering(Dialler):
    """Reaches an upstream with its second try, which agrees to what it is asked and takes two seconds."""

    asked: list[Request] = field(factory=list)

    async def dial(
        self, url: WebSocketUrl, request: bytes, check: Callable[[Response], T], count_retry: Callable[[], None]
    ) -> Dialled[T]:
        count_retry()
        await trio.sleep(2)
        self.asked.append(parse_request(request))
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(self.asked[-1].headers.get("sec-websocket-key") or "")),
        ]
        answer = parse_response(build_head("HTTP/1.1 101 Switching Protocols", headers))
        return Dialled(socket.socket(), check(answer), b"")


def dialler() -> Answering:
    return Answering(
        tls=tls_context(None), timeout_seconds=1, retry_max=0, retry_interval_seconds=0, user_timeout_seconds=1
    )


@pytest.mark.parametrize("forwards", [True, False])
async def test_upstream_is_reached(autojump_clock: object, forwards: bool) -> None:
    """A route introduces the visitor, with its token where that may go on, and counts tries and time."""
    metrics, reaching = Metrics(max_identities=0), dialler()
    route = Routes({"raw": URL}, dialler=reaching, metrics=metrics, forwards_token=forwards).of("raw")
    assert route.url == URL
    for _ in range(2):
        dialled = await route.reach(RawGreeting(), VISITOR, Offer())
        dialled.sock.close()
    assert [each.headers.get("authorization") for each in reaching.asked] == [
        "Bearer a.b.c" if forwards else None for _ in range(2)
    ]
    assert len({each.headers.get("sec-websocket-key") for each in reaching.asked}) == 2
    exposed = metrics.expose().decode()
    assert 'ws_proxy_retries_total{protocol="raw"} 2.0' in exposed
    assert 'ws_dial_seconds_sum{protocol="raw"} 4.0' in exposed


def test_protocol_without_an_upstream() -> None:
    """A protocol whose upstream is not configured has no route, and the log is told which setting is missing."""
    routes = Routes({}, dialler=dialler(), metrics=Metrics(max_identities=0), forwards_token=True)
    with pytest.raises(Refused, match="UPSTREAM_STOMP_URL is not set") as caught:
        routes.of("stomp")
    assert caught.value.cause is Cause.UPSTREAM_UNAVAILABLE
