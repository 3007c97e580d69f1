"""Real brokers and a real backend, killed, restarted and frozen while sessions are relayed to them.

``tests/integration/test_health.py`` looks at their probes and at readiness.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import frozen

from tests.faults.double import OTHER, SETTING
from tests.faults.newcomers import AWAY, MARGIN_SECONDS, PROBED, away_and_back, told
from tests.faults.others import before_an_echo, heard, nothing_stays, session, undisturbed
from tests.mqtt_robot import Robot
from tests.serve.test_workers import eventually
from tests.servers.backend import Backend
from tests.servers.mosquitto import Mosquitto
from tests.servers.rabbitmq import RabbitMQ
from trio_ws_gateway.wire.frames import BINARY, CLOSE
from trio_ws_gateway.wire.mqtt import Will, disconnect

pytestmark = pytest.mark.integration

IDLE_SECONDS = 2.5  # longer than a newcomer waits for his words, on a machine that has other things to do
TERMS = {
    **PROBED,
    "UPSTREAM_MQTT_CREDENTIALS": "strip",
    "WS_DIAL_TIMEOUT_SECONDS": "0.5",
    "WS_DIAL_RETRY_MAX": "1",
    "WS_PING_INTERVAL_SECONDS": "0.5",
    "WS_IDLE_TIMEOUT_SECONDS": str(IDLE_SECONDS),
}


@frozen
class Real:
    """``level``: the latest MQTT that it speaks."""

    server: Mosquitto | RabbitMQ | Backend
    protocol: str
    level: int

    @property
    def terms(self) -> dict[str, str]:
        return {**TERMS, SETTING[self.protocol]: self.server.websocket_url}


@pytest.fixture(params=["mosquitto", "rabbitmq", "backend"])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Real]:
    if request.param == "rabbitmq":  # the one of all tests, for it starts slowly; each leaves it as it was
        yield Real(request.getfixturevalue("rabbitmq"), "mqtt", 4)
        return
    (tmp_path / "upstream").mkdir()
    server: Mosquitto | Backend
    if request.param == "mosquitto":
        server = Mosquitto.start(tmp_path / "upstream")
    else:
        server = Backend.start(tmp_path / "upstream")
    try:
        yield Real(server, "mqtt" if request.param == "mosquitto" else "raw", 5)
    finally:
        server.kill()


async def test_killed_and_restarted(real: Real, tmp_path: Path) -> None:
    """Sessions of an upstream that is killed hear it at once, newcomers in time, and all come in once it is back."""
    async with (
        before_an_echo(tmp_path, **real.terms) as there,
        nothing_stays(there),
        undisturbed(there.house, OTHER[real.protocol]),
    ):
        async with session(there.house, real.protocol, there.house.connect_packet(real.level)) as client:
            await trio.to_thread.run_sync(real.server.kill)
            with trio.fail_after(MARGIN_SECONDS):
                frame = await heard(client)
                if real.protocol == "mqtt" and real.level == 5:
                    assert frame == (BINARY, True, disconnect(5, 0x80))
                    frame = await heard(client)
            assert frame == (CLOSE, True, b"\x03\xf3Upstream connection lost")
        await eventually(there.house, 'ws_session_ends_total{cause="upstream_lost"}', 1)

        async def back() -> None:
            await trio.to_thread.run_sync(real.server.start_again)

        try:
            await away_and_back(there.house, real.protocol, back, tries=2)
        finally:
            if real.server.process.popen.poll() is not None:
                await back()


async def test_frozen(real: Real, tmp_path: Path) -> None:
    """What is said to an upstream that stands still for a while arrives when it goes on; newcomers are told in time
    that it is away. When it stands still for longer its sessions are idle."""
    async with (
        before_an_echo(tmp_path, **real.terms) as there,
        nothing_stays(there),
        undisturbed(there.house, OTHER[real.protocol]),
        session(there.house, real.protocol, there.house.connect_packet(real.level)) as client,
    ):
        pings = [b"\xc0\x00" if real.protocol == "mqtt" else b"%d" % number for number in range(5)]
        answers = [b"\xd0\x00"] * 5 if real.protocol == "mqtt" else pings
        try:
            real.server.freeze()
            for ping in pings:
                await client.say(BINARY, ping)
            with trio.fail_after(MARGIN_SECONDS):
                assert await told(there.house, real.protocol) == AWAY[real.protocol]
            real.server.thaw()
            assert [(await heard(client))[2] for _ in pings] == answers
            real.server.freeze()
            with trio.fail_after(IDLE_SECONDS + MARGIN_SECONDS):
                while (frame := await heard(client))[0] != CLOSE:
                    pass
            assert frame[2][2:] == b"Idle timeout"
        finally:
            real.server.thaw()
        await eventually(there.house, 'ws_session_ends_total{cause="idle"}', 1)


async def test_will_of_who_vanishes(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """When a client is gone without a word its broker loses the connection, and publishes its will."""
    terms = {**TERMS, "UPSTREAM_WS_URL": mosquitto.websocket_url, "WS_PING_INTERVAL_SECONDS": "0.2"}
    async with (
        before_an_echo(tmp_path, **{**terms, "WS_IDLE_TIMEOUT_SECONDS": "0.5"}) as there,
        trio.open_nursery() as nursery,
    ):
        heir = Robot("heir", there.house.connect_packet, "wills", listens=True)
        nursery.start_soon(heir.run, partial(there.house.open, ("Sec-WebSocket-Protocol", "mqtt")))
        with trio.fail_after(MARGIN_SECONDS):
            await heir.welcome.wait()
        will = Will(topic="wills", payload=b"gone")
        async with session(there.house, "mqtt", there.house.connect_packet(client_id="testator", will=will)) as client:
            client.vanish()
            with trio.fail_after(0.5 + MARGIN_SECONDS):
                while not heir.arrived:
                    await trio.sleep(0.02)
        assert heir.arrived == [b"gone"]
        nursery.cancel_scope.cancel()
