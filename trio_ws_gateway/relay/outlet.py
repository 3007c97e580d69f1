"""The sending half of a direction: what its target does not take at once is held back until it does.

Never more is held than one send. Sending is a plain function that does not wait; ``flush`` is for
whoever can. How long a target may take nothing is for the session's time-keeper to say.
"""

import socket
from collections.abc import Callable

import trio

from trio_ws_gateway import leg
from trio_ws_gateway.leg import WOULD_BLOCK

NOTHING = memoryview(b"")  # one for all: an empty one has its size too


class Outlet:
    """Sends to ``target``, a non-blocking socket of the caller's.

    ``held``: what the target has not taken yet. ``stalled_at``: since when it takes nothing, on Trio's clock, while
    something is held; ``stalls`` is called when that begins. ``has_stalled``: it did, once. ``lost``: it is gone.
    """

    __slots__ = ("_with_the_system", "has_stalled", "held", "lost", "stalled_at", "stalls", "target")

    def __init__(self, target: socket.socket, *, stalls: Callable[[], None]) -> None:
        self.target = target
        self.held = NOTHING
        self.stalled_at = 0.0
        self.has_stalled = False
        self.lost = False
        self._with_the_system = 0  # how much of what was sent was there at ``stalled_at``
        self.stalls = stalls

    @property
    def has_room(self) -> bool:
        """The target is there and has taken all that it was sent."""
        return not (self.held or self.lost)

    def send(self, data: memoryview) -> None:
        """Send it, or what the target takes of it; the rest is held. To be called where nothing is held."""
        try:
            sent = self.target.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.lost = True
            return
        if sent < len(data):
            self.held = memoryview(bytes(data[sent:]))
            self.has_stalled = True
            self._has_just_taken(trio.current_time())
            if not self.send_held():
                self.stalls()

    def send_held(self) -> bool:
        """Send what is held, until it is gone or the target would block; whether it is gone.

        Only behind a send that would block an edge tells that the target takes more.
        """
        held, sent = self.held, 0
        try:
            while sent < len(held):
                sent += self.target.send(held[sent:])
        except WOULD_BLOCK:
            self.held = held[sent:]
            if sent:
                self._has_just_taken(trio.current_time())
            return False
        except OSError:
            self.lost = True
        self.held = NOTHING
        return True

    def takes_some(self, now: float) -> bool:
        """Whether the target has taken something since it was last known to. To be asked when it should be given up.

        The system says that there is room only when there is much: of how a slow reader gets on it says nothing.
        """
        takes = leg.unsent_bytes(self.target) < self._with_the_system
        if takes:
            self._has_just_taken(now)
        return takes

    def _has_just_taken(self, now: float) -> None:
        self.stalled_at = now
        self._with_the_system = leg.unsent_bytes(self.target)

    async def flush(self) -> None:
        """Wait until nothing is held any more."""
        while self.held:
            await trio.lowlevel.wait_writable(self.target)
            self.send_held()
