"""One of the two peers of a relay, seen from there: what is heard from it, and how it is spoken to.

Between two sides run two pumps, each of which reads from the one and writes to the other; who speaks of a side needs
both. Knows nothing of causes: what follows from its silence is for whoever looks at it.
"""

import math
import os

import trio

from trio_ws_gateway.protocols.base import Inspector, Walker
from trio_ws_gateway.relay.pump import Pump
from trio_ws_gateway.wire.frames import PING, build_frame


class Side:
    """One of the two peers: what is heard from it, and how it is spoken to."""

    __slots__ = ("_takes_at", "hears", "masked", "name", "pinged_at", "says", "walker")

    def __init__(self, name: str, hears: Pump, says: Pump, walker: Walker | Inspector | None, *, masked: bool) -> None:
        self.name = name
        self.hears = hears  # the pump that reads from this side
        self.says = says  # the pump that writes to it
        self.walker = walker  # follows the packets that it is sent
        self.masked = masked  # frames toward it are
        self.pinged_at = -math.inf
        self._takes_at = -math.inf  # when it was last seen to take what no ping can overtake

    def heard_at(self, now: float) -> float:
        """When it was last heard. A side that is not read, because of the other or its budget, is not silent until it
        has left.

        Nor is one that takes a long frame: no ping can ask it before the frame's end, and it may have nothing to say.
        """
        if not self.hears.listens:
            return min(now, self.hears.left_at)
        outlet = self.says.outlet
        if outlet.held:
            self._takes_at = outlet.stalled_at
        elif self.says.scanner.inside:
            self._takes_at = self.says.heard_at
        return max(self.hears.heard_at, self._takes_at)

    def ping(self) -> None:
        if self.hears.scanner.own_ping is None:
            self.hears.scanner.own_ping = os.urandom(8)
        self.says.insert(build_frame(PING, self.hears.scanner.own_ping, masked=self.masked))
        self.pinged_at = trio.current_time()

    def at_packet_boundary(self) -> bool:
        return self.walker is None or self.walker.at_boundary

    def hears_words(self) -> bool:
        """It may be told something in its protocol's words now."""
        return self.walker is None or (self.walker.at_boundary and self.walker.welcomed)
