"""Settings become services: which part gets which setting, and what is passed to what.

Opens nothing but the files that settings name, starts nothing, and keeps nothing.
"""

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import structlog
import trio
from attrs import frozen

from trio_ws_gateway import leg, redis_client
from trio_ws_gateway.admin.credential import credential_of
from trio_ws_gateway.auth import revocation
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.exchange import Exchange
from trio_ws_gateway.auth.jwks import KeySource
from trio_ws_gateway.auth.revocation import Revocations
from trio_ws_gateway.auth.token import TokenPolicy
from trio_ws_gateway.backchannel import BackchannelLogout, RevokeAll
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.config.limit_rules import RateLimit
from trio_ws_gateway.config.loading import BadSettings, Problem
from trio_ws_gateway.config.settings import Settings, upstream_setting
from trio_ws_gateway.limits.budgets import Budget, Budgets
from trio_ws_gateway.limits.connections import Connections, ConnectionTerms, reserved, sessions_for
from trio_ws_gateway.limits.purses import Common, MakePurse, budget, in_memory, windowed
from trio_ws_gateway.limits.rates import Rate, Spender, of_all
from trio_ws_gateway.limits.rules import Allowance, LimitTable
from trio_ws_gateway.limits.session_counts import SessionCounts
from trio_ws_gateway.limits.shared import SharedBuckets
from trio_ws_gateway.limits.stay import Limits
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.plain_http import PlainHttp
from trio_ws_gateway.protocols.mqtt import parse_mqtt_credentials
from trio_ws_gateway.protocols.registry import Registry, standard_registry
from trio_ws_gateway.redis_link import RedisLink
from trio_ws_gateway.relay.intake import new_buffer
from trio_ws_gateway.relay.reactor import Reactor
from trio_ws_gateway.relay.relay import Terms
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.scrape import OneAtATime
from trio_ws_gateway.session import Services
from trio_ws_gateway.turnstile import Turnstile
from trio_ws_gateway.upstream.dial import Dialler, tls_context
from trio_ws_gateway.upstream.health import Health, Probe
from trio_ws_gateway.upstream.probes import Probes
from trio_ws_gateway.upstream.resolver import Resolver
from trio_ws_gateway.upstream.routes import Routes
from trio_ws_gateway.wire.frames import NO_LIMIT
from trio_ws_gateway.wire.mqtt import Connect

COMPLAINT_INTERVAL_SECONDS = 60.0
MAX_STRANGERS = 50_000  # addresses without a token, whose budgets are remembered: some 60 MB


@frozen(kw_only=True)
class Upstreams:
    """What stands behind the gateway, and what watches over it. ``health``: ``None`` where nothing is probed."""

    resolver: Resolver
    routes: Routes
    health: Health | None


def try_out(settings: Settings) -> None:
    """Raise ``BadSettings`` for what ``services`` would not do with, before anything is opened."""
    key_source(settings)
    upstream_tls(settings.upstream_ca_file)
    credential_of(settings)
    try_redis_url(settings)


def try_redis_url(settings: Settings) -> None:
    """Raise ``BadSettings`` for one with which no connection is made."""
    if settings.redis_url is not None:
        try:
            redis_client.check(settings.redis_url)
        except ValueError as error:
            raise BadSettings((Problem("REDIS_URL", str(error), "a URL as redis-py takes it"),)) from None


def key_source(settings: Settings) -> KeySource | None:
    """Where keys come from; ``None`` where nobody's token is checked. Raises ``BadSettings``."""
    if settings.jwks_url is None and settings.oidc_issuer is None:
        return None
    name, discovers = ("OIDC_ISSUER", True) if settings.jwks_url is None else ("JWKS_URL", False)
    try:
        return KeySource(
            jwks_url=settings.jwks_url,
            issuer=settings.oidc_issuer if discovers else None,
            algorithms=settings.jwt_valid_algorithms,
            ttl_seconds=settings.jwks_ttl_minutes * 60,
        )
    except ValueError:  # IDNA 2008 is stricter than what the settings are read with
        raise BadSettings((Problem(name, "has a host name that IDNA does not allow", "a URL"),)) from None


def upstreams(settings: Settings, *, metrics: Metrics, log: structlog.typing.FilteringBoundLogger) -> Upstreams:
    """The way to the upstreams. Raises ``BadSettings`` for a file that will not do."""
    tls, resolver = upstream_tls(settings.upstream_ca_file), Resolver()
    routes = Routes(
        settings.upstreams,
        dialler=Dialler(
            tls=tls,
            resolve=resolver.addresses,
            timeout_seconds=settings.ws_dial_timeout_seconds,
            retry_max=settings.ws_dial_retry_max,
            retry_interval_seconds=settings.ws_dial_retry_interval_seconds,
            configure=_configure(settings),
        ),
        threshold=settings.cb_failure_threshold,
        open_seconds=settings.cb_open_timeout_seconds,
        metrics=metrics,
        forwards_token=settings.raw_forward_token,
        log=log,
    )
    if settings.cb_healthcheck_interval_seconds == 0:
        return Upstreams(resolver=resolver, routes=routes, health=None)
    health = Health(
        _probes(settings, tls),
        interval_seconds=settings.cb_healthcheck_interval_seconds,
        timeout_seconds=settings.ws_dial_timeout_seconds,
        well=routes.is_healthy,
        metrics=metrics,
        log=log,
    )
    return Upstreams(resolver=resolver, routes=routes, health=health)


def redis_link(settings: Settings, *, metrics: Metrics, log: structlog.typing.FilteringBoundLogger) -> RedisLink | None:
    """The way to Redis, where the settings name one."""
    if settings.redis_url is None:
        return None

    def changed(is_up: bool) -> None:
        metrics.redis_away.set(not is_up)

    return RedisLink(settings.redis_url, prefix=settings.redis_prefix, log=log, changed=changed)


def connections(settings: Settings, descriptors: float) -> Connections:
    """Who may come. ``descriptors``: how many this process may have, ``math.inf`` for any number."""
    sessions: float = settings.ws_max_sessions or math.inf
    usable = math.inf
    if descriptors < math.inf:
        sessions = min(sessions, sessions_for(int(descriptors)))
        usable = descriptors - reserved(int(descriptors)) // 2
    return Connections(
        ConnectionTerms(
            descriptors=usable,
            sessions=sessions,
            sessions_per_address=settings.ws_max_sessions_per_address or math.inf,
            handshakes=settings.ws_max_handshakes or math.inf,
            handshakes_per_address=settings.ws_max_handshakes_per_address or math.inf,
            rate_per_address=settings.ws_connections_per_second_per_address or math.inf,
            burst_per_address=settings.ws_connections_burst_per_address,
            exempt=settings.ws_address_limits_exempt,
        )
    )


def services(
    settings: Settings,
    *,
    keys: KeySource | None,
    upstreams: Upstreams,
    draining: Callable[[], bool],
    reactor: Reactor | None,
    turnstile: Turnstile,
    limits: Limits,
    revocations: Revocations,
    revoke_all: RevokeAll,
    metrics: Metrics,
    exposition: Callable[[], Awaitable[bytes]],
    log: structlog.typing.FilteringBoundLogger,
) -> Services:
    """What sessions are given."""

    def unready() -> str:
        if draining():
            return "draining"
        if keys is not None and not keys.ready:
            return "the provider's keys are not there yet"
        return "" if upstreams.health is None else upstreams.health.unready(settings.ready_needs_upstreams)

    authenticator = _authenticator(settings, keys, revocations)
    logout = None
    if authenticator is not None and settings.oidc_client_id is not None:
        terms = revocation_terms(settings)
        logout = BackchannelLogout(authenticator, settings.oidc_client_id, terms, revocations, revoke_all, log)

    return Services(
        settings=settings,
        configure=_configure(settings),
        plain_http=PlainHttp(metrics=OneAtATime(exposition), unready=unready, logout=logout),
        draining=draining,
        authenticator=authenticator,
        registry=_registry(settings, log),
        routes=upstreams.routes,
        terms=Terms(
            buffer=new_buffer(),
            reactor=reactor,
            pace=Pace(
                ping_seconds=settings.ws_ping_interval_seconds or math.inf,
                idle_seconds=settings.ws_idle_timeout_seconds,
                data_idle_seconds=settings.ws_data_idle_timeout_seconds or math.inf,
            ),
            write_timeout_seconds=settings.ws_write_timeout_seconds,
            control_timeout_seconds=settings.ws_control_timeout_seconds,
            close_timeout_seconds=settings.ws_close_timeout_seconds,
            max_message_bytes=settings.ws_max_message_bytes or NO_LIMIT,
            max_message_bytes_to_client=settings.ws_max_message_bytes_to_client or NO_LIMIT,
            max_fragments=settings.ws_max_fragments or NO_LIMIT,
        ),
        metrics=metrics,
        turnstile=turnstile,
        limits=limits,
        log=log,
    )


def _configure(settings: Settings) -> Callable[[socket.socket], None]:
    """What both legs of a session are told."""
    return partial(
        leg.configure,
        user_timeout_seconds=settings.tcp_user_timeout_seconds,
        unsent_max_bytes=settings.tcp_unsent_max_bytes,
        receive_buffer_bytes=settings.tcp_receive_buffer_bytes,
    )


def _authenticator(settings: Settings, keys: KeySource | None, revocations: Revocations) -> Authenticator | None:
    if keys is None:
        return None
    policy = TokenPolicy(
        algorithms=settings.jwt_valid_algorithms,
        issuer=settings.jwt_expected_issuer,
        audiences=settings.jwt_expected_audience,
        leeway_seconds=settings.jwt_leeway_seconds,
        kept_claims=frozenset[str]().union(*(rule.claims_read for rule in settings.limits)),
    )
    return Authenticator(keys=keys, policy=policy, revocations=revocations, verdicts=settings.jwt_cache_size)


def revocation_terms(settings: Settings) -> revocation.Terms:
    """How long a revocation is needed, and of whose tokens."""
    return revocation.Terms(
        life_seconds=settings.jwt_max_life_seconds,
        leeway_seconds=settings.jwt_leeway_seconds,
        issuer=settings.jwt_expected_issuer,
    )


def exchange(
    settings: Settings,
    revocations: Revocations,
    hear: Callable[[list[revocation.Revocation]], Awaitable[None]],
    log: structlog.typing.FilteringBoundLogger,
) -> Exchange | None:
    """The way to other gateways' revocations, where the settings want one."""
    if settings.jwt_cache_store != "redis" or settings.redis_url is None:
        return None
    return Exchange(settings.redis_url, prefix=settings.jwt_cache_prefix, revocations=revocations, hear=hear, log=log)


def _registry(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> Registry:
    registry = standard_registry(settings)
    for protocol in settings.upstream_urls.keys() - set(registry.protocols):
        log.warning("setting", warning=nobodys(protocol))
    return registry


def nobodys(protocol: str) -> str:
    """What to say of an upstream whose protocol nobody speaks."""
    return f"{upstream_setting(protocol)} is set, but no adapter is called `{protocol}`: nothing goes there"


def upstream_tls(ca_file: Path | None) -> ssl.SSLContext:
    """What ``wss://`` upstreams are verified with. Raises ``BadSettings``."""
    try:
        return tls_context(ca_file)
    except OSError as error:
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        raise BadSettings((Problem("UPSTREAM_CA_FILE", reason, "a file of certificates in PEM"),)) from None


def _probes(settings: Settings, tls: ssl.SSLContext) -> Mapping[str, Probe]:
    """How each upstream is asked, by protocol. All are offered the name that sessions would offer them."""
    adapters = {adapter.name: adapter for adapter in standard_registry(settings).adapters}
    found: dict[str, Probe] = {}
    for protocol, url in settings.upstreams.items():
        names = adapters[protocol].subprotocols if protocol in adapters else ()
        if protocol == "mqtt" and settings.upstream_mqtt_subprotocol != "auto":
            names = (settings.upstream_mqtt_subprotocol,)
        probes = Probes(url=url, tls=tls, subprotocol=next(iter(names), None))
        match settings.cb_healthcheck_mode:
            case "tcp":
                found[protocol] = probes.tcp
            case "http":
                found[protocol] = partial(probes.http, settings.cb_healthcheck_path)
            case "mqtt" if protocol == "mqtt":
                found[protocol] = partial(probes.mqtt, _probing_connect(settings, probes.subprotocol))
            case _:
                found[protocol] = probes.websocket
    return found


def _probing_connect(settings: Settings, subprotocol: str | None) -> Connect:
    """Nobody's, or the service account's where all sessions have the same: no probe has a token to take names from."""
    connect = Connect(level=3 if subprotocol == "mqttv3.1" else 4, client_id="probe")
    try:
        return parse_mqtt_credentials(settings.upstream_mqtt_credentials).applied_to(connect, None)
    except Refused:
        return connect


def shared_buckets(settings: Settings, link: RedisLink, metrics: Metrics) -> SharedBuckets:
    """The limits that all gateways share."""
    return SharedBuckets(
        link,
        prefix=settings.redis_prefix,
        algorithm=settings.rate_limit_algorithm,
        gave_up=metrics.redis_late.inc,
    )


def limits(
    settings: Settings,
    descriptors: float,
    *,
    link: RedisLink | None,
    shared: SharedBuckets | None,
    log: structlog.typing.FilteringBoundLogger,
) -> Limits:
    """What sessions count in. ``descriptors``: as for ``connections``."""
    make = _budget(settings, shared)
    return Limits(
        connections=connections(settings, descriptors),
        subjects=SessionCounts("subject", link=link, prefix=settings.redis_prefix),
        addresses=_addresses(settings, link),
        budgets=Budgets(make),
        strangers=Budgets(make, most=MAX_STRANGERS),
        table=_limit_table(settings, log),
    )


def _addresses(settings: Settings, link: RedisLink | None) -> SessionCounts | None:
    """Sessions of one address in all gateways; ``None`` where each looks after its own, as ``connections`` do."""
    if link is None or not settings.ws_max_sessions_per_address:
        return None
    return SessionCounts("address", link=link, prefix=settings.redis_prefix)


def _budget(settings: Settings, shared: SharedBuckets | None) -> Callable[[Spender, float], Budget]:
    """What makes a full one."""
    here: MakePurse = windowed if settings.rate_limit_algorithm == "fixed-window" else in_memory
    make = here if shared is None else shared.purse
    now = trio.current_time()
    together = {
        direction: Common.of(rates, direction, now, make=make) for direction, rates in of_all(_rates(settings)).items()
    }
    return lambda spender, now: budget(together[spender.direction], spender, now, make=make, make_here=here)


def _limit_table(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> LimitTable:
    defaults = Allowance(_rates(settings), settings.ws_max_sessions_per_subject or math.inf)
    pausing = frozenset(limit for limit in RateLimit if _pauses(settings, limit))
    return LimitTable(settings.limits, defaults, pausing, unusable=_complaint(log))


def _complaint(log: structlog.typing.FilteringBoundLogger) -> Callable[[str], None]:
    """What to do about a claim that carries no number: name it, not what it says, and once in a while."""
    next_at: dict[str, float] = {}

    def complain(claim: str) -> None:
        if (now := trio.current_time()) >= next_at.get(claim, -math.inf):
            next_at[claim] = now + COMPLAINT_INTERVAL_SECONDS
            log.warning("unusable claim", claim=claim)

    return complain


def _rates(settings: Settings) -> Mapping[RateLimit, Rate]:
    """The limits on rates that are set."""
    rates = {}
    for limit in RateLimit:
        name = limit.value.lower()
        per_second, burst = getattr(settings, f"{name}_per_second"), getattr(settings, f"{name}_burst")
        if per_second is not None:
            rates[limit] = Rate(per_second, burst, pauses=_pauses(settings, limit))
    return rates


def _pauses(settings: Settings, limit: RateLimit) -> bool:
    return bool(getattr(settings, f"{limit.value}_EXCEEDED".lower()) == "pause")
