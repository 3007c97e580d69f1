"""The composition root: puts the parts of one process together, and lives until it is ordered to end.

``serve`` is a process by itself, ``run`` one that was given its listener and its orders. The first order drains:
readiness turns false, new sessions are refused, live ones are closed one after the other over the drain time, and
what is left then is cancelled. ``Order.CUT`` cancels at once. No task, thread or socket outlives it.
"""

import math
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from enum import Enum, auto
from functools import partial
from typing import Self

import structlog
import trio

from trio_ws_gateway import collector, scrape, wiring
from trio_ws_gateway.acceptor import Acceptor
from trio_ws_gateway.backchannel import RevokeAll
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.control import of_one_process
from trio_ws_gateway.limits.budgets import Budgets
from trio_ws_gateway.limits.connections import Connections, ConnectionTerms
from trio_ws_gateway.listening import listen
from trio_ws_gateway.live import Live
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.operating import Operation, door_of
from trio_ws_gateway.relay.reactor import reactor_if_possible
from trio_ws_gateway.session import Session
from trio_ws_gateway.turnstile import Turnstile
from trio_ws_gateway.upstream.health import Health

LAG_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 1.0
FEW_SESSIONS = 5_000


class Order(Enum):
    """What a gateway is told from outside."""

    DRAIN = auto()
    CUT = auto()


async def serve(
    settings: Settings,
    log: structlog.typing.FilteringBoundLogger,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a gateway until a signal ends it. Starts with the port that it listens on.

    Raises ``OSError`` where the address cannot be listened on, and ``BadSettings`` for a file that will not do.
    """
    wiring.try_out(settings)
    live = Live(log)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals, await listen(settings.listen) as listener:

        def accepting() -> None:
            port: int = listener.getsockname()[1]
            log.info("listening", host=settings.listen.host, port=port, path=settings.ws_path)
            task_status.started(port)

        async with door_of(settings) as door:
            operation = Operation(settings, live.revocations, of_one_process(live.answers), door, log)
            await run(
                settings,
                log,
                listener=listener,
                orders=SignalledOrders(signals, log),
                metrics=Metrics(max_identities=settings.metrics_max_identities),
                live=live,
                operate=operation.run,
                revoke_all=operation.control.obey,
                accepting=accepting,
            )
    log.info("stopped")


async def to_the_end(serve: Callable[[], Awaitable[None]]) -> None:
    """Serve, and have the process be ended by nobody else from then on: it is about to, and has last lines to write.

    For whoever owns the process. A group is told to end by its parent and by whoever told all of it, so a signal more
    than was waited for is nothing unusual.
    """
    await serve()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


async def run(
    settings: Settings,
    log: structlog.typing.FilteringBoundLogger,
    *,
    listener: socket.socket,
    orders: AsyncIterator[Order],
    accepting: Callable[[], object],
    metrics: Metrics,
    live: Live,
    revoke_all: RevokeAll,
    operate: Callable[..., Awaitable[None]] | None = None,
    exposition: Callable[[], Awaitable[bytes]] | None = None,
    watch: Callable[[Health], Awaitable[None]] = Health.run,
) -> None:
    """Serve what comes to ``listener`` until it is ordered to end.

    ``accepting`` is called when sessions are taken; ``live`` shows them; ``revoke_all``: to revoke in the
    whole group; ``operate``: a service beside them, started
    before they may come; ``exposition``: what ``/metrics`` says, where that is more than
    what is in ``metrics``; ``watch``: how it is known whether upstreams are well. Raises
    ``BadSettings`` for a file that will not do.
    """
    keys = wiring.key_source(settings)
    upstreams = wiring.upstreams(settings, metrics=metrics, log=log)
    if keys is not None:
        metrics.watch_keys(lambda: keys.age_seconds(trio.current_time()))

    async def own_exposition() -> bytes:
        return await scrape.text_in_turns(metrics.registry)

    link = wiring.redis_link(settings, metrics=metrics, log=log)
    shared = None if link is None else wiring.shared_buckets(settings, link, metrics)
    limits = wiring.limits(settings, _raise_descriptor_limit(), link=link, shared=shared, log=log)
    _say_how_many(settings, limits.connections.terms, metrics, log)
    metrics.handshakes.set_function(lambda: limits.connections.handshakes)
    metrics.loop_tasks.set_function(lambda: trio.lowlevel.current_statistics().tasks_living)
    turnstile = Turnstile()
    metrics.handshakes_waiting.set_function(lambda: turnstile.waiting)
    with reactor_if_possible() as reactor:
        acceptor = Acceptor(lambda client, peer: Session(client, peer, services), log, metrics.count_turned_away)
        services = wiring.services(
            settings,
            keys=keys,
            upstreams=upstreams,
            draining=lambda: acceptor.draining,
            reactor=reactor,
            limits=limits,
            turnstile=turnstile,
            revocations=live.revocations,
            revoke_all=revoke_all,
            metrics=metrics,
            exposition=exposition or own_exposition,
            log=log,
        )
        live.watch(lambda: acceptor.live, upstreams.routes, upstreams.health)
        async with trio.open_nursery() as root:
            root.start_soon(_every, LAG_INTERVAL_SECONDS, metrics.loop_lag.set, log)
            if reactor is not None:
                root.start_soon(reactor.run)
            root.start_soon(turnstile.run)
            root.start_soon(_every, collector.NEW_INTERVAL_SECONDS, collector.look_at_the_new, log)
            root.start_soon(_every, collector.ALL_INTERVAL_SECONDS, collector.look_at_all, log)
            root.start_soon(
                _every,
                SWEEP_INTERVAL_SECONDS,
                partial(_sweep, (limits.connections, limits.budgets, limits.strangers)),
                log,
            )
            if link is not None and shared is not None:
                root.start_soon(link.run)
                root.start_soon(shared.run)
                root.start_soon(limits.subjects.run)
                if limits.addresses is not None:
                    root.start_soon(limits.addresses.run)
            if keys is not None:
                await root.start(keys.run)
            await root.start(upstreams.resolver.run)
            if upstreams.health is not None:
                root.start_soon(watch, upstreams.health)
            if operate is not None:
                await root.start(operate)
            root.start_soon(acceptor.accept, listener, root)
            accepting()
            await _ordered_and_drained(orders, acceptor, settings.graceful_drain_timeout_seconds)
            root.cancel_scope.cancel()


class SignalledOrders:
    """The first signal drains; a SIGINT after it does not wait."""

    def __init__(self, signals: AsyncIterator[int], log: structlog.typing.FilteringBoundLogger) -> None:
        self._signals = signals
        self._log = log
        self._first = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Order:
        async for number in self._signals:
            if self._first:
                self._first = False
                self._log.info("signal", name=signal.Signals(number).name)
                return Order.DRAIN
            if number == signal.SIGINT:
                self._log.warning("second signal")
                return Order.CUT
        raise StopAsyncIteration


async def _ordered_and_drained(orders: AsyncIterator[Order], acceptor: Acceptor[Session], drain_seconds: float) -> None:
    async with trio.open_nursery() as nursery:

        async def drain() -> None:
            await acceptor.drain(drain_seconds)
            nursery.cancel_scope.cancel()

        async for order in orders:
            if order is Order.CUT:
                if acceptor.sessions:
                    acceptor.log.warning("cut", sessions=acceptor.sessions)
                nursery.cancel_scope.cancel()
            elif not acceptor.draining:
                nursery.start_soon(drain)


async def _every(seconds: float, chore: Callable[[float], object], log: structlog.typing.FilteringBoundLogger) -> None:
    """Do it again and again; it is told by how many seconds it is late. No session ends for what a chore does wrong."""
    while True:
        due_at = trio.current_time() + seconds
        await trio.sleep_until(due_at)
        try:
            chore(trio.current_time() - due_at)
        except Exception as error:
            log.error("fault", exc_info=error)


def _sweep(tables: Iterable[Budgets | Connections], _late: float) -> None:
    for table in tables:
        table.sweep(trio.current_time())


def _raise_descriptor_limit() -> float:
    """How many descriptors there may be, from now on: the soft limit of a login shell is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return math.inf if hard == resource.RLIM_INFINITY else hard


def _say_how_many(
    settings: Settings, terms: ConnectionTerms, metrics: Metrics, log: structlog.typing.FilteringBoundLogger
) -> None:
    """How many sessions there may be, and a warning where descriptors allow fewer than are wanted, or few."""
    metrics.sessions_limit.set(terms.sessions)
    if terms.sessions < (settings.ws_max_sessions or FEW_SESSIONS):
        log.warning(
            "setting",
            warning=f"the limit of descriptors (ulimit -Hn) is good for {terms.sessions:g} sessions: no more are taken",
        )
