"""The request that follows from what is asked for."""

import pytest

from tests.probing.trying import attempt_at, mqtt
from trio_ws_gateway.probing.attempt import Attempt, Carry

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdC03In0.c2lnbmF0dXJl"


def carried(carry: Carry, url: str = "ws://gw.example/ws?a=1", **fields: object) -> Attempt:
    return attempt_at(url, token=TOKEN, carry=carry, **fields)


def test_carriers() -> None:
    """A token is where it was asked to be, and nowhere else."""
    found = {
        carry: (
            TOKEN in dict(carried(carry).request_headers).get("Authorization", ""),
            TOKEN in carried(carry).subprotocols,
            TOKEN in carried(carry).target,
            TOKEN in dict(carried(carry).request_headers).get("Cookie", ""),
            carried(carry).connect(mqtt(username="u")).password == TOKEN.encode(),
        )
        for carry in Carry
    }
    assert found == {
        Carry.HEADER: (True, False, False, False, False),
        Carry.SUBPROTOCOL: (False, True, False, False, False),
        Carry.QUERY: (False, False, True, False, False),
        Carry.COOKIE: (False, False, False, True, False),
        Carry.PASSWORD: (False, False, False, False, True),
        Carry.FIRST_MESSAGE: (False, False, False, False, False),
    }


def test_query() -> None:
    """The token joins a query that is there already; both are percent-encoded, and neither is shown."""
    assert carried(Carry.QUERY).target == f"/ws?a=1&token={TOKEN}"
    attempt = attempt_at("ws://gw.example", token="a+b&c", carry=Carry.QUERY, carry_name="x y")
    assert attempt.target == "/?x%20y=a%2Bb%26c"
    assert carried(Carry.QUERY).shown_url == "ws://gw.example/ws"


@pytest.mark.parametrize(("level", "subprotocol"), [(3, "mqttv3.1"), (4, "mqtt"), (5, "mqtt")])
def test_mqtt_subprotocol(level: int, subprotocol: str) -> None:
    """MQTT offers the subprotocol of its version, before the pair of the token."""
    attempt = carried(Carry.SUBPROTOCOL, mqtt=mqtt(level))
    assert attempt.subprotocols == (subprotocol, "bearer", TOKEN)


def test_host() -> None:
    """A Host header that was asked for takes the place of the URL's, and is no header twice."""
    attempt = attempt_at(
        "ws://[::1]:8080/", headers=(("host", "gw.example"), ("X-One", "1")), origin="https://a.example"
    )
    assert attempt.host == "gw.example"
    assert attempt.request_headers == (("Origin", "https://a.example"), ("X-One", "1"))
    assert attempt_at("ws://[::1]:8080/").host == "[::1]:8080"


def test_keep_alive_outlasts_the_interval() -> None:
    """A broker that waits one and a half times the keep alive does not cut a session in the pause of a probe."""
    assert attempt_at("ws://gw.example").connect(mqtt()).keep_alive == 60
    assert attempt_at("ws://gw.example", interval_seconds=300).connect(mqtt()).keep_alive == 600
    assert attempt_at("ws://gw.example", interval_seconds=1e9).connect(mqtt()).keep_alive == 0xFFFF


def test_messages() -> None:
    """Messages have the size that was asked for, and differ where there is room for it."""
    attempt = attempt_at("ws://gw.example", size=40)
    assert len(attempt.message(1)) == 40
    assert attempt.message(1) != attempt.message(2)
    assert attempt_at("ws://gw.example", size=1).message(1) == b"p"


def test_repr_holds_no_secret() -> None:
    """An attempt in a traceback shows neither the token nor a header."""
    attempt = carried(Carry.HEADER, url="ws://gw.example/", headers=(("X-Key", "swordfish"),))
    assert TOKEN not in repr(attempt)
    assert "swordfish" not in repr(attempt)
