"""One direction of a session: read, scan the headers, send. Bytes pass as they came.

``step`` is a plain function that never waits. With a ``Reactor`` it is called by that while the
pump's owner, the task in ``run``, sleeps; the owner is woken only for what must be awaited. Without
one the owner waits for its source itself. Only a direction's pump writes to its target: pings and
the last words of others go through ``insert`` and ``conclude``. A pump closes nothing.

Backpressure is the kernel's: a pump whose target takes no more stops reading. What it holds is
never more than one read.
"""

import math
import socket
import ssl
from collections.abc import Callable
from enum import Enum

import outcome
import trio

from trio_ws_gateway.leg import WOULD_BLOCK, linger
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.wire.frames import Found, FrameScanner

READ_BYTES = 256 * 1024  # 64 KiB cost 30 % in bulk
STALLED_READ_BYTES = 64 * 1024  # for a direction whose target has stalled before: this much is held at the most
KEPT_BYTES = 256  # room before a read for a cut header or control frame
READS_PER_STEP = 4  # then others have their turn


class Need(Enum):
    """What a step leaves its owner to do."""

    READABLE = "the source is drained; wait until it is readable"
    TURN = "the budget ran out; let others run, then go on"
    ROOM = "the target takes no more; wait until it is writable"
    END = "this direction has ended; `ended` says how"


class Ended(Enum):
    """How a direction ended. All that was to pass has passed by then, unless the target is gone."""

    CLOSE = "a Close frame has passed"
    ILLEGAL = "an illegal frame came"
    TOO_BIG = "a message came that is too big"
    TOO_MANY = "more came than the budget allows"
    SOURCE_LOST = "end of stream, or a reset, without a Close"
    TARGET_LOST = "the target is gone"
    TARGET_STUCK = "the target takes nothing"


OF_FOUND = {
    Found.CLOSE: Ended.CLOSE,
    Found.ILLEGAL: Ended.ILLEGAL,
    Found.TOO_BIG: Ended.TOO_BIG,
    Found.TOO_MANY: Ended.TOO_MANY,
}


def new_buffer() -> memoryview:
    """The buffer of all pumps of one event loop: a step never waits while it uses it."""
    return memoryview(bytearray(KEPT_BYTES + READ_BYTES))


class Pump:
    """Forwards from ``source`` to ``target``; both are non-blocking and belong to the caller.

    ``opening``: what was read from the source before there was a pump. ``bytes``: how many were
    read, the opening's included. ``heard_at``: when, on Trio's clock. ``blocked``: not reading, because of the target.
    """

    __slots__ = (
        "_ahead",
        "_alarm",
        "_budget",
        "_buffer",
        "_inserts",
        "_kept",
        "_opening",
        "_owner",
        "_reactor",
        "_read_bytes",
        "_unsent",
        "_until_empty",
        "_write_timeout",
        "blocked",
        "bytes",
        "ended",
        "heard_at",
        "queued",
        "scanner",
        "source",
        "target",
    )

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        scanner: FrameScanner,
        *,
        buffer: memoryview,
        write_timeout_seconds: float,
        opening: bytes = b"",
        ahead: bytes = b"",
        budget: Budget | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.scanner = scanner
        self.bytes = 0
        self.heard_at = trio.current_time()
        self.blocked = False
        self.ended: Ended | None = None
        self._buffer = buffer
        self._write_timeout = write_timeout_seconds
        self._opening = opening
        self._ahead = ahead
        self._budget = budget
        self._kept = b""
        self._unsent = memoryview(b"")
        self._inserts = b""
        self._read_bytes = READ_BYTES
        self._until_empty = isinstance(source, ssl.SSLSocket)  # a short read of TLS does not mean drained
        self._reactor = reactor
        self._owner: trio.lowlevel.Task | None = None  # set only while the task in `run` sleeps
        self._alarm: trio.CancelScope | None = None  # the same, where it waits for the source itself
        self.queued = False  # the reactor's mark

    @property
    def messages(self) -> int:
        return self.scanner.messages

    @property
    def _has_room(self) -> bool:
        """The target is there and has taken all that it was sent."""
        return not self._unsent and self.ended is not Ended.TARGET_LOST

    def step(self) -> Need:
        """Forward what is there, within a budget. Never waits, never raises ``OSError``."""
        for _ in range(READS_PER_STEP):
            try:
                size = self._receive(self._read_bytes)
            except WOULD_BLOCK:
                return Need.READABLE
            if size:
                self._pass_on(size)
            if self._unsent:
                return Need.ROOM
            if self.ended:
                return Need.END
            if size < self._read_bytes and not self._until_empty:
                return Need.READABLE
        return Need.TURN

    async def run(self) -> Ended:
        """Forward until this direction ends. Cancelled, it leaves nothing half done that ``conclude`` cannot finish."""
        opening, ahead, budget = self._opening, self._ahead, self._budget
        self._opening = self._ahead = b""
        self._budget = None
        await self._pass_first(opening)
        self._budget = budget
        await self._pass_first(ahead)
        if self._reactor is None:
            return await self._forward()
        self._reactor.add(self)
        try:
            return await self._forward()
        finally:
            self._reactor.remove(self)

    def insert(self, frame: bytes) -> None:
        """Send a frame of ours to the target at the next frame boundary."""
        self._inserts += frame
        if self._owner is not None:
            self._wake_owner()
        elif self._alarm is not None:
            self._alarm.cancel()

    def fileno(self) -> int:
        return self.source.fileno()

    def read_to_the_end(self) -> None:
        self._until_empty = True

    def work(self) -> bool:
        if self._owner is None:  # awake, and will step itself; or gone
            return False
        try:
            need = self.step()
        except Exception as fault:  # the owner's session ends with it, and no other
            self._wake_owner(fault)
            return False
        if need is Need.TURN:
            return True
        if need is not Need.READABLE:
            self._wake_owner()
        return False

    async def conclude(
        self, close: bytes, words: bytes, at_packet_boundary: Callable[[], bool], patience_seconds: float
    ) -> bool:
        """Say the last words to the target; whether ``close`` was said. ``run`` must have ended for good.

        ``words`` is a data frame, so it needs the end of a message and of the protocol's packet; ``close`` needs
        the end of a frame. Up to there, and no further, more is forwarded, for ``patience_seconds``: then
        what has not found its boundary is not said.
        """
        self._inserts = b""
        if self.ended is Ended.CLOSE:
            return False  # the source has had its own last word
        with trio.move_on_after(patience_seconds):
            if words and await self._reach(lambda: not self.scanner.fragmented and at_packet_boundary()):
                self._send(memoryview(words))
            await self._reach(lambda: True)
        if not close or self.scanner.inside or not self._has_room:
            return False
        self._send(memoryview(close))
        with trio.move_on_after(patience_seconds):
            await self._flush()
        return self._has_room

    async def hear_close(self) -> None:
        """Hear the source out, forwarding nothing: until its Close, its end of stream, or the caller's deadline."""
        self.scanner.own_ping = None
        self.scanner.lift_ceilings()
        while self.ended not in {Ended.CLOSE, Ended.SOURCE_LOST}:
            if self.ended in {Ended.ILLEGAL, Ended.TOO_BIG}:  # nobody knows where its frames begin
                await linger(self.source, math.inf)
                return
            try:
                size = self._receive(READ_BYTES)
            except WOULD_BLOCK:
                await trio.lowlevel.wait_readable(self.source)
                continue
            total = len(self._kept) + size
            passed = self.scanner.scan(self._buffer, total)
            self._kept = bytes(self._buffer[passed:total])
            if self.scanner.found:
                self.ended = OF_FOUND[self.scanner.found]

    async def _forward(self) -> Ended:
        while True:
            if self._unsent:
                await self._flush()
            elif self.ended:
                return self.ended
            elif self._inserts and not self.scanner.inside:
                self._send(memoryview(self._take_inserts()))
            else:
                await self._rest(self.step())
            if self.ended is Ended.TARGET_STUCK:
                return self.ended

    async def _rest(self, need: Need) -> None:
        """Wait for what a step said that it needs; ``ROOM`` and ``END`` are seen to by the loop of ``_forward``."""
        if need is Need.TURN:
            await trio.lowlevel.checkpoint()
            self.heard_at = trio.current_time()
        elif need is Need.READABLE and self._reactor is not None:
            self._owner = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._disarm)
        elif need is Need.READABLE:
            with trio.CancelScope() as self._alarm:
                await trio.lowlevel.wait_readable(self.source)
                self.heard_at = trio.current_time()
            self._alarm = None

    def _disarm(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        # A task that is cancelled and rescheduled as well stops the whole program (TrioInternalError).
        self._owner = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake_owner(self, fault: Exception | None = None) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            trio.lowlevel.reschedule(owner, outcome.Error(fault) if fault else outcome.Value(None))

    async def _pass_first(self, data: bytes) -> None:
        """Pass what was read before there was a pump."""
        for at in range(0, len(data), READ_BYTES):
            if self.ended:
                return
            piece = data[at : at + READ_BYTES]
            self.bytes += len(piece)
            kept = len(self._kept)
            self._buffer[:kept] = self._kept
            self._buffer[kept : kept + len(piece)] = piece
            self._pass_on(len(piece))
            while self._unsent and self.ended is not Ended.TARGET_STUCK:
                await self._flush()

    def _receive(self, limit: int) -> int:
        """Read up to ``limit`` bytes into the buffer, behind what was kept; 0 at the end of the stream."""
        buffer = self._buffer
        kept = len(self._kept)
        if kept:
            buffer[:kept] = self._kept
            buffer = buffer[kept:]
        try:
            size = self.source.recv_into(buffer, limit)
        except WOULD_BLOCK:
            raise
        except OSError:
            size = 0
        if not size:
            self.ended = Ended.SOURCE_LOST
        self.bytes += size
        return size

    def _pass_on(self, size: int) -> None:
        """Scan and send what was kept and the ``size`` bytes that were read behind it."""
        scanner, buffer, budget = self.scanner, self._buffer, self._budget
        total = len(self._kept) + size
        if budget is not None:
            budget.lend(scanner, self.heard_at)
        if self._inserts:
            at = 0
            out = bytearray()
            if scanner.inside <= total:  # the current frame ends in this read
                at = scanner.inside
                scanner.scan(buffer, at)
                out += buffer[:at]
                out += self._take_inserts()
            self._pass_on_in_pieces(out, at, total)
        else:
            passed = scanner.scan(buffer, total)
            if scanner.found is Found.OWN_PONG:
                self._pass_on_in_pieces(bytearray(buffer[:passed]), passed + scanner.cut, total)
            else:
                self._kept = bytes(buffer[passed:total]) if passed < total else b""
                if scanner.found:
                    self.ended = OF_FOUND[scanner.found]
                if passed:
                    self._send(buffer[:passed])
        if budget is not None:
            budget.settle(scanner)

    def _pass_on_in_pieces(self, out: bytearray, at: int, total: int) -> None:
        """The rare case: a frame of ours was put in, or an answer to ours cut out. ``at``: scanned so far."""
        scanner, buffer = self.scanner, self._buffer
        while at < total:
            passed = scanner.scan(buffer[at:total], total - at)
            out += buffer[at : at + passed]
            at += passed
            if scanner.found is not Found.OWN_PONG:
                break
            at += scanner.cut
        self._kept = bytes(buffer[at:total])
        if scanner.found in OF_FOUND:
            self.ended = OF_FOUND[scanner.found]
        self._send(memoryview(out))

    def _take_inserts(self) -> bytes:
        inserts, self._inserts = self._inserts, b""
        return inserts

    def _send(self, data: memoryview) -> None:
        try:
            sent = self.target.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.ended = self.ended or Ended.TARGET_LOST
            return
        if sent < len(data):
            self._unsent = memoryview(bytes(data[sent:]))
            self._read_bytes = STALLED_READ_BYTES

    async def _flush(self) -> None:
        """Send what is unsent. A target that takes nothing for the write timeout is stuck."""
        self.blocked = True
        try:
            while self._unsent:
                with trio.move_on_after(self._write_timeout) as patience:
                    await trio.lowlevel.wait_writable(self.target)
                if patience.cancelled_caught:
                    self.ended = Ended.TARGET_STUCK
                    return
                unsent, self._unsent = self._unsent, memoryview(b"")
                self._send(unsent)
        finally:
            self.blocked = False

    async def _reach(self, at_boundary: Callable[[], bool]) -> bool:
        """Forward up to the end of a frame where ``at_boundary`` holds; whether there is one."""
        while True:
            await self._flush()
            if not self._has_room:
                return False
            if not self.scanner.inside and at_boundary():
                return True
            if self.ended:
                return False
            try:
                # Not a byte further than this frame, or than the next two bytes of a header: their number is even.
                size = self._receive(min(self.scanner.inside or 2, READ_BYTES))
            except WOULD_BLOCK:
                await trio.lowlevel.wait_readable(self.source)
            else:
                self._pass_on(size)
