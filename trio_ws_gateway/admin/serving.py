"""The operator's door in operation: Hypercorn runs the application on a listener that is open already."""

import socket

from hypercorn.config import Config
from hypercorn.trio import serve as run_hypercorn
from starlette.applications import Starlette

READ_SECONDS = 10  # a connection that says nothing for so long is closed


async def serve(app: Starlette, listener: socket.socket) -> None:
    """Until cancelled. The listener stays the caller's: Hypercorn closes a copy of it."""
    config = Config()
    config.bind = [f"fd://{listener.dup().detach()}"]
    config.errorlog = None  # what goes wrong in the application it logs itself, without tokens
    config.include_server_header = False
    config.read_timeout = READ_SECONDS
    config.graceful_timeout = 0
    await run_hypercorn(app, config, mode="asgi")  # type: ignore[arg-type]
