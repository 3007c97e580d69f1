"""One session from beginning to end: in, a few messages there and back, and politely out.

The endpoint is trio-websocket's; what it cannot tell apart is told apart beneath it (``doorway``). Every wait has a
deadline. Whatever goes wrong comes out as the ``refusal`` of the course, never as an exception.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import h11
import trio
import trio_websocket
import wsproto.utilities

from trio_ws_gateway.groups import leaves
from trio_ws_gateway.probing import before_101
from trio_ws_gateway.probing.after_101 import BROKEN_OFF
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.codes import close_words
from trio_ws_gateway.probing.connection import connected
from trio_ws_gateway.probing.course import Course
from trio_ws_gateway.probing.doorway import Doorway, Stream
from trio_ws_gateway.probing.mqtt_talk import MqttTalk
from trio_ws_gateway.probing.open_socket import OpenSocket
from trio_ws_gateway.probing.quoting import said
from trio_ws_gateway.probing.raw_talk import RawTalk
from trio_ws_gateway.probing.refusal import Failed, timed_out


async def probe(attempt: Attempt, course: Course, *, now: Callable[[], float]) -> None:
    """Try it, and write down its ``course``. ``now``: the clock on the wall, by which tokens expire."""
    try:
        async with connected(attempt, course) as stream, _upgraded(attempt, stream, course, now) as socket:
            talk = MqttTalk(socket, attempt.mqtt) if attempt.mqtt is not None else RawTalk(socket)
            await talk.begin()
            for number in range(1, attempt.count + 1):
                if number > 1:
                    await socket.rest(attempt.interval_seconds)
                course.round_trips.append(await talk.round_trip(number))
            await talk.end()
            await _leave(socket)
    except Failed as failed:
        course.refusal = failed.refusal


@asynccontextmanager
async def _upgraded(
    attempt: Attempt, stream: Stream, course: Course, now: Callable[[], float]
) -> AsyncIterator[OpenSocket]:
    """A WebSocket for the length of the block. Raises ``Failed``, and never in a group."""
    failures: list[Failed] = []
    course.begins("WebSocket upgraded")
    try:
        async with trio.open_nursery() as nursery:
            door = Doorway(stream, attempt, now())
            with trio.move_on_after(attempt.timeout_seconds) as patience:
                connection = await trio_websocket.wrap_client_stream(
                    nursery,
                    cast("trio.SocketStream", door),  # it takes any stream, says its own documentation
                    attempt.host,
                    attempt.target,
                    subprotocols=attempt.subprotocols,
                    extra_headers=[(name.encode(), value.encode("latin-1")) for name, value in attempt.request_headers],
                    max_message_size=attempt.most_message_bytes,
                )
            if patience.cancelled_caught:
                look_at = "Something listens there and is silent: is it a WebSocket server, and does it live?"
                raise Failed(timed_out(attempt, "The server did not answer the request", look_at))
            course.passed(_agreed(connection, attempt))
            yield OpenSocket(connection, attempt, course, now)
            nursery.cancel_scope.cancel()
    except* Failed as group:
        failures += leaves(group)
    except* (h11.ProtocolError, wsproto.utilities.ProtocolError):
        failures.append(Failed(before_101.bad_upgrade(attempt, "has headers that a WebSocket library does not take")))
    if failures:
        raise failures[0]


def _agreed(connection: trio_websocket.WebSocketConnection, attempt: Attempt) -> str:
    subprotocol = connection.subprotocol
    if subprotocol is not None:
        return f"101, subprotocol {said(subprotocol, attempt)}"
    return "101, no subprotocol" + (", where a browser would give up" if attempt.subprotocols else "")


async def _leave(socket: OpenSocket) -> None:
    """Close, and hear the other side's Close."""
    socket.course.begins("closed")
    connection = socket.connection
    with trio.move_on_after(socket.attempt.timeout_seconds) as patience:
        await connection.aclose()
    if patience.cancelled_caught:
        socket.course.notes.append(f"The server did not answer the Close in {socket.attempt.timeout_seconds:g} s.")
        socket.course.unfinished = ""  # the session has worked all the same
        return
    code = connection.closed.code if connection.closed is not None else BROKEN_OFF
    socket.course.passed(close_words(code))
