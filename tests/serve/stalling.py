"""Readers that stall, behind an upstream that sends as fast as it can, and what the system holds for them.

Plain sockets, one thread: nothing of this is in the way of the gateway. ``benchmarks.stalled`` has its other readers
and peers from here as well.
"""

import re
import select
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Self

from tests.servers.debian import ensure
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.handshake import accept_key

FLOOD = memoryview(build_frame(BINARY, bytes(64 * 1024), masked=False) * 16)
REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


class Flood:
    """An upstream that answers the handshake and then sends without a pause, while it is entered.

    ``buffer_bytes``: what the system holds of it at its own side; 0: as it does. ``sent``: bytes, to all together.
    """

    def __init__(self, *, buffer_bytes: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        if buffer_bytes:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._at: dict[int, int] = {}  # how far each is in the flood
        self._over, self._end = socket.socketpair()
        self._epoll.register(self._over, select.EPOLLIN)
        self._thread = Thread(target=self._run, daemon=True)
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()
        self._epoll.close()
        for sock in (self._over, self._listener, *self._sockets.values()):
            sock.close()

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._over.fileno():
                    return
                if fd == self._listener.fileno():
                    self._answer(self._listener.accept()[0])
                else:
                    self._send(fd)

    def _send(self, fd: int) -> None:
        try:
            sent = self._sockets[fd].send(FLOOD[self._at[fd] :])
        except BlockingIOError:
            return
        except OSError:  # it has gone
            self._epoll.unregister(fd)
            self._sockets.pop(fd).close()
            return
        self.sent += sent
        self._at[fd] = (self._at[fd] + sent) % len(FLOOD)

    def _answer(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        accept = accept_key(key[1].decode()) if key else ""
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        sock.sendall(answer.encode())
        sock.setblocking(False)
        self._sockets[sock.fileno()], self._at[sock.fileno()] = sock, 0
        self._epoll.register(sock, select.EPOLLOUT)


@contextmanager
def readers(port: int, count: int, token: str, *, buffer_bytes: int = 0) -> Iterator[None]:
    """So many clients that read their 101 and nothing else, for the length of a block."""
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            if buffer_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            sock.connect(("127.0.0.1", port))
            sock.sendall(REQUEST.format(token=token).encode())
            head = b""
            while not head.endswith(b"\r\n\r\n") and (byte := sock.recv(1)):
                head += byte
            assert head.startswith(b"HTTP/1.1 101 "), head
        yield


def kernel_kib(pids: Sequence[int]) -> int:
    """What the system holds for the sockets of these processes, received and to be sent."""
    told = subprocess.run([ensure("iproute2", "ss"), "-tmnpH"], capture_output=True, text=True, check=True).stdout
    held = 0
    for who, memory in zip(*[iter(told.splitlines())] * 2, strict=True):
        if any(f"pid={pid}," in who for pid in pids):
            fields = dict(re.findall(r"([a-z]+)(\d+)", memory))
            held += int(fields.get("r", 0)) + int(fields.get("w", 0))
    return held // 1024
