"""An MQTT broker that lets in everybody from this machine: Mosquitto where it is installed, amqtt where it is not."""

import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from attrs import evolve, frozen

from trio_ws_gateway.demo.children import ChildFailed, child
from trio_ws_gateway.demo.ports import free_port
from trio_ws_gateway.groups import leaves

HOST = "127.0.0.1"
SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # where servers are, but not in the PATH of everybody

# Mosquitto 2.0.11 does not start when its only listener is a websockets one, hence the plain one.
MOSQUITTO = """
persistence false
log_dest stderr
allow_anonymous true
{user}
listener {plain_port} {host}
listener {port} {host}
protocol websockets
"""
# Started as root it would change to a user who may not be able to read what it needs.
AS_ROOT = "user root"

AMQTT = """
listeners:
  default:
    type: ws
    bind: {host}:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


@frozen(kw_only=True)
class Broker:
    """A running one; ``url`` is where it speaks WebSocket. ``name``: and what is worth knowing of it."""

    name: str
    url: str


StartBroker = Callable[[Path], AbstractAsyncContextManager[Broker]]
"""Runs a broker, with its files in that directory. Raises ``ChildFailed``, in a group."""


def mosquitto_program(path: str) -> str | None:
    """Where ``mosquitto`` is, in ``path`` or where systems keep servers."""
    return shutil.which("mosquitto", path=os.pathsep.join([path, *SBIN]))


def amqtt_is_installed() -> bool:
    return find_spec("amqtt") is not None


@asynccontextmanager
async def mosquitto(program: str, directory: Path) -> AsyncIterator[Broker]:
    """Raises ``ChildFailed``, in a group, where it does not start or ends."""
    port, plain_port = free_port(HOST), free_port(HOST)
    configuration = directory / "mosquitto.conf"
    user = AS_ROOT if os.geteuid() == 0 else ""
    configuration.write_text(MOSQUITTO.format(host=HOST, port=port, plain_port=plain_port, user=user))
    async with child("mosquitto", [program, "-c", configuration], directory=directory, environment={}) as process:
        await process.until(_accepts(port), f"listening on port {port}")
        yield Broker(
            name="Mosquitto, whose WebSocket listener takes up to 0.2 s to open a session", url=f"ws://{HOST}:{port}/"
        )


@asynccontextmanager
async def amqtt(directory: Path) -> AsyncIterator[Broker]:
    """Raises ``ChildFailed``, in a group, where it does not start or ends."""
    port = free_port(HOST)
    configuration = directory / "amqtt.yaml"
    configuration.write_text(AMQTT.format(host=HOST, port=port))
    command: list[str | Path] = [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", configuration]
    async with child("amqtt", command, directory=directory, environment={"PYTHONWARNINGS": "ignore"}) as process:
        await process.until(_accepts(port), f"listening on port {port}")
        yield Broker(name="amqtt", url=f"ws://{HOST}:{port}/")


@asynccontextmanager
async def mosquitto_or_amqtt(program: str, directory: Path) -> AsyncIterator[Broker]:
    """amqtt too where Mosquitto is there but does not start: built without websockets, or kept from the directory.

    Raises ``ChildFailed``, in a group, where neither starts, or the one that did ends.
    """
    broker: Broker | None = None
    async with AsyncExitStack() as stack:
        try:
            broker = await stack.enter_async_context(mosquitto(program, directory))
        except* ChildFailed as group:
            why = str(next(leaves(group))).partition(".")[0]
        if broker is None:
            broker = evolve(await stack.enter_async_context(amqtt(directory)), name=f"amqtt, because {why}")
        yield broker


def _accepts(port: int) -> Callable[[], bool]:
    def tried() -> bool:
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex((HOST, port)) == 0

    return tried
