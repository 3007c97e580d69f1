"""What else the demo serves: a raw backend that says everything back, and a door for MQTT without WebSocket.

The door is there for ``mosquitto_pub`` and ``mosquitto_sub``: up to 2.0 they speak no WebSocket, and later ones none
to a path of one's choice. It only wraps their bytes; whom to let in is for the gateway behind it to say.
"""

from contextlib import suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from trio_ws_gateway.demo.clients import Ended, websocket

GONE = (ConnectionClosed, trio.BrokenResourceError)


async def serve_echo(host: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Say back every message, until cancelled. Starts with the port."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, _echo, host, 0, None)
        task_status.started(server.port)


async def _echo(request: WebSocketRequest) -> None:
    with suppress(*GONE):
        connection = await request.accept()
        while True:
            await connection.send_message(await connection.get_message())


async def serve_plain_mqtt(
    host: str, gateway_url: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Wrap every TCP connection into a WebSocket session with the gateway, until cancelled. Starts with the port."""

    async def wrap(stream: trio.SocketStream) -> None:
        with suppress(Ended):
            async with websocket(gateway_url, subprotocols=["mqtt"]) as connection:
                await _pass(stream, connection)

    listeners = await trio.open_tcp_listeners(0, host=host)
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(wrap, listeners)


async def _pass(stream: trio.SocketStream, connection: WebSocketConnection) -> None:
    """Pass bytes both ways until one side has nothing more to say."""
    async with trio.open_nursery() as nursery:

        async def up() -> None:
            with suppress(*GONE):
                async for piece in stream:
                    await connection.send_message(bytes(piece))
            nursery.cancel_scope.cancel()

        async def down() -> None:
            with suppress(*GONE):
                while True:
                    message = await connection.get_message()
                    await stream.send_all(message if isinstance(message, bytes) else message.encode())
            nursery.cancel_scope.cancel()

        nursery.start_soon(up)
        nursery.start_soon(down)
