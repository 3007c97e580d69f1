"""`free_port` finds ports on which somebody can listen."""

import socket

import pytest

from trio_ws_gateway.demo.ports import free_port


def test_preferred() -> None:
    """A preferred port that is free is the one."""
    port = free_port("127.0.0.1")
    assert free_port("127.0.0.1", port) == port


def test_taken() -> None:
    """Where somebody listens on it, there is another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        found = free_port("127.0.0.1", taken)
        assert found != taken
        socket.create_server(("127.0.0.1", found)).close()


def test_ipv6() -> None:
    """An IPv6 address is as good."""
    assert free_port("::1") > 0


def test_not_ours() -> None:
    """A host that is none of this machine's is an error."""
    with pytest.raises(OSError, match="assign"):
        free_port("192.0.2.1")
