"""What one process counts crosses to another, and what several count is summed."""

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from trio_ws_gateway import scrape
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.scrape import SAMPLES_PER_TURN


def counted(*, sessions: int = 0, lag: float = 0.0, idle: int = 0) -> scrape.Snapshot:
    """The snapshot of a process that has counted so much, as it comes out of a link."""
    metrics = Metrics(max_identities=10)
    metrics.active_sessions.set(sessions)
    metrics.loop_lag.set(lag)
    for _ in range(idle):
        metrics.count_end(Cause.IDLE, "mqtt")
    metrics.auth_seconds.observe(0.003)
    taken: scrape.Snapshot = json.loads(json.dumps(scrape.snapshot(metrics.registry)))
    return taken


def samples(exposed: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposed.decode())
        for sample in family.samples
    }


def test_one_process_alone() -> None:
    """The sum of one snapshot says to the byte what its registry says."""
    metrics = Metrics(max_identities=10)
    metrics.count_success("alice", None)
    metrics.count_end(Cause.INVALID_TOKEN, "raw")
    assert scrape.text(scrape.summed([scrape.snapshot(metrics.registry)])) == metrics.expose()


async def test_in_turns() -> None:
    """However many samples a family has, others have their turn meanwhile, and the text is the same."""
    metrics = Metrics(max_identities=1000)
    for number in range(3 * SAMPLES_PER_TURN):
        metrics.count_success(f"robot-{number}", None)
    turns, families = 0, len(list(metrics.registry.collect()))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        for source in (metrics.registry, scrape.snapshot(metrics.registry)):
            turns = 0
            assert await scrape.text_in_turns(source) == metrics.expose()
            assert turns >= families
        nursery.cancel_scope.cancel()
    assert metrics.expose() == generate_latest(metrics.registry)


async def test_one_at_a_time(autojump_clock: MockClock) -> None:
    """However many ask at once, it is made twice: for the first, and for all who asked while that was under way."""
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        number = made
        await trio.sleep(1)
        if number == 3:
            raise scrape.Incomplete
        return b"%d" % number

    exposition, heard = scrape.OneAtATime(make), []

    async def ask(after_seconds: float) -> None:
        await trio.sleep(after_seconds)
        try:
            heard.append(await exposition())
        except scrape.Incomplete:
            heard.append(b"incomplete")

    async with trio.open_nursery() as nursery:
        for after_seconds in (0, 0.1, 0.2, 0.3, 5, 5.1):
            nursery.start_soon(ask, after_seconds)
        await trio.sleep(0.15)
        with trio.move_on_after(0.05):  # who leaves takes nothing from the others
            await exposition()
    assert sorted(heard) == [b"1", b"2", b"2", b"2", b"4", b"incomplete"]


def test_group() -> None:
    """Counts and sessions are added up, label by label; the lag is that of the latest; histograms stay cumulative."""
    exposed = samples(
        scrape.text(scrape.summed([counted(sessions=2, lag=0.5, idle=3), counted(sessions=5, lag=0.1, idle=4)]))
    )
    assert exposed["ws_active_sessions", ()] == 7
    assert exposed["ws_event_loop_lag_seconds", ()] == 0.5
    assert exposed["ws_session_ends_total", (("cause", "idle"),)] == 7
    assert exposed["ws_auth_seconds_count", ()] == 2
    assert exposed["ws_auth_seconds_bucket", (("le", "0.001"),)] == 0
    assert exposed["ws_auth_seconds_bucket", (("le", "0.005"),)] == 2
    assert exposed["ws_auth_seconds_sum", ()] == pytest.approx(0.006)


@pytest.mark.parametrize("own", [0, 1])
def test_what_one_tells_all(own: int) -> None:
    """Of what all know from one of them counts what the own process knows: another that is stuck has an old word."""

    def healthy(value: int) -> scrape.Snapshot:
        metrics = Metrics(max_identities=0)
        metrics.upstream_healthy.labels("raw").set(value)
        return scrape.snapshot(metrics.registry)

    exposed = samples(scrape.text(scrape.summed([healthy(own), healthy(1 - own)])))
    assert exposed["ws_upstream_healthy", (("protocol", "raw"),)] == own


def test_labels_that_only_one_has_seen() -> None:
    """A label value of one process stands beside those of the others."""
    exposed = samples(scrape.text(scrape.summed([counted(), counted(idle=1)])))
    assert exposed["ws_session_ends_total", (("cause", "idle"),)] == 1


def test_the_dead_have_counts_but_no_state() -> None:
    """Of a process that has gone counters and histograms stay; gauges do not."""
    left = samples(scrape.text(scrape.counts_of(counted(sessions=3, lag=9, idle=2))))
    assert left["ws_session_ends_total", (("cause", "idle"),)] == 2
    assert left["ws_auth_seconds_count", ()] == 1
    assert ("ws_active_sessions", ()) not in left
    assert ("ws_event_loop_lag_seconds", ()) not in left


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_in_any_grouping(processes: list[tuple[int, float, int]], cut: int) -> None:
    """Sums of sums are the sum of all."""
    taken = [counted(sessions=sessions, lag=lag, idle=idle) for sessions, lag, idle in processes]
    at_once = scrape.summed(taken)
    in_two_steps = scrape.summed([scrape.summed(taken[:cut]), scrape.summed(taken[cut:])])
    assert samples(scrape.text(at_once)) == pytest.approx(samples(scrape.text(in_two_steps)))
