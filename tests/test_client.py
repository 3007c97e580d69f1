"""`Client` hears a client out before the relay, and is never held up by what it sends."""

import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator

import pytest
import trio

from tests.tcp import Peer, tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.client import READ_BYTES, Client
from trio_ws_gateway.protocols.opening import CONTROL_FRAMES_MAX, OpeningReader
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, PING, build_frame


def never(_: object) -> None:
    """No adapter understands."""


@pytest.mark.parametrize("frame", [(PING, True), (CONTINUATION, False)], ids=["pings", "empty fragments"])
async def test_a_flood_of_frames(frame: tuple[int, bool]) -> None:
    """A flood before the first message is refused after a bound, and everybody else goes on meanwhile."""
    far, near = tcp_pair()
    wire = build_frame(BINARY, b"x", fin=False, masked=True)
    wire += build_frame(frame[0], fin=frame[1], masked=True) * 20_000
    stop = threading.Event()

    def flood() -> None:
        rest = memoryview(wire)
        while rest and not stop.is_set():
            with contextlib.suppress(BlockingIOError):
                rest = rest[far.send(rest) :]

    thread = threading.Thread(target=flood)
    thread.start()
    longest = 0.0

    async def heartbeat() -> None:
        nonlocal longest
        while True:
            due_at = trio.current_time() + 0.001
            await trio.sleep_until(due_at)
            longest = max(longest, trio.current_time() - due_at)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heartbeat)
            failure = None
            try:
                await Client(near).hear(OpeningReader(max_bytes=65536), never, 5)
            except Refused as refused:
                failure = refused
            nursery.cancel_scope.cancel()
    finally:
        stop.set()
        await trio.to_thread.run_sync(thread.join)
        leg.close(near)
        leg.close(far)
    assert failure is not None
    assert failure.cause in {Cause.RATE_LIMITED, Cause.MESSAGE_TOO_BIG}
    assert longest < 0.25  # seconds; without its checkpoints it was as long as the flood


async def test_pings_before_the_first_message() -> None:
    """So many control frames are answered; one more is over the limit."""
    far, near = tcp_pair()
    with Peer(far, masked=True) as peer:
        for _ in range(CONTROL_FRAMES_MAX + 1):
            await peer.say(PING, b"?")
        with pytest.raises(Refused) as refusal:
            await Client(near).hear(OpeningReader(max_bytes=65536), never, 5)
        assert refusal.value.cause is Cause.RATE_LIMITED
        peer.masked = True
        for _ in range(CONTROL_FRAMES_MAX):
            assert (await peer.hear())[2] == b"?"
        leg.close(near)


@pytest.fixture(params=["reactor", "task"])
async def reactor(request: pytest.FixtureRequest) -> AsyncIterator[Reactor | None]:
    """What hears that a client leaves: a reactor that runs, or ``None``, and then it is a task."""
    if request.param == "task":
        yield None
        return
    with Reactor() as reactor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reactor.run)
            yield reactor
            nursery.cancel_scope.cancel()


async def test_work_is_cancelled_when_the_client_leaves(reactor: Reactor | None) -> None:
    """Work for a client that leaves is cancelled; for one that sends ahead it goes on, and what it sent is not lost."""
    far, near = tcp_pair()
    client = Client(near, reactor)
    with Peer(far, masked=True) as peer:
        await peer.send(b"ahead")

        async def work() -> str:
            await trio.sleep(0.01)
            return "done"

        assert await client.unless_it_leaves(work, "at work") == "done"
        assert client.take_ahead() or near.recv(100) == b"ahead"
        await peer.send(b"behind it is the end")
        peer.end_stream()
        with trio.fail_after(5), pytest.raises(Refused) as refusal:
            await client.unless_it_leaves(trio.sleep_forever, "at work")
        assert (refusal.value.cause, refusal.value.detail) == (Cause.CLIENT_LOST, "at work")
        leg.close(near)


async def test_a_client_that_has_left_already(reactor: Reactor | None) -> None:
    """Work is cancelled as well where the client left before it began."""
    far, near = tcp_pair()
    leg.close(far)
    await trio.sleep(0.01)
    with trio.fail_after(5), pytest.raises(Refused, match="client_lost: at work"):
        await Client(near, reactor).unless_it_leaves(trio.sleep_forever, "at work")
    leg.close(near)


async def test_work_that_fails(reactor: Reactor | None) -> None:
    """What the work raises comes out as it is, and nobody watches any more: what is sent then is left to others."""
    far, near = tcp_pair()
    client = Client(near, reactor)
    with Peer(far, masked=True) as peer:

        async def work() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.unless_it_leaves(work, "at work")
        await peer.send(b"later")
        await trio.lowlevel.wait_readable(near)
        assert client.take_ahead() == b""
        leg.close(near)


async def test_a_reset_is_leaving(reactor: Reactor | None) -> None:
    """A client whose connection is reset has left."""
    far, near = tcp_pair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leg.close(far)
    with trio.fail_after(5), pytest.raises(Refused) as refusal:
        await Client(near, reactor).unless_it_leaves(trio.sleep_forever, "at work")
    assert refusal.value.cause is Cause.CLIENT_LOST
    leg.close(near)


async def test_leaving_afterwards(reactor: Reactor | None) -> None:
    """Who leaves when the work is done ends nothing: whoever takes the connection next finds out."""
    far, near = tcp_pair()
    client = Client(near, reactor)

    async def work() -> str:
        return "done"

    assert await client.unless_it_leaves(work, "at work") == "done"
    leg.close(far)
    with trio.move_on_after(0.02) as patience:
        await trio.sleep_forever()
    assert patience.cancelled_caught
    leg.close(near)


async def test_what_is_kept_ahead_is_bounded() -> None:
    """A client that sends too much ahead is not read any more, and not taken for one that left."""
    far, near = tcp_pair()
    client = Client(near)
    with Peer(far, masked=True) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, bytes(20 * READ_BYTES))

            async def work() -> None:
                await trio.sleep(0.05)

            await client.unless_it_leaves(work, "at work")
            nursery.cancel_scope.cancel()
        assert READ_BYTES <= len(client.take_ahead()) < 2 * READ_BYTES
        leg.close(near)


def test_presence() -> None:
    """Whether a client is still there is seen without taking what it has sent."""
    far, near = tcp_pair()
    with far, near:
        client = Client(near)
        client.check_presence("")
        far.send(b"words")
        client.check_presence("")
        assert near.recv(10) == b"words"
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(Refused) as caught:
            client.check_presence("while it waited")
        assert (caught.value.cause, caught.value.detail) == (Cause.CLIENT_LOST, "while it waited")
