"""Names: how long an answer is kept, how many ask at once, and what serves while the system does not answer."""

import errno
import os
import socket
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_ws_gateway.upstream.failures import Failure, failed_try
from trio_ws_gateway.upstream.resolver import (
    FRESH_SECONDS,
    PATIENCE_SECONDS,
    STALE_SECONDS,
    Address,
    Resolver,
)

HERE, THERE = Address(socket.AF_INET, "192.0.2.1"), Address(socket.AF_INET, "192.0.2.2")


@define
class System(trio.abc.HostnameResolver):
    """Answers every name with ``where``, or fails with ``error``, after ``seconds``."""

    where: list[str] = field(factory=lambda: ["192.0.2.1"])
    error: Exception | None = None
    seconds: float = 0
    asked: list[bytes | None] = field(factory=list)
    asking: int = 0
    most_at_once: int = 0

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:  # noqa: ANN401 - as many shapes as there are families
        assert type == socket.SOCK_STREAM
        self.asked.append(host)
        self.asking += 1
        self.most_at_once = max(self.asking, self.most_at_once)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.asking -= 1
        if self.error is not None:
            raise self.error
        return [
            (socket.AF_INET6, type, 6, "", (host, 0, 0, 3)) if ":" in host else (socket.AF_INET, type, 6, "", (host, 0))
            for host in self.where
        ]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


AWAY = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
async def system() -> System:
    double = System()
    trio.socket.set_custom_hostname_resolver(double)  # for this test's loop
    return double


@pytest.fixture
async def resolver(nursery: trio.Nursery, system: System) -> AsyncIterator[Resolver]:
    made = Resolver()
    await nursery.start(made.run)
    yield made
    nursery.cancel_scope.cancel()


async def test_answer(resolver: Resolver, system: System) -> None:
    """All addresses come in the system's order, each once."""
    system.where = ["fe80::1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]
    assert await resolver.addresses("broker") == (Address(socket.AF_INET6, "fe80::1", 3), THERE, HERE)
    assert system.asked == [b"broker"]


def test_where_to_connect() -> None:
    """An address becomes what its family's sockets take, the interface of a link-local one included."""
    assert HERE.at(80) == ("192.0.2.1", 80)
    assert Address(socket.AF_INET6, "fe80::1", 3).at(80) == ("fe80::1", 80, 0, 3)


async def test_kept_for_seconds(resolver: Resolver, system: System, autojump_clock: MockClock) -> None:
    """An answer is asked for again when it is some seconds old, and then the new one counts."""
    assert await resolver.addresses("broker") == (HERE,)
    system.where = ["192.0.2.2"]
    await trio.sleep(FRESH_SECONDS - 0.1)
    assert await resolver.addresses("broker") == (HERE,)
    assert await resolver.addresses("other") == (THERE,)
    await trio.sleep(0.2)
    assert await resolver.addresses("broker") == (THERE,)
    assert system.asked == [b"broker", b"other", b"broker"]


async def test_one_question_at_a_time(resolver: Resolver, system: System, autojump_clock: MockClock) -> None:
    """A thousand who ask at once are one question to the system."""
    system.seconds = 3
    found: list[tuple[Address, ...]] = []

    async def ask() -> None:
        found.append(await resolver.addresses("broker"))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(ask)
    assert found == [(HERE,)] * 1000
    assert len(system.asked) == 1


async def test_what_the_gateway_lacks(resolver: Resolver, system: System) -> None:
    """Where nothing can be asked for want of descriptors, that is not said of the upstream."""
    system.error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files") as caught:
        await resolver.addresses("broker")
    assert failed_try(caught.value).failure is Failure.OURS


async def test_who_asked_first_leaves(resolver: Resolver, system: System, autojump_clock: MockClock) -> None:
    """The question outlives who asked it: the others have their answer no later."""
    system.seconds = 3
    began_at = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            with trio.move_on_after(1):
                await resolver.addresses("broker")

        nursery.start_soon(leave)
        await trio.sleep(0.5)
        assert await resolver.addresses("broker") == (HERE,)
    assert trio.current_time() - began_at == pytest.approx(3)
    assert len(system.asked) == 1


async def test_failure(resolver: Resolver, system: System) -> None:
    """A name without an answer is an error that says why; it is not kept, and each who waited has one of its own."""
    system.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    errors: list[OSError] = []

    async def ask() -> None:
        with pytest.raises(OSError, match="Name or service not known") as caught:
            await resolver.addresses("broker")
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert errors[0] is not errors[1]
    system.error = None
    assert await resolver.addresses("broker") == (HERE,)
    assert len(system.asked) == 2


@pytest.mark.parametrize("error", [UnicodeError("label too long"), RuntimeError("can't start new thread")])
async def test_mistake(resolver: Resolver, system: System, error: Exception) -> None:
    """Whatever else goes wrong ends that question and nothing more."""
    system.error = error
    with pytest.raises(OSError, match=str(error)):
        await resolver.addresses("broker")
    system.error = None
    assert await resolver.addresses("broker") == (HERE,)


async def test_stale_is_better_than_none(resolver: Resolver, system: System, autojump_clock: MockClock) -> None:
    """While the system's resolver fails the last answer serves on, for a bounded time."""
    assert await resolver.addresses("broker") == (HERE,)
    system.error = AWAY
    await trio.sleep(STALE_SECONDS - 1)
    assert await resolver.addresses("broker") == (HERE,)
    await trio.sleep(2)
    with pytest.raises(OSError, match="Temporary failure"):
        await resolver.addresses("broker")


async def test_slow_resolver(resolver: Resolver, system: System, autojump_clock: MockClock) -> None:
    """One that takes long is waited for a moment where there is an old answer, once for all, and then counts."""
    assert await resolver.addresses("broker") == (HERE,)
    system.seconds, system.where = 30, ["192.0.2.2"]
    await trio.sleep(FRESH_SECONDS + 1)
    began_at = trio.current_time()
    assert await resolver.addresses("broker") == (HERE,)
    assert trio.current_time() - began_at == pytest.approx(PATIENCE_SECONDS)
    assert await resolver.addresses("broker") == (HERE,)
    assert trio.current_time() - began_at == pytest.approx(PATIENCE_SECONDS)
    await trio.sleep(30)
    assert await resolver.addresses("broker") == (THERE,)
    assert (len(system.asked), system.most_at_once) == (2, 1)


async def test_log(
    resolver: Resolver, system: System, autojump_clock: MockClock, log: list[MutableMapping[str, Any]]
) -> None:
    """A resolver that fails is a line in the log, and so is its recovery; not each question."""
    await resolver.addresses("broker")
    for system.error in (AWAY, AWAY, None, None):
        await trio.sleep(FRESH_SECONDS + 1)
        await resolver.addresses("broker")
    lines = [{key: line[key] for key in ("event", "log_level", "host")} for line in log]
    assert lines == [
        {"event": "name not resolved", "log_level": "warning", "host": "broker"},
        {"event": "name resolved", "log_level": "info", "host": "broker"},
    ]
    assert (log[0]["reason"], log[0]["serving"]) == (AWAY.strerror, "the last answer, for a while")


async def test_end(system: System) -> None:
    """When all ends a question ends with it, and one that comes too late is cancelled, not a fault."""
    system.seconds = 1e9
    made = Resolver()
    with trio.CancelScope() as all_of_it:
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run)
            nursery.start_soon(made.addresses, "broker")
            await wait_all_tasks_blocked()
            all_of_it.cancel()
            await made.addresses("other")
    assert all_of_it.cancelled_caught
    assert system.asking == 0


async def test_not_running() -> None:
    """Who forgot to run it hears that, and does not wait for ever."""
    with pytest.raises(RuntimeError, match="does not run"):
        await Resolver().addresses("broker")
