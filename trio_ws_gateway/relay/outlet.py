"""The sending half of a direction: what its target does not take at once is held back until it does.

Never more is held than one send. Sending is a plain function that does not wait; ``flush`` is for
whoever can. A target that takes nothing for the write timeout is given up by whoever waits for it.
"""

import math
import socket

import trio

from trio_ws_gateway.leg import WOULD_BLOCK


class Outlet:
    """Sends to ``target``, a non-blocking socket of the caller's.

    ``held``: what the target has not taken yet. ``lost``: the target is gone, ``stuck``: it was given up; then
    nothing is held any more, or nothing will ever be sent. ``has_stalled``: it did not take all of something, once.
    ``patience``: the scope in which somebody waits; it has a deadline while something is held.
    """

    __slots__ = ("_write_timeout", "has_stalled", "held", "lost", "patience", "stuck", "target")

    def __init__(self, target: socket.socket, *, write_timeout_seconds: float) -> None:
        self.target = target
        self.held = memoryview(b"")
        self.lost = False
        self.stuck = False
        self.has_stalled = False
        self.patience = trio.CancelScope()
        self._write_timeout = write_timeout_seconds

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
            self.patience.deadline = self.gives_up_at()
            self.send_held()

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
                self.patience.deadline = self.gives_up_at()
            return False
        except OSError:
            self.lost = True
        self.held = memoryview(b"")
        self.patience.deadline = math.inf
        return True

    def gives_up_at(self) -> float:
        """When a target that takes nothing from now on is given up, on Trio's clock."""
        return trio.current_time() + self._write_timeout if self.held else math.inf

    async def flush(self) -> None:
        """Wait until nothing is held any more, or the target is lost or stuck."""
        while self.held:
            with trio.move_on_after(self._write_timeout) as patience:
                await trio.lowlevel.wait_writable(self.target)
            if patience.cancelled_caught:
                self.stuck = True
                return
            self.send_held()
