"""One direction of a session: read, scan the headers, send. Bytes pass as they came.

``step`` is a plain function that never waits. Where a ``Reactor`` drives the pump, that calls it
while the pump's owner, the task in ``run``, sleeps until its direction has ended. Elsewhere the
owner waits for source and target itself. Only a direction's pump writes to its target: pings and
the last words of others go through ``insert`` and ``goodbye``. A pump closes nothing.

Backpressure is the kernel's: a pump whose target takes no more stops reading. What it holds is
never more than one read. How a direction ends well is ``goodbye``'s.
"""

import socket
import ssl
from collections.abc import Callable, Iterable
from enum import Enum

import outcome
import trio

from trio_ws_gateway.leg import WOULD_BLOCK
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.relay.outlet import Outlet
from trio_ws_gateway.wire.frames import Found, FrameScanner

READ_BYTES = 256 * 1024  # 64 KiB cost 30 % in bulk
# Reads begin this small, grow while they are filled with few frames, and shrink when they hold many: 256 KiB of
# empty frames would hold the loop for 40 ms, and this much of them for a little more than 1 ms.
SMALL_READ_BYTES = 8 * 1024
MANY_FRAMES = 1000
STALLED_READ_BYTES = 64 * 1024  # for a direction whose target has stalled before: this much is held at the most
KEPT_BYTES = 256  # room before a read for a cut header or control frame
READS_PER_STEP = 4  # then others have their turn


class Need(Enum):
    """What a step leaves its owner to do."""

    READABLE = "the source is drained; wait until it is readable"
    TURN = "the budget ran out; let others run, then go on"
    ROOM = "the target takes no more; wait until it does"
    TOKENS = "the budget is spent; wait until there is more, or end"
    END = "this direction has ended; `ended` says how"


READABLE, TURN, ROOM, TOKENS, END = Need  # to look a member up in its class costs 0.1 us


class Ended(Enum):
    """How a direction ended. All that was to pass has passed by then, unless the target is gone."""

    CLOSE = "a Close frame has passed"
    ILLEGAL = "an illegal frame came"
    TOO_BIG = "a message came that is too big"
    TOO_MANY = "more came than the budget allows"
    SOURCE_LOST = "end of stream, or a reset, without a Close"
    TARGET_LOST = "the target is gone"


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

    ``first``: what was read from the source before there was a pump, each part with the budget that it draws on;
    what comes later draws on ``budget``. ``driven``: by a reactor, which is told of the pump before ``run``.
    ``bytes``: how many were read, those included. ``heard_at``: when, on Trio's clock. ``outlet``: what leads to the
    target; nothing is read while it holds something, and ``stalls`` is called when that begins. ``ended``: how the
    direction ended, once it has.
    """

    __slots__ = (
        "_alarm",
        "_broke",
        "_budget",
        "_buffer",
        "_byte_budget",
        "_driven",
        "_first",
        "_frames",
        "_inserts",
        "_kept",
        "_owner",
        "_read_bytes",
        "_until_empty",
        "bytes",
        "ended",
        "heard_at",
        "outlet",
        "queued",
        "scanner",
        "source",
    )

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        scanner: FrameScanner,
        *,
        buffer: memoryview,
        stalls: Callable[[], None] = lambda: None,
        first: Iterable[tuple[bytes, Budget | None]] = (),
        budget: Budget | None = None,
        driven: bool = False,
    ) -> None:
        self.source = source
        self.outlet = Outlet(target, stalls=stalls)
        self.scanner = scanner
        self.bytes = 0
        self.heard_at = trio.current_time()
        self.ended: Ended | None = None
        self._buffer = buffer
        self._first = list(first)
        self._budget = budget
        self._byte_budget = budget if budget is not None and budget.counts_bytes else None
        self._broke = False  # the budget is spent; what was read and may not pass yet is kept
        self._kept = b""
        self._inserts = b""
        self._read_bytes = SMALL_READ_BYTES
        self._frames = 0  # when the size of reads was last thought about
        self._until_empty = isinstance(source, ssl.SSLSocket)  # a short read of TLS does not mean drained
        self._driven = driven
        self._owner: trio.lowlevel.Task | None = None  # set only while the task in `run` sleeps
        self._alarm: trio.CancelScope | None = None  # in which it waits for the source, where nobody drives it
        self.queued = False  # the reactor's mark

    @property
    def messages(self) -> int:
        return self.scanner.messages

    @property
    def reads(self) -> bool:
        """It hears its source: its target takes what comes, and its budget is not spent."""
        return not (self.outlet.held or self._broke)

    def step(self) -> Need:
        """Forward what is there, within a budget. Never waits, never raises ``OSError``."""
        outlet = self.outlet
        if outlet.held:
            if not outlet.send_held():
                return ROOM
            self.heard_at = trio.current_time()  # who was not read was not silent
            self._send_inserts()
        if self._broke:
            self.scan_again(self._budget)
        if outlet.held or outlet.lost or self._broke or self.ended is not None:
            return self._stopped_by()
        reads, byte_budget = READS_PER_STEP, self._byte_budget
        while reads:
            asked = self._read_bytes
            if byte_budget is not None and (asked := byte_budget.bytes_to_ask_for(asked, self.heard_at)) <= 0:
                self._broke = True
                return TOKENS
            try:
                size = self.receive(asked)
            except WOULD_BLOCK:
                return READABLE
            if byte_budget is not None and not byte_budget.spend_bytes(size, self.heard_at):
                self.ended, self.scanner.detail = Ended.TOO_MANY, "bytes"
                return END
            self.pass_on(size, self._budget)
            if outlet.held or outlet.lost or self._broke or self.ended is not None:
                return self._stopped_by()
            if size < SMALL_READ_BYTES:
                if size < asked and not self._until_empty:
                    return READABLE
            elif self._resize_reads():
                return TURN
            elif size < asked and not self._until_empty:
                return READABLE
            reads -= 1
        return TURN

    def _stopped_by(self) -> Need:
        self._note_target()
        return ROOM if self.outlet.held else END if self.ended is not None else TOKENS

    def _note_target(self) -> None:
        if self.outlet.lost:
            self.ended = self.ended or Ended.TARGET_LOST

    def _resize_reads(self) -> bool:
        """Let the next read be as large as this one was cheap; whether it held many frames."""
        frames = self.scanner.messages + self.scanner.extras
        many = frames - self._frames > MANY_FRAMES
        self._frames = frames
        most = STALLED_READ_BYTES if self.outlet.has_stalled else READ_BYTES
        self._read_bytes = SMALL_READ_BYTES if many else min(2 * self._read_bytes, most)
        return many

    async def run(self) -> Ended:
        """Forward until this direction ends. Cancelled, it leaves nothing half done that a goodbye cannot finish."""
        while self._first and self.ended is None:
            data, budget = self._first.pop(0)
            await self._pass_first(data, budget)
        while self.ended is None or self.outlet.held:
            await self._rest(self.step())
        return self.ended

    def insert(self, frame: bytes) -> None:
        """Send a frame of ours to the target, now or at the next frame boundary."""
        self._inserts += frame
        if self.outlet.has_room and not self._send_inserts():  # news for the owner, who waits for the source
            self._wake_owner()

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
        if need is END or need is TOKENS:
            self._wake_owner()
        return need is TURN

    async def _rest(self, need: Need) -> None:
        """Wait for what a step said that it needs."""
        if need is TURN:
            await trio.lowlevel.checkpoint()
            self.heard_at = trio.current_time()
        elif need is TOKENS:
            await self._earn(self._budget)
        elif need is not END:
            if self._driven:
                self._owner = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._disarm)
            elif need is ROOM:
                await trio.lowlevel.wait_writable(self.outlet.target)
            else:
                with trio.CancelScope() as self._alarm:
                    await trio.lowlevel.wait_readable(self.source)
                    self.heard_at = trio.current_time()

    async def _earn(self, budget: Budget | None) -> None:
        """Wait until the budget has more, or end where it will not."""
        await trio.lowlevel.checkpoint()
        lacking = None if budget is None else budget.lacking(trio.current_time())
        if lacking is not None and not (lacking.wait is not None and await lacking.wait()):
            self.ended = Ended.TOO_MANY
        self.heard_at = trio.current_time()  # who was not read was not silent

    def _disarm(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        # A task that is cancelled and rescheduled as well stops the whole program (TrioInternalError).
        self._owner = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake_owner(self, fault: Exception | None = None) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            trio.lowlevel.reschedule(owner, outcome.Error(fault) if fault else outcome.Value(None))
        elif self._alarm is not None:
            self._alarm.cancel()

    async def _pass_first(self, data: bytes, budget: Budget | None) -> None:
        for at in range(0, len(data), READ_BYTES):
            piece = data[at : at + READ_BYTES]
            kept = self._restore()
            self._buffer[kept : kept + len(piece)] = piece
            self.bytes += len(piece)
            self.pass_on(len(piece), budget)
            await self.outlet.flush()
            while self._broke and self.outlet.has_room and self.ended is None:
                await self._earn(budget)
                self.scan_again(budget)
                await self.outlet.flush()
            self._note_target()
            if self.ended:
                return

    def _restore(self) -> int:
        """Put what was kept back to where the next read goes; its length."""
        kept = len(self._kept)
        self._buffer[:kept] = self._kept
        return kept

    def receive(self, limit: int) -> int:
        """Read up to ``limit`` bytes into the buffer, behind what was kept; 0 at the end of the stream.

        Raises one of ``WOULD_BLOCK`` where there is nothing to read.
        """
        buffer = self._buffer
        if self._kept:
            buffer = buffer[self._restore() :]
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

    def pass_on(self, size: int, budget: Budget | None, *, forward: bool = True) -> None:
        """Scan what was kept and the ``size`` bytes that were read behind it, and send what may pass.

        What stands behind a frame that ends the direction is dropped.
        """
        scanner, buffer = self.scanner, self._buffer
        total = len(self._kept) + size
        if budget is not None:
            budget.open(scanner, self.heard_at)
        if self._inserts:
            self._put_in(total, budget)
        else:
            passed = scanner.scan(buffer, total)
            if scanner.found is None:
                if passed < total:
                    self._kept = bytes(buffer[passed:total])
                elif self._kept:
                    self._kept = b""
            elif scanner.found is Found.OWN_PONG:
                self._pass_on_in_pieces(bytearray(buffer[:passed]), passed + scanner.cut, total, budget)
                passed = 0
            else:
                self._stop(scanner.found, passed, total, budget)
            if passed and forward:
                self.outlet.send(buffer[:passed])
        if budget is not None:
            budget.settle(scanner)

    def _put_in(self, total: int, budget: Budget | None) -> None:
        """Pass on with frames of ours put in at the first boundary, if there is one in this read."""
        scanner, buffer = self.scanner, self._buffer
        at = 0
        out = bytearray()
        if scanner.inside <= total:
            at = scanner.inside
            scanner.scan(buffer, at)
            out += buffer[:at]
            out += self.take_inserts()
        self._pass_on_in_pieces(out, at, total, budget)

    def _pass_on_in_pieces(self, out: bytearray, at: int, total: int, budget: Budget | None) -> None:
        """The rare case: a frame of ours was put in, or an answer to ours cut out. ``at``: scanned so far."""
        scanner, buffer = self.scanner, self._buffer
        while at < total:
            passed = scanner.scan(buffer[at:total], total - at)
            out += buffer[at : at + passed]
            at += passed
            if scanner.found is not Found.OWN_PONG:
                break
            at += scanner.cut
        if scanner.found in OF_FOUND:
            self._stop(scanner.found, at, total, budget)
        else:
            self._kept = bytes(buffer[at:total])
        self.outlet.send(memoryview(out))

    def _stop(self, found: Found, at: int, total: int, budget: Budget | None) -> None:
        """End where the scanner has stopped, or keep the rest until the budget has more."""
        if found is Found.TOO_MANY and budget is not None and budget.waits:
            self._broke = True
            self._kept = bytes(self._buffer[at:total])
        else:
            self._kept = b""
            self.ended = OF_FOUND[found]

    def scan_again(self, budget: Budget | None, *, forward: bool = True) -> None:
        """Go on with what was kept."""
        self._broke = False
        self._restore()
        self.pass_on(0, budget, forward=forward)

    def _send_inserts(self) -> bool:
        """Send what of ours may stand here; whether the target has taken it all."""
        if self._inserts and self.ended is None and not self.scanner.inside:
            self.outlet.send(memoryview(self.take_inserts()))
        return self.outlet.has_room

    def take_inserts(self) -> bytes:
        """The frames of ours that are not sent yet."""
        inserts, self._inserts = self._inserts, b""
        return inserts
