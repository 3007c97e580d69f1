"""``trio-ws-gateway token``: what it prints where, and that a gateway believes it."""

import json
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
import trio
from attrs import field, frozen
from click.testing import CliRunner, Result

from tests.house import House, house
from tests.servers.gateway import inherited_environment
from trio_ws_gateway.cli import main
from trio_ws_gateway.issuer.keys import SigningKey, jwks
from trio_ws_gateway.issuer.minting import claims_of

DEADLINE_SECONDS = 30
KEY_FILE = Path("development-key.jwk")
ES256 = SigningKey.generate("ES256")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a directory of its own, and in it no key."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments])


def claims(*arguments: str) -> dict[str, object]:
    """What the token says that is printed with these arguments."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return claims_of(result.stdout)


def refusal(*arguments: str) -> str:
    """The last line of what is said to wrong input."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[-1]


def test_plain() -> None:
    """The first call creates a key and says so, on standard error; standard output is the token, good for an hour."""
    before = time.time()
    first = run()
    assert first.stderr.startswith("Created development-key.jwk, a key for RS256.")
    assert stat.S_IMODE(KEY_FILE.stat().st_mode) == 0o600
    assert len(first.stdout.splitlines()) == 1
    said = claims_of(first.stdout)
    assert (said["iss"], said["sub"], said["aud"]) == ("http://127.0.0.1:8085", "alice", "gateway")
    assert before + 3590 < float(str(said["exp"])) < time.time() + 3601
    written = KEY_FILE.read_text()
    assert run().stderr == ""
    assert KEY_FILE.read_text() == written


def test_claims() -> None:
    """Subject, roles, audiences, lifetime, issuer and any further claim are as given."""
    KEY_FILE.write_text(ES256.private_jwk())
    said = claims(
        *("--sub", "bob", "--role", "a", "--role", "b", "--audience", "x", "--audience", "y"),
        *("--lifetime", "15m", "--issuer", "https://id.example.com"),
        *("--claim", "level=5", "--claim", "name=Bob", "--claim", "nbf=null"),
    )
    assert (said["sub"], said["roles"], said["aud"], said["iss"]) == (
        "bob",
        ["a", "b"],
        ["x", "y"],
        "https://id.example.com",
    )
    assert int(str(said["exp"])) - int(str(said["iat"])) in (900, 901)
    assert (said["level"], said["name"], "nbf" in said) == (5, "Bob", False)


def test_lifetime_below_zero() -> None:
    """A token can be born expired."""
    said = claims("--lifetime", "-5m")
    assert float(str(said["exp"])) < time.time() - 290


def test_json() -> None:
    """``--json`` gives the token, its claims, its expiry as a date, and the key file."""
    told = json.loads(run("--json", "--key", "mine.jwk").stdout)
    assert told["claims"] == claims_of(told["token"])
    assert told["key_file"] == "mine.jwk"
    assert told["expires_at"] == time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(told["claims"]["exp"]))


@pytest.mark.parametrize("expiry", ["exp=null", "exp=soon", "exp=1e300", "exp=1e400"])
def test_json_without_a_date(expiry: str) -> None:
    """Where the expiry is no date there is none to tell, and what is told is JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    told = json.loads(run("--json", "--claim", expiry).stdout, parse_constant=refuse)
    assert told["expires_at"] is None


def test_empty_issuer() -> None:
    """An issuer without a name is one that a token can be tried with."""
    assert json.loads(run("--json", "--issuer", "").stdout)["claims"]["iss"] == ""


def test_key_without_an_end() -> None:
    """A file that is no key is not read for ever."""
    assert refusal("--key", "/dev/zero").startswith("Error: Invalid value for '--key': /dev/zero is not JSON")


def test_key_set() -> None:
    """``--jwks`` writes what verifies the token, over what was there."""
    KEY_FILE.write_text(ES256.private_jwk())
    for _ in range(2):
        assert run("--jwks", "keys.json").exit_code == 0
        assert Path("keys.json").read_text() == jwks([ES256])


def test_algorithm() -> None:
    """A key is created for the algorithm that was asked for."""
    run("--algorithm", "EdDSA")
    assert SigningKey.from_jwk(KEY_FILE.read_text()).algorithm == "EdDSA"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lifetime", "soon"], "'--lifetime': 'soon' is no span of time; write 90s, 15m, 8h, 1d or a number"),
        (["--sub", "\udcff"], "'--sub': '\\udcff' is no UTF-8; write text in UTF-8"),
        (["--claim", "a=\udcff"], "'--claim': 'a=\\udcff' is no UTF-8; write name=value"),
        (["--claim", "level"], "'--claim': 'level' has no name, or no =; write name=value"),
        (["--algorithm", "HS256"], "'--algorithm': 'HS256' is not one of 'RS256'"),
        (["--algorithm", "RS256"], "'--algorithm': development-key.jwk is a key for ES256; name another file with"),
        (["--key", "nowhere/key"], "'--key': nowhere/key: No such file or directory"),
        (["--key", "nonsense"], "'--key': nonsense is not JSON"),
        (["--jwks", "nowhere/keys"], "'--jwks': nowhere/keys: No such file or directory"),
        (["--jwks", KEY_FILE.name], "'--jwks': development-key.jwk is the key itself, which must not be published"),
        (["--serve", "localhost"], "'--serve': 'localhost' has no port; write host:port"),
        (["--serve", "--issuer", "me"], "'--issuer': 'me' does not begin with https:// (or http://) and a host; write"),
        (["--serve", "203.0.113.1:8085"], "'--serve': cannot listen on 203.0.113.1:8085: "),
    ],
)
def test_wrong_input(arguments: list[str], said: str) -> None:
    """What is wrong is said with the name of its option, and with what would be right."""
    KEY_FILE.write_text(ES256.private_jwk())
    Path("nonsense").write_text("-----BEGIN PRIVATE KEY-----")
    assert refusal(*arguments).startswith(f"Error: Invalid value for {said}")
    assert KEY_FILE.read_text() == ES256.private_jwk()


def test_help() -> None:
    """The examples of the help are shown line by line, and those that mint here do."""
    shown = run("--help").stdout
    examples = [line.strip() for line in shown.splitlines() if line.startswith("    trio-ws-gateway token")]
    assert len(examples) >= 6
    Path("public").mkdir()
    for example in examples:
        if "--serve" not in example:
            assert run(*shlex.split(example)[2:]).exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    """The program prints the script that completes it, and completes commands and options."""
    environment = {**inherited_environment(), "_TRIO_WS_GATEWAY_COMPLETE": f"{shell}_source"}
    command = Path(sys.executable).with_name("trio-ws-gateway")
    script = subprocess.run([command], env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert f"_TRIO_WS_GATEWAY_COMPLETE={shell}_complete" in script.stdout
    typed = {"COMP_WORDS": "trio-ws-gateway token --l", "COMP_CWORD": "2", "_TRIO_WS_GATEWAY_COMPLETE": "bash_complete"}
    completed = subprocess.run(
        [command], env={**environment, **typed}, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert completed.stdout.splitlines() == ["plain,--lifetime"]


@frozen
class Serving:
    """``token --serve`` in a process of its own: its settings lines, its URL and its token."""

    process: trio.Process
    settings: dict[str, str]
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.settings["OIDC_ISSUER"]

    async def stop(self, number: Signals) -> int:
        self.process.send_signal(number)
        with trio.fail_after(DEADLINE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def served(*arguments: str, address: str = "127.0.0.1:0") -> AsyncIterator[Serving]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trio_ws_gateway", "token", "--serve", address, *arguments],
        env=inherited_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        with trio.fail_after(DEADLINE_SECONDS):
            said = await read_until(process.stderr, "A token:\n\n")
            token = await read_until(process.stdout, "\n")
        settings = [line.strip().partition("=") for line in said.splitlines() if line.startswith("    ")]
        yield Serving(process, {name: value for name, _, value in settings}, token.strip())
    finally:
        process.kill()
        await process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


async def read_until(stream: trio.abc.ReceiveStream, end: str) -> str:
    said = b""
    while not said.endswith(end.encode()):
        chunk = await stream.receive_some()
        assert chunk, said
        said += chunk
    return said.decode()


async def until_ready(home: House) -> None:
    with trio.fail_after(DEADLINE_SECONDS):
        while (await home.get("/readyz"))[0].status != 200:
            await trio.sleep(0.02)


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_gateway_with_the_settings_that_were_printed(algorithm: str) -> None:
    """A gateway with the printed settings takes the printed token and those minted beside it, and no expired one."""
    async with (
        served("--algorithm", algorithm, "--audience", "broker") as issuer,
        house(JWKS_URL="", **issuer.settings) as home,
    ):
        await until_ready(home)
        beside = ("--issuer", issuer.url, "--audience", "broker")
        for token in (issuer.token, run(*beside).stdout.strip()):
            async with home.open(token=token):
                await home.upstream.next()
        for wrong in (("--lifetime", "-5m"), ("--issuer", "https://evil.example"), ("--claim", "sub=null")):
            answer, _ = await home.refusal(token=run(*beside, *wrong).stdout.strip())
            assert answer.status == 401


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
async def test_serves_until_told_to_stop(number: Signals) -> None:
    """Ctrl-C is the way to end it, and no failure."""
    async with served() as issuer:
        assert await issuer.stop(number) == 0


async def test_issuer_by_another_name() -> None:
    """With ``--issuer`` it is called by the address at which a gateway in a container reaches it."""
    async with served("--issuer", "http://host.containers.internal:8085") as issuer:
        assert issuer.url == "http://host.containers.internal:8085"
        assert claims_of(issuer.token)["iss"] == issuer.url


async def test_port_that_is_taken() -> None:
    """Where the port is taken it says how to have a free one."""
    async with served() as issuer:
        address = issuer.url.removeprefix("http://")
        command = [sys.executable, "-m", "trio_ws_gateway", "token", "--serve", address]
        with trio.fail_after(DEADLINE_SECONDS):
            second = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert second.returncode == 2
        assert (
            second.stderr.decode()
            .splitlines()[-1]
            .endswith(f"'--serve': cannot listen on {address}: Address already in use; 127.0.0.1:0 is a free port")
        )
