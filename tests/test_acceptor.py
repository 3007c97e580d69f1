"""The acceptor alone: who comes in, what keeps it from accepting, and how it drains."""

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field
from structlog import get_logger
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_ws_gateway import acceptor
from trio_ws_gateway.acceptor import (
    ACCEPTS_PER_TURN,
    BEGINNINGS_PER_TURN,
    COMPLAINT_INTERVAL_SECONDS,
    DRAIN_SHARE,
    GONE,
    NO_DESCRIPTORS,
    Acceptor,
)
from trio_ws_gateway.causes import Cause, Refused

SECONDS = 10.0  # of the drains here


@define(eq=False)
class Visit:
    """A session that lasts until it ``leaves``; ``polite`` ones do when they are told."""

    client: socket.socket
    peer: str
    polite: bool = True
    told: list[tuple[float, Cause]] = field(factory=list)
    _over: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        await self._over.wait()

    def end(self, cause: Cause) -> None:
        self.told.append((trio.current_time(), cause))
        if self.polite:
            self.leave()

    def leave(self) -> None:
        self._over.set()


class Faulty(socket.socket):
    """A listener whose ``accept`` fails in the ways that are still to come."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[int] = []
        self.fails_at = 0  # the try of that number
        self.tried = 0
        self.bind(("127.0.0.1", 0))
        self.listen(4 * ACCEPTS_PER_TURN)
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, Any]:
        self.tried += 1
        if self.tried == self.fails_at:
            self.faults.append(errno.ENOMEM)
        if self.faults:
            number = self.faults.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


@define
class Door:
    """An acceptor at work. ``visits`` are those it let in; ``lines`` what it logged."""

    acceptor: Acceptor[Visit]
    listener: Faulty
    visits: list[Visit]
    lines: list[Any]
    _stack: ExitStack

    def knock(self, address: str = "127.0.0.1") -> socket.socket:
        """A connection that nobody has accepted yet."""
        connection = socket.create_connection(self.listener.getsockname(), source_address=(address, 0))
        return self._stack.enter_context(connection)

    async def let_in(self, count: int) -> list[Visit]:
        """So many more sessions."""
        before = len(self.visits)
        for _ in range(count):
            self.knock()
        await until(lambda: len(self.visits) == before + count)
        return self.visits[before:]

    def events(self, name: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == name]


async def until(fact: Callable[[], object]) -> None:
    """On the real clock's patience, whatever the pretended one says: connections come when they come."""
    while not fact():
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def door(make: Callable[[socket.socket, str], Visit] = Visit) -> AsyncIterator[Door]:
    visits: list[Visit] = []

    def new_session(client: socket.socket, peer: str) -> Visit:
        visits.append(make(client, peer))
        return visits[-1]

    with Faulty() as listener, capture_logs() as lines, ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            opened = Door(Acceptor(new_session, get_logger()), listener, visits, lines, stack)
            nursery.start_soon(opened.acceptor.accept, listener, nursery)
            yield opened
            nursery.cancel_scope.cancel()


async def test_everybody_is_let_in(mock_clock: MockClock) -> None:
    """Each connection becomes a session with its peer's address, more than one turn's worth of them too."""
    async with door() as at:
        visits = await at.let_in(2 * ACCEPTS_PER_TURN + 1)
        assert {visit.peer for visit in visits} == {"127.0.0.1"}
        assert at.lines == []


@pytest.mark.parametrize("number", sorted(GONE), ids=errno.errorcode.get)
async def test_client_that_is_gone(mock_clock: MockClock, number: int) -> None:
    """A connection that failed before it was accepted is nothing to speak of; the next one is accepted at once."""
    async with door() as at:
        at.listener.faults += [number, number]
        await at.let_in(1)
        assert (at.listener.faults, at.lines) == ([], [])


@pytest.mark.parametrize(
    "number",
    [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EINVAL],
    ids=errno.errorcode.get,
)
async def test_cannot_accept(mock_clock: MockClock, number: int) -> None:
    """After any other error it waits before it tries again, and says so once in ten seconds."""
    async with door() as at:
        at.listener.faults += [number] * 200
        at.knock()
        each = 2 if number in NO_DESCRIPTORS else 1  # with the spare one it tries again at once
        await until(lambda: at.listener.tried == each)
        assert at.events("cannot accept") == [
            {"event": "cannot accept", "log_level": "error", "reason": os.strerror(number), "connections": 0}
        ]
        for tries in (1, 2, 3):
            await wait_all_tasks_blocked()
            assert at.listener.tried == tries * each
            mock_clock.jump(acceptor.PAUSE_SECONDS)
        await until(lambda: at.listener.tried == 4 * each)
        assert len(at.lines) == 1
        mock_clock.jump(COMPLAINT_INTERVAL_SECONDS)
        await until(lambda: len(at.lines) == 2)
        del at.listener.faults[:]
        mock_clock.jump(acceptor.PAUSE_SECONDS)
        await until(lambda: len(at.visits) == 1)


async def test_who_may_not_come_in(mock_clock: MockClock) -> None:
    """Who is refused at the door is answered, counted, and given a moment to read it; a second of them is one line."""
    refusing = True

    def make(client: socket.socket, peer: str) -> Visit:
        if refusing:
            raise Refused(Cause.TOO_MANY_CONNECTIONS, "connections in all")
        return Visit(client, peer)

    async with door(make) as at:
        turned_away: list[tuple[Cause, int]] = []
        at.acceptor.turned_away = lambda cause, count: turned_away.append((cause, count))
        clients = [at.knock() for _ in range(3)]
        await until(lambda: len(turned_away) == 3)
        for client in clients:
            client.sendall(b"GET /ws HTTP/1.1\r\n")  # as most do before they read
            assert client.recv(10_000).startswith(b"HTTP/1.1 429 ")
            assert client.recv(1) == b""
        mock_clock.jump(acceptor.TURNED_AWAY_INTERVAL_SECONDS)
        at.knock()
        await until(lambda: len(turned_away) == 4)
        lines = [(line["client"], line["connections"]) for line in at.events("turned away")]
        assert lines == [("127.0.0.1", 1), ("127.0.0.1", 3)]
        refusing = False
        await at.let_in(1)
        assert len(at.lines) == 2


async def test_many_who_may_not_come_in(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are turned away, few are kept to read it."""
    monkeypatch.setattr(acceptor, "SHOWN_OUT_MAX", 5)

    def refuse(_client: socket.socket, _peer: str) -> Visit:
        raise Refused(Cause.TOO_MANY_CONNECTIONS)

    async with door(refuse) as at:
        turned_away: list[tuple[Cause, int]] = []
        at.acceptor.turned_away = lambda cause, count: turned_away.append((cause, count))
        for _ in range(20):
            at.knock()
        await until(lambda: len(turned_away) == 20)
        assert len(at.acceptor._way_out._going) == 5
        mock_clock.jump(acceptor.SHOWN_OUT_SECONDS)
        await until(lambda: not at.acceptor._way_out._going)


async def test_no_descriptors(mock_clock: MockClock) -> None:
    """Who comes while there are no descriptors is told to come again, with the one that is kept for that."""
    async with door() as at:
        turned_away: list[tuple[Cause, int]] = []
        at.acceptor.turned_away = lambda cause, count: turned_away.append((cause, count))
        at.listener.faults += [errno.EMFILE]
        clients = [at.knock() for _ in range(3)]
        await until(lambda: turned_away)
        assert turned_away == [(Cause.TOO_MANY_CONNECTIONS, 3)]
        for client in clients:
            answer = client.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nRetry-After: " in answer
            assert client.recv(1) == b""
        mock_clock.jump(acceptor.PAUSE_SECONDS)
        await at.let_in(1)


async def test_addresses_take_turns(mock_clock: MockClock) -> None:
    """However many have come from one address, whoever comes alone from another begins as soon as it is accepted."""
    begun: list[str] = []

    class Beginning(Visit):
        async def run(self) -> None:
            begun.append(self.peer)
            await super().run()

    async with door(Beginning) as at:
        for _ in range(ACCEPTS_PER_TURN - 1):
            at.knock()
        at.knock("127.0.0.2")
        await until(lambda: len(begun) == ACCEPTS_PER_TURN)
        assert begun.index("127.0.0.2") < 2 * BEGINNINGS_PER_TURN


async def test_nobody_is_forgotten(mock_clock: MockClock) -> None:
    """Who has been accepted and has not begun when everything ends is closed like all others."""
    async with door() as at:
        for _ in range(ACCEPTS_PER_TURN):
            at.knock()
        await until(lambda: len(at.acceptor._arrived) > 0)
    assert at.acceptor.sessions == 0
    assert all(visit.client.fileno() == -1 for visit in at.visits)


async def test_who_has_been_accepted_begins(mock_clock: MockClock) -> None:
    """Whatever keeps it from accepting holds up nobody who has been accepted."""
    async with door() as at:
        at.listener.fails_at = ACCEPTS_PER_TURN + 1
        for _ in range(ACCEPTS_PER_TURN + 1):
            at.knock()
        await until(lambda: at.events("cannot accept"))
        await until(lambda: not at.acceptor._arrived)
        assert len(at.visits) == ACCEPTS_PER_TURN


async def test_fault_of_a_session(mock_clock: MockClock) -> None:
    """What a session raises is logged and ends it alone; its socket is closed."""

    class Failing(Visit):
        async def run(self) -> None:
            await super().run()
            raise ZeroDivisionError("by itself")

    async with door(Failing) as at:
        first, second = await at.let_in(2)
        first.leave()
        await until(lambda: first.client.fileno() == -1)
        [line] = at.events("fault")
        assert (line["log_level"], repr(line["exc_info"])) == ("error", "ZeroDivisionError('by itself')")
        assert second.client.fileno() >= 0


async def test_session_that_cannot_be_made(mock_clock: MockClock) -> None:
    """A connection of which no session can be made is closed, the fault is logged, and the next one is let in."""
    faults = [ZeroDivisionError("in the making")]

    def make(client: socket.socket, peer: str) -> Visit:
        if faults:
            raise faults.pop()
        return Visit(client, peer)

    async with door(make) as at:
        unlucky = at.knock()
        await until(lambda: at.events("fault"))
        assert unlucky.recv(1) == b""
        await at.let_in(1)


async def drained(at: Door, clock: MockClock) -> float:
    """Drain; how long it took by the pretended clock."""
    clock.autojump_threshold = 0.01
    began_at = trio.current_time()
    await at.acceptor.drain(SECONDS)
    return trio.current_time() - began_at


async def test_drain_is_spread(mock_clock: MockClock) -> None:
    """Sessions are told one after the other, oldest first, over four fifths of the drain time; each once."""
    async with door() as at:
        visits = await at.let_in(4)
        began_at = trio.current_time()
        took = await drained(at, mock_clock)
        step = SECONDS * DRAIN_SHARE / 4
        assert took == pytest.approx(3 * step)
        for position, visit in enumerate(visits):
            [(told_at, cause)] = visit.told
            assert told_at == pytest.approx(began_at + position * step)
            assert cause is Cause.DRAINING
        assert [line["event"] for line in at.lines] == ["draining"]
        assert at.acceptor.draining


async def test_drain_is_over_when_all_have_left(mock_clock: MockClock) -> None:
    """Nobody is waited for who has left by himself, and without sessions there is nothing to wait for."""
    async with door() as at:
        assert await drained(at, mock_clock) == 0
        for visit in await at.let_in(3):
            visit.leave()
        assert await drained(at, mock_clock) == 0


async def test_drain_has_an_end(mock_clock: MockClock) -> None:
    """Who does not go is counted when time is up; who came after the drain had begun is not part of it."""

    def stay(client: socket.socket, peer: str) -> Visit:
        return Visit(client, peer, polite=False)

    async with door(stay) as at:
        first, _ = await at.let_in(2)
        first.polite = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(at.acceptor.drain, SECONDS)
            await until(lambda: at.acceptor.draining)
            [late] = await at.let_in(1)
            mock_clock.autojump_threshold = 0.01
        assert at.events("cut") == [{"event": "cut", "log_level": "warning", "sessions": 1}]
        assert late.told == []
