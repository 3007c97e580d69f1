"""Reaching an upstream: every address of its name, TLS, handshake, tries, one deadline, and nothing left open."""

import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define

from tests.certificates import Authority, accept_tls
from tests.servers.ports import free_port
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.upstream.dial import Dialled, Dialler, tls_context
from trio_ws_gateway.upstream.failures import DialFailed
from trio_ws_gateway.upstream.resolver import Address
from trio_ws_gateway.wire.http import HEAD_LIMIT, BadUpstream, Response

REQUEST = b"GET /raw HTTP/1.1\r\nHost: upstream\r\n\r\n"
AGREES = b"HTTP/1.1 101 Switching Protocols\r\nX-Name: upstream\r\n\r\n"

Converse = Callable[[Peer], Awaitable[None]]


@define
class Server:
    """Talks to one connection after the other as ``converse`` says; the last one says it to all that follow."""

    port: int
    converse: list[Converse]
    connections: int = 0

    async def accept(self, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        self.connections += 1
        converse = self.converse[0] if len(self.converse) == 1 else self.converse.pop(0)
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        try:
            if tls is not None:
                sock = await accept_tls(sock, tls)
            with Peer(sock, masked=False) as peer:
                assert await peer.read_until(b"\r\n\r\n") == REQUEST
                await converse(peer)
        except (EOFError, OSError):
            pass
        finally:
            leg.close(sock)


def says(answer: bytes) -> Converse:
    async def converse(peer: Peer) -> None:
        await peer.send(answer)
        await peer.read_to_end()

    return converse


async def stays_silent(peer: Peer) -> None:
    await peer.read_to_end()


async def leaves(_peer: Peer) -> None:
    """Close the connection without a word."""


@asynccontextmanager
async def server(
    *converse: Converse, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)
        running = Server(listeners[0].socket.getsockname()[1], list(converse))
        nursery.start_soon(trio.serve_listeners, partial(running.accept, tls=tls), listeners)
        yield running
        nursery.cancel_scope.cancel()


LOOPBACK = Address(socket.AF_INET, "127.0.0.1"), Address(socket.AF_INET6, "::1")
NAMES = {"localhost": LOOPBACK[:1], "both.example": LOOPBACK[::-1]}


async def resolve(host: str) -> tuple[Address, ...]:
    if host not in NAMES:
        raise OSError("Name or service not known")
    return NAMES[host]


def dialler(
    *,
    timeout_seconds: float = 5,
    retry_max: int = 0,
    retry_interval_seconds: float = 0,
    jitter: Callable[[], float] = lambda: 1,
    ca_file: Path | None = None,
) -> Dialler:
    return Dialler(
        tls=tls_context(ca_file),
        resolve=resolve,
        timeout_seconds=timeout_seconds,
        retry_max=retry_max,
        retry_interval_seconds=retry_interval_seconds,
        configure=partial(leg.configure, user_timeout_seconds=30),
        jitter=jitter,
    )


def name_of(response: Response) -> str:
    """What the tests' handshakes agree to."""
    if response.status != 101:
        raise BadUpstream(f"answered {response.status}", response.status)
    return response.headers.get("x-name") or ""


async def dial(dialler: Dialler, url: str, count_retry: Callable[[], None] = lambda: None) -> Dialled[str]:
    return await dialler.dial(WebSocketUrl.parse(url), REQUEST, name_of, count_retry)


async def failure(dialler: Dialler, url: str, count_retry: Callable[[], None] = lambda: None) -> str:
    """Why it cannot be reached; no descriptor may be left of the tries."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DialFailed) as caught:
        await dial(dialler, url, count_retry)
    with trio.fail_after(5):
        while len(os.listdir("/proc/self/fd")) > before:  # the server closes its end when it hears of it
            await trio.sleep(0.002)
    return caught.value.detail


async def test_answer_and_what_comes_behind_it() -> None:
    """The answer is checked by the caller; what came in the same segment behind it is not lost."""
    async with server(says(AGREES + b"\x81\x02hi")) as upstream:
        dialled = await dial(dialler(), f"ws://127.0.0.1:{upstream.port}/raw")
        with dialled.sock:
            assert (dialled.accepted, dialled.rest) == ("upstream", b"\x81\x02hi")
            assert dialled.sock.gettimeout() == 0
            assert dialled.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


async def test_answer_in_pieces() -> None:
    """An answer may come byte by byte."""

    async def converse(peer: Peer) -> None:
        for at in range(len(AGREES)):
            await peer.send(AGREES[at : at + 1])
            await trio.testing.wait_all_tasks_blocked()
        await peer.read_to_end()

    async with server(converse) as upstream:
        dialled = await dial(dialler(), f"ws://127.0.0.1:{upstream.port}/raw")
        with dialled.sock:
            assert dialled.rest == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_name_with_several_addresses(host: str) -> None:
    """Every address of a name is tried, IPv6 and IPv4, until one answers."""
    async with server(says(AGREES), host=host) as upstream:
        dialled = await dial(dialler(), f"ws://both.example:{upstream.port}/")
        with dialled.sock:
            assert dialled.sock.getpeername()[0] == host


async def test_name_whose_addresses_all_refuse() -> None:
    """Where no address answers, the reason names each of them."""
    port = free_port()
    detail = await failure(dialler(), f"ws://both.example:{port}/")
    assert detail.startswith(f"both.example:{port}: ")
    assert detail.count("Connection refused") == 2


async def test_localhost() -> None:
    """A name with one address is dialled like that address."""
    async with server(says(AGREES)) as upstream:
        dialled = await dial(dialler(), f"ws://localhost:{upstream.port}/")
        dialled.sock.close()


async def test_ipv6_address() -> None:
    """An address is dialled as it is, IPv6 too."""
    async with server(says(AGREES), host="::1") as upstream:
        dialled = await dial(dialler(), f"ws://[::1]:{upstream.port}/raw")
        leg.close(dialled.sock)
        assert upstream.connections == 1


async def test_name_that_nobody_knows() -> None:
    """A name without an address is a reason of its own."""
    detail = await failure(dialler(), "ws://nobody.example:8080/")
    assert detail == "nobody.example:8080: Name or service not known"


async def test_refused() -> None:
    """An upstream that does not listen is a clear reason."""
    port = free_port()
    assert "refused" in await failure(dialler(), f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("converse", "seconds", "reason"),
    [
        (leaves, 5, "closed the connection without an answer"),
        (says(b"HTTP/1.1 101 Sw"), 0.2, "no answer in time"),
        (says(b"HTTP/1.1 101 X\r\n" + b"A: " + b"a" * 2 * HEAD_LIMIT), 5, "an answer without end"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), 5, "no HTTP"),
        (says(b"HTTP/1.1 503 Busy\r\n\r\n"), 5, "answered 503"),
    ],
    ids=["leaves", "half an answer", "endless answer", "no HTTP", "503"],
)
async def test_answer_that_will_not_do(converse: Converse, seconds: float, reason: str) -> None:
    """Whatever is no acceptable answer is refused with a reason, and the connection is closed."""
    async with server(converse) as upstream:
        detail = await failure(dialler(timeout_seconds=seconds), f"ws://127.0.0.1:{upstream.port}/")
    assert detail.startswith(f"127.0.0.1:{upstream.port}: ")
    if reason != "no HTTP":
        assert detail.endswith(reason)


async def test_tries_again() -> None:
    """Failed tries are repeated and counted until one succeeds."""
    retries: list[None] = []
    async with server(leaves, says(b"HTTP/1.1 500 Oops\r\n\r\n"), says(AGREES)) as upstream:
        url = f"ws://127.0.0.1:{upstream.port}/"
        dialled = await dial(dialler(retry_max=3), url, lambda: retries.append(None))
        dialled.sock.close()
        assert (upstream.connections, len(retries)) == (3, 2)


async def test_gives_up() -> None:
    """After as many retries as configured the last reason counts."""
    retries: list[None] = []
    async with server(leaves, leaves, says(b"HTTP/1.1 500 Oops\r\n\r\n")) as upstream:
        url = f"ws://127.0.0.1:{upstream.port}/"
        detail = await failure(dialler(retry_max=2), url, lambda: retries.append(None))
        assert detail.endswith("answered 500")
        assert (upstream.connections, len(retries)) == (3, 2)


async def test_4xx_is_final() -> None:
    """A 4xx is about this client, so it is not asked again."""
    retries: list[None] = []
    async with server(says(b"HTTP/1.1 403 No\r\n\r\n")) as upstream:
        url = f"ws://127.0.0.1:{upstream.port}/"
        assert (await failure(dialler(retry_max=3), url, lambda: retries.append(None))).endswith("answered 403")
        assert (upstream.connections, retries) == (1, [])


async def test_pauses_grow(autojump_clock: object) -> None:
    """The longest pause doubles from try to try, and each is drawn from all up to that."""
    draws = iter([0.5, 1, 0, 0.25])
    at: list[float] = []
    patient = dialler(timeout_seconds=100, retry_max=4, retry_interval_seconds=2, jitter=lambda: next(draws))
    await failure(patient, f"ws://127.0.0.1:{free_port()}/", lambda: at.append(trio.current_time()))
    begun_at = at[0] - 1
    assert [each - begun_at for each in at] == pytest.approx([1, 1 + 4, 5 + 0, 5 + 4])


@pytest.mark.parametrize(("tried", "pauses"), [(1, [2, 4, 8]), (3, [8]), (5, [32])])
async def test_tries_that_have_failed_before(autojump_clock: object, tried: int, pauses: list[float]) -> None:
    """Tries of before count, and there is one more in any case; its pause is as long as theirs were many."""
    retries: list[None] = []
    began_at = trio.current_time()
    patient = dialler(timeout_seconds=100, retry_max=3, retry_interval_seconds=2)
    url = WebSocketUrl.parse(f"ws://127.0.0.1:{free_port()}/")
    with pytest.raises(DialFailed):
        await patient.dial(url, REQUEST, name_of, lambda: retries.append(None), tried=tried)
    assert trio.current_time() - began_at == pytest.approx(sum(pauses))
    assert len(retries) == len(pauses) - 1


async def test_no_pause_outlasts_the_deadline(autojump_clock: object) -> None:
    """A pause is drawn from the time that is left where that is less: who has a try left has it."""
    retries: list[None] = []
    began_at = trio.current_time()
    patient = dialler(timeout_seconds=10, retry_max=3, retry_interval_seconds=1e9, jitter=lambda: 0.9)
    await failure(patient, f"ws://127.0.0.1:{free_port()}/", lambda: retries.append(None))
    assert len(retries) == 3
    assert trio.current_time() - began_at == pytest.approx(9.99)


async def test_a_try_that_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that comes late has no time left for another try, and the reason is that of the one it had."""
    retries: list[None] = []

    async def comes_late(*_: object) -> None:
        time.sleep(0.3)  # noqa: ASYNC251 - that is the point
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr("trio_ws_gateway.upstream.dial.connect", comes_late)
    patient = dialler(timeout_seconds=0.2, retry_max=3, retry_interval_seconds=10)
    detail = await failure(patient, "ws://127.0.0.1:1/", lambda: retries.append(None))
    assert (detail, retries) == ("127.0.0.1:1: Connection refused", [])


async def test_any_number_of_tries(autojump_clock: object) -> None:
    """However many tries there are, no pause is too long to be a number."""
    retries: list[None] = []
    patient = dialler(timeout_seconds=1e15, retry_max=1100, retry_interval_seconds=1)
    detail = await failure(patient, f"ws://127.0.0.1:{free_port()}/", lambda: retries.append(None))
    assert detail.endswith("Connection refused")
    assert len(retries) == 1100


async def test_one_deadline_over_all_tries() -> None:
    """The time limit is over all tries together; the reason is that of the last try that ended."""
    async with server(leaves, stays_silent) as upstream:
        with trio.fail_after(5):
            detail = await failure(dialler(timeout_seconds=0.3, retry_max=9), f"ws://127.0.0.1:{upstream.port}/")
        assert detail.endswith("closed the connection without an answer")
        assert upstream.connections == 2


async def test_once() -> None:
    """Who asks for one try has one."""
    async with server(leaves) as upstream:
        with pytest.raises(DialFailed):
            await dialler(retry_max=3).dial(
                WebSocketUrl.parse(f"ws://127.0.0.1:{upstream.port}/"), REQUEST, name_of, lambda: None, once=True
            )
        assert upstream.connections == 1


async def test_ended_between_tries() -> None:
    """What is raised before a further try ends the dial, with nothing left open."""

    def no_more() -> None:
        raise LookupError("no more")

    async with server(leaves) as upstream:
        with pytest.raises(LookupError, match="no more"):
            await dial(dialler(retry_max=3), f"ws://127.0.0.1:{upstream.port}/", no_more)
        assert upstream.connections == 1


async def test_silent_upstream() -> None:
    """An upstream that takes the connection and says nothing is given up when time is up."""
    async with server(stays_silent) as upstream:
        with trio.fail_after(2):
            detail = await failure(dialler(timeout_seconds=0.1), f"ws://127.0.0.1:{upstream.port}/")
        assert detail.endswith("no answer in time")


async def test_cancelled() -> None:
    """A dial that is cancelled closes what it had opened."""
    async with server(stays_silent) as upstream:
        before = len(os.listdir("/proc/self/fd"))
        with trio.move_on_after(0.1):
            await dial(dialler(), f"ws://127.0.0.1:{upstream.port}/")
        with trio.fail_after(2):
            while len(os.listdir("/proc/self/fd")) > before:
                await trio.sleep(0.005)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_tls(tmp_path: Path, name: str) -> None:
    """A certificate for the host's name or address, from an authority of our own, is believed."""
    authority = Authority(tmp_path)
    async with server(says(AGREES), tls=authority.server(name)) as upstream:
        dialled = await dial(dialler(ca_file=authority.ca_file), f"wss://{name}:{upstream.port}/")
        assert isinstance(dialled.sock, ssl.SSLSocket)
        assert dialled.accepted == "upstream"
        leg.close(dialled.sock)


@pytest.mark.parametrize(
    ("name", "expired", "trusted", "reason"),
    [
        ("other.example", False, True, "certificate: Hostname mismatch, certificate is not valid for 'localhost'."),
        ("localhost", True, True, "certificate: certificate has expired"),
        ("localhost", False, False, "certificate: unable to get local issuer certificate"),
    ],
    ids=["wrong name", "expired", "unknown authority"],
)
async def test_certificate_that_is_not_believed(
    tmp_path: Path, name: str, expired: bool, trusted: bool, reason: str
) -> None:
    """A certificate of another name, one that has expired, and one of nobody that we know are refused, and why."""
    authority = Authority(tmp_path)
    ca_file = authority.ca_file if trusted else None
    async with server(says(AGREES), tls=authority.server(name, expired=expired)) as upstream:
        detail = await failure(dialler(ca_file=ca_file), f"wss://localhost:{upstream.port}/")
        assert detail == f"localhost:{upstream.port}: {reason}"


async def test_tls_to_a_plain_server() -> None:
    """A wss:// URL of a server that speaks no TLS fails with a reason."""

    async def accept(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, accept, listeners)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(DialFailed) as caught:
            await dial(dialler(), f"wss://127.0.0.1:{port}/")
        assert caught.value.detail.startswith(f"127.0.0.1:{port}: ")
        assert len(caught.value.detail) > len(f"127.0.0.1:{port}: ")
        nursery.cancel_scope.cancel()
