"""Revocations between gateways, through Redis: each tells the others, and learns what it has missed.

A sorted set holds them, by when each may be forgotten, and a channel rings with every new one. Who comes to Redis, or
back to it, listens first, then reads the set and writes what that lacks: so nothing is missed in between, and a Redis
that has lost its memory gets it back from whoever knows. While Redis is away nothing is forgotten and nobody waits.

Threat: whoever can write there can revoke what he likes. He lets nobody in: no gateway takes back what it has heard,
and what is no revocation is not believed.
"""

import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog
import trio
from attrs import frozen
from redis.client import PubSub

from trio_ws_gateway.auth.revocation import REVOCATIONS_MAX, Revocation, Revocations
from trio_ws_gateway.auth.token import MAX_NUMERIC_DATE
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.redis_client import Client, open_client

SOCKET_SECONDS = 0.25
LISTEN_SECONDS = 0.25  # then it is asked whether Redis is still there
BATCH_MAX = 1000
PAUSE_SECONDS = 0.1
PAUSE_MAX_SECONDS = 1.0

# Threat: an entry of somebody else's, or a key of another kind, must keep nobody from being told.
_TELL = """
local latest = tonumber(ARGV[1])
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'zset' and kind ~= 'none' then
    redis.call('DEL', KEYS[1])
end
for i = 2, #ARGV, 2 do
    redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
end
for i = 3, #ARGV, 2 do
    redis.call('PUBLISH', KEYS[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf')
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
    redis.call('EXPIREAT', KEYS[1], math.min(math.ceil(last[2]) + 1, latest))
end
return 1
"""

T = TypeVar("T")


class Away(Exception):
    """Redis cannot be used now; the message says why, and is fit for a log."""


class Exchange:
    """One gateway's part. ``prefix``: of the key, which is the channel too. ``hear``: what others have revoked, be it
    known already or not; ``revocations``: what this gateway knows."""

    def __init__(
        self,
        url: RedisUrl,
        *,
        prefix: str,
        revocations: Revocations,
        hear: Callable[[list[Revocation]], Awaitable[None]],
        log: structlog.typing.FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._key = f"{prefix}revocations"
        self._revocations = revocations
        self._hear = hear
        self._log = log
        self._clock = clock
        self._client: Client | None = None  # while Redis is there
        self._failures = 0
        self._threads = trio.CapacityLimiter(2)  # of our own: one listens, one tells

    async def tell(self, revocation: Revocation) -> bool:
        """Whether the others hear of it now; else they do when Redis is back, from what this gateway knows."""
        client = self._client
        if client is None:
            return False
        try:
            await self._in_thread(partial(_tell, client, self._key, [revocation]))
        except Away:
            if client is self._client:
                self._client = None  # whoever listens notices, and begins anew with what the others lack
            return False
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started when Redis has been asked once, there or not."""
        started = False

        def start() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        async with trio.open_nursery() as nursery:
            while True:
                try:
                    await self._take_part(nursery, start)
                except Away as away:
                    if self._failures == 0:
                        self._log.warning("revocations not shared", redis=self._url.where, reason=str(away))
                    self._failures += 1
                start()
                longest = min(PAUSE_SECONDS * 2.0 ** min(self._failures, 10), PAUSE_MAX_SECONDS)
                await trio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - a spread, not a secret

    async def _take_part(self, nursery: trio.Nursery, start: Callable[[], object]) -> None:
        """For as long as Redis is there. Raises ``Away``."""
        client = await self._in_thread(partial(open_client, self._url, SOCKET_SECONDS))
        subscription: PubSub | None = None
        try:
            subscription = await self._in_thread(partial(_subscribed, client, self._key))
            found = self._heard(await self._in_thread(partial(_whole, client, self._key)))
            await self._hear(found)
            known = list(self._revocations)
            missing = await self._in_thread(partial(_missing, found, known, self._clock()))
            for first in range(0, len(missing), BATCH_MAX):
                await self._in_thread(partial(_tell, client, self._key, missing[first : first + BATCH_MAX]))
            self._client, self._failures = client, 0
            self._log.info("revocations shared", redis=self._url.where, heard=len(found), told=len(missing))
            start()
            while self._client is client:
                if heard := self._heard(await self._in_thread(partial(_listen, subscription))):
                    nursery.start_soon(
                        self._hear, heard
                    )  # a process that is slow to answer keeps nobody from listening
            raise Away("what was told was not taken")
        finally:
            self._client = None
            if subscription is not None:
                subscription.close()
            client.close()

    def _heard(self, texts: "_Texts") -> list[Revocation]:
        if texts.junk:
            self._log.warning("no revocations", redis=self._url.where, key=self._key, entries=texts.junk)
        return texts.revocations

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Each wait of the thread's is short, and closing the client ends it: when cancelled, it is left alone."""
        try:
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
        except Away:
            raise
        except Exception as error:  # whatever redis-py makes of a network: who asked logs it, and the gateway goes on
            raise Away(str(error) or type(error).__name__) from None


# In the thread, for a hundred thousand revocations would hold up the event loop for a second


@frozen
class _Texts:
    """What was read, and how many texts were something else."""

    revocations: list[Revocation]
    junk: int = 0


def _read(texts: Iterable[bytes]) -> _Texts:
    found, junk = [], 0
    for text in texts:
        try:
            found.append(Revocation.from_json(json.loads(text)))
        except Exception:  # whatever somebody has written: who asked logs how many
            junk += 1
    return _Texts(found, junk)


def _missing(found: Iterable[Revocation], known: Iterable[Revocation], now: float) -> list[Revocation]:
    there = set(found)
    return [each for each in known if each.until > now and each not in there]


def _subscribed(client: Client, channel: str) -> PubSub:
    subscription: PubSub = client.pubsub()  # type: ignore[no-untyped-call]
    try:
        subscription.subscribe(channel)
        _await(subscription, "subscribe")
    except BaseException:
        subscription.close()
        raise
    return subscription


def _whole(client: Client, key: str) -> _Texts:
    """Those that are remembered longest first, where there are more than any gateway remembers."""
    if client.type(key) not in (b"zset", b"none"):
        return _Texts([], junk=1)  # the next that is told takes its place
    return _read(client.zrevrange(key, 0, REVOCATIONS_MAX - 1))  # type: ignore[arg-type]


def _tell(client: Client, key: str, revocations: Sequence[Revocation]) -> None:
    words = [word for each in revocations for word in (each.until, json.dumps(each.to_json(), sort_keys=True))]
    client.eval(_TELL, 1, key, MAX_NUMERIC_DATE, *words)


def _listen(subscription: PubSub) -> _Texts:
    """What has been said; nothing where nothing is, and Redis says that it is there."""
    message = _next(subscription, LISTEN_SECONDS)
    if message is None:
        subscription.ping()
        return _read(_await(subscription, "pong"))
    heard: list[bytes] = []
    while message is not None and len(heard) < BATCH_MAX:
        if message["type"] == "message":
            heard.append(message["data"])
        message = _next(subscription, 0)
    return _read(heard)


def _await(subscription: PubSub, kind: str) -> list[bytes]:
    """Wait for Redis to say that; what has been said before it. Raises ``Away``."""
    heard: list[bytes] = []
    while (message := _next(subscription, SOCKET_SECONDS)) is not None:
        if message["type"] == "message":
            heard.append(message["data"])
        elif message["type"] == kind:
            return heard
    raise Away("it does not answer")


def _next(subscription: PubSub, seconds: float) -> Any:  # noqa: ANN401 - a message of redis-py
    return subscription.get_message(timeout=seconds)
