"""Settings become services: what upstreams see of the probes that the settings ask for."""

import math

import pytest
import trio
from structlog import get_logger
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.house import House, house
from trio_ws_gateway import wiring
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import RateLimit
from trio_ws_gateway.config.loading import load
from trio_ws_gateway.limits.rates import Direction, Rate, Spender, of_one
from trio_ws_gateway.limits.rules import Client
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.wire.frames import BINARY, FrameScanner
from trio_ws_gateway.wire.http import Request
from trio_ws_gateway.wire.mqtt import connack, parse_connect

DAILY = {"CB_HEALTHCHECK_INTERVAL_SECONDS": "86400"}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("algorithm", "seconds"), [("token-bucket", 10.0), ("fixed-window", 1.0)])
async def test_frames_that_are_no_messages(algorithm: str, seconds: float, shared: bool) -> None:
    """They are counted as messages are, ten times as many: with fixed windows the rate is nothing to them either."""
    settings = load({"ALLOW_ANONYMOUS": "true", "RATE_LIMIT_ALGORITHM": algorithm, "REDIS_URL": "redis://h"}).settings
    metrics = Metrics(max_identities=0)
    link = wiring.redis_link(settings, metrics=metrics, log=get_logger())
    assert link is not None
    buckets = wiring.shared_buckets(settings, link, metrics) if shared else None
    limits = wiring.limits(settings, math.inf, link=None, shared=buckets, log=get_logger())
    rates = of_one({RateLimit.MESSAGES: Rate(1, 10)})[Direction.FROM_CLIENT]
    mine = limits.budgets.of(Spender("robot", Direction.FROM_CLIENT, rates), began_at := trio.current_time())
    assert mine is not None
    scanner = FrameScanner(masked=True)
    for at in (0.0, 0.15, seconds + 0.3):
        mine.open(scanner, began_at + at)
        passed = scanner.extra_ceiling - scanner.extras
        assert passed == (0 if at == 0.15 and algorithm == "fixed-window" else 1 if at == 0.15 else 100)
        scanner.extras = scanner.extra_ceiling
        mine.settle(scanner)


async def test_claims_that_carry_no_number(autojump_clock: MockClock) -> None:
    """The claim is named in the log, once a minute, and what it says is not."""
    settings = load({"ALLOW_ANONYMOUS": "true", "LIMITS": "[{rate_limit_claim: mps, ceiling: 5}]"}).settings
    robot = Identity(issuer="i", subject="s", expires_at=1.0, claims={"mps": "secret"})
    with capture_logs() as lines:
        limits = wiring.limits(settings, math.inf, link=None, shared=None, log=get_logger())
        for _ in range(3):
            limits.table.of(Client(identity=robot, protocol="raw", address="192.0.2.1"))
            limits.table.of(Client(identity=robot, protocol="raw", address="192.0.2.1"))
            await trio.sleep(31)
    assert lines == [{"event": "unusable claim", "claim": "mps", "log_level": "warning"}] * 2


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
