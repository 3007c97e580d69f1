"""The client's connection until the relay takes it: heard, answered, watched, and shown out.

Every read here has a deadline and a size. What a client sends ahead of its turn is kept, up to a
bound, and belongs to whoever comes next. Knows nothing of what may be said and why: ``session`` does.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from attrs import evolve

from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Greeting, Opening
from trio_ws_gateway.protocols.opening import Heard, OpeningReader
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.wire.http import HEAD_LIMIT, Request, head_end, parse_request

T = TypeVar("T")

READ_BYTES = 64 * 1024  # also the most that is kept of what was sent ahead


class Client:
    """A connected client. The socket is the caller's to close. What is said to one that is gone raises ``OSError``.

    ``reactor``: hears, where there is one, that the client leaves.
    """

    def __init__(self, sock: socket.socket, reactor: Reactor | None = None) -> None:
        self.sock = sock
        self._reactor = reactor
        self._ahead = bytearray()
        self._watched = False

    def take_ahead(self) -> bytes:
        """What the client has sent and nobody has taken yet."""
        ahead = bytes(self._ahead)
        self._ahead.clear()
        return ahead

    async def read_request(self, seconds: float, *, takes_body: str | None = None) -> Request | None:
        """Its request, with the body that it may have there; ``None`` where it leaves without a byte: that is how
        balancers look whether a port is open.

        Raises ``Refused`` for a request that is too slow, too big, malformed, or never whole.
        """
        seen = 0
        with trio.move_on_after(seconds):
            while (end := head_end(self._ahead, seen)) is None:
                if (seen := len(self._ahead)) > HEAD_LIMIT:
                    raise Refused(Cause.HEAD_TOO_BIG)
                if seen and not self._ahead[:1].isalpha():  # TLS, most of the time
                    raise Refused(Cause.BAD_REQUEST, "no HTTP")
                try:
                    await self._receive("before the end of its request", HEAD_LIMIT)
                except Refused:
                    if not self._ahead:
                        return None
                    raise
            head = bytes(self._ahead[:end])
            del self._ahead[:end]
            request = parse_request(head, takes_body=takes_body)
            if request.headers.get("expect") is not None and request.body_bytes:
                await self.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(self._ahead) < request.body_bytes:
                await self._receive("before the end of its request")
            body = bytes(self._ahead[: request.body_bytes])
            del self._ahead[: request.body_bytes]
            return evolve(request, body=body) if body else request
        raise Refused(Cause.NOTHING_SAID, "no whole request head in time")

    async def hear(
        self, reader: OpeningReader, understood: Callable[[Opening], Greeting | None], seconds: float
    ) -> Greeting:
        """Its first words: frames are read until they are understood. Pings and closes are answered here.

        Raises ``Refused`` for a client that leaves, takes too long, or says what nobody takes.
        """
        reader.feed(self.take_ahead())
        with trio.move_on_after(seconds):
            while True:
                match reader.step():
                    case Heard.WORDS:
                        if (greeting := understood(reader.opening)) is not None:
                            return greeting
                        await trio.lowlevel.checkpoint()  # who never stops sending holds up nobody
                    case Heard.CONTROL:
                        await self.say(reader.reply)
                    case Heard.CLOSE:
                        await self.say(reader.reply)
                        raise Refused(Cause.CLOSED_BY_CLIENT, "before its first message")
                    case None:
                        await self._receive("before its first message")
                        reader.feed(self.take_ahead())
                        await trio.lowlevel.checkpoint()
        raise Refused(Cause.NOTHING_SAID, "no whole first message in time")

    async def unless_it_leaves(self, work: Callable[[], Awaitable[T]], meanwhile: str) -> T:
        """The result of ``work``, which is cancelled where the client leaves first: ``Refused(CLIENT_LOST)``.

        Whatever ``work`` opens must be somebody's to close before it returns.
        """
        if self._reactor is None:
            return await self._unless_a_task_hears_it_leave(work, meanwhile)
        with trio.CancelScope() as scope, self._reactor.watch(self.sock, scope.cancel):
            return await work()
        raise Refused(Cause.CLIENT_LOST, meanwhile)

    async def _unless_a_task_hears_it_leave(self, work: Callable[[], Awaitable[T]], meanwhile: str) -> T:
        """The same without a reactor: a task reads, and what it reads is kept."""
        results: list[T] = []
        failure: Exception | None = None  # raised behind the nursery, which would wrap it in a group
        self._watched = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                results.append(await work())
            except Exception as error:
                failure = error
            self._watched = False
            trio.lowlevel.notify_closing(self.sock)  # ends the watch, at half the price of a cancellation
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame, which must not hold it: no circles (``collector``)
        if not results:
            raise Refused(Cause.CLIENT_LOST, meanwhile)
        return results[0]

    def check_presence(self, meanwhile: str) -> None:
        """Raise ``Refused`` where it has left: for a client that nobody has listened to for a while."""
        with contextlib.suppress(BlockingIOError):
            if not self.sock.recv(1, socket.MSG_PEEK):
                raise Refused(Cause.CLIENT_LOST, meanwhile)

    async def say(self, data: bytes) -> None:
        await leg.send_all(self.sock, data)

    async def say_last(self, data: bytes, *, write_seconds: float, linger_seconds: float) -> None:
        """Say it, and hear the client out, so that it reads this and not a reset."""
        with contextlib.suppress(OSError):
            with trio.move_on_after(write_seconds) as patience:
                await self.say(data)
            if not patience.cancelled_caught:
                with trio.move_on_after(linger_seconds):
                    await leg.linger(self.sock)

    async def _watch(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` when the client leaves. One that sends too much ahead is not listened to any more."""
        with contextlib.suppress(trio.ClosedResourceError):  # the order to end, where it comes while it waits
            try:
                while self._watched and len(self._ahead) < READ_BYTES:
                    await self._receive("")
            except Refused:
                scope.cancel()

    async def _receive(self, meanwhile: str, max_bytes: int = READ_BYTES) -> None:
        try:
            data = await leg.receive(self.sock, max_bytes)
        except OSError:
            data = b""
        if not data:
            raise Refused(Cause.CLIENT_LOST, meanwhile)
        self._ahead += data
