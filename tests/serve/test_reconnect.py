"""A backend that is a process of its own is killed and started again beneath live sessions, and no client notices."""

import os
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from tests.serve.outside import outside
from tests.servers.ports import free_port
from tests.servers.processes import Process
from trio_ws_gateway.wire.frames import TEXT

SESSIONS = 50
ECHO = """
import sys, trio, trio_websocket

async def echo(request):
    connection = await request.accept()
    while True:
        await connection.send_message(await connection.get_message())

trio.run(trio_websocket.serve_websocket, echo, "127.0.0.1", int(sys.argv[1]), None)
"""


@contextmanager
def backend(directory: Path, port: int) -> Iterator[None]:
    """One that says everything back, and is killed in the end."""
    process = Process.start(
        [sys.executable, "-c", ECHO, str(port)], directory=directory, environment=dict(os.environ), name="backend"
    )
    try:
        process.wait_for_port(port)
        yield
    finally:
        process.kill()


async def test_backend_that_restarts(tmp_path: Path) -> None:
    """All sessions of all workers go on with the new backend; what was said while there was none is answered."""
    port = free_port()
    async with (
        outside(
            tmp_path,
            WORKERS="2",
            RAW_WS_BACKEND_URL=f"ws://127.0.0.1:{port}/",
            RAW_RECONNECT="true",
            WS_DIAL_RETRY_MAX="20",
        ) as there,
        AsyncExitStack() as stack,
    ):
        clients = []
        with backend(tmp_path, port):
            for _ in range(SESSIONS):
                client = await stack.enter_async_context(there.house.open(token=there.house.provider.mint()))
                await client.say(TEXT, b"before")
                assert await client.hear() == (TEXT, True, b"before")
                clients.append(client)
            assert (await there.house.samples())["ws_active_sessions"] == SESSIONS
        for client in clients:
            await client.say(TEXT, b"after")
        with backend(tmp_path, port):
            for client in clients:
                assert await client.hear() == (TEXT, True, b"after")
            samples = await there.house.samples()
            assert samples["ws_active_sessions"] == samples["ws_connections_total"] == SESSIONS
            assert samples['ws_proxy_retries_total{protocol="raw"}'] >= SESSIONS
