"""Why a session did not come about, or did not last: from what was seen to what happened and what to look at.

One function for each kind of thing that can be seen. What a server says is shown on one line, cut short, and without
the secrets that it may give back. Pure; the gateway's own causes are found in ``causes``.
"""

import errno
import json
import os
import re
import ssl
from http import HTTPStatus
from typing import Any, Final

from attrs import frozen

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.logs import without_tokens
from trio_ws_gateway.probing import advice
from trio_ws_gateway.probing.attempt import Attempt, Mqtt
from trio_ws_gateway.probing.codes import close_words, connack_words, reason_words, speaks_no_mqtt_5
from trio_ws_gateway.wire.http import Response

LONGEST_QUOTE: Final = 160  # characters
USER_CODES: Final = {0x04, 0x05, 0x86, 0x87}  # CONNACK codes about who one is
BROKEN_OFF: Final = 1006  # as RFC 6455 7.1.5 calls the lack of a Close
HTTPS_ONLY: Final = re.compile(r"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server", re.IGNORECASE)
BY_STATUS: Final = {
    400: "It does not take the request as it is: look at the path, --mqtt, --origin and --header.",
    403: "It forbids this to whoever asks so: look at --origin, the token, and who may come from where.",
    404: "It knows no such path: look at the URL, and at the routes of a proxy in between.",
    407: "A proxy in between wants credentials of its own.",
    408: "It waited for more of the request than came.",
    421: "It does not serve this host name: look at the URL, and at --header 'Host: ...'.",
    426: "It wants a WebSocket handshake and has not seen one: a proxy in between does not pass the Upgrade on.",
    429: "It has heard too much from here: try again later.",
    500: "It has failed: its log says why.",
    502: "A proxy in between cannot reach the gateway: is it running, and at the address that the proxy has?",
    503: "It is up but takes nobody: behind a proxy, no gateway is ready; /readyz of the gateway says why.",
    504: "A proxy in between has waited for the gateway in vain.",
}


@frozen(kw_only=True)
class Refusal:
    """``what`` happened, a sentence or two, and what to ``look_at``, the most likely first.

    ``causes``: where it was the gateway that said so, one as a rule; two causes may have the same words. The codes are
    those that came over the wire.
    """

    what: str
    look_at: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    http_status: int | None = None
    close_code: int | None = None
    connack_code: int | None = None


class Failed(Exception):
    """The session ends here."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.what)
        self.refusal = refusal


def said(text: str, attempt: Attempt) -> str:
    """What a server said, fit to be shown."""
    for secret in attempt.secrets:
        text = text.replace(secret, "[secret]")
    text = str(without_tokens(text))
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


# Before there is a connection


def unresolved(attempt: Attempt, why: str) -> Refusal:
    return Refusal(
        what=f"The name {attempt.url.host} does not resolve: {why}.",
        look_at=("Is the name spelled rightly, and known to the name server of this machine?",),
    )


def unreachable(attempt: Attempt, tried: list[tuple[str, OSError | None]]) -> Refusal:
    """``tried``: the addresses, with ``None`` where the time was up."""
    found = ", ".join(f"{where}: {_reason(error)}" for where, error in tried)
    if all(error is not None and error.errno == errno.ECONNREFUSED for _, error in tried):
        look_at = (
            "Nobody listens there: is the server running, and on this port? One that listens on 127.0.0.1 is heard on"
            " its own machine only."
        )
    elif any(error is None for _, error in tried):
        look_at = "Packets vanish: a firewall, a wrong address, or a machine that is off."
    else:
        look_at = "The network does not lead there: look at the address, and at the route."
    return Refusal(what=f"Cannot connect to {attempt.url.authority} ({found}).", look_at=(look_at,))


def tls_failed(attempt: Attempt, error: BaseException | None) -> Refusal:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        if "self-signed" in why or "unable to get" in why:
            look_at = "If you know who signed it: --ca-file FILE. To look past it, for once: --insecure."
        elif "expired" in why or "not yet" in why:
            look_at = "The server needs a new certificate, or one of the clocks is wrong."
        else:
            look_at = f"The certificate is for another name: use that one in the URL, not {attempt.url.host}."
        return Refusal(
            what=f"The server's certificate is not trusted: {said(why.rstrip('.'), attempt)}.", look_at=(look_at,)
        )
    reason = (error.reason if isinstance(error, ssl.SSLError) else None) or "the connection broke off"
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}:
        return Refusal(
            what="What answers there does not speak TLS.", look_at=("Try ws:// in place of wss://, or the TLS port.",)
        )
    return Refusal(
        what=f"The TLS handshake failed: {said(reason.replace('_', ' ').lower(), attempt)}.",
        look_at=("Is this the TLS port? Does the server want a certificate of the client, or another TLS version?",),
    )


def timed_out(attempt: Attempt, what: str, look_at: str) -> Refusal:
    return Refusal(what=f"{what} in {attempt.timeout_seconds:g} s.", look_at=(look_at,))


# In place of a 101


def ended_unanswered(attempt: Attempt, heard: bytes, *, reset: bool) -> Refusal:
    """``heard``: the beginning of an answer that was never whole."""
    if heard:
        return not_http(attempt, heard)
    what = "reset the connection" if reset else "closed the connection"
    return Refusal(what=f"The server {what} without an answer to the request.", look_at=(_other_protocol(attempt),))


def not_http(attempt: Attempt, heard: bytes) -> Refusal:
    if heard[:2] in (b"\x15\x03", b"\x16\x03"):  # an alert, a handshake (RFC 8446 5.1)
        return Refusal(what="What answers there speaks TLS.", look_at=("Try wss:// in place of ws://.",))
    quote = said(heard[:LONGEST_QUOTE].decode("latin-1"), attempt)
    if heard.startswith(b"HTTP/"):
        return Refusal(
            what=f"The answer to the request is cut short, or no legal HTTP: {quote}",
            look_at=("Look at what answers, and at what stands in between.",),
        )
    return Refusal(
        what="What answers there speaks no HTTP" + (f": {quote}" if quote else "."), look_at=(_other_protocol(attempt),)
    )


def http_refused(attempt: Attempt, response: Response, body: bytes, now: float) -> Refusal:
    """An answer other than 101. ``body``: its beginning."""
    text = body.decode(errors="replace")
    status = response.status
    problem = _problem(text)
    shown = f"HTTP {status} {said(response.reason or _phrase(status), attempt)}".rstrip()
    if (cause := _cause_called(problem.get("cause"))) is not None:
        return Refusal(
            what=f"The gateway refuses: {cause.value} ({shown}). {cause.row.meaning}",
            look_at=advice.on_cause(cause, attempt, now),
            causes=(cause,),
            http_status=status,
        )
    server = said(response.headers.get("server") or "", attempt)
    quote = said(re.sub(r"<(style|script|head)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE), attempt)
    who = f"{server} answers" if server else "The server answers"
    return Refusal(
        what=f"{who} {shown}" + (f": {quote}" if set(quote.split()) - set(f"{who} {shown}".split()) else "."),
        look_at=_on_status(attempt, response, text, now),
        http_status=status,
    )


def bad_upgrade(attempt: Attempt, detail: str) -> Refusal:
    return Refusal(
        what=f"The server's 101 breaks the rules of the handshake: it {said(detail, attempt)}.",
        look_at=("A browser would fail here too: look at what answers, and at what stands in between.",),
        http_status=101,
    )


# After the 101


def closed(attempt: Attempt, code: int, reason: str, now: float, *, meanwhile: str) -> Refusal:
    """A Close, or ``BROKEN_OFF``. ``meanwhile``: what was being waited for."""
    quote = said(reason, attempt)
    shown = close_words(code) + (f': "{quote}"' if quote else "")
    if causes := causes_of_close(code, reason):
        return Refusal(
            what=f"The gateway closes the session {meanwhile}: {_named(causes)} ({shown}). {_meaning(causes)}",
            look_at=_on_causes(causes, attempt, now),
            causes=causes,
            close_code=code,
        )
    what = "The connection broke off without a Close" if code == BROKEN_OFF else f"The session was closed with {shown}"
    return Refusal(what=f"{what}, {meanwhile}.", look_at=_on_close(attempt, code, now), close_code=code)


def too_big(attempt: Attempt) -> Refusal:
    return Refusal(
        what=f"The server sends a message of more than {attempt.most_message_bytes} bytes, which is not taken.",
        look_at=("It is no echo of what was sent: is this the upstream that you meant?",),
    )


def connack_refused(attempt: Attempt, mqtt: Mqtt, code: int, closing: tuple[int, str] | None, now: float) -> Refusal:
    """``closing``: code and reason of the Close that followed, in which the gateway says which cause it was."""
    causes = causes_of_close(*closing) if closing is not None else ()
    close_code = closing[0] if closing is not None else None
    shown = f"CONNACK {connack_words(mqtt.level, code)}"
    if causes:
        return Refusal(
            what=f"The gateway refuses: {_named(causes)} ({shown}). {_meaning(causes)}",
            look_at=_on_causes(causes, attempt, now),
            causes=causes,
            connack_code=code,
            close_code=close_code,
        )
    own = (
        "The gateway says its causes in a Close behind the CONNACK. There was none, so this is the broker's own word,"
        " and the broker's log says more."
    )
    if mqtt.level == 5 and speaks_no_mqtt_5(code):
        own = "It does not speak MQTT 5: try --mqtt 3.1.1."
    users: tuple[str, ...] = ()
    if code in USER_CODES:
        users = (
            "Which user and password a broker sees, the gateway's UPSTREAM_MQTT_CREDENTIALS decides.",
            *advice.on_credentials(attempt, now),
        )
    return Refusal(
        what=f"The broker refuses: {shown}.", look_at=(*users, own), connack_code=code, close_code=close_code
    )


def mqtt_ended(attempt: Attempt, code: int, closing: tuple[int, str] | None, now: float) -> Refusal:
    """A DISCONNECT of MQTT 5; ``closing`` as above."""
    causes = causes_of_close(*closing) if closing is not None else ()
    shown = f"DISCONNECT {reason_words(code)}"
    return Refusal(
        what=f"The gateway ends the session: {_named(causes)} ({shown}). {_meaning(causes)}"
        if causes
        else f"The broker ends the session: {shown}.",
        look_at=_on_causes(causes, attempt, now) or ("The broker's log says more.",),
        causes=causes,
        close_code=closing[0] if closing is not None else None,
    )


def not_permitted(mqtt: Mqtt, packet: str, code: int) -> Refusal:
    return Refusal(
        what=f"The broker refuses the {packet} with {reason_words(code)}.",
        look_at=(f"Its access list may not allow the topic `{mqtt.topic}`: give another one with --topic.",),
    )


def not_mqtt(attempt: Attempt, detail: str) -> Refusal:
    return Refusal(
        what=f"What comes back is no MQTT: {said(detail, attempt)}.",
        look_at=("Is the upstream for MQTT, UPSTREAM_WS_URL, the broker's WebSocket listener?",),
    )


def nothing_came_back(attempt: Attempt, number: int, others: int) -> Refusal:
    """The message of that number, from 1. ``others``: how many messages came that were none of ours."""
    came = f"{others} other message{'s' if others != 1 else ''} came" if others else "nothing else came"
    if number > 1:
        look_at = "Those before it came back: is the upstream slow, or does it answer only some?"
    elif attempt.mqtt is not None:
        look_at = f"Its access list may not allow the topic `{attempt.mqtt.topic}`: give another one with --topic."
    else:
        look_at = (
            "The session is open all the same. Round trips need an upstream that echoes; with --count 0 only the"
            " opening is tried."
        )
    return Refusal(
        what=f"Message {number} did not come back in {attempt.timeout_seconds:g} s, and {came}.", look_at=(look_at,)
    )


def causes_of_close(code: int, reason: str) -> tuple[Cause, ...]:
    """The gateway's causes with that close code and reason."""
    return tuple(each for each in Cause if each.row.close == code and each.row.reason == reason)


def _named(causes: tuple[Cause, ...]) -> str:
    return " or ".join(each.value for each in causes)


def _meaning(causes: tuple[Cause, ...]) -> str:
    return " Or: ".join(each.row.meaning for each in causes)


def _on_causes(causes: tuple[Cause, ...], attempt: Attempt, now: float) -> tuple[str, ...]:
    return tuple(sentence for each in causes for sentence in advice.on_cause(each, attempt, now))


def _on_status(attempt: Attempt, response: Response, text: str, now: float) -> tuple[str, ...]:
    status = response.status
    if HTTPS_ONLY.search(text):
        return ("This port speaks TLS: try wss:// in place of ws://.",)
    if 300 <= status < 400:
        where = said(response.headers.get("location") or "", attempt)
        return (f"It sends elsewhere: {where or 'it does not say where'}. Use that, with ws:// or wss://.",)
    if status < 300:
        return (
            "A web server that takes no WebSocket at this path: look at the path,"
            " and whether a proxy in between passes the Upgrade on.",
        )
    if status == 401:
        mine = "This is no answer of the gateway's: something in front of it, or another server, wants credentials."
        return (mine, *advice.on_credentials(attempt, now))
    fallback = "It has failed: its log says why." if status >= 500 else "It does not take the request."
    return (BY_STATUS.get(status, fallback),)


def _on_close(attempt: Attempt, code: int, now: float) -> tuple[str, ...]:
    match code:
        case 1000:
            return ("The upstream has ended it, in good order: has it said all that it had to say?",)
        case 1001 | 1012 | 1013:
            return ("The server, or the upstream, goes down or is not ready: try again in a moment.",)
        case 1002 | 1007:
            return ("One side has broken the WebSocket protocol: the server, or something in between.",)
        case 1003:
            return ("The upstream does not take this kind of message: is it an MQTT broker (--mqtt) or the other way?",)
        case 1005 | 1006:
            return ("Whoever ended it said no word: look at the logs, and at the time-outs of proxies in between.",)
        case 1008:
            return ("It is a matter of policy: the upstream's own, where the gateway says nothing else.",)
        case 1009:
            return ("Give a smaller --size.",)
        case 1011:
            return ("The upstream has failed: its log says why.",)
    return ("The upstream's own documents say what its code means.", *advice.on_credentials(attempt, now))


def _other_protocol(attempt: Attempt) -> str:
    if attempt.url.secure:
        return "The port may belong to another protocol than WebSocket over TLS."
    if attempt.mqtt is not None or attempt.url.port in (1883, 8883):
        return (
            "The port may belong to another protocol: to TLS (try wss://), or to plain MQTT, whose brokers listen"
            " for WebSocket on a port of its own."
        )
    return "The port may belong to another protocol, or to TLS: try wss://."


def _reason(error: OSError | None) -> str:
    if error is None:
        return "no answer"
    return os.strerror(error.errno) if error.errno else str(error)


def _problem(text: str) -> dict[str, Any]:
    """The problem document (RFC 9457) that a body is, empty where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _cause_called(name: object) -> Cause | None:
    return next((each for each in Cause if each.value == name), None)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
