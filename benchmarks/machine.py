"""Where the figures come from: the machine, and the version of everything that takes part."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.programs import ROOT, Compiled, printed
from tests.servers.debian import ensure


def machine() -> dict[str, str]:
    return {
        "processor": f"{os.cpu_count()} x {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions(compiled: Compiled) -> Mapping[str, str]:
    return {
        "trio-ws-gateway": revision(),
        "Python": platform.python_version(),
        "Trio": version("trio"),
        "Go": compiled.version,
        "gorilla/websocket": _gorilla(),
        "nginx": printed(ensure("nginx", "nginx"), "-v").rpartition("/")[2],
        "HAProxy": printed(ensure("haproxy", "haproxy"), "-v").split()[2],
        "Mosquitto": printed(ensure("mosquitto", "mosquitto"), "-h").split()[2],
    }


def revision() -> str:
    """The commit of the working tree, and whether the gateway in it has changed since."""
    if not (ROOT / ".git").exists():
        return version("trio-ws-gateway")
    commit = printed("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    changed = printed("git", "-C", str(ROOT), "status", "--porcelain", "--", "trio_ws_gateway")
    return f"{commit}, changed since" if changed else commit


def _first(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _gorilla() -> str:
    lines = (Path(__file__).parent / "go" / "go.mod").read_text().splitlines()
    return next(line.split()[-1] for line in lines if "gorilla/websocket" in line)
