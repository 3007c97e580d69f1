"""How a client is introduced to its upstream, and which answers will do."""

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.protocols.base import Greeting, Opening, Verdict
from trio_ws_gateway.protocols.mqtt import MqttAdapter, parse_mqtt_credentials
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.upstream.introduction import Introduction, introduce
from trio_ws_gateway.upstream.request import ClientAddress
from trio_ws_gateway.wire.handshake import Accepted, accept_key
from trio_ws_gateway.wire.http import BadUpstream, Response, build_head, parse_request, parse_response
from trio_ws_gateway.wire.mqtt import Connect

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ALICE = Identity(issuer="https://id", subject="alice", roles=("admin",), expires_at=1.0)


def mqtt_greeting() -> Greeting:
    adapter = MqttAdapter(credentials=parse_mqtt_credentials("pass"), max_connect_bytes=1000)
    packet = Connect(level=4, client_id="c-1").to_bytes()
    greeting = adapter.recognise(Opening(payload=packet, text=False, complete=True))
    assert not isinstance(greeting, Verdict)
    return greeting


def introduced(
    greeting: Greeting, *, subprotocols: tuple[str, ...] = (), extensions: str | None = None
) -> Introduction:
    return introduce(
        WebSocketUrl.parse("ws://upstream:8081/raw"),
        greeting,
        key=KEY,
        subprotocols=subprotocols,
        extensions=extensions,
        request=parse_request(build_head("GET /ws HTTP/1.1", [("Host", "gateway.example")])),
        query="",
        client=ClientAddress(peer="203.0.113.7"),
        cookie_name="session",
        identity=ALICE,
        token="a.b.c",
    )


def answer(*headers: tuple[str, str]) -> Response:
    given = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(KEY)), *headers]
    return parse_response(build_head("HTTP/1.1 101 Switching Protocols", given))


def test_raw_upstream_is_told_who_the_client_is() -> None:
    """An upstream that reads headers gets the identity and the token."""
    headers = parse_request(introduced(RawGreeting()).request).headers
    assert headers.get("x-user-id") == "alice"
    assert headers.get("x-user-roles") == "admin"
    assert headers.get("authorization") == "Bearer a.b.c"


def test_broker_is_told_nothing_in_headers() -> None:
    """A broker learns who the client is from the CONNECT: neither identity nor token is in the handshake."""
    headers = parse_request(introduced(mqtt_greeting(), subprotocols=("mqtt",)).request).headers
    assert [name for name in ("x-user-id", "x-user-roles", "authorization") if headers.get(name) is not None] == []
    assert headers.get("sec-websocket-protocol") == "mqtt"


def test_raw_upstream_may_choose_nothing() -> None:
    """Without a choice of subprotocol a raw session goes on without one."""
    introduction = introduced(RawGreeting(), subprotocols=("chat", "news"))
    assert introduction.check(answer()) == Accepted(subprotocol=None, extensions=None)
    chosen = introduction.check(answer(("Sec-WebSocket-Protocol", "news")))
    assert chosen == Accepted(subprotocol="news", extensions=None)


def test_broker_must_choose() -> None:
    """A broker that names no subprotocol does not speak MQTT (MQTT 3.1.1 6)."""
    introduction = introduced(mqtt_greeting(), subprotocols=("mqtt",))
    assert introduction.check(answer(("Sec-WebSocket-Protocol", "mqtt"))).subprotocol == "mqtt"
    with pytest.raises(BadUpstream, match="names no subprotocol") as caught:
        introduction.check(answer())
    assert caught.value.status == 101


def test_answer_that_was_not_offered() -> None:
    """What was not offered cannot be chosen, subprotocol or extension."""
    introduction = introduced(RawGreeting(), subprotocols=("chat",))
    for header in (("Sec-WebSocket-Protocol", "mqtt"), ("Sec-WebSocket-Extensions", "permessage-deflate")):
        with pytest.raises(BadUpstream):
            introduction.check(answer(header))


def test_extension_that_was_offered() -> None:
    """The extension on offer may be accepted."""
    introduction = introduced(RawGreeting(), extensions="permessage-deflate")
    accepted = introduction.check(answer(("Sec-WebSocket-Extensions", "permessage-deflate")))
    assert accepted.extensions == "permessage-deflate"
