"""What it means when something else than a 101 answers a WebSocket handshake.

Pure. Knows neither who asked nor which setting or option has led there: whoever does says more.
"""

import re
from enum import Enum, auto
from typing import Final

_WANTS_TLS = re.compile(rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server", re.IGNORECASE)

ADVICE_ON_STATUS: Final = {
    400: "It sees no good WebSocket handshake: does a proxy in between pass the headers Upgrade and Connection?",
    407: "A proxy in between wants credentials of its own.",
    408: "It waited for more of the request than came.",
    421: "It does not serve this host name: look at the URL.",
    426: "It sees no upgrade: a proxy in between must pass the headers Upgrade and Connection, over HTTP/1.1.",
    429: "It has heard too much from here: try again later.",
    502: "A proxy is there, but what is behind it is not, or hangs up for want of Upgrade and Connection.",
    503: "A proxy is there with nobody behind it that is ready, or the server takes nobody now.",
    504: "A proxy is there, and has waited in vain for what is behind it.",
}


class Speech(Enum):
    """What the first bytes of an answer are written in."""

    NOTHING = auto()
    HTTP = auto()
    TLS = auto()
    AMQP = auto()
    OTHER = auto()


def speech_of(heard: bytes) -> Speech:
    """``HTTP`` says no more than that it begins so."""
    if not heard:
        return Speech.NOTHING
    if heard.startswith(b"HTTP/"):
        return Speech.HTTP
    if heard[:2] in (b"\x15\x03", b"\x16\x03"):  # an alert, a handshake (RFC 8446 5.1)
        return Speech.TLS
    return Speech.AMQP if heard.startswith(b"AMQP") else Speech.OTHER


def wants_tls(body: bytes) -> bool:
    """Whether a server says in plain HTTP that its port is one of TLS, as nginx and Go's servers do."""
    return _WANTS_TLS.search(body) is not None


def advice_on(status: int) -> str:
    """What to look at, for a status other than 101; empty where the status alone does not tell."""
    if status in ADVICE_ON_STATUS:
        return ADVICE_ON_STATUS[status]
    if status >= 500:
        return "It has failed: its log says why."
    if status < 300:
        return (
            "A web server is there that takes no WebSocket at this path: is the path right, and does a proxy in between"
            " pass the Upgrade on?"
        )
    return ""
