"""The composition root: what it takes in its stride."""

import errno
import os
import resource
import signal
import socket
from typing import Any

import pytest
import trio

from tests.house import House, house
from tests.oidc_provider import OidcProvider
from trio_ws_gateway import gateway
from trio_ws_gateway.causes import Refused
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


def test_every_session_has_its_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit of descriptors is raised to the hard one."""
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append((which, both)))
    gateway._raise_descriptor_limit()
    assert limits == [(resource.RLIMIT_NOFILE, (4096, 4096))]
