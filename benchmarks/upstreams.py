"""What the proxies relay to: the echo, and Mosquitto for MQTT."""

import os
import pwd
from pathlib import Path

from attrs import frozen

from benchmarks.programs import Compiled, announced
from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process

MOSQUITTO = """
user {user}
persistence false
log_type error
allow_anonymous true
set_tcp_nodelay true
listener {plain_port} 127.0.0.1
listener {port} 127.0.0.1
protocol websockets
"""


@frozen(kw_only=True)
class Upstream:
    """``broadcast``: a port; what is written to it goes to all clients (the echo's only)."""

    process: Process
    port: int
    broadcast: int = 0


def start_echo(directory: Path, compiled: Compiled) -> Upstream:
    process = Process.start([compiled.echo], directory=directory, environment={"GOMAXPROCS": "1"}, name="echo")
    ports = announced(process)
    return Upstream(process=process, port=ports["port"], broadcast=ports["broadcast_port"])


def start_mosquitto(directory: Path) -> Upstream:
    """One that writes no line for a message, and does not wait for more to send."""
    port, file = free_port(), directory / "mosquitto.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    file.write_text(MOSQUITTO.format(user=user, plain_port=free_port(), port=port))
    process = Process.start(
        [ensure("mosquitto", "mosquitto"), "-c", file], directory=directory, environment={}, name="mosquitto"
    )
    process.wait_for_port(port)
    return Upstream(process=process, port=port)
