"""Reaching an upstream: TCP over every address of a name, TLS, handshake; tried again under one deadline.

What is asked and whether the answer will do, the caller says. What comes back is a socket that is
past its 101, and belongs to the caller; on every other way out the socket is closed here.
"""

import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import trio
from attrs import frozen

from trio_ws_gateway import leg
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.upstream.connecting import connect
from trio_ws_gateway.upstream.failures import DialFailed, Failure, failed_try
from trio_ws_gateway.upstream.resolver import Address, Resolve
from trio_ws_gateway.wire.http import HEAD_LIMIT, BadUpstream, Response, head_end, parse_response

T = TypeVar("T")


@frozen
class Dialled(Generic[T]):
    """An upstream that has answered. ``accepted``: what ``check`` made of its answer; ``rest``: what came behind it."""

    sock: socket.socket
    accepted: T
    rest: bytes


@frozen(kw_only=True)
class Dialler:
    """How upstreams are dialled. ``timeout_seconds`` is over all tries; ``retry_max`` tries come after the first.

    The pause before a further try is drawn from all between nothing and ``retry_interval_seconds``, which doubles with
    each (full jitter), so that many who failed together do not come again together. ``jitter`` draws from 0 to 1.
    ``configure``: is called with every connected socket.
    """

    tls: ssl.SSLContext
    resolve: Resolve
    timeout_seconds: float
    retry_max: int
    retry_interval_seconds: float
    configure: Callable[[socket.socket], None]
    jitter: Callable[[], float] = random.random

    async def dial(
        self,
        url: WebSocketUrl,
        request: bytes,
        check: Callable[[Response], T],
        trying_again: Callable[[], None],
        *,
        once: bool = False,
        tried: int = 0,
    ) -> Dialled[T]:
        """Dial until ``check`` accepts an answer. Raises ``DialFailed`` when tries or time run out.

        ``check`` raises ``BadUpstream``. ``trying_again`` is called before each further try, and ends the dial with
        what it raises. ``once``: no further tries. ``tried``: how many have failed before.
        """
        failed = DialFailed(Failure.SILENT, "no answer in time")
        with trio.move_on_after(self.timeout_seconds) as patience:
            for failures in range(tried, 1 + (tried if once else max(tried, self.retry_max))):
                if failures:
                    left = patience.deadline - trio.current_time()
                    if left <= 0:  # the try before took it all, and nothing has looked at the clock since
                        break
                    await trio.sleep(self._pause_seconds(failures, left))
                if failures > tried:
                    trying_again()
                try:
                    return await self._try(url, request, check)
                except (BadUpstream, OSError) as error:
                    failed = failed_try(error)
                if not failed.failure.row.again:
                    break
        raise DialFailed(failed.failure, f"{url.authority}: {failed.detail}")

    def _pause_seconds(self, failures: int, left_seconds: float) -> float:
        """Never past the deadline: who has tries left has them before it."""
        return self.jitter() * min(self.retry_interval_seconds * 2.0 ** min(failures - 1, 30), left_seconds)

    async def _try(self, url: WebSocketUrl, request: bytes, check: Callable[[Response], T]) -> Dialled[T]:
        sock = await connect(_literal(url.host) or await self.resolve(url.host), url.port)
        try:
            self.configure(sock)
            if url.secure:
                sock = await leg.start_tls(sock, self.tls, url.host)
            await leg.send_all(sock, request)
            response, rest = await _read_answer(sock)
            return Dialled(sock, check(response), rest)
        except BaseException:
            leg.close(sock)
            raise


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates and host names are verified, always; ``ca_file`` adds authorities to the system's."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that a send never has to wait for something to read
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _literal(host: str) -> tuple[Address, ...]:
    """An IP address, which takes no resolver; empty for a name. What looks like one is one (``WebSocketUrl``)."""
    if ":" in host:
        return (Address(socket.AF_INET6, host),)
    return (Address(socket.AF_INET, host),) if host.replace(".", "").isdigit() else ()


async def _read_answer(sock: socket.socket) -> tuple[Response, bytes]:
    head = bytearray()
    seen = 0
    while (end := head_end(head, seen)) is None:
        if (seen := len(head)) > HEAD_LIMIT:
            raise BadUpstream("an answer without end")
        data = await leg.receive(sock, HEAD_LIMIT)
        if not data:
            raise BadUpstream("closed the connection without an answer")
        head += data
    return parse_response(head[:end]), bytes(head[end:])
