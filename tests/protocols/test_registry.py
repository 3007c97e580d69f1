"""The registry: who is asked, in which order, and who holds the question open."""

import pytest
from attrs import define, evolve, field

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.protocols.base import Greeting, Opening, Verdict
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.protocols.registry import Registry, standard_registry
from trio_ws_gateway.wire.mqtt import Connect


@define
class Fake:
    """An adapter that gives one answer and counts how often it is asked."""

    name: str
    answer: Greeting | Verdict
    subprotocols: tuple[str, ...] = ()
    asked: int = field(default=0)

    def recognise(self, opening: Opening) -> Greeting | Verdict:
        self.asked += 1
        return self.answer


def opening(*offered: str, payload: bytes = b"x", text: bool = False) -> Opening:
    return Opening(payload=payload, text=text, complete=True, offered=offered)


def test_adapters_are_asked_in_order() -> None:
    """The first adapter that takes the opening has it."""
    one, two, three = Fake("1", Verdict.NOT_MINE), Fake("2", RawGreeting("2")), Fake("3", RawGreeting("3"))
    assert Registry([one, two, three]).recognise(opening()) == RawGreeting("2")
    assert [one.asked, two.asked, three.asked] == [1, 1, 0]


def test_more_holds_the_question_open() -> None:
    """While an adapter wants more, those behind it are not asked."""
    one, two = Fake("1", Verdict.MORE), Fake("2", RawGreeting())
    assert Registry([one, two]).recognise(opening()) is None
    assert two.asked == 0


def test_nobody_takes_it() -> None:
    """What no adapter takes is a bad first message."""
    with pytest.raises(Refused) as caught:
        Registry([Fake("1", Verdict.NOT_MINE)]).recognise(opening())
    assert caught.value.cause is Cause.BAD_FIRST_MESSAGE


def test_an_offered_subprotocol_settles_it() -> None:
    """The adapter of an offered subprotocol is the only one asked, and the client's order decides between two."""
    one = Fake("1", RawGreeting("1"), subprotocols=("a",))
    two = Fake("2", RawGreeting("2"), subprotocols=("b", "c"))
    registry = Registry([one, two])
    assert registry.recognise(opening("unknown", "c", "a")) == RawGreeting("2")
    assert one.asked == 0
    assert registry.adapter_for(("a", "b")) is one
    assert registry.adapter_for(("unknown",)) is None
    assert registry.adapter_for(()) is None


def test_mqtt_and_raw_side_by_side() -> None:
    """What begins like a CONNECT waits for MQTT; as soon as it cannot be one it is raw."""
    registry = standard_registry(Settings())
    assert registry.recognise(opening(payload=b"\x10")) is None
    assert registry.recognise(opening(payload=b"\x10", text=True)) == RawGreeting()
    assert registry.recognise(opening(payload=b"\x10\x20\x00\x05")) == RawGreeting()
    greeting = registry.recognise(opening(payload=Connect(level=4, client_id="c").to_bytes()))
    assert greeting is not None
    assert greeting.protocol == "mqtt"


def test_the_settings_reach_the_mqtt_adapter() -> None:
    """Credentials, both bindings and the limit of the first message come from the settings."""
    changed = Settings(
        upstream_mqtt_credentials="{sub}:x",
        mqtt_username_claim="sub",
        mqtt_client_id_prefix="{sub}-",
        ws_first_message_max_bytes=40,
    )
    registry = standard_registry(changed)
    alice = Identity(issuer="", subject="a", expires_at=1.0)
    fine = Connect(level=4, client_id="a-1", username="a")
    greeting = registry.recognise(opening(payload=fine.to_bytes()))
    assert greeting is not None
    assert greeting.for_upstream(alice, None) == evolve(fine, password=b"x").to_bytes()
    for wrong in (evolve(fine, username="b"), evolve(fine, client_id="b-1")):
        greeting = registry.recognise(opening(payload=wrong.to_bytes()))
        assert greeting is not None
        with pytest.raises(Refused, match="forbidden"):
            greeting.for_upstream(alice, None)
    with pytest.raises(Refused, match="message_too_big"):
        registry.recognise(opening(payload=evolve(fine, client_id="a" * 40).to_bytes()))
