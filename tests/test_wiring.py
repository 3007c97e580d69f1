"""Settings become services: what upstreams see of the probes that the settings ask for."""

import pytest
import trio

from tests.house import House, house
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.http import Request
from trio_ws_gateway.wire.mqtt import connack, parse_connect

DAILY = {"CB_HEALTHCHECK_INTERVAL_SECONDS": "86400"}


async def probes(home: House) -> dict[str, Request]:
    """The handshakes or requests of the first probes, by path."""
    with trio.fail_after(10):
        while len(home.upstream.requests) < 2:
            await trio.sleep(0.005)
    return {request.path: request for request in home.upstream.requests}


@pytest.mark.parametrize(("setting", "offered"), [("auto", ("mqtt",)), ("mqttv3.1", ("mqttv3.1",))])
@pytest.mark.parametrize("mode", ["websocket", "mqtt"])
async def test_handshakes(mode: str, setting: str, offered: tuple[str, ...]) -> None:
    """A probe is offered what a session would be: exactly one subprotocol on MQTT, none on raw."""
    async with house(CB_HEALTHCHECK_MODE=mode, UPSTREAM_MQTT_SUBPROTOCOL=setting, **DAILY) as home:
        asked = await probes(home)
        assert asked["/mqtt"].headers.all("sec-websocket-protocol") == offered
        assert asked["/raw"].headers.all("sec-websocket-protocol") == ()


async def test_get() -> None:
    """CB_HEALTHCHECK_MODE=http asks each upstream's host and port for CB_HEALTHCHECK_PATH."""
    async with house(CB_HEALTHCHECK_MODE="http", CB_HEALTHCHECK_PATH="/healthz?x=1", **DAILY) as home:
        asked = await probes(home)
        assert list(asked) == ["/healthz"]
        assert {request.headers.get("upgrade") for request in home.upstream.requests} == {None}


async def test_tcp() -> None:
    """CB_HEALTHCHECK_MODE=tcp says nothing to anybody."""
    async with house(CB_HEALTHCHECK_MODE="tcp", **DAILY) as home:
        with trio.fail_after(10):
            while (await home.samples())["ws_upstream_health_success_total"] < 2:
                await trio.sleep(0.005)
        assert home.upstream.requests == []


@pytest.mark.parametrize(
    ("credentials", "subprotocol", "expected"),
    [
        ("pass", "auto", (4, None, None)),
        ("strip", "mqttv3.1", (3, None, None)),
        ("gateway:swordfish", "mqtt", (4, "gateway", b"swordfish")),
        ("{sub}:swordfish", "mqtt", (4, None, None)),
    ],
)
async def test_connect(credentials: str, subprotocol: str, expected: tuple[int, str | None, bytes | None]) -> None:
    """CB_HEALTHCHECK_MODE=mqtt connects as the service account, if there is one for all; else as nobody."""
    async with house(
        CB_HEALTHCHECK_MODE="mqtt",
        UPSTREAM_MQTT_CREDENTIALS=credentials,
        UPSTREAM_MQTT_SUBPROTOCOL=subprotocol,
        RAW_WS_BACKEND_URL="ws://127.0.0.1:1/raw",
        **DAILY,
    ) as home:
        broker = await home.upstream.next()
        _, _, packet = await broker.hear()
        connect = parse_connect(packet)
        assert (connect.level, connect.username, connect.password) == expected
        await broker.say(BINARY, connack(connect.level, 0))
        with trio.fail_after(10):
            while 'ws_upstream_healthy{protocol="mqtt"}' not in (samples := await home.samples()):
                await trio.sleep(0.005)
        assert samples['ws_upstream_healthy{protocol="mqtt"}'] == 1


async def test_never() -> None:
    """With an interval of 0 nobody is asked, and nothing is said of anybody's health."""
    async with house(CB_HEALTHCHECK_INTERVAL_SECONDS="0") as home:
        assert not [name for name in await home.samples() if name.startswith("ws_upstream_healthy")]
        assert home.upstream.connections == 0
