"""Several processes on one port, as they are seen from outside: they serve, die, are replaced, and drain together."""

import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.house import House
from tests.serve.grouped import grouped
from tests.serve.outside import Outside, outside
from tests.serve.test_drain import answer_close
from tests.serve.test_start import refused, talk
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS
from tests.tcp import Peer
from trio_ws_gateway import workers
from trio_ws_gateway.wire.frames import TEXT


def children(there: Outside) -> list[int]:
    """The process ids of the workers."""
    return [pid for pid in there.gateway.process.survivors() if pid != there.pid]


async def eventually(house: House, name: str, value: float) -> None:
    """Wait until ``/metrics`` says so."""
    with trio.fail_after(DEADLINE_SECONDS):
        while (await house.samples()).get(name) != value:
            await trio.sleep(POLL_SECONDS)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def sockets(pid: int) -> set[str]:
    """Those that a process has open, by the kernel's names."""
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            names.add(os.readlink(entry))
    return {name for name in names if name.startswith("socket:")}


def other_end(client: Peer) -> str:
    """The kernel's name of the socket that a client is connected to."""
    (_, here), (_, there) = client.sock.getsockname(), client.sock.getpeername()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (there, here):
            return f"socket:[{inode}]"
    raise LookupError(client)


@asynccontextmanager
async def sessions_in_both(
    home: House, pids: list[int], *, sub: str = "robot-7"
) -> AsyncIterator[dict[int, list[tuple[Peer, Peer]]]]:
    """Raw sessions, client and upstream of each, by the worker that has them; every worker has some."""
    held: dict[int, list[tuple[Peer, Peer]]] = {pid: [] for pid in pids}
    async with AsyncExitStack() as stack:
        with trio.fail_after(DEADLINE_SECONDS):
            while not all(held.values()):
                client = await stack.enter_async_context(home.open(token=home.provider.mint(sub=sub)))
                sides = client, await home.upstream.next()
                await say(sides)
                [owner] = [pid for pid in pids if other_end(sides[0]) in sockets(pid)]
                held[owner].append(sides)
        yield held


async def say(sides: tuple[Peer, Peer]) -> None:
    client, upstream = sides
    await client.say(TEXT, b"hello")
    assert await upstream.hear() == (TEXT, True, b"hello")


async def test_all_serve_and_one_answers_for_all(tmp_path: Path) -> None:
    """Every worker takes sessions from the one port, and whichever is asked, ``/metrics`` is the sum over all."""
    async with outside(tmp_path, WORKERS="2") as there:
        assert len(children(there)) == 2
        async with sessions_in_both(there.house, children(there)) as held:
            count = sum(map(len, held.values()))
            for _ in range(20):
                samples = await there.house.samples()
                assert samples["ws_active_sessions"] == count
                assert samples["ws_connections_total"] == count
                assert samples['ws_messages_total{direction="client_to_upstream",protocol="raw"}'] == count
                assert samples["ws_worker_restarts_total"] == 0
        assert there.gateway.events("listening")[0]["workers"] == 2


async def test_worker_that_dies(tmp_path: Path) -> None:
    """A killed worker takes its own sessions with it and no others, is replaced and counted, and its counts stay."""
    async with outside(tmp_path, WORKERS="2") as there, sessions_in_both(there.house, children(there)) as held:
        count = sum(map(len, held.values()))
        assert (await there.house.samples())["ws_connections_total"] == count
        (victim, lost), (survivor, kept) = held.items()
        os.kill(victim, signal.SIGKILL)
        for client, upstream in lost:
            assert await client.read_to_end() == await upstream.read_to_end() == b""
        await eventually(there.house, "ws_active_sessions", len(kept))
        for sides in kept:
            await say(sides)
        line = await there.log_line("worker ended")
        assert (line["status"], line["level"]) == (-signal.SIGKILL, "error")
        with trio.fail_after(DEADLINE_SECONDS):
            while len(children(there)) < 2:
                await trio.sleep(POLL_SECONDS)
        assert survivor in children(there)
        await eventually(there.house, "ws_worker_restarts_total", 1)
        assert (await there.house.samples())["ws_connections_total"] == count
        async with sessions_in_both(there.house, children(there)):
            pass


async def test_replacement_that_cannot_start(tmp_path: Path) -> None:
    """Where no descriptor is left to start a replacement with, the others go on, and it is tried again."""
    async with outside(tmp_path, WORKERS="2") as there, sessions_in_both(there.house, children(there)) as held:
        (victim, _), (_, kept) = held.items()
        soft, hard = resource.prlimit(there.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(there.pid, resource.RLIMIT_NOFILE, (0, hard))
        os.kill(victim, signal.SIGKILL)
        line = await there.log_line("worker ended", 2)
        assert line["status"] == "not started: [Errno 24] Too many open files"
        assert line["pause"] == 1
        for sides in kept:
            await say(sides)
        resource.prlimit(there.pid, resource.RLIMIT_NOFILE, (soft, hard))
        with trio.fail_after(DEADLINE_SECONDS):
            while len(children(there)) < 2:
                await trio.sleep(POLL_SECONDS)


async def test_worker_that_is_stuck() -> None:
    """Of a worker that does not answer counts what it said last; others go on, and the drain kills it in the end."""
    async with grouped(0.2, WORKERS="2", GRACEFUL_DRAIN_TIMEOUT_SECONDS="0.1") as (home, parent):
        pids = [process.pid for process in parent._workers.values()]
        async with sessions_in_both(home, pids) as held:
            count = sum(map(len, held.values()))
            await home.samples()
            stuck, _ = held
            os.kill(stuck, signal.SIGSTOP)
            with trio.fail_after(DEADLINE_SECONDS):
                while (await home.samples())["ws_connections_total"] != count:
                    await trio.sleep(POLL_SECONDS)
    assert [line["pid"] for line in home.lines("killed")] == [stuck]
    assert not any(map(is_there, pids))


@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drain(tmp_path: Path, number: signal.Signals, to_all: bool) -> None:
    """A signal to the parent, or as a terminal and systemd do to the whole group, drains every worker; status 0."""
    async with outside(tmp_path, WORKERS="2") as there, sessions_in_both(there.house, children(there)) as held:
        if to_all:
            os.killpg(there.pid, number)
        else:
            there.gateway.signal(number)
        async with trio.open_nursery() as nursery:
            for client, upstream in (sides for each in held.values() for sides in each):
                nursery.start_soon(answer_close, client)
                nursery.start_soon(answer_close, upstream)
        assert await there.exit_status() == 0
        assert len(there.gateway.events("draining")) == 2
        assert there.gateway.events("worker ended") == []


async def test_second_interrupt(tmp_path: Path) -> None:
    """A second SIGINT to the whole group, as of a terminal, ends all workers at once; status 0."""
    async with (
        outside(tmp_path, WORKERS="2", GRACEFUL_DRAIN_TIMEOUT_SECONDS="60") as there,
        sessions_in_both(there.house, children(there)),
    ):
        os.killpg(there.pid, signal.SIGINT)
        await there.log_line("draining", 2)
        os.killpg(there.pid, signal.SIGINT)
        with trio.fail_after(DEADLINE_SECONDS):
            assert await there.exit_status() == 0


async def test_parent_that_is_killed(tmp_path: Path) -> None:
    """Workers whose parent is gone drain, and leave."""
    async with outside(tmp_path, WORKERS="2") as there, sessions_in_both(there.house, children(there)) as held:
        pids = list(held)
        there.gateway.signal(signal.SIGKILL)
        async with trio.open_nursery() as nursery:
            for client, upstream in (sides for each in held.values() for sides in each):
                nursery.start_soon(answer_close, client)
                nursery.start_soon(answer_close, upstream)
        with trio.fail_after(DEADLINE_SECONDS):
            while any(map(is_there, pids)):
                await trio.sleep(POLL_SECONDS)
        there.gateway.process.popen.wait()
        there.gateway.process.popen.returncode = 0  # what this test asked for


async def test_auto(tmp_path: Path) -> None:
    """``auto`` means one worker for each processor that may be used."""
    async with outside(tmp_path, WORKERS="auto") as there:
        processors = len(os.sched_getaffinity(0))
        assert len(children(there)) == (processors if processors > 1 else 0)
        await talk(there, there.house.provider.mint())


def test_wrong_file_is_reported_once(tmp_path: Path) -> None:
    """A file that will not do is a wrong setting, said before any worker is started."""
    (tmp_path / "ca.pem").write_text("no certificate\n")
    status, lines = refused(JWKS_URL="http://127.0.0.1:9/certs", WORKERS="2", UPSTREAM_CA_FILE=str(tmp_path / "ca.pem"))
    assert status == 2
    assert lines[0] == "1 wrong setting:"


def test_worker_that_cannot_start(tmp_path: Path) -> None:
    """Where no worker comes to accept anything the gateway says so and ends with status 1, and tries no second time."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'trio_ws_gateway.worker' in sys.orig_argv:\n    os._exit(3)\n"
    )
    status, lines = refused(
        JWKS_URL="http://127.0.0.1:9/certs", WORKERS="2", LISTEN="127.0.0.1:0", PYTHONPATH=str(tmp_path)
    )
    assert status == 1
    assert any("before it accepted anything" in line for line in lines), lines


def test_pause_grows_to_a_bound() -> None:
    """The pause before a replacement doubles with each death in a row, up to half a minute."""
    assert [workers.pause_seconds(deaths) for deaths in (1, 2, 3, 7, 1000)] == [0.5, 1, 2, 30, 30]
