"""The link to Redis, against real ones that are killed, frozen, emptied, promoted and spread over a cluster."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog import get_logger
from structlog.testing import capture_logs

from tests.certificates import Authority
from tests.servers.ports import free_port
from tests.servers.redis import Cluster, Redis, SentinelGroup
from trio_ws_gateway import redis_link
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.redis_client import Client
from trio_ws_gateway.redis_link import BATCH_MAX, RedisLink, Script

pytestmark = pytest.mark.integration

ADD = Script("return {redis.call('INCRBY', KEYS[1], ARGV[1])}", numbers=1)


class Watched:
    """A link, what it logged, and what it told of itself."""

    def __init__(self, url: str) -> None:
        self.changes: list[bool] = []
        self.lines: list[Any] = []
        self.link = RedisLink(RedisUrl.parse(url), prefix="test:", log=get_logger(), changed=self.changes.append)

    async def until(self, fact: Callable[[], object]) -> None:
        with trio.fail_after(15):
            while not fact():
                await trio.sleep(0.005)

    async def until_answered(self, key: str = "k") -> None:
        with trio.fail_after(15):
            while await self.link.call(ADD, key, 1) is None:
                await trio.sleep(0.005)


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[Watched]:
    with capture_logs() as lines:
        watched = Watched(url)
        watched.lines = lines
        async with trio.open_nursery() as nursery:
            await nursery.start(watched.link.run)
            yield watched
            nursery.cancel_scope.cancel()


async def test_answers(redis: Redis, patient: None) -> None:
    """A request is answered with what the script returns; Redis is there from the start, and a line says so."""
    async with linked(redis.url) as at:
        assert not at.link.is_away
        assert await at.link.call(ADD, "k", 2) == [2]
        assert await at.link.call(ADD, "k", 3) == [5]
        assert at.changes == [True]
        assert [line["event"] for line in at.lines] == ["redis is there"]


async def test_one_pipeline_for_many(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits travels in one pipeline, and answers come in the order of the questions."""
    batches: list[int] = []
    execute = redis_link._execute

    def noting(client: Client, batch: Sequence[redis_link._Request]) -> tuple[list[Any], float]:
        batches.append(len(batch))
        return execute(client, batch)

    async with linked(redis.url) as at:
        monkeypatch.setattr(redis_link, "_execute", noting)
        heard: list[Any] = []
        for _ in range(BATCH_MAX + 10):
            at.link.submit(ADD, "k", 1, answered=heard.append)
        await at.until(lambda: len(heard) == BATCH_MAX + 10)
        assert heard == [[number] for number in range(1, BATCH_MAX + 11)]
        assert batches == [BATCH_MAX, 10]


async def test_scripts_that_redis_has_lost(redis: Redis, patient: None) -> None:
    """After a flush of its scripts, or of everything, they are sent again; nobody notices."""
    async with linked(redis.url) as at:
        for command in ("SCRIPT FLUSH", "FLUSHALL"):
            assert await at.link.call(ADD, "k", 1) is not None
            with redis.client() as client:
                client.execute_command(command)
            assert await at.link.call(ADD, "k", 1) is not None
        assert at.changes == [True]


async def test_redis_that_dies(redis: Redis, tmp_path: Path) -> None:
    """One error and it is away: who asks is told at once. When it is there again it is used again, with its scripts."""
    async with linked(redis.url) as at:
        await at.until_answered()
        redis.kill()
        assert await at.link.call(ADD, "k", 1) is None
        assert at.link.is_away
        heard: list[Any] = []
        at.link.submit(ADD, "k", 1, answered=heard.append)
        assert heard == [None]
        back = Redis.start(tmp_path, port=redis.port)
        try:
            await at.until_answered()
            assert at.changes == [True, False, True]
            assert [line["event"] for line in at.lines] == ["redis is there", "redis is away", "redis is there"]
        finally:
            back.kill()


@pytest.mark.alone
async def test_redis_that_freezes(redis: Redis) -> None:
    """A frozen Redis holds nobody for more than 50 ms, the loop for no time at all, and is away until it thaws."""
    async with linked(redis.url) as at:
        await at.until_answered()
        redis.freeze()
        began_at = trio.current_time()
        assert await at.link.call(ADD, "k", 1) is None
        assert trio.current_time() - began_at < 0.1
        await at.until(lambda: at.link.is_away)
        assert trio.current_time() - began_at < 0.6
        redis.thaw()
        await at.until_answered()
        assert at.changes == [True, False, True]


async def test_redis_that_is_late(redis: Redis, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three late answers in a row, and it is away; answers that come late are heard all the same."""
    execute = redis_link._execute
    async with linked(redis.url) as at:
        for number, share in enumerate((1.2, 1.2, 0.8, 1.2, 1.2, 1.2), 1):
            seconds = share * redis_link.LATE_SECONDS
            assert not at.link.is_away
            monkeypatch.setattr(redis_link, "_execute", lambda *given, took=seconds: (execute(*given)[0], took))
            assert await at.link.call(ADD, "k", 1) == [number]
        await at.until(lambda: at.link.is_away)
        assert "3 answers in a row" in at.lines[-1]["reason"]


@pytest.mark.parametrize(
    ("do", "undo"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "read-only"],
)
async def test_redis_that_takes_no_writes(redis: Redis, do: tuple[str, ...], undo: tuple[str, ...]) -> None:
    """A Redis that is full, or another's replica, answers PING and is away all the same."""
    async with linked(redis.url) as at:
        with redis.client() as client:
            client.execute_command(*do)
            assert await at.link.call(ADD, "k", 1) is None
            await trio.sleep(0.3)
            assert at.changes == [True, False]
            client.execute_command(*undo)
        await at.until_answered()


async def test_nobody_there() -> None:
    """A gateway starts without Redis, says so once, and gives up on nothing."""
    async with linked(f"redis://:pass-word@127.0.0.1:{free_port()}") as at:
        assert at.changes == [False]
        await trio.sleep(0.3)
        assert [line["event"] for line in at.lines] == ["redis is away"]
        assert "pass-word" not in str(at.lines)


async def test_server_that_is_no_redis(nursery: trio.Nursery) -> None:
    """What is no Redis is away, whatever it says."""

    async def accept(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad\r\n\r\n")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, accept, [listener])
    async with linked(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}") as at:
        assert at.changes == [False]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("says", [b"+OK", b":1", b"$-1", b"*0", b"*2\r\n:1\r\n:2", b"*1\r\n$1\r\n1", b"*1\r\n*0"])
async def test_answers_of_another_shape(nursery: trio.Nursery, says: bytes) -> None:
    """What answers something that no script returns is away, with one line, and nothing else comes to harm."""

    async def answer(stream: trio.SocketStream) -> None:
        async for data in stream:
            for _ in range(data.count(b"EVALSHA")):
                await stream.send_all(says + b"\r\n" if b"test:trial" not in data else b"*1\r\n:1\r\n")
            if b"EVALSHA" not in data:
                await stream.send_all(b"+OK\r\n" * data.count(b"*"))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    async with linked(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}") as at:
        assert at.changes == [True]
        assert await at.link.call(ADD, "k", 1) is None
        await at.until(lambda: at.link.is_away)
        assert at.lines[-1] == {
            **at.lines[-1],
            "event": "redis is away",
            "reason": "it answers what no script of ours returns",
        }
    nursery.cancel_scope.cancel()


async def test_who_does_not_wait(redis: Redis, patient: None) -> None:
    """A request whose asker is cancelled harms nobody."""
    async with linked(redis.url) as at:
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await at.link.call(ADD, "k", 1)
        assert await at.link.call(ADD, "k", 1) == [21]


@pytest.mark.alone
async def test_ends_while_redis_is_frozen(redis: Redis) -> None:
    """A link is cancelled at once, whatever its thread waits for; all that waited are told."""
    heard: list[Any] = []
    async with linked(redis.url) as at:
        redis.freeze()
        at.link.submit(ADD, "k", 1, answered=heard.append)
        await trio.sleep(0.02)
        at.link.submit(ADD, "k", 1, answered=heard.append)
        began_at = trio.current_time()
    assert trio.current_time() - began_at < 0.1
    assert heard == [None, None]
    redis.thaw()


async def test_password_and_user(tmp_path: Path, patient: None) -> None:
    """A user of an access list that may do no more than what is needed, with a password of odd letters."""
    server = Redis.start(
        tmp_path,
        *("--user", "default", "off"),
        *("--user", "gateway", "on", ">p@ss/w:rd", "~test:*", "~k", "-@all", "+eval", "+evalsha", "+set", "+incrby"),
    )
    try:
        async with linked(f"redis://gateway:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}") as at:
            assert await at.link.call(ADD, "k", 1) == [1]
        async with linked(f"redis://gateway:wrong@127.0.0.1:{server.port}") as at:
            assert at.changes == [False]
    finally:
        server.kill()


async def test_tls_and_sockets(tmp_path: Path, patient: None) -> None:
    """TLS with an authority of one's own, and a Unix socket."""
    authority = Authority(tmp_path)
    authority.server("localhost")
    path = tmp_path / "redis.sock"
    server = Redis.start(tmp_path, "--unixsocket", str(path), tls=(tmp_path / "server.pem", authority.ca_file))
    try:
        async with linked(f"rediss://localhost:{server.port}?ssl_ca_certs={authority.ca_file}") as at:
            assert await at.link.call(ADD, "k", 1) == [1]
        async with linked(f"unix://{path}?db=0") as at:
            assert await at.link.call(ADD, "k", 1) == [2]
    finally:
        server.kill()


async def test_sentinel(tmp_path: Path, patient: None) -> None:
    """Behind a Sentinel the link finds the master, and the new one after the old one died."""
    group = SentinelGroup.start(tmp_path)
    try:
        async with linked(group.url) as at:
            assert await at.link.call(ADD, "k", 1) == [1]
            group.master.kill()
            assert await at.link.call(ADD, "k", 1) is None
            await at.until_answered()
            with group.replica.client() as client:
                assert client.get("k") is not None
    finally:
        group.stop()


async def test_cluster(tmp_path: Path) -> None:
    """In a cluster each key finds its node, in one batch; a node that dies is away for all."""
    cluster = Cluster.start(tmp_path)
    try:
        async with linked(f"{cluster.url}/0") as at:
            heard: list[Any] = []
            for number in range(50):
                at.link.submit(ADD, f"{{k{number}}}", number, answered=heard.append)
            await at.until(lambda: len(heard) == 50)
            assert heard == [[number] for number in range(50)]
            counts = []
            for server in cluster.servers:
                with server.client() as client:
                    counts.append(client.dbsize())
            assert all(counts)
            cluster.servers[1].kill()
            for number in range(50):
                at.link.submit(ADD, f"{{k{number}}}", number, answered=heard.append)
            await at.until(lambda: len(heard) == 100)
            assert None in heard
            assert at.changes[:2] == [True, False]
    finally:
        cluster.stop()
