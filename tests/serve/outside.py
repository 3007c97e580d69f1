"""A gateway process with a provider and an upstream in the test's own event loop: what ``serve`` is seen as."""

import io
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from attrs import frozen

from tests.house import House, Upstream
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import Gateway
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import CLOSE, PING, PONG

SHORT = {
    "WS_CONTROL_TIMEOUT_SECONDS": "0.3",
    "WS_CLOSE_TIMEOUT_SECONDS": "0.3",
    "WS_DIAL_RETRY_INTERVAL_SECONDS": "0.05",
    "CB_HEALTHCHECK_INTERVAL_SECONDS": "0",
    "GRACEFUL_DRAIN_TIMEOUT_SECONDS": "1",
    "LOG_LEVEL": "debug",
}
RESET, END = b"reset", b"end"  # what an upstream that echoes is told to do


@frozen(kw_only=True)
class Outside:
    """``house`` knocks at the process; it has none of its output, ``gateway`` has."""

    house: House
    gateway: Gateway

    @property
    def pid(self) -> int:
        return self.gateway.process.popen.pid

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def resident_kib(self) -> int:
        [line] = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line[:6] == "VmRSS:"]
        return int(line.split()[1])

    async def log_line(self, event: str, count: int = 1) -> dict[str, object]:
        """The last log line of that event, as soon as there are so many."""
        with trio.fail_after(DEADLINE_SECONDS):
            while len(lines := self.gateway.events(event)) < count:
                await trio.sleep(POLL_SECONDS)
        return lines[-1]

    async def exit_status(self) -> int:
        """Of a process that was told to end; nothing that it started may be left."""
        status = await trio.to_thread.run_sync(self.gateway.process.wait)
        assert self.gateway.process.survivors() == []
        return status


@asynccontextmanager
async def outside(
    directory: Path,
    *,
    arguments: Sequence[str | Path] = (),
    launcher: Sequence[str | Path] = (),
    ready: bool = True,
    **settings: str,
) -> AsyncIterator[Outside]:
    """A gateway process with these settings on top of short time-outs, entered when it is ``ready``.

    It must end with status 0.
    """
    async with OidcProvider().serving() as provider, trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(listeners[0].socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, upstream.accept, listeners)
        urls = {
            "JWKS_URL": provider.jwks_uri,
            "UPSTREAM_WS_URL": f"ws://127.0.0.1:{upstream.port}/mqtt",
            "RAW_WS_BACKEND_URL": upstream.url,
        }
        start = partial(Gateway.start, directory, urls | SHORT | settings, arguments=arguments, launcher=launcher)
        gateway = await trio.to_thread.run_sync(start)
        try:
            house = House(provider, upstream, gateway.port, trio.CancelScope(), io.StringIO())
            if ready:
                await until_ready(house)
            there = Outside(house=house, gateway=gateway)
            yield there
            if gateway.process.popen.poll() is None:
                gateway.signal(signal.SIGTERM)
            assert await there.exit_status() == 0, gateway.output()
        finally:
            gateway.process.kill()
        nursery.cancel_scope.cancel()


async def until_ready(house: House) -> None:
    with trio.fail_after(DEADLINE_SECONDS):
        while (await house.get("/readyz"))[0].status != 200:
            await trio.sleep(POLL_SECONDS)


async def echo(peer: Peer) -> None:
    """Say every data frame back, until the other side closes, is gone, or says ``RESET`` or ``END``."""
    with suppress(EOFError, OSError):
        while True:
            await peer.wait()  # for ever: a session may well be idle
            opcode, fin, payload = await peer.hear()
            if opcode == CLOSE:
                await peer.say(CLOSE, payload)
                return
            if payload == RESET:
                peer.reset()
                return
            if payload == END:
                return
            if opcode == PING:
                await peer.say(PONG, payload)
            elif opcode != PONG:
                await peer.say(opcode, payload, fin=fin)
