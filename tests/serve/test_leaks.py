"""After clients have come and gone in every way, a gateway is where it began."""

import gc
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.house import House, house
from tests.serve.visits import VISITS, Visit, backend, close_handshake, mqtt, session, visit
from tests.servers.ports import free_port
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.client import Client
from trio_ws_gateway.relay.pump import Pump
from trio_ws_gateway.relay.relay import Relay
from trio_ws_gateway.session import Session
from trio_ws_gateway.wire.frames import BINARY

VISITORS, AT_A_TIME = 400, 20
MORE = {
    "RAW_RECONNECT": "true",
    "RAW_RENEW_TYPE": "renew",
    "MQTT_RENEW_TOPIC": "renew",
    "RATE_LIMIT_PER_SECOND": "1000",
    "RATE_LIMIT_BYTES_PER_SECOND": "100000000",
    "RATE_LIMIT_PACKETS_PER_SECOND": "1000",
}


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """Whatever goes, goes by itself."""
    gc.collect()
    usual = gc.get_threshold()
    gc.set_threshold(0)
    yield
    gc.set_threshold(*usual)


def left() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Session | Client | Relay | Pump | Refused)]


@asynccontextmanager
async def home_with_backend(**settings: str) -> AsyncIterator[House]:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(backend)
        url = f"ws://127.0.0.1:{port}/"
        async with house(UPSTREAM_WS_URL=url, RAW_WS_BACKEND_URL=url, **settings) as home:
            yield home
        nursery.cancel_scope.cancel()


def state() -> tuple[int, int]:
    """Living tasks and open descriptors."""
    return trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))


async def settled() -> tuple[int, int]:
    """The state once the connections that the house was visited with before are over."""
    seen: list[tuple[int, int]] = []
    with trio.fail_after(5):
        while len(seen) < 20 or len(set(seen[-20:])) > 1:
            seen.append(state())
            await trio.sleep(0.005)
    return seen[-1]


async def back_to(began: tuple[int, int]) -> None:
    with trio.move_on_after(5):
        while state() != began:
            await trio.sleep(0.01)
    assert state() == began


@pytest.mark.parametrize("come", VISITS, ids=lambda come: come.__name__)
async def test_visit(come: Visit) -> None:
    """Whichever way a client comes and goes, nothing of it stays, not even for the garbage collector to find."""
    await come_thrice(come)


@pytest.mark.parametrize("come", [session, close_handshake, mqtt], ids=lambda come: come.__name__)
async def test_visit_with_more_to_it(come: Visit) -> None:
    """So it is with sessions that may renew their tokens, are given other upstreams, and whose packets are counted."""
    await come_thrice(come, **MORE)


async def come_thrice(come: Visit, **settings: str) -> None:
    chance = random.Random(7)
    async with home_with_backend(**settings) as home:
        began = await settled()
        for go in ("reset", "half-close", "close"):
            async with home.connect() as client:
                await come(home, client, chance)
                if go == "reset":
                    client.reset()
                elif go == "half-close":
                    client.end_stream()
                    await client.read_to_end()
        await back_to(began)
        assert left() == []


async def test_refused() -> None:
    """Whoever is refused, by the gateway or by a dial that fails, leaves nothing for the garbage collector either."""
    nobody = f"ws://127.0.0.1:{free_port()}/"
    async with house(UPSTREAM_WS_URL=nobody, RAW_WS_BACKEND_URL=nobody, WS_DIAL_RETRY_MAX="1") as home:
        for token, status in (("no.token.this", 401), (home.provider.mint(), 502)):
            answer, _ = await home.refusal(token=token)
            assert answer.status == status
        async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
            await client.say(BINARY, home.connect_packet(5).to_bytes())
            await client.hear()
        with trio.move_on_after(5):
            while len(home.lines("refused")) < 3 or left():
                await trio.sleep(0.01)
        assert left() == []


async def test_many_visits() -> None:
    """Hundreds that come and go at random, many at a time, leave no task, descriptor or object behind."""
    async with home_with_backend() as home:
        began = await settled()

        async def come_and_go(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(VISITORS // AT_A_TIME):
                with trio.move_on_after(chance.uniform(0.01, 1.0)):
                    await visit(home, chance)

        async with trio.open_nursery() as nursery:
            for seed in range(AT_A_TIME):
                nursery.start_soon(come_and_go, seed)
        assert home.lines("fault") == []
        with trio.fail_after(DEADLINE_SECONDS):
            while (await home.samples())["ws_active_sessions"] > 0:
                await trio.sleep(POLL_SECONDS)
        await back_to(began)
        assert left() == []
