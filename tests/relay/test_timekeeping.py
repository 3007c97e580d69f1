"""`look` says when a side is pinged, and when it is idle."""

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.relay.timekeeping import Due, Look, Pace, look

PACE = Pace(ping_seconds=30, idle_seconds=60)


def test_quiet_for_less_than_the_interval() -> None:
    """A side that was heard lately is left alone until the interval is over."""
    assert look(PACE, 29, heard_at=0, pinged_at=-math.inf, may_ping=True) == Look(Due.NOTHING, 30)


def test_quiet_for_the_interval() -> None:
    """A side that was silent for the interval is pinged, and looked at again when it would be idle."""
    assert look(PACE, 30, heard_at=0, pinged_at=-math.inf, may_ping=True) == Look(Due.PING, 60)


def test_one_silence_earns_one_ping() -> None:
    """A side that was pinged since it was last heard is not pinged again."""
    assert look(PACE, 45, heard_at=0, pinged_at=30, may_ping=True) == Look(Due.NOTHING, 60)


def test_heard_since_the_ping() -> None:
    """A side that was heard since its last ping is pinged anew after the next silence."""
    assert look(PACE, 61, heard_at=31, pinged_at=30, may_ping=True) == Look(Due.PING, 91)


@given(st.floats(1, 100), st.floats(0.5, 10), st.floats(0.001, 0.4))
def test_answered_pings(ping_seconds: float, idle_ratio: float, answer_ratio: float) -> None:
    """A quiet side that answers its pings is pinged every interval, however long the idle timeout is."""
    pace = Pace(ping_seconds=ping_seconds, idle_seconds=ping_seconds * (1 + idle_ratio))
    now = heard_at = answered_at = 0.0
    pinged_at = -math.inf
    for _ in range(50):
        if answered_at <= now:
            heard_at = answered_at
        seen = look(pace, now, heard_at=heard_at, pinged_at=pinged_at, may_ping=True)
        assert seen.due is not Due.IDLE
        if seen.due is Due.PING:
            assert now - heard_at <= ping_seconds * 1.001
            pinged_at, answered_at = now, now + ping_seconds * answer_ratio
        now = seen.again_at
    assert pinged_at > 20 * ping_seconds


def test_idle() -> None:
    """A side of which nothing was heard for the idle timeout is idle."""
    assert look(PACE, 60, heard_at=0, pinged_at=30, may_ping=True).due is Due.IDLE


def test_another_ones_ping_is_unanswered() -> None:
    """No ping goes out beside one that was passed on; there is another look an interval later, or when idle."""
    assert look(PACE, 30, heard_at=0, pinged_at=-math.inf, may_ping=False) == Look(Due.NOTHING, 60)
    pace = Pace(ping_seconds=10, idle_seconds=60)
    assert look(pace, 10, heard_at=0, pinged_at=-math.inf, may_ping=False) == Look(Due.NOTHING, 20)


def test_never() -> None:
    """An infinite pace pings nobody and calls nobody idle."""
    never = Pace(ping_seconds=math.inf, idle_seconds=math.inf)
    assert look(never, 1e9, heard_at=0, pinged_at=-math.inf, may_ping=True) == Look(Due.NOTHING, math.inf)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.booleans(), st.floats(0.1, 100), st.floats(0.1, 100))
def test_always_looks_ahead(
    now: float, heard_at: float, pinged_at: float, may_ping: bool, ping_seconds: float, idle_seconds: float
) -> None:
    """Unless a side is idle, the next look lies in the future: a time-keeper never spins."""
    pace = Pace(ping_seconds=ping_seconds, idle_seconds=idle_seconds)
    seen = look(pace, now, heard_at=heard_at, pinged_at=pinged_at, may_ping=may_ping)
    assert seen.due is Due.IDLE or seen.again_at > now
