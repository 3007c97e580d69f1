"""`Budgets` gives an identity one budget, and forgets it when it is as good as new."""

import gc

from trio_ws_gateway.limits.budgets import Budget, Budgets
from trio_ws_gateway.wire.frames import PING, TEXT, Found, FrameScanner, build_frame


def test_one_budget_an_identity() -> None:
    """All who ask for an identity get the same budget; another identity has its own."""
    budgets = Budgets(rate=1, burst=2)
    robot = budgets.of(("issuer", "robot"), 0.0)
    assert budgets.of(("issuer", "robot"), 1.0) is robot
    assert budgets.of(("other issuer", "robot"), 1.0) is not robot


def test_reconnecting_gives_no_new_burst() -> None:
    """A budget that was spent outlives its sessions."""
    budgets = Budgets(rate=1, burst=2)
    budgets.of("robot", 0.0).messages.take(2, 0.0)
    gc.collect()
    budgets.sweep(1.0)
    assert budgets.of("robot", 1.0).messages.available(1.0) == 1


def test_around_a_scan() -> None:
    """No more passes than there is, of messages and of frames that begin none, and what has passed is spent."""
    budget = Budget(rate=1, burst=2, now=0.0)
    wire = (build_frame(TEXT, b"", masked=True) + 12 * build_frame(PING, b"", masked=True)) * 3
    scanner = FrameScanner(masked=True)
    budget.open(scanner, 0.0)
    passed = scanner.scan(memoryview(wire), len(wire))
    budget.settle(scanner)
    assert (scanner.found, scanner.messages, scanner.extras) == (Found.TOO_MANY, 2, 20)
    assert (budget.messages.available(0.0), budget.frames.available(0.0)) == (0, 0)
    budget.open(scanner, 0.2)
    scanner.scan(memoryview(wire)[passed:], len(wire) - passed)
    budget.settle(scanner)
    assert (scanner.found, scanner.messages, scanner.extras) == (Found.TOO_MANY, 2, 22)


def test_is_forgotten_when_full() -> None:
    """A budget that nobody holds is forgotten once it is full again, its frames' too."""
    budgets = Budgets(rate=1, burst=2)
    budgets.of("robot", 0.0).messages.take(2, 0.0)
    budgets.of("pinger", 0.0).frames.take(20, 0.0)
    held = budgets.of("held", 0.0)
    budgets.sweep(1.5)
    gc.collect()
    assert len(budgets) == 3
    budgets.sweep(2.0)
    gc.collect()
    assert len(budgets) == 1
    assert budgets.of("held", 2.0) is held
