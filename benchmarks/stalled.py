"""Readers that stall, behind an upstream that sends as fast as it can: what do a proxy and the system hold for them?

``python -m benchmarks.stalled`` prints a curve, while more and more clients connect and read nothing: resident memory
of the proxy, and what the system holds in the buffers of its sockets (``ss -m``). Ends with status 1 where the
gateway's process holds more for one of them than its bound.
"""

import re
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread

import click

from benchmarks.costs import resident_kib
from benchmarks.peers import AUDIENCE, GATEWAY, STARTED, Site
from benchmarks.programs import compiled
from tests.servers.issuer import issuer
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.handshake import accept_key

STEPS = 4
SETTLED_SECONDS = 1.0  # as long as nothing more flows, all that stalls has stalled
HELD_MAX_BYTES = 100_000  # of the process, for each: one small read held, and a session
FLOOD = build_frame(BINARY, bytes(64 * 1024), masked=False) * 16
REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


class Flood:
    """An upstream that answers the handshake and then sends without a pause. ``sent``: bytes, to all together."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0

    def run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._listener.fileno():
                    self._answer(self._listener.accept()[0])
                else:
                    with suppress(OSError):
                        self.sent += self._sockets[fd].send(FLOOD)

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
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock, select.EPOLLOUT)


def kernel_kib(pids: Sequence[int]) -> int:
    """What the system holds for the sockets of these processes, received and to be sent."""
    told = subprocess.run(["ss", "-tmnpH"], capture_output=True, text=True, check=True).stdout
    held = 0
    for who, memory in zip(*[iter(told.splitlines())] * 2, strict=True):
        if any(f"pid={pid}," in who for pid in pids):
            fields = dict(re.findall(r"([a-z]+)(\d+)", memory))
            held += int(fields.get("r", 0)) + int(fields.get("w", 0))
    return held // 1024


@contextmanager
def readers(port: int, count: int, token: str) -> Iterator[None]:
    """So many clients that read their 101 and nothing else, for the length of a block."""
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(REQUEST.format(token=token).encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            if not head.startswith(b"HTTP/1.1 101 "):
                raise click.ClickException(f"refused: {head!r}")
        yield


def settle(flood: Flood) -> None:
    """Wait until nothing flows any more."""
    before = -1
    while before != flood.sent:
        before = flood.sent
        time.sleep(SETTLED_SECONDS)


def curve(site: Site, name: str, flood: Flood, count: int, token: str) -> float:
    """Print one peer's; what each reader costs its processes in the last step, in bytes."""
    peer = site.start(name)
    try:
        empty = resident_kib(peer.pids)
        points = [(0, empty)]
        with ExitStack() as stack:
            for step in range(1, STEPS + 1):
                stack.enter_context(readers(peer.port, count // STEPS, token))
                settle(flood)
                here, resident, kernel = step * count // STEPS, resident_kib(peer.pids), kernel_kib(peer.pids)
                points.append((here, resident))
                click.echo(
                    f"{name:>10}  {here:5} readers  {resident:8,} KiB resident  {kernel:9,} KiB in its sockets"
                    f"  {(resident - empty) / here:7.1f} + {kernel / here:7.1f} KiB each"
                )
        return (points[-1][1] - points[-2][1]) * 1024 / (points[-1][0] - points[-2][0])
    finally:
        peer.stop()


@click.command()
@click.option("--readers", "count", default=1000, type=click.IntRange(STEPS))
@click.option("--peer", "peers", multiple=True, type=click.Choice([GATEWAY, *STARTED]), help="Only this proxy.")
@click.option("--setting", "settings", multiple=True, help="NAME=value for the gateway.")
def main(count: int, peers: Sequence[str], settings: Sequence[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood()
    Thread(target=flood.run, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="stalled-") as name, issuer() as provider:
        directory = Path(name)
        given = dict(setting.split("=", 1) for setting in settings)
        site = Site(
            directory=directory,
            upstream=flood.port,
            provider=provider,
            compiled=compiled(directory),
            settings={"WS_WRITE_TIMEOUT_SECONDS": "600", "WS_MAX_SESSIONS_PER_ADDRESS": "0", **given},
        )
        token = provider.mint(aud=AUDIENCE)
        each = {peer: curve(site, peer, flood, count, token) for peer in peers or (GATEWAY, "go", "nginx")}
    if each.get(GATEWAY, 0) > HELD_MAX_BYTES:
        click.echo(f"the gateway holds {each[GATEWAY]:.0f} bytes for each, {HELD_MAX_BYTES} allowed")
        sys.exit(1)


if __name__ == "__main__":
    main()
