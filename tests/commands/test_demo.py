"""``trio-ws-gateway demo``: what it says where it cannot begin."""

from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest
from click.testing import CliRunner, Result

from trio_ws_gateway.cli import main
from trio_ws_gateway.commands import demo as command
from trio_ws_gateway.demo import broker
from trio_ws_gateway.demo.children import ChildFailed


def run_demo(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["demo", *arguments])


def without(*missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these packages were not installed."""

    def spec(name: str) -> ModuleSpec | None:
        return None if name in missing else find_spec(name)

    monkeypatch.setattr(command, "find_spec", spec)
    monkeypatch.setattr(broker, "find_spec", spec)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the extra it says how to get them."""
    without("rich", monkeypatch=monkeypatch)
    result = run_demo()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'trio-ws-gateway[demo]'" in result.stderr


def test_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Mosquitto and without amqtt it says how to get either."""
    without("amqtt", monkeypatch=monkeypatch)
    monkeypatch.setattr(broker, "mosquitto_program", lambda path: None)
    result = run_demo()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: no MQTT broker: install mosquitto, or pip install")


def test_without_mosquitto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants Mosquitto gets no other broker."""
    monkeypatch.setattr(broker, "mosquitto_program", lambda path: None)
    result = run_demo("--broker", "mosquitto")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "apt-get install mosquitto" in result.stderr


def test_death_of_a_child_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else went wrong when a child died is not told: it followed from that."""

    def run(_: object) -> bool:
        raise BaseExceptionGroup("", [KeyError("x"), ExceptionGroup("", [ChildFailed("it ended")])])

    monkeypatch.setattr("trio.run", run)
    monkeypatch.setattr(broker, "amqtt_is_installed", lambda: True)
    result = run_demo("--port", "0", "--broker", "amqtt")
    assert (result.exit_code, result.stderr) == (1, "Error: it ended\n")


def test_not_our_address() -> None:
    """A host that is none of this machine's cannot be listened on."""
    result = run_demo("--host", "192.0.2.1")
    assert result.exit_code == 1
    assert result.stderr == "Error: cannot listen on 192.0.2.1: Cannot assign requested address\n"
