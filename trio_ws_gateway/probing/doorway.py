"""The stream beneath a WebSocket, which looks at the answer to the handshake before trio-websocket does.

trio-websocket waits for ever where a server ends the connection in place of an answer, takes a refusal's body however
long it is, and shows neither what is no HTTP nor the reason phrase. So a head is read here; only a 101 that is one is
handed on, and everything else is ``Failed``, raised to whoever reads.
"""

import re
import ssl

import trio
from attrs import define, field

from trio_ws_gateway.probing import before_101
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.refusal import Failed
from trio_ws_gateway.wire.handshake import Offer, check_upstream_answer
from trio_ws_gateway.wire.http import HEAD_LIMIT, BadUpstream, Response, head_end, parse_response

BODY_LIMIT = 9999  # of a refusal, to be quoted from
BODY_SECONDS = 1.0
HTTP = b"HTTP/"
_KEY = re.compile(rb"\r\nSec-WebSocket-Key: *([^\r]+)\r\n", re.IGNORECASE)

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@define
class Doorway(trio.abc.Stream):
    """``now``: what the clock on the wall says. Closing is the business of whoever opened ``stream``, and harmless."""

    stream: Stream
    attempt: Attempt
    now: float
    _key: str | None = field(default=None, init=False)
    _answered: bool = field(default=False, init=False)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._key is None and (found := _KEY.search(data)):
            self._key = found[1].decode("latin-1")
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self._answered:
            head = await self._answer()
            self._answered = True
            return head
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def _answer(self) -> bytearray:
        """The head of a good 101, and what came behind it. Raises ``Failed``."""
        heard = bytearray()
        while (end := head_end(heard)) is None:
            if not heard.startswith(HTTP[: len(heard)]) or len(heard) > HEAD_LIMIT:
                raise Failed(before_101.not_http(self.attempt, bytes(heard)))
            heard += await self._more(heard)
        try:
            response = parse_response(heard[:end])
        except BadUpstream:
            raise Failed(before_101.not_http(self.attempt, bytes(heard))) from None
        if response.status != 101:
            body = await self._body(response, heard[end:])
            raise Failed(before_101.http_refused(self.attempt, response, body, self.now))
        try:
            check_upstream_answer(response, self._key or "", Offer(subprotocols=self.attempt.subprotocols))
        except BadUpstream as error:
            raise Failed(before_101.bad_upgrade(self.attempt, error.detail)) from None
        return heard

    async def _more(self, heard: bytearray) -> bytes:
        try:
            data = await self.stream.receive_some(HEAD_LIMIT)
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise Failed(before_101.tls_failed(self.attempt, error.__cause__)) from None
            raise Failed(before_101.ended_unanswered(self.attempt, bytes(heard), reset=True)) from None
        if not data:
            raise Failed(before_101.ended_unanswered(self.attempt, bytes(heard), reset=False))
        return bytes(data)

    async def _body(self, response: Response, heard: bytearray) -> bytes:
        """As much of it as comes soon: a refusal is told without its body rather than late."""
        length = response.headers.get("content-length") or ""
        wanted = int(length) if re.fullmatch(r"[0-9]{1,4}", length) else BODY_LIMIT
        with trio.move_on_after(BODY_SECONDS):
            while len(heard) < wanted:
                try:
                    data = await self.stream.receive_some(BODY_LIMIT)
                except trio.BrokenResourceError:
                    break
                if not data:
                    break
                heard += data
        return bytes(heard[:wanted])
