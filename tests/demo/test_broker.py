"""`mosquitto_program` finds Mosquitto where it is."""

from pathlib import Path

import pytest

from trio_ws_gateway.demo import broker


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "mosquitto"
    path.touch(mode=0o755)
    return path


def test_in_path(program: Path) -> None:
    """In PATH."""
    assert broker.mosquitto_program(str(program.parent)) == str(program)


def test_in_sbin(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systems keep servers, which PATH need not name."""
    monkeypatch.setattr(broker, "SBIN", (str(program.parent),))
    assert broker.mosquitto_program("/nowhere") == str(program)


def test_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or nowhere."""
    monkeypatch.setattr(broker, "SBIN", ())
    assert broker.mosquitto_program("/nowhere") is None
