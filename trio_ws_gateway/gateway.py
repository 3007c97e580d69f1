"""The composition root: builds the services, owns the nursery tree, accepts, and drains.

``serve`` is the whole life of one process. The first SIGTERM or SIGINT drains: readiness turns
false, new sessions are refused, live ones are closed one after the other over the drain time, and
what is left then is cancelled. A second SIGINT cancels at once. No task, thread or socket outlives it.
"""

import errno
import math
import resource
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
import trio
from attrs import field, mutable

from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.jwks import KeySource
from trio_ws_gateway.auth.token import TokenPolicy
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.config.loading import BadSettings, Problem
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.limits.budgets import Budgets
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.plain_http import PlainHttp
from trio_ws_gateway.protocols.registry import Registry, standard_registry
from trio_ws_gateway.relay.pump import new_buffer
from trio_ws_gateway.relay.reactor import Reactor, reactor_if_possible
from trio_ws_gateway.relay.relay import Terms
from trio_ws_gateway.relay.timekeeping import Pace
from trio_ws_gateway.session import Services, Session
from trio_ws_gateway.upstream.dial import Dialler, tls_context
from trio_ws_gateway.wire.frames import NO_LIMIT

BACKLOG = 4096
ACCEPTS_PER_TURN = 64  # then sessions have their turn
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
EXHAUSTED_PAUSE_SECONDS = 0.1
EXHAUSTED_LOG_INTERVAL_SECONDS = 10.0
LAG_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 60.0
DRAIN_SHARE = 0.8  # of the drain time: over this part sessions are told, the rest is for their goodbyes


@mutable(eq=False)
class Gateway:
    """Accepts connections and knows the sessions that live."""

    settings: Settings
    metrics: Metrics
    keys: KeySource | None
    log: structlog.typing.FilteringBoundLogger
    draining: bool = False
    sessions: dict[Session, None] = field(factory=dict)  # in the order of their arrival
    _departure: trio.Event = field(factory=trio.Event)  # the next session to leave while draining

    def unready(self) -> str:
        if self.draining:
            return "draining"
        if self.keys is not None and not self.keys.ready:
            return "the provider's keys are not there yet"
        return ""

    async def accept(self, listener: socket.socket, services: Services, nursery: trio.Nursery) -> None:
        """Accept until cancelled. The nursery runs the sessions."""
        complain_at = -math.inf
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPTS_PER_TURN):
                try:
                    client, peer = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in EXHAUSTED:
                        if trio.current_time() >= complain_at:
                            self.log.error("cannot accept", reason=error.strerror, sessions=len(self.sessions))
                            complain_at = trio.current_time() + EXHAUSTED_LOG_INTERVAL_SECONDS
                        await trio.sleep(EXHAUSTED_PAUSE_SECONDS)
                    break  # else the client is gone already
                nursery.start_soon(self._run_session, client, peer[0], services)

    async def _run_session(self, client: socket.socket, peer: str, services: Services) -> None:
        session = Session(client, peer, services)
        self.sessions[session] = None
        try:
            await session.run()
        except Exception as error:  # it has dealt with what it expects; whatever this is, the others go on
            self.log.error("fault", exc_info=error)
        finally:
            del self.sessions[session]
            if self.draining:
                self._departure.set()
                self._departure = trio.Event()

    async def drain(self) -> None:
        """Tell the sessions to end, spread over the drain time; return when they have, or time is up."""
        self.draining = True
        seconds = self.settings.graceful_drain_timeout_seconds
        live = list(self.sessions)
        self.log.info("draining", sessions=len(live), seconds=seconds)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, live, seconds * DRAIN_SHARE)
                for session in live:
                    while session in self.sessions:
                        await self._departure.wait()
                nursery.cancel_scope.cancel()  # those that are left to tell have gone by themselves
        if left := sum(session in self.sessions for session in live):
            self.log.warning("cut", sessions=left)

    async def _tell(self, live: list[Session], seconds: float) -> None:
        began_at = trio.current_time()
        for position, session in enumerate(live):
            await trio.sleep_until(began_at + seconds * position / len(live))
            session.end(Cause.DRAINING)


async def serve(
    settings: Settings,
    log: structlog.typing.FilteringBoundLogger,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a gateway until a signal ends it. Starts with the port that it listens on.

    Raises ``OSError`` where the address cannot be listened on, and ``BadSettings`` for a file that will not do.
    """
    metrics = Metrics(max_identities=settings.metrics_max_identities)
    keys = _key_source(settings)
    if keys is not None:
        metrics.watch_keys(lambda: keys.age_seconds(trio.current_time()))
    gateway = Gateway(settings, metrics, keys, log)
    registry = standard_registry(settings)
    for protocol in settings.upstream_urls.keys() - set(registry.protocols):
        warning = f"UPSTREAM_{protocol.upper()}_URL is set, but no adapter is called `{protocol}`: nothing goes there"
        log.warning("setting", warning=warning)
    _raise_descriptor_limit()
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        await _listen(settings) as listener,
        reactor_if_possible() as reactor,
    ):
        services = _services(settings, gateway, registry, reactor)
        async with trio.open_nursery() as root:
            root.start_soon(_measure_lag, metrics)
            if reactor is not None:
                root.start_soon(reactor.run)
            if services.budgets is not None:
                root.start_soon(_sweep, services.budgets)
            if keys is not None:
                await root.start(keys.run)
            root.start_soon(gateway.accept, listener, services, root)
            port: int = listener.getsockname()[1]
            log.info("listening", host=settings.listen.host, port=port, path=settings.ws_path)
            task_status.started(port)
            root.start_soon(_await_end, signals, gateway, root.cancel_scope)
    log.info("stopped")


async def _await_end(signals: AsyncIterator[int], gateway: Gateway, scope: trio.CancelScope) -> None:
    """The first signal drains, a second SIGINT does not wait for it; either way everything is cancelled then."""
    async with trio.open_nursery() as nursery:
        first = await anext(signals)
        gateway.log.info("signal", name=signal.Signals(first).name)

        async def drain() -> None:
            await gateway.drain()
            nursery.cancel_scope.cancel()

        nursery.start_soon(drain)
        async for number in signals:
            if number == signal.SIGINT:
                gateway.log.warning("second signal", sessions=len(gateway.sessions))
                nursery.cancel_scope.cancel()
    scope.cancel()


async def _listen(settings: Settings) -> socket.socket:
    address = settings.listen
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


async def _measure_lag(metrics: Metrics) -> None:
    while True:
        due_at = trio.current_time() + LAG_INTERVAL_SECONDS
        await trio.sleep_until(due_at)
        metrics.loop_lag.set(trio.current_time() - due_at)


async def _sweep(budgets: Budgets) -> None:
    while True:
        await trio.sleep(SWEEP_INTERVAL_SECONDS)
        budgets.sweep(trio.current_time())


def _raise_descriptor_limit() -> None:
    """A session takes two descriptors, and the soft limit of a login shell is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _key_source(settings: Settings) -> KeySource | None:
    if settings.jwks_url is None and settings.oidc_issuer is None:
        return None
    return KeySource(
        jwks_url=settings.jwks_url,
        issuer=settings.oidc_issuer if settings.jwks_url is None else None,
        algorithms=settings.jwt_valid_algorithms,
        ttl_seconds=settings.jwks_ttl_minutes * 60,
    )


def _upstream_tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return tls_context(ca_file)
    except OSError as error:
        reason = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        raise BadSettings((Problem("UPSTREAM_CA_FILE", reason, "a file of certificates in PEM"),)) from None


def _budgets(settings: Settings) -> Budgets | None:
    rate, burst = settings.rate_limit_per_second, settings.rate_limit_burst
    return None if rate is None or burst is None else Budgets(rate=rate, burst=burst)


def _services(settings: Settings, gateway: Gateway, registry: Registry, reactor: Reactor | None) -> Services:
    authenticator = None
    if gateway.keys is not None:
        policy = TokenPolicy(
            algorithms=settings.jwt_valid_algorithms,
            issuer=settings.jwt_expected_issuer,
            audiences=settings.jwt_expected_audience,
            leeway_seconds=settings.jwt_leeway_seconds,
        )
        authenticator = Authenticator(keys=gateway.keys, policy=policy)
    return Services(
        settings=settings,
        plain_http=PlainHttp(metrics=gateway.metrics, unready=gateway.unready),
        draining=lambda: gateway.draining,
        authenticator=authenticator,
        registry=registry,
        dialler=Dialler(
            tls=_upstream_tls(settings.upstream_ca_file),
            timeout_seconds=settings.ws_dial_timeout_seconds,
            retry_max=settings.ws_dial_retry_max,
            retry_interval_seconds=settings.ws_dial_retry_interval_seconds,
            user_timeout_seconds=settings.ws_idle_timeout_seconds,
        ),
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
        ),
        metrics=gateway.metrics,
        budgets=_budgets(settings),
        log=gateway.log,
    )
