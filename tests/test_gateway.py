"""The composition root: what it takes in its stride."""

import errno
import os
import resource
import signal
import socket
import ssl
import threading
from contextlib import ExitStack, nullcontext
from typing import Any

import pytest
import trio

from tests.house import House, house
from tests.oidc_provider import OidcProvider
from tests.servers.ports import free_port
from trio_ws_gateway import gateway
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.limits.budgets import Budgets
from trio_ws_gateway.session import Session
from trio_ws_gateway.wire.frames import CONTINUATION, TEXT


class Faulty(socket.socket):
    """A listener whose ``accept`` fails in the ways that are still to come."""

    faults: list[int]
    tried: int

    def accept(self) -> tuple[socket.socket, Any]:
        self.tried += 1
        if self.faults:
            number = self.faults.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


async def alive(home: House) -> bool:
    return (await home.get("/healthz"))[0].status == 200


@pytest.fixture
def faulty_listener(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """The listener of the next house."""
    listener = Faulty()
    listener.faults, listener.tried = [], 0
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)

    async def listen(_settings: object) -> socket.socket:
        return listener

    monkeypatch.setattr(gateway, "_listen", listen)
    return listener


async def test_client_that_is_gone_before_it_is_accepted(faulty_listener: Faulty) -> None:
    """A connection that cannot be accepted any more is nothing to speak of, and the next one is accepted."""
    async with house() as home:
        faulty_listener.faults += [errno.ECONNABORTED, errno.EPROTO]
        assert await alive(home)
        assert faulty_listener.faults == []
        assert home.lines("cannot accept") == []


async def test_descriptors_run_out(faulty_listener: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without descriptors it waits before it tries again, and says so once in ten seconds."""
    monkeypatch.setattr(gateway, "EXHAUSTED_PAUSE_SECONDS", 0.02)
    async with house() as home:
        faulty_listener.faults += [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
        before, began_at = faulty_listener.tried, trio.current_time()
        assert await alive(home)
        assert trio.current_time() - began_at >= 4 * 0.02
        assert faulty_listener.tried - before <= 8
        [line] = home.lines("cannot accept")
        assert line["reason"] == "Too many open files"


async def test_fault_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that a session has not dealt with itself is logged, and ends nothing else."""
    async with house() as home, home.raw() as (client, upstream):

        async def refuse(_session: Session, refused: Refused) -> None:
            raise ZeroDivisionError("no token: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdC03In0.c2ln")

        with monkeypatch.context() as patch:
            patch.setattr(Session, "_refuse", refuse)
            async with home.open() as victim:
                await victim.say(CONTINUATION, b"of nothing")
                line = await home.last_line("fault")
                assert "ZeroDivisionError: no token: [token]" in line["exception"]
                assert await victim.read_to_end() == b""
        await client.say(TEXT, b"still there?")
        assert await upstream.hear() == (TEXT, True, b"still there?")
        assert await alive(home)


async def test_second_sigterm() -> None:
    """A drain that is asked for twice goes on as it was."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="30") as home, home.raw(), home.raw():
        signal.raise_signal(signal.SIGTERM)
        await home.last_line("draining")
        signal.raise_signal(signal.SIGTERM)
        assert await alive(home)
        assert len(home.lines("draining")) == 1
        assert home.lines("second signal") == home.lines("stopped") == []
        signal.raise_signal(signal.SIGINT)
        await home.last_line("stopped")


async def test_without_a_provider() -> None:
    """Where anybody is let in there are no keys to wait for."""
    async with house(JWKS_URL="", ALLOW_ANONYMOUS="true") as home:
        assert (await home.get("/readyz"))[1] == b"ready\n"
        assert "ws_jwks_age_seconds" not in await home.samples()


async def test_keys_by_discovery() -> None:
    """With an issuer in place of an address the keys are found where it says that they are."""
    async with (
        OidcProvider().serving() as provider,
        house(JWKS_URL="", OIDC_ISSUER=provider.issuer) as home,
        home.knock(token=provider.mint()) as (_, answer),
    ):
        assert answer.status == 101


async def test_many_clients_at_once() -> None:
    """More clients than are accepted in one turn are all let in."""
    async with house() as home:
        count = 2 * gateway.ACCEPTS_PER_TURN + 1
        with ExitStack() as stack:
            for _ in range(count):  # all of them before the gateway has a turn
                client = stack.enter_context(socket.create_connection(("127.0.0.1", home.port)))
                client.send(b"GET /ws HTTP/1.1\r\n")
            assert await alive(home)
        with trio.fail_after(10):
            while len(home.lines("refused")) < count:
                await trio.sleep(0.01)


async def test_without_a_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no epoll sessions are relayed all the same."""
    monkeypatch.setattr(gateway, "reactor_if_possible", lambda: nullcontext(None))
    async with house() as home, home.raw() as (client, upstream):
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")


async def test_budgets_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budgets of identities that are gone are forgotten after a while."""
    swept = trio.Event()

    def sweep(_budgets: Budgets, _now: float) -> None:
        swept.set()

    monkeypatch.setattr(gateway, "SWEEP_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(Budgets, "sweep", sweep)
    async with house(RATE_LIMIT_PER_SECOND="10"):
        with trio.fail_after(5):
            await swept.wait()


async def test_nothing_blocks_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are resolved in threads beside the loop, and authorities are read at the start, not with every dial."""
    resolve, main = socket.getaddrinfo, threading.current_thread()
    resolved: list[object] = []

    def getaddrinfo(host: bytes, port: int, family: int, kind: int, protocol: int, flags: int) -> list[Any]:
        if not flags & socket.AI_NUMERICHOST:  # with it nobody is asked
            resolved.append(host)
            assert threading.current_thread() is not main
        return resolve(host, port, family, kind, protocol, flags)

    async with house(WS_DIAL_RETRY_MAX="0", RAW_WS_BACKEND_URL=f"wss://localhost:{free_port()}/") as home:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.delattr(ssl, "create_default_context")
        answer, _ = await home.refusal(token=home.provider.mint())
        assert answer.status == 502
        assert "refused" in (await home.end())["detail"]
        assert resolved == [b"localhost"]
        assert home.lines("fault") == []


def test_every_session_has_its_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit of descriptors is raised to the hard one."""
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append((which, both)))
    gateway._raise_descriptor_limit()
    assert limits == [(resource.RLIMIT_NOFILE, (4096, 4096))]
