"""What it means when an upstream could not be had: is it worth another try, and is the upstream away.

One table. Only what would befall any client counts as away: otherwise one client could lock everybody out, by what
it asks for or by leaving. A client that leaves, and a session that ends, are not failures and have no row.
"""

import errno
import ssl
from enum import Enum

from attrs import frozen

from trio_ws_gateway.wire.http import BadUpstream

# What the gateway itself lacks: descriptors, memory, ports, a network.
OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


@frozen(kw_only=True)
class Row:
    """``again``: another try may well succeed. ``away``: it counts against the upstream (the circuit breaker)."""

    again: bool
    away: bool


class Failure(Enum):
    UNREACHABLE = "unreachable"  # its name unknown, its address silent or refusing, TLS broken
    NOT_BELIEVED = "not believed"  # its certificate
    SILENT = "silent"  # no answer in time, over all tries
    NO_ANSWER = "no answer"  # it hangs up, or says what is no HTTP: for a long head that may be what it thinks of that
    BROKEN = "broken"  # 5xx
    DISAGREES = "disagrees"  # any other answer that will not do: it depends on what this client asked for
    OURS = "ours"

    @property
    def row(self) -> Row:
        return TABLE[self]


TABLE = {
    Failure.UNREACHABLE: Row(again=True, away=True),
    Failure.NOT_BELIEVED: Row(again=False, away=True),
    Failure.SILENT: Row(again=False, away=True),
    Failure.NO_ANSWER: Row(again=True, away=True),
    Failure.BROKEN: Row(again=True, away=True),
    Failure.DISAGREES: Row(again=False, away=False),
    Failure.OURS: Row(again=True, away=False),
}


class DialFailed(Exception):
    """An upstream could not be had. ``detail`` is for the log."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(failure, detail)
        self.failure = failure
        self.detail = detail


def failed_try(error: BadUpstream | OSError) -> DialFailed:
    """What one try has come to."""
    if isinstance(error, BadUpstream):
        return DialFailed(_answered(error.status), error.detail)
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialFailed(Failure.NOT_BELIEVED, f"certificate: {error.verify_message}")
    of_addresses = error.__cause__.exceptions if isinstance(error.__cause__, BaseExceptionGroup) else ()
    ours = all(isinstance(each, OSError) and each.errno in OURS for each in of_addresses or (error,))
    detail = "; ".join(map(str, of_addresses)) or error.strerror or str(error) or type(error).__name__
    if isinstance(error, ConnectionResetError | BrokenPipeError):  # by one that had taken the connection
        return DialFailed(Failure.NO_ANSWER, detail)
    return DialFailed(Failure.OURS if ours else Failure.UNREACHABLE, detail)


def _answered(status: int | None) -> Failure:
    if status is None:
        return Failure.NO_ANSWER
    return Failure.BROKEN if status >= 500 else Failure.DISAGREES
