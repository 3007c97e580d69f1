"""Two pumps and a clock: a session from its first forwarded byte to its last.

One nursery: a reader (client to upstream), a writer (upstream to client), and the parent, who
keeps time. Whoever finds a reason to end sets the cause and cancels the nursery; then both sides
are told, each at a boundary of its own stream. Sockets are the caller's: a relay closes nothing.
"""

import math
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from attrs import frozen

from trio_ws_gateway import farewell
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.protocols.base import Greeting, Inspector, Walker
from trio_ws_gateway.relay.answering import Answering, Authorise, Authorised
from trio_ws_gateway.relay.goodbye import answer_close, take_leave
from trio_ws_gateway.relay.inspecting import InspectingPump
from trio_ws_gateway.relay.pump import Pump
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.relay.side import Side
from trio_ws_gateway.relay.steps import Ended
from trio_ws_gateway.relay.timekeeping import Due, Pace, look
from trio_ws_gateway.wire.frames import NO_LIMIT, FrameScanner


@frozen(kw_only=True)
class Terms:
    """What holds for every relay of a gateway. Seconds, ``math.inf`` for never; bytes.

    ``buffer``: of all pumps of one event loop. ``reactor``: drives them, where there is one.
    """

    buffer: memoryview
    reactor: Reactor | None
    pace: Pace
    write_timeout_seconds: float
    control_timeout_seconds: float
    close_timeout_seconds: float
    max_message_bytes: int = NO_LIMIT
    max_message_bytes_to_client: int = NO_LIMIT
    max_fragments: int = NO_LIMIT
    clock: Callable[[], float] = time.time  # on the wall: tokens end by it


@frozen(kw_only=True)
class Reconnected:
    """Another upstream: its socket, what was read from that already, and what of the client's meanwhile."""

    upstream: socket.socket
    from_upstream: bytes
    from_client: bytes


Reconnect = Callable[[], Awaitable[Reconnected]]
"""Raises ``Refused`` where there is no other."""


def nobody_cares() -> None:
    """That a target takes no more, where the relay is over."""


class Relay:
    """One session. ``cause`` and ``detail`` say why it ended, once it has; ``fault`` is what was raised by mistake.

    ``opening``: what of the client is forwarded first, as frames; it is free, all else draws on ``budget``, and what
    the client is sent on ``budget_to_client``.
    ``from_client``, ``from_upstream``: what was read ahead from each. ``compressed``: permessage-deflate was agreed on.
    ``token_ends_at``: when its token is worth nothing any more, in seconds since 1970; ``too_old_at``: when the session
    has lived long enough, on Trio's clock. ``authorise``: where a newer token is believed.
    """

    __slots__ = (
        "_data_at",
        "_keeper",
        "_likely",
        "_nap",
        "_over",
        "_progress",
        "_scope",
        "_terms",
        "_token_ends_at",
        "_too_old_at",
        "cause",
        "client",
        "detail",
        "fault",
        "greeting",
        "to_client",
        "to_upstream",
        "upstream",
    )

    def __init__(
        self,
        client: socket.socket,
        upstream: socket.socket,
        greeting: Greeting,
        terms: Terms,
        *,
        budget: Budget | None = None,
        budget_to_client: Budget | None = None,
        opening: bytes = b"",
        from_client: bytes = b"",
        from_upstream: bytes = b"",
        compressed: bool = False,
        token_ends_at: float = math.inf,
        too_old_at: float = math.inf,
        authorise: Authorise | None = None,
    ) -> None:
        self.greeting = greeting
        self._terms = terms
        self._scope = trio.CancelScope()  # once both directions run, their nursery's
        self._keeper: trio.lowlevel.Task | None = None  # of the time, while it sleeps
        self._nap = trio.CancelScope()  # it does so in
        self._over = False  # it is dismissed
        self._progress: object = None  # of both directions, when it was last looked at
        self._data_at = 0.0
        self._token_ends_at = token_ends_at
        self._too_old_at = too_old_at
        self.cause: Cause | None = None
        self._likely = Cause.FAULT  # the cause where nobody names one before time is up
        self.detail = ""
        self.fault: Exception | None = None
        to_upstream, to_client = greeting.walkers()
        inspect_to_upstream, inspect_to_client = greeting.inspectors(
            counted=budget is not None and budget.counts_packets
        )

        def pump(
            source: socket.socket,
            target: socket.socket,
            walker: Walker | None,
            budget: Budget | None,
            ahead: bytes,
            opening: bytes,
            inspector: Inspector | None,
        ) -> Pump:
            scanner = FrameScanner(
                masked=source is client,
                max_message_bytes=terms.max_message_bytes if source is client else terms.max_message_bytes_to_client,
                max_fragments=terms.max_fragments,
                compressed=compressed,
                binary=inspector is not None,
                walker=inspector or walker,
                on_control=None if inspector is None else inspector.on_control,
            )
            kind = Pump if inspector is None else partial(InspectingPump, inspector)
            return kind(
                source,
                target,
                scanner,
                buffer=terms.buffer,
                opening=opening,
                ahead=ahead,
                budget=budget,
                stalls=self._look_soon,
                driven=terms.reactor is not None,
            )

        self.to_upstream = pump(client, upstream, to_upstream, budget, from_client, opening, inspect_to_upstream)
        self.to_client = pump(upstream, client, to_client, budget_to_client, from_upstream, b"", inspect_to_client)
        self.to_upstream.scanner.peer = self.to_client.scanner
        self.to_client.scanner.peer = self.to_upstream.scanner
        self.client = Side("client", self.to_upstream, self.to_client, inspect_to_client or to_client, masked=False)
        self.upstream = Side(
            "upstream", self.to_client, self.to_upstream, inspect_to_upstream or to_upstream, masked=True
        )
        find = greeting.overhears
        if find is not None or inspect_to_upstream is not None:  # a session that cannot renew has none of it
            answering = Answering(self.client, authorise, authorised=self._authorised, end=self.end)
            self.to_upstream.answer = answering.answer
            if find is not None:
                self.to_upstream.scanner.is_for_us = partial(answering.overhear, find)

    @property
    def welcomed(self) -> bool:
        """The upstream has answered the client: by its packets where those are followed, else by its first byte."""
        walker = self.client.walker
        return walker.welcomed if walker is not None else self.to_client.bytes_read > 0

    @property
    def counts(self) -> dict[str, int]:
        """What passed, for the log line."""
        return {
            "bytes_from_client": self.to_upstream.bytes_read,
            "bytes_from_upstream": self.to_client.bytes_read,
            "messages_from_client": self.to_upstream.messages,
            "messages_from_upstream": self.to_client.messages,
        }

    def end(self, cause: Cause, detail: str = "") -> None:
        """End it from outside, or from within. The first cause counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
        self._scope.cancel()

    async def run(self, reconnect: Reconnect | None = None) -> Cause:
        """Relay until there is a cause to end; both sides have been told by then, or could not be.

        ``reconnect``: how there is another upstream where one is lost between messages, as often as that happens.
        """
        try:
            await self._forward()
            while reconnect is not None and self._may_go_on and await self._goes_on(reconnect):
                await self._forward()
        except Exception as fault:
            self._failed(fault)
        self.cause = self.cause or self._likely
        if self.cause.row.close is not None:
            try:
                await self._say_goodbye(self.cause)
            except Exception as fault:
                self._failed(fault)
        elif self.cause is Cause.CLOSED_BY_CLIENT and self.to_client.ended is Ended.SOURCE_LOST:
            await answer_close(self.client, self._terms.control_timeout_seconds)
        return self.cause

    def untie(self) -> None:
        """Undo the circles, for nothing comes any more: so what a session was made of goes with it (``collector``)."""
        for pump in (self.to_upstream, self.to_client):
            pump.outlet.stalls = nobody_cares
            pump.answer = None
            pump.scanner.peer = pump.scanner.is_for_us = None

    def _failed(self, fault: Exception) -> None:
        """A mistake of ours ends this session and no other; whoever runs it logs it."""
        self.fault = fault
        self.cause = self.cause or Cause.FAULT

    @property
    def _may_go_on(self) -> bool:
        """Only the upstream is lost, and nothing is half said, or was asked and not answered."""
        lost = self.cause is None and self.to_client.ended is Ended.SOURCE_LOST and self.to_upstream.ended is None
        unanswered = bool(self.to_client.intake.kept) or self.to_client.scanner.owes_a_pong
        return lost and not unanswered and self.to_upstream.between_messages and self.to_client.between_messages

    async def _goes_on(self, reconnect: Reconnect) -> bool:
        """Whether there is another upstream to go on with."""
        with trio.CancelScope() as self._scope:
            try:
                reconnected = await reconnect()
            except Refused as refused:
                self.end(refused.cause, refused.detail)
                return False
            client = self.to_upstream.source
            self.to_upstream.go_on(client, reconnected.upstream, reconnected.from_client)
            self.to_client.go_on(reconnected.upstream, client, reconnected.from_upstream)
        return self.cause is None

    async def _forward(self) -> None:
        if self.cause is not None:  # it came before there was anything to cancel
            return
        reactor = self._terms.reactor
        if reactor is not None:
            reactor.drive(self.to_upstream, self.to_client)
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                await self._keep_time()
        finally:
            if reactor is not None:
                reactor.leave(self.to_upstream, self.to_client)

    async def _read(self) -> None:
        match await self.to_upstream.run():
            case Ended.CLOSE:
                self.cause = self.cause or Cause.CLOSED_BY_CLIENT
                self._leave_it_to(self.to_client, self._terms.close_timeout_seconds)
            case Ended.ILLEGAL:
                self.end(Cause.ILLEGAL_FRAME, f"from the client: {self.to_upstream.detail}")
            case Ended.TOO_BIG:
                self.end(Cause.MESSAGE_TOO_BIG, self.to_upstream.detail)
            case Ended.TOO_MANY:
                self.end(Cause.RATE_LIMITED, self.to_upstream.detail)
            case Ended.SOURCE_LOST:
                self.end(Cause.CLIENT_LOST)
            case Ended.TARGET_LOST:  # its last words may still be on their way to the client
                self._likely = Cause.UPSTREAM_LOST
                self._leave_it_to(self.to_client, self._terms.control_timeout_seconds)

    async def _write(self) -> None:
        match await self.to_client.run():
            case Ended.CLOSE:
                self.cause = self.cause or Cause.CLOSED_BY_UPSTREAM
                self._leave_it_to(self.to_upstream, self._terms.close_timeout_seconds)
            case Ended.ILLEGAL:
                self.end(Cause.ILLEGAL_FRAME, f"from the upstream: {self.to_client.detail}")
            case Ended.TOO_BIG:
                self.end(Cause.UPSTREAM_MESSAGE_TOO_BIG, self.to_client.detail)
            case Ended.TOO_MANY:
                self.end(Cause.RATE_LIMITED, f"from the upstream: {self.to_client.detail}")
            case Ended.SOURCE_LOST if self.greeting.upstream_may_end_first:
                self._likely = Cause.UPSTREAM_LOST
                self._leave_it_to(self.to_upstream, self._terms.control_timeout_seconds)
            case Ended.SOURCE_LOST:
                self._likely = Cause.UPSTREAM_LOST
                self._scope.cancel()
            case Ended.TARGET_LOST:
                self._likely = Cause.CLIENT_LOST
                self._leave_it_to(self.to_upstream, self._terms.control_timeout_seconds)

    def _authorised(self, authorised: Authorised) -> None:
        """A newer token of the client's is believed."""
        self._token_ends_at = authorised.token_ends_at
        self.to_upstream.draw_on(authorised.budget)
        self.to_client.draw_on(authorised.budget_to_client)
        self._look_by(trio.current_time())

    def _leave_it_to(self, other: Pump, seconds: float) -> None:
        """This direction is over; the other has so long to end too, and then both are cut."""
        self._scope.deadline = trio.current_time() + seconds
        if other.ended:
            self._dismiss_keeper()

    async def _keep_time(self) -> None:
        """Until both directions have ended."""
        self._data_at = trio.current_time()
        while not self._over:
            with trio.move_on_at(self._look(trio.current_time())) as self._nap:
                self._keeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._keeper_is_cancelled)

    def _look(self, now: float) -> float:
        """See to what is due, and say when to look again."""
        pace = self._terms.pace
        progress = (self.to_upstream.scanner.progress, self.to_client.scanner.progress)
        if progress != self._progress:
            self._progress = progress
            self._data_at = max(self.client.heard_at(now), self.upstream.heard_at(now))
        again_at = self._data_at + pace.data_idle_seconds
        if now >= again_at:
            self.end(Cause.IDLE, "no data")
        token_left = self._token_ends_at - self._terms.clock()  # asked each time: that clock may be set
        for cause, left in ((Cause.TOKEN_EXPIRED, token_left), (Cause.SESSION_TOO_OLD, self._too_old_at - now)):
            if left <= 0:
                self.end(cause)
            again_at = min(again_at, now + left)
        for side in (self.client, self.upstream):
            if side.hears.ended:
                continue
            seen = look(
                pace,
                now,
                heard_at=side.heard_at(now),
                pinged_at=side.pinged_at,
                may_ping=not side.hears.scanner.owes_a_pong,
            )
            if seen.due is Due.IDLE:
                self.end(Cause.IDLE, side.name)
            elif seen.due is Due.PING:
                side.ping()
            again_at = min(again_at, seen.again_at)
        for side, cause in ((self.client, Cause.TOO_SLOW), (self.upstream, Cause.UPSTREAM_LOST)):
            outlet = side.says.outlet
            if outlet.held:
                stuck_at = outlet.stalled_at + self._terms.write_timeout_seconds
                if now >= stuck_at and outlet.takes_some(now):
                    stuck_at = now + self._terms.write_timeout_seconds
                if now >= stuck_at:
                    self.end(cause, "it takes nothing")
                again_at = min(again_at, stuck_at)
        return again_at

    def _look_soon(self) -> None:
        """A side takes no more: it is to be looked at when it has done so for too long."""
        self._look_by(trio.current_time() + self._terms.write_timeout_seconds)

    def _look_by(self, moment: float) -> None:
        self._nap.deadline = min(self._nap.deadline, moment)

    def _keeper_is_cancelled(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._keeper = None  # a task that is cancelled and rescheduled as well stops the whole program
        return trio.lowlevel.Abort.SUCCEEDED

    def _dismiss_keeper(self) -> None:
        """Let it leave, where a cancellation would cost all of a session's tasks an exception each."""
        self._over = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            trio.lowlevel.reschedule(keeper)

    async def _say_goodbye(self, cause: Cause) -> None:
        """Tell both sides why."""
        last_words = {
            self.client: farewell.to_client(cause, self.greeting.farewell(cause, welcomed=self.welcomed)),
            self.upstream: farewell.to_upstream(cause, self.greeting.leave(cause)),
        }
        await take_leave(
            last_words,
            control_timeout_seconds=self._terms.control_timeout_seconds,
            close_timeout_seconds=self._terms.close_timeout_seconds,
        )
