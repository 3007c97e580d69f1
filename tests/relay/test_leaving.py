"""Who leaves while it is not read, and who takes little at a time while it is written to."""

import math

import pytest
import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from tests.relay.test_relay import TERMS, made, relaying
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.leg import LINGER_MAX_BYTES
from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.limits.budgets import Budget, Purse
from trio_ws_gateway.limits.rates import Rate
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame

SMALL = build_frame(TEXT, b"", masked=True)
PAUSES = Rate(0.001, 1, pauses=True)


@pytest.fixture(autouse=True)
def driven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a reactor nobody looks at a socket that is not read."""
    monkeypatch.setattr("tests.relay.test_relay.driven_by_reactor", True)


async def test_a_reset_in_a_pause() -> None:
    """A client that is reset while it waits for tokens is lost at once, whatever it has said before."""
    async with relaying(budget=made(messages=PAUSES)) as ends:
        await ends.client.send(SMALL * 1000)
        await wait_all_tasks_blocked()
        ends.client.reset()
        with trio.fail_after(5):
            await ends.done.wait()
        assert ends.relay.cause is Cause.CLIENT_LOST


async def test_a_reset_before_a_pause() -> None:
    """So is one that was reset before it came to that."""
    async with relaying(budget=made(messages=PAUSES), from_client=SMALL * 1000) as ends:
        ends.client.reset()
        with trio.fail_after(5):
            await ends.done.wait()
        assert ends.relay.cause is Cause.CLIENT_LOST


async def test_an_end_in_a_pause() -> None:
    """What a client has said before it left in an orderly way is forwarded on, for the idle time at the most."""
    terms = evolve(TERMS, pace=Pace(ping_seconds=math.inf, idle_seconds=0.3))
    async with relaying(terms, budget=made(messages=Rate(20, 1, pauses=True))) as ends:
        await ends.client.send(SMALL * 1000)
        ends.client.end_stream()
        with trio.fail_after(5):
            await ends.done.wait()
        assert ends.relay.cause is Cause.IDLE
        assert 2 <= ends.relay.to_upstream.messages < 100


async def test_who_takes_little_at_a_time() -> None:
    """A client that reads slowly, and so seldom has room for much more, is not one that takes nothing."""
    message = bytes(20_000_000)
    async with relaying(evolve(TERMS, write_timeout_seconds=0.4)) as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.upstream.say, BINARY, message)
        await wait_all_tasks_blocked()
        stalled_at = ends.relay.to_client.outlet.stalled_at
        assert ends.relay.to_client.outlet.held
        for _ in range(20):  # five times the write time-out
            ends.client.sock.recv(100_000)
            await trio.sleep(0.1)
        assert ends.relay.cause is None
        assert ends.relay.to_client.outlet.held
        assert ends.relay.to_client.outlet.stalled_at > stalled_at
        nursery.cancel_scope.cancel()
        ends.client.reset()


async def test_a_flood_behind_the_end() -> None:
    """A source that goes on and on when all is over is read to a bound, and not for as long as it has to answer."""
    terms = evolve(TERMS, close_timeout_seconds=60)
    frame = build_frame(BINARY, bytes(100_000), masked=False)
    async with relaying(terms) as ends, trio.open_nursery() as nursery:

        async def flood() -> None:
            try:
                while True:
                    await ends.upstream.send(frame)
            except OSError:
                pass

        nursery.start_soon(flood)
        await ends.client.hear()
        intake = ends.relay.to_client.intake
        before = intake.bytes
        ends.relay.end(Cause.DRAINING)
        ends.client.end_stream()
        with trio.fail_after(10):
            await ends.done.wait()
        assert LINGER_MAX_BYTES // 2 < intake.bytes - before < 2 * LINGER_MAX_BYTES
        assert ends.relay.to_client.bytes_read < intake.bytes  # what nobody was sent is not counted
        nursery.cancel_scope.cancel()


async def test_all_that_it_may_have_and_no_more() -> None:
    """Where others grant the bytes, who has had his last one is refused when he sends another, and not before."""

    async def nothing_more() -> bool:
        return False

    message = build_frame(TEXT, b"hello", masked=True)
    purse = Purse(TokenBucket(rate=0.001, capacity=len(message), now=trio.current_time()), nothing_more)
    async with relaying(budget=Budget(bytes=[purse])) as ends:
        await ends.client.send(message)
        assert await ends.upstream.hear() == (TEXT, True, b"hello")
        await wait_all_tasks_blocked()
        assert ends.relay.cause is None
        await ends.client.send(message[:1])
        assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
        ends.client.end_stream()
