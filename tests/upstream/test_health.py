"""Upstreams are asked again and again; who needs to know hears what was found."""

import random
import ssl
from collections.abc import Callable, MutableMapping
from itertools import pairwise
from typing import Any

import pytest
import structlog
import trio
from attrs import define, field
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.upstream.health import SPREAD, Health

INTERVAL, TIMEOUT = 30.0, 10.0


@define
class Upstream:
    """Answers each probe with ``why`` after ``seconds``, or with ``error``."""

    why: str = ""
    seconds: float = 0
    error: Exception | None = None
    asked_at: list[float] = field(factory=list)

    async def probe(self) -> str:
        self.asked_at.append(trio.current_time())
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.why


@define
class World:
    upstreams: dict[str, Upstream]
    health: Health
    metrics: Metrics
    well: list[str]
    told: list[tuple[str, str]] = field(factory=list)

    def sample(self, name: str, **labels: str) -> float | None:
        families = text_string_to_metric_families(self.metrics.expose().decode())
        values = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return values[0] if values else None


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No spread."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def world(**upstreams: Upstream) -> World:
    metrics, well = Metrics(max_identities=0), list[str]()
    made = Health(
        {protocol: upstream.probe for protocol, upstream in upstreams.items()},
        interval_seconds=INTERVAL,
        timeout_seconds=TIMEOUT,
        well=well.append,
        metrics=metrics,
        log=structlog.get_logger(),
    )
    return World(upstreams, made, metrics, well)


async def run_for(here: World, seconds: float, then: Callable[[], object] = lambda: None) -> None:
    """Let time pass; ``then`` is done in the middle of it."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.health.run, lambda *finding: here.told.append(finding))
            await trio.sleep(seconds / 2)
            then()


async def test_asked_at_once_and_again(autojump_clock: MockClock, steady: None) -> None:
    """Each upstream is asked at the start and once an interval then, whatever becomes of the others."""
    here = world(mqtt=Upstream(), raw=Upstream(seconds=1e9))
    began_at = trio.current_time()
    await run_for(here, 2.5 * INTERVAL)
    assert [at - began_at for at in here.upstreams["mqtt"].asked_at] == pytest.approx([0, 30, 60])
    assert [at - began_at for at in here.upstreams["raw"].asked_at] == pytest.approx([0, 40])
    assert here.sample("ws_upstream_health_success_total") == 3
    assert here.sample("ws_upstream_health_failure_total") == 2
    assert here.sample("ws_upstream_healthy", protocol="mqtt") == 1
    assert here.sample("ws_upstream_healthy", protocol="raw") == 0


async def test_not_in_step(autojump_clock: MockClock) -> None:
    """No two pauses are alike, and none is off by more than a fifth."""
    here = world(mqtt=Upstream())
    await run_for(here, 100 * INTERVAL)
    at = here.upstreams["mqtt"].asked_at
    pauses = {round(after - before, 6) for before, after in pairwise(at)}
    assert len(pauses) == len(at) - 1
    assert min(pauses) >= INTERVAL * (1 - SPREAD)
    assert max(pauses) <= INTERVAL * (1 + SPREAD)


async def test_who_hears_of_it(autojump_clock: MockClock) -> None:
    """Good news are passed on; bad news of a probe close off nobody."""
    here = world(mqtt=Upstream(), raw=Upstream("answers 503, not 101"))
    await run_for(here, 1)
    assert here.well == ["mqtt"]
    assert sorted(here.told) == [("mqtt", ""), ("raw", "answers 503, not 101")]


async def test_readiness(autojump_clock: MockClock) -> None:
    """Those that are needed must have been found well; the first that was not is named, with the reason."""
    here = world(mqtt=Upstream(), raw=Upstream("answers 503, not 101"))
    assert here.health.unready(["mqtt"]) == "the upstream of mqtt: not known yet"
    await run_for(here, 1)
    assert here.health.unready([]) == here.health.unready(["mqtt"]) == ""
    assert here.health.unready(["mqtt", "raw"]) == "the upstream of raw: answers 503, not 101"


async def test_log(autojump_clock: MockClock, steady: None, log: list[MutableMapping[str, Any]]) -> None:
    """Only a change is a line, not each probe."""
    upstream = Upstream()
    here = world(mqtt=upstream)

    def fall_ill() -> None:
        upstream.why = "answers 503, not 101"

    await run_for(here, 10 * INTERVAL, fall_ill)
    upstream.why = ""
    await run_for(here, 10 * INTERVAL)
    assert [(line["event"], line["log_level"], line.get("reason")) for line in log] == [
        ("upstream healthy", "info", None),
        ("upstream unhealthy", "warning", "answers 503, not 101"),
        ("upstream healthy", "info", None),
    ]
    assert {line["protocol"] for line in log} == {"mqtt"}


async def test_heard_from_elsewhere(log: list[MutableMapping[str, Any]]) -> None:
    """What another process has found counts like a finding of our own, but in its metrics and its log."""
    here = world(mqtt=Upstream())
    here.health.hear("mqtt", "")
    assert log == []
    assert here.well == ["mqtt"]
    assert here.health.unready(["mqtt"]) == ""
    assert here.sample("ws_upstream_health_success_total") == 0


def broken(cause: Exception) -> Exception:
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_message = "certificate has expired"
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (broken(untrusted()), "certificate: certificate has expired"),
        (trio.BrokenResourceError(), "BrokenResourceError"),
        (ExceptionGroup("", [ExceptionGroup("", [ZeroDivisionError("by zero")])]), "by zero"),
    ],
)
async def test_any_error(autojump_clock: MockClock, error: Exception, why: str) -> None:
    """Whatever a probe raises says that the upstream is not well, and ends nothing."""
    here = world(mqtt=Upstream(error=error))
    await run_for(here, 3 * INTERVAL)
    assert here.health.unready(["mqtt"]) == f"the upstream of mqtt: {why}"
    assert len(here.upstreams["mqtt"].asked_at) > 1
