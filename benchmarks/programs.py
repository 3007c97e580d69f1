"""Where the programs come from: Go's are compiled here, Debian's are found or installed, old gateways are unpacked.

Knows nothing of what they are for.
"""

import json
import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from attrs import frozen

from tests.servers.debian import PLACES, ensure
from tests.servers.processes import Process

SOURCES = Path(__file__).parent / "go"
ROOT = Path(__file__).parent.parent


@frozen(kw_only=True)
class Compiled:
    """The three programs of ``go/``, and the compiler's version."""

    echo: Path
    load: Path
    proxy: Path
    version: str


def compiled(directory: Path) -> Compiled:
    """Compile into ``directory``. Raises ``Missing`` without Go, ``CalledProcessError`` where it does not compile."""
    go = ensure("golang-go", "go", places=(*PLACES, "/usr/local/go/bin"))
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", f"{directory}/", "./..."], cwd=SOURCES, env=environment, check=True)
    return Compiled(
        echo=directory / "echo",
        load=directory / "load",
        proxy=directory / "proxy",
        version=printed(go, "version").removeprefix("go version "),
    )


def announced(process: Process) -> dict[str, int]:
    """The ports that one of our Go programs prints when it listens."""
    process.wait_until(lambda: process.log_text().endswith("}\n"), "listening")
    ports: dict[str, int] = json.loads(process.log_text())
    return ports


def printed(*command: str) -> str:
    """The first line of what a command prints; empty where there is none."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def unpacked(revision: str, directory: Path) -> Path:
    """Put the gateway's package of a git revision into ``directory``, for PYTHONPATH."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", revision, "trio_ws_gateway"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(directory, filter="data")
    return directory
