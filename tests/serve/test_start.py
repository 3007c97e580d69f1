"""How ``trio-ws-gateway serve`` starts, or says why it does not. Seen from outside the process."""

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from tests.oidc_provider import OidcProvider
from tests.serve.outside import Outside, outside, until_ready
from tests.servers.gateway import COMMAND, inherited_environment
from trio_ws_gateway import cli, gateway
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.wire.frames import BINARY, TEXT

GO_ENV_FILE = Path(__file__).parents[1] / "config" / "go_gateway.env"
NO_KEYS = "http://127.0.0.1:9/certs"  # an address is all that it takes to start


def refused(
    arguments: Sequence[str | Path] = (), *, directory: Path | None = None, **environment: str
) -> tuple[int, list[str]]:
    """Status and lines on stderr of a gateway that must not start, and must not print a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={**inherited_environment(), **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stderr.splitlines()


async def talk(there: Outside, token: str) -> None:
    """A raw session from end to end."""
    async with there.house.open(token=token) as client:
        upstream = await there.house.upstream.next()
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")
        await upstream.say(BINARY, bytes(300_000))
        assert await client.hear() == (BINARY, True, bytes(300_000))
        await client.say_close()
        assert await upstream.hear_close() == (1000, "")
        await upstream.say_close()
        assert await client.hear_close() == (1000, "")


async def test_env_file_of_the_go_gateway_serves(tmp_path: Path) -> None:
    """An env file of the Go gateway starts a gateway as it is; the environment wins over it."""
    async with outside(
        tmp_path,
        arguments=("--env-file", GO_ENV_FILE),
        JWT_EXPECTED_ISSUER="https://id.example.com/realms/other",
        WS_ALLOWED_ORIGINS="",
    ) as there:
        provider = there.house.provider
        await talk(there, provider.mint(iss="https://id.example.com/realms/other", aud="broker"))
        async with there.house.knock(token=provider.mint(aud="broker")) as (_, answer):
            assert answer.status == 401
        async with there.house.knock(("Origin", "https://evil.example")) as (_, answer):
            assert answer.status == 403  # the empty variable did not hide the file's list
        warned = [line["warning"] for line in there.gateway.events("setting")]
        assert any("POSTGRES_DSN" in warning for warning in warned) is False  # empty there, so unset
        assert any(warning.startswith("INGRESS_HOST is accepted but means nothing here") for warning in warned)
        assert any(warning.startswith("JWKS_URL begins with http://") for warning in warned)  # a danger


@pytest.mark.parametrize("way", ["option", "environment", "env file"])
async def test_yaml_file(tmp_path: Path, way: str) -> None:
    """A YAML file is named by ``--config`` or by GATEWAY_CONFIG, in the environment or in the env file."""
    path = tmp_path / "gateway.yaml"
    path.write_text("ws_path: /from-yaml\njwt_expected_audience: [broker, other]\nlog_level: warning\n")
    (tmp_path / ".env").write_text(f"GATEWAY_CONFIG={path}  # the file\n")
    arguments = {"option": ("--config", "gateway.yaml"), "env file": ("--env-file", ".env")}.get(way, ())
    named = str(path) if way == "environment" else ""
    async with outside(tmp_path, arguments=arguments, GATEWAY_CONFIG=named) as there:
        house = there.house
        async with house.knock(token=house.provider.mint(aud="broker"), target="/from-yaml") as (_, answer):
            assert answer.status == 101
        async with house.knock(token=house.provider.mint(aud="gateway"), target="/from-yaml") as (_, answer):
            assert answer.status == 401
        assert there.gateway.events("listening")  # LOG_LEVEL of the environment wins


def test_all_wrong_settings_at_once(tmp_path: Path) -> None:
    """Every wrong setting of environment, env file and YAML file is named in one go, and the status is 2."""
    (tmp_path / "gateway.yaml").write_text("ws_pth: /ws\nworkers: none\n")
    (tmp_path / ".env").write_text("WS_IDLE_TIMEOUT_SECONDS=soon\n")
    status, lines = refused(
        ("--config", "gateway.yaml", "--env-file", ".env"),
        directory=tmp_path,
        LISTEN="8080",
        RATE_LIMIT_PER_SECONDS="7",
        REDIS_URL="http://user:pass-word@redis",
    )
    assert status == 2
    assert lines[0] == "7 wrong settings:"
    named = {line.split()[0].partition("=")[0] for line in lines[1:]}
    assert named == {
        *("WS_PTH", "WORKERS", "WS_IDLE_TIMEOUT_SECONDS", "LISTEN"),
        *("RATE_LIMIT_PER_SECONDS", "REDIS_URL", "JWKS_URL"),
    }
    assert "pass-word" not in "".join(lines)


@pytest.mark.parametrize("option", ["--config", "--env-file"])
def test_file_that_cannot_be_read(tmp_path: Path, option: str) -> None:
    """A file that is not there, is a directory, or is not UTF-8 is named, and the status is 2."""
    kind = "YAML" if option == "--config" else "env"
    (tmp_path / "latin").write_bytes(b"WS_PATH: /caf\xe9\n")
    for name, wrong in (
        ("missing", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("latin", "is not UTF-8"),
    ):
        status, lines = refused((option, name), directory=tmp_path, JWKS_URL=NO_KEYS)
        assert status == 2
        assert lines == ["1 wrong setting:", f"  the {kind} file {name} {wrong}"]


def test_ca_file_without_certificates(tmp_path: Path) -> None:
    """An UPSTREAM_CA_FILE that holds no certificates is a wrong setting like any other."""
    path = tmp_path / "ca.pem"
    path.write_text("no certificates\n")
    status, lines = refused(UPSTREAM_CA_FILE=str(path), JWKS_URL=NO_KEYS)
    assert status == 2
    assert lines == [
        "1 wrong setting:",
        "  UPSTREAM_CA_FILE holds no certificates; it must be a file of certificates in PEM",
    ]


@pytest.mark.parametrize("name", ["JWKS_URL", "OIDC_ISSUER"])
def test_host_of_the_provider_that_nobody_has(name: str) -> None:
    """A host name that only the library which fetches the keys refuses is a wrong setting like any other."""
    environment: dict[str, Any] = {name: "https://\N{SNOWMAN}.example"}
    status, lines = refused(**environment)
    assert status == 2
    assert lines == ["1 wrong setting:", f"  {name} has a host name that IDNA does not allow; it must be a URL"]


def test_address_in_use() -> None:
    """A port that is taken is named, with the reason, and the status is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, lines = refused(LISTEN=address, JWKS_URL=NO_KEYS)
    assert status == 1
    assert lines == [f"Error: cannot listen on {address}: Address already in use"]


def test_address_that_is_not_ours() -> None:
    """A host name that nobody knows is named, and the status is 1."""
    status, [line] = refused(LISTEN="nobody.invalid:0", JWKS_URL=NO_KEYS)
    assert status == 1
    assert line.startswith("Error: cannot listen on nobody.invalid:0: ")


async def test_listens_on_ipv6(tmp_path: Path) -> None:
    """An IPv6 address in brackets can be listened on."""
    async with outside(tmp_path, ready=False, LISTEN="[::1]:0") as there:
        stream = await trio.open_tcp_stream("::1", there.gateway.port)
        await stream.aclose()


async def test_provider_that_comes_up_later(tmp_path: Path) -> None:
    """Without keys it is not ready, says why, and refuses with 503; when the provider comes, it serves."""
    async with OidcProvider().serving() as provider:
        await provider.go_down()
        async with outside(tmp_path, ready=False, JWKS_URL=provider.jwks_uri) as there:
            line = await there.log_line("keys not fetched")
            assert line["url"] == provider.jwks_uri
            assert "failed" in str(line["reason"])
            answer, body = await there.house.get("/readyz")
            assert (answer.status, body) == (503, b"not ready: the provider's keys are not there yet\n")
            assert (await there.house.get("/healthz"))[0].status == 200
            async with there.house.knock(token=provider.mint()) as (_, refusal):
                assert refusal.status == 503
                assert refusal.headers.get("retry-after") is not None
            await provider.come_up()
            await until_ready(there.house)
            await talk(there, provider.mint())


async def test_upstream_of_an_unknown_protocol(tmp_path: Path) -> None:
    """UPSTREAM_<PROTOCOL>_URL for a protocol that no adapter has is warned of; for one that has, it is used."""
    async with outside(
        tmp_path, UPSTREAM_AMQP_URL="ws://amqp.example/", RAW_WS_BACKEND_URL="ws://127.0.0.1:9/"
    ) as there:
        warned = [str(line["warning"]) for line in there.gateway.events("setting")]
        [warning] = [warning for warning in warned if "AMQP" in warning]
        assert warning == "UPSTREAM_AMQP_URL is set, but no adapter is called `amqp`: nothing goes there"


def test_crash_shows_no_token(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever ends the gateway is logged with its traceback, without the tokens in it, and the status is 1."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdC03In0.c2lnbmF0dXJl"

    async def serve(_settings: Settings, _log: structlog.typing.FilteringBoundLogger) -> None:
        raise ValueError(f"cannot do with {token}")

    monkeypatch.setattr(gateway, "serve", serve)
    monkeypatch.setenv("JWKS_URL", NO_KEYS)
    with pytest.raises(SystemExit, match=r"^1$"):
        cli.main(["serve"])
    printed = "".join(capfd.readouterr())
    assert token not in printed
    assert "cannot do with [token]" in printed
    assert "Traceback" in printed
