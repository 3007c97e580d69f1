"""The composition root: puts the parts together, listens, and lives until a signal ends it.

``serve`` is the whole life of one process. The first SIGTERM or SIGINT drains: readiness turns
false, new sessions are refused, live ones are closed one after the other over the drain time, and
what is left then is cancelled. A second SIGINT cancels at once. No task, thread or socket outlives it.
"""

import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable

import structlog
import trio

from trio_ws_gateway import wiring
from trio_ws_gateway.acceptor import Acceptor
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.relay.reactor import reactor_if_possible
from trio_ws_gateway.session import Session

BACKLOG = 4096
LAG_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 60.0


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
    keys = wiring.key_source(settings)
    if keys is not None:
        metrics.watch_keys(lambda: keys.age_seconds(trio.current_time()))
    _raise_descriptor_limit()
    with (
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        await _listen(settings) as listener,
        reactor_if_possible() as reactor,
    ):
        acceptor = Acceptor(lambda client, peer: Session(client, peer, services), log)
        services = wiring.services(
            settings, keys=keys, draining=lambda: acceptor.draining, reactor=reactor, metrics=metrics, log=log
        )
        async with trio.open_nursery() as root:
            root.start_soon(_every, LAG_INTERVAL_SECONDS, metrics.loop_lag.set, log)
            if reactor is not None:
                root.start_soon(reactor.run)
            if (budgets := services.budgets) is not None:
                root.start_soon(_every, SWEEP_INTERVAL_SECONDS, lambda _late: budgets.sweep(trio.current_time()), log)
            if keys is not None:
                await root.start(keys.run)
            root.start_soon(acceptor.accept, listener, root)
            port: int = listener.getsockname()[1]
            log.info("listening", host=settings.listen.host, port=port, path=settings.ws_path)
            task_status.started(port)
            await _signalled_and_drained(signals, acceptor, settings.graceful_drain_timeout_seconds)
            root.cancel_scope.cancel()
    log.info("stopped")


async def _signalled_and_drained(signals: AsyncIterator[int], acceptor: Acceptor, drain_seconds: float) -> None:
    """The first signal drains, a second SIGINT does not wait for it."""
    log = acceptor.log
    first = await anext(signals)
    log.info("signal", name=signal.Signals(first).name)
    async with trio.open_nursery() as nursery:

        async def drain() -> None:
            await acceptor.drain(drain_seconds)
            nursery.cancel_scope.cancel()

        nursery.start_soon(drain)
        async for number in signals:
            if number == signal.SIGINT:
                log.warning("second signal", sessions=acceptor.sessions)
                nursery.cancel_scope.cancel()


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


async def _every(seconds: float, chore: Callable[[float], object], log: structlog.typing.FilteringBoundLogger) -> None:
    """Do it again and again; it is told by how many seconds it is late. No session ends for what a chore does wrong."""
    while True:
        due_at = trio.current_time() + seconds
        await trio.sleep_until(due_at)
        try:
            chore(trio.current_time() - due_at)
        except Exception as error:
            log.error("fault", exc_info=error)


def _raise_descriptor_limit() -> None:
    """A session takes two descriptors, and the soft limit of a login shell is 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
