"""What this machine must have: descriptors, an address to listen on, a file of certificate authorities.

Everything is let go again at once. An address is bound as the gateway binds it, but never listened on: no client
shall come to a check.
"""

import errno
import os
import resource
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import trio

from trio_ws_gateway.checking.findings import Finding, Status, Trouble
from trio_ws_gateway.config.values import Address
from trio_ws_gateway.diagnosis.unreachable import is_loopback
from trio_ws_gateway.limits.connections import sessions_for
from trio_ws_gateway.upstream.dial import tls_context

FEW_SESSIONS = 5_000  # the hard limit that Linux had for long, 4,096, is good for 2,000
LAST_LOW_PORT = 1023
HEALTH_SECONDS = 1.0
MAY_LISTEN_LOW = "CAP_NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start; or listen above and forward"

_RAISE_LIMIT = "Raise it: LimitNOFILE= (systemd), --ulimit nofile= (podman, docker), ulimit -Hn (shell)."


async def check_descriptors(workers: int) -> list[Finding]:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # `serve` raises the soft limit itself
    return [descriptors(hard, workers)]


def descriptors(hard: int, workers: int = 1) -> Finding:
    """What a hard limit is good for; a session takes two. Each worker has as many."""
    if hard == resource.RLIM_INFINITY:
        return Finding("descriptors", Status.OK, "no limit")
    sessions = sessions_for(hard) * workers
    by = f" by {workers} workers" if workers > 1 else ""
    detail = f"the hard limit of {hard:,} is good for {sessions:,} sessions{by}, two each"
    if not sessions:
        return Finding("descriptors", Status.FAILED, f"{detail}, beside those of the process itself", _RAISE_LIMIT)
    if sessions >= FEW_SESSIONS:
        return Finding("descriptors", Status.OK, detail)
    return Finding("descriptors", Status.WARNING, f"{detail}; more may come", _RAISE_LIMIT)


async def check_listen(address: Address) -> list[Finding]:
    """Bind the address, and let go of it. Raises ``Trouble``."""
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise Trouble(f"{address}: the name does not resolve", "Give an address in LISTEN, such as 0.0.0.0.") from None
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and await _is_a_gateway(address):
                advice = "Fine if it is the one with these settings; another one needs an address of its own in LISTEN."
                detail = f"{address} is taken, by a gateway that lives (/healthz)"
                return [Finding("listen", Status.WARNING, detail, advice)]
            raise unbound(address, error) from error
    only = "; only this machine itself can reach it" if is_loopback(address.host) else ""
    return [Finding("listen", Status.OK, f"{address} is free{only}")]


def unbound(address: Address, error: OSError) -> Trouble:
    """Why it cannot be bound."""
    match error.errno:
        case errno.EADDRINUSE:
            advice = f"Who has it: ss -ltnp 'sport = :{address.port}'; or another port in LISTEN."
            return Trouble(f"{address} is taken", advice)
        case errno.EACCES if address.port <= LAST_LOW_PORT:
            return Trouble(f"{address} is not permitted: the port is below 1024", f"It takes {MAY_LISTEN_LOW}.")
        case errno.EADDRNOTAVAIL:
            advice = "0.0.0.0 is every IPv4 address, [::] every one."
            return Trouble(f"{address} is no address of this machine", advice)
        case errno.EAFNOSUPPORT:
            advice = "0.0.0.0 takes IPv4 only."
            return Trouble(f"{address} is of a kind that this machine has not switched on", advice)
        case number:
            return Trouble(f"{address} cannot be bound: {os.strerror(number or 0)}")


async def _is_a_gateway(address: Address) -> bool:
    there = address.reachable()
    with trio.move_on_after(HEALTH_SECONDS):
        try:
            async with await trio.open_tcp_stream(there.host, there.port) as stream:
                await stream.send_all(f"GET /healthz HTTP/1.1\r\nHost: {there}\r\n\r\n".encode())
                heard = b""
                async for data in stream:
                    heard += data
                    if b"alive" in heard or len(heard) > 4096:
                        break
                return b"alive" in heard
        except (OSError, trio.BrokenResourceError):
            pass
    return False


def authorities(path: Path, now: datetime | None = None, *, used: bool) -> Finding:
    """What is in UPSTREAM_CA_FILE. ``used``: there is a ``wss://`` upstream. Raises ``Trouble``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:
        unreadable = f"{path} cannot be read: {error.strerror}"
        wrong = f"{path} holds no certificates" if isinstance(error, ssl.SSLError) else unreadable
        raise Trouble(wrong, "It must be a file of certificates in PEM.") from error
    names = []
    for certificate in context.get_ca_certs():
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        if until < (now or datetime.now(UTC)):
            names.append(f"{until:%Y-%m-%d}")
    count = context.cert_store_stats()["x509"]
    detail = f"{path} holds {count} certificate{'s' if count != 1 else ''}"
    if names:
        advice = "Put the successor into the file; what the old one has signed is not trusted any more."
        return Finding("authorities", Status.WARNING, f"{detail}; expired on {', '.join(names)}", advice)
    if not used:
        return Finding("authorities", Status.OK, f"{detail}; no upstream is wss://, so none is asked for")
    return Finding("authorities", Status.OK, detail)


def upstream_tls(path: Path | None) -> ssl.SSLContext | None:
    """As the gateway makes it; ``None`` where the file will not do, which ``authorities`` explains."""
    try:
        return tls_context(path)
    except OSError:
        return None
