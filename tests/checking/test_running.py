"""How checks run beside each other."""

import pytest
import trio
from trio.testing import MockClock

from trio_ws_gateway.checking.findings import Finding, Status, Trouble, quoted, worst
from trio_ws_gateway.checking.running import Check, run, until

GOOD = Finding("good", Status.OK, "it is")


async def test_all_at_once(autojump_clock: MockClock) -> None:
    """Checks run side by side; what they find comes in their order, each with the time that it took."""

    async def slow() -> list[Finding]:
        await trio.sleep(3)
        return [GOOD, GOOD]

    async def silent() -> list[Finding]:
        await trio.sleep(1)
        return []

    async def troubled() -> list[Finding]:
        await trio.sleep(2)
        raise Trouble("it does not", "make it")

    began_at = trio.current_time()
    findings = await run([Check("slow", slow), Check("silent", silent), Check("bad", troubled)])
    assert trio.current_time() - began_at == 3
    assert [(each.name, each.status, each.seconds) for each in findings] == [
        ("good", Status.OK, 3.0),
        ("good", Status.OK, 3.0),
        ("bad", Status.FAILED, 2.0),
    ]
    assert (findings[2].detail, findings[2].advice) == ("it does not", "make it")


async def test_deadline(autojump_clock: MockClock) -> None:
    """What is not done by its deadline is trouble, in the words of who set it."""
    with until(trio.current_time() + 1, "too slow"):
        await trio.sleep(0.5)
    with pytest.raises(Trouble, match="too slow"), until(trio.current_time() + 1, "too slow"):
        await trio.sleep(2)


def test_worst() -> None:
    """All together are as well as the worst of them."""
    warning, failed = Finding("", Status.WARNING, ""), Finding("", Status.FAILED, "")
    assert worst([]) is Status.OK
    assert worst([GOOD, warning, GOOD]) is Status.WARNING
    assert worst([warning, failed, GOOD]) is Status.FAILED


def test_quoted() -> None:
    """What others say is shown short, and cannot steer a terminal."""
    assert quoted("a\x1b[2Jé") == r"'a\x1b[2J\xe9'"
    assert quoted("x" * 500, 10) == "'xxxxxxxxx...'"
