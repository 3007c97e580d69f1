"""Both ends of what a group does to have one prober; `tests/serve/test_prober.py` sees a whole group from outside."""

from collections.abc import Awaitable, Callable

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.prober import FOUND, PROBE, Appointee, Appointment, silence_seconds
from trio_ws_gateway.upstream.health import Health

SILENCE = silence_seconds(30, 10)


class Group:
    """Workers that are nothing but what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, object]] = []
        self.appointment = Appointment(
            lambda *news: self.told.append(news), silence_seconds=SILENCE, log=structlog.get_logger()
        )

    def accept(self, *numbers: int) -> None:
        for number in numbers:
            self.appointment.accepts(number)

    def news(self) -> list[tuple[int, str, object]]:
        """What was told since the last time, in the order of the workers."""
        told, self.told = sorted(self.told, key=lambda each: each[0]), []
        return told


async def test_one_is_named() -> None:
    """The first that accepts is the prober, and stays it when others come; when it dies the lowest of those is."""
    group = Group()
    group.accept(2)
    assert group.news() == [(2, PROBE, True)]
    group.accept(3, 1)
    assert group.news() == []
    group.appointment.leaves(2)
    assert group.news() == [(1, PROBE, True)]
    group.accept(2)
    group.appointment.leaves(3)
    assert group.news() == []


async def test_all_die() -> None:
    """Where nobody is left nobody is named, until one comes."""
    group = Group()
    group.accept(1)
    group.appointment.leaves(1)
    group.accept(1)
    assert group.news() == [(1, PROBE, True)] * 2


async def test_findings() -> None:
    """What the prober finds all others are told, whoever comes later the last of each upstream."""
    group = Group()
    group.accept(1, 2, 3)
    group.news()
    group.appointment.hear(1, "mqtt", "refused")
    assert group.news() == [(2, FOUND, ("mqtt", "refused")), (3, FOUND, ("mqtt", "refused"))]
    group.appointment.hear(1, "mqtt", "")
    group.appointment.hear(1, "raw", "answers 503, not 101")
    group.news()
    group.accept(4)
    assert group.news() == [(4, FOUND, ("mqtt", "")), (4, FOUND, ("raw", "answers 503, not 101"))]


async def test_silence(autojump_clock: MockClock) -> None:
    """A prober that is silent for too long is told to stop, and the next in turn is named; after the last the first."""
    group = Group()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.appointment.run)
        await trio.sleep(10 * SILENCE)
        group.accept(1, 2, 3)
        group.appointment.hear(1, "mqtt", "")
        await trio.sleep(0.9 * SILENCE)
        group.news()
        group.appointment.hear(1, "mqtt", "")
        await trio.sleep(0.9 * SILENCE)
        assert (1, PROBE, False) not in group.news()
        await trio.sleep(0.2 * SILENCE)
        assert group.news() == [(1, PROBE, False), (2, PROBE, True)]
        group.appointment.hear(1, "mqtt", "late, from before it was stopped")
        assert group.news() == []
        await trio.sleep(SILENCE)
        assert group.news() == [(2, PROBE, False), (3, PROBE, True)]
        await trio.sleep(SILENCE)
        assert group.news() == [(1, PROBE, True), (3, PROBE, False)]
        nursery.cancel_scope.cancel()


class Worker:
    """One whose upstream is always well."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: list[tuple[str, str]] = []
        self.appointee = Appointee(lambda *finding: self.told.append(finding))
        self.health = Health(
            {"mqtt": self._probe},
            interval_seconds=30,
            timeout_seconds=10,
            well=lambda _: None,
            metrics=Metrics(max_identities=0),
            log=structlog.get_logger(),
        )

    async def _probe(self) -> str:
        self.asked += 1
        return ""

    async def hear(self, subject: str, body: object) -> None:
        await self.appointee.answers[subject](body)


async def in_a_group(doing: Callable[[Worker], Awaitable[None]]) -> None:
    worker = Worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.appointee.watch, worker.health)
        await doing(worker)
        nursery.cancel_scope.cancel()


async def test_asks_while_it_is_told_to(autojump_clock: MockClock) -> None:
    """Only while it is the prober does a worker ask, and it tells each finding once."""

    async def doing(worker: Worker) -> None:
        await trio.sleep(100)
        assert worker.asked == 0
        for _ in range(2):
            await worker.hear(PROBE, True)
            await trio.sleep(1000)
            await worker.hear(PROBE, False)
            assert 1000 / 36 < worker.asked < 1000 / 24 + 1
            assert worker.told == [("mqtt", "")] * worker.asked
            await trio.sleep(1000)
            assert worker.told == [("mqtt", "")] * worker.asked
            worker.asked, worker.told = 0, []

    await in_a_group(doing)


async def test_named_twice(autojump_clock: MockClock) -> None:
    """Who is named again does not ask twice."""

    async def doing(worker: Worker) -> None:
        await worker.hear(PROBE, True)
        await worker.hear(PROBE, True)
        await trio.sleep(1000)
        assert worker.asked < 1000 / 24 + 2

    await in_a_group(doing)


@pytest.mark.parametrize("why", ["", "Connection refused"])
async def test_hears(why: str) -> None:
    """A finding of another's is what this worker goes by, even one that came before it was ready to hear."""

    worker = Worker()
    await worker.hear(FOUND, ["mqtt", why])
    assert worker.health.unready(["mqtt"]).endswith("not known yet")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.appointee.watch, worker.health)
        await wait_all_tasks_blocked()
        assert worker.health.unready(["mqtt"]) == (why and f"the upstream of mqtt: {why}")
        nursery.cancel_scope.cancel()
    assert worker.asked == 0
    assert worker.told == []
