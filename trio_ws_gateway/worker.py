"""One process of a group: it is given its settings, its listener, and a link to the parent that started it.

SIGTERM and the parent order it to end; SIGINT, which a terminal sends to all, is the parent's to count. Where the
parent is gone there is nobody to order it, so it drains. ``python -m trio_ws_gateway.worker LISTENER LINK``, both
descriptors.
"""

import pickle
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial

import structlog
import trio

from trio_ws_gateway import collector, gateway, logs, scrape
from trio_ws_gateway.auth.revocation import Revocation
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.gateway import Order
from trio_ws_gateway.live import Live
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.prober import FOUND, Appointee
from trio_ws_gateway.worker_link import Link, NoAnswer

# What passes over the link, beside what ``prober`` says. From the parent:
CUT = "cut"
METRICS = "metrics"  # asked; the answer is a snapshot
# To the parent:
ACCEPTING = "accepting"
REVOKED = "revoked"  # asked, before it accepts anything; the answer is a list of revocations
REVOKE_ALL = "revoke in all"  # asked with a list of revocations; the answer is whether that is in effect
OTHERS_METRICS = "metrics of the others"  # asked with a snapshot; the answer is a list of them

ANSWER_SECONDS = 2.0


def main() -> None:
    listener, link = map(int, sys.argv[1:])
    settings, number = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the parent, which is this program
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (
        logs.Outlet(sys.stdout.fileno()) as outlet,
        socket.socket(fileno=listener) as listening,
        socket.socket(fileno=link) as linked,
    ):
        logs.configure(format=settings.log_format, level=settings.log_level, file=outlet)
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(worker=number)
        collector.take_over()
        try:
            trio.run(gateway.to_the_end, partial(work, settings, log, listening, linked))
        except Exception as error:  # a bare traceback on stderr would not have its tokens cut out
            log.critical("crashed", exc_info=error)
            sys.exit(1)


async def work(
    settings: Settings, log: structlog.typing.FilteringBoundLogger, listener: socket.socket, linked: socket.socket
) -> None:
    """Serve until it is ordered to end, or its parent has gone."""
    give, orders = trio.open_memory_channel[Order](10)
    metrics = Metrics(max_identities=settings.metrics_max_identities)

    async def snapshot(_: object) -> scrape.Snapshot:
        return scrape.snapshot(metrics.registry)

    async def cut(_: object) -> None:
        give.send_nowait(Order.CUT)

    async def exposition() -> bytes:
        own = scrape.snapshot(metrics.registry)
        try:
            others = await link.ask(OTHERS_METRICS, own, seconds=ANSWER_SECONDS)
        except NoAnswer:
            log.warning("metrics incomplete")
            raise scrape.Incomplete from None
        return await scrape.text_in_turns(scrape.summed([own, *others]))

    async def revoke_all(revocations: list[Revocation]) -> bool:
        try:
            return bool(await link.ask(REVOKE_ALL, [each.to_json() for each in revocations], seconds=ANSWER_SECONDS))
        except NoAnswer:
            return False

    live = Live(log)
    appointee = Appointee(lambda *found: link.tell(FOUND, found))
    link = Link(linked, {METRICS: snapshot, CUT: cut, **live.answers, **appointee.answers}, log)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain_on_signal, signals, give)
            nursery.start_soon(_drain_when_alone, link, give)
            await _learn(live, link, log)
            await gateway.run(
                settings,
                log,
                listener=listener,
                orders=orders,
                metrics=metrics,
                live=live,
                revoke_all=revoke_all,
                accepting=lambda: link.tell(ACCEPTING),
                exposition=exposition,
                watch=appointee.watch,
            )
            nursery.cancel_scope.cancel()


async def _learn(live: Live, link: Link, log: structlog.typing.FilteringBoundLogger) -> None:
    """What was revoked before this worker was there. What is from now on it is told over the link."""
    try:
        live.learn(map(Revocation.from_json, await link.ask(REVOKED, seconds=ANSWER_SECONDS)))
    except NoAnswer:
        log.warning("revocations not known")


async def _drain_on_signal(signals: AsyncIterator[int], give: trio.MemorySendChannel[Order]) -> None:
    async for _ in signals:
        await give.send(Order.DRAIN)


async def _drain_when_alone(link: Link, give: trio.MemorySendChannel[Order]) -> None:
    await link.run()
    await give.send(Order.DRAIN)


if __name__ == "__main__":
    main()
