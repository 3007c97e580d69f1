"""Revocation in a group of processes, seen from outside: at once in all of them, and in those that come later."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.house import house
from tests.serve.outside import Outside, outside
from tests.serve.test_workers import children, sessions_in_both
from tests.servers.processes import DEADLINE_SECONDS, POLL_SECONDS
from tests.servers.redis import Redis
from tests.session.test_logout import log_out, logout_token

REVOKED = (1008, "Token revoked")
CUT = (1008, "Session cut")
AT_ONCE_SECONDS = 0.1


@asynccontextmanager
async def operated(
    directory: Path, *, ready: bool = True, **settings: str
) -> AsyncIterator[tuple[Outside, httpx.AsyncClient]]:
    """A gateway process or group, and an operator."""
    async with outside(directory, ready=ready, ADMIN_LISTEN="127.0.0.1:0", **settings) as there:
        port = (await there.log_line("operators welcome"))["port"]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as operator:
            yield there, operator


async def revoke(operator: httpx.AsyncClient, **body: object) -> Any:  # noqa: ANN401
    answer = await operator.post("/admin/revoke", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def statuses(there: Outside, token: str, count: int = 8) -> set[int]:
    """What so many who come with that token are told: each worker is asked by some."""
    found = set()
    for _ in range(count):
        async with there.house.knock(token=token) as (_, answer):
            found.add(answer.status)
    return found


async def seconds_to_cut(there: Outside, operator: httpx.AsyncClient, sub: str) -> float:
    """How long it takes from the order until the last of some sessions has heard of it."""
    token = there.house.provider.mint(sub=sub)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(there.house.open(token=token)) for _ in range(6)]
        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(revoke, operator, sub=sub))
            for client in clients:
                assert await client.hear_close() == REVOKED
        return trio.current_time() - began_at


async def test_group(tmp_path: Path) -> None:
    """Sessions of all workers are listed, and cut by whoever has them. A revocation cuts those of all within 100 ms,
    and holds in a worker that starts later; a logout that one of them hears of does the same. A worker that is stuck
    is counted, and hears of it when it goes on."""
    async with operated(tmp_path, WORKERS="2", OIDC_CLIENT_ID="our-client") as (there, operator):
        provider = there.house.provider
        async with sessions_in_both(there.house, children(there), sub="gone") as held:
            assert await log_out(there.house, logout_token(there.house, sub="gone")) == 200
            for client, _ in (sides for each in held.values() for sides in each):
                assert await client.hear_close() == REVOKED
        async with sessions_in_both(there.house, children(there)) as held:
            clients = [client for sides in held.values() for client, _ in sides]
            listed = (await operator.get("/admin/sessions")).json()["sessions"]
            assert len(listed) == len(clients)
            assert (await operator.get("/admin/upstreams")).json()["upstreams"][0]["circuits"]["closed"] == 2
            assert (await operator.delete(f"/admin/sessions/{listed[0]['id']}")).status_code == 204
            with trio.fail_after(DEADLINE_SECONDS):
                while len((await operator.get("/admin/sessions")).json()["sessions"]) == len(clients):
                    await trio.sleep(POLL_SECONDS)
            outcome = await revoke(operator, sub="robot-7")
            assert outcome["cut"] == len(clients) - 1
            assert (outcome["unanswered"], outcome["scope"]) == (0, "this group only")
            heard = [await client.hear_close() for client in clients]
            assert sorted(heard) == [CUT, *[REVOKED] * (len(clients) - 1)]
        # The machine may add to one of these, and never takes from it.
        waits = [await seconds_to_cut(there, operator, f"subject-{number}") for number in range(3)]
        assert min(waits) < AT_ONCE_SECONDS, waits
        token = provider.mint()
        assert await statuses(there, token) == {401}
        victim, survivor = children(there)
        os.kill(victim, signal.SIGKILL)
        await there.log_line("worker ended")
        with trio.fail_after(DEADLINE_SECONDS):
            while (await circuits(operator)) < 2:
                await trio.sleep(POLL_SECONDS)
        assert await statuses(there, token) == {401}
        os.kill(survivor, signal.SIGSTOP)
        assert (await revoke(operator, sub="late"))["unanswered"] == 1
        os.kill(survivor, signal.SIGCONT)
        assert await statuses(there, provider.mint(sub="late")) == {401}


async def circuits(operator: httpx.AsyncClient) -> int:
    """How many processes have an upstream."""
    found = (await operator.get("/admin/upstreams")).json()["upstreams"]
    return sum(found[0]["circuits"].values()) if found else 0


async def test_during_drain(tmp_path: Path) -> None:
    """While a gateway drains its door is open, and a session whose turn has not come yet ends for its revocation."""
    async with operated(tmp_path, GRACEFUL_DRAIN_TIMEOUT_SECONDS="5") as (there, operator), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(there.house.open(token=there.house.provider.mint(sub=f"robot-{number}")))
            for number in range(4)
        ]
        there.gateway.signal(signal.SIGTERM)
        await there.log_line("draining")
        assert (await revoke(operator, sub="robot-3"))["cut"] == 1
        assert await clients[3].hear_close() == REVOKED
        assert (await clients[0].hear_close())[0] == 1012
        there.gateway.signal(signal.SIGINT)
        assert await there.exit_status() == 0


@pytest.mark.integration
async def test_fleet(tmp_path: Path) -> None:
    """What is revoked at one gateway holds at all within a second: at those that start later, and behind an absence of
    Redis also what was revoked meanwhile."""
    redis = Redis.start(tmp_path)
    shared = {"JWT_CACHE_STORE": "redis", "REDIS_URL": redis.url}
    try:
        async with operated(tmp_path, ready=True, WORKERS="2", **shared) as (one, operator):
            shared["JWKS_URL"] = one.house.provider.jwks_uri
            mint = one.house.provider.mint
            async with house(**shared) as other:
                async with other.open(token=mint(sub="a")) as client:
                    assert (await revoke(operator, sub="a"))["scope"] == "all gateways"
                    with trio.fail_after(1):
                        assert await client.hear_close() == REVOKED
                assert (await other.refusal(token=mint(sub="a")))[0].status == 401
                async with house(**shared) as late:
                    assert (await late.refusal(token=mint(sub="a")))[0].status == 401
                redis.kill()
                assert "when Redis is back" in (await revoke(operator, sub="b"))["scope"]
                assert await statuses(one, mint(sub="b")) == {401}
                async with other.open(token=mint(sub="b")) as client:
                    redis = Redis.start(tmp_path, port=redis.port, name="back")
                    assert await client.hear_close() == REVOKED
    finally:
        redis.kill()
