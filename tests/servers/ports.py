"""Ports that nobody listens on."""

import random
import socket

LOWEST, HIGHEST = 10_000, 30_000  # below the range from which Linux takes the ports of outgoing connections

_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of ``host`` that is free now and that this function has not returned before.

    Somebody else may take it before the server for whom it is asked does; drawing it at random makes that unlikely
    even between two test runs at the same time.
    """
    while True:
        port = random.randint(LOWEST, HIGHEST)
        if port not in _given and _is_free(host, port):
            _given.add(port)
            return port


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True
