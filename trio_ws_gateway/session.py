"""The story of one session, from an accepted connection to its last byte.

Reads from top to bottom: head, admission, early credential, 101, first words, verification, route,
dial, relay, goodbye. Whatever ends it early is a ``Refused``, and ``_refuse`` is the one place that
tells the client. The session owns both sockets and closes them whatever happens.
"""

import random
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable

import structlog
import trio
from attrs import frozen

from trio_ws_gateway import farewell, leg
from trio_ws_gateway.admission import client_address, origin_allowed
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.client import Client
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.credentials import Carrier, Credential, early_credential, late_cookie, without_token
from trio_ws_gateway.ledger import Ledger
from trio_ws_gateway.limits.budgets import Budget, Budgets
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.plain_http import PlainHttp
from trio_ws_gateway.protocols.base import Greeting, Opening, Unchanged
from trio_ws_gateway.protocols.opening import OpeningReader
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
from trio_ws_gateway.wire.http import Request

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
    budgets: Budgets | None
    log: structlog.typing.FilteringBoundLogger


class Session:
    """One accepted connection. ``run`` it once; ``end`` it from anywhere."""

    def __init__(self, sock: socket.socket, peer: str, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._client = Client(sock)
        self._peer = client_address(peer, (), services.settings.trusted_proxies)
        self._ledger = Ledger(services.metrics, services.log, self._peer)
        self._head_only = False  # the request is a HEAD
        self._plain_answer: bytes | None = None  # to a request that wants no WebSocket
        self._switched = False  # the 101 has been sent
        self._token: str | None = None  # the one that was verified
        self._upstream: socket.socket | None = None
        self._relay: Relay | None = None
        self._opening = trio.CancelScope()  # everything before the relay
        self._ended_by: Cause | None = None

    def end(self, cause: Cause) -> None:
        """End it for a cause that came from outside; the first one counts."""
        if self._relay is not None:
            self._relay.end(cause)
        else:
            self._ended_by = self._ended_by or cause
            self._opening.cancel()

    async def run(self) -> None:
        try:
            leg.configure(self._client.sock, user_timeout_seconds=self._settings.ws_idle_timeout_seconds)
            with self._opening:
                self._relay = await self._open()
            if self._relay is not None:
                await self._run_relay(self._relay)
            elif self._plain_answer is not None:
                await self._say_last(self._plain_answer)
            elif self._ended_by is not None:
                raise Refused(self._ended_by)
        except Refused as refused:
            await self._refuse(refused)
        except OSError as error:
            self._ledger.close(Cause.CLIENT_LOST, error.strerror or "")
        except Exception as error:
            self._ledger.fault(error)
            await self._refuse(Refused(Cause.FAULT, type(error).__name__))
        except BaseException:  # cancelled, bare or in a nursery's group
            self._ledger.close(Cause.DRAINING, "cut: time was up")
            raise
        finally:
            for sock in (self._client.sock, self._upstream):
                if sock is not None:
                    leg.close(sock)

    async def _open(self) -> Relay | None:
        """From the first byte to a relay that is ready to run, or to the answer of a plain request."""
        request = await self._client.read_head(self._settings.ws_handshake_timeout_seconds)
        if request is None:
            return None
        self._head_only = request.method == "HEAD"
        self._plain_answer = self._services.plain_http.answer(request)
        if self._plain_answer is not None:
            return None
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
            return await self._meet_upstream_first(request, upgrade)
        return await self._hear_client_first(request, upgrade, credential, speaks_raw=speaks_raw)

    def _admit(self, request: Request) -> Upgrade:
        """Cheap refusals, before any crypto."""
        upgrade = check_upgrade(request, self._settings.ws_path)
        self._services.metrics.connections.inc()
        self._ledger.address = client_address(
            self._peer, request.headers.all("x-forwarded-for"), self._settings.trusted_proxies
        )
        if self._services.draining():
            raise Refused(Cause.DRAINING)
        if not origin_allowed(request.headers.get("origin"), self._settings.ws_allowed_origins):
            raise Refused(Cause.FORBIDDEN, "origin")
        return upgrade

    async def _meet_upstream_first(self, request: Request, upgrade: Upgrade) -> Relay:
        """A raw client whose credential came early: its 101 says what its upstream has agreed to."""
        greeting = self._ledger.greeting = RawGreeting()
        offer = permessage_deflate_offer(upgrade.extensions) if self._settings.ws_compression == "pass" else None
        dialled = await self._dial(greeting, request, upgrade.subprotocols, offer)
        accepted = dialled.accepted
        await self._switch(upgrade, accepted.subprotocol, accepted.extensions)
        return self._connect(greeting, dialled, opening=b"", ahead=b"")

    async def _hear_client_first(
        self, request: Request, upgrade: Upgrade, credential: Credential | None, *, speaks_raw: bool
    ) -> Relay:
        """Any other client has its 101 at once, and says with its first words what it speaks and who it is."""

        def understood(opening: Opening) -> Greeting | None:
            if speaks_raw:
                return RawGreeting() if opening.complete else None
            return self._services.registry.recognise(opening)

        subprotocol = choose_subprotocol(upgrade.subprotocols)
        await self._switch(upgrade, subprotocol, None)
        reader = OpeningReader(max_bytes=self._settings.ws_first_message_max_bytes, offered=upgrade.subprotocols)
        greeting = await self._client.hear(reader, understood, self._settings.ws_auth_timeout_seconds)
        self._ledger.greeting = greeting
        if credential is None:
            await self._verify_late(request, greeting)
        match greeting.for_upstream(self._ledger.identity, self._token):
            case Unchanged.AS_IT_CAME:
                opening = reader.as_it_came
            case Unchanged.NOTHING:
                opening = b""
            case bytes(payload):
                opening = reader.rewritten(payload)
        dialled = await self._dial(greeting, request, self._offer(greeting, subprotocol), None)
        if greeting.credential is None:  # only the message that carried the token is free of limits
            return self._connect(greeting, dialled, opening=b"", ahead=opening + bytes(reader.rest))
        return self._connect(greeting, dialled, opening=opening, ahead=bytes(reader.rest))

    async def _verify(self, credential: Credential | None) -> None:
        """Believe a credential, or refuse the session; nothing where there is none, or nobody to ask."""
        authenticator, metrics = self._services.authenticator, self._services.metrics
        if credential is None or authenticator is None:
            return
        began_at = trio.current_time()
        identity = self._ledger.identity = await authenticator.identify(credential.token)
        self._token = credential.token
        metrics.auth_seconds.observe(trio.current_time() - began_at)
        metrics.count_success(identity.subject, identity.preferred_username)

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

    @property
    def _token_cookie(self) -> str | None:
        return self._settings.jwt_cookie_name if self._settings.accepts_cookies else None

    async def _switch(self, upgrade: Upgrade, subprotocol: str | None, extensions: str | None) -> None:
        await self._client.say(build_101(upgrade, subprotocol, extensions))
        self._switched = True

    def _offer(self, greeting: Greeting, answered: str | None) -> tuple[str, ...]:
        """The subprotocols for the upstream of a client that had its 101 already: exactly one, or none."""
        configured = self._settings.upstream_mqtt_subprotocol
        if greeting.subprotocol is not None and configured != "auto":
            return (configured,)
        name = answered or greeting.subprotocol
        return (name,) if name is not None else ()

    async def _dial(
        self, greeting: Greeting, request: Request, subprotocols: tuple[str, ...], extensions: str | None
    ) -> Dialled[Accepted]:
        """Route, and reach the upstream. A client that leaves meanwhile ends the dial."""
        services, settings = self._services, self._settings
        url = settings.upstream_of(greeting.protocol)
        if url is None:
            raise Refused(Cause.UPSTREAM_UNAVAILABLE, f"UPSTREAM_{greeting.protocol.upper()}_URL is not set")
        self._ledger.upstream = url.text
        introduction = introduce(
            url,
            greeting,
            key=b64encode(secrets.token_bytes(16)).decode(),
            subprotocols=subprotocols,
            extensions=extensions,
            request=request,
            query=without_token(request.query, settings.jwt_query_parameter),
            client=ClientAddress(peer=self._peer, trusted=self._peer in settings.trusted_proxies),
            cookie_name=settings.jwt_cookie_name,
            identity=self._ledger.identity,
            token=self._token if settings.raw_forward_token else None,
        )
        count_retry = services.metrics.proxy_retries.labels(greeting.protocol).inc

        async def dial() -> Dialled[Accepted]:
            dialled = await services.dialler.dial(url, introduction.request, introduction.check, count_retry)
            self._upstream = dialled.sock
            return dialled

        began_at = trio.current_time()
        dialled = await self._client.unless_it_leaves(dial, "while its upstream was dialled")
        services.metrics.dial_seconds.labels(greeting.protocol).observe(trio.current_time() - began_at)
        return dialled

    def _connect(self, greeting: Greeting, dialled: Dialled[Accepted], *, opening: bytes, ahead: bytes) -> Relay:
        self._token = None
        self._ledger.greeting = greeting = greeting.without_secrets()
        relay = Relay(
            self._client.sock,
            dialled.sock,
            greeting,
            self._services.terms,
            budget=self._budget(),
            opening=opening,
            from_client=ahead + self._client.take_ahead(),
            from_upstream=dialled.rest,
            compressed=dialled.accepted.extensions is not None,
        )
        if self._ended_by is not None:  # it came too late to cancel what has no checkpoint left
            relay.end(self._ended_by)
        return relay

    def _budget(self) -> Budget | None:
        """What this client may send: by who it is, or by its address where nobody knows that."""
        budgets, identity = self._services.budgets, self._ledger.identity
        if budgets is None:
            return None
        key = (identity.issuer, identity.subject) if identity is not None else self._ledger.address
        return budgets.of(key, trio.current_time())

    async def _run_relay(self, relay: Relay) -> None:
        with self._ledger.relaying(relay):
            cause = await relay.run()
        if relay.fault is not None:
            self._ledger.fault(relay.fault)
        self._ledger.close(cause, relay.detail)

    async def _refuse(self, refused: Refused) -> None:
        """Tell the client why it is not let in, in the words of what it speaks so far."""
        cause, greeting = refused.cause, self._ledger.greeting
        answer = b""
        if self._switched:
            words = greeting.farewell(cause, welcomed=False) if greeting is not None else refused.last_words
            answer = b"".join(farewell.to_client(cause, words))
        elif cause.row.http is not None:
            retry_after = random.randint(1, RETRY_AFTER_MAX_SECONDS)  # noqa: S311 - a spread, not a secret
            answer = farewell.http_refusal(cause, retry_after_seconds=retry_after, head_only=self._head_only)
        try:
            await self._say_last(answer)
        finally:
            self._ledger.close(cause, refused.detail)

    async def _say_last(self, data: bytes) -> None:
        await self._client.say_last(
            data,
            write_seconds=self._settings.ws_write_timeout_seconds,
            linger_seconds=self._settings.ws_control_timeout_seconds,
        )
