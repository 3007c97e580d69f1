"""A TCP connection to the first of several addresses that takes one (happy eyeballs, RFC 8305).

One after the other, the next as soon as the one before has failed or been silent for a moment; whoever is first wins,
and the others are closed. One address, which is the common case, costs no task. The socket that comes back is the
caller's.
"""

import errno
import os
import socket
from collections.abc import Sequence
from itertools import zip_longest

import trio

from trio_ws_gateway import leg
from trio_ws_gateway.upstream.resolver import Address

HEAD_START_SECONDS = 0.25  # RFC 8305 5: the recommended Connection Attempt Delay
UNDER_WAY = {errno.EINPROGRESS, errno.EALREADY}


async def connect(addresses: Sequence[Address], port: int) -> socket.socket:
    """A connected socket. Raises ``OSError``: of one address its own, of several one caused by a group of theirs."""
    if len(addresses) == 1:
        return await _attempt(addresses[0], port)
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sock = await _attempt(address, port)
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            connected.append(sock)
            race.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as race:
            for address in _alternating(addresses):
                failed = trio.Event()
                race.start_soon(attempt, address, failed)
                with trio.move_on_after(HEAD_START_SECONDS):
                    await failed.wait()
    except BaseException:
        for sock in connected:
            leg.close(sock)
        raise
    if not connected:
        raise OSError("no address answers") from ExceptionGroup("no address answers", errors)
    winner, *late = connected  # two may connect in the same moment
    for sock in late:
        leg.close(sock)
    return winner


async def _attempt(address: Address, port: int) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        where = address.at(port)
        if (error := sock.connect_ex(where)) == errno.EINPROGRESS:
            error = sock.connect_ex(where)  # on the same machine it is done by now, which saves a turn of the loop
        if error in UNDER_WAY:
            await trio.lowlevel.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        leg.close(sock)
        raise
    return sock


def _alternating(addresses: Sequence[Address]) -> list[Address]:
    """IPv6 and IPv4 in turn (RFC 8305 4), for often it is one whole family that cannot be reached."""
    first = [each for each in addresses if each.family is addresses[0].family]
    second = [each for each in addresses if each.family is not addresses[0].family]
    return [each for pair in zip_longest(first, second) for each in pair if each is not None]
