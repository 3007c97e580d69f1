"""A probe as text for a terminal, and as a value for JSON. Pure; what servers said is fit to be shown already."""

import textwrap
from collections.abc import Iterator
from typing import Any

from trio_ws_gateway.probing import figures
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.course import Course, Step
from trio_ws_gateway.probing.refusal import Refusal

WIDTH = 100
NAME_WIDTH = 18


def heading(attempt: Attempt) -> str:
    what = "raw" if attempt.mqtt is None else f"MQTT {attempt.mqtt.version} as {attempt.mqtt.client_id}"
    token = "no token" if attempt.token is None else f"token in {attempt.carry.value}"
    return f"{attempt.shown_url}  {what}, {token}"


def step_line(step: Step) -> str:
    return f"  {step.name:<{NAME_WIDTH}} {figures.duration(step.seconds):>9}  {step.detail}".rstrip()


def ending(attempt: Attempt, course: Course, *, plain: bool) -> Iterator[str]:
    """The lines below the steps. ``plain``: in ASCII."""
    if course.refusal is not None:
        yield f"  {course.unfinished:<{NAME_WIDTH}} {'failed':>9}"
    if course.round_trips:
        yield ""
        yield from _round_trips(attempt, course, plain=plain)
    if course.refusal is not None:
        yield ""
        yield from textwrap.wrap(course.refusal.what, WIDTH)
        for each in course.refusal.look_at:
            yield from textwrap.wrap(each, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    for note in course.notes:
        yield ""
        yield from textwrap.wrap(f"Note: {note}", WIDTH)


def as_value(attempt: Attempt, course: Course) -> dict[str, Any]:
    """All of it, times in seconds."""
    counted = figures.summary(course.round_trips) if course.round_trips else None
    return {
        "url": attempt.shown_url,
        "protocol": "raw" if attempt.mqtt is None else f"mqtt {attempt.mqtt.version}",
        "worked": course.worked,
        "steps": [{"name": each.name, "seconds": each.seconds, "detail": each.detail} for each in course.steps],
        "round_trips": course.round_trips,
        "summary": None
        if counted is None
        else {"min": counted.least, "median": counted.median, "p99": counted.p99, "max": counted.most},
        "refusal": None if course.refusal is None else _refusal(course.refusal, course.unfinished),
        "notes": course.notes,
    }


def _round_trips(attempt: Attempt, course: Course, *, plain: bool) -> Iterator[str]:
    counted = figures.summary(course.round_trips)
    done = len(course.round_trips)
    of = "" if done == attempt.count else f" of {attempt.count}"
    kind = "" if attempt.mqtt is None else f" at QoS {attempt.mqtt.qos}"
    yield f"{done}{of} round trip{'s' if attempt.count != 1 else ''} with {attempt.size} bytes{kind}"
    yield (
        f"  min {figures.duration(counted.least)}, median {figures.duration(counted.median)},"
        f" p99 {figures.duration(counted.p99)}, max {figures.duration(counted.most)}"
    )
    if done > 1:
        yield ""
        yield from (f"  {line}" for line in figures.lines(figures.histogram(course.round_trips), plain=plain))


def _refusal(refusal: Refusal, step: str) -> dict[str, Any]:
    return {
        "step": step,
        "what": refusal.what,
        "look_at": list(refusal.look_at),
        "causes": [each.value for each in refusal.causes],
        "http_status": refusal.http_status,
        "close_code": refusal.close_code,
        "connack_code": refusal.connack_code,
    }
