"""What this machine has: descriptors, the address, a file of authorities."""

import datetime
import errno
import os
import resource
import socket
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.house import house
from tests.servers.ports import free_port
from trio_ws_gateway.checking.findings import Status, Trouble
from trio_ws_gateway.checking.machine import (
    authorities,
    check_descriptors,
    check_listen,
    descriptors,
    unbound,
    upstream_tls,
)
from trio_ws_gateway.config.values import Address

NEXT_YEAR = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=365)


@pytest.mark.parametrize(
    ("hard", "workers", "status", "words"),
    [
        (4096, 1, Status.WARNING, "the hard limit of 4,096 is good for 1,998 sessions, two each"),
        (4096, 4, Status.OK, "good for 7,992 sessions by 4 workers"),
        (1_048_576, 1, Status.OK, "good for 524,238 sessions"),
        (50, 1, Status.WARNING, "good for 12 sessions"),
        (1, 2, Status.FAILED, "good for 0 sessions by 2 workers, two each, beside those of the process itself"),
        (resource.RLIM_INFINITY, 1, Status.OK, "no limit"),
    ],
)
def test_descriptors(hard: int, workers: int, status: Status, words: str) -> None:
    """A session takes two descriptors, and each worker has as many; few are warned of, and none will not do."""
    finding = descriptors(hard, workers)
    assert finding.status is status
    assert words in finding.detail
    assert bool(finding.advice) is (status is not Status.OK)


async def test_descriptors_of_this_machine() -> None:
    """It is the hard limit that counts, for the gateway raises the soft one."""
    (finding,) = await check_descriptors(1)
    assert finding == descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


async def test_free_address() -> None:
    """A free address is let go again, and one that only this machine reaches is said to be that."""
    address = Address("127.0.0.1", free_port())
    (finding,) = await check_listen(address)
    assert finding.status is Status.OK
    assert finding.detail == f"{address} is free; only this machine itself can reach it"
    with socket.create_server((address.host, address.port)):
        pass
    (finding,) = await check_listen(Address("0.0.0.0", 0))
    assert finding.detail == "0.0.0.0:0 is free"


async def test_taken_address() -> None:
    """A taken address is trouble, also where another one of the machine's is asked for; not if a gateway has it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as other:
        port = other.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(Trouble, match="is taken") as trouble:
                await check_listen(Address(host, port))
            assert f"ss -ltnp 'sport = :{port}'" in trouble.value.advice
    async with house() as home:
        (finding,) = await check_listen(Address("127.0.0.1", home.port))
    assert finding.status is Status.WARNING
    assert "taken, by a gateway that lives" in finding.detail


async def test_address_of_nobody() -> None:
    """An address that this machine has not, and a name that nobody has."""
    with pytest.raises(Trouble, match="is no address of this machine"):
        await check_listen(Address("192.0.2.1", 0))
    with pytest.raises(Trouble, match="the name does not resolve"):
        await check_listen(Address("no-such-name.invalid", 0))


@pytest.mark.parametrize(
    ("number", "port", "detail", "advice"),
    [
        (errno.EACCES, 80, "not permitted: the port is below 1024", "CAP_NET_BIND_SERVICE"),
        (errno.EACCES, 8080, "cannot be bound: Permission denied", ""),
        (errno.EAFNOSUPPORT, 8080, "of a kind that this machine has not switched on", "IPv4 only"),
    ],
)
def test_address_that_cannot_be_bound(number: int, port: int, detail: str, advice: str) -> None:
    """Each reason has words of its own."""
    trouble = unbound(Address("::", port), OSError(number, os.strerror(number)))
    assert detail in trouble.detail
    assert advice in trouble.advice


def test_authorities(tmp_path: Path) -> None:
    """Certificates are counted, expired ones warned of, and a file that no upstream asks for is said to be that."""
    ca_file = Authority(tmp_path).ca_file
    assert authorities(ca_file, used=True).detail == f"{ca_file} holds 1 certificate"
    assert "no upstream is wss://" in authorities(ca_file, used=False).detail
    expired = authorities(ca_file, NEXT_YEAR, used=True)
    assert expired.status is Status.WARNING
    assert "expired on 20" in expired.detail


def test_file_of_no_authorities(tmp_path: Path) -> None:
    """A file that holds no certificates, or cannot be read, is trouble, and makes no TLS."""
    path = tmp_path / "ca.pem"
    with pytest.raises(Trouble, match=r"cannot be read: No such file"):
        authorities(path, used=True)
    path.write_text("hello")
    with pytest.raises(Trouble, match="holds no certificates"):
        authorities(path, used=True)
    assert upstream_tls(path) is None
    assert upstream_tls(None) is not None
