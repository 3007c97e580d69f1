"""One TCP connection of a session: read, written, put under TLS, and let go."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.certificates import Authority, accept_tls
from tests.tcp import tcp_pair
from trio_ws_gateway import leg
from trio_ws_gateway.upstream.dial import tls_context


def options(sock: socket.socket, *names: str) -> list[int]:
    return [sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]


def test_configure() -> None:
    """A socket is non-blocking, sends at once, and notices a peer that is gone."""
    near, far = tcp_pair()
    with near, far:
        leg.configure(near, user_timeout_seconds=7.5)
        assert near.gettimeout() == 0
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert options(near, "TCP_NODELAY", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE") == [1, 7500, 60]


def test_user_timeout_beyond_what_the_system_takes() -> None:
    """An idle timeout of a year is cut to the longest user timeout there is."""
    near, far = tcp_pair()
    with near, far:
        leg.configure(near, user_timeout_seconds=366 * 86400)
        assert options(near, "TCP_USER_TIMEOUT") == [2**31 - 1]


def test_system_without_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that a system does not have is left out."""
    near, far = tcp_pair()
    with near, far:
        before = options(near, "TCP_USER_TIMEOUT")
        number = socket.TCP_USER_TIMEOUT
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
        leg.configure(near, user_timeout_seconds=1)
        assert [near.getsockopt(socket.IPPROTO_TCP, number)] == before


async def test_send_all_and_receive() -> None:
    """All of it is sent, however little the peer takes at a time; then an empty read says that the stream has ended."""
    near, far = tcp_pair()
    with near, far:
        sent = bytes(range(256)) * 40_000
        got = bytearray()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await leg.send_all(near, sent)
                near.shutdown(socket.SHUT_WR)

            nursery.start_soon(send)
            while data := await leg.receive(far, 100_000):
                got += data
        assert bytes(got) == sent


async def test_send_to_a_peer_that_is_gone() -> None:
    """Sending to a connection that was reset raises ``OSError``."""
    near, far = tcp_pair()
    with near:
        far.close()
        with pytest.raises(OSError):  # noqa: PT011, PT012 - a reset, or a broken pipe after it
            while True:
                await leg.send_all(near, bytes(100_000))


async def test_linger_hears_the_peer_out() -> None:
    """After the end of our stream a peer may go on talking until it has heard, and is not reset."""
    near, far = tcp_pair()
    with far:
        await leg.send_all(near, b"goodbye")
        await leg.send_all(far, bytes(100_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leg.linger, near)
            assert await leg.receive(far, 100) == b"goodbye"
            assert await leg.receive(far, 100) == b""
            await leg.send_all(far, b"and another thing")
            far.shutdown(socket.SHUT_WR)
        leg.close(near)
        assert far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_linger_is_bounded_in_bytes() -> None:
    """A peer that never stops talking is not listened to for ever."""
    near, far = tcp_pair()
    with far, trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                while True:
                    await leg.send_all(far, bytes(1 << 16))

            nursery.start_soon(talk)
            await leg.linger(near)
            nursery.cancel_scope.cancel()
    leg.close(near)


async def test_linger_with_a_peer_that_is_gone() -> None:
    """A connection that was reset is nothing to wait for, and no error."""
    near, far = tcp_pair()
    with near:
        await leg.send_all(near, b"unread")
        far.close()  # with unread data: a reset
        await leg.linger(near)


async def test_close_wakes_who_waits() -> None:
    """A task that waits on a socket that is closed gets ``ClosedResourceError``; closing again does nothing."""
    near, far = tcp_pair()
    with far:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await leg.receive(near, 100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            leg.close(near)
        leg.close(near)
        assert near.fileno() == -1


async def test_tls(tmp_path: Path) -> None:
    """Both ends agree on TLS, and bytes pass in both directions like on a plain socket."""
    authority = Authority(tmp_path)
    near, far = tcp_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            with await accept_tls(far, authority.server("gateway.example")) as server:
                data = bytearray()
                while len(data) < 1 << 20:
                    data += await leg.receive(server, 1 << 16)
                await leg.send_all(server, bytes(data))
                assert await leg.receive(server, 100) == b""

        nursery.start_soon(serve)
        with await leg.start_tls(near, tls_context(authority.ca_file), "gateway.example") as secure:
            sent = bytes(range(256)) * 4096
            await leg.send_all(secure, sent)
            got = bytearray()
            while len(got) < len(sent):
                got += await leg.receive(secure, 1 << 16)
            assert bytes(got) == sent
            leg.close(secure)


async def test_tls_that_fails_closes_the_socket(tmp_path: Path) -> None:
    """A handshake that fails raises ``OSError`` and leaves no socket open."""
    authority = Authority(tmp_path)
    near, far = tcp_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            with pytest.raises(OSError):  # noqa: PT011 - an alert, or the end of the stream
                await accept_tls(far, authority.server("another.example"))

        nursery.start_soon(serve)
        with pytest.raises(ssl.SSLCertVerificationError):
            await leg.start_tls(near, tls_context(authority.ca_file), "gateway.example")
    assert (near.fileno(), far.fileno()) == (-1, -1)


async def test_tls_that_is_cancelled_closes_the_socket() -> None:
    """A handshake that gets no answer can be cancelled, and leaves no socket open."""
    near, far = tcp_pair()
    with far:
        with trio.move_on_after(0.05):
            await leg.start_tls(near, tls_context(None), "gateway.example")
        data = bytearray()
        while more := await leg.receive(far, 1 << 16):
            data += more
        assert data[0] == 0x16  # a handshake record, and then the end


async def test_tls_handshake_that_finds_no_room() -> None:
    """A handshake whose first words do not fit waits until there is room for them."""
    near, far = tcp_pair()
    with far:
        with suppress(BlockingIOError):
            while True:
                near.send(bytes(1 << 16))
        async with trio.open_nursery() as nursery:

            async def shake_hands() -> None:
                with pytest.raises(OSError):  # noqa: PT011 - a reset, or the end of the stream
                    await leg.start_tls(near, tls_context(None), "gateway.example")

            nursery.start_soon(shake_hands)
            await trio.testing.wait_all_tasks_blocked()
            while 0x16 not in await leg.receive(far, 1 << 20):
                pass
            far.close()
