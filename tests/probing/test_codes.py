"""What codes are called."""

from tests.oidc_provider import OidcProvider
from tests.probing.trying import attempt_at, mqtt
from trio_ws_gateway.probing.codes import close_words, connack_words, reason_words

NOW = 1_800_000_000.0
PROVIDER = OidcProvider(clock=lambda: NOW)
RAW = attempt_at("ws://gw.example/ws")
MQTT = attempt_at("ws://gw.example/ws", mqtt=mqtt(5))
TOKEN = PROVIDER.mint()


def test_names_of_codes() -> None:
    """Codes are called what the standards call them, and a code that none has is no error."""
    assert close_words(1008) == "1008, policy violation"
    assert close_words(1006) == "the connection broke off without a Close"
    assert close_words(4001) == "4001, of the application"
    assert close_words(2999) == "2999, no standard code"
    assert connack_words(4, 5) == "0x05, not authorised"
    assert connack_words(5, 0x87) == "0x87, not authorised"
    assert connack_words(5, 1) == "0x01, in MQTT 3.1.1: unacceptable protocol version"
    assert connack_words(5, 0x10) == "0x10, no matching subscribers"
    assert connack_words(4, 0x87) == "0x87, no standard code"
    assert reason_words(0x96) == "0x96, message rate too high"
