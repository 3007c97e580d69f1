"""``scripts/container_run.sh``, and ``.env.example`` as a container's engine reads it."""

import shutil
import signal
import subprocess
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.oidc_provider import OidcProvider
from tests.servers.debian import ensure
from tests.servers.podman import Podman
from tests.servers.ports import free_port
from tests.servers.processes import Process
from trio_ws_gateway.config.loading import load, parse_env_file

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "container_run.sh"

ENGINE = """#!/bin/sh
echo "$(basename "$0") $*"
case "$1 $2" in "image inspect") exit {inspect_status};; esac
"""


class Machine:
    """One on which nothing is installed but what the script needs, and the engines that a test puts there."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.env_file = directory / "settings"
        self.script = SCRIPT
        for name in ("sh", "dirname", "basename", "sed", "tail"):
            (self.bin / name).symlink_to(shutil.which(name) or name)

    def install(self, name: str, *, has_image: bool = True) -> None:
        program = self.bin / name
        program.write_text(ENGINE.format(inspect_status=0 if has_image else 1))
        program.chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "ENV_FILE": str(self.env_file), **variables}
        return subprocess.run(
            ["sh", self.script, *arguments],
            env=environment,
            cwd=self.env_file.parent,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.env_file.write_text("JWKS_URL=https://id.example.com/certs\n")
    return machine


def test_no_engine(machine: Machine) -> None:
    """Without podman and docker it says so."""
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "neither podman nor docker" in done.stderr


def test_chosen_engine_that_is_missing(machine: Machine) -> None:
    """An engine that was asked for by name is not replaced by another."""
    machine.install("docker")
    done = machine.run(CONTAINER_ENGINE="nerdctl")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nerdctl" in done.stderr


def test_no_settings(machine: Machine) -> None:
    """Without an env file it says how to make one, unless it was another one that was meant."""
    machine.install("podman")
    machine.env_file.unlink()
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"scripts/container_run.sh: ENV_FILE is {machine.env_file}, which is no file\n"
    machine.script = machine.bin.parent / "scripts" / SCRIPT.name  # a tree without a .env
    machine.script.parent.mkdir()
    machine.script.write_text(SCRIPT.read_text())
    done = machine.run(ENV_FILE="")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"begin with: cp '{machine.bin.parent}/.env.example' '{machine.bin.parent}/.env'" in done.stderr


def test_settings_beside_the_caller(machine: Machine) -> None:
    """A relative path in ENV_FILE is the caller's, as any other path of a command is."""
    machine.install("podman")
    [run] = machine.run(ENV_FILE=machine.env_file.name).stdout.splitlines()
    assert f"--env-file {machine.env_file} " in run


@pytest.mark.parametrize(
    ("engines", "variables", "chosen"),
    [
        (["podman", "docker"], {}, "podman"),
        (["docker"], {}, "docker"),
        (["podman", "docker"], {"CONTAINER_ENGINE": "docker"}, "docker"),
    ],
)
def test_engine(machine: Machine, engines: list[str], variables: dict[str, str], chosen: str) -> None:
    """It takes podman, where that is missing docker, and ``CONTAINER_ENGINE`` before both."""
    for engine in engines:
        machine.install(engine)
    [run] = machine.run(**variables).stdout.splitlines()
    assert run.startswith(f"{chosen} run ")


@pytest.mark.parametrize(("engine", "option"), [("podman", "--format docker"), ("docker", "--file Containerfile")])
def test_missing_image(machine: Machine, engine: str, option: str) -> None:
    """An image that is missing is built, in the format that has a health check."""
    machine.install(engine, has_image=False)
    build, run = machine.run(IMAGE="another", BUILD_ARGS="--network host").stdout.splitlines()
    assert build == f"{engine} build {option} --network host --tag another ."
    assert run.endswith(" another")


def test_arguments(machine: Machine) -> None:
    """Port, settings and arguments reach the engine, these last, so that they win."""
    machine.install("podman")
    [run] = machine.run("--network", "host", PORT="9000").stdout.splitlines()
    assert "--publish 9000:8080 " in run
    assert f"--env-file {machine.env_file} " in run
    assert "--read-only " in run
    assert run.endswith(" --network host trio-ws-gateway")


def test_another_command(machine: Machine) -> None:
    """What does not begin with a dash is a command of the gateway's, with arguments, and takes no name or port."""
    machine.install("podman")
    [run] = machine.run("check", "--strict").stdout.splitlines()
    assert run.endswith(" trio-ws-gateway check --strict")
    assert f"--env-file {machine.env_file} " in run
    assert "--publish" not in run
    assert "--name" not in run


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("", 40),
        ("GRACEFUL_DRAIN_TIMEOUT_SECONDS=090.5   # long", 100),
        ("GRACEFUL_DRAIN_TIMEOUT_SECONDS='90'", 100),
        ("# GRACEFUL...=90", 40),
    ],
)
def test_time_to_drain(machine: Machine, line: str, seconds: int) -> None:
    """The container has ten seconds more than the drain takes before it is killed."""
    machine.install("podman")
    machine.env_file.write_text(f"JWKS_URL=https://id.example.com/certs\n{line}\n")
    [run] = machine.run().stdout.splitlines()
    assert f"--stop-timeout {seconds} " in run


def test_example_settings() -> None:
    """An engine, which keeps comments in values, makes of ``.env.example`` the same settings as ``--env-file``."""
    text = (ROOT / ".env.example").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert load(dict(line.split("=", 1) for line in lines)) == load(parse_env_file(text))


@pytest.mark.container
def test_with_podman(podman: Podman, image: str, issuer: OidcProvider, tmp_path: Path) -> None:
    """With podman it runs the gateway in the foreground, and a signal drains that."""
    port = free_port()
    settings = tmp_path / "settings"
    settings.write_text(f"JWKS_URL={issuer.jwks_uri}   # of the tests\n")
    process = Process.start(
        [SCRIPT, f"--env=LISTEN=127.0.0.1:{port}", f"--name=gateway-test-{port}"],
        directory=tmp_path,
        environment={**podman.environment, "CONTAINER_ENGINE": "podman", "IMAGE": image, "ENV_FILE": str(settings)},
    )
    try:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "ready")
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert '"stopped"' in process.log_text()
    finally:
        podman.status_of("rm", "--force", "--time=0", f"gateway-test-{port}")
        process.kill()


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False


@pytest.mark.container
def test_shellcheck() -> None:
    """shellcheck has nothing against any script."""
    scripts = sorted((ROOT / "scripts").iterdir())
    assert SCRIPT in scripts
    done = subprocess.run(
        [ensure("shellcheck", "shellcheck"), *scripts], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
