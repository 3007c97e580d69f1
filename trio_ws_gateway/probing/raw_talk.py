"""A raw session: text messages, which an upstream that echoes sends back."""

import trio
from attrs import frozen

from trio_ws_gateway.probing import after_101
from trio_ws_gateway.probing.attempt import Carry
from trio_ws_gateway.probing.open_socket import OpenSocket
from trio_ws_gateway.probing.refusal import Failed

LATE_NOTE = "The first round trip holds the verdict on the token too, and the dial of the upstream."


@frozen
class RawTalk:
    socket: OpenSocket

    async def begin(self) -> None:
        attempt = self.socket.attempt
        if attempt.token is not None and attempt.carry is Carry.FIRST_MESSAGE:
            self.socket.course.begins("token sent")
            await self.socket.say(attempt.token, "before the token was sent")
            self.socket.course.passed("as the first message")
            if attempt.count:
                self.socket.course.notes.append(LATE_NOTE)

    async def round_trip(self, number: int) -> float:
        """An upstream may put words around what it echoes, and say other things in between."""
        attempt = self.socket.attempt
        message = attempt.message(number)
        others = 0
        self.socket.course.begins(f"message {number}")
        began_at = trio.current_time()
        with trio.move_on_after(attempt.timeout_seconds):
            await self.socket.say(message.decode(), f"while message {number} was sent")
            while True:
                heard = await self.socket.hear(f"before message {number} came back")
                if message in (heard.encode() if isinstance(heard, str) else heard):
                    return trio.current_time() - began_at
                others += 1
        raise Failed(after_101.nothing_came_back(attempt, number, others))

    async def end(self) -> None:
        """There is nothing to be said but the Close."""
