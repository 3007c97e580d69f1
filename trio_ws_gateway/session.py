"""The story of one session, from an accepted connection to its last byte.

Reads from top to bottom: head, admission, early credential, 101, first words, verification, limits,
route, dial, relay, goodbye. Whatever ends it early is a ``Refused``, and ``_refuse`` is the one place
that tells the client. The session owns both sockets and closes them whatever happens.
"""

import math
import random
import socket
from collections.abc import Callable, Mapping
from functools import partial

import structlog
import trio
from attrs import evolve, frozen

from trio_ws_gateway import farewell, leg
from trio_ws_gateway.admission import client_address, origin_allowed
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.client import Client
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.credentials import Carrier, Credential, early_credential, late_cookie, without_token
from trio_ws_gateway.ledger import Ledger
from trio_ws_gateway.limits import rules
from trio_ws_gateway.limits.budgets import Budget
from trio_ws_gateway.limits.rates import Direction
from trio_ws_gateway.limits.stay import Limits, Stay
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.plain_http import PlainHttp
from trio_ws_gateway.protocols.base import Greeting, Opening, Unchanged
from trio_ws_gateway.protocols.opening import OpeningReader
from trio_ws_gateway.protocols.raw import NAME as RAW
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.protocols.registry import Registry
from trio_ws_gateway.reconnection import Reconnection
from trio_ws_gateway.relay.answering import Authorised
from trio_ws_gateway.relay.relay import Reconnected, Relay, Terms
from trio_ws_gateway.relay.timekeeping import ENDS_SPREAD_SECONDS
from trio_ws_gateway.turnstile import Turnstile
from trio_ws_gateway.upstream.dial import Dialled
from trio_ws_gateway.upstream.introduction import Visitor
from trio_ws_gateway.upstream.routes import Routes
from trio_ws_gateway.wire.handshake import (
    Accepted,
    Offer,
    Upgrade,
    build_101,
    check_upgrade,
    choose_subprotocol,
    permessage_deflate_offer,
)
from trio_ws_gateway.wire.http import Request

TURN_SHARE = 0.8  # of the handshake's time, for its turn to come; in the rest those are told for whom it has not


@frozen(kw_only=True)
class Services:
    """What sessions are given. ``authenticator`` is ``None`` where nobody's token is checked."""

    settings: Settings
    configure: Callable[[socket.socket], None]
    plain_http: PlainHttp
    draining: Callable[[], bool]
    authenticator: Authenticator | None
    registry: Registry
    routes: Routes
    terms: Terms
    metrics: Metrics
    turnstile: Turnstile
    limits: Limits
    log: structlog.typing.FilteringBoundLogger


@frozen(kw_only=True)
class Beginning:
    """Who speaks, and what its upstream hears first.

    ``offer``: in the upstream's handshake. ``opening``: frames, free of limits; ``ahead``: what comes behind them.
    """

    visitor: Visitor
    greeting: Greeting
    offer: Offer
    opening: bytes = b""
    ahead: bytes = b""


class Session:
    """One accepted connection. ``run`` it once; ``end`` it from anywhere. Raises ``Refused`` where it must not be."""

    def __init__(self, sock: socket.socket, peer: str, services: Services) -> None:
        self._enter_by = trio.current_time() + TURN_SHARE * services.settings.ws_handshake_timeout_seconds
        self._services = services
        self._settings = services.settings
        self._peer = client_address(peer, (), services.settings.trusted_proxies)
        is_proxy = self._peer in services.settings.trusted_proxies
        self._stay = Stay(services.limits, None if is_proxy else self._peer, trio.current_time())
        self._client = Client(sock, services.terms.reactor)
        self._sockets = [sock]  # ours to close
        self._ledger = Ledger(services.metrics, services.log, self._peer)
        self._refusal: Callable[[Refused], bytes] = _http_refusal  # in the words of what the client speaks so far
        self._before_relay = trio.CancelScope()
        self._ended_by: Cause | None = None  # before the relay, which has a cause of its own
        self._relay: Relay | None = None
        self._told: Identity | None = None  # who its upstream was told that it is
        self._reconnection: Reconnection | None = None  # of its upstream, where that is wanted
        self._again: Beginning | None = None  # what that one will hear

    @property
    def ledger(self) -> Ledger:
        """What is known of it so far."""
        return self._ledger

    def end(self, cause: Cause) -> None:
        """End it for a cause that came from outside; the first one counts."""
        if self._relay is not None:
            self._relay.end(cause)
        else:
            self._ended_by = self._ended_by or cause
            self._before_relay.cancel()

    async def run(self) -> None:
        try:
            self._services.configure(self._client.sock)
            plain_answer = None
            with self._before_relay:
                plain_answer = await self._begin()
            if self._relay is not None:
                await self._run_relay(self._relay)
            elif plain_answer is not None:
                await self._say_last(plain_answer)
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
            for sock in self._sockets:
                leg.close(sock)
            self._stay.leave()

    async def _begin(self) -> bytes | None:
        """Read the request: the answer to a plain one; any other opens a relay."""
        request = await self._client.read_request(
            self._settings.ws_handshake_timeout_seconds, takes_body=self._services.plain_http.takes_body
        )
        if request is None:
            return None
        self._refusal = partial(_http_refusal, head_only=request.method == "HEAD")
        self._ledger.address = client_address(
            self._peer, request.headers.all("x-forwarded-for"), self._settings.trusted_proxies
        )
        answer = await self._services.plain_http.answer(request, self._ledger.address)
        if answer is None:
            self._relay = await self._open(request)
        return answer

    async def _open(self, request: Request) -> Relay:
        """From a request to a relay that is ready to run."""
        upgrade = self._admit(request)
        await self._take_turn_to_enter()
        await self._stay.enter_from(self._ledger.address)
        claimed = self._services.registry.adapter_for(upgrade.subprotocols)
        credential = early_credential(
            request,
            upgrade,
            query_parameters=self._settings.jwt_query_parameter,
            cookie_name=self._token_cookie,
            cookie_waits=claimed is not None,
        )
        visitor = await self._verify(self._visitor(request), credential)
        speaks_raw = credential is not None and claimed is None
        if credential is not None:
            entered = await self._enter(RAW if claimed is None else claimed.name)
        upstream_first = speaks_raw and self._settings.early_dial
        if upstream_first:
            beginning = self._raw_beginning(visitor, upgrade)
        else:
            subprotocol = choose_subprotocol(upgrade.subprotocols, claimed.subprotocols if claimed is not None else ())
            await self._switch(upgrade, subprotocol, None)
            greeting, reader = await self._hear(upgrade, speaks_raw=speaks_raw)
            await self._take_turn()
            if credential is None:
                visitor = await self._verify_late(visitor, greeting)
                entered = await self._enter(greeting.protocol)
            beginning = _beginning(visitor, greeting, reader, subprotocol)
        budgets = self._stay.budgets(entered, trio.current_time())
        dialled = await self._dial(beginning)
        await self._take_turn()
        if upstream_first:
            await self._switch(upgrade, dialled.accepted.subprotocol, dialled.accepted.extensions)
        return self._connect(beginning, dialled, budgets)

    def _admit(self, request: Request) -> Upgrade:
        """Cheap refusals, before any crypto."""
        upgrade = check_upgrade(request, self._settings.ws_path)
        self._services.metrics.connections.inc()
        if self._peer in self._settings.trusted_proxies:
            self._stay.come_from(self._ledger.address, trio.current_time())
        if self._services.draining():
            raise Refused(Cause.DRAINING)
        self._stay.ask_for_session()
        if not origin_allowed(request.headers.get("origin"), self._settings.ws_allowed_origins):
            raise Refused(Cause.FORBIDDEN, "origin")
        return upgrade

    async def _take_turn_to_enter(self) -> None:
        """From here on it costs something. Whoever has left while he waited shall cost no more."""
        turnstile = self._services.turnstile
        if not turnstile.is_free():
            if not await turnstile.wait_to_enter(self._ledger.address, self._enter_by):
                raise Refused(Cause.OVERLOADED, "no turn in time")
            self._client.check_presence("while it waited for its turn")

    async def _take_turn(self) -> None:
        """To go on, after it was waited for somebody."""
        turnstile = self._services.turnstile
        if not turnstile.is_free():
            await turnstile.wait_to_go_on(self._ledger.address)

    def _visitor(self, request: Request) -> Visitor:
        """The client, as long as nobody knows who it is."""
        return Visitor(
            peer=self._peer,
            trusted=self._peer in self._settings.trusted_proxies,
            request=request,
            query=without_token(request.query, self._settings.jwt_query_parameter),
            cookie_name=self._settings.jwt_cookie_name,
        )

    async def _verify(self, visitor: Visitor, credential: Credential | None) -> Visitor:
        """Believe a credential, or refuse the session; nothing where there is none, or nobody to ask."""
        authenticator, metrics = self._services.authenticator, self._services.metrics
        if credential is None or authenticator is None:
            return visitor
        began_at = trio.current_time()
        identity = self._ledger.identity = await authenticator.identify(credential.token)
        metrics.auth_seconds.observe(trio.current_time() - began_at)
        metrics.count_success(identity.subject, identity.preferred_username)
        return evolve(visitor, identity=identity, token=credential.token)

    async def _verify_late(self, visitor: Visitor, greeting: Greeting) -> Visitor:
        """The credential of the first words, or else the cookie; without either only the anonymous go on."""
        credential: Credential | None
        if greeting.credential is not None:
            credential = Credential(greeting.credential, Carrier.FIRST_WORDS)
        else:
            credential = late_cookie(visitor.request, self._token_cookie)
        if credential is None and not self._settings.allow_anonymous:
            raise Refused(Cause.NO_TOKEN)
        return await self._verify(visitor, credential)

    @property
    def _token_cookie(self) -> str | None:
        return self._settings.jwt_cookie_name if self._settings.accepts_cookies else None

    def _raw_beginning(self, visitor: Visitor, upgrade: Upgrade) -> Beginning:
        """A raw client whose credential came early: its 101 will say what its upstream has agreed to."""
        greeting = self._ledger.greeting = RawGreeting(renewal_type=self._settings.renewal_type)
        # A new connection would not know what an old one's messages were compressed against; nor would we.
        unread = not self._settings.raw_reconnect and greeting.overhears is None
        compresses = self._settings.ws_compression == "pass" and unread
        extensions = permessage_deflate_offer(upgrade.extensions) if compresses else None
        offer = Offer(subprotocols=upgrade.subprotocols, extensions=extensions)
        return Beginning(visitor=visitor, greeting=greeting, offer=offer)

    async def _hear(self, upgrade: Upgrade, *, speaks_raw: bool) -> tuple[Greeting, OpeningReader]:
        """Any other client says with its first words what it speaks, and perhaps who it is."""

        def understood(opening: Opening) -> Greeting | None:
            if speaks_raw:
                return RawGreeting(renewal_type=self._settings.renewal_type) if opening.complete else None
            return self._services.registry.recognise(opening)

        reader = OpeningReader(max_bytes=self._settings.ws_first_message_max_bytes, offered=upgrade.subprotocols)
        greeting = await self._client.hear(reader, understood, self._settings.ws_auth_timeout_seconds)
        self._ledger.greeting = greeting
        return greeting, reader

    async def _switch(self, upgrade: Upgrade, subprotocol: str | None, extensions: str | None) -> None:
        await self._client.say(build_101(upgrade, subprotocol, extensions))
        self._refusal = partial(_websocket_refusal, self._ledger)

    async def _enter(self, protocol: str) -> rules.Client:
        """It is known who it is, as far as limits ask."""
        client = self._as_limits_ask(protocol)
        await self._stay.enter(client)
        return client

    def _as_limits_ask(self, protocol: str) -> rules.Client:
        return rules.Client(identity=self._ledger.identity, protocol=protocol, address=self._ledger.address)

    async def _dial(self, beginning: Beginning, tried: int = 0) -> Dialled[Accepted]:
        """Route, and reach the upstream. A client that leaves meanwhile ends the dial."""
        route = self._services.routes.of(beginning.greeting.protocol)
        self._ledger.upstream = route.url.text

        async def reach() -> Dialled[Accepted]:
            dialled = await route.reach(beginning.greeting, beginning.visitor, beginning.offer, tried=tried)
            self._sockets.append(dialled.sock)
            return dialled

        return await self._client.unless_it_leaves(reach, "while its upstream was dialled")

    def _token_ends_at(self, identity: Identity | None) -> float:
        """When a session of that identity ends for it, in seconds since 1970."""
        if identity is None:
            return math.inf
        return identity.expires_at + self._settings.jwt_expiry_grace_seconds + _spread()

    async def _authorise(self, token: str) -> Authorised:
        """Believe a newer token of a live session's, and derive anew what follows from one. Raises ``Refused``."""
        greeting, told, authenticator = self._ledger.greeting, self._told, self._services.authenticator
        if told is None or greeting is None or authenticator is None:
            raise Refused(Cause.FORBIDDEN, "there is no token to renew")
        identity = await authenticator.identify(token)
        if (identity.issuer, identity.subject) != (told.issuer, told.subject):
            raise Refused(Cause.FORBIDDEN, "another one's token")
        greeting.authorise_anew(told, identity)
        self._ledger.identity = identity
        self._services.metrics.renewals.inc()
        if self._again is not None and self._reconnection is not None:
            self._again = evolve(self._again, visitor=evolve(self._again.visitor, identity=identity, token=token))
            self._reconnection.token = token
        budgets = self._stay.budgets(self._as_limits_ask(greeting.protocol), trio.current_time())
        return Authorised(
            token_ends_at=self._token_ends_at(identity),
            budget=budgets[Direction.FROM_CLIENT],
            budget_to_client=budgets[Direction.TO_CLIENT],
        )

    def _too_old_at(self) -> float:
        """When the session has lived long enough, on Trio's clock."""
        return trio.current_time() + (self._settings.max_session_seconds or math.inf) + _spread()

    def _connect(
        self, beginning: Beginning, dialled: Dialled[Accepted], budgets: Mapping[Direction, Budget | None]
    ) -> Relay:
        greeting = self._ledger.greeting = beginning.greeting.without_secrets()
        self._told = beginning.visitor.identity
        if greeting.protocol == RAW and self._settings.raw_reconnect:
            self._reconnection = self._reconnection_of(evolve(beginning, greeting=greeting), dialled.accepted)
        relay = Relay(
            self._client.sock,
            dialled.sock,
            greeting,
            self._services.terms,
            budget=budgets[Direction.FROM_CLIENT],
            budget_to_client=budgets[Direction.TO_CLIENT],
            opening=beginning.opening,
            from_client=beginning.ahead + self._client.take_ahead(),
            from_upstream=dialled.rest,
            compressed=dialled.accepted.extensions is not None,
            token_ends_at=self._token_ends_at(beginning.visitor.identity),
            too_old_at=self._too_old_at(),
            authorise=self._authorise,
        )
        if self._ended_by is not None:  # it came too late to cancel what has no checkpoint left
            relay.end(self._ended_by)
        return relay

    async def _run_relay(self, relay: Relay) -> None:
        self._ledger.begin(relay)
        reconnect = None if self._reconnection is None else partial(self._reconnect, self._reconnection)
        try:
            cause = await relay.run(reconnect)
        finally:
            self._ledger.end(relay)
            relay.untie()
            self._reconnection = None  # which holds the session
        if relay.fault is not None:
            self._ledger.fault(relay.fault)
        self._ledger.close(cause, relay.detail)

    def _reconnection_of(self, beginning: Beginning, accepted: Accepted) -> Reconnection:
        """How it reaches its upstream again: as the same visitor, who has agreed on the same."""
        self._again = evolve(beginning, offer=accepted.again, opening=b"", ahead=b"")

        async def dial(tried: int) -> Dialled[Accepted]:
            again = self._again or beginning
            self._services.metrics.proxy_retries.labels(again.greeting.protocol).inc()
            dialled = await self._dial(again, tried)
            self._told = again.visitor.identity
            return dialled

        return Reconnection(
            self._services.authenticator,
            beginning.visitor.token,
            dial,
            retry_max=self._settings.ws_dial_retry_max,
            lasting_seconds=self._settings.ws_dial_timeout_seconds,
        )

    async def _reconnect(self, reconnection: Reconnection) -> Reconnected:
        """Another upstream in place of the one that was lost."""
        leg.close(self._sockets.pop())
        dialled = await reconnection()
        self._ledger.reconnects += 1
        return Reconnected(upstream=dialled.sock, from_upstream=dialled.rest, from_client=self._client.take_ahead())

    async def _refuse(self, refused: Refused) -> None:
        """Tell the client why it is not let in."""
        try:
            if refused.cause is Cause.UPSTREAM_UNAVAILABLE:  # often of all at once
                await self._take_turn()
            await self._say_last(self._refusal(refused))
        finally:
            self._ledger.close(refused.cause, refused.detail)

    async def _say_last(self, data: bytes) -> None:
        with self._services.limits.connections.showing_out() as patient:
            await self._client.say_last(
                data,
                write_seconds=self._settings.ws_write_timeout_seconds,
                linger_seconds=self._settings.ws_control_timeout_seconds if patient else 0,
            )


def _beginning(visitor: Visitor, greeting: Greeting, reader: OpeningReader, subprotocol: str | None) -> Beginning:
    """That of a client that has its 101, with ``subprotocol``, and has said its first words."""
    match greeting.for_upstream(visitor.identity, visitor.token):
        case Unchanged.AS_IT_CAME:
            opening = reader.as_it_came
        case Unchanged.NOTHING:
            opening = b""
        case bytes(payload):
            opening = reader.rewritten(payload)
    rest = bytes(reader.rest)
    # Only the message that carried the token is free of limits.
    free, ahead = (b"", opening + rest) if greeting.credential is None else (opening, rest)
    return Beginning(visitor=visitor, greeting=greeting, offer=greeting.offer(subprotocol), opening=free, ahead=ahead)


def _spread() -> float:
    """How much later than it might a session ends."""
    return random.uniform(0, ENDS_SPREAD_SECONDS)  # noqa: S311 - a spread, not a secret


def _http_refusal(refused: Refused, *, head_only: bool = False) -> bytes:
    """Nothing for a cause that HTTP has no answer to: who left hears none."""
    if refused.cause.row.http is None:
        return b""
    seconds = farewell.retry_after_seconds()
    return farewell.http_refusal(refused.cause, retry_after_seconds=seconds, head_only=head_only)


def _websocket_refusal(ledger: Ledger, refused: Refused) -> bytes:
    """A Close, and before it what the client's protocol says, as far as that is known."""
    greeting = ledger.greeting
    words = greeting.farewell(refused.cause, welcomed=False) if greeting is not None else refused.last_words
    return b"".join(farewell.to_client(refused.cause, words))
