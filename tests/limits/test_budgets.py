"""`Budgets` gives an identity one budget, and forgets it when it is as good as new."""

import gc

from trio_ws_gateway.limits.budgets import Budgets


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
