"""Eclipse Mosquitto, with a websockets listener."""

import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process

# Mosquitto 2.0.11 does not start when its only listener is a websockets one, hence the plain one.
# Started as root it would change to a user who may not read the tests' directories: it stays who it is.
CONFIGURATION = """
user {user}
persistence false
log_dest stderr
log_type all
connection_messages true
allow_anonymous {anonymous}
{passwords}
listener {plain_port} 127.0.0.1
listener {websocket_port} 127.0.0.1
protocol websockets
"""


@frozen(kw_only=True)
class Mosquitto:
    process: Process
    websocket_url: str
    plain_port: int

    @classmethod
    def start(cls, directory: Path, *, users: Mapping[str, str] | None = None) -> "Mosquitto":
        """Start Mosquitto. It lets in everybody, or where ``users`` are given only those, with their passwords."""
        program = ensure("mosquitto", "mosquitto")
        plain_port, websocket_port = free_port(), free_port()
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            CONFIGURATION.format(
                user=pwd.getpwuid(os.getuid()).pw_name,
                anonymous="true" if users is None else "false",
                passwords="" if users is None else f"password_file {_password_file(directory, users)}",
                plain_port=plain_port,
                websocket_port=websocket_port,
            )
        )
        process = Process.start([program, "-c", configuration], directory=directory, environment={})
        try:
            process.wait_for_port(plain_port)
            process.wait_for_port(websocket_port)
        except BaseException:
            process.kill()
            raise
        return cls(process=process, websocket_url=f"ws://127.0.0.1:{websocket_port}/", plain_port=plain_port)

    def log_text(self) -> str:
        """All that it printed: among it who connected, as which user, and which packets passed."""
        return self.process.log_text()

    def stop(self) -> None:
        self.process.stop()


def _password_file(directory: Path, users: Mapping[str, str]) -> Path:
    path = directory / "passwords"
    path.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
    path.chmod(0o600)
    subprocess.run([ensure("mosquitto", "mosquitto_passwd"), "-U", path], check=True)  # hashes them in place
    return path
