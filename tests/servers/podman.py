"""Podman, the image that is made from ``Containerfile``, and containers of it.

They share the network of this machine. The base is a Debian that is made here once and stays in podman's store, so
no registry of images is asked. How pip finds packages is taken over from this machine, for the build alone.
"""

import ast
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen

from tests.servers.debian import ensure
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS, ProcessFailed

SOURCES = Path(__file__).parents[2]
BUILD_SECONDS = 600.0

SUITE = "bookworm"
BASE = f"localhost/trio-ws-gateway-base:{SUITE}"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")

# runc runs on more machines than crun. Podman would raise limits, which inside a container nobody may, root neither.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "{runtime}"
"""

# Where packages come from, and nothing else of pip's configuration.
PIP_SOURCES = {"index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "cert", "client-cert"}


@frozen(kw_only=True)
class Podman:
    """``environment`` is what every call of it needs; ``directory`` is for small files."""

    program: str
    environment: Mapping[str, str] = field(repr=False)
    directory: Path

    @classmethod
    def found(cls, directory: Path) -> "Podman":
        """Podman with settings that work in virtual machines too. Installs what is missing."""
        program = ensure("podman", "podman")
        configuration = directory / "containers.conf"
        configuration.write_text(CONFIGURATION.format(runtime=ensure("runc", "runc")))
        environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        return cls(program=program, environment=environment, directory=directory)

    def __call__(self, *arguments: str | Path, deadline_seconds: float = 60) -> str:
        """What a podman command prints. Raises ``ProcessFailed`` where its exit status is not 0."""
        done = self.status_of(*arguments, deadline_seconds=deadline_seconds)
        if done.returncode:
            raise ProcessFailed(f"podman {arguments[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def status_of(self, *arguments: str | Path, deadline_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=deadline_seconds,
        )

    def ensure_base(self) -> str:
        """The name of an image with Python and certificate authorities, made of Debian's packages."""
        if self.status_of("image", "exists", BASE).returncode:
            archive = self.directory / "base.tar"
            command = [ensure("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase"]
            command += [f"--include={','.join(BASE_PACKAGES)}", SUITE, str(archive)]
            made = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
            )
            if made.returncode:
                raise ProcessFailed(f"mmdebstrap ended with {made.returncode}:\n{made.stderr}")
            self("import", archive, BASE, deadline_seconds=BUILD_SECONDS)
            archive.unlink()
        return BASE

    @contextmanager
    def image(self, name: str) -> Iterator[str]:
        """An image of the sources as they are, for the length of the block."""
        mounts = [f"--volume={mount}" for mount in _pip_mounts(self.directory)]
        command = ["build", "--format=docker", "--layers=false", f"--build-arg=BASE={self.ensure_base()}", *mounts]
        self(*command, f"--tag={name}", SOURCES, deadline_seconds=BUILD_SECONDS)
        try:
            yield name
        finally:
            self("rmi", "--force", name)

    def start(self, name: str, image: str, settings: Mapping[str, str], *, options: Sequence[str] = ()) -> "Container":
        """Start a container, which ``Container.remove`` must end."""
        environment = [f"--env={key}={value}" for key, value in settings.items()]
        self("run", "--detach", f"--name={name}", *options, *environment, image)
        return Container(podman=self, name=name)


@frozen(kw_only=True)
class Container:
    podman: Podman
    name: str

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.podman("inspect", "--format={{json .State}}", self.name))
        return state

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.podman.status_of("exec", self.name, *command)

    def output(self) -> str:
        """All that it printed so far."""
        return self.podman("logs", self.name)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of that event, parsed."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll ``condition``. Raises ``ProcessFailed`` where it is not true in time or the container ends first."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if not self.state()["Running"] or time.monotonic() > deadline:
                raise ProcessFailed(f"{self.name} is not {what}; it printed:\n{self.output()}")
            time.sleep(POLL_SECONDS)

    def remove(self) -> None:
        self.podman("rm", "--force", "--time=0", self.name)


def _pip_mounts(directory: Path) -> list[str]:
    """This machine's way to packages, as volumes: they are there while the image is built, and not in it."""
    printed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    found: dict[str, str] = {}
    if authorities := ssl.get_default_verify_paths().cafile:
        found["cert"] = authorities
    pairs = [line.partition("=")[::2] for line in printed.splitlines()]
    for name, value in sorted(pairs, key=lambda pair: pair[0].startswith(":env:")):  # the environment wins
        option = name.rpartition(".")[2]
        if option in PIP_SOURCES:
            found[option] = str(ast.literal_eval(value))
    file = directory / "pip.conf"
    lines = [f"{option} = {' '.join(value.split())}" for option, value in found.items()]
    file.write_text("\n".join(["[global]", *lines, ""]))
    file.chmod(0o600)
    words = {word for value in found.values() for word in value.split()}
    paths = [word for word in sorted(words) if word.startswith("/") and Path(word).exists()]
    return [f"{file}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in paths)]
