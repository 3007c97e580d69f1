"""Ports that are free now."""

import errno
import socket

ANY = 0


def free_port(host: str, preferred: int = ANY) -> int:
    """``preferred`` where nobody listens on it, otherwise one that the system chooses.

    Somebody else may take it before the server for whom it is asked does; who is asked for must be able to fail.
    Raises ``OSError`` for a host that is none of this machine's.
    """
    for port in (preferred, ANY):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen()
            except OSError as error:
                if port == ANY or error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                    raise
                continue
            found: int = listener.getsockname()[1]
            return found
    raise AssertionError("the system chooses a port or raises")
