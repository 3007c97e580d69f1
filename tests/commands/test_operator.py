"""The command-line face of the operator's door: what is printed, and with which status it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.house import House, house
from tests.servers.ports import free_port
from trio_ws_gateway.cli import main
from trio_ws_gateway.commands.operator import shown
from trio_ws_gateway.commands.sessions import _age

SECRET = "correct-horse-battery-staple"
KEYS = "http://127.0.0.1:9/certs"


async def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status, and all that it printed."""
    environment = {"JWKS_URL": KEYS, "ADMIN_TOKEN": SECRET, **environment}
    done = await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, arguments, env=environment))
    return done.exit_code, done.output.strip()


async def door_of(home: House) -> str:
    return f"127.0.0.1:{(await home.last_line('operators welcome'))['port']}"


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "admin-token"
    path.write_text(f"{SECRET}\n")
    return path


async def test_sessions_and_revoke(secret_file: Path) -> None:
    """Sessions are listed, cut by id, and by what they have in common, where the settings say and at a URL."""
    async with house(ADMIN_LISTEN="127.0.0.1:0", ADMIN_TOKEN_FILE=str(secret_file)) as home:
        door = await door_of(home)
        elsewhere = ("--url", f"http://{door}")
        async with home.raw() as (client, _), home.open(token=home.provider.mint(sub="other")) as other:
            status, printed = await run("sessions", "--sub", "robot-7", ADMIN_LISTEN=door)
            assert status == 0
            [line] = printed.splitlines()
            assert [line.split()[number] for number in (1, 3, -1)] == ["raw", "127.0.0.1", "robot-7"]
            status, printed = await run("sessions", "--json", *elsewhere)
            assert {json.loads(line)["sub"] for line in printed.splitlines()} == {"robot-7", "other"}
            status, printed = await run("sessions", "--limit", "1", *elsewhere)
            assert printed.splitlines()[1:] == ["more than 1: --limit"]
            assert await run("sessions", "--cut", line.split()[0], ADMIN_LISTEN=door) == (0, "")
            assert await client.hear_close() == (1008, "Session cut")
            status, printed = await run(
                "revoke",
                "--sub",
                "other",
                "--issued-before",
                "now",
                ADMIN_LISTEN=door,
                ADMIN_TOKEN="",
                ADMIN_TOKEN_FILE=str(secret_file),
            )
            assert (status, printed.partition(";")[0]) == (0, "1 session cut")
            assert printed.endswith("; this group only")
            assert await other.hear_close() == (1008, "Token revoked")
        status, printed = await run("revoke", "--jti", "a", "--json", *elsewhere)
        assert json.loads(printed)["revoked"]["jti"] == "a"


async def test_what_goes_wrong() -> None:
    """What is refused, and a door that is not found or stays shut, is said in a line, with the status 1."""

    async def failed(*arguments: str, **environment: str) -> Any:  # noqa: ANN401
        status, printed = await run(*arguments, **environment)
        assert status == 1
        assert len(printed.splitlines()) == 1
        return printed

    async with house(ADMIN_LISTEN="127.0.0.1:0", ADMIN_TOKEN=SECRET) as home:
        door = await door_of(home)
        assert "names neither a jti" in await failed("revoke", ADMIN_LISTEN=door)
        assert "no time in seconds" in await failed("revoke", "--jti", "a", "--exp", "1800000000000", ADMIN_LISTEN=door)
        assert "no session of this id" in await failed("sessions", "--cut", "x", ADMIN_LISTEN=door)
        assert "credential" in await failed("sessions", ADMIN_LISTEN=door, ADMIN_TOKEN="x" * 16)
        assert "no gateway" in await failed("sessions", "--url", f"http://127.0.0.1:{home.port}/healthz?")
    assert "ADMIN_LISTEN is unset" in await failed("sessions")
    assert "refused" in await failed("sessions", "--url", f"http://127.0.0.1:{free_port()}")
    assert await failed("sessions", "--url", "nowhere")
    assert (await run("sessions", ADMIN_LISTEN=":x"))[0] == 2
    assert (await run("revoke", "--issued-before", "yesterday"))[0] == 2
    assert (await run("sessions", "--cut", ""))[0] == 2


async def test_last_day() -> None:
    """A revocation that is remembered for as long as any is printed like the others."""
    async with house(ADMIN_LISTEN="127.0.0.1:0", ADMIN_TOKEN=SECRET) as home:
        status, printed = await run("revoke", "--jti", "a", "--exp", "253402300799", ADMIN_LISTEN=await door_of(home))
        assert (status, "until 9999-12-31" in printed) == (0, True)


async def test_names_of_others() -> None:
    """A subject that would turn the line round is printed escaped, and so is one that no terminal can show."""
    assert shown("a\u202eb\x1b[2J\ud800 \u00e9") == "a\\u202eb\\x1b[2J\\ud800 \u00e9"
    async with (
        house(ADMIN_LISTEN="127.0.0.1:0", ADMIN_TOKEN=SECRET) as home,
        home.open(token=home.provider.mint(sub="a\u202eb")),
    ):
        status, printed = await run("sessions", ADMIN_LISTEN=await door_of(home))
        assert (status, printed.split()[-1]) == (0, "a\\u202eb")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0s"), (59, "59s"), (61, "1m1s"), (3600, "1h0s"), (90_061, "1d1h"), (86_400 * 40, "40d0s")],
)
def test_age(seconds: float, said: str) -> None:
    """An age is said in the two greatest units that it has."""
    assert _age(seconds) == said
