"""Every way in which clients come and go, for tests that look at what is left behind."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from tests.house import HANDSHAKE, House, agreeing
from tests.serve.outside import END, RESET, echo
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, PING, TEXT
from trio_ws_gateway.wire.http import build_head, parse_request

UPGRADE = build_head("GET /ws HTTP/1.1", list(HANDSHAKE))

Visit = Callable[[House, Peer, random.Random], Awaitable[None]]


async def backend(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """An upstream that echoes. Starts with its port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(_converse, listeners)


async def _converse(stream: trio.SocketStream) -> None:
    sock = socket.socket(fileno=stream.socket.detach())
    leg.configure(sock, user_timeout_seconds=30)
    answer = agreeing()
    with Peer(sock, masked=False) as peer, suppress(EOFError, OSError):
        await peer.send(answer(parse_request(await peer.read_until(b"\r\n\r\n"))))
        await echo(peer)


async def visit(house: House, chance: random.Random) -> None:
    """Come in one way or another, and go."""
    come = chance.choice(VISITS)
    with suppress(EOFError, OSError):
        async with house.connect() as client:
            await come(house, client, chance)
            go = chance.randrange(3)
            if go == 0:
                client.reset()
            elif go == 1:
                client.end_stream()
                await client.read_to_end()


async def say_nothing(_house: House, _client: Peer, _chance: random.Random) -> None:
    """Only connect."""


async def half_a_head(_house: House, client: Peer, chance: random.Random) -> None:
    await client.send(UPGRADE[: chance.randrange(1, len(UPGRADE))])


async def plain_request(_house: House, client: Peer, chance: random.Random) -> None:
    await client.send(build_head(f"GET {chance.choice(['/metrics', '/healthz', '/ws', '/no'])} HTTP/1.1", []))


async def bad_token(_house: House, client: Peer, _chance: random.Random) -> None:
    await client.send(UPGRADE[:-2] + b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n\r\n")


async def upgraded(_house: House, client: Peer, _chance: random.Random) -> None:
    """Get the 101, and say nothing more."""
    await client.send(UPGRADE)
    await client.read_until(b"\r\n\r\n")


async def half_a_first_message(house: House, client: Peer, chance: random.Random) -> None:
    await upgraded(house, client, chance)
    await client.say(TEXT, b'{"token": "', fin=False)


async def token_in_first_message(house: House, client: Peer, chance: random.Random) -> None:
    await upgraded(house, client, chance)
    await client.say(TEXT, house.provider.mint().encode())


async def while_it_is_dialled(house: House, client: Peer, _chance: random.Random) -> None:
    await client.send(UPGRADE[:-2] + f"Authorization: Bearer {house.provider.mint()}\r\n\r\n".encode())


async def session(house: House, client: Peer, chance: random.Random) -> None:
    await while_it_is_dialled(house, client, chance)
    await client.read_until(b"\r\n\r\n")
    await client.say(TEXT, b"hello")
    await client.hear()


async def close_handshake(house: House, client: Peer, chance: random.Random) -> None:
    await session(house, client, chance)
    await client.say_close()
    await client.hear_close()


async def unanswered_close(house: House, client: Peer, chance: random.Random) -> None:
    await session(house, client, chance)
    await client.say_close()


async def lost_upstream(house: House, client: Peer, chance: random.Random) -> None:
    await while_it_is_dialled(house, client, chance)
    await client.read_until(b"\r\n\r\n")
    await client.say(TEXT, chance.choice([RESET, END]))
    await client.hear_close()


async def illegal_frame(house: House, client: Peer, chance: random.Random) -> None:
    await session(house, client, chance)
    await client.say(CONTINUATION, b"of nothing")


async def bulk(house: House, client: Peer, chance: random.Random) -> None:
    """Say much and read nothing."""
    await session(house, client, chance)
    await client.say(PING, b"?")
    await client.say(BINARY, bytes(chance.randrange(100_000, 2_000_000)))


async def mqtt(house: House, client: Peer, _chance: random.Random) -> None:
    await client.send(UPGRADE[:-2] + b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
    await client.read_until(b"\r\n\r\n")
    await client.say(BINARY, house.connect_packet(5).to_bytes())
    await client.hear()


VISITS: tuple[Visit, ...] = (
    *(say_nothing, half_a_head, plain_request, bad_token, upgraded, half_a_first_message, token_in_first_message),
    *(while_it_is_dialled, session, close_handshake, unanswered_close, lost_upstream, illegal_frame, bulk, mqtt),
)
