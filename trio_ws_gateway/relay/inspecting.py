"""The pump of a direction whose packets are looked at: not bytes pass but packets, in frames of ours.

All else is as in any pump: reads, backpressure, the budget, what ends it. What it has sent always ends where a frame
of ours ends, so there is room for a ping or a Close at any time. Once nothing more has to be looked at it is a pump
like any other, and bytes pass.
"""

import socket
from collections.abc import Callable

from trio_ws_gateway.limits.budgets import Budget, Kind
from trio_ws_gateway.protocols.base import Inspector
from trio_ws_gateway.relay.pump import MUCH_WORK, WALKED_SLICE_BYTES, Pump
from trio_ws_gateway.relay.steps import Ended
from trio_ws_gateway.wire.frames import NO_LIMIT, Found, FrameScanner

FREE_PACKETS = 1  # the greeting


class InspectingPump(Pump):
    """``inspector``: is fed by the scanner, and says what leaves in place of what came."""

    __slots__ = ("_inspector", "_looks", "_packet_budget")

    def __init__(
        self,
        inspector: Inspector,
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
        super().__init__(
            source,
            target,
            scanner,
            buffer=buffer,
            opening=opening,
            ahead=ahead,
            budget=budget,
            stalls=stalls,
            driven=driven,
        )
        self._slice_bytes = 0  # whatever there is, is passed on in slices
        self._inspector = inspector
        self._looks = True
        self._packet_budget = budget if budget is not None and budget.counts_packets else None

    @property
    def at_frame_boundary(self) -> bool:
        return self._looks or super().at_frame_boundary

    @property
    def at_message_boundary(self) -> bool:
        return self._inspector.at_boundary if self._looks else super().at_message_boundary

    @property
    def bytes_held(self) -> int:
        return super().bytes_held + self._inspector.held_bytes

    def wind_up(self) -> None:
        super().wind_up()
        self._packet_budget = None
        self._inspector.ceiling = self._inspector.packets

    def draw_on(self, budget: Budget | None) -> None:
        super().draw_on(budget)
        self._packet_budget = budget if budget is not None and budget.counts_packets else None
        self._inspector.ceiling = NO_LIMIT

    def _pass_on_in_slices(self, total: int, budget: Budget | None, *, forward: bool) -> None:
        scanner, inspector, mine = self.scanner, self._inspector, self._packet_budget
        if self._looks and inspector.has_finished and super().at_message_boundary:
            self._looks, self._slice_bytes = False, WALKED_SLICE_BYTES
            inspector.step_aside()
        if not self._looks:
            super()._pass_on_in_slices(total, budget, forward=forward)
            return
        buffer, enough = self.intake.buffer, scanner.work + MUCH_WORK
        before = max(inspector.packets, FREE_PACKETS)
        if mine is not None:
            inspector.ceiling = before + mine.packets_to_grant(self.heard_at)
        at = 0
        while at < total and scanner.work <= enough:
            end = min(total, at + WALKED_SLICE_BYTES)
            passed = scanner.scan(buffer[at:end], end - at)
            at += passed
            if scanner.found is Found.OWN_PONG:
                at += scanner.cut
            elif scanner.found is not None or inspector.asked is not None or inspector.fault or not passed:
                break
        self._keep(at, total, budget, again=inspector.asked is not None or scanner.work > enough)
        self.asked, inspector.asked = inspector.asked, None
        if inspector.fault:
            self.ended, self.detail = Ended.ILLEGAL, inspector.fault
        if mine is not None:
            mine.pay_for_packets(max(inspector.packets, FREE_PACKETS) - before)
        frames = inspector.take()
        if self.ended is None:
            frames += self._take_due()
        if forward and frames:
            self.outlet.send(memoryview(frames))

    def _stop(self, found: Found, at: int, total: int, budget: Budget | None) -> None:
        if found is not Found.REFUSED:
            super()._stop(found, at, total, budget)
            return
        mine = self._packet_budget
        if self._inspector.asked is not None:
            self.intake.put_back(at, total, free=budget is None)
        elif mine is not None and mine.is_worth_waiting(Kind.PACKETS, self.heard_at):
            self.intake.put_back(at, total, free=budget is None)
            self._lacks = Kind.PACKETS
        else:
            self.ended, self.detail = Ended.TOO_MANY, Kind.PACKETS.value
