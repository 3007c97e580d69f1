"""When a side of a relay counts as heard."""

import math
from types import SimpleNamespace
from typing import Any

from trio_ws_gateway.relay.side import Side


def side(*, listens: bool = True, heard_at: float = 10, left_at: float = math.inf) -> tuple[Side, Any]:
    """A side that was last heard at 10, and the pump that writes to it, which last heard the other at 20."""
    hears: Any = SimpleNamespace(listens=listens, heard_at=heard_at, left_at=left_at)
    says: Any = SimpleNamespace(
        heard_at=20, scanner=SimpleNamespace(inside=0), outlet=SimpleNamespace(held=b"", stalled_at=0)
    )
    return Side("client", hears, says, None, masked=False), says


def test_silence() -> None:
    """A side that says nothing is silent from then on, however much the other one says."""
    assert side()[0].heard_at(30) == 10


def test_who_is_not_read_is_not_silent() -> None:
    """A side that is not read may be saying something at this moment."""
    assert side(listens=False)[0].heard_at(30) == 30


def test_who_has_left_is_silent() -> None:
    """Though it is not read, for all that it will ever have said may be waiting to be read."""
    assert side(listens=False, left_at=20)[0].heard_at(30) == 20


def test_who_takes_a_long_frame_is_not_silent() -> None:
    """No ping can ask it before the frame's end: its silence begins when the frame last moved, and so it stays."""
    one, says = side()
    says.scanner.inside = 1000
    assert one.heard_at(30) == 20
    says.heard_at = 29
    assert one.heard_at(30) == 29
    says.scanner.inside = 0
    says.heard_at = 35
    assert one.heard_at(40) == 29


def test_who_takes_little_at_a_time_is_not_silent() -> None:
    """Where it has to be waited for, its silence begins when it last took something."""
    one, says = side()
    says.outlet.held, says.outlet.stalled_at = b"much", 25
    assert one.heard_at(30) == 25
    says.outlet.held = b""
    assert one.heard_at(40) == 25


def test_who_is_heard_meanwhile() -> None:
    """What it says itself counts as well."""
    one, says = side(heard_at=28)
    says.scanner.inside = 1000
    assert one.heard_at(30) == 28
