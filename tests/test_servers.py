"""What the tests stand on: processes that leave nothing behind, ports, and the search for real servers."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.servers.debian import Machine, Missing, ensure
from tests.servers.gateway import Gateway
from tests.servers.ports import free_port
from tests.servers.processes import Process, ProcessFailed

PROGRAM = "some-server"
PACKAGE = "some-server-package"

SUCCEEDS = f"""#!/bin/sh
echo "$RUNLEVEL $DEBIAN_FRONTEND $(cat {{policy}} | tail -1): $*" >> {{calls}}
case "$*" in *install*) printf '#!/bin/sh\\n' > {{bin}}/{PROGRAM}; chmod 755 {{bin}}/{PROGRAM};; esac
"""
FAILS = """#!/bin/sh
echo "E: no network"
exit 100
"""


class Debian:
    """A Debian machine on which ``apt-get`` is a double, whose calls are kept."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        self.calls = root / "calls"
        self.machine = Machine(version=root / "debian_version", policy=root / "policy-rc.d", is_root=True)
        self.machine.version.write_text("12.11\n")
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")

    def install(self, name: str, script: str) -> None:
        program = self.bin / name
        program.write_text(script.format(policy=self.machine.policy, calls=self.calls, bin=self.bin))
        program.chmod(0o755)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    machine = Debian(tmp_path, monkeypatch)
    machine.install("apt-get", SUCCEEDS)
    return machine


def test_present_program(debian: Debian) -> None:
    """A program that is there is found, and nothing is installed."""
    debian.install(PROGRAM, "#!/bin/sh\n")
    assert ensure(PACKAGE, PROGRAM, machine=debian.machine) == str(debian.bin / PROGRAM)
    assert debian.called() == []


def test_places_before_path(debian: Debian, tmp_path: Path) -> None:
    """A program is taken from the given places before PATH is asked."""
    debian.install(PROGRAM, "#!/bin/sh\n")
    place = tmp_path / "place"
    place.mkdir()
    (place / PROGRAM).touch(0o755)
    assert ensure(PACKAGE, PROGRAM, places=[str(place)], machine=debian.machine) == str(place / PROGRAM)


def test_missing_program_is_installed(debian: Debian) -> None:
    """A missing program is installed without questions, and the policy of that time starts no service."""
    assert ensure(PACKAGE, PROGRAM, machine=debian.machine) == str(debian.bin / PROGRAM)
    update, install = debian.called()
    assert update.endswith("update")
    assert install.startswith("1 noninteractive exit 101: ")
    assert install.endswith(f"install --no-install-recommends --yes {PACKAGE}")


def test_policy_is_removed(debian: Debian) -> None:
    """The policy that starts no service is gone after the installation."""
    ensure(PACKAGE, PROGRAM, machine=debian.machine)
    assert not debian.machine.policy.exists()


def test_policy_is_removed_after_a_failure(debian: Debian) -> None:
    """The policy that starts no service is gone after an installation that failed."""
    debian.install("apt-get", FAILS)
    with pytest.raises(Missing):
        ensure(PACKAGE, PROGRAM, machine=debian.machine)
    assert not debian.machine.policy.exists()


def test_policy_of_somebody_else(debian: Debian) -> None:
    """A policy that was there before is used and stays."""
    debian.machine.policy.write_text("#!/bin/sh\nexit 104\n")
    ensure(PACKAGE, PROGRAM, machine=debian.machine)
    assert debian.machine.policy.read_text().endswith("exit 104\n")
    assert "exit 104" in debian.called()[-1]


def test_sudo(debian: Debian) -> None:
    """Who is not root installs through sudo, which may not ask for a password."""
    debian.install("sudo", '#!/bin/sh\necho "sudo $1" >> {calls}\nshift\nexec "$@"\n')
    ensure(PACKAGE, PROGRAM, machine=evolve(debian.machine, is_root=False))
    assert debian.called()[0] == "sudo -n"
    assert (debian.bin / PROGRAM).exists()


def test_failed_installation(debian: Debian) -> None:
    """An installation that fails says what to install, how, and what apt-get said."""
    debian.install("apt-get", FAILS)
    with pytest.raises(Missing, match=f"(?s)apt-get install --no-install-recommends {PACKAGE}.*E: no network"):
        ensure(PACKAGE, PROGRAM, machine=debian.machine)


def test_neither_root_nor_sudo(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sudo, who is not root is told what to install."""
    monkeypatch.setenv("PATH", str(debian.bin))
    with pytest.raises(Missing, match="neither root nor sudo"):
        ensure(PACKAGE, PROGRAM, machine=evolve(debian.machine, is_root=False))


def test_elsewhere(debian: Debian) -> None:
    """On another system nothing is installed, and the error says what to install and how."""
    debian.machine.version.unlink()
    with pytest.raises(Missing, match=f"apt-get install --no-install-recommends {PACKAGE}.*not a Debian machine"):
        ensure(PACKAGE, PROGRAM, machine=debian.machine)
    assert debian.called() == []


def test_free_ports() -> None:
    """A free port can be listened on, and is given once."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    with socket.create_server(("127.0.0.1", ports[0])) as listener:
        assert listener.getsockname()[1] == ports[0]


def python(directory: Path, code: str) -> Process:
    return Process.start([sys.executable, "-c", code], directory=directory, environment={})


def test_process_stops(tmp_path: Path) -> None:
    """A process that is stopped gets SIGTERM, and its status is returned."""
    assert python(tmp_path, "import signal; signal.pause()").stop() == -signal.SIGTERM


def test_process_log(tmp_path: Path) -> None:
    """All that a process prints is in its log."""
    process = python(tmp_path, "import sys; print('one'); print('two', file=sys.stderr)")
    assert process.wait() == 0
    assert sorted(process.log_text().split()) == ["one", "two"]


def test_process_that_ends_early(tmp_path: Path) -> None:
    """Waiting for a port of a process that ended fails with what it printed."""
    process = python(tmp_path, "print('no such option'); raise SystemExit(3)")
    with pytest.raises(ProcessFailed, match=r"(?s)status 3 before listening.*no such option"):
        process.wait_for_port(free_port())


def test_process_that_never_listens(tmp_path: Path) -> None:
    """Waiting for a port has a deadline."""
    process = python(tmp_path, "import signal; signal.pause()")
    with pytest.raises(ProcessFailed, match="not listening"):
        process.wait_for_port(free_port(), deadline_seconds=0.05)
    process.kill()


def test_process_that_ignores_sigterm(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is killed at the deadline, and that is an error."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = python(tmp_path, code)
    process.wait_until(lambda: "deaf" in process.log_text(), "deaf")
    with pytest.raises(ProcessFailed, match="still running"):
        process.stop(deadline_seconds=0.05)
    assert process.popen.returncode == -signal.SIGKILL


def test_daemon_of_a_process(tmp_path: Path) -> None:
    """A child that left the session of its parent is seen, and gone after the parent was stopped."""
    code = "import subprocess, signal; subprocess.Popen(['sleep', '60'], start_new_session=True); signal.pause()"
    process = python(tmp_path, code)
    process.wait_until(lambda: len(process.survivors()) == 2, "a parent")
    process.stop()
    assert process.survivors() == []


GATEWAY = """
import json, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("a warning, not JSON")
print(json.dumps({"event": "listening", "port": 4711, "names": sorted(os.environ)}), flush=True)
if "CHILD" in os.environ:
    subprocess.Popen(["sleep", "60"])
    print(json.dumps({"event": "parent"}), flush=True)
signal.pause()
"""


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which ``python -m trio_ws_gateway`` runs a double, unmeasured: it has the package's name."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "trio_ws_gateway").mkdir()
    (tmp_path / "trio_ws_gateway" / "__init__.py").touch()
    (tmp_path / "trio_ws_gateway" / "__main__.py").write_text(GATEWAY)
    return tmp_path


def test_gateway_tells_its_port(double: Path) -> None:
    """A gateway's port is found in its log."""
    gateway = Gateway.start(double, {})
    assert gateway.url == "ws://127.0.0.1:4711/ws"
    assert gateway.http_url == "http://127.0.0.1:4711"
    assert gateway.stop() == 0


def test_gateway_inherits_nothing(double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway sees the environment that it is given, and of the tests' own next to nothing."""
    monkeypatch.setenv("JWKS_URL", "http://somewhere.else")
    gateway = Gateway.start(double, {"WS_PATH": "/ws"})
    [listening] = gateway.events("listening")
    gateway.stop()
    assert {"PATH", "LISTEN", "WS_PATH"} <= set(listening["names"])
    assert "JWKS_URL" not in listening["names"]


def test_gateway_that_leaves_a_child(double: Path) -> None:
    """A gateway that leaves a child behind has failed, and the child is ended."""
    gateway = Gateway.start(double, {"CHILD": "yes"})
    gateway.process.wait_until(lambda: bool(gateway.events("parent")), "a parent")
    with pytest.raises(ProcessFailed, match="left processes behind"):
        gateway.stop()
    assert gateway.process.survivors() == []
