"""Reaching an upstream: TCP over every address of a name, TLS, handshake; tried again under one deadline.

What is asked and whether the answer will do, the caller says. What comes back is a socket that is
past its 101, and belongs to the caller; on every other way out the socket is closed here.
"""

import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import trio
from attrs import frozen

from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import WebSocketUrl
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
    """How upstreams are dialled. ``timeout_seconds`` is over all tries; ``retry_max`` tries come after the first."""

    tls: ssl.SSLContext
    timeout_seconds: float
    retry_max: int
    retry_interval_seconds: float
    user_timeout_seconds: float

    async def dial(
        self, url: WebSocketUrl, request: bytes, check: Callable[[Response], T], count_retry: Callable[[], None]
    ) -> Dialled[T]:
        """Dial until ``check`` accepts an answer. Raises ``Refused(UPSTREAM_UNAVAILABLE)`` when tries or time run out.

        ``check`` raises ``BadUpstream``; a 4xx is about this client and is not tried again.
        """
        failure = "no answer in time"
        with trio.move_on_after(self.timeout_seconds):
            for tried in range(1 + self.retry_max):
                if tried:
                    await trio.sleep(self.retry_interval_seconds)
                    count_retry()
                try:
                    return await self._try(url, request, check)
                except BadUpstream as error:
                    failure = error.detail
                    if error.status is not None and 400 <= error.status < 500:
                        break
                except OSError as error:
                    failure = reason_of(error)
        raise Refused(Cause.UPSTREAM_UNAVAILABLE, f"{url.authority}: {failure}")

    async def _try(self, url: WebSocketUrl, request: bytes, check: Callable[[Response], T]) -> Dialled[T]:
        sock = await _connect(url.host, url.port)
        try:
            leg.configure(sock, user_timeout_seconds=self.user_timeout_seconds)
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


def reason_of(error: OSError) -> str:
    """One line for the log that says why a connection could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    causes = error.__cause__.exceptions if isinstance(error.__cause__, BaseExceptionGroup) else ()
    return "; ".join(str(each) for each in causes) or error.strerror or str(error) or type(error).__name__


async def _connect(host: str, port: int) -> socket.socket:
    """A connected socket. An address needs no resolver and no race, which cost more than all the rest of a dial."""
    family = _family(host)
    if family is None:
        stream = await trio.open_tcp_stream(host, port)
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 0)  # Trio's 16 KiB would slow bulk down
        return sock
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        error = sock.connect_ex((host, port))
        if error == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        leg.close(sock)
        raise
    return sock


def _family(host: str) -> socket.AddressFamily | None:
    """Of an IP address; ``None`` for a name. ``WebSocketUrl`` has seen to it that what looks like one is one."""
    if ":" in host:
        return socket.AF_INET6
    return socket.AF_INET if host.replace(".", "").isdigit() else None


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
