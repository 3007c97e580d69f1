"""What clients see of an upstream that is away: which words they hear, how soon, and when it is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.house import Answer, House, agreeing, answering, house
from tests.servers.ports import free_port
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.mqtt import connack

BROKEN: Answer = lambda _: b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"  # noqa: E731 - an answer like the others
RAW_STATE, MQTT_STATE = 'ws_circuit_state{protocol="raw"}', 'ws_circuit_state{protocol="mqtt"}'
FOREVER = "1000000"


@asynccontextmanager
async def opened(protocol: str = "raw", **settings: str) -> AsyncIterator[House]:
    """A house whose circuit has just opened, at the second failure."""
    settings = {"CB_FAILURE_THRESHOLD": "2", "WS_DIAL_RETRY_MAX": "0", **settings}
    async with house(**settings) as home:
        home.upstream.answer = BROKEN
        for _ in range(2):
            if protocol == "raw":
                answer, _ = await home.refusal(token=home.provider.mint())
                assert answer.status == 502
            else:
                async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
                    await client.say(BINARY, home.connect_packet().to_bytes())
                    await client.hear()
                    assert await client.hear_close() == (1013, "Upstream unavailable")
        await home.last_line("circuit open")
        yield home


async def refused_lines(home: House, count: int) -> list[str]:
    """The causes of so many refusals."""
    with trio.fail_after(10):
        while len(lines := home.lines("refused")) < count:
            await trio.sleep(0.005)
    return [line["cause"] for line in lines]


async def test_raw_before_the_101() -> None:
    """While the circuit is open a raw client gets a 503 with Retry-After, and its upstream no connection."""
    async with opened() as home:
        for _ in range(3):
            answer, problem = await home.refusal(token=home.provider.mint())
            assert (answer.status, problem["cause"]) == (503, "circuit_open")
            assert int(answer.headers.get("retry-after") or 0) >= 1
        assert home.upstream.connections == 2
        assert await refused_lines(home, 5) == ["upstream_unavailable"] * 2 + ["circuit_open"] * 3
        samples = await home.samples()
        assert samples['ws_circuit_open_total{protocol="raw"}'] == 1
        assert samples['ws_proxy_errors_total{protocol="raw"}'] == 5
        assert (samples[RAW_STATE], samples[MQTT_STATE]) == (2, 0)
        assert home.lines("refused")[-1]["detail"].endswith("the circuit is open")


async def test_raw_after_the_101() -> None:
    """One that has its 101 is closed with 1013."""
    async with opened() as home, home.open() as client:
        await client.say(TEXT, home.provider.mint().encode())
        assert await client.hear_close() == (1013, "Try again later")


@pytest.mark.parametrize(("level", "code"), [(3, 0x03), (4, 0x03), (5, 0x88)])
async def test_mqtt(level: int, code: int) -> None:
    """An MQTT client hears a CONNACK that says that the server is unavailable, and then 1013."""
    async with opened("mqtt") as home, home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
        await client.say(BINARY, home.connect_packet(level).to_bytes())
        assert await client.hear() == (BINARY, True, connack(level, code))
        assert await client.hear_close() == (1013, "Try again later")
        assert home.upstream.connections == 2


async def test_only_the_believed_are_told() -> None:
    """A bad token is a 401 all the same: nobody learns of upstreams without a good one."""
    async with opened() as home:
        answer, _ = await home.refusal(token="a.b.c")
        assert answer.status == 401


async def test_recovery() -> None:
    """After the open time one client tries, and when it is let in so are all."""
    async with opened(CB_OPEN_TIMEOUT_SECONDS="0.05") as home:
        home.upstream.answer = agreeing()
        await trio.sleep(0.06)
        async with home.raw(), home.raw():
            samples = await home.samples()
            assert (samples[RAW_STATE], samples['ws_circuit_open_total{protocol="raw"}']) == (0, 1)
        assert [line["event"] for line in home.lines("circuit half-open") + home.lines("circuit closed")] == [
            "circuit half-open",
            "circuit closed",
        ]


async def test_trial_whose_client_leaves() -> None:
    """A client that leaves while it is the trial keeps nobody out."""
    async with opened(CB_OPEN_TIMEOUT_SECONDS="0.05") as home:
        home.upstream.answer = lambda _: b""
        await trio.sleep(0.06)
        async with home.open() as client:
            await client.say(TEXT, home.provider.mint().encode())
            while home.upstream.connections < 3:
                await trio.sleep(0.005)
            answer, _ = await home.refusal(token=home.provider.mint())
            assert answer.status == 503
        await refused_lines(home, 4)
        home.upstream.answer = agreeing()
        async with home.open(token=home.provider.mint()):
            pass


async def test_clients_that_leave_and_clients_that_are_refused() -> None:
    """However many clients leave while they are dialled for, or get a 4xx of the upstream, the others are let in."""
    async with house(CB_FAILURE_THRESHOLD="1", CB_OPEN_TIMEOUT_SECONDS=FOREVER) as home:
        home.upstream.answer = answering("HTTP/1.1 403 Forbidden")
        for _ in range(3):
            answer, _ = await home.refusal(token=home.provider.mint())
            assert answer.status == 502
        home.upstream.answer = lambda _: b""
        for count in range(3):
            async with home.open() as client:
                await client.say(TEXT, home.provider.mint().encode())
                while home.upstream.connections < 4 + count:
                    await trio.sleep(0.005)
        await refused_lines(home, 6)
        home.upstream.answer = agreeing()
        async with home.open(token=home.provider.mint()):
            assert (await home.samples())[RAW_STATE] == 0


async def test_sessions_that_end() -> None:
    """An upstream that loses its sessions, however soon, is there: that opens nothing."""
    async with house(CB_FAILURE_THRESHOLD="1", CB_OPEN_TIMEOUT_SECONDS=FOREVER) as home:
        for _ in range(3):
            async with home.raw() as (client, upstream):
                upstream.reset()
                await client.read_to_end()
        async with home.raw():
            pass


# Probes

PROBED = {"CB_HEALTHCHECK_INTERVAL_SECONDS": "0.05", "CB_OPEN_TIMEOUT_SECONDS": FOREVER}


async def test_healthy_probe() -> None:
    """A healthy probe closes the circuit; failing ones open none."""
    async with house(CB_FAILURE_THRESHOLD="1", WS_DIAL_RETRY_MAX="0", **PROBED) as home:
        home.upstream.answer = BROKEN
        with trio.fail_after(10):
            while (await home.samples())["ws_upstream_health_failure_total"] < 6:
                await trio.sleep(0.005)
        samples = await home.samples()
        assert (samples[RAW_STATE], samples[MQTT_STATE]) == (0, 0)
        answer, _ = await home.refusal(token=home.provider.mint())
        assert answer.status == 502
        answer, _ = await home.refusal(token=home.provider.mint())
        assert answer.status == 503
        home.upstream.answer = agreeing()
        await home.last_line("circuit closed")
        async with home.open(token=home.provider.mint()):
            samples = await home.samples()
        assert samples["ws_upstream_health_success_total"] >= 1
        assert samples['ws_upstream_healthy{protocol="raw"}'] == 1
        asked_by_probes = [each for each in home.upstream.requests if each.headers.get("x-forwarded-for") is None]
        assert len(asked_by_probes) >= 7
        assert all(each.headers.get("authorization") is None for each in asked_by_probes)


async def test_readiness_without_upstreams() -> None:
    """Where nothing else is said, an upstream that is away leaves the gateway ready."""
    async with house(RAW_WS_BACKEND_URL=f"ws://127.0.0.1:{free_port()}", **PROBED) as home:
        await home.last_line("upstream unhealthy")
        assert (await home.get("/readyz"))[0].status == 200


async def test_readiness_with_an_upstream() -> None:
    """READY_NEEDS_UPSTREAMS makes readiness follow the probes of those that it names, and of no other."""
    nobody = f"ws://127.0.0.1:{free_port()}"
    async with house(READY_NEEDS_UPSTREAMS="raw", UPSTREAM_WS_URL=nobody, **PROBED) as home:
        home.upstream.answer = BROKEN
        with trio.fail_after(10):
            while (await home.get("/readyz"))[0].status == 200:
                await trio.sleep(0.005)
        assert (await home.get("/readyz"))[1] == b"not ready: the upstream of raw: answers 500, not 101\n"
        home.upstream.answer = agreeing()
        with trio.fail_after(10):
            while (await home.get("/readyz"))[0].status == 503:
                await trio.sleep(0.005)
