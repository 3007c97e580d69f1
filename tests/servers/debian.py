"""Finds the servers that the tests need, and installs them where that can be done: on Debian.

What is installed is not started as a service: the tests start servers of their own.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

PLACES = ("/usr/sbin", "/sbin")  # where servers are, but not in the PATH of everybody

# policy-rc.d is how Debian asks whether a service may be started (101: it may not). One that is there already was put
# there by somebody with a reason, so it stays. A signal must not leave ours behind.
INSTALL = """
set -e
policy=$1 package=$2
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get -qq update || true
apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends --yes "$package"
"""


class Missing(Exception):
    """A program is not on this machine and could not be installed. Says what to do."""


@frozen(kw_only=True)
class Machine:
    """Where Debian keeps what matters here; the tests look at others."""

    version: Path = Path("/etc/debian_version")
    policy: Path = Path("/usr/sbin/policy-rc.d")
    is_root: bool = os.geteuid() == 0


def ensure(package: str, program: str, *, places: Sequence[str] = PLACES, machine: Machine = Machine()) -> str:
    """Return the path of ``program``, looked for in ``places`` and then in PATH; install ``package`` if it is missing.

    Takes as long as apt-get takes: ending that half way would leave the machine's packages in disorder.
    Raises ``Missing``, which says what to install and how.
    """
    with _one_at_a_time():
        found = _find(program, places)
        if found is None:
            trouble = _install(package, machine)
            found = _find(program, places)
            if found is None:
                command = f"apt-get install --no-install-recommends {package}"
                raise Missing(
                    f"{program} is missing. Install it, on Debian as root with: {command}. "
                    f"The tests could not do that themselves: {trouble}"
                )
    return found


def _find(program: str, places: Sequence[str]) -> str | None:
    return shutil.which(program, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))


def _install(package: str, machine: Machine) -> str:
    """Try to install ``package``. Returns what hindered it, in case that it is not there afterwards."""
    if not machine.version.exists() or shutil.which("apt-get") is None:
        return "this is not a Debian machine"
    command = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL]
    command += ["sh", str(machine.policy), package]
    if not machine.is_root:
        if shutil.which("sudo") is None:
            return "neither root nor sudo"
        command = ["sudo", "-n", *command]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return f"{shlex.join(command[:1])} ended with status {done.returncode} and printed:\n{done.stdout}"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock of this user's, so that test runs side by side do not install the same twice."""
    path = Path(tempfile.gettempdir()) / f"trio-ws-gateway-install-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
