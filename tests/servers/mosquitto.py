"""Eclipse Mosquitto, with a websockets listener."""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process

# Mosquitto 2.0.11 does not start when its only listener is a websockets one, hence the plain one.
# Started as root it would change to a user who may not read the tests' directories: it stays who it is.
CONFIGURATION = """
user {user}
persistence {persistent}
persistence_location {directory}/
max_queued_messages 0
log_dest stderr
log_type all
connection_messages true
allow_anonymous {anonymous}
{passwords}
listener {plain_port} 127.0.0.1
listener {websocket_port} 127.0.0.1
protocol websockets
"""


@define(kw_only=True)
class Mosquitto:
    """``start_again`` replaces ``process`` by another one, in the same place."""

    process: Process
    directory: Path
    websocket_url: str
    plain_port: int

    @classmethod
    def start(cls, directory: Path, *, users: Mapping[str, str] | None = None, persistent: bool = False) -> "Mosquitto":
        """Start Mosquitto. It lets in everybody, or where ``users`` are given only those, with their passwords.

        ``persistent``: what it is told to keep it keeps over an end by SIGTERM, not over one by SIGKILL.
        """
        plain_port, websocket_port = free_port(), free_port()
        (directory / "mosquitto.conf").write_text(
            CONFIGURATION.format(
                user=pwd.getpwuid(os.getuid()).pw_name,
                directory=directory,
                persistent="true" if persistent else "false",
                anonymous="true" if users is None else "false",
                passwords="" if users is None else f"password_file {_password_file(directory, users)}",
                plain_port=plain_port,
                websocket_port=websocket_port,
            )
        )
        return cls(
            process=_started(directory, plain_port, websocket_port),
            directory=directory,
            websocket_url=f"ws://127.0.0.1:{websocket_port}/",
            plain_port=plain_port,
        )

    def start_again(self) -> None:
        websocket_port = urlsplit(self.websocket_url).port
        assert websocket_port is not None
        self.process = _started(self.directory, self.plain_port, websocket_port)

    def freeze(self) -> None:
        """Stand still, while the kernel goes on taking connections and bytes for it."""
        self.process.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()

    def log_text(self) -> str:
        """All that it printed: among it who connected, as which user, and which packets passed."""
        return self.process.log_text()

    def stop(self) -> None:
        self.process.stop()


def _started(directory: Path, *ports: int) -> Process:
    command: list[str | Path] = [ensure("mosquitto", "mosquitto"), "-c", directory / "mosquitto.conf"]
    process = Process.start(command, directory=directory, environment={})
    try:
        for port in ports:
            process.wait_for_port(port)
    except BaseException:
        process.kill()
        raise
    return process


def _password_file(directory: Path, users: Mapping[str, str]) -> Path:
    path = directory / "passwords"
    path.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
    path.chmod(0o600)
    subprocess.run([ensure("mosquitto", "mosquitto_passwd"), "-U", path], check=True)  # hashes them in place
    return path
