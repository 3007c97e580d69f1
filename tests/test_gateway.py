"""The composition root: what it takes in its stride."""

import resource
import signal
import socket
import ssl
import threading
from contextlib import nullcontext
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.house import House, house
from tests.oidc_provider import OidcProvider
from tests.servers.ports import free_port
from trio_ws_gateway import gateway
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.limits.budgets import Budgets
from trio_ws_gateway.session import Session
from trio_ws_gateway.wire.frames import CONTINUATION, TEXT


async def alive(home: House) -> bool:
    return (await home.get("/healthz"))[0].status == 200


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


async def test_without_a_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no epoll sessions are relayed all the same."""
    monkeypatch.setattr(gateway, "reactor_if_possible", lambda: nullcontext(None))
    async with house() as home, home.raw() as (client, upstream):
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")


async def test_budgets_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budgets of identities that are gone are forgotten again and again; an error of that is logged and no more."""
    swept = 0

    def sweep(_budgets: Budgets, _now: float) -> None:
        nonlocal swept
        swept += 1
        raise ZeroDivisionError("of the sweep")

    monkeypatch.setattr(gateway, "SWEEP_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(Budgets, "sweep", sweep)
    async with house(RATE_LIMIT_PER_SECOND="10") as home:
        assert "ZeroDivisionError: of the sweep" in (await home.last_line("fault"))["exception"]
        with trio.fail_after(5):
            while swept < 3:
                await trio.sleep(0.005)
        assert await alive(home)


async def test_chores_know_how_late_they_are(mock_clock: MockClock) -> None:
    """A chore is done once an interval and told by how many seconds it is late: that is how lag is measured."""
    late: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway._every, 1.0, late.append, structlog.get_logger())
        for jump in (1.0, 1.25, 1.0):
            await wait_all_tasks_blocked()
            mock_clock.jump(jump)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert late == [0.0, 0.25, 0.0]


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
