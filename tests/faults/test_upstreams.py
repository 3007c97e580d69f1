"""An upstream that is away, silent or broken, cuts or says garbage: sessions of the other protocol go on all the while.

What no real server does on demand a double does; real ones are killed and frozen in ``test_real_upstreams``.
"""

import pytest
import trio

from tests.faults.double import (
    GARBAGE,
    HALF_A_FRAME,
    HALF_A_HEADER,
    broken,
    harmed,
    no_http,
    saying_last,
    silent,
    vanishing,
    well,
)
from tests.faults.newcomers import MARGIN_SECONDS, PROBED, away_and_back
from tests.faults.others import heard, session
from trio_ws_gateway.wire.frames import BINARY, build_frame, close_frame
from trio_ws_gateway.wire.mqtt import disconnect

PROTOCOLS = pytest.mark.parametrize("protocol", ["raw", "mqtt"])


@PROTOCOLS
async def test_no_handshake(protocol: str) -> None:
    """Silence, a 500, garbage, and a port where nobody listens, are an upstream that is away: newcomers hear it within
    the time of a dial, then at once, and come in again as soon as a probe has found it well."""
    async with harmed(protocol, **PROBED) as (home, double):

        async def mend() -> None:
            double.behave = well

        for behaviour, tries in ((silent, 1), (broken, 2), (no_http, 2)):
            double.behave = behaviour
            await away_and_back(home, protocol, mend, tries=tries)
        double.go_down()
        await away_and_back(home, protocol, double.come_up, tries=2)


LOST = ("upstream_lost", 0x80, close_frame(1011, "Upstream connection lost", masked=False))
ILLEGAL = ("illegal_frame", 0x82, close_frame(1002, "Protocol error", masked=False))
WITHOUT_A_WORD = ("upstream_lost", 0, b"")
ENDS: tuple[tuple[bytes, bool, bytes, tuple[str, int, bytes]], ...] = (
    (b"", False, b"", LOST),
    (b"", True, b"", LOST),
    (HALF_A_HEADER, False, b"", LOST),
    (HALF_A_FRAME, False, HALF_A_FRAME, WITHOUT_A_WORD),
    (GARBAGE, False, b"", ILLEGAL),
)


@PROTOCOLS
async def test_end_in_mid_session(protocol: str) -> None:
    """An upstream that is gone is said with 1011, and one that says garbage with 1002; in MQTT 5 a DISCONNECT precedes.

    What came of a frame passes, and where one was begun the connection ends behind it without a Close: nothing else
    may stand there. None of this opens the circuit.
    """
    async with harmed(protocol) as (home, double):
        for number, (last_words, reset, passed, (cause, code5, close)) in enumerate(ENDS):
            double.behave = saying_last(last_words, reset=reset)
            async with session(home, protocol, home.connect_packet(5)) as client:
                await client.say(BINARY, b"and then?")
                with trio.fail_after(MARGIN_SECONDS):
                    heard = await client.read_to_end()
            words = build_frame(BINARY, disconnect(5, code5), masked=False) if protocol == "mqtt" and close else b""
            assert heard == passed + words + close
            with trio.fail_after(MARGIN_SECONDS):
                while len(lines := home.lines("session ended")) <= number:
                    await trio.sleep(0.005)
            assert lines[number]["cause"] == cause
        samples = await home.samples()
        assert samples['ws_session_ends_total{cause="upstream_lost"}'] == 4
        assert samples['ws_session_ends_total{cause="illegal_frame"}'] == 1
        assert samples[f'ws_proxy_errors_total{{protocol="{protocol}"}}'] == 4
        assert samples[f'ws_circuit_state{{protocol="{protocol}"}}'] == 0


@PROTOCOLS
async def test_vanishes(protocol: str) -> None:
    """An upstream that is gone without a word answers no ping: its sessions are idle, whatever their clients say."""
    async with harmed(protocol, WS_PING_INTERVAL_SECONDS="0.2", WS_IDLE_TIMEOUT_SECONDS="0.9") as (home, double):
        double.behave = vanishing
        async with session(home, protocol) as client:
            with trio.fail_after(0.9 + MARGIN_SECONDS):
                await client.say(BINARY, b"still there?")
                assert (await heard(client))[2][2:] == b"Idle timeout"
        line = await home.last_line("session ended")
        assert (line["cause"], line["detail"]) == ("idle", "upstream")
