"""What an upstream's answer to a WebSocket handshake means to an operator, from a good 101 to no HTTP at all.

Pure: the bytes that came go in; half a sentence comes out, or a ``Trouble`` with what to do. What is right and what
is wrong is decided by the gateway's own ``Introduction``; here it only gets words.
"""

from attrs import frozen

from trio_ws_gateway.checking.findings import Trouble, quoted
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.diagnosis.answers import Speech, advice_on, speech_of, wants_tls
from trio_ws_gateway.upstream.introduction import Introduction
from trio_ws_gateway.wire.http import BadUpstream, Response, head_end, parse_response

LISTENERS = (
    "Mosquitto: a listener with `protocol websockets`; RabbitMQ: the plugin rabbitmq_web_mqtt, port 15675, path /ws;"
    " EMQX and HiveMQ: port 8083 or 8000, path /mqtt"
)


@frozen(kw_only=True)
class Upstream:
    """``setting``: has its URL. ``offers``: the subprotocol, for MQTT.

    ``has_token``: its sessions bring one with the request; ``has_credentials``: they bring some, at whatever time.
    """

    protocol: str
    setting: str
    url: WebSocketUrl
    offers: str | None = None
    has_token: bool = False
    has_credentials: bool = False

    @property
    def speaks_mqtt(self) -> bool:
        return self.protocol == "mqtt"


def agreed(heard: bytes, upstream: Upstream, introduction: Introduction) -> str:
    """What the upstream agreed to. ``heard``: all it said until the end of a head, or until it hung up."""
    end = head_end(heard)
    if end is None or not heard.startswith(b"HTTP/"):
        raise _no_http(heard, upstream)
    try:
        response = parse_response(heard[:end])
    except BadUpstream as error:
        raise Trouble(f"answers with a head that is no good HTTP: {error.detail}", "Is that a web server?") from None
    if response.status in (401, 403) and upstream.has_token:
        return (
            f"is there and answers {response.status} without a token, as it may; more was not tried, for none is sent"
        )
    if response.status != 101:
        raise Trouble(f"answers {_said(response)}, not 101", _advice(response, heard[end:], upstream))
    try:
        accepted = introduction.check(response)
    except BadUpstream as error:
        raise Trouble(f"answers 101, but {error.detail}", _of_bad_101(upstream)) from None
    chosen = "" if accepted.subprotocol is None else f", subprotocol {accepted.subprotocol}"
    return f"takes WebSocket connections{chosen}"


def not_mqtt(detail: str) -> Trouble:
    """It shakes hands, and then does not speak MQTT."""
    return Trouble(
        f"takes WebSocket connections, but {detail}",
        f"Is a broker behind it? A proxy, or another WebSocket server, shakes hands as well. {LISTENERS}.",
    )


def hung_up(upstream: Upstream, code: int | None, reason: str) -> Trouble:
    """It shakes hands, and ends it at once. ``code``: of its Close, ``None`` where there was none."""
    how = "hangs up on them" if code is None else f"closes them with {code}"
    said = f" ({quoted(reason)})" if reason else ""
    why = "No credentials were sent, which may be the reason. " if upstream.has_credentials else ""
    return Trouble(f"takes WebSocket connections, but {how} at once{said}", f"{why}The upstream's log says more.")


def silence(upstream: Upstream) -> str:
    """What to do about one that takes a connection and a request and says nothing."""
    if upstream.speaks_mqtt:
        return f"Perhaps that is no WebSocket listener but a plain MQTT port. {LISTENERS}."
    return "Something listens there that does not speak HTTP and waits, or hangs: is the port right?"


def _no_http(heard: bytes, upstream: Upstream) -> Trouble:
    said = quoted(heard[:40].decode("latin-1"))
    match speech_of(heard):
        case Speech.NOTHING:
            advice = "What listens there speaks no HTTP, or it is a port of TLS: then wss://."
            if upstream.speaks_mqtt:
                advice = f"Perhaps that is the plain MQTT port (1883)? {LISTENERS}."
            return Trouble("takes the connection and hangs up on the handshake", advice)
        case Speech.TLS:
            return Trouble("answers with TLS", f"Begin {upstream.setting} with wss:// instead of ws://.")
        case Speech.AMQP:
            return Trouble("answers with AMQP", f"That is the broker's AMQP port. {LISTENERS}.")
        case Speech.HTTP:
            return Trouble(f"the head of its answer has no end: {said}", "Is the port right?")
        case Speech.OTHER:
            return Trouble(f"answers, but not with HTTP: {said}", "Is the port right?")


def _said(response: Response) -> str:
    return f"{response.status} {quoted(response.reason, 40)[1:-1]}".rstrip()


def _advice(response: Response, body: bytes, upstream: Upstream) -> str:
    """Where a setting can be at fault it is named; the rest is what the status means everywhere."""
    setting = upstream.setting
    if wants_tls(body):
        return f"That is a port of TLS: begin {setting} with wss:// instead of ws://."
    general = advice_on(response.status)
    match response.status:
        case 400 if upstream.speaks_mqtt:
            question = f"Does it want another subprotocol than {upstream.offers} (UPSTREAM_MQTT_SUBPROTOCOL)"
            return f"{question}, or another path? {general}"
        case 401:
            return "It wants HTTP credentials, and the gateway has none for it: let the gateway in without."
        case 403:
            return "It does not let this machine in, or not without an Origin: look at its list of allowed ones."
        case 404 if upstream.speaks_mqtt:
            return f"The path {_path(upstream.url)} is wrong in {setting}, or that is a web server. {LISTENERS}."
        case 404:
            return f"The path {_path(upstream.url)} is wrong in {setting}, or that is another server."
        case status if 300 <= status < 400:
            location = quoted((response.headers.get("location") or "").partition("?")[0])
            return f"It sends elsewhere, to {location}: the gateway does not follow, so give the final address."
        case status if 200 <= status < 300:
            return f"{general} The path is {_path(upstream.url)}, of {setting}."
        case _:
            return general or f"Is {setting} right? Look at the log of the upstream."


def _of_bad_101(upstream: Upstream) -> str:
    if upstream.speaks_mqtt:
        return (
            f"{upstream.offers} was offered: perhaps a WebSocket server that is no MQTT broker, or another path,"
            " or another UPSTREAM_MQTT_SUBPROTOCOL."
        )
    return "It breaks the rules of the handshake (RFC 6455 4.1), and clients would be refused: look at what it is."


def _path(url: WebSocketUrl) -> str:
    return url.target.partition("?")[0]
