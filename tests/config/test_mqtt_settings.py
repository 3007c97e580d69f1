"""The settings of MQTT, which the table judges by their form and the adapter reads.

Configuration lies beneath the protocols and imports none of them, so that the two could part: not while this passes.
"""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.config import kinds
from trio_ws_gateway.protocols.mqtt_binding import Template, parse_mqtt_credentials


@given(st.text("{}sub:ps ") | st.sampled_from(["pass", "strip", "{sub}:{preferred_username}", "a:{iss}"]))
def test_mqtt_settings_are_judged_as_their_readers_judge_them(text: str) -> None:
    """What is accepted at start is exactly what the MQTT adapter takes."""
    for kind, parse in ((kinds.MQTT_CREDENTIALS, parse_mqtt_credentials), (kinds.TEMPLATE, Template.parse)):
        assert _accepts(kind.parse, text) == _accepts(parse, text)


def _accepts(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
