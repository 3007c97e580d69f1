"""One TCP connection of a session, client's or upstream's: a non-blocking socket, plain or TLS.

The few things that are awaited on it before and after the relay. An ``ssl.SSLSocket`` serves like
any other: it is read until it would block, because what it has decrypted already no poll can see.
Whoever makes a socket closes it, with ``close``.
"""

import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios

import trio

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

KEEP_ALIVE_IDLE_SECONDS = 60
KEEP_ALIVE_INTERVAL_SECONDS = 20
KEEP_ALIVE_PROBES = 3
LINGER_MAX_BYTES = 4 * 1024 * 1024
MOST = 2**31 - 1  # that an option of a socket can say


def configure(
    sock: socket.socket, *, user_timeout_seconds: float = 0, unsent_max_bytes: int = 0, receive_buffer_bytes: int = 0
) -> None:
    """No delay, keep-alive probes, and what is said here; 0: as the system does it.

    ``user_timeout_seconds``: how long data may be unacknowledged. What the system holds for a peer that does not read:
    ``unsent_max_bytes`` toward it, beside what is on its way, and ``receive_buffer_bytes`` of what comes for it.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if receive_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(receive_buffer_bytes, MOST))
    for name, value in (
        ("TCP_KEEPIDLE", KEEP_ALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEP_ALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEP_ALIVE_PROBES),
        ("TCP_USER_TIMEOUT", int(min(user_timeout_seconds * 1000, MOST))),
        ("TCP_NOTSENT_LOWAT", min(unsent_max_bytes, MOST)),
    ):
        if hasattr(socket, name):  # not every system has every one
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def receive(sock: socket.socket, max_bytes: int) -> bytes:
    """What is there, as soon as something is; empty at end of stream. Raises ``OSError``.

    No checkpoint where something is there already. Who calls it again and again makes one: a peer that never
    stops sending must not hold the loop, nor outlive a deadline.
    """
    while True:
        try:
            return sock.recv(max_bytes)
        except WOULD_BLOCK:
            await trio.lowlevel.wait_readable(sock)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all of it. Raises ``OSError``; cancelled, it may have sent a part."""
    unsent = memoryview(data)
    while unsent:
        try:
            unsent = unsent[sock.send(unsent) :]
        except WOULD_BLOCK:
            await trio.lowlevel.wait_writable(sock)


def unsent_bytes(sock: socket.socket) -> int:
    """What of all that was sent the peer's system has not acknowledged yet; 0 where ours does not say (not Linux)."""
    if not sys.platform.startswith("linux"):
        return 0
    size: int
    (size,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
    return size


async def start_tls(sock: socket.socket, context: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
    """The socket under TLS, handshake done. Closes the socket it was given where that fails (``OSError``)."""
    secure = context.wrap_socket(sock, server_hostname=server_name, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(secure)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(secure)
    except BaseException:
        close(secure)
        raise


async def linger(sock: socket.socket) -> None:
    """Say that nothing more comes, and hear the peer out, to its end or to the caller's deadline.

    A socket that is closed with unread data in it sends a reset, and a reset can overtake what the
    peer has not read yet: the refusal that explains it.
    """
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        heard = 0
        while heard < LINGER_MAX_BYTES and (data := await receive(sock, 65536)):
            heard += len(data)
            await trio.lowlevel.checkpoint()


def close(sock: socket.socket) -> None:
    """Close it; a task that still waits on it gets ``trio.ClosedResourceError``."""
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
    sock.close()
