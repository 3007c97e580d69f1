"""A client of redis-py for a ``RedisUrl``, of the kind that suits us: no retries, short time-outs.

Its own defaults hold a thread for many seconds when Redis is frozen. Not for the event loop: whatever is called on a
client, and with a cluster its making too, waits for the network.
"""

from pathlib import Path
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from trio_ws_gateway.config.redis_url import Form, RedisUrl

Client: TypeAlias = "redis.Redis | RedisCluster"


_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check(url: RedisUrl) -> None:
    """Raise ``ValueError`` for options in the URL that no connection is made with. Opens nothing but files that
    they name."""
    try:
        redis.Redis.from_url(url.plain, **_options(1.0)).connection_pool.make_connection()
    except (ValueError, TypeError, redis.RedisError):  # their words may repeat the URL
        given = of_servers(url)
        if not url.plain.startswith("rediss:") and any(name.startswith("ssl_") for name in given):
            raise ValueError("has an option of TLS, which is spoken only where it begins with rediss") from None
        raise ValueError("has an option, behind the question mark, that redis-py does not take") from None
    for name, path in of_servers(url).items():
        if name in _FILES:
            try:
                Path(path).open("rb").close()
            except OSError as error:
                raise ValueError(f"names a file in {name} that cannot be read: {error.strerror}") from None


def open_client(url: RedisUrl, socket_seconds: float) -> Client:
    """A client whose every wait for the network is that long at most. Raises ``redis.RedisError`` and ``OSError``."""
    options = _options(socket_seconds)
    match url.form:
        case Form.SERVER:
            return redis.Redis.from_url(url.plain, **options)
        case Form.SENTINEL:
            login = dict(url.sentinel_login)
            given = of_servers(url)
            secure = {name: value for name, value in given.items() if name.startswith("ssl_")}
            if url.plain.startswith("rediss:"):
                secure["ssl"] = given["ssl"] = True
            sentinel = Sentinel(url.nodes, sentinel_kwargs={**options, **secure, **login})  # type: ignore[no-untyped-call]
            master: redis.Redis = sentinel.master_for(url.service, **{**options, **given})  # type: ignore[no-untyped-call]
            return master
        case Form.CLUSTER:
            given = of_servers(url)
            if url.plain.startswith("rediss:"):
                given["ssl"] = True
            nodes = [ClusterNode(host, port) for host, port in url.nodes]  # type: ignore[no-untyped-call]
            return RedisCluster(startup_nodes=nodes, **{**options, **given})


def _options(socket_seconds: float) -> dict[str, Any]:
    return {
        "socket_timeout": socket_seconds,
        "socket_connect_timeout": socket_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,  # spares a HELLO, which a Redis before 6 does not know
    }


def of_servers(url: RedisUrl) -> dict[str, Any]:
    """What the URL says for every server: login, database, options."""
    given: dict[str, Any] = parse_url(url.plain)  # type: ignore[no-untyped-call]
    return {name: value for name, value in given.items() if name not in ("host", "port", "connection_class")}
