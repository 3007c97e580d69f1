"""The whole demo, seen from outside: what it shows, what can be done meanwhile, and that nothing of it stays."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals
from typing import cast
from urllib.request import urlopen

import httpx
import pytest

from tests.demo.outside import COMMAND, Demo
from tests.servers.debian import ensure
from tests.servers.gateway import inherited_environment
from trio_ws_gateway.demo import run
from trio_ws_gateway.demo.gateway import Gateway
from trio_ws_gateway.demo.screen import Screen

SCENES = [
    "let in robot-7 mqtt a good token, as password CONNACK 0x00, accepted; echoed",
    "let in camera-2 raw a good token, as header HTTP 101; echoed",
    "let in browser raw a good token, as subprotocol HTTP 101; echoed",
    "refused robot-7 mqtt an expired token CONNACK 0x05, not authorised; close 1008 JWT invalid or expired",
    "refused mallory mqtt a forged token CONNACK 0x05, not authorised; close 1008 JWT invalid or expired",
    "refused mallory mqtt a good token, robot-7's client id CONNACK 0x05, not authorised; close 1008 Forbidden",
    "refused mallory mqtt no token CONNACK 0x05, not authorised; close 1008 Token missing",
    "refused camera-2 raw an expired token HTTP 401 JWT invalid or expired",
    "refused mallory raw a forged token HTTP 401 JWT invalid or expired",
    "refused mallory raw no token close 1008 Token missing",
]
INVITATION = "Try it from another terminal"
COMMANDS_SECONDS = 60


def shown(output: str) -> list[str]:
    """The lines of scenes, without their times and with single blanks."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return [re.sub(r" [0-9.]+ m?s$", "", line) for line in lines if re.match("let in|refused|over|WRONG", line)]


@pytest.mark.parametrize("broker", ["amqtt", pytest.param("mosquitto", marks=pytest.mark.integration)])
def test_once(tmp_path: Path, broker: str) -> None:
    """Every scene goes as it should with either broker, past a proxy that is of no use, and nothing is left behind."""
    if broker == "mosquitto":
        ensure("mosquitto", "mosquitto")
    with Demo.running(tmp_path, "--once", "--broker", broker) as demo:
        assert demo.status() == 0, demo.output
        assert shown(demo.output) == SCENES
        assert broker in demo.output.lower()
        assert demo.left_behind() == []


def test_mosquitto_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mosquitto that cannot be used is no reason to do without a broker."""
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with Demo.running(tmp_path, "--once") as demo:
        assert demo.status() == 0, demo.output
        assert "(amqtt, because mosquitto ended with status 3)" in demo.output
        assert shown(demo.output) == SCENES


def test_end(tmp_path: Path) -> None:
    """Two clients stay until a signal drains the gateway under their sessions, and nothing is left behind."""
    with Demo.running(tmp_path, "--broker", "amqtt") as demo:
        demo.wait_for(INVITATION)
        gateway = re.search("gateway  ws://([0-9.:]+)/ws", demo.output)
        assert gateway is not None

        def sessions() -> float:
            with urlopen(f"http://{gateway[1]}/metrics") as counts:
                return float(counts.read().split(b"\nws_active_sessions ")[1].split()[0])

        demo.process.wait_until(lambda: sessions() == 2, "talking in two sessions")
        assert len(demo.children()) == 3  # broker, gateway, and who ends them if the demo cannot
        assert demo.end(SIGTERM) == 0
        assert shown(demo.output)[: len(SCENES)] == SCENES
        over = [line for line in shown(demo.output) if line.startswith("over")]
        assert {line.split()[1] for line in over} == {"robot-7", "camera-2"}
        assert all(line.endswith("draining") for line in over)
        assert "The gateway drains" in demo.output
        assert "It ended with status 0." in demo.output
        assert "Traceback" not in demo.output
        assert demo.left_behind() == []


@pytest.mark.parametrize(("text", "signal"), [("issuer", SIGHUP), ("let in", SIGINT)])
def test_end_at_once(tmp_path: Path, text: str, signal: Signals) -> None:
    """It can be ended while it still starts, and while the scenes are played."""
    with Demo.running(tmp_path, "--broker", "amqtt") as demo:
        demo.wait_for(text)
        assert demo.end(signal) == 0
        assert "Traceback" not in demo.output
        assert re.search("Ended before all had started|Nothing is left running", demo.output)
        assert demo.left_behind() == []


def test_once_and_ended(tmp_path: Path) -> None:
    """Scenes that were not played to their end did not go well."""
    with Demo.running(tmp_path, "--broker", "amqtt", "--once") as demo:
        demo.wait_for("issuer")
        assert demo.end(SIGTERM) == 1
        assert demo.left_behind() == []


def test_taken_port(tmp_path: Path) -> None:
    """Where the port is taken the gateway gets another one, and one is told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Demo.running(tmp_path, "--once", "--broker", "amqtt", "--port", str(port)) as demo:
            assert demo.status() == 0, demo.output
            assert demo.output.startswith(f"Port {port} is taken, so the gateway gets port ")
            assert f"ws://127.0.0.1:{port}/" not in demo.output


@pytest.mark.parametrize(("part", "name"), [("trio_ws_gateway serve", "the gateway"), ("amqtt.scripts", "amqtt")])
def test_child_dies(tmp_path: Path, part: str, name: str) -> None:
    """Whoever dies is named, with its last lines; then the demo ends, with everything else."""
    with Demo.running(tmp_path, "--broker", "amqtt") as demo:
        demo.wait_for(INVITATION)
        [victim] = [pid for pid, command in demo.children().items() if part in command]
        os.kill(victim, SIGKILL)
        assert demo.status() == 1
        assert f"Error: {name} ended with status -9. It said last:" in demo.output
        assert "Traceback" not in demo.output
        assert demo.left_behind() == []


def test_nobody_reads(tmp_path: Path) -> None:
    """A demo whose output nobody takes ends, and nothing is left behind."""
    demo = subprocess.Popen(
        [*COMMAND, "--broker", "amqtt", "--port", "0"],
        env={**inherited_environment(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    with demo:
        assert demo.stderr is not None
        assert (demo.stderr.read(), demo.wait(COMMANDS_SECONDS)) == (b"", 0)
    assert list(tmp_path.iterdir()) == []


async def test_half_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway counts is shown where it says so, and passed over where it does not, until it has gone."""
    pages: list[dict[str, float]] = [{}, {"ws_active_sessions": 2.0, "ws_auth_failures_total": 1.0}]
    kept = []

    class Running:
        async def counts(self) -> dict[str, float]:
            if not pages:
                raise httpx.ConnectError("gone")
            return pages.pop(0)

    class Shown:
        def keep(self, name: str, text: str) -> None:
            kept.append((name, text))

    monkeypatch.setattr(run, "PAUSE_SECONDS", 0)
    await run._count(cast("Gateway", Running()), cast("Screen", Shown()))
    assert kept == [("gateway", "2 sessions now, 1 tokens refused")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One that runs, with what is needed for its commands."""
    ensure("curl", "curl")
    ensure("mosquitto-clients", "mosquitto_pub")
    with Demo.running(tmp_path_factory.mktemp("demo"), "--broker", "amqtt") as running:
        running.wait_for("ws.onclose")
        yield running


def commands(demo: Demo) -> str:
    """All that is printed for a shell, but for what needs Node."""
    _, _, invitation = demo.output.partition(INVITATION)
    blocks = [block for block in invitation.split("\n\n")[1:] if block.startswith("# ")]
    return "\n\n".join(block for block in blocks if "npx" not in block)


def typed(script: str) -> str:
    """What a shell prints for it. It must end well."""
    done = subprocess.run(
        ["bash", "-euc", script + "\nwait"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMANDS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.integration
def test_commands(demo: Demo) -> None:
    """The commands that are printed work as they are, and what they do is seen on the screen."""
    said = typed(commands(demo))
    assert "hello from mosquitto_pub\n" in said
    assert "CONNACK: Success\ndemo/paho hello from paho\n" in said
    assert "ws_connections_total " in said
    demo.wait_for("alice     mqtt", 3)


@pytest.mark.integration
def test_commands_with_bad_tokens(demo: Demo) -> None:
    """With a token that has expired, or somebody else's client id, the same commands say that they were refused."""
    blocks = commands(demo).split("\n\n")
    [paho] = [block for block in blocks if "from paho" in block]
    [expired] = [block for block in blocks if "lifetime=-1h" in block]
    [good] = [block for block in blocks if "sub=alice" in block]
    assert typed(f"{expired}\n{paho}") == "CONNACK: Not authorized\n"
    assert typed(f"{good}\n{paho}".replace("alice-paho", "robot-7-1")) == "CONNACK: Not authorized\n"
    demo.wait_for("invalid token: expired")


@pytest.mark.integration
def test_ready_made_tokens(demo: Demo) -> None:
    """The tokens that are printed are what they are said to be."""
    blocks = commands(demo).split("\n\n")
    [paho] = [block for block in blocks if "from paho" in block]
    [ready_made] = [block for block in blocks if "GOOD=" in block]
    assert typed(f"{ready_made}\nTOKEN=$GOOD\n{paho}").startswith("CONNACK: Success\n")
    assert typed(f"{ready_made}\nTOKEN=$EXPIRED\n{paho}") == "CONNACK: Not authorized\n"
