"""What newcomers hear of an upstream that is away: how soon, in which words, and when it is over."""

from collections.abc import Awaitable, Callable

import trio

from tests.faults.others import session
from tests.house import House
from trio_ws_gateway.wire.frames import BINARY
from trio_ws_gateway.wire.mqtt import connack

PROBED = {"CB_HEALTHCHECK_INTERVAL_SECONDS": "0.3", "CB_OPEN_TIMEOUT_SECONDS": "1000", "CB_FAILURE_THRESHOLD": "2"}
AWAY = {"raw": (502, "upstream_unavailable"), "mqtt": (3, "Upstream unavailable")}
LEFT_ALONE = {"raw": (503, "circuit_open"), "mqtt": (3, "Try again later")}
MARGIN_SECONDS = 4.0  # for a machine that has other things to do
PING, ANSWERS = b"\xc0\x00", (b"\xc0\x00", b"\xd0\x00")  # of MQTT; an echo says it back, and a broker answers it


async def told(home: House, protocol: str) -> tuple[int, str]:
    """What a newcomer hears who is not let in: status and cause, or the CONNACK's code and the reason of the Close."""
    if protocol == "raw":
        answer, problem = await home.refusal(token=home.provider.mint())
        return answer.status, problem["cause"]
    async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
        await client.say(BINARY, home.connect_packet().to_bytes())
        opcode, _, packet = await client.hear()
        assert (opcode, packet[:3]) == (BINARY, connack(4, 0)[:3])
        code, reason = await client.hear_close()
        assert code == 1013
        return packet[3], reason


async def away_and_back(home: House, protocol: str, back: Callable[[], Awaitable[None]], *, tries: int) -> None:
    """It is told in time that the upstream cannot be had, then that it is left alone; once it is back, all is well."""

    with trio.fail_after(MARGIN_SECONDS):
        while (before := await home.samples()).get(f'ws_upstream_healthy{{protocol="{protocol}"}}') != 0:
            await trio.sleep(0.02)
    with trio.fail_after(MARGIN_SECONDS):
        assert [await told(home, protocol) for _ in range(3)] == [*[AWAY[protocol]] * 2, LEFT_ALONE[protocol]]
    after = await home.samples()

    def grown(name: str, label: str = f'protocol="{protocol}"') -> float:
        return after.get(f"{name}{{{label}}}", 0) - before.get(f"{name}{{{label}}}", 0)

    assert (grown("ws_circuit_state"), grown("ws_circuit_open_total")) == (2, 1)
    assert (grown("ws_proxy_errors_total"), grown("ws_proxy_retries_total")) == (3, 2 * (tries - 1))
    assert grown("ws_session_ends_total", 'cause="upstream_unavailable"') == 2
    assert grown("ws_session_ends_total", 'cause="circuit_open"') == 1
    await back()
    with trio.fail_after(MARGIN_SECONDS):
        while (await home.samples())[f'ws_circuit_state{{protocol="{protocol}"}}']:  # until a probe finds it well
            await trio.sleep(0.02)
    async with session(home, protocol) as client:
        await client.say(BINARY, PING)
        assert (await client.hear())[2] in ANSWERS
