"""From what was seen until the WebSocket was open to a ``Refusal``: names, TCP, TLS, and whatever answers but a 101.

One function for each kind of thing that can be seen. Pure. What goes wrong between any two machines is known to
``diagnosis``; here it is told to whoever wants to get into a gateway, with the options of the probe.
"""

import json
import re
from http import HTTPStatus
from typing import Any, Final

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.diagnosis.answers import Speech, advice_on, speech_of, wants_tls
from trio_ws_gateway.diagnosis.unreachable import ADVICE, Reason, in_tls, reason_of, refused, words_for
from trio_ws_gateway.probing import advice
from trio_ws_gateway.probing.attempt import Attempt
from trio_ws_gateway.probing.quoting import LONGEST_QUOTE, said
from trio_ws_gateway.probing.refusal import Refusal
from trio_ws_gateway.wire.http import Response

_TAGS: Final = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_PORT_OF_TLS = "This port speaks TLS: try wss:// in place of ws://."
_ADVICE: Final = ADVICE | {
    Reason.NOT_TLS: "Try ws:// in place of wss://, or the port of TLS.",
    Reason.UNTRUSTED: "If you know who signed it: --ca-file FILE. To look past it, for once: --insecure.",
}
_BY_STATUS: Final = {
    400: "It does not take the request as it is: look at the path, --mqtt, --origin and --header.",
    403: "It forbids this to whoever asks so: look at --origin, the token, and who may come from where.",
    404: "It knows no such path: look at the URL, and at the routes of a proxy in between.",
    421: "It does not serve this host name: look at the URL, and at --header 'Host: ...'.",
    502: "A proxy in between cannot reach the gateway: is it running, and at the address that the proxy has?",
    503: "It is up but takes nobody: behind a proxy, no gateway is ready; /readyz of the gateway says why.",
    504: "A proxy in between has waited for the gateway in vain.",
}


def unresolved(attempt: Attempt, error: OSError | UnicodeError) -> Refusal:
    words = words_for(error, attempt.url.host, attempt.url.port)
    return Refusal(what=f"Cannot connect: {words}.", look_at=_look_at(reason_of(error)))


def unreachable(attempt: Attempt, tried: list[tuple[str, OSError | None]]) -> Refusal:
    """``tried``: the addresses, with ``None`` where the time was up."""
    host, port = attempt.url.host, attempt.url.port
    found = "; ".join(f"{at}: {'no answer' if error is None else words_for(error, host, port)}" for at, error in tried)
    what = f"Cannot connect to {attempt.url.authority} ({found})."
    reasons = [Reason.OTHER if error is None else reason_of(error) for _, error in tried]
    if all(reason is Reason.REFUSED for reason in reasons):
        own = "Is the server running, and on this port? One that listens on 127.0.0.1 is heard on its own machine only."
        return Refusal(what=what, look_at=(refused(own, host),))
    if any(error is None for _, error in tried):
        look_at = "Packets vanish: a firewall, a wrong address, or a machine that is off."
        return Refusal(what=what, look_at=(look_at,))
    return Refusal(what=what, look_at=_look_at(next(each for each in reasons if each is not Reason.REFUSED)))


def tls_failed(attempt: Attempt, error: BaseException | None) -> Refusal:
    """``error``: what ended the handshake, ``None`` where the other side just hung up."""
    error = in_tls(error)
    words = said(words_for(error, attempt.url.host, attempt.url.port), attempt)
    return Refusal(what=f"No TLS comes about: {words}.", look_at=_look_at(reason_of(error)))


def ended_unanswered(attempt: Attempt, heard: bytes, *, reset: bool) -> Refusal:
    """``heard``: the beginning of an answer that was never whole."""
    if heard:
        return not_http(attempt, heard)
    what = "reset the connection" if reset else "closed the connection"
    return Refusal(what=f"The server {what} without an answer to the request.", look_at=(_other_protocol(attempt),))


def not_http(attempt: Attempt, heard: bytes) -> Refusal:
    quote = said(heard[:LONGEST_QUOTE].decode("latin-1"), attempt)
    match speech_of(heard):
        case Speech.TLS:
            return Refusal(what="What answers there speaks TLS.", look_at=(_PORT_OF_TLS,))
        case Speech.AMQP:
            what = "What answers there speaks AMQP."
            return Refusal(what=what, look_at=("A broker listens for WebSocket on a port of its own.",))
        case Speech.HTTP:
            return Refusal(
                what=f"The answer to the request is cut short, or no legal HTTP: {quote}",
                look_at=("Look at what answers, and at what stands in between.",),
            )
    what = f"What answers there speaks no HTTP{f': {quote}' if quote else '.'}"
    return Refusal(what=what, look_at=(_other_protocol(attempt),))


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
    quote = said(_TAGS.sub(" ", text), attempt)
    who = f"{server} answers" if server else "The server answers"
    return Refusal(
        what=f"{who} {shown}" + (f": {quote}" if set(quote.split()) - set(f"{who} {shown}".split()) else "."),
        look_at=_on_status(attempt, response, body, now),
        http_status=status,
    )


def bad_upgrade(attempt: Attempt, detail: str) -> Refusal:
    return Refusal(
        what=f"The server's 101 breaks the rules of the handshake: it {said(detail, attempt)}.",
        look_at=("A browser would fail here too: look at what answers, and at what stands in between.",),
        http_status=101,
    )


def _look_at(reason: Reason) -> tuple[str, ...]:
    return (_ADVICE.get(reason, "Look at the address, at the route to it, and at what stands in between."),)


def _on_status(attempt: Attempt, response: Response, body: bytes, now: float) -> tuple[str, ...]:
    """Where an option of the probe can be at fault it is named; the rest is what the status means everywhere."""
    status = response.status
    if wants_tls(body):
        return (_PORT_OF_TLS,)
    if 300 <= status < 400:
        where = said(response.headers.get("location") or "", attempt)
        return (f"It sends elsewhere: {where or 'it does not say where'}. Use that, with ws:// or wss://.",)
    if status == 401:
        mine = "This is no answer of the gateway's: something in front of it, or another server, wants credentials."
        return (mine, *advice.on_credentials(attempt, now))
    return (_BY_STATUS.get(status) or advice_on(status) or "It does not take the request.",)


def _other_protocol(attempt: Attempt) -> str:
    if attempt.url.secure:
        return "The port may belong to another protocol than WebSocket over TLS."
    if attempt.mqtt is not None or attempt.url.port in (1883, 8883):
        return (
            "The port may belong to another protocol: to TLS (try wss://), or to plain MQTT, whose brokers listen"
            " for WebSocket on a port of its own."
        )
    return "The port may belong to another protocol, or to TLS: try wss://."


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
