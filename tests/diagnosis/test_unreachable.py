"""Errors of resolvers, TCP and TLS, and what they mean to an operator."""

import errno
import os
import socket
import ssl

import pytest

from tests.diagnosis.failures import certificate_error, tls_error
from trio_ws_gateway.diagnosis.unreachable import Reason, is_loopback, reason_of, refused, words_for


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), Reason.NO_SUCH_NAME, "the name broker does not resolve"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), Reason.NO_RESOLVER, "no name server answered for broker"),
        (
            os_error(errno.ECONNREFUSED),
            Reason.REFUSED,
            "connection refused: nobody listens on port 1883 of broker",
        ),
        (os_error(errno.ENETUNREACH), Reason.NO_WAY, "there is no way to broker from here"),
        (os_error(errno.EPERM), Reason.NOT_ALLOWED, "this machine does not let the connection out"),
        (os_error(errno.ENOENT), Reason.NO_SUCH_SOCKET, "the socket broker is not there"),
        (ConnectionResetError(errno.ECONNRESET, "x"), Reason.CUT, "the connection was cut at once"),
        (tls_error("WRONG_VERSION_NUMBER"), Reason.NOT_TLS, "what answers there does not speak TLS"),
        (ssl.SSLEOFError(8, "x"), Reason.NOT_TLS, "what answers there does not speak TLS"),
        (tls_error("TLSV1_ALERT_PROTOCOL_VERSION"), Reason.OLD_TLS, "no version or cipher of TLS in common"),
        (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Reason.WANTS_CERTIFICATE, "it wants a certificate of ours"),
        (
            certificate_error(20, "unable to get local issuer certificate"),
            Reason.UNTRUSTED,
            "its certificate is of no authority that is trusted here (unable to get local issuer certificate)",
        ),
        (
            certificate_error(62, "Hostname mismatch, ... 'broker'."),
            Reason.WRONG_NAME,
            "its certificate is for other names than broker (Hostname mismatch, ... 'broker')",
        ),
        (
            certificate_error(26, "unsuitable certificate purpose"),
            Reason.BAD_CERTIFICATE,
            "its certificate will not do (unsuitable certificate purpose)",
        ),
        (certificate_error(10, "x"), Reason.EXPIRED, "its certificate has expired"),
        (certificate_error(9, "x"), Reason.NOT_YET_VALID, "its certificate is not valid yet"),
        (tls_error("WHATEVER"), Reason.OTHER, "it cannot be reached: [SSL: WHATEVER] something"),
        (os_error(errno.ENOBUFS), Reason.OTHER, "it cannot be reached: [Errno 105] No buffer space available"),
        (OSError(), Reason.OTHER, "it cannot be reached: OSError"),
    ],
)
def test_reason(error: BaseException, reason: Reason, words: str) -> None:
    """Each kind of failure has a reason and words of its own."""
    assert reason_of(error) is reason
    assert words_for(error, "broker", 1883) == words


def test_wrapped_errors_are_found() -> None:
    """What libraries wrap around an error is looked through: causes, hidden contexts, groups of addresses."""
    tried = ExceptionGroup("all", [OSError("?"), os_error(errno.ECONNREFUSED), os_error(errno.ENETUNREACH)])
    outer = RuntimeError("library")
    try:
        try:
            raise OSError("all attempts failed") from tried
        except OSError:
            raise outer from None
    except RuntimeError:
        pass
    assert reason_of(outer) is Reason.REFUSED
    assert words_for(outer, "localhost", 1).startswith("connection refused")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1")],
        *[(host, False) for host in ("notlocalhost", "localhost.example", "10.0.0.1", "broker", "::2")],
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """What stays on this machine, by name or by address; where nobody listens there, a container may be the reason."""
    assert is_loopback(host) is expected
    assert ("In a container" in refused("Does it run?", host)) is expected
