"""The end of a gateway: a signal, a drain spread over its time, and nothing left."""

import fcntl
import os
import signal
import socket
import sys
import termios
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.house import HANDSHAKE, House, agreeing, house
from tests.serve.outside import Outside, echo, outside
from tests.tcp import Peer
from trio_ws_gateway.farewell import RETRY_AFTER_MAX_SECONDS
from trio_ws_gateway.wire.frames import BINARY, CLOSE, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head

RESTART = (1012, "Service restart")
UPGRADE = build_head("GET /ws HTTP/1.1", list(HANDSHAKE))


async def stopped(home: House, within_seconds: float = 5.0) -> None:
    """Wait until ``serve`` has returned."""
    with trio.fail_after(within_seconds):
        while not home.lines("stopped"):
            await trio.sleep(0.005)


async def draining(home: House) -> None:
    with trio.fail_after(5):
        while not home.lines("draining"):
            await trio.sleep(0.001)


@asynccontextmanager
async def raw_sessions(home: House, count: int) -> AsyncIterator[list[tuple[Peer, Peer]]]:
    """So many raw sessions, in the order of their arrival: client and upstream of each."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(home.raw()) for _ in range(count)]


async def answer_close(side: Peer) -> tuple[int, str]:
    heard = await side.hear_close()
    await side.say_close(heard[0])
    return heard


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_while_it_drains(number: signal.Signals) -> None:
    """A draining gateway is alive but not ready, takes no session, lets live ones go on; a second SIGINT ends it."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="30") as home, raw_sessions(home, 3) as sessions:
        signal.raise_signal(number)
        await draining(home)
        answer, body = await home.get("/readyz")
        assert (answer.status, body) == (503, b"not ready: draining\n")
        assert (await home.get("/healthz"))[0].status == 200
        assert (await home.samples())["ws_active_sessions"] >= 2
        refusal, problem = await home.refusal(token=home.provider.mint())
        assert refusal.status == 503
        assert 1 <= int(refusal.headers.get("retry-after") or 0) <= RETRY_AFTER_MAX_SECONDS
        assert problem["cause"] == "draining"
        client, upstream = sessions[-1]
        await client.say(TEXT, b"still there?")
        assert await upstream.hear() == (TEXT, True, b"still there?")
        await upstream.say(TEXT, b"still here")
        assert await client.hear() == (TEXT, True, b"still here")
        assert not home.lines("stopped")
        signal.raise_signal(signal.SIGINT)
        await stopped(home, within_seconds=1)
        assert await client.read_to_end() == b""


@pytest.mark.alone
async def test_goodbyes_are_spread() -> None:
    """Sessions are closed with 1012 one after the other over the drain time, the first at once."""
    count, seconds = 10, 1.0
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS=str(seconds)) as home, raw_sessions(home, count) as sessions:
        heard: list[tuple[float, tuple[int, str]]] = []

        async def client_of(client: Peer) -> None:
            reason = await answer_close(client)
            heard.append((trio.current_time() - began_at, reason))

        async with trio.open_nursery() as nursery:
            for client, upstream in sessions:
                nursery.start_soon(client_of, client)
                nursery.start_soon(echo, upstream)
            began_at = trio.current_time()
            signal.raise_signal(signal.SIGTERM)
        assert [reason for _, reason in heard] == [RESTART] * count
        times = [at for at, _ in heard]
        assert times[0] < 0.4 * seconds
        assert times[-1] < seconds
        assert all(at >= position * 0.75 * seconds / count for position, at in enumerate(times))
        await stopped(home)
        assert [line["cause"] for line in home.lines("session ended")] == ["draining"] * count
        assert home.lines("cut") == []


async def test_upstream_hears_that_the_session_goes_away() -> None:
    """The upstream of a session that is drained gets a Close with 1001."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="1") as home, home.raw() as (client, upstream):
        signal.raise_signal(signal.SIGTERM)
        assert await answer_close(client) == RESTART
        assert await answer_close(upstream) == (1001, "")
        await stopped(home)


async def test_goodbye_waits_for_the_end_of_a_frame() -> None:
    """A client that is in the middle of a large frame gets the rest of it before the Close."""
    async with (
        house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="5", WS_CONTROL_TIMEOUT_SECONDS="3") as home,
        home.raw() as (client, upstream),
    ):
        frame = build_frame(BINARY, os.urandom(1 << 20), masked=False)
        await upstream.send(frame[:5000])
        got = await client.read(5000)
        signal.raise_signal(signal.SIGTERM)
        await draining(home)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.send, frame[5000:])
            got += await client.read(len(frame) - 5000)
        assert got == frame
        assert await answer_close(client) == RESTART
        assert await answer_close(upstream) == (1001, "")
        await stopped(home)


async def test_frame_that_never_ends() -> None:
    """A client whose frame is not completed within the control timeout is cut without a Close inside of it."""
    async with (
        house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="5", WS_CONTROL_TIMEOUT_SECONDS="0.1") as home,
        home.raw() as (client, upstream),
    ):
        part = build_frame(BINARY, bytes(100_000), masked=False)[:5000]
        await upstream.send(part)
        assert await client.read(5000) == part
        signal.raise_signal(signal.SIGTERM)
        assert await client.read_to_end() == b""
        await stopped(home)
        assert home.lines("session ended")[0]["cause"] == "draining"


async def test_mqtt_5_client_hears_disconnect_first() -> None:
    """An MQTT 5 client gets a DISCONNECT with 0x8B (server shutting down) before the Close."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="1") as home, home.mqtt(home.connect_packet(5)) as (client, broker):
        signal.raise_signal(signal.SIGTERM)
        opcode, _, packet = await client.hear()
        assert (opcode, packet[0], packet[2]) == (BINARY, 0xE0, 0x8B)
        assert await answer_close(client) == RESTART
        await answer_close_after_words(broker)
        await stopped(home)


async def answer_close_after_words(side: Peer) -> None:
    while (heard := await side.hear())[0] != CLOSE:
        pass
    await side.say(CLOSE, heard[2])


async def test_what_is_left_at_the_deadline_is_cut() -> None:
    """A goodbye that lasts longer than the drain time does not hold it up."""
    async with (
        house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="0.3", WS_CONTROL_TIMEOUT_SECONDS="30") as home,
        home.raw() as (client, upstream),
    ):
        await upstream.send(build_frame(BINARY, bytes(100_000), masked=False)[:5000])
        await client.read(5000)
        began_at = trio.current_time()
        signal.raise_signal(signal.SIGTERM)
        await stopped(home)
        assert 0.3 <= trio.current_time() - began_at < 2
        assert await client.read_to_end() == b""
        assert home.lines("cut")[0]["sessions"] == 1


async def test_no_drain_time() -> None:
    """With a drain time of 0 everything is cut at once."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="0") as home, home.raw() as (client, _):
        signal.raise_signal(signal.SIGTERM)
        await stopped(home, within_seconds=1)
        assert await client.read_to_end() == b""


async def test_client_that_never_reads() -> None:
    """A client that takes nothing, with its upstream still talking, holds nothing up."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="5") as home, home.raw() as (client, upstream):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        async def talk() -> None:
            with suppress(OSError):
                while True:
                    await upstream.say(BINARY, bytes(1 << 20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await until_full(upstream)
            signal.raise_signal(signal.SIGTERM)
            await stopped(home, within_seconds=3)
        assert home.lines("session ended")[0]["cause"] == "draining"


async def until_full(speaker: Peer) -> None:
    """Wait until what somebody says moves no more, because nobody takes it."""
    moved = -1
    while (unsent := unacknowledged_bytes(speaker.sock)) != moved or not unsent:
        moved = unsent
        await trio.sleep(0.05)


def unacknowledged_bytes(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def test_before_there_is_a_session() -> None:
    """Who said nothing, half a head, or nothing since the 101, and who waits for a dial, is told as far as can be."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="1") as home, AsyncExitStack() as stack:
        home.upstream.answer = lambda _request: b""  # an upstream that leaves everybody waiting
        silent = await stack.enter_async_context(home.connect())
        half = await stack.enter_async_context(home.connect())
        await half.send(UPGRADE[:50])
        quiet = await stack.enter_async_context(home.open())
        begun = await stack.enter_async_context(home.open())
        await begun.say(TEXT, b'{"tok', fin=False)
        early = await stack.enter_async_context(home.connect())
        await early.send(UPGRADE[:-2] + f"Authorization: Bearer {home.provider.mint()}\r\n\r\n".encode())
        await home.upstream.next()
        late = await stack.enter_async_context(home.open(("Sec-WebSocket-Protocol", "mqtt")))
        await late.say(BINARY, home.connect_packet(5).to_bytes())
        await home.upstream.next()
        signal.raise_signal(signal.SIGTERM)
        for peer in (silent, half, early):
            assert (await peer.read_until(b"\r\n")).startswith(b"HTTP/1.1 503 ")
            peer.end_stream()
        for peer in (quiet, begun):
            assert await answer_close(peer) == RESTART
            peer.end_stream()
        opcode, _, packet = await late.hear()
        assert (opcode, packet[0], packet[3]) == (BINARY, 0x20, 0x88)  # CONNACK: server unavailable
        assert await answer_close(late) == RESTART
        late.end_stream()
        await stopped(home)
        assert {line["cause"] for line in home.lines("refused")} == {"draining"}


@pytest.mark.parametrize("end", ["drained", "cut", "second signal", "cancelled"])
async def test_nothing_is_left(end: str) -> None:
    """When ``serve`` has returned its tasks, sockets, threads and signal handlers are gone, whatever was going on."""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    seconds = {"drained": "1", "cut": "0"}.get(end, "30")
    before = state()
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS=seconds) as home, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(home.raw())
            await stack.enter_async_context(home.mqtt(home.connect_packet(5)))
            await stack.enter_async_context(home.open())
            await stack.enter_async_context(home.connect())
        home.upstream.answer = lambda _request: b""
        dialling = await stack.enter_async_context(home.connect())
        await dialling.send(UPGRADE[:-2] + f"Authorization: Bearer {home.provider.mint()}\r\n\r\n".encode())
        await home.upstream.next()
        home.upstream.answer = agreeing()
        if end == "cancelled":
            home.scope.cancel()
        else:
            signal.raise_signal(signal.SIGTERM)
        if end == "second signal":
            await draining(home)
            signal.raise_signal(signal.SIGINT)
        if end == "cancelled":
            with trio.fail_after(2):
                while any(home.port == local for local in listening_ports()):
                    await trio.sleep(0.005)
        else:
            await stopped(home)
    assert state() == before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def state() -> tuple[int, list[str], set[int]]:
    """Living tasks, open descriptors and threads of this process."""
    descriptors = sorted(os.readlink(f"/proc/self/fd/{each}").split(":")[0] for each in _descriptors())
    return trio.lowlevel.current_statistics().tasks_living, descriptors, {t.ident or 0 for t in threading.enumerate()}


def _descriptors() -> list[str]:
    return [each for each in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{each}")]


def listening_ports() -> list[int]:
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_exit_status(tmp_path: Path, number: signal.Signals) -> None:
    """The process ends with status 0 after a drain, and leaves no child."""
    async with outside(tmp_path, GRACEFUL_DRAIN_TIMEOUT_SECONDS="1") as there, AsyncExitStack() as stack:
        client, upstream = await stack.enter_async_context(there.house.raw())
        await stack.enter_async_context(there.house.connect())
        there.gateway.signal(number)
        assert await answer_close(client) == RESTART
        assert await answer_close(upstream) == (1001, "")
        assert await there.exit_status() == 0
        assert_clean(there)


async def test_second_sigint_of_a_process(tmp_path: Path) -> None:
    """Control-C twice ends the process at once, without a traceback."""
    async with outside(tmp_path, GRACEFUL_DRAIN_TIMEOUT_SECONDS="600") as there, raw_sessions(there.house, 3):
        there.gateway.signal(signal.SIGINT)
        await there.log_line("draining")
        there.gateway.signal(signal.SIGINT)
        assert await there.exit_status() == 0
        assert_clean(there)


def assert_clean(there: Outside) -> None:
    """Nothing but log lines was printed, and no token."""
    output = there.gateway.output()
    assert all(line.startswith("{") for line in output.splitlines()), output
    assert "eyJ" not in output


async def test_who_leaves_by_itself_is_not_waited_for() -> None:
    """When all sessions have left by themselves the drain is over, whatever is left of its time."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="60") as home, raw_sessions(home, 4) as sessions:
        signal.raise_signal(signal.SIGTERM)
        await draining(home)
        for client, upstream in sessions:
            client.end_stream()
            upstream.end_stream()
        await stopped(home)
