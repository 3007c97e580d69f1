"""One direction of a session: read, scan the headers, send. Bytes pass as they came.

``step`` is a plain function that never waits. Where a ``Reactor`` drives the pump, that calls it
while the pump's owner, the task in ``run``, sleeps until its direction has ended. Elsewhere the
owner waits for source and target itself. Only a direction's pump writes to its target: pings and
the last words of others go through ``insert`` and ``goodbye``. A pump closes nothing.

Backpressure is the kernel's: a pump whose target takes no more stops reading, and so does one whose
budget is spent, where that may be waited for. What it holds is a read at the most, to be sent or to
be scanned. How a direction ends well is ``goodbye``'s.
"""

import math
import socket
import ssl
from collections.abc import Awaitable, Callable

import outcome
import trio

from trio_ws_gateway.leg import WOULD_BLOCK
from trio_ws_gateway.limits.budgets import Budget, Kind, Purse
from trio_ws_gateway.relay.intake import READ_BYTES, Intake
from trio_ws_gateway.relay.outlet import Outlet
from trio_ws_gateway.relay.steps import END, LACKING, OF_FOUND, READABLE, ROOM, TOKENS, TURN, Ended, Need
from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.frames import Found, FrameScanner

# Reads grow while they are filled with little work, and shrink when they hold much: that is, many frames, or packets
# that somebody follows. A scan ends when it has looked at enough frames, but not at packets: those come in slices.
SMALL_READ_BYTES = 8 * 1024
LEAST_READ_BYTES = 1024
MUCH_WORK = 900  # frames and packets: some 0.3 ms
WALKED_SLICE_BYTES = 8 * 1024  # of packets, which may have two bytes
STALLED_READ_BYTES = 64 * 1024  # for a direction whose target has stalled before: this much is held at the most
READS_PER_STEP = 4  # then others have their turn


class Pump:
    """Forwards from ``source`` to ``target``; both are non-blocking and belong to the caller.

    ``opening``: whole frames of the source's that draw on no budget, ``ahead``: what was read from it behind them;
    that, and all else, draws on ``budget``. ``driven``: by a reactor, which is told of the pump before ``run``.
    ``heard_at``: when the source was last, on Trio's clock. ``outlet``: what leads to the target; nothing is read while
    it holds something, and ``stalls`` is called when that begins. ``ended``, ``detail``: how the direction ended.
    ``asked``: what the source asks of the gateway itself; it is not read on before ``answer`` is done.
    """

    __slots__ = (
        "_alarm",
        "_budget",
        "_byte_budget",
        "_counted",
        "_driven",
        "_fault",
        "_inserts",
        "_is_reset",
        "_lacks",
        "_owner",
        "_read_bytes",
        "_slice_bytes",
        "_until_empty",
        "_words",
        "_words_may_stand",
        "_work",
        "answer",
        "asked",
        "detail",
        "ended",
        "heard_at",
        "intake",
        "left_at",
        "outlet",
        "queued",
        "scanner",
    )

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        scanner: FrameScanner,
        *,
        buffer: memoryview,
        opening: bytes = b"",
        ahead: bytes = b"",
        budget: Budget | None = None,
        stalls: Callable[[], None] = lambda: None,
        driven: bool = False,
    ) -> None:
        self.intake = Intake(source, buffer, ahead=opening + ahead, free=len(opening))
        self.outlet = Outlet(target, stalls=stalls)
        self.scanner = scanner
        self.heard_at = trio.current_time()
        self.ended: Ended | None = None
        self.detail = ""
        self._budget = budget
        self._byte_budget = budget if budget is not None and budget.counts_bytes else None
        self._lacks: Kind | None = None  # of the budget there is none left; it is waited for
        self.asked: Asked | None = None
        self.answer: Callable[[Asked], Awaitable[None]] | None = None
        self._inserts = b""
        self._words = b""
        self._words_may_stand: Callable[[], bool] | None = None
        self._read_bytes = SMALL_READ_BYTES
        self._slice_bytes = 2 * READ_BYTES if scanner.walker is None else WALKED_SLICE_BYTES
        self._work = 0  # when the size of reads was last thought about
        self._until_empty = self._is_tls
        self._driven = driven
        self._owner: trio.lowlevel.Task | None = None  # set only while the task in `run` sleeps
        self._alarm: trio.CancelScope | None = None  # in which it waits for the source, where nobody drives it
        self._fault: Exception | None = None  # what a step raised; the owner is to be woken with it
        self.left_at = math.inf  # since when it is known that the source sends no more
        self._is_reset = False
        self._counted: tuple[int, int] | None = None  # bytes and messages, once no more count
        self.queued = False  # the reactor's mark

    @property
    def source(self) -> socket.socket:
        return self.intake.source

    @property
    def _is_tls(self) -> bool:
        """A short read of TLS does not mean that it is drained."""
        return isinstance(self.intake.source, ssl.SSLSocket)

    @property
    def bytes_read(self) -> int:
        """Those ahead included."""
        return self.intake.bytes if self._counted is None else self._counted[0]

    @property
    def bytes_held(self) -> int:
        """Read, and not sent yet: the target takes no more, or the budget is spent."""
        return len(self.outlet.held) + (0 if self.intake.ahead is None else len(self.intake.ahead))

    @property
    def messages(self) -> int:
        return self.scanner.messages if self._counted is None else self._counted[1]

    def count_no_more(self) -> None:
        """What is read from now on is not forwarded."""
        self._counted = self.bytes_read, self.messages

    @property
    def listens(self) -> bool:
        """It hears its source: its target takes what comes, its budget is not spent, and it owes no answer."""
        return not self.outlet.held and self._lacks is None and self.asked is None

    @property
    def at_frame_boundary(self) -> bool:
        """No frame is half sent."""
        return not self.scanner.inside

    @property
    def at_message_boundary(self) -> bool:
        """Nor is a message."""
        return not (self.scanner.inside or self.scanner.fragmented)

    def step(self) -> Need:
        """Forward what is there, within a budget. Never waits, never raises ``OSError``."""
        intake, outlet = self.intake, self.outlet
        if outlet.held:
            if not outlet.send_held():
                return ROOM
            self.heard_at = trio.current_time()  # who was not read was not silent
            self._send_inserts()
        if outlet.held or outlet.lost or self.asked is not None or self.ended is not None:
            return self._stopped_by()
        self._lacks = None
        reads = READS_PER_STEP
        while reads:
            reads -= 1
            asked, budget, bill = self._read_bytes, self._budget, self._byte_budget
            was_ahead = intake.ahead is not None
            if was_ahead and (unbilled := intake.free or intake.paid):
                asked, bill = min(asked, unbilled), None
                if intake.free:
                    budget = None
            if bill is not None and (asked := bill.bytes_to_ask_for(asked, self.heard_at)) <= 0:
                self._lacks = Kind.BYTES
                return TOKENS
            try:
                size = intake.receive(asked)
            except WOULD_BLOCK:
                self._until_empty = self._is_tls
                return READABLE
            if bill is None:
                self.pass_on(size, budget)
            else:
                self._pass_on_what_is_paid(size, budget, bill)
            if (
                outlet.held
                or outlet.lost
                or self._lacks is not None
                or self.asked is not None
                or self.ended is not None
            ):
                return self._stopped_by()
            if size >= LEAST_READ_BYTES and self._resize_reads(filled=size >= asked):
                return TURN
            if size < asked and intake.ahead is None and not (self._until_empty or was_ahead):
                return READABLE
        return TURN

    def _stopped_by(self) -> Need:
        if self.outlet.lost:
            self.ended = self.ended or Ended.TARGET_LOST
        return ROOM if self.outlet.held else END if self.ended is not None else TOKENS

    def _pass_on_what_is_paid(self, size: int, budget: Budget | None, bill: Budget) -> None:
        paid = bill.pay_for_bytes(size, self.heard_at)
        self.pass_on(paid, budget)
        if paid < size and self.ended is None:
            self.ended, self.detail = Ended.TOO_MANY, Kind.BYTES.value

    def _resize_reads(self, *, filled: bool) -> bool:
        """Let the next read be as large as this one was cheap; whether it was much work."""
        work = self.scanner.work
        much = work - self._work > MUCH_WORK or self.scanner.found is Found.ENOUGH
        self._work = work
        if much:
            self._read_bytes = max(LEAST_READ_BYTES, self._read_bytes // 8)
        elif filled:
            most = STALLED_READ_BYTES if self.outlet.has_stalled else READ_BYTES
            self._read_bytes = min(2 * self._read_bytes, most)
        return much

    async def run(self) -> Ended:
        """Forward until this direction ends. Cancelled, it leaves nothing half done that a goodbye cannot finish."""
        while self.ended is None or self.outlet.held:
            await self._wait_for(self.step())
        return self.ended

    @property
    def between_messages(self) -> bool:
        """All that it was to pass has passed, up to the end of a message."""
        return not (self.scanner.inside or self.scanner.fragmented) and self.outlet.has_room

    def go_on(self, source: socket.socket, target: socket.socket, ahead: bytes) -> None:
        """From between two messages, with another socket at one end. ``ahead``: what was read from the source."""
        if source is not self.intake.source:
            self.left_at, self._is_reset = math.inf, False
        self.intake.source, self.intake.ended, self.outlet.target = source, False, target
        self.intake.put_behind(ahead)
        self.ended, self._lacks = None, None
        self._until_empty = self._is_tls
        self.heard_at = trio.current_time()

    def insert(self, frame: bytes) -> None:
        """Send a frame of ours to the target, now or at the next frame boundary."""
        self._inserts += frame
        if self.outlet.has_room and not self._send_inserts():  # news for the owner, who waits for the source
            self.wake_owner()

    def say(self, message: bytes, may_stand: Callable[[], bool]) -> None:
        """Send a message of ours to the target, now or at the next end of a message where ``may_stand`` holds."""
        self._words += message
        self._words_may_stand = may_stand
        self.insert(b"")

    @property
    def unsaid_bytes(self) -> int:
        """Of messages of ours that still wait for their place."""
        return len(self._words)

    def draw_on(self, budget: Budget | None) -> None:
        """Of another budget, from now on."""
        self.scanner.lift_ceilings()
        self._budget = budget
        self._byte_budget = budget if budget is not None and budget.counts_bytes else None

    def fileno(self) -> int:
        return self.intake.source.fileno()

    def source_ends(self, *, left: bool, reset: bool) -> None:
        self._until_empty = True
        if left:
            self.left_at = min(self.left_at, self.heard_at)
        if reset:
            self._is_reset = True
            if self._lacks is not None:  # it is waited for tokens, for nobody
                self.wake_owner()

    def work(self) -> Need:
        if self._owner is None:  # awake, and will step itself; or gone
            return READABLE
        if self._fault is not None:
            return END
        try:
            return self.step()
        except Exception as fault:  # the owner's session ends with it, and no other
            self._fault = fault
            return END

    async def _wait_for(self, need: Need) -> None:
        """Wait for what a step said that it needs."""
        if need is TURN:
            await trio.lowlevel.checkpoint()
            self.heard_at = trio.current_time()
        elif need is TOKENS:
            await self._earn()
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

    async def _earn(self) -> None:
        """Wait until the budget has more of what it lacks, or end where it will not; or until the answer is given."""
        await trio.lowlevel.checkpoint()
        if self.asked is not None:
            if self.answer is not None:
                await self.answer(self.asked)
            self.asked = None
        elif self._budget is not None and self._lacks is not None:
            purse = self._budget.empty_purse(self._lacks, trio.current_time())
            if self._is_reset:
                self.ended = Ended.SOURCE_LOST
            elif purse is not None:
                with trio.CancelScope() as self._alarm:
                    if not await self._is_granted(purse):
                        self.ended, self.detail = Ended.TOO_MANY, self._lacks.value
        self.heard_at = trio.current_time()  # who was not read was not silent

    async def _is_granted(self, purse: Purse) -> bool:
        """Whether there is more by now. Who had the last byte of what he may have is refused when he sends another."""
        if purse.wait is None:
            return False
        if await purse.wait():
            return True
        if self._lacks is Kind.BYTES and self.intake.ahead is None:
            await trio.lowlevel.wait_readable(self.source)
            return await purse.wait()
        return False

    def _disarm(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        # A task that is cancelled and rescheduled as well stops the whole program (TrioInternalError).
        self._owner = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake_owner(self) -> None:
        owner, self._owner = self._owner, None
        fault, self._fault = self._fault, None
        if owner is not None:
            trio.lowlevel.reschedule(owner, outcome.Error(fault) if fault else outcome.Value(None))
        elif self._alarm is not None:
            self._alarm.cancel()

    def pass_on(self, size: int, budget: Budget | None, *, forward: bool = True) -> None:
        """Scan what was kept and the ``size`` bytes that were read behind it, and send what may pass.

        What stands behind a frame that ends the direction is dropped.
        """
        scanner, intake = self.scanner, self.intake
        if not size and intake.ended:
            self.ended = self.ended or Ended.SOURCE_LOST
        total = len(intake.kept) + size
        if budget is not None:
            budget.open(scanner, self.heard_at)
        if self._inserts or self._words or total > self._slice_bytes:
            self._pass_on_in_slices(total, budget, forward=forward)
        else:
            passed = scanner.scan(intake.buffer, total)
            if scanner.found is not None:
                self._stop(scanner.found, passed, total, budget)
            elif passed < total:
                intake.kept = bytes(intake.buffer[passed:total])
            elif intake.kept:
                intake.kept = b""
            if passed and forward:
                self.outlet.send(intake.buffer[:passed])
        if budget is not None:
            budget.settle(scanner)

    def _pass_on_in_slices(self, total: int, budget: Budget | None, *, forward: bool) -> None:
        """The same, looking up at times: at a boundary for a frame of ours, and whether it is too much work."""
        scanner, intake = self.scanner, self.intake
        buffer, enough = intake.buffer, scanner.work + MUCH_WORK
        out = bytearray()
        begin = at = 0  # what was scanned in between stands behind `out`
        while at < total and scanner.work <= enough:
            if (self._inserts or self._words) and not scanner.inside:
                out += buffer[begin:at]
                out += self._take_due()
                begin = at
            reach = scanner.inside or self._slice_bytes
            if scanner.walker is not None:
                reach = min(reach, self._slice_bytes)
            end = min(total, at + reach)
            passed = scanner.scan(buffer[at:end], end - at)
            at += passed
            if scanner.found is Found.OWN_PONG:
                out += buffer[begin:at]
                begin = at = at + scanner.cut
            elif scanner.found is not None or not passed:
                break
        self._keep(at, total, budget, again=scanner.work > enough)
        if (self._inserts or self._words) and self.ended is None:
            out += buffer[begin:at]
            out += self._take_due()
            begin = at
        if forward and (out or at > begin):
            self.outlet.send(memoryview(out + buffer[begin:at]) if out else buffer[begin:at])

    def _keep(self, at: int, total: int, budget: Budget | None, *, again: bool) -> None:
        """The slices end there: what stands behind comes again, if it may, or is a header that is cut."""
        intake, found = self.intake, self.scanner.found
        intake.kept = b""
        if found is not None and found is not Found.OWN_PONG:
            self._stop(found, at, total, budget)
        elif again:
            intake.put_back(at, total, free=budget is None)
        elif at < total:
            intake.kept = bytes(intake.buffer[at:total])

    def _stop(self, found: Found, at: int, total: int, budget: Budget | None) -> None:
        """The scanner has stopped there: go on from there another time, when the budget has more, or never."""
        intake, lacks = self.intake, LACKING.get(found)
        intake.kept = b""
        if found is Found.OWN_PONG or found is Found.ASKED:
            intake.put_back(at + self.scanner.cut, total, free=budget is None)
        elif found is Found.ENOUGH:
            intake.put_back(at, total, free=budget is None)
        elif lacks is not None and budget is not None and budget.is_worth_waiting(lacks, self.heard_at):
            intake.put_back(at, total, free=False)
            self._lacks = lacks
        else:
            self.ended, self.detail = OF_FOUND[found], self.scanner.detail

    def _send_inserts(self) -> bool:
        """Send what of ours may stand here; whether the target has taken it all."""
        if (self._inserts or self._words) and self.ended is None and (due := self._take_due()):
            self.outlet.send(memoryview(due))
        return self.outlet.has_room

    def _take_due(self) -> bytes:
        """Of what is ours, that which may stand here."""
        if not self.at_frame_boundary:
            return b""
        due = self.take_inserts()
        if self._words and self.at_message_boundary and (self._words_may_stand is None or self._words_may_stand()):
            due += self._words
            self._words = b""
        return due

    def wind_up(self) -> None:
        """What has begun may pass to its end, whatever the budget says; nothing else of ours will."""
        self.take_inserts()
        self._words = b""
        self.scanner.is_for_us = None
        self.scanner.lift_ceilings()

    def take_inserts(self) -> bytes:
        """The frames of ours that are not sent yet."""
        inserts, self._inserts = self._inserts, b""
        return inserts
