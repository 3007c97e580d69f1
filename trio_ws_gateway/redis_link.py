"""To Redis: scripts go out in batches from one thread, and nobody waits for a Redis that is away.

A request is put down and answered later by a call; all that wait travel in the next pipeline. Redis is away after one
error or three late answers in a row: then requests are answered with ``None`` at once, and the link tries in the
background, with growing pauses, until a write succeeds in time. Each return begins with a new client, which asks
Sentinels or the cluster anew who serves. Knows nothing of what the scripts do.
"""

import hashlib
import math
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
import trio
from attrs import field, frozen
from redis.exceptions import NoScriptError

from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.redis_client import Client, open_client

LATE_SECONDS = 0.05
LATE_ANSWERS = 3
SOCKET_SECONDS = 0.25
BATCH_MAX = 500  # so that one pipeline is not late by its own length
WAITING_MAX = 20_000  # beyond it Redis is too slow for us, and who asks is told so
PAUSE_SECONDS = 0.1
PAUSE_MAX_SECONDS = 5.0
LIVED_WELL_SECONDS = 10.0

Reply = Sequence[int]
Answered = Callable[[Reply | None], None]
"""``None``: Redis is away, or nobody knows whether the request was done. Called in the event loop; must not raise."""


@frozen
class Script:
    """A Lua script that returns so many whole ``numbers``, and never anything else."""

    text: str
    numbers: int = field(kw_only=True)
    sha: str = field(init=False)

    @sha.default
    def _sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


@frozen
class _Request:
    script: Script
    words: tuple[str | int | float, ...]  # number of keys, keys, arguments
    answered: Answered


class Away(Exception):
    """Redis cannot be used now; the message says why, and is fit for a log."""


class RedisLink:
    """``prefix``: of all keys. ``changed`` is told whether Redis is there, at each change and at the start.

    ``is_away``: it cannot be used now. ``late_at``: when what has been sent and not been answered is late; ``math.inf``
    where there is nothing of that kind. Nothing that is asked after that is answered sooner.
    """

    def __init__(
        self,
        url: RedisUrl,
        *,
        prefix: str,
        log: structlog.typing.FilteringBoundLogger,
        changed: Callable[[bool], object],
    ) -> None:
        self._url = url
        self._log = log
        self._changed = changed
        self._trial = _trial(prefix)
        self._client: Client | None = None
        self.is_away = True
        self.late_at = math.inf
        self._waiting: deque[_Request] = deque()
        self._work = trio.Event()
        self._late = 0
        self._failures = 0
        self._back_at = 0.0
        self._thread = trio.CapacityLimiter(1)  # of our own: names that do not resolve take up the common ones

    def submit(self, script: Script, key: str, *arguments: str | float, answered: Answered) -> None:
        """Have a script run on one key. Never waits; ``answered`` is called later, or at once where Redis is away."""
        if self._client is None or len(self._waiting) >= WAITING_MAX:
            answered(None)
            return
        self._waiting.append(_Request(script, (1, key, *arguments), answered))
        self._work.set()

    async def call(self, script: Script, key: str, *arguments: str | float) -> Reply | None:
        """The answer, ``None`` where there is none in ``LATE_SECONDS``, or Redis is late already. Cancelled, it may be
        done all the same."""
        heard: list[Reply | None] = []
        done = trio.Event()

        def answered(reply: Reply | None) -> None:
            heard.append(reply)
            done.set()

        self.submit(script, key, *arguments, answered=answered)
        with trio.move_on_at(min(trio.current_time() + LATE_SECONDS, self.late_at)):
            await done.wait()
        if not heard:  # where it is the loop that was late, the answer may be there by now
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        return heard[0] if heard else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled. Started when Redis has been looked for once, there or not."""
        try:
            await self._return()
            task_status.started()
            while True:
                if self._client is None:
                    await trio.sleep(self._pause())
                    await self._return()
                else:
                    await self._send_batch(self._client)
        finally:
            self._let_go()

    async def _send_batch(self, client: Client) -> None:
        await self._work.wait()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
        replies: list[Reply | None] = [None] * len(batch)
        self.late_at = trio.current_time() + LATE_SECONDS
        try:
            found, seconds = await self._in_thread(partial(_execute, client, batch))
            replies = [reply if _is_answer(reply, to) else None for to, reply in zip(batch, found, strict=True)]
            _check(batch, found)
            self._late = self._late + 1 if seconds > LATE_SECONDS else 0
            if self._late == LATE_ANSWERS:
                raise Away(f"{LATE_ANSWERS} answers in a row took more than {LATE_SECONDS * 1000:g} ms")
        except Away as away:
            self._leave(str(away))
        finally:
            self.late_at = math.inf
            for request, reply in zip(batch, replies, strict=True):
                request.answered(reply)
        if not self._waiting:
            self._work = trio.Event()

    async def _return(self) -> None:
        """Try to write something, with a new client; if that works in time, Redis is there."""
        try:
            self._client = await self._in_thread(partial(_connected, self._url, self._trial))
        except Away as away:
            if self._failures == 0:  # at the start; else it has been said
                self._tell(str(away))
            self._failures += 1
        else:
            self._late, self._back_at = 0, trio.current_time()
            self.is_away = False
            self._log.info("redis is there", redis=self._url.where)
            self._changed(True)

    def _leave(self, reason: str) -> None:
        if trio.current_time() - self._back_at > LIVED_WELL_SECONDS:
            self._failures = 0
        self._failures += 1
        self._let_go()
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        self._log.warning("redis is away", redis=self._url.where, reason=reason)
        self._changed(False)

    def _pause(self) -> float:
        """Before the next try: it doubles with each failure, and is jittered, for all gateways lost it together."""
        longest = min(PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 10), PAUSE_MAX_SECONDS)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - a spread, not a secret

    def _let_go(self) -> None:
        client, self._client = self._client, None
        self.is_away = True
        if client is not None:
            client.close()
        waiting, self._waiting = self._waiting, deque()
        self._work = trio.Event()
        for request in waiting:
            request.answered(None)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work returns
        """Each wait of the thread's is short, and closing the client ends it: when cancelled, it is left alone."""
        try:
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._thread)
        except Away:
            raise
        except Exception as error:  # whatever redis-py makes of a network: who asked logs it, and the gateway goes on
            raise Away(str(error) or type(error).__name__) from None


def _execute(client: Client, batch: Sequence[_Request]) -> tuple[list[Any], float]:
    """In the thread: one pipeline, and a second one for the scripts that Redis does not have (any more)."""
    began_at = time.perf_counter()
    replies = _pipelined(client, [("EVALSHA", request.script.sha, *request.words) for request in batch])
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again = _pipelined(client, [("EVAL", batch[index].script.text, *batch[index].words) for index in unknown])
        for index, reply in zip(unknown, again, strict=True):
            replies[index] = reply
    return replies, time.perf_counter() - began_at


def _pipelined(client: Client, commands: Sequence[tuple[str | int | float, ...]]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)  # a cluster's pipeline has this, and no evalsha
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _connected(url: RedisUrl, trial: _Request) -> Client:
    """In the thread: a client that has a connection over which Redis answers in time."""
    client = open_client(url, SOCKET_SECONDS)
    try:
        for _ in range(2):  # the first one connects, which may take longer
            found, seconds = _execute(client, [trial])
            _check([trial], found)
        if seconds > LATE_SECONDS:
            raise Away(f"an answer took more than {LATE_SECONDS * 1000:g} ms")
    except BaseException:
        client.close()
        raise
    return client


def _is_answer(reply: object, to: _Request) -> bool:
    """Whatever is at that address may say anything, and who has asked takes it for what the script returns."""
    return (
        isinstance(reply, list) and len(reply) == to.script.numbers and all(isinstance(number, int) for number in reply)
    )


def _check(batch: Sequence[_Request], replies: Sequence[Any]) -> None:
    """Raise ``Away`` for what is no answer: an error, or something that no script of ours returns."""
    for request, reply in zip(batch, replies, strict=True):
        if isinstance(reply, Exception):
            raise Away(str(reply))
        if not _is_answer(reply, request):
            raise Away("it answers what no script of ours returns")


def _trial(prefix: str) -> _Request:
    """A script that writes: a Redis that is read-only, full, or does not let us write, answers PING all the same."""
    script = Script("return redis.call('SET', KEYS[1], '1', 'PX', 1000) and {1}", numbers=1)
    return _Request(script, (1, f"{prefix}trial"), lambda _: None)
