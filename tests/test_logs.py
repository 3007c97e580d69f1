"""Log lines: one JSON object or one line each, and never a token in any of them."""

import io
import json
from collections.abc import Callable
from typing import Any, NoReturn

import httpx
import pytest
import structlog

from trio_ws_gateway import logs
from trio_ws_gateway.logs import without_tokens

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdC03In0.c2lnbmF0dXJl"
SPACED = "ewogICJhbGciOiAibm9uZSIKfQ.eyJzdWIiOiJyb2JvdC03In0."
ENCRYPTED = "eyJhbGciOiJkaXIifQ..aXYtaXY.Y2lwaGVydGV4dA.dGFn"


def written(write: Callable[[structlog.typing.FilteringBoundLogger], object], *, format: str = "json") -> str:
    """What is in the file after ``write`` has logged something."""
    file = io.StringIO()
    logs.configure(format=format, level="info", file=file)
    write(structlog.get_logger())
    return file.getvalue()


def test_json_line() -> None:
    """A line is one JSON object with event, level, time in UTC, and what was said of it."""
    [line] = written(lambda log: log.info("session ended", cause="idle", bytes=7, sub=None)).splitlines()
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {"event": "session ended", "level": "info", "cause": "idle", "bytes": 7, "sub": None}


def test_console_line() -> None:
    """For a person it is one line, whatever control characters are in its values."""
    text = written(lambda log: log.warning("refused", detail="a\nb\x1b[2J"), format="console")
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "refused" in text


def test_level() -> None:
    """What is below the level is not written."""
    assert written(lambda log: log.debug("detail")) == ""


@pytest.mark.parametrize("token", [TOKEN, SPACED, ENCRYPTED, TOKEN.rpartition(".")[0]])
@pytest.mark.parametrize(
    "around",
    ["{}", "Bearer {}", "/ws?token={}&a=1", "bearer, {}", '{{"token": "{}"}}', "first\n{}", "quoted\\n{}", "({})"],
)
def test_token_is_cut_out_of_text(token: str, around: str) -> None:
    """Whatever has the shape of a JWT is replaced, wherever in a text it stands; what is around it stays."""
    said = str(without_tokens(around.format(token)))
    assert said == around.format("[token]")


@pytest.mark.parametrize(
    "value",
    [
        {"headers": {"authorization": TOKEN}},
        {TOKEN: 1},
        [TOKEN],
        ("a", [TOKEN]),
        {TOKEN, "b"},
        TOKEN.encode(),
        ValueError(TOKEN),
        httpx.URL(f"http://id.example/?token={TOKEN}"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_token_is_cut_out_of_any_value(value: Any, format: str) -> None:  # noqa: ANN401
    """Mappings, lists, bytes, exceptions and other objects show no token either."""
    text = written(lambda log: log.info("event", value=value), format=format)
    assert TOKEN not in text
    assert "[token]" in text


@pytest.mark.parametrize("format", ["json", "console"])
def test_token_is_cut_out_of_exceptions(format: str) -> None:
    """A traceback is logged whole, its message without the token, and that of its cause too."""

    def fail() -> NoReturn:
        try:
            raise KeyError(TOKEN)
        except KeyError as error:
            raise ValueError(f"no good: {TOKEN}") from error

    def write(log: structlog.typing.FilteringBoundLogger) -> None:
        try:
            fail()
        except ValueError as error:
            log.error("fault", exc_info=error)

    text = written(write, format=format)
    assert TOKEN not in text
    assert "no good: [token]" in text
    assert "KeyError: '[token]'" in text


@pytest.mark.parametrize(
    "text", ["newspaper.example.com", "wss://gateway.example.com/ws", "3.11.7", "eyes.wide", "tests.servers.gateway"]
)
def test_what_is_no_token_stays(text: str) -> None:
    """Host names, versions and paths are not taken for tokens."""
    assert without_tokens(text) == text


@pytest.mark.parametrize("value", [1, 1.5, True, None])
def test_numbers_stay_numbers(value: object) -> None:
    """Numbers, truth values and null are written as such."""
    assert without_tokens(value) is value


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_log_that_cannot_be_written() -> None:
    """A full disk or a broken pipe costs the line and nothing else."""
    logs.configure(format="json", level="info", file=Broken())
    structlog.get_logger().info("event")


def test_text_that_the_file_cannot_encode() -> None:
    """A line that the terminal's encoding cannot say is lost, and the next one is not."""
    octets = io.BytesIO()
    logs.configure(format="console", level="info", file=io.TextIOWrapper(octets, encoding="ascii"))
    structlog.get_logger().info("größer")
    structlog.get_logger().info("greater")
    assert b"greater" in octets.getvalue()
    assert octets.getvalue().count(b"\n") == 1
