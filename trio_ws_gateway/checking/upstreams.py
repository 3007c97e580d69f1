"""Do upstreams answer? One real handshake each, in the gateway's own words, and a polite goodbye.

Goes by steps (name, TCP, TLS, handshake, for MQTT a CONNECT), so that the one that fails is named. No credentials are
sent: who an upstream lets in is not asked, only whether it is there and speaks what is expected.
"""

import secrets
import socket
import ssl
from base64 import b64encode
from contextlib import suppress

import trio

from trio_ws_gateway import leg
from trio_ws_gateway.checking.answers import LISTENERS, Upstream, agreed, hung_up, not_mqtt, silence
from trio_ws_gateway.checking.conversation import Conversation, HungUp
from trio_ws_gateway.checking.findings import Finding, Status, Trouble
from trio_ws_gateway.checking.running import until
from trio_ws_gateway.config.settings import Settings, upstream_setting
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.diagnosis.unreachable import ADVICE, Reason, in_tls, reason_of, refused, words_for
from trio_ws_gateway.protocols.raw import NAME as RAW
from trio_ws_gateway.upstream.introduction import Introduction, Visitor, introduce
from trio_ws_gateway.wire.handshake import Offer
from trio_ws_gateway.wire.http import HEAD_LIMIT, Headers, Request, head_end

_VANISHES = "Packets to it vanish: a firewall or a network policy that drops them, or an address of nobody."
_VISIT = Request(
    method="GET",
    target="/",
    path="/",
    query="",
    version="1.1",
    headers=Headers([("User-Agent", "trio-ws-gateway check")]),
)


def upstreams_of(settings: Settings) -> list[Upstream]:
    """All that sessions may go to."""
    offered = settings.upstream_mqtt_subprotocol
    return [
        Upstream(
            protocol=protocol,
            setting=upstream_setting(protocol),
            url=url,
            offers=("mqtt" if offered == "auto" else offered) if protocol == "mqtt" else None,
            has_token=protocol == RAW and settings.raw_forward_token,
            has_credentials=settings.upstream_mqtt_credentials != "strip"
            if protocol == "mqtt"
            else settings.raw_forward_token,
        )
        for protocol, url in settings.upstreams.items()
    ]


async def check_upstream(upstream: Upstream, tls: ssl.SSLContext | None, timeout_seconds: float) -> list[Finding]:
    """Raises ``Trouble`` naming the step that failed. ``tls`` is ``None`` where no context could be made."""
    url = upstream.url
    place = f"{'wss' if url.secure else 'ws'}://{url.authority}{url.target.partition('?')[0]}"
    try:
        detail = await _visit(upstream, tls, trio.current_time() + timeout_seconds, f"within {timeout_seconds:g} s")
    except HungUp as end:
        trouble = hung_up(upstream, end.code, end.reason)
        status = Status.WARNING if upstream.has_credentials else Status.FAILED
        return [Finding(f"upstream {upstream.protocol}", status, f"{place}: {trouble.detail}", trouble.advice)]
    except Trouble as trouble:
        raise Trouble(f"{place}: {trouble.detail}", trouble.advice) from trouble
    return [Finding(f"upstream {upstream.protocol}", Status.OK, f"{place}: {detail}")]


async def _visit(upstream: Upstream, tls: ssl.SSLContext | None, deadline: float, within: str) -> str:
    url = upstream.url
    if url.secure and tls is None:
        raise Trouble("not tried, for UPSTREAM_CA_FILE cannot be used")
    try:
        with until(deadline, f"no answer of a name server for {url.host} {within}", ADVICE[Reason.NO_RESOLVER]):
            await trio.socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        with until(deadline, f"no connection to port {url.port} {within}", _VANISHES):
            stream = await trio.open_tcp_stream(url.host, url.port)
    except (OSError, UnicodeError) as error:
        raise _unreachable(error, upstream) from error
    sock = socket.socket(fileno=stream.socket.detach())
    try:
        leg.configure(sock, user_timeout_seconds=0)
        if tls is not None and url.secure:
            sock = await _secured(sock, tls, upstream, deadline, within)
        introduction = _introduction(upstream)
        with until(deadline, f"takes the connection, but answers nothing {within}", silence(upstream)):
            heard = await _answer(sock, introduction)
        detail = agreed(heard, upstream, introduction)
        if heard[9:12] == b"101":
            await _converse(Conversation(sock, heard[head_end(heard) :]), upstream, deadline, within)
        return detail
    finally:
        leg.close(sock)


async def _secured(
    sock: socket.socket, tls: ssl.SSLContext, upstream: Upstream, deadline: float, within: str
) -> ssl.SSLSocket:
    plain = f"A port that speaks no TLS? Then begin {upstream.setting} with ws://; or the server hangs."
    try:
        with until(deadline, f"takes the connection, but no TLS comes about {within}", plain):
            return await leg.start_tls(sock, tls, upstream.url.host)
    except OSError as error:
        raise _unreachable(in_tls(error), upstream) from error


async def _converse(conversation: Conversation, upstream: Upstream, deadline: float, within: str) -> None:
    """Whether a session would be one: a proxy shakes hands too. Raises ``HungUp``."""
    if upstream.offers is not None:
        silent = not_mqtt(f"does not answer a CONNECT {within}")
        with until(deadline, silent.detail, silent.advice):
            await conversation.introduce(upstream.offers)
    else:
        await conversation.settle()
    await conversation.leave()


def _introduction(upstream: Upstream) -> Introduction:
    return introduce(
        upstream.url,
        Visitor(peer="127.0.0.1", request=_VISIT),
        Offer(subprotocols=(upstream.offers,), must_choose=True) if upstream.offers else Offer(),
        key=b64encode(secrets.token_bytes(16)).decode(),
        by_name=False,
    )


async def _answer(sock: socket.socket, introduction: Introduction) -> bytes:
    """All that is said until a head is there, or the other side hangs up, or it is plain that this is no HTTP."""
    heard = bytearray()
    with suppress(OSError):  # a reset is a way to hang up, and what came before it counts
        await leg.send_all(sock, introduction.request)
        while head_end(heard) is None and len(heard) <= HEAD_LIMIT and b"HTTP/".startswith(heard[:5]):
            data = await leg.receive(sock, HEAD_LIMIT)
            if not data:
                break
            heard += data
            await trio.lowlevel.checkpoint()
    return bytes(heard)


def _unreachable(error: BaseException, upstream: Upstream) -> Trouble:
    url, reason = upstream.url, reason_of(error)
    return Trouble(words_for(error, url.host, url.port), _advice(reason, upstream, url))


def _advice(reason: Reason, upstream: Upstream, url: WebSocketUrl) -> str:
    match reason:
        case Reason.REFUSED:
            if upstream.speaks_mqtt:
                return refused(f"Does the broker run, and is its WebSocket listener on? {LISTENERS}.", url.host)
            return refused(f"Does it run, and is the port right in {upstream.setting}?", url.host)
        case Reason.NOT_TLS:
            return f"Begin {upstream.setting} with ws:// instead of wss://, or give the port of TLS."
        case Reason.UNTRUSTED:
            return "UPSTREAM_CA_FILE takes the authority that signed it, in PEM; a self-signed certificate is its own."
        case _:
            return ADVICE.get(reason, f"Is {upstream.setting} right?")
