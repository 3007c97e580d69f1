"""How checks run: all at once, each under a deadline of its own, and none of them takes the others down.

A probe gives findings, or raises ``Trouble``, which becomes one. What it does in between is its own affair.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import trio
from attrs import evolve, frozen

from trio_ws_gateway.checking.findings import Finding, Trouble


@frozen
class Check:
    """``name``: of the item, and of the finding that a ``Trouble`` becomes."""

    name: str
    probe: Callable[[], Awaitable[Sequence[Finding]]]


async def run(checks: Iterable[Check]) -> list[Finding]:
    """Their findings in the order of the checks, with the time that each took."""
    checks = tuple(checks)
    found: dict[Check, Sequence[Finding]] = {}

    async def one(check: Check) -> None:
        began_at = trio.current_time()
        try:
            findings = await check.probe()
        except Trouble as trouble:
            findings = [trouble.found(check.name)]
        seconds = trio.current_time() - began_at
        found[check] = [evolve(finding, seconds=seconds) for finding in findings]

    async with trio.open_nursery() as nursery:
        for check in checks:
            nursery.start_soon(one, check)
    return [finding for check in checks for finding in found[check]]


@contextmanager
def until(deadline: float, detail: str, advice: str = "") -> Iterator[None]:
    """Raise ``Trouble`` with these words where the block is not done by then (``trio.current_time()``)."""
    with trio.CancelScope(deadline=deadline) as scope:
        yield
    if scope.cancelled_caught:
        raise Trouble(detail, advice)
