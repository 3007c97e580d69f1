"""`Turnstile`: how much of handshakes there is in a turn of the loop, and whose turn it is."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_ws_gateway import turnstile as module
from trio_ws_gateway.turnstile import AT_ONCE, STEPS_PER_TURN, TURNED_AWAY_PER_TURN, Turnstile

FAR = 1e6


@define(eq=False)
class Turns(trio.abc.Instrument):
    """Counts the turns of the loop; ``steps``: in which each step was taken, in their order."""

    now: int = 0
    steps: list[tuple[str, int]] = field(factory=list)

    def after_io_wait(self, timeout: float) -> None:
        self.now += 1

    def each(self) -> list[int]:
        """How many steps each turn had."""
        return list(Counter(turn for _, turn in self.steps).values())


@asynccontextmanager
async def turning() -> AsyncIterator[tuple[Turnstile, Turns, trio.Nursery]]:
    turnstile, turns = Turnstile(), Turns()
    trio.lowlevel.add_instrument(turns)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turnstile.run)
        await wait_all_tasks_blocked()
        yield turnstile, turns, nursery
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(turns)


async def test_few_do_not_wait() -> None:
    """Where few come at a time nobody waits, as long as they may come."""
    async with turning() as (turnstile, _, _):
        for _ in range(10):
            assert all(turnstile.is_free() for _ in range(AT_ONCE // 2))
            await wait_all_tasks_blocked()


async def test_few_steps_in_a_turn() -> None:
    """However many come at once, a turn of the loop has few of their steps, but for the first ones."""

    async def come(name: str) -> None:
        assert turnstile.is_free() or await turnstile.wait_to_enter(name, FAR)
        turns.steps.append((name, turns.now))
        await trio.lowlevel.checkpoint()
        if not turnstile.is_free():
            await turnstile.wait_to_go_on(name)
        turns.steps.append((name, turns.now))

    async with turning() as (turnstile, turns, nursery):
        for number in range(100):
            nursery.start_soon(come, str(number))
        await wait_all_tasks_blocked()
        assert len(turns.steps) == 200
        first, *others = turns.each()
        assert first == AT_ONCE
        assert max(others) <= 2 * STEPS_PER_TURN  # with those who find that nobody waits any more


async def test_who_has_begun_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has entered goes on before anybody else enters."""
    order: list[str] = []

    async def come() -> None:
        await turnstile.wait_to_enter("here", FAR)
        order.append("entered")

    async def go_on() -> None:
        await turnstile.wait_to_go_on("here")
        order.append("went on")

    monkeypatch.setattr(module, "STEPS_PER_TURN", 1)
    turnstile = Turnstile()
    assert turnstile.is_free()
    async with trio.open_nursery() as nursery:
        for work in (come, come, go_on, go_on):
            nursery.start_soon(work)
        await wait_all_tasks_blocked()
        assert turnstile.waiting == 4
        nursery.start_soon(turnstile.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert order == ["went on", "went on", "entered", "entered"]


async def test_no_turn_in_time(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose turn has not come in time is told so, a few in each turn of the loop, and takes nobody's place any more."""
    monkeypatch.setattr(module, "STEPS_PER_TURN", 0)
    count = 2 * TURNED_AWAY_PER_TURN

    async def come(number: int) -> None:
        assert not await turnstile.wait_to_enter(f"192.0.2.{number}", until=10.0)
        turns.steps.append((str(number), turns.now))

    async with turning() as (turnstile, turns, nursery):
        for number in range(count):
            nursery.start_soon(come, number)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert turnstile.waiting == count
        mock_clock.jump(10)
        await wait_all_tasks_blocked()
        assert turns.each() == [TURNED_AWAY_PER_TURN] * 2
        assert turnstile.waiting == len(turnstile._patience) == 0


async def test_whose_time_is_over_first(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was slow before he came has less time left, and is told in his own, whoever waits before him."""
    monkeypatch.setattr(module, "STEPS_PER_TURN", 0)
    told: list[float] = []

    async def come(until: float) -> None:
        assert not await turnstile.wait_to_enter("here", until)
        told.append(until)

    async with turning() as (turnstile, _, nursery):
        for until in (10.0, 5.0, 5.0):
            nursery.start_soon(come, until)
            await trio.lowlevel.checkpoint()
        mock_clock.jump(5)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert told == [5.0, 5.0]
        nursery.cancel_scope.cancel()


async def test_who_leaves() -> None:
    """Who is cancelled while he waits, as a session is that is drained, waits no longer."""
    turnstile = Turnstile()
    while turnstile.is_free():
        pass
    for wait in (lambda: turnstile.wait_to_enter("here", FAR), lambda: turnstile.wait_to_go_on("here")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert turnstile.waiting == 1
            nursery.cancel_scope.cancel()
        assert turnstile.waiting == 0
