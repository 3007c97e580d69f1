"""Why something could not be reached: what an exception of a resolver, of TCP or of TLS means to an operator.

Pure: an error goes in, and comes out as a ``Reason`` (for whoever knows what was to be reached, and has advice for
it) and as words. Looks through what libraries wrap around it. Reaches nothing itself.
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from enum import Enum, auto
from ipaddress import ip_address


class Reason(Enum):
    NO_SUCH_NAME = auto()
    NO_RESOLVER = auto()
    REFUSED = auto()
    NO_WAY = auto()
    NOT_ALLOWED = auto()
    NO_SUCH_SOCKET = auto()
    CUT = auto()
    NOT_TLS = auto()
    OLD_TLS = auto()
    WANTS_CERTIFICATE = auto()
    UNTRUSTED = auto()
    BAD_CERTIFICATE = auto()
    WRONG_NAME = auto()
    EXPIRED = auto()
    NOT_YET_VALID = auto()
    OTHER = auto()


TLS_REASONS = frozenset(
    {Reason.NOT_TLS, Reason.OLD_TLS, Reason.WANTS_CERTIFICATE, Reason.UNTRUSTED, Reason.BAD_CERTIFICATE}
    | {Reason.WRONG_NAME, Reason.EXPIRED, Reason.NOT_YET_VALID}
)
"""What goes wrong when the other side has been reached."""

WORDS = {
    Reason.NO_SUCH_NAME: "the name {host} does not resolve",
    Reason.NO_RESOLVER: "no name server answered for {host}",
    Reason.REFUSED: "connection refused: nobody listens on port {port} of {host}",
    Reason.NO_WAY: "there is no way to {host} from here",
    Reason.NOT_ALLOWED: "this machine does not let the connection out",
    Reason.NO_SUCH_SOCKET: "the socket {host} is not there",
    Reason.CUT: "the connection was cut at once",
    Reason.NOT_TLS: "what answers there does not speak TLS",
    Reason.OLD_TLS: "no version or cipher of TLS in common",
    Reason.WANTS_CERTIFICATE: "it wants a certificate of ours",
    Reason.UNTRUSTED: "its certificate is of no authority that is trusted here",
    Reason.BAD_CERTIFICATE: "its certificate will not do",
    Reason.WRONG_NAME: "its certificate is for other names than {host}",
    Reason.EXPIRED: "its certificate has expired",
    Reason.NOT_YET_VALID: "its certificate is not valid yet",
    Reason.OTHER: "it cannot be reached",
}

ADVICE = {
    Reason.NO_SUCH_NAME: "Is it spelled right? In a container only names of its own networks and of DNS resolve.",
    Reason.NO_RESOLVER: "Look at /etc/resolv.conf and at the network: names cannot be looked up at all.",
    Reason.NO_WAY: "Look at addresses and routes: the network or the machine is not there.",
    Reason.NOT_ALLOWED: "Look at the firewall, the network policy or the sandbox that this runs in.",
    Reason.CUT: "Something there accepts and hangs up: a proxy without a backend, or an address that is not let in.",
    Reason.OLD_TLS: "Here TLS 1.2 and 1.3 are spoken; the other side needs one of them.",
    Reason.WANTS_CERTIFICATE: "There is none to show here: let it be without, or put a proxy in between.",
    Reason.BAD_CERTIFICATE: "It needs another: for servers, of a strong key and hash, of an authority that may sign.",
    Reason.WRONG_NAME: "Use the name that is in the certificate, or get one for this name.",
    Reason.EXPIRED: "Renew the certificate there, and see whether this machine's clock is right.",
    Reason.NOT_YET_VALID: "See whether this machine's clock is right.",
}
"""What helps whatever it was that was to be reached; who knows more says more."""

_BY_ERRNO = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EHOSTUNREACH: Reason.NO_WAY,
    errno.ENETUNREACH: Reason.NO_WAY,
    errno.EADDRNOTAVAIL: Reason.NO_WAY,
    errno.EPERM: Reason.NOT_ALLOWED,
    errno.EACCES: Reason.NOT_ALLOWED,
    errno.ENOENT: Reason.NO_SUCH_SOCKET,
    errno.ECONNRESET: Reason.CUT,
    errno.EPIPE: Reason.CUT,
}
_BY_VERIFY_CODE = {  # X509_V_ERR_* of OpenSSL; the rest are about the certificate, not about whom one trusts
    **dict.fromkeys((2, 18, 19, 20, 21), Reason.UNTRUSTED),
    9: Reason.NOT_YET_VALID,
    10: Reason.EXPIRED,
    62: Reason.WRONG_NAME,
    64: Reason.WRONG_NAME,
}
_WITH_DETAIL = (Reason.UNTRUSTED, Reason.BAD_CERTIFICATE, Reason.WRONG_NAME)
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST")
_OLD_TLS = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "HANDSHAKE_FAILURE", "NO_PROTOCOLS", "INSUFFICIENT_SECURITY")
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return f".{host.rstrip('.').lower()}".endswith(".localhost")


def refused(question: str, host: str) -> str:
    """Advice where nobody listens: the caller's question, and the trap that most fall into."""
    return f"{question} In a container, {host} is the container itself." if is_loopback(host) else question


def reason_of(error: BaseException) -> Reason:
    """Of several (a name has several addresses) the one of the first that says anything."""
    reasons = [reason for each in _beneath(error) if (reason := _own(each)) is not Reason.OTHER]
    return reasons[0] if reasons else Reason.OTHER


def in_tls(error: BaseException | None) -> BaseException:
    """The error that ended a TLS handshake, of which to ask the above. Whoever hangs up there speaks no TLS."""
    return ssl.SSLEOFError() if error is None or reason_of(error) is Reason.CUT else error


def words_for(error: BaseException, host: str, port: int | None) -> str:
    """Half a sentence without a full stop."""
    reason = reason_of(error)
    words = WORDS[reason].format(host=host, port=port)
    if reason in _WITH_DETAIL:
        said = next(each for each in _beneath(error) if isinstance(each, ssl.SSLCertVerificationError))
        return f"{words} ({said.verify_message.rstrip('.')})"
    if reason is Reason.OTHER:
        said_last = [str(each) for each in _beneath(error) if str(each)]
        return f"{words}: {said_last[-1] if said_last else type(error).__name__}"
    return words


def _own(error: BaseException) -> Reason:
    match error:
        case socket.gaierror():
            return Reason.NO_RESOLVER if error.errno == socket.EAI_AGAIN else Reason.NO_SUCH_NAME
        case ssl.SSLCertVerificationError():
            return _BY_VERIFY_CODE.get(error.verify_code, Reason.BAD_CERTIFICATE)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Reason.NOT_TLS
        case ssl.SSLError():
            return _of_tls(error.reason or "")
        case OSError():
            return _BY_ERRNO.get(error.errno or 0, Reason.OTHER)
        case _:
            return Reason.OTHER


def _of_tls(said: str) -> Reason:
    for reason, parts in (
        (Reason.NOT_TLS, _NOT_TLS),
        (Reason.OLD_TLS, _OLD_TLS),
        (Reason.WANTS_CERTIFICATE, _WANTS_CERTIFICATE),
    ):
        if any(part in said for part in parts):
            return reason
    return Reason.OTHER


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was made of, outermost first. A context counts even where ``from None`` hides it."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _beneath(each)
        error = error.__cause__ or error.__context__
