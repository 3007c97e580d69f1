"""From what was seen once the WebSocket was open to words."""

import pytest

from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt, said_in
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing import after_101

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
RAW = attempt_at("ws://gw.example/ws")
MQTT = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
TOKEN = PROVIDER.mint()


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.row.close is not None])
def test_close_of_the_gateway(cause: Cause) -> None:
    """Every Close of the gateway is recognised as its cause, alone or with the one that says the same."""
    assert cause.row.close is not None
    found = after_101.closed(RAW, cause.row.close, cause.row.reason, NOW, meanwhile="meanwhile")
    assert cause in found.causes
    assert len(found.causes) == (2 if cause in (Cause.KEYS_UNAVAILABLE, Cause.CIRCUIT_OPEN) else 1)
    assert cause.row.meaning in found.what


@pytest.mark.parametrize("code", [1002, 1007])
def test_broken_rules(code: int) -> None:
    """A code that a probe says as well, where it hears what is illegal, is not put into the server's mouth."""
    found = after_101.closed(RAW, code, "Invalid opcode 0xf", NOW, meanwhile="after the 101")
    assert found.what.startswith(f"The session ended with {code}")
    assert "no legal WebSocket" in said_in(found)


@pytest.mark.parametrize("level", [3, 5])
def test_connack_of_gateway_and_broker(level: int) -> None:
    """A CONNACK is the gateway's where a Close of its own follows, and the broker's otherwise."""
    spoken = mqtt(level)
    attempt = attempt_at("ws://gw.example/ws", mqtt=spoken)
    code = 0x87 if level == 5 else 0x05
    found = after_101.connack_refused(attempt, spoken, code, (1008, "JWT invalid or expired"), NOW)
    assert found.causes == (Cause.INVALID_TOKEN,)
    for closing in (None, (1000, ""), (1008, "go away")):
        found = after_101.connack_refused(attempt, spoken, code, closing, NOW)
        assert (found.causes, found.connack_code) == ((), code)
        assert "The broker refuses" in found.what
        assert "UPSTREAM_MQTT_CREDENTIALS" in said_in(found)
    assert "UPSTREAM_MQTT_CREDENTIALS" not in said_in(after_101.connack_refused(attempt, spoken, 0x03, None, NOW))


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1014, 3000, 4001])
def test_every_close_has_words(code: int) -> None:
    """A Close that is not the gateway's is told with what the standard calls it, and something to look at."""
    found = after_101.closed(RAW, code, "", NOW, meanwhile="meanwhile")
    assert found.close_code == code
    assert found.causes == ()
    assert found.look_at


def test_disconnect() -> None:
    """A DISCONNECT is the gateway's where a Close of its own follows."""
    found = after_101.mqtt_ended(MQTT, 0x96, (1008, "Rate limit exceeded"), NOW)
    assert found.causes == (Cause.RATE_LIMITED,)
    assert "--interval" in said_in(found)
    found = after_101.mqtt_ended(MQTT, 0x8E, None, NOW)
    assert found.what == "The broker ends the session: DISCONNECT 0x8e, session taken over."


def test_broker_that_knows_no_mqtt_5() -> None:
    """A code of MQTT 3.1.1 in answer to MQTT 5 leads to the older version."""
    spoken = mqtt(5)
    found = after_101.connack_refused(attempt_at("ws://gw.example/ws", mqtt=spoken), spoken, 0x01, None, NOW)
    assert "unacceptable protocol version" in found.what
    assert found.look_at == ("The broker speaks MQTT 3.1.1 and not 5: try --mqtt 3.1.1.",)
