"""From a URL to a stream, a step at a time: the name resolved, TCP connected, TLS agreed.

trio can do all of it in one go, and then nobody knows which part took how long. Addresses are tried one after the
other, in the system's order, so that the one that does not answer is named.
"""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from trio_ws_gateway.config.values import bracketed
from trio_ws_gateway.probing import before_101
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.course import Course
from trio_ws_gateway.probing.doorway import Stream
from trio_ws_gateway.probing.refusal import Failed, timed_out

Found = tuple[int, tuple[Any, ...]]  # family, and socket address: IP address, port, and more in IPv6


@asynccontextmanager
async def connected(attempt: Attempt, course: Course) -> AsyncIterator[Stream]:
    """A stream for the length of the block. Raises ``Failed``."""
    addresses = await _resolved(attempt, course)
    transport = await _transport(attempt, addresses, course)
    try:
        yield transport if attempt.tls is None else await _secured(attempt, attempt.tls, transport, course)
    finally:
        await trio.aclose_forcefully(transport)


async def _resolved(attempt: Attempt, course: Course) -> list[Found]:
    course.begins("name resolved")
    host, port = attempt.url.host, attempt.url.port
    try:
        with trio.fail_after(attempt.timeout_seconds):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Failed(before_101.unresolved(attempt, error)) from None
    except trio.TooSlowError:
        look_at = "The name server of this machine does not answer."
        raise Failed(timed_out(attempt, "The name was not resolved", look_at)) from None
    addresses: list[Found] = list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))
    if any(address[0] != host for _, address in addresses):
        course.passed(", ".join(str(address[0]) for _, address in addresses))
    return addresses


async def _transport(attempt: Attempt, addresses: list[Found], course: Course) -> trio.SocketStream:
    course.begins("TCP connected")
    tried: list[tuple[str, OSError | None]] = []
    for family, address in addresses:
        where = f"{bracketed(address[0])}:{address[1]}"
        error: OSError | None = None
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        with trio.move_on_after(attempt.timeout_seconds / len(addresses)) as patience:
            try:
                await sock.connect(address)
            except OSError as failure:
                error = failure
        if error is None and not patience.cancelled_caught:
            others = "".join(f", not {each}" for each, _ in tried)
            course.passed(where + others)
            return trio.SocketStream(sock)
        sock.close()
        tried.append((where, error))
    raise Failed(before_101.unreachable(attempt, tried))


async def _secured(
    attempt: Attempt, tls: ssl.SSLContext, transport: trio.SocketStream, course: Course
) -> "trio.SSLStream[trio.SocketStream]":
    course.begins("TLS")
    stream = trio.SSLStream(transport, tls, server_hostname=attempt.url.host, https_compatible=True)
    try:
        with trio.fail_after(attempt.timeout_seconds):
            await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise Failed(before_101.tls_failed(attempt, error.__cause__)) from None
    except trio.TooSlowError:
        look_at = "The port may not speak TLS: try ws:// in place of wss://."
        raise Failed(timed_out(attempt, "The server said nothing of TLS", look_at)) from None
    version = getattr(stream, "version", lambda: "")()
    course.passed(version + ("" if attempt.verifies else ", the certificate was not checked"))
    return stream
