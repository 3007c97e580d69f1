"""What a try that failed says: of the upstream, of this client, or of the gateway itself."""

import errno
import os
import socket
import ssl

import pytest

from trio_ws_gateway.upstream.failures import TABLE, Failure, failed_try
from trio_ws_gateway.wire.http import BadUpstream


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def of_all(*errors: OSError) -> OSError:
    """As when several addresses were tried."""
    error = OSError("no address answers")
    error.__cause__ = ExceptionGroup("no address answers", errors)
    return error


ERRORS = [
    (system(errno.ECONNREFUSED), "unreachable", True, True),
    (system(errno.ETIMEDOUT), "unreachable", True, True),
    (system(errno.EHOSTUNREACH), "unreachable", True, True),
    (ConnectionResetError(errno.ECONNRESET, "reset"), "no answer", True, True),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "unreachable", True, True),
    (ssl.SSLError(1, "wrong version number"), "unreachable", True, True),
    (of_all(system(errno.EADDRNOTAVAIL), system(errno.ECONNREFUSED)), "unreachable", True, True),
    (ssl.SSLCertVerificationError(1, "expired"), "not believed", False, True),
    (BadUpstream("closed the connection without an answer"), "no answer", True, True),
    (BadUpstream("answers 500, not 101", 500), "broken", True, True),
    (BadUpstream("answers 503, not 101", 503), "broken", True, True),
    (BadUpstream("answers 200, not 101", 200), "disagrees", False, False),
    (BadUpstream("answers 302, not 101", 302), "disagrees", False, False),
    (BadUpstream("answers 401, not 101", 401), "disagrees", False, False),
    (BadUpstream("names no subprotocol", 101), "disagrees", False, False),
    (system(errno.EMFILE), "ours", True, False),
    (system(errno.EADDRNOTAVAIL), "ours", True, False),
    (of_all(system(errno.EMFILE), system(errno.EMFILE)), "ours", True, False),
]


@pytest.mark.parametrize(("error", "word", "again", "away"), ERRORS, ids=[repr(error) for error, *_ in ERRORS])
def test_table(error: OSError | BadUpstream, word: str, again: bool, away: bool) -> None:
    """Whether it is tried again, and whether it counts against the upstream, follows from what happened alone."""
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "certificate has expired"
    failure = failed_try(error).failure
    assert (failure.value, failure.row.again, failure.row.away) == (word, again, away)


def test_silence() -> None:
    """Time that runs out counts, and leaves none for another try."""
    assert (Failure.SILENT.row.again, Failure.SILENT.row.away) == (False, True)


def test_every_failure_has_a_row() -> None:
    """There is no failure without a row."""
    assert set(TABLE) == set(Failure)


def test_details() -> None:
    """Every error has a reason in words, if only the name of its kind; of several addresses, each one's."""
    assert failed_try(ConnectionResetError(104, "Connection reset by peer")).detail == "Connection reset by peer"
    assert failed_try(OSError("told in words")).detail == "told in words"
    assert failed_try(TimeoutError()).detail == "TimeoutError"
    both = of_all(system(errno.ECONNREFUSED), system(errno.EHOSTUNREACH))
    assert failed_try(both).detail == "[Errno 111] Connection refused; [Errno 113] No route to host"
