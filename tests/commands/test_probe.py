"""``probe`` as its users run it: what is printed, and the exit status."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket
from click.testing import CliRunner

from tests.certificates import Authority
from tests.conftest import StartGateway
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway, inherited_environment
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from trio_ws_gateway.cli import main

COMMAND = (sys.executable, "-m", "trio_ws_gateway", "probe")
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdC03In0.c2lnbmF0dXJl"


async def probe(*arguments: str, said: str = "", **environment: str) -> tuple[int, str]:
    """Exit status, and all that it printed. ``said``: on its standard input. In a thread, with a loop of its own."""
    with trio.fail_after(60):
        done = await trio.to_thread.run_sync(
            partial(CliRunner().invoke, main, ["probe", *arguments], input=said, env=environment)
        )
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


async def probe_process(*arguments: str, said: str = "", **environment: str) -> tuple[int, str]:
    """The same as its users start it."""
    with trio.fail_after(60):
        done = await trio.run_process(
            [*COMMAND, *arguments],
            env={**inherited_environment(), "PYTHONIOENCODING": "utf-8", **environment},
            stdin=said.encode(),
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert b"Traceback" not in done.stdout
    return done.returncode, done.stdout.decode()


def words(printed: str) -> str:
    """What was printed, without the line breaks of wrapped paragraphs."""
    return " ".join(printed.split())


@asynccontextmanager
async def echoing(heard: list[str | bytes] | None = None) -> AsyncIterator[str]:
    """The URL of a WebSocket server that echoes, and writes down what it hears."""

    async def echo(request: trio_websocket.WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                message = await connection.get_message()
                if heard is not None:
                    heard.append(message)
                await connection.send_message(message)
        except trio_websocket.ConnectionClosed:
            pass

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, echo, "127.0.0.1", 0, None)
        yield f"ws://127.0.0.1:{server.port}/"
        nursery.cancel_scope.cancel()


async def test_session_that_works() -> None:
    """Steps, round trips and a histogram are printed, and the status is 0; in ASCII where the output is."""
    async with echoing() as url:
        status, printed = await probe_process(url, "--count", "20")
        assert status == 0
        lines = printed.splitlines()
        assert lines[0] == f"{url}  raw, no token"
        assert [line.split("  ")[1] for line in lines[2:5]] == ["TCP connected", "WebSocket upgraded", "closed"]
        assert "20 round trips with 32 bytes" in lines
        assert "min" in printed
        assert "█" in printed
        status, printed = await probe_process(url, "--count", "20", PYTHONIOENCODING="ascii")
        assert status == 0
        assert "####" in printed


async def test_json() -> None:
    """``--json`` prints one object, for a session that worked as for one that did not."""
    async with echoing() as url:
        status, printed = await probe(url, "--json", "--count", "3", "--carry", "first-message", TOKEN=TOKEN)
    found: dict[str, Any] = json.loads(printed)
    assert status == 0
    assert found["worked"] is True
    assert found["refusal"] is None
    assert [step["name"] for step in found["steps"]][-2:] == ["token sent", "closed"]
    assert len(found["round_trips"]) == 3
    assert found["summary"]["min"] <= found["summary"]["median"] <= found["summary"]["max"]
    status, printed = await probe(f"ws://127.0.0.1:{free_port()}/", "--json")
    found = json.loads(printed)
    assert status == 1
    assert found["worked"] is False
    assert found["refusal"]["step"] == "TCP connected"
    assert found["summary"] is None
    assert "connection refused" in found["refusal"]["what"]


async def test_interrupted() -> None:
    """Ctrl-C shows what there is, without a traceback; the status is 1."""
    heard: list[str | bytes] = []
    async with echoing(heard) as url:
        process = await trio.lowlevel.open_process(
            [*COMMAND, url, "--count", "100000", "--interval", "0.01"],
            env=inherited_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        with trio.fail_after(30):
            while len(heard) < 2:
                await trio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            printed = b"".join([bytes(data) async for data in process.stdout])
            assert await process.wait() == 1
    assert b" of 100000 round trips" in printed
    assert b"Note: interrupted" in printed
    assert b"Traceback" not in printed


async def test_output_that_cannot_say_it() -> None:
    """What a server says beyond the output's encoding is a question mark, and no traceback."""

    async def reject(request: trio_websocket.WebSocketRequest) -> None:
        await request.reject(403, body="h\N{LATIN SMALL LETTER E WITH ACUTE}las".encode())

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, reject, "127.0.0.1", 0, None)
        status, printed = await probe_process(f"ws://127.0.0.1:{server.port}/", PYTHONIOENCODING="ascii")
        nursery.cancel_scope.cancel()
    assert status == 1
    assert "403 Forbidden: h?las" in words(printed)


async def test_options_of_the_connection(tmp_path: Path) -> None:
    """A certificate is looked past where that is asked for, and said so; further headers are sent."""
    headers = []

    async def take(request: trio_websocket.WebSocketRequest) -> None:
        headers.extend(request.headers)
        async with await request.accept() as connection:
            with suppress(trio_websocket.ConnectionClosed):
                await connection.get_message()

    context = Authority(tmp_path).server("other.example")
    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, take, "127.0.0.1", 0, context)
        url = f"wss://127.0.0.1:{server.port}/"
        options = ["--count", "0", "--header", "X-One: 1 ", "--origin", "https://app.example.com"]
        assert (await probe(url, *options))[0] == 1
        status, printed = await probe(url, *options, "--insecure")
        nursery.cancel_scope.cancel()
    assert status == 0, printed
    assert "the certificate was not checked" in printed
    assert {(b"x-one", b"1"), (b"origin", b"https://app.example.com")} <= set(headers)


# Tokens


async def test_where_the_token_comes_from(tmp_path: Path) -> None:
    """A file, standard input and the environment give a token; what is given by hand wins over the environment."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    seen = []

    async def look(request: trio_websocket.WebSocketRequest) -> None:
        seen.append(dict(request.headers).get(b"authorization"))
        await request.reject(403, body=b"you sent " + (seen[-1] or b"nothing"))

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, look, "127.0.0.1", 0, None)
        url = f"ws://127.0.0.1:{server.port}/"
        for arguments, said, environment in (
            (["--token-file", str(tmp_path / "token")], "", {"TOKEN": "other"}),
            (["--token-file", "-"], f"  {TOKEN}\n", {}),
            (["--token", TOKEN], "", {"TOKEN": "other"}),
            ([], "", {"TOKEN": TOKEN}),
        ):
            for form in ([], ["--json"]):
                status, printed = await probe(url, *arguments, *form, said=said, **environment)
                assert status == 1
                assert TOKEN not in printed
                assert "you sent" in printed
        await probe(url, TOKEN=" ")
        nursery.cancel_scope.cancel()
    assert seen == [f"Bearer {TOKEN}".encode()] * 8 + [None]


# Usage


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["http://gw.example/"], "it does not begin with ws:// or wss://"),
        (["ws://user:swordfish@gw.example/"], "it holds a user name or password"),
        (["ws://gw.example/", "--mqtt", "4"], "'4' is not one of"),
        (["ws://gw.example/", "--token", "swordfish", "--token-file", "-"], "either --token or --token-file"),
        (["ws://gw.example/", "--token", " "], "the token is empty"),
        (["ws://gw.example/", "--token", "sword\nfish"], "a character that no header can have"),
        (["ws://gw.example/", "--token", "sword\N{SNOWMAN}fish"], "a character that no header can have"),
        (["ws://gw.example/", "--token", "sword(fish", "--carry", "subprotocol"], "that no subprotocol can have"),
        (["ws://gw.example/", "--header", "swordfish"], "a header is written 'Name: value'"),
        (["ws://gw.example/", "--header", "Upgrade: swordfish"], "the handshake writes Upgrade itself"),
        (["ws://gw.example/", "--carry", "password"], "are for --mqtt"),
        (["ws://gw.example/", "--qos", "1"], "are for --mqtt"),
        (["ws://gw.example/", "--mqtt", "5", "--carry", "first-message"], "the CONNECT: --carry password"),
        (["ws://gw.example/", "--mqtt", "5", "--topic", "a/#"], "without + and #"),
        (["ws://gw.example/", "--mqtt", "5", "--topic", "a\0"], "topic holds NUL"),
        (["ws://gw.example/", "--mqtt", "5", "--token", "swordfish" * 10_000], "password is longer than 65535"),
        (["ws://gw.example/", "--carry-name", "sid"], "--carry-name is for"),
        (["ws://gw.example/", "--insecure"], "are for wss://"),
        (["wss://gw.example/", "--ca-file", __file__], "holds no certificates in PEM"),
        (["ws://gw.example/", "--token-file", "/nonexistent"], "No such file"),
        (["ws://gw.example/", "--timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_wrong_usage(arguments: list[str], wrong: str) -> None:
    """What contradicts itself, or can be no request, is told before anything is sent; the status is 2."""
    result = CliRunner().invoke(main, ["probe", *arguments], env={"TOKEN": ""})
    assert result.exit_code == 2
    assert wrong in words(result.output)
    assert "swordfish" not in result.output


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\n"])
def test_token_file_without_a_token(tmp_path: Path, content: bytes) -> None:
    """A token file that is no text, or empty, is told so."""
    (tmp_path / "token").write_bytes(content)
    result = CliRunner().invoke(main, ["probe", "ws://gw.example/", "--token-file", str(tmp_path / "token")])
    assert result.exit_code == 2
    assert "token" in result.output.splitlines()[-1]


def test_help() -> None:
    """The help says that a token on the command line is seen, and has examples on lines of their own."""
    result = CliRunner().invoke(main, ["probe", "--help"])
    assert "`ps`" in result.output
    assert "\n    TOKEN=eyJ... trio-ws-gateway probe ws://localhost:8080/ws\n" in result.output


# In front of a real broker


@pytest.mark.integration
class TestMosquitto:
    @pytest.fixture(scope="class")
    @classmethod
    def gateway(cls, serving: StartGateway, issuer: OidcProvider, mosquitto: Mosquitto) -> Gateway:
        return serving(
            {
                "JWKS_URL": issuer.jwks_uri,
                "JWT_EXPECTED_AUDIENCE": "gateway",
                "MQTT_USERNAME_CLAIM": "sub",
                "MQTT_CLIENT_ID_PREFIX": "{sub}-",
                "UPSTREAM_WS_URL": mosquitto.websocket_url,
            }
        )

    @pytest.mark.parametrize("version", ["3.1", "3.1.1", "5"])
    @pytest.mark.parametrize("qos", ["0", "1"])
    async def test_session(self, gateway: Gateway, issuer: OidcProvider, version: str, qos: str) -> None:
        """With a token and nothing else an MQTT session works: user name and client id are such as the token allows."""
        options = ("--mqtt", version, "--qos", qos, "--size", "2000", "--json")
        status, printed = await probe(gateway.url, *options, TOKEN=issuer.mint())
        found = json.loads(printed)
        assert status == 0, printed
        assert [step["name"] for step in found["steps"]][-3:] == ["CONNACK", "SUBACK", "closed"]
        assert len(found["round_trips"]) == 10

    async def test_broker_without_gateway(self, mosquitto: Mosquitto) -> None:
        """A broker can be probed itself."""
        status, printed = await probe(mosquitto.websocket_url, "--mqtt", "5")
        assert status == 0, printed
        assert "10 round trips with 32 bytes at QoS 0" in printed

    async def test_expired_token(self, gateway: Gateway, issuer: OidcProvider) -> None:
        """A token that has expired is told so, with the gateway's cause, and is not shown."""
        token = issuer.mint(exp=int(time.time()) - 190)
        for options in ([], ["--mqtt", "3.1.1"], ["--mqtt", "5"], ["--mqtt", "5", "--carry", "header"]):
            status, printed = await probe(gateway.url, *options, TOKEN=token)
            assert status == 1
            assert "The gateway refuses: invalid_token" in words(printed)
            assert "This token expired 3 minutes ago" in words(printed)
            assert token not in printed

    async def test_somebody_elses_name(self, gateway: Gateway, issuer: OidcProvider) -> None:
        """A client id that the token does not allow is told beside what the token says."""
        status, printed = await probe(gateway.url, "--mqtt", "5", "--client-id", "robot-8", TOKEN=issuer.mint())
        assert status == 1
        assert "the client id `robot-8`" in words(printed)
        assert "sub robot-7" in words(printed)

    async def test_refusal_of_the_broker(self, mosquitto_with_passwords: Mosquitto) -> None:
        """The broker's own refusal is told from the gateway's."""
        status, printed = await probe(mosquitto_with_passwords.websocket_url, "--mqtt", "5", TOKEN="swordfish")
        assert status == 1
        assert "The broker refuses: CONNACK 0x87, not authorised." in words(printed)

    async def test_plain_port(self, mosquitto: Mosquitto) -> None:
        """The port for plain MQTT is no WebSocket, and the advice says so."""
        status, printed = await probe(f"ws://127.0.0.1:{mosquitto.plain_port}/", "--mqtt", "5")
        assert status == 1
        assert "without an answer to the request" in words(printed)
        assert "plain MQTT" in words(printed)
