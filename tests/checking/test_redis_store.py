"""The check of Redis, against real ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.certificates import Authority
from tests.servers.ports import free_port
from tests.servers.redis import Redis
from trio_ws_gateway.checking.findings import Status, Trouble
from trio_ws_gateway.checking.redis_store import check_redis
from trio_ws_gateway.config.redis_url import RedisUrl

pytestmark = pytest.mark.integration

PATIENCE = 30.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis.start(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def redis_with_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis.start(tmp_path_factory.mktemp("redis"), "--requirepass", "sesame")
    yield server
    server.stop()


async def found(url: str, timeout_seconds: float = PATIENCE) -> str:
    (finding,) = await check_redis(RedisUrl.parse(url), "ws-gateway:", timeout_seconds)
    assert (finding.name, finding.status) == ("redis", Status.OK)
    return finding.detail


async def trouble(url: str, timeout_seconds: float = PATIENCE) -> Trouble:
    with pytest.raises(Trouble) as caught:
        await check_redis(RedisUrl.parse(url), "ws-gateway:", timeout_seconds)
    assert "pass-word" not in caught.value.detail + caught.value.advice
    return caught.value


async def test_good_redis(redis: Redis, redis_with_password: Redis) -> None:
    """A Redis that answers PING, with a password where it wants one."""
    said = await found(f"redis://127.0.0.1:{redis.port}/2")
    assert said.startswith(f"127.0.0.1:{redis.port}, database 2: answers PING in ")
    assert "answers PING" in await found(f"redis://:sesame@127.0.0.1:{redis_with_password.port}")


async def test_passwords(redis_with_password: Redis) -> None:
    """A missing password and a wrong one are told apart; neither is shown."""
    missing = await trouble(f"redis://127.0.0.1:{redis_with_password.port}")
    assert "wants a password, and REDIS_URL has none" in missing.detail
    wrong = await trouble(f"redis://somebody:pass-word@127.0.0.1:{redis_with_password.port}")
    assert "does not let us in" in wrong.detail
    assert "somebody" not in wrong.detail


async def test_tls(redis: Redis, tmp_path: Path) -> None:
    """TLS on one side only, and an authority that is not trusted unless the URL names it."""
    authority = Authority(tmp_path)
    authority.server("localhost")
    secure = Redis.start(tmp_path, tls=(tmp_path / "server.pem", authority.ca_file))
    try:
        assert "answers PING" in await found(f"rediss://localhost:{secure.port}?ssl_ca_certs={authority.ca_file}")
        untrusted = await trouble(f"rediss://:pass-word@localhost:{secure.port}")
        assert "of no authority that is trusted here" in untrusted.detail
        assert "ssl_ca_certs" in untrusted.advice
        assert "rediss:// speaks it" in (await trouble(f"redis://localhost:{secure.port}")).advice
    finally:
        secure.stop()
    assert "rediss:// speaks it" in (await trouble(f"rediss://:pass-word@127.0.0.1:{redis.port}", 1)).advice


async def test_refusal_of_redis_itself(redis: Redis) -> None:
    """What Redis itself says is passed on."""
    assert "DB index is out of range" in (await trouble(f"redis://127.0.0.1:{redis.port}/9999")).detail


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("eval", "has no permissions to run the 'eval' command"),
        ("hgetall", "The user executing the script can't run this command"),
        ("del", "The user executing the script can't run this command"),
        ("set", "The user executing the script can't run this command"),
        ("ping", "has no permissions to run the 'ping' command"),
    ],
)
async def test_users_that_may_too_little(redis: Redis, missing: str, says: str) -> None:
    """A user who may do all but one of the things that limits need is found out, whichever it is."""
    with redis.client() as client:
        client.execute_command(
            *("ACL", "SETUSER", "gateway", "reset", "on", ">sesame", "~ws-gateway:*", "+@all", f"-{missing}")
        )
        client.script_flush()
    refused = await trouble(f"redis://gateway:sesame@127.0.0.1:{redis.port}")
    assert says in refused.detail
    assert "docs/limits.md" in refused.advice
    with redis.client() as client:
        client.execute_command("ACL", "SETUSER", "gateway", "reset", "on", ">sesame", "~other:*", "+@all")
    assert "REDIS_PREFIX" in (await trouble(f"redis://gateway:sesame@127.0.0.1:{redis.port}")).advice


async def test_replica(redis: Redis) -> None:
    """What takes no writes is of no use, though it answers PING."""
    with redis.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            assert "another one's replica" in (await trouble(redis.url)).detail
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")


async def test_leaves_nothing(redis: Redis) -> None:
    """What it has written is gone soon."""
    await found(redis.url)
    with redis.client() as client:
        assert all(0 < client.pttl(key) <= 1000 for key in client.keys("*"))


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("redis://:pass-word@localhost:PORT", "nobody listens on port PORT of localhost"),
        ("redis://:pass-word@no-such-name.invalid", "no-such-name.invalid"),
        ("unix:///no/such.sock?password=pass-word", "the socket /no/such.sock is not there"),
    ],
)
async def test_no_redis(url: str, detail: str) -> None:
    """Nobody there, no such name, no such socket, and a URL that is none."""
    port = str(free_port())
    assert detail.replace("PORT", port) in (await trouble(url.replace("PORT", port))).detail


@pytest.mark.parametrize(("says", "detail"), [(b"", "no answer"), (b"HTTP/1.1 400 Bad\r\n\r\n", "not as Redis does")])
async def test_another_server(nursery: trio.Nursery, says: bytes, detail: str) -> None:
    """A server that is silent, or speaks another protocol, is no Redis."""

    async def accept(stream: trio.SocketStream) -> None:
        await stream.send_all(says)
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, accept, [listener])
    url = f"redis://:pass-word@127.0.0.1:{listener.socket.getsockname()[1]}"
    assert detail in (await trouble(url, 0.5 if not says else PATIENCE)).detail
    nursery.cancel_scope.cancel()


async def test_sentinels_and_clusters(redis: Redis) -> None:
    """Sentinels that know no such master, servers that are no cluster, and those that are not there."""
    port = str(redis.port)
    assert "is no Sentinel" in (await trouble(f"redis+sentinel://127.0.0.1:{port}/robots")).detail
    nobody = await trouble(f"redis+sentinel://127.0.0.1:{free_port()}/robots")
    assert "knows a master of that name" in nobody.detail
    assert "single server" in (await trouble(f"redis+cluster://127.0.0.1:{port}")).advice
    assert "none of them answers" in (await trouble(f"redis+cluster://127.0.0.1:{free_port()}")).detail
