"""Questions, answers and news between two ends of a link, and what becomes of them when one end goes."""

import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from trio_ws_gateway import logs
from trio_ws_gateway.worker_link import UNSENT_MAX, Answer, Link, NoAnswer


async def double(body: Any) -> Any:  # noqa: ANN401
    return body * 2


async def never(_: object) -> None:
    await trio.sleep_forever()


async def wrong(_: object) -> None:
    raise ZeroDivisionError


@asynccontextmanager
async def linked(answers: dict[str, Answer] | None = None) -> AsyncIterator[tuple[Link, Link]]:
    """Both ends of a running link; the far one answers."""
    near, far = (
        Link(sock, given, structlog.get_logger())
        for sock, given in zip(socket.socketpair(), ({}, answers or {}), strict=True)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.run)
        nursery.start_soon(far.run)
        yield near, far
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def wire(answers: dict[str, Answer] | None = None) -> AsyncIterator[tuple[Link, trio.SocketStream]]:
    """A running link, and the bare stream at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    link = Link(ours, answers or {}, structlog.get_logger())
    async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        yield link, stream
        nursery.cancel_scope.cancel()


def message(**fields: object) -> bytes:
    text = json.dumps(fields).encode()
    return len(text).to_bytes(4, "big") + text


@pytest.fixture
def log() -> io.StringIO:
    """What the links of a test log."""
    file = io.StringIO()
    logs.configure(format="json", level="debug", file=file)
    return file


@pytest.mark.parametrize("body", [None, 1, "ü", [1, {"a": None}], "x" * 3_000_000])
async def test_answer(body: object) -> None:
    """A question is answered, of whatever size its body is."""

    async def same(body: object) -> object:
        return body

    async with linked({"same": same}) as (near, _):
        assert await near.ask("same", body, seconds=10) == body


async def test_questions_at_once() -> None:
    """Many questions are open at once, and each gets its own answer, in whatever order they come."""

    async def later(body: float) -> float:
        await trio.sleep(body / 1000)
        return body

    async with linked({"later": later}) as (near, _), trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            assert await near.ask("later", number, seconds=10) == number

        for number in range(50, 0, -1):
            nursery.start_soon(ask, number)


async def test_both_ways() -> None:
    """Either end asks the other, from within an answer too."""
    ends: list[Link] = []

    async def twice(body: int) -> Any:  # noqa: ANN401
        return await ends[1].ask("double", body, seconds=10) * 2

    near_sock, far_sock = socket.socketpair()
    ends += [
        Link(near_sock, {"double": double}, structlog.get_logger()),
        Link(far_sock, {"twice": twice}, structlog.get_logger()),
    ]
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.run)
        assert await ends[0].ask("twice", 3, seconds=10) == 12
        nursery.cancel_scope.cancel()


async def test_news() -> None:
    """News arrives, in its order, and nothing comes back."""
    send, receive = trio.open_memory_channel[int](10)
    async with linked({"news": send.send}) as (near, _):
        for number in range(3):
            near.tell("news", number)
        assert [await receive.receive() for _ in range(3)] == [0, 1, 2]


async def test_slow_answer(autojump_clock: MockClock) -> None:
    """A question that nobody answers in time has no answer; the next one has."""
    async with linked({"never": never, "double": double}) as (near, _):
        with pytest.raises(NoAnswer):
            await near.ask("never", seconds=1)
        assert await near.ask("double", 2, seconds=1) == 4


@pytest.mark.parametrize("subject", ["wrong", "unheard of"])
async def test_mistake(subject: str, log: io.StringIO) -> None:
    """A mistake of an answer is logged where it was made; the question has no answer, and the link lives on."""
    async with linked({"wrong": wrong, "double": double}) as (near, _):
        with pytest.raises(NoAnswer):
            await near.ask(subject, seconds=10)
        assert await near.ask("double", 2, seconds=10) == 4
    assert json.loads(log.getvalue())["event"] == "fault"


async def test_other_end_goes(log: io.StringIO) -> None:
    """When the other end is gone open and later questions have no answer, and news is lost with a line."""
    async with wire() as (link, stream), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(NoAnswer):
                await link.ask("anything", seconds=10)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(0.5):
            await ask()
        link.tell("news")
    assert json.loads(log.getvalue())["event"] == "not told"


async def test_message_in_pieces() -> None:
    """A message is understood wherever its bytes are cut, and two that come as one are two."""
    send, receive = trio.open_memory_channel[Any](10)
    both = message(ask="news", body=[1, 2]) + message(ask="news", body="b")
    async with wire({"news": send.send}) as (_, stream):
        for cut in range(len(both)):
            await stream.send_all(both[:cut])
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(both[cut:])
            assert [await receive.receive() for _ in range(2)] == [[1, 2], "b"]


async def test_answer_that_nobody_waits_for() -> None:
    """An answer to a question that was given up, or never asked, means nothing."""
    async with wire({"double": double}) as (_, stream):
        await stream.send_all(message(id=99, body=1) + message(ask="double", id=1, body=4))
        assert await stream.receive_some() == message(id=1, body=8)


async def test_other_end_that_takes_nothing(log: io.StringIO) -> None:
    """Who sends to an end that takes nothing is not held up: what is over the bound is lost, with a line each."""
    async with wire() as (link, _):
        for _ in range(UNSENT_MAX + 5):
            link.tell("news", "x" * 1000)
        with pytest.raises(NoAnswer):
            await link.ask("anything", seconds=10)
    assert [json.loads(line)["event"] for line in log.getvalue().splitlines()] == ["not told"] * 5


async def test_nothing_is_left() -> None:
    """A cancelled link closes its socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Link(ours, {}, structlog.get_logger()).run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert theirs.recv(1) == b""
