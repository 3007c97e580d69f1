"""From what was seen once the WebSocket was open to a ``Refusal``: a Close, MQTT's own refusals, silence.

One function for each kind of thing that can be seen. Pure. The gateway's own causes are found in ``causes``.
"""

from typing import Final

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing import advice
from trio_ws_gateway.probing.attempt import Attempt, Mqtt
from trio_ws_gateway.probing.codes import close_words, connack_words, is_of_mqtt_3, reason_words
from trio_ws_gateway.probing.quoting import said
from trio_ws_gateway.probing.refusal import Refusal

USER_CODES: Final = {0x04, 0x05, 0x86, 0x87}  # CONNACK codes about who one is
BROKEN_RULES: Final = {1002, 1007}  # what a probe says as well, where it hears what is illegal
BROKEN_OFF: Final = 1006  # as RFC 6455 7.1.5 calls the lack of a Close


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
    if code == BROKEN_OFF:
        what = "The connection broke off without a Close"
    elif code in BROKEN_RULES:
        what = f"The session ended with {shown}"
    else:
        what = f"The session was closed with {shown}"
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
    if is_of_mqtt_3(mqtt.level, code):
        look_at = "The broker speaks MQTT 3.1.1 and not 5: try --mqtt 3.1.1."
        return Refusal(
            what=f"The broker refuses: {shown}.", look_at=(look_at,), connack_code=code, close_code=close_code
        )
    own = (
        "The gateway says its causes in a Close behind the CONNACK. There was none, so this is the broker's own word,"
        " and the broker's log says more."
    )
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


def _on_close(attempt: Attempt, code: int, now: float) -> tuple[str, ...]:
    match code:
        case 1000:
            return ("The upstream has ended it, in good order: has it said all that it had to say?",)
        case 1001 | 1012 | 1013:
            return ("The server, or the upstream, goes down or is not ready: try again in a moment.",)
        case 1002 | 1007:
            return (
                "What came is no legal WebSocket: the server, or something in between, has broken the protocol. Or the"
                " server says so of what it has heard.",
            )
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
