"""What ``--help`` shows of the commands together."""

import click
import pytest
from click.testing import CliRunner

from trio_ws_gateway.cli import COMMANDS, main


def test_commands() -> None:
    """Every command has its line, and none is cut."""
    shown = CliRunner().invoke(main, ["--help"]).output
    lines = shown.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert not any(line.endswith("...") for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_command(name: str) -> None:
    """Every option says what it does."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []
