"""A listener at an address of the settings, for sessions or for operators."""

import socket

import trio

from trio_ws_gateway.config.values import Address

BACKLOG = 65_535  # the system has a bound of its own, net.core.somaxconn


async def listen(address: Address) -> socket.socket:
    """Open and non-blocking. Raises ``OSError``, whose ``filename`` is the address."""
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        error.filename = str(address)
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            error.filename = str(address)
        raise
    return listener
