"""The story of one session, from an accepted connection to its last byte.

Reads from top to bottom: head, admission, early credential, 101, first words, verification, route,
dial, relay, goodbye. Whatever ends it early is a ``Refused``, and ``_refuse`` is the one place that
tells the client. The session owns both sockets and closes them whatever happens.
"""

import contextlib
import logging
import random
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable
from functools import partial

import structlog
import trio
from attrs import frozen

from trio_ws_gateway import farewell, leg
from trio_ws_gateway.admission import client_address, origin_allowed
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Counts, Refused
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.credentials import Carrier, Credential, early_credential, late_cookie, without_token
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.plain_http import PlainHttp
from trio_ws_gateway.protocols.base import Greeting, Unchanged
from trio_ws_gateway.protocols.opening import Heard, OpeningReader
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.protocols.registry import Registry
from trio_ws_gateway.relay.relay import Relay, Terms
from trio_ws_gateway.upstream.dial import Dialled, Dialler
from trio_ws_gateway.upstream.introduction import introduce
from trio_ws_gateway.upstream.request import ClientAddress
from trio_ws_gateway.wire.handshake import (
    Accepted,
    Upgrade,
    build_101,
    check_upgrade,
    choose_subprotocol,
    permessage_deflate_offer,
)
from trio_ws_gateway.wire.http import HEAD_LIMIT, Request, head_end, parse_request

READ_BYTES = 64 * 1024
RETRY_AFTER_MAX_SECONDS = 5


@frozen(kw_only=True)
class Services:
    """What sessions are given. ``authenticator`` is ``None`` where nobody's token is checked."""

    settings: Settings
    plain_http: PlainHttp
    draining: Callable[[], bool]
    authenticator: Authenticator | None
    registry: Registry
    dialler: Dialler
    terms: Terms
    metrics: Metrics
    buffer: memoryview
    log: structlog.typing.FilteringBoundLogger


class Session:
    """One accepted connection. ``run`` it once; ``end`` it from anywhere."""

    def __init__(self, client: socket.socket, peer: str, services: Services) -> None:
        self._client = client
        self._services = services
        self._settings = services.settings
        self._peer = client_address(peer, (), services.settings.trusted_proxies)
        self._address = self._peer  # or the one that a trusted proxy forwards for
        self._began_at = trio.current_time()
        self._scope = trio.CancelScope()  # of everything before the relay
        self._ended_by: Cause | None = None
        self._ahead = bytearray()  # what the client has sent that nobody has taken yet
        self._head_only = False  # the request is a HEAD
        self._switched = False  # the 101 has been sent
        self._identity: Identity | None = None
        self._token: str | None = None
        self._greeting: Greeting | None = None
        self._upstream: socket.socket | None = None
        self._relay: Relay | None = None
        self._route = ""  # the upstream, as logs name it

    @property
    def _token_cookie(self) -> str | None:
        return self._settings.jwt_cookie_name if self._settings.accepts_cookies else None

    def end(self, cause: Cause) -> None:
        """End it for a cause that came from outside; the first one counts."""
        if self._relay is not None:
            self._relay.end(cause)
        else:
            self._ended_by = self._ended_by or cause
            self._scope.cancel()

    async def run(self) -> None:
        try:
            leg.configure(self._client, user_timeout_seconds=self._settings.ws_idle_timeout_seconds)
            with self._scope:
                await self._open()
            if self._relay is not None:
                await self._run_relay(self._relay)
            elif self._ended_by is not None:
                raise Refused(self._ended_by)
        except Refused as refused:
            await self._refuse(refused)
        except OSError as error:
            self._record(Cause.CLIENT_LOST, error.strerror or "")
        except Exception as error:
            self._services.log.error("fault", exc_info=error)
            await self._refuse(Refused(Cause.FAULT, type(error).__name__))
        finally:
            for sock in (self._client, self._upstream):
                if sock is not None:
                    leg.close(sock)

    async def _open(self) -> None:
        """From the first byte to a relay that is ready to run, or to the answer of a plain request."""
        request = await self._read_head()
        if (answer := self._services.plain_http.answer(request)) is not None:
            await self._answer(answer)
            return
        upgrade = self._admit(request)
        credential = early_credential(
            request,
            upgrade,
            query_parameters=self._settings.jwt_query_parameter,
            cookie_name=self._token_cookie,
        )
        await self._verify(credential)
        speaks_raw = credential is not None and self._services.registry.adapter_for(upgrade.subprotocols) is None
        if speaks_raw and self._settings.early_dial:
            greeting: Greeting = RawGreeting()
            self._greeting = greeting
            offer = permessage_deflate_offer(upgrade.extensions) if self._settings.ws_compression == "pass" else None
            dialled = await self._dial(greeting, request, upgrade.subprotocols, offer)
            await self._switch(upgrade, dialled.accepted.subprotocol, dialled.accepted.extensions)
            opening = b""
        else:
            subprotocol = choose_subprotocol(upgrade.subprotocols)
            await self._switch(upgrade, subprotocol, None)
            reader = OpeningReader(max_bytes=self._settings.ws_first_message_max_bytes, offered=upgrade.subprotocols)
            greeting = self._greeting = await self._hear(reader, speaks_raw=speaks_raw)
            if credential is None:
                await self._verify_late(request, greeting)
            opening = self._opening_for_upstream(greeting, reader)
            dialled = await self._dial(greeting, request, self._offer(greeting, subprotocol), None)
        self._relay = Relay(
            self._client,
            dialled.sock,
            greeting,
            self._services.terms,
            buffer=self._services.buffer,
            from_client=opening + bytes(self._ahead),
            from_upstream=dialled.rest,
            compressed=dialled.accepted.extensions is not None,
        )
        if self._ended_by is not None:  # too late to cancel what has no checkpoint left
            self._relay.end(self._ended_by)

    async def _read_head(self) -> Request:
        seen = 0
        with trio.move_on_after(self._settings.ws_handshake_timeout_seconds):
            while (end := head_end(self._ahead, seen)) is None:
                if (seen := len(self._ahead)) > HEAD_LIMIT:
                    raise Refused(Cause.HEAD_TOO_BIG)
                if not await self._receive():
                    raise Refused(Cause.CLIENT_LOST, "before the end of its request")
            head = bytes(self._ahead[:end])
            del self._ahead[:end]
            request = parse_request(head)
            self._head_only = request.method == "HEAD"
            return request
        raise Refused(Cause.NOTHING_SAID, "no whole request head in time")

    def _admit(self, request: Request) -> Upgrade:
        """Cheap refusals, before any crypto."""
        upgrade = check_upgrade(request, self._settings.ws_path)
        self._services.metrics.connections.inc()
        self._address = client_address(
            self._peer, request.headers.all("x-forwarded-for"), self._settings.trusted_proxies
        )
        if self._services.draining():
            raise Refused(Cause.DRAINING)
        if not origin_allowed(request.headers.get("origin"), self._settings.ws_allowed_origins):
            raise Refused(Cause.FORBIDDEN, "origin")
        return upgrade

    async def _verify(self, credential: Credential | None) -> None:
        """Believe a credential, or refuse the session; nothing where there is none, or nobody to ask."""
        authenticator = self._services.authenticator
        if credential is None or authenticator is None:
            return
        began_at = trio.current_time()
        self._identity = await authenticator.identify(credential.token)
        self._token = credential.token
        self._services.metrics.auth_seconds.observe(trio.current_time() - began_at)
        self._services.metrics.count_success(self._identity.subject, self._identity.preferred_username)

    async def _verify_late(self, request: Request, greeting: Greeting) -> None:
        """The credential of the first words, or else the cookie; without either only the anonymous go on."""
        credential: Credential | None
        if greeting.credential is not None:
            credential = Credential(greeting.credential, Carrier.FIRST_WORDS)
        else:
            credential = late_cookie(request, self._token_cookie)
        if credential is None and not self._settings.allow_anonymous:
            raise Refused(Cause.NO_TOKEN)
        await self._verify(credential)

    async def _switch(self, upgrade: Upgrade, subprotocol: str | None, extensions: str | None) -> None:
        await leg.send_all(self._client, build_101(upgrade, subprotocol, extensions))
        self._switched = True

    async def _hear(self, reader: OpeningReader, *, speaks_raw: bool) -> Greeting:
        """Read frames until an adapter knows the opening. Pings and closes are answered here."""
        reader.feed(bytes(self._ahead))
        self._ahead.clear()
        with trio.move_on_after(self._settings.ws_auth_timeout_seconds):
            while True:
                match reader.step():
                    case Heard.WORDS if speaks_raw:
                        if reader.opening.complete:
                            return RawGreeting()
                    case Heard.WORDS:
                        if (greeting := self._services.registry.recognise(reader.opening)) is not None:
                            return greeting
                    case Heard.CONTROL:
                        await leg.send_all(self._client, reader.reply)
                    case Heard.CLOSE:
                        await leg.send_all(self._client, reader.reply)
                        raise Refused(Cause.CLOSED_BY_CLIENT, "before its first message")
                    case None:
                        if not await self._receive():
                            raise Refused(Cause.CLIENT_LOST, "before its first message")
                        reader.feed(bytes(self._ahead))
                        self._ahead.clear()
        raise Refused(Cause.NOTHING_SAID, "no whole first message in time")

    def _offer(self, greeting: Greeting, answered: str | None) -> tuple[str, ...]:
        """The subprotocols for the upstream of a client that had its 101 already: exactly one, or none."""
        configured = self._settings.upstream_mqtt_subprotocol
        if greeting.subprotocol is not None and configured != "auto":
            return (configured,)
        name = answered or greeting.subprotocol
        return (name,) if name is not None else ()

    def _opening_for_upstream(self, greeting: Greeting, reader: OpeningReader) -> bytes:
        match greeting.for_upstream(self._identity, self._token):
            case Unchanged.AS_IT_CAME:
                opening = reader.as_it_came
            case Unchanged.NOTHING:
                opening = b""
            case bytes(payload):
                opening = reader.rewritten(payload)
        return opening + bytes(reader.rest)

    async def _dial(
        self, greeting: Greeting, request: Request, subprotocols: tuple[str, ...], extensions: str | None
    ) -> Dialled[Accepted]:
        """Route, and reach the upstream. A client that leaves meanwhile ends the dial."""
        services = self._services
        url = self._settings.upstream_of(greeting.protocol)
        if url is None:
            raise Refused(Cause.UPSTREAM_UNAVAILABLE, f"UPSTREAM_{greeting.protocol.upper()}_URL is not set")
        self._route = url.text
        introduction = introduce(
            url,
            greeting,
            key=b64encode(secrets.token_bytes(16)).decode(),
            subprotocols=subprotocols,
            extensions=extensions,
            request=request,
            query=without_token(request.query, self._settings.jwt_query_parameter),
            client=ClientAddress(peer=self._peer, trusted=self._peer in self._settings.trusted_proxies),
            cookie_name=self._settings.jwt_cookie_name,
            identity=self._identity,
            token=self._token if self._settings.raw_forward_token else None,
        )
        count_retry = services.metrics.proxy_retries.labels(greeting.protocol).inc
        dial = partial(services.dialler.dial, url, introduction.request, introduction.check, count_retry)
        dialled: Dialled[Accepted] | None = None
        failure: Exception | None = None  # raised after the nursery, which would wrap it in a group
        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_client, nursery.cancel_scope)
            try:
                dialled = await dial()
                self._upstream = dialled.sock
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if dialled is None:
            raise Refused(Cause.CLIENT_LOST, "while its upstream was dialled")
        services.metrics.dial_seconds.labels(greeting.protocol).observe(trio.current_time() - began_at)
        return dialled

    async def _watch_client(self, scope: trio.CancelScope) -> None:
        """Take what the client sends ahead, up to a bound, and cancel ``scope`` when it leaves."""
        with contextlib.suppress(OSError):
            while len(self._ahead) < READ_BYTES:
                if not await self._receive():
                    break
            else:
                return
        scope.cancel()

    async def _receive(self) -> bool:
        """More of what the client sends; whether there is more."""
        data = await leg.receive(self._client, READ_BYTES)
        self._ahead += data
        return bool(data)

    async def _run_relay(self, relay: Relay) -> None:
        self._token = None  # nothing needs it any more
        metrics, protocol = self._services.metrics, relay.greeting.protocol
        metrics.protocol_connections.labels(protocol).inc()
        with metrics.active_sessions.track_inprogress(), metrics.traffic.of(relay, protocol):
            cause = await relay.run()
        if relay.fault is not None:
            self._services.log.error("fault", exc_info=relay.fault)
        metrics.duration.observe(trio.current_time() - self._began_at)
        self._record(cause, relay.detail)

    async def _answer(self, answer: bytes) -> None:
        with trio.move_on_after(self._settings.ws_write_timeout_seconds):
            await leg.send_all(self._client, answer)
            await leg.linger(self._client, self._settings.ws_control_timeout_seconds)

    async def _refuse(self, refused: Refused) -> None:
        """Tell the client why it is not let in, in the words of what it speaks so far, and hear it out."""
        cause = refused.cause
        with contextlib.suppress(OSError):
            if self._switched:
                words = self._greeting.farewell(cause, welcomed=False) if self._greeting else refused.last_words
                await self._answer(b"".join(farewell.to_client(cause, words)))
            elif cause.row.http is not None:
                retry_after = random.randint(1, RETRY_AFTER_MAX_SECONDS)  # noqa: S311 - a spread, not a secret
                await self._answer(
                    farewell.http_refusal(cause, retry_after_seconds=retry_after, head_only=self._head_only)
                )
        self._record(cause, refused.detail)

    def _record(self, cause: Cause, detail: str) -> None:
        """Count the end, and write the session's one line."""
        greeting, identity, relay = self._greeting, self._identity, self._relay
        protocol = greeting.protocol if greeting is not None else "unknown"
        self._services.metrics.count_end(cause, protocol)
        line: dict[str, object] = {"cause": cause.value, "detail": detail, "client": self._address}
        if greeting is not None:
            line |= {"protocol": protocol, **greeting.describes}
        if identity is not None:
            line |= {"sub": identity.subject, "preferred_username": identity.preferred_username}
        if relay is not None:
            line |= {"upstream": self._route, **relay.counts}
        line["duration"] = round(trio.current_time() - self._began_at, 3)
        self._services.log.log(level_of(cause), "session ended" if relay is not None else "refused", **line)


def level_of(cause: Cause) -> int:
    """Faults are errors, trouble with upstreams is a warning, and what clients do is information."""
    if cause is Cause.FAULT:
        return logging.ERROR
    return logging.WARNING if cause.row.counts is Counts.PROXY_ERROR else logging.INFO
