"""What is true of the image, seen with podman: containers are read-only and may nothing."""

import io
import json
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import trio

import trio_ws_gateway
from tests.container.conftest import StartContainer
from tests.house import House, Upstream
from tests.mqtt_client import ACCEPTED, NOT_AUTHORIZED, V5, Message, Paho
from tests.oidc_provider import OidcProvider
from tests.servers.podman import BASE, Podman
from trio_ws_gateway.wire.frames import BINARY, CLOSE

pytestmark = pytest.mark.container

SUBJECT = "robot-7"
RESTART = 1012  # RFC 6455 7.4.1, "service restart"


def test_health(start_container: StartContainer) -> None:
    """``/healthz`` answers 200, and podman finds the container healthy by its own HEALTHCHECK."""
    container, port = start_container()
    with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        assert answer.status == 200
    container.podman("healthcheck", "run", container.name)
    assert container.state()["Health"]["Status"] == "healthy"


def test_mqtt_session(start_container: StartContainer, issuer: OidcProvider) -> None:
    """A client with a token publishes through it to Mosquitto and hears it back; one with a forged token is refused."""
    _, port = start_container()
    url = f"ws://127.0.0.1:{port}/ws"
    forger = OidcProvider(issuer=issuer.issuer)
    forger.rotate()
    forged = forger.mint({"kid": issuer.kid}, sub=SUBJECT)
    message = Message("tests/container", b"hello", 1)
    with (
        Paho(url, version=V5, username=SUBJECT, password=issuer.mint(sub=SUBJECT)) as client,
        Paho(url, version=V5, username=SUBJECT, password=forged) as impostor,
    ):
        assert client.connect() == ACCEPTED
        assert client.subscribe(message.topic, 1) == 1
        client.publish(message)
        assert client.receive() == message
        assert impostor.connect() == NOT_AUTHORIZED


async def test_drain(start_container: StartContainer, issuer: OidcProvider) -> None:
    """``podman stop`` drains: the client hears 1012, and the container ends with status 0 long before it is killed."""
    container, port = start_container(GRACEFUL_DRAIN_TIMEOUT_SECONDS="3")
    house = House(issuer, Upstream(0), port, trio.CancelScope(), io.StringIO())
    async with house.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
        await client.say(BINARY, house.connect_packet(username=SUBJECT).to_bytes())
        opcode, _, packet = await client.hear()
        assert (opcode, packet) == (BINARY, b"\x20\x02\x00\x00")  # CONNACK: accepted
        began_at = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, container.podman, "stop", "--time=60", container.name)
            code, _ = await client.hear_close()
            await client.say(CLOSE, code.to_bytes(2, "big"))
        assert code == RESTART
        assert time.monotonic() - began_at < 30
    state = container.state()
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    [signalled] = container.events("signal")
    assert signalled["name"] == "SIGTERM"
    assert len(container.events("draining")) == len(container.events("stopped")) == 1
    [session] = container.events("session ended")
    assert (session["cause"], session["sub"]) == ("draining", SUBJECT)
    assert "eyJ" not in container.output()


def test_nobody_is_root(start_container: StartContainer) -> None:
    """All that runs in it runs as 65532, and that user could write nowhere in the image anyway."""
    container, _ = start_container()
    pid = container.state()["Pid"]
    uids = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    inside = container.exec("python3", "-c", "import os; print(os.getuid(), os.getgid(), os.getresuid()[1])")
    assert inside.stdout.split() == ["65532", "65532", "65532"]
    assert "0" not in uids[0][1:]
    own = container.exec("find", "/opt/gateway", "(", "-user", "65532", "-o", "-perm", "-o+w", ")", "!", "-type", "l")
    assert (own.returncode, own.stdout) == (0, "")
    assert "Read-only file system" in container.exec("touch", "/tmp/anything").stderr


def test_contents(podman: Podman, image: str) -> None:
    """It adds to the base one directory, with the gateway and what that imports: no pip, compiler, cache, or tests."""
    changes = [line.split() for line in podman("diff", image, BASE).splitlines()]
    assert ["A", "/opt/gateway/bin/trio-ws-gateway"] in changes
    assert [path for _, path in changes if not f"{path}/".startswith("/opt/gateway/")] == ["/opt"]
    listing = ["run", "--rm", "--entrypoint=find", image, "/opt/gateway"]
    paths = podman(*listing, "-maxdepth", "5").split()
    packages = {path.rpartition("/")[2].partition("-")[0] for path in paths if path.count("/") == 6}
    assert {"trio_ws_gateway", "trio", "h11"} <= packages
    assert packages.isdisjoint({"pip", "setuptools", "hatchling", "tests", "benchmarks", "pytest", "mypy"})
    compilers = ["cc", "gcc", "g++", "clang", "ld", "make", "cargo", "go"]
    asked = f"import shutil; print([name for name in {compilers} if shutil.which(name)])"
    assert podman("run", "--rm", "--entrypoint=python3", image, "-c", asked).strip() == "[]"


def test_bytecode(podman: Podman, image: str) -> None:
    """A health check compiles nothing: bytecode is there, the standard library's too, and is not taken for stale."""
    command = ["-v", "/opt/gateway/bin/trio-ws-gateway", "healthcheck", "--help"]
    told = podman.status_of("run", "--rm", "--entrypoint=python3", image, *command).stderr.splitlines()
    assert [line for line in told if "bytecode is stale" in line or "code object from /" in line] == []
    assert sum("/opt/gateway/bytecode/" in line and " matches " in line for line in told) > 50


def test_description(podman: Podman, image: str) -> None:
    """Its version is the package's; the user is a number, which Kubernetes needs for ``runAsNonRoot``."""
    [described] = json.loads(podman("inspect", image))
    configuration = described["Config"]
    assert configuration["Labels"]["org.opencontainers.image.version"] == trio_ws_gateway.__version__
    assert configuration["User"] == "65532:65532"
    assert configuration["StopSignal"] == "SIGTERM"
    assert list(configuration["ExposedPorts"]) == ["8080/tcp"]
