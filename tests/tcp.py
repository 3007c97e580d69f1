"""Connected TCP sockets for tests, and a peer that reads and writes frames on one of them."""

import ctypes
import socket
import ssl
import struct
from contextlib import suppress
from typing import Self

import trio

from trio_ws_gateway import leg
from trio_ws_gateway.wire.frames import build_frame, close_frame, masked_with

PATIENCE_SECONDS = 10.0
SO_ATTACH_FILTER = 26  # Linux's, which the socket module does not name
NOTHING_PASSES = struct.pack("HBBI", 0x06, 0, 0, 0)  # one instruction of BPF: return 0


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of one connection over the loopback, non-blocking: unlike a socket pair it can be reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for each in (near, far):
        leg.configure(each, user_timeout_seconds=30)
    return near, far


class Peer:
    """A client (``masked``) or server at the far end of a connection, speaking raw frames."""

    def __init__(self, sock: socket.socket, *, masked: bool) -> None:
        self.sock = sock
        self.masked = masked
        self._heard = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        leg.close(self.sock)

    async def send(self, data: bytes) -> None:
        await leg.send_all(self.sock, data)

    async def say(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        await self.send(build_frame(opcode, payload, fin=fin, masked=self.masked))

    async def say_close(self, code: int = 1000, reason: str = "") -> None:
        await self.send(close_frame(code, reason, masked=self.masked))

    def end_stream(self) -> None:
        """Say that nothing more comes, in TLS too; what comes can still be heard."""
        if isinstance(self.sock, ssl.SSLSocket):
            self._take_what_is_there()  # beside it OpenSSL would not say its last word
            with suppress(ssl.SSLError):  # the other side is gone without a word, or owes no answer
                self.sock.unwrap()
            with suppress(OSError):  # it has answered that word with a reset
                socket.socket.shutdown(self.sock, socket.SHUT_WR)  # an SSLSocket's own forgets the keys
        else:
            self.sock.shutdown(socket.SHUT_WR)

    def _take_what_is_there(self) -> None:
        with suppress(*leg.WOULD_BLOCK):
            while data := self.sock.recv(1 << 20):
                self._heard += data

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leg.close(self.sock)

    def vanish(self) -> None:
        """Be gone without a word, as when the power fails: nothing that comes is taken, acknowledged or answered.

        The kernel drops it before TCP sees it; what the test itself sends would still go out.
        """
        program = ctypes.create_string_buffer(NOTHING_PASSES)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))

    async def wait(self) -> None:
        """Until there is something to hear, for ever."""
        if not self._heard:
            await trio.lowlevel.wait_readable(self.sock)

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes; ``EOFError`` where the stream ends before."""
        with trio.fail_after(PATIENCE_SECONDS):
            while len(self._heard) < size:
                data = await leg.receive(self.sock, 1 << 20)
                if not data:
                    raise EOFError(bytes(self._heard[-200:]))
                self._heard += data
        data = bytes(self._heard[:size])
        del self._heard[:size]
        return data

    async def read_until(self, end: bytes) -> bytes:
        with trio.fail_after(PATIENCE_SECONDS):
            while (at := self._heard.find(end)) < 0:
                data = await leg.receive(self.sock, 1 << 20)
                if not data:
                    raise EOFError(bytes(self._heard[-200:]))
                self._heard += data
        return await self.read(at + len(end))

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the stream, or a reset."""
        with trio.fail_after(PATIENCE_SECONDS):
            try:
                while data := await leg.receive(self.sock, 1 << 20):
                    self._heard += data
            except ConnectionError:
                pass
        data, self._heard = bytes(self._heard), bytearray()
        return data

    async def hear(self) -> tuple[int, bool, bytes]:
        """The next frame: opcode, fin, payload. What comes from a client must be masked, and from a server not."""
        first, second = await self.read(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await self.read(2 if length == 126 else 8), "big")
        assert bool(second & 0x80) is not self.masked
        key = await self.read(4) if second & 0x80 else bytes(4)
        return first & 0x0F, bool(first & 0x80), masked_with(await self.read(length), key)

    async def hear_close(self) -> tuple[int, str]:
        """The next frame, which must be a Close: its code and reason."""
        opcode, _, payload = await self.hear()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode()
