"""Is Redis there, and does it let us in? One PING, in a worker thread, for redis-py's asyncio client knows no Trio.

REDIS_URL holds a password: only host, port and database are ever shown. Nothing is written to Redis.
"""

import time
from functools import partial
from typing import Any

import redis
import trio
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from trio_ws_gateway.checking.findings import Finding, Status, Trouble, quoted
from trio_ws_gateway.checking.probing import until
from trio_ws_gateway.checking.unreachable import ADVICE, Reason, reason_of, refused, words_for

MOST_SOCKET_SECONDS = 2.0  # a thread cannot be cancelled, so none of its waits is long

_HANGS = (
    "A firewall drops packets to it, Redis hangs, or TLS is on one side only: rediss:// speaks it, redis:// does not."
)
_LET_IN = (
    "See user name and password in REDIS_URL: redis://user:password@host, or redis://:password@host without a user."
)
_NO_REDIS = "Another server listens there, or TLS is on one side only: rediss:// speaks it, redis:// does not."


async def check_redis(url: str, timeout_seconds: float, *, has_effect: bool) -> list[Finding]:
    """What PING finds. A Redis that nothing uses yet is a warning at most."""
    try:
        client = _client(url, min(timeout_seconds, MOST_SOCKET_SECONDS))
        place = _place(client)
        with until(trio.current_time() + timeout_seconds, f"{place}: no answer within {timeout_seconds:g} s", _HANGS):
            seconds = await trio.to_thread.run_sync(partial(_ping, client, place), abandon_on_cancel=True)
    except Trouble as trouble:
        if has_effect:
            raise
        mild = Trouble(f"{trouble.detail}; nothing uses it yet", trouble.advice)
        return [mild.found("redis", Status.WARNING)]
    unused = "" if has_effect else "; nothing uses it yet"
    return [Finding("redis", Status.OK, f"{place}: answers PING in {seconds * 1000:.1f} ms{unused}")]


def _client(url: str, socket_seconds: float) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=socket_seconds,
            socket_timeout=socket_seconds,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError):  # their words may repeat the URL
        raise Trouble("REDIS_URL cannot be read", "It looks like redis://user:password@host:6379/0.") from None


def _ping(client: redis.Redis, place: str) -> float:
    began_at = time.monotonic()
    try:
        client.ping()
        return time.monotonic() - began_at
    except (RedisError, OSError, UnicodeError) as error:
        raise _explained(error, client, place) from error
    finally:
        client.close()


def _explained(error: Exception, client: redis.Redis, place: str) -> Trouble:
    options = client.connection_pool.connection_kwargs
    host, port = str(options.get("host", options.get("path", "localhost"))), options.get("port")
    match error:
        case AuthenticationError() if not options.get("password"):
            return Trouble(f"{place}: is there, but wants a password, and REDIS_URL has none", _LET_IN)
        case AuthenticationError() | NoPermissionError():
            return Trouble(f"{place}: is there, but does not let us in: {_said(error, options)}", _LET_IN)
        case BusyLoadingError():
            return Trouble(f"{place}: is there, but still loads its data", "Wait, and ask again.")
        case ResponseError():
            advice = "Redis itself says that: is the database right in REDIS_URL, and what does its log say?"
            return Trouble(f"{place}: is there, but answers {_said(error, options)}", advice)
        case InvalidResponse():
            return Trouble(f"{place}: answers, but not as Redis does", _NO_REDIS)
        case redis.TimeoutError():
            return Trouble(f"{place}: no answer in time", _HANGS)
    reason = reason_of(error)
    if reason is Reason.OTHER:
        return Trouble(f"{place}: {_said(error, options)}", _NO_REDIS)
    return Trouble(f"{place}: {words_for(error, host, port)}", _advice(reason, host))


def _advice(reason: Reason, host: str) -> str:
    match reason:
        case Reason.REFUSED:
            return refused("Does Redis run, and is the port right in REDIS_URL?", host)
        case Reason.CUT | Reason.NOT_TLS:
            return _NO_REDIS
        case Reason.UNTRUSTED:
            return "An authority of your own is named in the URL: rediss://host:6379/0?ssl_ca_certs=/path/to/ca.pem"
        case _:
            return ADVICE.get(reason, "Is REDIS_URL right?")


def _said(error: Exception, options: dict[str, Any]) -> str:
    """Redis repeats no password, and its client does not either; should one ever, it is cut out."""
    text = str(error) or type(error).__name__
    for secret in filter(None, (options.get("password"), options.get("username"))):
        text = text.replace(str(secret), "...")
    return quoted(text, 120)


def _place(client: redis.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    database = options.get("db", 0)
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{where}, database {database}"
