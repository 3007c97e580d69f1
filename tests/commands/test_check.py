"""``trio-ws-gateway check`` as its users see it: a process with lines, or JSON, and an exit status."""

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.house import House, agreeing, house
from tests.servers.gateway import inherited_environment
from tests.servers.ports import free_port
from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.cli import main
from trio_ws_gateway.commands import check as command
from trio_ws_gateway.commands.check import summary
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.mqtt import connack

COMMAND = (sys.executable, "-m", "trio_ws_gateway", "check")


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of the command, in a thread with a loop of its own."""
    env = {"LISTEN": "127.0.0.1:0", **environment}
    done = await trio.to_thread.run_sync(partial(CliRunner().invoke, main, ["check", *arguments], env=env))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


async def run_process(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """The same as its users start it."""
    env = {**inherited_environment(), "LISTEN": "127.0.0.1:0", **environment}
    done = await trio.run_process(
        [*COMMAND, *arguments], env=env, capture_stdout=True, capture_stderr=True, check=False, stdin=subprocess.DEVNULL
    )
    output, errors = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in output + errors
    return done.returncode, output, errors


def working(home: House) -> dict[str, str]:
    """Settings with which all is well, and of which nothing is to be said but that the keys come over http://."""
    home.upstream.answer = agreeing(rest=build_frame(BINARY, connack(4, 0), masked=False))
    return {
        "JWKS_URL": home.provider.jwks_uri,
        "JWT_EXPECTED_ISSUER": home.provider.issuer,
        "JWT_EXPECTED_AUDIENCE": "gateway",
        "MQTT_USERNAME_CLAIM": "sub",
        "WS_ALLOWED_ORIGINS": "https://app.example",
        "RATE_LIMIT_PER_SECOND": "10",
        "UPSTREAM_WS_URL": home.upstream.url,
        "RAW_WS_BACKEND_URL": home.upstream.url,
    }


async def test_all_works() -> None:
    """One line an item, no colours in a pipe, status 0 in spite of a warning; with --strict the warning fails."""
    async with house() as home:
        status, output, errors = await run_process(**working(home))
        assert (status, errors) == (0, "")
        lines = output.splitlines()
        assert lines[0].startswith("warn  settings      JWKS_URL begins with http://")
        assert any(line.startswith("ok    upstream mqtt ") and line.endswith(" ms)") for line in lines)
        assert lines[-1] == "All works, 1 warning"
        assert "\x1b" not in output
        assert (await run("--strict", **working(home)))[0] == 1


def test_accepted_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """--strict passes where every warning has been accepted by name, and they are told all the same."""

    async def found(*_: object) -> list[Finding]:
        return [Finding("settings", Status.WARNING, "RATE_LIMIT_PER_SECOND is unset")]

    monkeypatch.setattr(command, "check_all", found)
    for name, status in (("RATE_LIMIT_PER_SECOND", 0), ("RATE_LIMIT_BURST", 1)):
        done = CliRunner().invoke(main, ["check", "--strict", "--accept", name], env={"ALLOW_ANONYMOUS": "true"})
        assert done.exit_code == status
        assert "RATE_LIMIT_PER_SECOND is unset" in done.output


async def test_something_does_not_work() -> None:
    """What does not work is marked, with advice on an indented line, and the status is 1."""
    port = free_port()
    async with house() as home:
        broken = {**working(home), "RAW_WS_BACKEND_URL": f"ws://127.0.0.1:{port}/?key=secret"}
        status, output, _ = await run("--timeout", "30", **broken)
    assert status == 1
    lines = output.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert lines[at].startswith(f"FAIL  upstream raw  ws://127.0.0.1:{port}/: connection refused")
    assert lines[at + 1].startswith("      -> Does it run, and is the port right in RAW_WS_BACKEND_URL?")
    assert lines[-1] == "1 of 7 does not work, 1 warning"
    assert "secret" not in output


async def test_json() -> None:
    """--json is one object with the items, whatever was found, and holds no secret."""
    async with house() as home:
        password = {"REDIS_URL": f"redis://:pass-word@127.0.0.1:{free_port()}"}
        account = {"UPSTREAM_MQTT_CREDENTIALS": "gateway:pass-word"}
        nobody = {"RAW_WS_BACKEND_URL": f"ws://127.0.0.1:{free_port()}/"}
        status, output, _ = await run("--json", **{**working(home), **password, **account, **nobody})
    told: dict[str, Any] = json.loads(output)
    assert "pass-word" not in output
    assert set(told) == {"status", "items"}
    assert (status, told["status"]) == (1, "failed")
    assert {frozenset(item) for item in told["items"]} == {frozenset({"name", "status", "detail", "advice", "seconds"})}
    assert {"keys", "upstream mqtt", "upstream raw", "redis", "listen", "descriptors"} <= {
        item["name"] for item in told["items"]
    }


async def test_wrong_settings() -> None:
    """Wrong settings are named as `serve` names them, nothing is tried, and the status is 2; in JSON too."""
    wrong = {"JWKS_URL": "ftp://id.example", "WS_PTH": "/ws"}
    status, output, errors = await run(**wrong)
    assert (status, output) == (2, "")
    assert errors.startswith("2 wrong settings:\n")
    status, output, errors = await run("--json", **wrong)
    assert (status, errors) == (2, "")
    told = json.loads(output)
    assert told["status"] == "failed"
    assert {item["name"] for item in told["items"]} == {"JWKS_URL", "WS_PTH"}


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ((Status.OK,), "All is well"),
        ((Status.OK, Status.WARNING, Status.WARNING), "All works, 2 warnings"),
        ((Status.FAILED, Status.OK), "1 of 2 does not work, 0 warnings"),
        ((Status.FAILED, Status.FAILED, Status.WARNING), "2 of 3 do not work, 1 warning"),
    ],
)
def test_last_line(statuses: tuple[Status, ...], words: str) -> None:
    """The last line says how all of it went."""
    assert summary([Finding("", status, "") for status in statuses]) == words
