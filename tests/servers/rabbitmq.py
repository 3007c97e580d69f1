"""RabbitMQ with its plugin rabbitmq_web_mqtt, and nothing of it shared with another RabbitMQ on the machine."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from attrs import define

from tests.servers.debian import PLACES, ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process

# Debian's wrapper of the same name changes to the user rabbitmq and writes to /var; the script behind it does neither.
BEHIND_THE_WRAPPER = "/usr/lib/rabbitmq/bin"

START_SECONDS = 90.0  # it takes nine on a fast machine
STARTED = "Server startup complete"
SERVICE_ACCOUNT = ("gateway", "the gateway's own password")

# A client without a user name is let in as guest: that is what `strip` relies on.
CONFIGURATION = """
listeners.tcp = none
mqtt.listeners.tcp.1 = 127.0.0.1:{plain_port}
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
web_mqtt.tcp.ip = 127.0.0.1
web_mqtt.tcp.port = {websocket_port}
load_definitions = {definitions}
log.console = true
log.console.level = info
log.file = false
"""


@define(kw_only=True)
class RabbitMQ:
    """``start_again`` replaces ``process`` by another one, in the same place."""

    process: Process
    port_mapper: Process
    directory: Path
    environment: Mapping[str, str]
    websocket_url: str
    plain_port: int

    @classmethod
    def start(cls, directory: Path) -> "RabbitMQ":
        """Start RabbitMQ with the users ``guest`` (password ``guest``) and ``SERVICE_ACCOUNT``."""
        plain_port, websocket_port = free_port(), free_port()
        definitions = directory / "definitions.json"
        definitions.write_text(_definitions({"guest": "guest", SERVICE_ACCOUNT[0]: SERVICE_ACCOUNT[1]}))
        (directory / "enabled_plugins").write_text("[rabbitmq_web_mqtt].\n")
        (directory / "rabbitmq.conf").write_text(
            CONFIGURATION.format(plain_port=plain_port, websocket_port=websocket_port, definitions=definitions)
        )
        environment = _environment(directory)
        # Erlang would start this itself, as a daemon that nobody ever stops.
        port_mapper = Process.start([ensure("erlang-base", "epmd")], directory=directory, environment=environment)
        try:
            port_mapper.wait_for_port(int(environment["ERL_EPMD_PORT"]))
            process = _started(directory, environment)
        except BaseException:
            port_mapper.kill()
            raise
        return cls(
            process=process,
            port_mapper=port_mapper,
            directory=directory,
            environment=environment,
            websocket_url=f"ws://127.0.0.1:{websocket_port}/ws",
            plain_port=plain_port,
        )

    def start_again(self) -> None:
        self.process = _started(self.directory, self.environment)

    def freeze(self) -> None:
        """Stand still, while the kernel goes on taking connections and bytes for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.process.survivors():
            os.kill(pid, number)

    def kill(self) -> None:
        self.process.kill()

    def log_text(self) -> str:
        """All that it printed: among it who connected and as which user."""
        return self.process.log_text()

    def stop(self) -> None:
        try:
            self.process.stop()
        finally:
            self.port_mapper.kill()


def _started(directory: Path, environment: Mapping[str, str]) -> Process:
    program = ensure("rabbitmq-server", "rabbitmq-server", places=[BEHIND_THE_WRAPPER, *PLACES])
    process = Process.start([program], directory=directory, environment=environment)
    try:  # its listeners are open before its users are there
        process.wait_until(lambda: STARTED in process.log_text(), "ready", START_SECONDS)
    except BaseException:
        process.kill()
        raise
    return process


def _environment(directory: Path) -> Mapping[str, str]:
    """Ports, node name, directories and cookie of its own; HOME is where Erlang keeps the cookie."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "gateway-tests@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
    }


def _definitions(users: Mapping[str, str]) -> str:
    anything = {"configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps(
        {
            "vhosts": [{"name": "/"}],
            "users": [{"name": user, "password": password, "tags": ""} for user, password in users.items()],
            "permissions": [{"user": user, "vhost": "/", **anything} for user in users],
        }
    )
