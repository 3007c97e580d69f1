"""What both kinds of session share: messages with a deadline, and an end that is told in words."""

from collections.abc import Callable

import trio
import trio_websocket
from attrs import frozen

from trio_ws_gateway.probing import after_101
from trio_ws_gateway.probing.after_101 import BROKEN_OFF
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.course import Course
from trio_ws_gateway.probing.refusal import Failed

LAST_WORDS_SECONDS = 1.0
TOO_BIG = "Exceeded maximum message size: {} bytes"  # what trio-websocket says where it was us who closed


@frozen
class OpenSocket:
    """An open WebSocket. Nothing here has a deadline, except where it says so."""

    connection: trio_websocket.WebSocketConnection
    attempt: Attempt
    course: Course
    now: Callable[[], float]

    async def say(self, message: str | bytes, meanwhile: str) -> None:
        try:
            await self.connection.send_message(message)
        except trio_websocket.ConnectionClosed as closed:
            raise self.ended(closed, meanwhile) from None

    async def hear(self, meanwhile: str) -> str | bytes:
        try:
            return await self.connection.get_message()
        except trio_websocket.ConnectionClosed as closed:
            raise self.ended(closed, meanwhile) from None

    async def rest(self, seconds: float) -> None:
        """Wait so long, and hear meanwhile what nobody has asked for: an end should not be heard late."""
        with trio.move_on_after(seconds):
            while seconds:
                await self.hear("between two messages")

    async def last_words(self) -> tuple[int, str] | None:
        """Code and reason of a Close that must come soon, ``None`` where none does."""
        with trio.move_on_after(LAST_WORDS_SECONDS):
            while True:
                try:
                    await self.connection.get_message()
                except trio_websocket.ConnectionClosed as closed:
                    code, reason = _code_and_reason(closed)
                    return None if code == BROKEN_OFF else (code, reason)
        return None

    def ended(self, closed: trio_websocket.ConnectionClosed, meanwhile: str) -> Failed:
        code, reason = _code_and_reason(closed)
        if (code, reason) == (1009, TOO_BIG.format(self.attempt.most_message_bytes)):
            return Failed(after_101.too_big(self.attempt))
        return Failed(after_101.closed(self.attempt, code, reason, self.now(), meanwhile=meanwhile))


def _code_and_reason(closed: trio_websocket.ConnectionClosed) -> tuple[int, str]:
    if closed.reason is None:
        return BROKEN_OFF, ""
    return closed.reason.code, closed.reason.reason or ""
