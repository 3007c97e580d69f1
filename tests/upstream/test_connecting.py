"""Happy eyeballs: the first address that takes a connection, and nothing left open of the others."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.servers.ports import free_port
from trio_ws_gateway.upstream import connecting
from trio_ws_gateway.upstream.connecting import HEAD_START_SECONDS, connect
from trio_ws_gateway.upstream.resolver import Address

IPv4, IPv6 = socket.AF_INET, socket.AF_INET6
FIRST, SECOND, THIRD = (Address(IPv4, f"127.0.0.{number}") for number in (1, 2, 3))
SIXTH, SEVENTH = Address(IPv6, "::1"), Address(IPv6, "::2")


@contextmanager
def listening(*addresses: Address) -> Iterator[int]:
    """The port on which these addresses take connections."""
    port = free_port()
    listeners = []
    try:
        for address in addresses:
            listeners.append(listener := socket.socket(address.family))
            listener.bind(address.at(port))
            listener.listen()
        yield port
    finally:
        for listener in listeners:
            listener.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> dict[Address, tuple[float, float]]:
    """By address: after how many seconds it answers as it would; and when it was asked, which is noted here."""
    attempt = connecting._attempt
    waits: dict[Address, tuple[float, float]] = {}

    async def attempt_later(address: Address, port: int) -> socket.socket:
        seconds, _ = waits.get(address, (0, 0))
        waits[address] = seconds, trio.current_time()
        await trio.sleep(seconds)
        return await attempt(address, port)

    monkeypatch.setattr(connecting, "_attempt", attempt_later)
    return waits


@pytest.mark.parametrize("taking", [FIRST, SECOND, THIRD, SIXTH])
async def test_one_that_takes_it(taking: Address) -> None:
    """Whichever address takes the connection is found behind those that refuse, of either family."""
    with listening(taking) as port:
        before = descriptors()
        sock = await connect([FIRST, SECOND, SIXTH, THIRD], port)
        assert sock.getpeername()[0] == taking.host
        sock.close()
        assert descriptors() == before


async def test_none_takes_it() -> None:
    """Where all refuse, the error holds each one's reason."""
    before = descriptors()
    with pytest.raises(OSError, match="no address answers") as caught:
        await connect([FIRST, SECOND, SIXTH], free_port())
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [getattr(each, "errno", 0) for each in caught.value.__cause__.exceptions] == [errno.ECONNREFUSED] * 3
    assert descriptors() == before


async def test_single_address() -> None:
    """The error of a single address is its own."""
    with pytest.raises(ConnectionRefusedError):
        await connect([FIRST], free_port())


async def test_silent_address(slow: dict[Address, tuple[float, float]], autojump_clock: MockClock) -> None:
    """An address that says nothing holds up the next one for a moment only, and is given up for it."""
    slow[FIRST] = (1e9, 0)
    with listening(FIRST, SECOND) as port:
        before, began_at = descriptors(), trio.current_time()
        sock = await connect([FIRST, SECOND], port)
        assert sock.getpeername()[0] == SECOND.host
        assert trio.current_time() - began_at == pytest.approx(HEAD_START_SECONDS)
        sock.close()
        assert descriptors() == before


async def test_slow_address_may_still_win(slow: dict[Address, tuple[float, float]], autojump_clock: MockClock) -> None:
    """The first address is not given up when the second is asked: whoever is first wins."""
    slow[FIRST], slow[SECOND] = (1.5 * HEAD_START_SECONDS, 0), (1e9, 0)
    with listening(FIRST, SECOND) as port:
        sock = await connect([FIRST, SECOND], port)
        assert sock.getpeername()[0] == FIRST.host
        sock.close()


async def test_two_that_take_it_at_once(slow: dict[Address, tuple[float, float]], autojump_clock: MockClock) -> None:
    """Of two connections that come about in the same moment one is closed."""
    slow[FIRST], slow[SECOND] = (2 * HEAD_START_SECONDS, 0), (HEAD_START_SECONDS, 0)
    with listening(FIRST, SECOND) as port:
        before = descriptors()
        sock = await connect([FIRST, SECOND], port)
        sock.close()
        assert descriptors() == before


async def test_families_take_turns(slow: dict[Address, tuple[float, float]], autojump_clock: MockClock) -> None:
    """IPv6 and IPv4 are asked in turn, beginning with what the resolver put first."""
    addresses = [SEVENTH, SIXTH, FIRST, SECOND, THIRD]
    slow.update(dict.fromkeys(addresses, (1e9, 0)))
    with trio.move_on_after(100):
        await connect(addresses, free_port())
    asked = sorted(addresses, key=lambda address: slow[address][1])
    assert asked == [SEVENTH, FIRST, SIXTH, SECOND, THIRD]


async def test_cancelled(slow: dict[Address, tuple[float, float]], autojump_clock: MockClock) -> None:
    """Who stops waiting leaves no socket behind."""
    slow[FIRST] = slow[SECOND] = (10, 0)
    with listening(FIRST, SECOND) as port:
        before = descriptors()
        with trio.move_on_after(5) as scope:
            await connect([FIRST, SECOND], port)
        assert scope.cancelled_caught
        assert descriptors() == before


async def test_unanswered_connection() -> None:
    """A connection that stays unanswered is waited for, and closed by who stops waiting."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with socket.socket() as filling, socket.socket() as more:  # the backlog: the kernel answers nobody else
            for each in (filling, more):
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            before = descriptors()
            with trio.move_on_after(0.05) as scope:
                await connect([FIRST], port)
            assert scope.cancelled_caught
            assert descriptors() == before
