"""What to look at, for a cause of the gateway's and what was tried."""

from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing import advice
from trio_ws_gateway.probing.attempt import Carry

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
RAW = attempt_at("ws://gw.example/ws")
MQTT = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
TOKEN = PROVIDER.mint()


def advised(cause: Cause, **fields: object) -> str:
    return " ".join(advice.on_cause(cause, attempt_at("ws://gw.example/other?x=1", **fields), NOW))


def test_advice_sees_the_token() -> None:
    """A token that is bad for everybody to see says it all; a good one is described for comparing."""
    old = PROVIDER.mint(exp=int(NOW) - 190)
    for cause in (Cause.INVALID_TOKEN, Cause.MALFORMED_TOKEN, Cause.TOKEN_EXPIRED):
        assert advised(cause, token=old) == "This token expired 3 minutes ago: get a new one."
    assert "aud gateway" in advised(Cause.INVALID_TOKEN, token=TOKEN)
    assert "JWT_EXPECTED_AUDIENCE" in advised(Cause.INVALID_TOKEN, token=TOKEN)


def test_advice_sees_the_options() -> None:
    """What to look at names what was tried: path, carrier, names, origin, sizes."""
    assert "`/other`" in advised(Cause.NOT_FOUND)
    assert "No token was given" in advised(Cause.NO_TOKEN)
    assert "under the name `sid`" in advised(Cause.NO_TOKEN, token=TOKEN, carry=Carry.COOKIE, carry_name="sid")
    assert "Try another --carry" in advised(Cause.NO_TOKEN, token=TOKEN)
    assert f"{len(TOKEN)} bytes" in advised(Cause.HEAD_TOO_BIG, token=TOKEN)
    assert "https://a.example" in advised(Cause.FORBIDDEN, origin="https://a.example")
    assert "user name was `me`, the client id `me-1`" in advised(
        Cause.FORBIDDEN, mqtt=mqtt(username="me", client_id="me-1")
    )
    assert "smaller --size than 77" in advised(Cause.MESSAGE_TOO_BIG, size=77)
    assert "RAW_WS_BACKEND_URL" in advised(Cause.UPSTREAM_UNAVAILABLE)
    assert "UPSTREAM_WS_URL" in advised(Cause.UPSTREAM_UNAVAILABLE, mqtt=mqtt())
