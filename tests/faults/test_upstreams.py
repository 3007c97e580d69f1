"""An upstream that is away, silent or broken, cuts or says garbage: sessions of the other protocol go on all the while.

What no real server does on demand a double does; real ones are killed and frozen in ``test_brokers``.
"""

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.faults.double import (
    GARBAGE,
    HALF_A_FRAME,
    HALF_A_HEADER,
    Behaviour,
    broken,
    harmed,
    no_http,
    saying_last,
    silent,
    vanishing,
    well,
)
from tests.faults.others import heard, session
from tests.house import House
from trio_ws_gateway.wire.frames import BINARY, close_frame
from trio_ws_gateway.wire.mqtt import connack, disconnect

PROTOCOLS = pytest.mark.parametrize("protocol", ["raw", "mqtt"])
PROBED = {"CB_HEALTHCHECK_INTERVAL_SECONDS": "0.3", "CB_OPEN_TIMEOUT_SECONDS": "1000"}
AWAY = {"raw": (502, "upstream_unavailable"), "mqtt": (3, "Upstream unavailable")}
LEFT_ALONE = {"raw": (503, "circuit_open"), "mqtt": (3, "Try again later")}
DIAL_SECONDS, MARGIN_SECONDS = 0.3, 2.0  # the margin is for a machine that has other things to do


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

    def of_protocol(name: str) -> float:
        return samples.get(f'{name}{{protocol="{protocol}"}}', 0)

    with trio.fail_after(MARGIN_SECONDS):
        while (samples := await home.samples()).get(f'ws_upstream_healthy{{protocol="{protocol}"}}') != 0:
            await trio.sleep(0.02)
    with trio.fail_after(2 * DIAL_SECONDS + MARGIN_SECONDS):
        assert [await told(home, protocol) for _ in range(3)] == [*[AWAY[protocol]] * 2, LEFT_ALONE[protocol]]
    samples = await home.samples()
    assert (of_protocol("ws_circuit_state"), of_protocol("ws_circuit_open_total")) == (2, 1)
    assert (of_protocol("ws_proxy_errors_total"), of_protocol("ws_proxy_retries_total")) == (3, 2 * (tries - 1))
    assert samples['ws_session_ends_total{cause="upstream_unavailable"}'] == 2
    assert samples['ws_session_ends_total{cause="circuit_open"}'] == 1
    await back()
    with trio.fail_after(MARGIN_SECONDS):
        while (await home.samples())[f'ws_circuit_state{{protocol="{protocol}"}}']:  # until a probe finds it well
            await trio.sleep(0.02)
    async with session(home, protocol) as client:
        await client.say(BINARY, b"hello")
        assert await client.hear() == (BINARY, True, b"hello")


@PROTOCOLS
@pytest.mark.parametrize(
    ("behaviour", "tries"), [(silent, 1), (broken, 2), (no_http, 2)], ids=["silent", "500", "garbage"]
)
async def test_no_handshake(protocol: str, behaviour: Behaviour, tries: int) -> None:
    """Silence, a 500 and garbage are an upstream that is away: said within the time of a dial, and then at once."""
    async with harmed(protocol, **PROBED) as (home, double):
        double.behave = behaviour

        async def back() -> None:
            double.behave = well

        await away_and_back(home, protocol, back, tries=tries)


@PROTOCOLS
async def test_nobody_listens(protocol: str) -> None:
    """So is one that refuses connections."""
    async with harmed(protocol, **PROBED) as (home, double):
        double.go_down()
        await away_and_back(home, protocol, double.come_up, tries=2)


LOST = close_frame(1011, "Upstream connection lost", masked=False)
BREACH = close_frame(1002, "Protocol error", masked=False)


@PROTOCOLS
@pytest.mark.parametrize(
    ("last_words", "reset", "passed", "close", "code5"),
    [
        (b"", False, b"", LOST, 0x80),
        (b"", True, b"", LOST, 0x80),
        (HALF_A_HEADER, False, b"", LOST, 0x80),
        (HALF_A_FRAME, False, HALF_A_FRAME, b"", 0),
        (GARBAGE, False, b"", BREACH, 0x82),
    ],
    ids=["end", "reset", "mid-header", "mid-frame", "garbage"],
)
async def test_end_in_mid_session(
    protocol: str, last_words: bytes, reset: bool, passed: bytes, close: bytes, code5: int
) -> None:
    """An upstream that is gone is said with 1011, and one that says garbage with 1002; in MQTT 5 a DISCONNECT precedes.

    What came of a frame passes, and where one was begun the connection ends behind it without a Close: nothing else
    may stand there.
    """
    async with harmed(protocol) as (home, double):
        double.behave = saying_last(last_words, reset=reset)
        async with session(home, protocol, home.connect_packet(5)) as client:
            with trio.fail_after(MARGIN_SECONDS):
                await client.say(BINARY, b"and then?")
                heard = await client.read_to_end()
        words = b""
        if protocol == "mqtt" and close:
            packet = disconnect(5, code5)
            words = b"\x82" + bytes([len(packet)]) + packet
        assert heard == passed + words + close
        cause = "upstream_lost" if close != BREACH else "illegal_frame"
        assert (await home.last_line("session ended"))["cause"] == cause
        samples = await home.samples()
        assert samples[f'ws_session_ends_total{{cause="{cause}"}}'] == 1
        assert samples.get(f'ws_proxy_errors_total{{protocol="{protocol}"}}', 0) == (cause == "upstream_lost")
        assert samples[f'ws_circuit_state{{protocol="{protocol}"}}'] == 0


@PROTOCOLS
async def test_vanishes(protocol: str) -> None:
    """An upstream that is gone without a word answers no ping: its sessions are idle, whatever their clients say."""
    async with harmed(protocol, WS_PING_INTERVAL_SECONDS="0.1", WS_IDLE_TIMEOUT_SECONDS="0.3") as (home, double):
        double.behave = vanishing
        async with session(home, protocol) as client:
            with trio.fail_after(0.3 + MARGIN_SECONDS):
                await client.say(BINARY, b"still there?")
                assert (await heard(client))[2][2:] == b"Idle timeout"
        line = await home.last_line("session ended")
        assert (line["cause"], line["detail"]) == ("idle", "upstream")
