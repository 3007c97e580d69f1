"""When a side is pinged, when it is idle, when a session has to end. Pure: decided from what was heard and when.

Nobody pushes a deadline when a message passes. A session's time-keeper sleeps until the earliest
moment at which something could be due, looks at what was heard since, and asks here.
"""

import math
from enum import Enum

from attrs import frozen

ENDS_SPREAD_SECONDS = 5.0  # that ends of sessions are drawn from: tokens minted together must not fall together


class Due(Enum):
    NOTHING = "nothing"
    PING = "ping"
    IDLE = "idle"


@frozen(kw_only=True)
class Pace:
    """Seconds of silence; ``math.inf``: never.

    After ``ping_seconds`` a side is pinged, after ``idle_seconds`` it is idle. After ``data_idle_seconds``
    without a message in either direction the session is idle, however alive both sides are.
    """

    ping_seconds: float
    idle_seconds: float
    data_idle_seconds: float = math.inf


@frozen
class Look:
    """What is due now, and the moment at which to look again."""

    due: Due
    again_at: float


def look(pace: Pace, now: float, *, heard_at: float, pinged_at: float, may_ping: bool) -> Look:
    """What is due for a side that was last heard at ``heard_at`` and last pinged at ``pinged_at``.

    One silence earns one ping. Whether it was answered is looked at an interval later and not when the side
    would be idle: proxies in between cut what is silent for longer than ``ping_seconds``. ``may_ping`` is false
    while a ping that was passed on to the side is unanswered: it may answer the latest ping only (RFC 6455
    5.5.3), and then ours would have taken somebody's pong away. All times are of one clock.
    """
    idle_at = heard_at + pace.idle_seconds
    if now >= idle_at:
        return Look(Due.IDLE, idle_at)
    ping_at = heard_at + pace.ping_seconds
    next_at = min(now + pace.ping_seconds, idle_at)
    if pinged_at > heard_at:
        return Look(Due.NOTHING, next_at)
    if now < ping_at:
        return Look(Due.NOTHING, min(ping_at, idle_at))
    return Look(Due.PING if may_ping else Due.NOTHING, next_at)
