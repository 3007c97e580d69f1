"""`Screen` writes lines that stay, and on a terminal some that change."""

import io
import re

import pytest

from trio_ws_gateway.demo.screen import LET_IN, Screen, ScreenRow

TOKEN = "e" * 300
ROW = ScreenRow(verdict=LET_IN, who="robot-7", protocol="mqtt", tried="a good token", answer="accepted", seconds=0.0123)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual kind, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_plain() -> None:
    """Without a terminal a line is a line, without colours, and nothing changes in its place."""
    file = io.StringIO()
    with Screen(file) as screen:
        screen.show(ROW)
        screen.keep("robot-7", "message 1 came back")
    [line] = file.getvalue().splitlines()
    assert line.split() == ["let", "in", "robot-7", "mqtt", "a", "good", "token", "accepted", "12.3", "ms"]


def test_terminal() -> None:
    """On a terminal a line has colours and fits."""
    file = Terminal()
    with Screen(file) as screen:
        screen.head()
        screen.show(ROW)
    assert "\x1b[32mlet in" in file.getvalue()
    assert all(len(line) <= 80 for line in plain(file).splitlines())


def test_what_changes() -> None:
    """What is kept under a name is replaced by the next of that name, and gone at the end."""
    file = Terminal()
    with Screen(file) as screen:
        screen.keep("robot-7", "message 1")
        before = file.tell()
        screen.keep("robot-7", "message 2")
        screen.keep("camera-2", "message 1")
        since = file.getvalue()[before:]
        last = since.rpartition("\x1b[2K")[2]
        assert ("message 2" in last, "message 1" in last, last.count("robot-7")) == (True, True, 1)
    assert file.getvalue().endswith("\x1b[1A\x1b[2K" * 2)  # up and empty, twice


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_copying(kind: type[io.StringIO]) -> None:
    """What is to be copied has no line break of the screen's own, nor is any of it taken for markup."""
    file = kind()
    commands = f"# A comment [bold]\nTOKEN={TOKEN} :smile: [red]\n"
    with Screen(file) as screen:
        screen.invite(commands)
        screen.say(TOKEN)
    assert plain(file) == f"{commands}\n{TOKEN}\n"


def plain(file: io.StringIO) -> str:
    """What is seen, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
