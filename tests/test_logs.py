"""Log lines: one JSON object or one line each, and never a token in any of them."""

import errno
import fcntl
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import pytest
import structlog

from trio_ws_gateway import logs
from trio_ws_gateway.logs import without_tokens

PAGE = 4096
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


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds one page; the reading end first."""
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def logger_to(outlet: logs.Outlet) -> structlog.typing.FilteringBoundLogger:
    logs.configure(format="json", level="info", file=outlet)
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def read_until(reading: int, last: str) -> list[dict[str, Any]]:
    """The lines of a pipe up to that event."""
    octets = b""
    while not (octets.endswith(b"\n") and json.loads(octets.splitlines()[-1])["event"] == last):
        octets += os.read(reading, PAGE)
    return [json.loads(line) for line in octets.splitlines()]


def test_lines_stay_in_order() -> None:
    """All lines are written, in their order, before the outlet's block ends; then its thread is gone."""
    before = threading.enumerate()
    with tempfile.TemporaryFile() as file:
        with logs.Outlet(file.fileno()) as outlet:
            log = logger_to(outlet)
            for number in range(1000):
                log.info("event", number=number)
        assert threading.enumerate() == before
        file.seek(0)
        assert [json.loads(line)["number"] for line in file] == list(range(1000))


def test_reader_that_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody reads nothing waits: lines are kept up to a bound, the rest is counted, and said when all flows."""
    monkeypatch.setattr(logs, "MAX_WAITING_BYTES", 10 * PAGE)
    with pipe() as (reading, writing), logs.Outlet(writing) as outlet:
        log = logger_to(outlet)
        for number in range(2000):
            log.info("event", number=number)
        kept: list[int] = []
        lost = 0
        while len(kept) + lost < 2000:
            for line in read_until(reading, "log lines lost"):
                if line["event"] == "event":
                    kept.append(line["number"])
                else:
                    assert line["level"] == "error"
                    lost += line["lines"]
        assert kept == sorted(kept)
        assert len(kept) + lost == 2000
        assert len(kept) * 100 > 10 * PAGE
        log.info("after")
        assert len(read_until(reading, "after")) == 1


def test_reader_that_never_wakes() -> None:
    """A process whose log is stuck comes to its end all the same, and with its own status."""
    program = """
import sys
from trio_ws_gateway import logs
logs.LAST_LINES_SECONDS = 0.05
with logs.Outlet(sys.stdout.fileno()) as outlet:
    outlet.write("x" * 1_000_000)
sys.exit(7)
"""
    with pipe() as (_, writing):
        assert subprocess.run([sys.executable, "-c", program], stdout=writing, timeout=20, check=False).returncode == 7


def test_reader_that_is_gone() -> None:
    """A broken pipe costs lines and nothing else."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with logs.Outlet(writing) as outlet:
            logger_to(outlet).info("event")
    finally:
        os.close(writing)


def test_disk_that_was_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk has cost is said when there is room again."""
    write, tried = os.write, threading.Event()

    def full(_descriptor: int, _octets: memoryview) -> int:
        tried.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pipe() as (reading, writing), logs.Outlet(writing) as outlet:
        log = logger_to(outlet)
        monkeypatch.setattr(os, "write", full)
        log.info("lost")
        assert tried.wait(5)
        monkeypatch.setattr(os, "write", write)
        log.info("after")
        assert [(line["event"], line.get("lines")) for line in read_until(reading, "log lines lost")] == [
            ("after", None),
            ("log lines lost", 1),
        ]


def test_lines_of_several_processes() -> None:
    """Lines that several processes write to one pipe are never mixed."""
    program = """
import sys
from trio_ws_gateway import logs
with logs.Outlet(sys.stdout.fileno()) as outlet:
    for _ in range(3000):
        outlet.write(sys.argv[1] * 99 + "\\n")
"""
    with pipe() as (reading, writing):
        writers = [subprocess.Popen([sys.executable, "-c", program, letter], stdout=writing) for letter in "ab"]
        with open(reading, closefd=False) as file:
            lines = [next(file) for _ in range(6000)]
        assert [writer.wait(20) for writer in writers] == [0, 0]
    assert sorted(lines) == ["a" * 99 + "\n"] * 3000 + ["b" * 99 + "\n"] * 3000


def test_line_that_is_longer_than_a_pipe_takes_at_once() -> None:
    """It is written as it is, between those around it."""
    with tempfile.TemporaryFile() as file:
        with logs.Outlet(file.fileno()) as outlet:
            for size in (10, PAGE * 3, 10, PAGE * 40, PAGE - 1, PAGE, 7):
                outlet.write("x" * size + "\n")
        file.seek(0)
        assert [len(line) - 1 for line in file] == [10, PAGE * 3, 10, PAGE * 40, PAGE - 1, PAGE, 7]


def test_text_that_is_no_utf_8() -> None:
    """What cannot be encoded is escaped, not lost."""
    with pipe() as (reading, writing), logs.Outlet(writing) as outlet:
        logs.configure(format="console", level="info", file=outlet)
        structlog.get_logger().info("größer\udcff")
        assert "größer\\udcff" in os.read(reading, PAGE).decode()
