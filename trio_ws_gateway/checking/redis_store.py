"""Is Redis there, does it let us in, and may we do all that limits need? Each script is run once, in a worker thread.

REDIS_URL holds a password: only hosts, ports and database are ever shown. What is written to Redis is gone soon.
"""

import hashlib
import time
from functools import partial
from typing import Any

import redis
import trio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.sentinel import MasterNotFoundError

from trio_ws_gateway.checking.findings import Finding, Status, Trouble, quoted
from trio_ws_gateway.checking.running import until
from trio_ws_gateway.config.redis_url import Form, RedisUrl
from trio_ws_gateway.diagnosis.unreachable import ADVICE, Reason, reason_of, refused, words_for
from trio_ws_gateway.limits.scripts import FIXED_WINDOW, SESSIONS, TOKEN_BUCKET
from trio_ws_gateway.redis_client import Client, of_servers, open_client

MOST_SOCKET_SECONDS = 2.0  # a thread cannot be cancelled, so none of its waits is long

_HANGS = (
    "A firewall drops packets to it, Redis hangs, or TLS is on one side only: rediss:// speaks it, redis:// does not."
)
_LET_IN = (
    "See user name and password in REDIS_URL: redis://user:password@host, or redis://:password@host without a user."
)
_NO_WRITES = "Name the master in REDIS_URL, or the Sentinels that know it: redis+sentinel://host:26379/service."
_MAY = "docs/limits.md says what a user of access lists must be allowed, and keys begin with REDIS_PREFIX."
_NO_MASTER = "Do the Sentinels run, and is it the name that `sentinel monitor NAME` gives in their configuration?"
_NO_CLUSTER = "Is it a cluster (`cluster-enabled yes`), or a single server: redis://host:port?"
_NO_REDIS = "Another server listens there, or TLS is on one side only: rediss:// speaks it, redis:// does not."

_TRIALS: tuple[tuple[str, tuple[str | int, ...]], ...] = (
    (TOKEN_BUCKET, (1000, 1_000_000, 0, 1)),
    (TOKEN_BUCKET, (1000, 1_000_000, 1, 0)),
    (FIXED_WINDOW, (1000, 1_000_000, 0, 1)),
    (SESSIONS, ("check", 1, 1, 1000)),
    (SESSIONS, ("check", 0, 0, 1000)),
)
"""Scripts, and with what arguments they do all that they may have to do."""


async def check_redis(url: RedisUrl, prefix: str, timeout_seconds: float) -> list[Finding]:
    """What PING finds, and the scripts, on keys that begin with ``prefix``."""
    place = _place(url)
    with until(trio.current_time() + timeout_seconds, f"{place}: no answer within {timeout_seconds:g} s", _HANGS):
        ping = partial(_ping, url, f"{prefix}check:", place, min(timeout_seconds, MOST_SOCKET_SECONDS))
        seconds = await trio.to_thread.run_sync(ping, abandon_on_cancel=True)
    return [Finding("redis", Status.OK, f"{place}: answers PING in {seconds * 1000:.1f} ms")]


def _ping(url: RedisUrl, prefix: str, place: str, socket_seconds: float) -> float:
    try:
        client = open_client(url, socket_seconds)
        try:
            client.ping()  # connects
            began_at = time.monotonic()
            client.ping()
            seconds = time.monotonic() - began_at
            for script, arguments in _TRIALS:
                _run(client, prefix, script, arguments)
            return seconds
        finally:
            client.close()
    except (RedisError, RedisClusterException, OSError, UnicodeError) as error:
        raise _explained(error, url, place) from error


def _run(client: Client, prefix: str, script: str, arguments: tuple[str | int, ...]) -> None:
    """As the gateway does it, on a key of the script's own."""
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    try:
        client.evalsha(sha, 1, prefix + sha, *arguments)
    except NoScriptError:
        client.eval(script, 1, prefix + sha, *arguments)


def _explained(error: Exception, url: RedisUrl, place: str) -> Trouble:
    options = of_servers(url)
    host, port = url.nodes[0] if url.nodes else (options.get("path", ""), 0)
    match error:
        case MasterNotFoundError():
            return Trouble(f"{place}: no Sentinel that answers knows a master of that name", _NO_MASTER)
        case ResponseError() if "SENTINEL" in str(error):
            return Trouble(f"{place}: what answers there is no Sentinel", _NO_MASTER)
        case RedisClusterException():
            return Trouble(
                f"{place}: none of them answers as a node of a cluster: {_said(error, options)}", _NO_CLUSTER
            )
        case AuthenticationError() if not options.get("password"):
            return Trouble(f"{place}: is there, but wants a password, and REDIS_URL has none", _LET_IN)
        case ReadOnlyError():
            return Trouble(f"{place}: is there, but takes no writes: it is another one's replica", _NO_WRITES)
        case ResponseError() if isinstance(error, NoPermissionError) or "can't run this command" in str(error):
            return Trouble(f"{place}: is there, but does not let us do what limits need: {_said(error, options)}", _MAY)
        case AuthenticationError():
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


def _place(url: RedisUrl) -> str:
    match url.form:
        case Form.SENTINEL:
            return f"{url.service} of the Sentinels {url.where}"
        case Form.CLUSTER:
            return f"cluster {url.where}"
    return f"{url.where}, database {of_servers(url).get('db', 0)}"
