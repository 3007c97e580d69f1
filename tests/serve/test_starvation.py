"""One session floods, another one is quiet: how long the quiet one waits, at a gateway process with all its checks on.

Client, flood and upstream are threads that do nothing between two calls to the kernel. Who reads a frame knows its
length, and clients mask with zeros, so that nothing has to be parsed or unmasked.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median

import pytest
from attrs import define, field

from tests.house import HANDSHAKE, agreeing
from tests.oidc_provider import OidcProvider
from tests.servers.gateway import MEASURING, Gateway
from trio_ws_gateway.wire.frames import BINARY, PONG, build_frame
from trio_ws_gateway.wire.http import build_head, parse_request

# A coverage's tracer multiplies what is measured here.
LAUNCHER = ("env", *(word for name in os.environ if name.startswith(MEASURING) for word in ("-u", name)))
OUT_OF_REACH = {"RATE_LIMIT_PER_SECOND": "50000000", "RATE_LIMIT_BURST": "100000000"}
BULK, TINY, NONE, FIVES, PONGS = "btnfp"
SHAPES = {  # opcode and payload of each frame
    BULK: [(BINARY, b"x" * 65536)],
    TINY: [(BINARY, b"x")],
    NONE: [(BINARY, b"")],
    FIVES: [(BINARY, b"")] * 5 + [(BINARY, b"x")] * 5,
    PONGS: [(PONG, b"12345678")],
}
CHUNK = 256 * 1024

TRIPS = 300
PAUSE_SECONDS = 0.0005  # between them
WITHIN_TIMES, WITHIN_SECONDS = 5, 0.002
ATTEMPTS = 5  # a machine that has other things to do adds to a wait and never takes from it: one good attempt is proof
FLOOD_MIN_BYTES = 50_000  # during the round trips, or it was none

QUESTION = b"?" * 100


def from_upstream(payload: bytes, opcode: int = BINARY) -> bytes:
    return build_frame(opcode, payload, masked=False)


def from_client(payload: bytes, opcode: int = BINARY) -> bytes:
    frame = from_upstream(payload, opcode)
    head = frame[: len(frame) - len(payload)]
    return bytes([head[0], head[1] | 0x80]) + head[2:] + bytes(4) + payload


def exactly(sock: socket.socket, size: int) -> bytes:
    data = sock.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError(data)
    return data


def head_of(sock: socket.socket) -> bytes:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(sock, 1)
    return bytes(head)


def pour(sock: socket.socket, shape: str, frame: Callable[[bytes, int], bytes]) -> None:
    words = b"".join(frame(payload, opcode) for opcode, payload in SHAPES[shape])
    words *= CHUNK // len(words)
    while True:
        sock.sendall(words)


@define
class Upstream:
    """Does what the first message of a session asks for: ``e``: echo, ``s``: swallow, else: flood it in that shape."""

    listener: socket.socket
    swallowed: int = 0
    threads: list[threading.Thread] = field(factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.listener.getsockname()[1]}/"

    def start(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        def until_it_ends() -> None:
            with sock, suppress(OSError, EOFError):
                work(sock)

        self.threads.append(threading.Thread(target=until_it_ends))
        self.threads[-1].start()

    def accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.start(self.converse, sock)

    def converse(self, sock: socket.socket) -> None:
        sock.sendall(agreeing()(parse_request(head_of(sock))))
        asked = exactly(sock, len(from_client(b"e")))[-1:].decode()
        if asked == "e":
            answer = from_upstream(QUESTION)
            while exactly(sock, len(from_client(QUESTION))):
                sock.sendall(answer)
        elif asked == "s":
            self.swallow(sock)
        else:
            pour(sock, asked, from_upstream)

    def swallow(self, sock: socket.socket) -> None:
        room = bytearray(CHUNK)
        while size := sock.recv_into(room):
            self.swallowed += size


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Upstream(listener)
        upstream.start(upstream.accept, listener)
        yield upstream
        listener.shutdown(socket.SHUT_RDWR)
        for thread in upstream.threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, issuer: OidcProvider) -> Iterator[Gateway]:
    environment = {
        **OUT_OF_REACH,
        "JWKS_URL": issuer.jwks_uri,
        "RAW_WS_BACKEND_URL": upstream.url,
        "CB_HEALTHCHECK_INTERVAL_SECONDS": "0",  # a probe asks for nothing
    }
    gateway = Gateway.start(tmp_path_factory.mktemp("gateway"), environment, launcher=LAUNCHER)
    try:
        gateway.wait_until_ready()
        yield gateway
        assert gateway.stop() == 0
    finally:
        gateway.process.kill()


@contextmanager
def session(gateway: Gateway, issuer: OidcProvider, asking: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        token = ("Authorization", f"Bearer {issuer.mint()}")
        sock.sendall(build_head("GET /ws HTTP/1.1", [*HANDSHAKE, token]))
        assert head_of(sock).startswith(b"HTTP/1.1 101 ")
        sock.sendall(from_client(asking.encode()))
        yield sock


@contextmanager
def flooding(upstream: Upstream, gateway: Gateway, issuer: OidcProvider, shape: str, direction: str) -> Iterator[None]:
    with session(gateway, issuer, "s" if direction == "up" else shape) as sock:
        sock.settimeout(None)
        if direction == "up":
            upstream.start(lambda sock: pour(sock, shape, from_client), sock)
        else:
            upstream.start(upstream.swallow, sock)
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            upstream.threads[-1].join(10)


def slowest_but_one_in_a_hundred(quiet: socket.socket) -> float:
    """The 99th percentile of a round trip, in seconds."""
    question, size = from_client(QUESTION), len(from_upstream(QUESTION))
    took = []
    for _ in range(TRIPS):
        time.sleep(PAUSE_SECONDS)
        began_at = time.perf_counter()
        quiet.sendall(question)
        exactly(quiet, size)
        took.append(time.perf_counter() - began_at)
    return sorted(took)[-TRIPS // 100]


@pytest.mark.alone
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("shape", SHAPES, ids=["bulk", "tiny", "empty", "runs of five", "pongs"])
def test_quiet_beside_a_flood(
    upstream: Upstream, gateway: Gateway, issuer: OidcProvider, shape: str, direction: str
) -> None:
    """The 99th percentile of a quiet one's round trip stays within five times its undisturbed value, or 2 ms."""
    undisturbed, disturbed = [], []
    with session(gateway, issuer, "e") as quiet:
        for _ in range(ATTEMPTS):
            undisturbed.append(slowest_but_one_in_a_hundred(quiet))
            with flooding(upstream, gateway, issuer, shape, direction):
                before = upstream.swallowed
                disturbed.append(slowest_but_one_in_a_hundred(quiet))
                assert upstream.swallowed - before > FLOOD_MIN_BYTES
            if min(disturbed) <= max(WITHIN_TIMES * median(undisturbed), WITHIN_SECONDS):
                return
    pytest.fail(f"seconds undisturbed: {undisturbed}, beside the flood: {disturbed}")
