"""Attempts with short waits, and servers that do as a test says."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from tests.house import Answer, Upstream, agreeing
from tests.tcp import Peer
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.probing.attempt import Attempt, Mqtt
from trio_ws_gateway.probing.course import Course
from trio_ws_gateway.probing.probe import probe
from trio_ws_gateway.probing.refusal import Refusal
from trio_ws_gateway.wire.frames import BINARY, CLOSE
from trio_ws_gateway.wire.mqtt import connack, packet_length

PATIENCE_SECONDS = 20.0


def attempt_at(url: str, **fields: Any) -> Attempt:  # noqa: ANN401
    return Attempt(url=WebSocketUrl.parse(url), **{"count": 3, "timeout_seconds": PATIENCE_SECONDS, **fields})


def mqtt(level: int = 5, **fields: Any) -> Mqtt:  # noqa: ANN401
    return Mqtt(level=level, **{"client_id": "robot-7-probe", "topic": "probe/1", **fields})


async def tried(url: str, **fields: Any) -> Course:  # noqa: ANN401
    """The course of an attempt; it must come to an end."""
    course = Course(lambda step: None)
    with trio.fail_after(2 * PATIENCE_SECONDS):
        await probe(attempt_at(url, **fields), course, now=time.time)
    return course


async def refused(url: str, **fields: Any) -> Refusal:  # noqa: ANN401
    course = await tried(url, **fields)
    assert not course.worked
    assert course.refusal is not None
    return course.refusal


def said_in(refusal: Refusal) -> str:
    """All its words."""
    return " ".join([refusal.what, *refusal.look_at])


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """The URL of a TCP server, whose clients are served one way; who has heard enough may hang up."""

    async def serve_one(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve_one, listeners)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def upgrading(behave: Callable[[Peer], Awaitable[None]], answer: Answer | None = None) -> AsyncIterator[str]:
    """The URL of a WebSocket server that behaves so to its one client, once that has its 101."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Upstream(listeners[0].socket.getsockname()[1], answer or agreeing())

    async def serve() -> None:
        peer = await server.next()
        with suppress(EOFError, OSError):
            await behave(peer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.accept, listeners)
        nursery.start_soon(serve)
        yield server.url
        nursery.cancel_scope.cancel()


class Broker:
    """A broker in bytes: it lets everybody in and sends back what is published. ``say`` decides about the messages."""

    def __init__(self, peer: Peer, level: int, say: Callable[[Peer, bytes], Awaitable[None]]) -> None:
        self._peer = peer
        self._level = level
        self._say = say
        self._heard = b""

    async def serve(self) -> None:
        while True:
            opcode, _, payload = await self._peer.hear()
            if opcode == CLOSE:
                await self._peer.say(CLOSE, payload)
                return
            self._heard += payload
            while (length := packet_length(self._heard)) is not None and length <= len(self._heard):
                packet, self._heard = self._heard[:length], self._heard[length:]
                if answer := self._answer(packet):
                    await self._say(self._peer, answer)

    def _answer(self, packet: bytes) -> bytes:
        v5 = self._level == 5
        match packet[0] >> 4:
            case 1:
                return connack(self._level, 0)
            case 8:
                qos = packet[-1]
                return bytes([0x90, 4 if v5 else 3]) + packet[2:4] + b"\0" * v5 + bytes([qos])
            case 3 if packet[0] & 0x02:
                topic_length = int.from_bytes(packet[2:4])
                return bytes([0x40, 2]) + packet[4 + topic_length : 6 + topic_length] + packet
            case 3:
                return packet
        return b""


async def whole(peer: Peer, data: bytes) -> None:
    await peer.say(BINARY, data)


async def byte_by_byte(peer: Peer, data: bytes) -> None:
    for each in data:
        await peer.say(BINARY, bytes([each]))
