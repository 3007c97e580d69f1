"""What was acknowledged to an MQTT client is not lost, whatever is killed on the way: no PUBACK is the gateway's own.

With SIGKILL, at random moments, end the gateway and all its workers, or one worker; connections are reset. The broker
is ended with SIGTERM and started again: it then has what it has acknowledged. Killed with SIGKILL it would have
forgotten it, gateway or not: Mosquitto writes its sessions to disk from time to time, and at its end. Nor is it asked
that QoS 2 arrives once: when connections break, Mosquitto 2.0.11 repeats a few, also to clients that no gateway serves.
"""

import io
import itertools
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define, field

from tests.house import House, Upstream
from tests.mqtt_robot import Robot
from tests.oidc_provider import OidcProvider
from tests.serve.outside import SHORT
from tests.servers.gateway import Gateway
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.tcp import Peer
from trio_ws_gateway.wire.mqtt import Connect

pytestmark = pytest.mark.integration

SEED = 7
BETWEEN_SECONDS = 0.5  # one harm and the next, at most
MANY = 20
LANES = 3  # messages that a publisher has on their way at a time
SETTLE_SECONDS = 20.0


@define
class Site:
    """A gateway before a broker, both of which can be started again in their place, and who is connected."""

    house: House
    gateway: Gateway
    broker: Mosquitto
    start: Callable[[], Gateway]
    chance: random.Random
    connected: list[Peer] = field(factory=list)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Peer]:
        async with self.house.knock(("Sec-WebSocket-Protocol", "mqtt")) as (client, answer):
            if answer.status != 101:
                raise EOFError(answer.status)
            self.connected.append(client)
            try:
                yield client
            finally:
                self.connected.remove(client)

    async def cut(self) -> None:
        for peer in self.chance.sample(self.connected, len(self.connected) // 2):
            peer.reset()

    async def kill_worker(self) -> None:
        parent = self.gateway.process.popen.pid
        workers = [pid for pid in self.gateway.process.survivors() if pid != parent]
        os.kill(self.chance.choice(workers), signal.SIGKILL)

    async def kill_gateway(self) -> None:
        await trio.to_thread.run_sync(self.gateway.process.kill)
        self.gateway = await trio.to_thread.run_sync(self.start)

    async def restart_broker(self) -> None:
        await trio.to_thread.run_sync(self.broker.stop)
        await trio.to_thread.run_sync(self.broker.start_again)

    @property
    def harms(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.cut, self.kill_worker, self.kill_gateway, self.restart_broker]


@asynccontextmanager
async def site(directory: Path) -> AsyncIterator[Site]:
    async with OidcProvider().serving() as provider:
        broker = await trio.to_thread.run_sync(partial(Mosquitto.start, directory, persistent=True))
        port = free_port()
        terms = {
            **SHORT,
            "LISTEN": f"127.0.0.1:{port}",
            "WORKERS": "2",
            "JWKS_URL": provider.jwks_uri,
            "UPSTREAM_WS_URL": broker.websocket_url,
            "UPSTREAM_MQTT_CREDENTIALS": "strip",
            "CB_OPEN_TIMEOUT_SECONDS": "0.2",
        }
        start = partial(Gateway.start, directory, terms)
        try:
            gateway = await trio.to_thread.run_sync(start)
            house = House(provider, Upstream(0), port, trio.CancelScope(), io.StringIO())
            running = Site(house, gateway, broker, start, random.Random(SEED))
            try:
                yield running
                assert await trio.to_thread.run_sync(running.gateway.stop) == 0
            finally:
                running.gateway.process.kill()
        finally:
            broker.kill()


@define
class Count:
    """Who publishes, by QoS, and who hears it all."""

    publishers: dict[int, list[Robot]]
    listener: Robot

    @property
    def acknowledged(self) -> list[bytes]:
        return [each for robots in self.publishers.values() for robot in robots for each in robot.acknowledged]

    @property
    def lost(self) -> list[bytes]:
        arrived = set(self.listener.arrived)
        return [each for each in self.acknowledged if each not in arrived]


@asynccontextmanager
async def publishing(at: Site) -> AsyncIterator[Count]:
    """Robots of QoS 1 and 2 publish as fast as they are acknowledged, all through the block, and end with it."""
    token, over = at.house.provider.mint().encode(), trio.Event()

    async def send(publisher: Robot, qos: int, lane: int) -> None:
        for number in itertools.count():
            await publisher.publish(f"{publisher.name} {lane} {number}".encode(), qos)
            if over.is_set():
                return

    async with trio.open_nursery() as nursery:

        def robot(name: str, topic: str, *, listens: bool = False) -> Robot:
            connect = Connect(level=4, client_id=name, username="robot", password=token, clean_start=False)
            made = Robot(name, lambda: connect, topic, listens=listens)
            nursery.start_soon(made.run, at.connection)
            return made

        listener = robot("listener", "count/+", listens=True)
        count = Count({qos: [robot(f"{qos}-{name}", f"count/{qos}") for name in "ab"] for qos in (1, 2)}, listener)
        with trio.fail_after(SETTLE_SECONDS):
            await listener.welcome.wait()
        async with trio.open_nursery() as sending:
            for qos, publishers in count.publishers.items():
                for publisher, lane in itertools.product(publishers, range(LANES)):
                    sending.start_soon(send, publisher, qos, lane)
            yield count
            over.set()
            sending.cancel_scope.deadline = trio.current_time() + SETTLE_SECONDS
        with trio.move_on_after(SETTLE_SECONDS):
            while count.lost:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()


async def test_none_is_lost(tmp_path: Path) -> None:
    """Every message of QoS 1 whose PUBACK a client heard arrives, and of QoS 2 whose PUBCOMP it heard."""
    async with site(tmp_path) as at:
        async with publishing(at) as count:
            for harm in at.chance.sample(at.harms, len(at.harms)):
                await trio.sleep(at.chance.uniform(0, BETWEEN_SECONDS))
                await harm()
        assert count.lost == []
        for robots in count.publishers.values():
            assert all(len(robot.acknowledged) > MANY and robot.connections > 1 for robot in robots)
