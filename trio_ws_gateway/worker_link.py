"""A line between two processes of one group: questions, answers and news over a stream socket that both inherited.

Both ends are alike, and there is one message format: four bytes of length, big-endian, then an object in JSON. A
question is ``{"ask": subject, "id": n, "body": ...}``, its answer ``{"id": n, "body": ...}``; news is a question
without an id. Knows nothing of what is asked. Who is at the other end is trusted: it is this program.
"""

import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog
import trio

Answer = Callable[[Any], Awaitable[Any]]
"""Of the body of a question; what it returns is sent back, and must be fit for JSON. Of news it must not take long."""

LENGTH_BYTES = 4
UNSENT_MAX = 1000  # messages: a process that takes no more of them is not worth remembering others for
READ_BYTES = 64 * 1024


class NoAnswer(Exception):
    """The other end is gone, too slow, or made a mistake that it has logged."""


class Link:
    """One end. ``answers``: by subject; what nobody asks for stays empty. The socket is the link's to close."""

    def __init__(
        self, sock: socket.socket, answers: Mapping[str, Answer], log: structlog.typing.FilteringBoundLogger
    ) -> None:
        sock.setblocking(False)
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._answers = answers
        self._log = log
        self._unsent, self._to_send = trio.open_memory_channel[bytes](UNSENT_MAX)
        self._ids = itertools.count()
        self._awaited: dict[int, trio.MemorySendChannel[Any]] = {}

    async def run(self) -> None:
        """Until the other end is gone; questions that are open then have no answer."""
        try:
            async with self._stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                async for message in self._messages():
                    if "ask" in message and "id" in message:
                        nursery.start_soon(self._answer, message)
                    elif "ask" in message:
                        await self._answer(message)  # news is heard in its order
                    elif (waiting := self._awaited.pop(message["id"], None)) is not None:
                        waiting.send_nowait(message)
                nursery.cancel_scope.cancel()
        finally:
            self._unsent.close()
            for waiting in self._awaited.values():
                waiting.close()

    async def ask(self, subject: str, body: object = None, *, seconds: float) -> Any:  # noqa: ANN401 - JSON
        """The other end's answer. Raises ``NoAnswer`` when there is none within ``seconds``."""
        number = next(self._ids)
        self._awaited[number], answer = trio.open_memory_channel[Any](1)
        try:
            self._post({"ask": subject, "id": number, "body": body})
            with trio.fail_after(seconds):
                message = await answer.receive()
        except (trio.TooSlowError, trio.EndOfChannel, trio.WouldBlock, trio.ClosedResourceError):
            raise NoAnswer(subject) from None
        finally:
            self._awaited.pop(number, None)
        if "body" not in message:
            raise NoAnswer(subject)
        return message["body"]

    def tell(self, subject: str, body: object = None) -> None:
        """News; lost where the other end is gone, or takes nothing."""
        try:
            self._post({"ask": subject, "body": body})
        except (trio.WouldBlock, trio.ClosedResourceError):
            self._log.warning("not told", subject=subject)

    def _post(self, message: Mapping[str, object]) -> None:
        text = json.dumps(message).encode()
        self._unsent.send_nowait(len(text).to_bytes(LENGTH_BYTES, "big") + text)

    async def _send(self) -> None:
        try:
            async for octets in self._to_send:
                await self._stream.send_all(octets)
        except trio.BrokenResourceError:
            pass  # the reader hears of it too, and ends the link

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        heard = bytearray()
        try:
            async for octets in self._stream:
                heard += octets
                while len(heard) >= LENGTH_BYTES:
                    end = LENGTH_BYTES + int.from_bytes(heard[:LENGTH_BYTES], "big")
                    if len(heard) < end:
                        break
                    yield json.loads(heard[LENGTH_BYTES:end])
                    del heard[:end]
        except trio.BrokenResourceError:
            return

    async def _answer(self, message: Mapping[str, Any]) -> None:
        reply = {"id": message.get("id")}
        try:
            reply["body"] = await self._answers[message["ask"]](message["body"])
        except Exception as error:  # a mistake of one answer must not end the process
            self._log.error("fault", exc_info=error)
        if "id" in message:
            try:
                self._post(reply)
            except (trio.WouldBlock, trio.ClosedResourceError):
                self._log.warning("not answered", subject=message["ask"])
