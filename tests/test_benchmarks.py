"""What the benchmarks make of their measurements: ratios, goals, the page."""

import os
import time
from collections.abc import Sequence

import pytest
from attrs import evolve
from trio.testing import MockClock

from benchmarks import page, table
from benchmarks.costs import Spent, spent
from benchmarks.figures import Failure, Held, Sample, Samples
from benchmarks.results import Results
from benchmarks.watch import AFTERMATH_SECONDS, Watch
from benchmarks.why import WHY
from benchmarks.works import INSPECTED, MEMORY, MEMORY_GOALS, SEVERAL, WORKS, Work, chosen

WORK = Work(name="work", group="group", title="some work", options={}, goals={"go": 1.0})


def sample(peer: str, number: int, cost_us: float, work: str = "work") -> Sample:
    return Sample(
        work=work,
        peer=peer,
        round=number,
        count=100,
        seconds=0.5,
        cost_us=cost_us,
        user_us=cost_us / 4,
        system_us=cost_us * 3 / 4,
        p50_us=80,
        p99_us=200,
    )


def results(*samples: Sample, works: Sequence[Work] = (WORK,)) -> Results:
    return Results(
        machine={"processor": "2 x something"},
        load_before=0.1,
        versions={"Go": "go1.0"},
        works=works,
        rounds=3,
        seconds=1,
        samples=Samples(samples),
        failures=[],
        held=[],
        subject="gateway",
        beside=["go", "nginx"],
    )


TWICE_AS_DEAR = (sample("gateway", 0, 20), sample("go", 0, 10))


def test_ratio() -> None:
    """A ratio is the median of the rounds' ratios: a machine that is slow in one round is slow for both."""
    costs = [(10, 20), (100, 200), (10, 40)]
    samples = Samples(
        [
            sample(peer, n, cost)
            for n, pair in enumerate(costs)
            for peer, cost in zip(("gateway", "go"), pair, strict=True)
        ]
    )
    found = samples.ratio("work", "cost_us", "gateway", "go")
    assert found is not None
    assert (found.lowest, found.median, found.highest) == (0.25, 0.5, 0.5)


def test_ratio_of_nothing() -> None:
    """Peers that have no round in common have no ratio."""
    samples = Samples([sample("gateway", 0, 10), sample("go", 1, 20)])
    assert samples.ratio("work", "cost_us", "gateway", "go") is None
    assert samples.ratio("work", "cost_us", "gateway", "nginx") is None


def test_rate() -> None:
    """A rate is what was counted in the seconds that it took."""
    assert sample("go", 0, 10).per_second == 200
    assert Samples([sample("go", 0, 10)]).median("work", "go", "per_second") == 200


@pytest.mark.parametrize(("cost_us", "mark"), [(9.0, ""), (10.0, ""), (10.1, "*")])
def test_goal(cost_us: float, mark: str) -> None:
    """A ratio beyond its goal is marked, one that reaches it is not; without a goal there is nothing to mark."""
    [row] = results(sample("gateway", 0, cost_us), sample("go", 0, 10), sample("nginx", 0, 1)).rows()
    assert table.goal(row, "go") == f"<=1{mark}"
    assert table.goal(row, "nginx") == ""


def test_memory() -> None:
    """Memory is what a process has grown by, per session."""
    held = [
        Held(peer="gateway", sessions=1000, kib_empty=30_000, kib=40_000),
        Held(peer="go", sessions=1000, kib_empty=10_000, kib=50_000),
    ]
    [row] = evolve(results(works=[]), held=held).rows()
    assert [each.kib_each for each in held] == [10, 40]
    assert row.ratios["go"].median == 0.25
    assert row.goals == MEMORY_GOALS


def test_where_a_peer_is_ahead() -> None:
    """The page says where a peer is ahead, and by how much."""
    written = page.written(results(*TWICE_AS_DEAR))
    assert "- some work, CPU: go by 2.00" in written
    assert "**2.00 (2.00-2.00)**, goal 1" in written


def test_ahead_everywhere() -> None:
    """The page says so, too, where no peer is ahead."""
    assert "Nowhere in this run." in page.written(results(sample("gateway", 0, 5), sample("go", 0, 10)))


def test_why_a_goal_is_missed() -> None:
    """The page says why beneath a missed goal, or that nobody has looked; of a goal that is reached it says nothing."""
    assert "- some work: not looked into yet" in page.written(results(*TWICE_AS_DEAR))
    assert "## Why" not in page.written(results(sample("gateway", 0, 5), sample("go", 0, 10)))
    assert set(WHY) <= {MEMORY, *(work.name for work in WORKS)}


def test_several_workers() -> None:
    """Several workers are shown beside one, and are no peer."""
    [work] = [work for work in WORKS if work.name == "workers-ping-100"]
    one, two = (evolve(sample(peer, 0, 10, work.name), count=n) for peer, n in (("gateway", 100), (SEVERAL, 150)))
    written = page.written(results(one, two, works=[work]))
    assert f"| {work.title} | 200 | 300 | 1.50 (1.50-1.50) | 1.00 (1.00-1.00) |" in written
    assert "Nowhere in this run." in written


def test_inspection() -> None:
    """What it costs to look at packets is shown beside a gateway that does not."""
    [work] = [work for work in WORKS if work.name == "inspected-mqtt-100x1"]
    plain, looking = sample("gateway", 0, 10, work.name), sample(INSPECTED, 0, 15, work.name)
    written = page.written(results(plain, looking, works=[work]))
    assert f"| {work.title} | 10.0 | 15.0 | 1.50 (1.50-1.50) |" in written
    assert "Nowhere in this run." in written


def test_disturbed() -> None:
    """The page warns where others kept the machine busy."""
    quiet = results(*TWICE_AS_DEAR)
    assert "not at rest" not in page.written(quiet)
    assert "not at rest" in page.written(evolve(quiet, load_before=1.5))


def test_failure() -> None:
    """A turn that failed is on the page with its reason, and a peer without figures has none."""
    failure = Failure(work="some work", peer="go", reason="a session was cut")
    written = page.written(evolve(results(sample("gateway", 0, 5)), failures=[failure]))
    assert "- some work: go failed: a session was cut" in written
    assert "| some work | CPU | - | - |" in written


def test_growth() -> None:
    """A growth curve has a table of its own, and no line among the ratios."""
    works = [evolve(WORK, name=f"size-{size}", group="size", at=size) for size in (10, 1000)]
    samples = [sample(peer, 0, work.at or 0, work.name) for work in works for peer in ("gateway", "go")]
    found = results(*samples, works=works)
    assert found.curve("size", "go") == [(10, 10), (1000, 1000)]
    assert "| 1,000 | 1,000 | 1,000 |" in page.written(found)
    assert list(found.rows()) == []


def test_choice() -> None:
    """A work is chosen by its name or its group's; a quick run leaves growth curves out, unless asked for them."""
    assert [work.name for work in chosen(["ping-10"], quick=False)] == ["ping-10"]
    assert {work.group for work in chosen(["bulk"], quick=False)} == {"bulk"}
    assert chosen([], quick=False) == list(WORKS)
    assert all(work.at is None for work in chosen([], quick=True))
    assert chosen(["size"], quick=True)


def test_quick_sessions() -> None:
    """A quick run sets up fewer sessions, with a fresh token for each."""
    [sessions] = (work for work in chosen(["sessions"], quick=True) if work.fresh_tokens)
    assert sessions.options["connections"] == sessions.fresh_tokens == 300


def test_names() -> None:
    """Every work has a name of its own."""
    names = [work.name for work in WORKS]
    assert len(names) == len(set(names))


def test_spent() -> None:
    """The processor time of a process is read exactly, while the kernel's ticks tell only its shares."""
    before = spent([os.getpid()])
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    assert 0.02 <= (spent([os.getpid()]) - before).total < 2
    assert Spent(1.0, 0.3, 0.1).user_share == pytest.approx(0.75)
    assert Spent(0.001, 0.0, 0.0).user_share == 0


async def test_what_a_harm_excuses(mock_clock: MockClock) -> None:
    """A session may end while a harm to its kind lasts and a little later, and no other; answers then say nothing."""
    watch = Watch()

    def ends(kind: str) -> int:
        watch.ended("somebody", kind, "for some reason")
        return len(watch.violations)

    assert ends("raw") == 1
    with watch.harm("backend killed", "raw"):
        watch.answered(5)
        assert (ends("raw"), ends("mqtt")) == (1, 2)
    mock_clock.jump(AFTERMATH_SECONDS)
    assert ends("raw") == 2
    watch.answered(5)
    mock_clock.jump(0.1)
    assert ends("raw") == 3
    watch.answered(0.01)
    assert watch.calm_p99() == 0.01
