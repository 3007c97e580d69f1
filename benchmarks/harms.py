"""What befalls a gateway and those around it, at random: each harm is over, and mended, when its function returns.

The broker is never killed with SIGKILL, for it would forget messages that it has acknowledged, and those are counted.
"""

import math
import os
import random
import resource
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress

import trio
from attrs import define

from benchmarks.watch import Watch
from tests.faults.site import Site
from tests.oidc_provider import Answer
from tests.serve.visits import UPGRADE
from tests.servers.backend import Backend
from tests.servers.mosquitto import Mosquitto

SHORT_SECONDS, LONG_SECONDS = (0.1, 2.0), (0.1, 9.0)  # the long one is longer than a silence may last
PUBLISHED_SECONDS = 8.0  # longer than keys are kept, and than the pause after a failed fetch
KILLED_SECONDS = 40.0  # of two workers, by turns: after a minute the death before is forgotten
CROWD = 200
RAW, MQTT = "raw", "mqtt"


@define
class Harms:
    at: Site
    backend: Backend
    chance: random.Random
    watch: Watch
    workers_killed: int = 0
    kill_again_at: float = 0

    @property
    def of_servers(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (
            self.restart_broker,
            self.freeze_broker,
            self.kill_backend,
            self.freeze_backend,
            self.kill_worker,
            self.cut_mqtt_clients,
        )

    @property
    def of_the_rest(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (self.take_keys_away, self.spoil_keys, self.stall_keys, self.rotate_keys, self.crowd, self.descriptors)

    async def now_and_then(self, harms: Sequence[Callable[[], Awaitable[None]]], seconds: float) -> None:
        """One harm after the other, with pauses of up to so many seconds, until cancelled; that waits for the last."""
        while True:
            await trio.sleep(self.chance.uniform(0, seconds))
            with trio.CancelScope(shield=True):
                await self.chance.choice(harms)()

    async def _while(self, span: tuple[float, float]) -> None:
        await trio.sleep(self.chance.uniform(*span))

    async def restart_broker(self) -> None:
        with self.watch.harm("broker restarted", MQTT):
            await trio.to_thread.run_sync(self.at.broker.stop)
            await self._while(SHORT_SECONDS)
            await trio.to_thread.run_sync(self.at.broker.start_again)

    async def kill_backend(self) -> None:
        with self.watch.harm("backend killed", RAW):
            await trio.to_thread.run_sync(self.backend.kill)
            await self._while(SHORT_SECONDS)
            await trio.to_thread.run_sync(self.backend.start_again)

    async def freeze_broker(self) -> None:
        await self._freeze(self.at.broker, "broker frozen", MQTT)

    async def freeze_backend(self) -> None:
        await self._freeze(self.backend, "backend frozen", RAW)

    async def _freeze(self, server: Mosquitto | Backend, name: str, kind: str) -> None:
        with self.watch.harm(name, kind):
            server.freeze()
            await self._while(LONG_SECONDS)
            server.thaw()

    async def kill_worker(self) -> None:
        """Not too often: the pause before a replacement grows with each death in a row."""
        if self.watch.now < self.kill_again_at:
            return
        with self.watch.harm("worker killed", RAW, MQTT):
            self.workers_killed += 1
            self.kill_again_at = self.watch.now + KILLED_SECONDS
            os.kill(self.chance.choice(workers(self.at)), signal.SIGKILL)
            with trio.fail_after(20):
                while len(workers(self.at)) < 2:  # noqa: ASYNC110 - processes
                    await trio.sleep(0.05)

    async def cut_mqtt_clients(self) -> None:
        with self.watch.harm("clients cut", MQTT):
            await self.at.cut()

    # What no session may notice

    async def take_keys_away(self) -> None:
        with self.watch.harm("keys away"):
            await self.at.house.provider.go_down()
            await self._while(LONG_SECONDS)
            await self.at.house.provider.come_up()

    async def spoil_keys(self) -> None:
        provider = self.at.house.provider
        bad = (Answer(status=500), Answer(body=b"{}"), Answer(padding_bytes=1e8), Answer(padding_bytes=math.inf))
        with self.watch.harm("keys spoilt"):
            provider.answers[provider.jwks_path] = self.chance.choice(bad)
            await self._while(LONG_SECONDS)
            provider.answers.clear()

    async def stall_keys(self) -> None:
        with self.watch.harm("keys slow"):
            self.at.house.provider.stall()
            await self._while(LONG_SECONDS)
            self.at.house.provider.flow()

    async def rotate_keys(self) -> None:
        """The new one is published before it is used, as providers do, and the last but one goes."""
        provider = self.at.house.provider
        with self.watch.harm("keys rotated"):
            old, new = provider.kid, provider.rotate(keep_old=True)
            provider.kid = old
            await trio.sleep(PUBLISHED_SECONDS)
            provider.kid = new
            for kid in provider.keys.keys() - {old, new}:
                del provider.keys[kid]

    async def crowd(self) -> None:
        """Many who say half a head or nothing, and vanish or stay."""
        with self.watch.harm("crowd"), suppress(OSError):
            async with AsyncExitStack() as stack:
                for _ in range(CROWD):
                    client = await stack.enter_async_context(self.at.house.connect())
                    await client.send(UPGRADE[: self.chance.choice([1, 50, len(UPGRADE)])])
                    if self.chance.random() < 0.5:
                        client.vanish()
                await self._while(LONG_SECONDS)

    async def descriptors(self) -> None:
        """One worker has none left: who comes to it is told to come again."""
        with self.watch.harm("no descriptors"):
            pid = self.chance.choice(workers(self.at))
            with suppress(ProcessLookupError):  # killed meanwhile
                limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, limits[1]))
                await self._while(SHORT_SECONDS)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def workers(at: Site) -> list[int]:
    parent = at.gateway.process.popen.pid
    return [pid for pid in at.gateway.process.survivors() if pid != parent]
