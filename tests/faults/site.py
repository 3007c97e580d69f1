"""A gateway before a broker, both to be killed and started again, and robots that count what was acknowledged."""

import io
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

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


@asynccontextmanager
async def site(directory: Path, chance: random.Random, **settings: str) -> AsyncIterator[Site]:
    """Two workers before a Mosquitto that keeps its sessions over an end by SIGTERM. Their parent must end with 0."""
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
            **settings,
        }
        start = partial(Gateway.start, directory, terms)
        try:
            gateway = await trio.to_thread.run_sync(start)
            house = House(provider, Upstream(0), port, trio.CancelScope(), io.StringIO())
            running = Site(house, gateway, broker, start, chance)
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
    def robots(self) -> int:
        return 1 + sum(map(len, self.publishers.values()))

    @property
    def acknowledged(self) -> list[bytes]:
        return [each for robots in self.publishers.values() for robot in robots for each in robot.acknowledged]

    @property
    def lost(self) -> list[bytes]:
        arrived = set(self.listener.arrived)
        return [each for each in self.acknowledged if each not in arrived]


@asynccontextmanager
async def publishing(
    at: Site, *, qos: Sequence[int] = (1, 2), pause_seconds: float = 0, lost: Callable[[], object] = lambda: None
) -> AsyncIterator[Count]:
    """Robots publish, each lane when its last message is acknowledged, or a pause later, and end with the block."""
    over = trio.Event()

    async def send(publisher: Robot, qos: int, lane: int) -> None:
        for number in itertools.count():
            await publisher.publish(f"{publisher.name} {lane} {number}".encode(), qos)
            if over.is_set():
                return
            await trio.sleep(pause_seconds)

    async with trio.open_nursery() as nursery:

        def robot(name: str, topic: str, *, listens: bool = False) -> Robot:
            def connect() -> Connect:
                token = at.house.provider.mint(exp=int(time.time()) + 3600).encode()
                return Connect(level=4, client_id=name, username="robot", password=token, clean_start=False)

            made = Robot(name, connect, topic, listens=listens, lost=lost)
            nursery.start_soon(made.run, at.connection)
            return made

        listener = robot("listener", "count/+", listens=True)
        count = Count({each: [robot(f"{each}-{name}", f"count/{each}") for name in "ab"] for each in qos}, listener)
        with trio.fail_after(SETTLE_SECONDS):
            await listener.welcome.wait()
        async with trio.open_nursery() as sending:
            for each, publishers in count.publishers.items():
                for publisher, lane in itertools.product(publishers, range(LANES)):
                    sending.start_soon(send, publisher, each, lane)
            yield count
            over.set()
            sending.cancel_scope.deadline = trio.current_time() + SETTLE_SECONDS
        with trio.move_on_after(SETTLE_SECONDS):
            while count.lost:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
