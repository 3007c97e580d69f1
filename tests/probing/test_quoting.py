"""What servers say, fit to be shown."""

import json

from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt, said_in
from trio_ws_gateway.probing import after_101, before_101
from trio_ws_gateway.probing.attempt import Carry
from trio_ws_gateway.probing.quoting import said
from trio_ws_gateway.wire.http import Response, head_end, parse_response

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
RAW = attempt_at("ws://gw.example/ws")
MQTT = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
TOKEN = PROVIDER.mint()


def answered(data: bytes) -> tuple[Response, bytes]:
    end = head_end(data)
    assert end is not None
    return parse_response(data[:end]), data[end:]


def test_nothing_secret_is_shown() -> None:
    """What a server gives back of the token, the query or a header is cut out; nothing writes to the terminal."""
    attempt = attempt_at(
        "ws://gw.example/?key=hunter22", token="op&que", carry=Carry.QUERY, headers=(("X-Key", "swordfish"),)
    )
    text = "key=hunter22 op&que op%26que swordfish \x1b[31m\r\n" + TOKEN
    shown = said(text, attempt)
    assert shown == "[secret] [secret] [secret] [secret] [31m [token]"
    response, _ = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    body = json.dumps({"cause": "bad_request", "detail": text}).encode()
    for found in (
        before_101.http_refused(attempt, response, text.encode(), NOW),
        before_101.http_refused(attempt, response, body, NOW),
        after_101.closed(attempt, 4000, text, NOW, meanwhile=""),
        before_101.not_http(attempt, text.encode()),
    ):
        assert not [each for each in ("hunter22", "op&que", "op%26que", "swordfish", TOKEN) if each in said_in(found)]
        assert said_in(found).isprintable()
