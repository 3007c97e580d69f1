"""`RedisUrl` tells the three forms apart and hands redis-py what is its own."""

import pytest

from trio_ws_gateway.config.redis_url import Form, RedisUrl


@pytest.mark.parametrize(
    ("text", "plain", "where"),
    [
        ("redis://redis", "redis://redis:6379/", "redis:6379"),
        ("rediss://user:p%40ss@[::1]:7000/3", "rediss://user:p%40ss@[::1]:7000/3", "[::1]:7000"),
        (
            "redis://:p@host:6379/0?ssl_ca_certs=/a/b.pem",
            "redis://:p@host:6379/0?ssl_ca_certs=%2Fa%2Fb.pem",
            "host:6379",
        ),
        ("redis://", "redis://localhost:6379/", "localhost:6379"),
        ("unix:///run/redis.sock?db=2&password=p", "unix:///run/redis.sock?db=2&password=p", "/run/redis.sock"),
    ],
)
def test_one_server(text: str, plain: str, where: str) -> None:
    """One server: TLS, login, database and options stay as they are, and what is shown holds no password."""
    url = RedisUrl.parse(text)
    assert (url.form, url.plain, url.where) == (Form.SERVER, plain, where)
    assert ":p" not in repr(url)
    assert "password" not in url.where


def test_sentinels() -> None:
    """Sentinels with their ports, the service, its database, and a login for either."""
    url = RedisUrl.parse("redis+sentinel://u:p@one:1,two/robots/2?sentinel_password=s&socket_keepalive=1")
    assert (url.form, url.service) == (Form.SENTINEL, "robots")
    assert url.nodes == (("one", 1), ("two", 26379))
    assert url.plain == "redis://u:p@one:1/2?socket_keepalive=1"
    assert url.sentinel_login == (("password", "s"),)
    assert url.where == "one:1,two:26379"


def test_cluster() -> None:
    """A cluster by some of its nodes, with TLS."""
    url = RedisUrl.parse("rediss+cluster://:p@one,two:7001")
    assert (url.form, url.nodes) == (Form.CLUSTER, (("one", 6379), ("two", 7001)))
    assert url.plain == "rediss://:p@one:6379/"


@pytest.mark.parametrize("text", ["redis+cluster://one/0", "redis+cluster://one?db=0", "redis+cluster://one/0?db=0"])
def test_database_of_a_cluster(text: str) -> None:
    """The one database that a cluster has may be named; redis-py does not hear of it, for it takes none there."""
    assert RedisUrl.parse(text).plain == "redis://one:6379/"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("http://redis", "is not a Redis URL"),
        ("redis:/redis", "is not a Redis URL"),
        ("redis://ho st", "has white space in it"),
        ("unix://run/redis.sock", "has no absolute path of a socket"),
        ("redis://one,two", "names several hosts"),
        ("redis+sentinel://one,two", "does not name the service"),
        ("redis+sentinel://one,two/robots/x", "no number of a database"),
        ("redis+cluster://one/1", "a cluster has only 0"),
        ("redis+cluster://one?db=1", "a cluster has only 0"),
        ("redis+cluster://one/0?db=x", "a cluster has only 0"),
        ("redis://one/robots", "no number of a database"),
        ("redis://one:0", "has no valid port"),
        ("redis://one:port", "has no valid port"),
        ("redis://-", "has no valid host name"),
    ],
)
def test_wrong(text: str, wrong: str) -> None:
    """What is wrong is named, without the text."""
    with pytest.raises(ValueError, match=wrong):
        RedisUrl.parse(text)
