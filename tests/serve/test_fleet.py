"""Three gateway processes over one Redis, and clients that do their worst."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest
import trio
from attrs import define, field

from tests.serve.outside import Outside, outside
from tests.servers.redis import Redis
from tests.tcp import Peer
from trio_ws_gateway.limits.leases import lease_size
from trio_ws_gateway.wire.frames import CLOSE, TEXT, build_frame

pytestmark = pytest.mark.integration

GATEWAYS = 3
RATE, BURST = 100, 80
RATE_IN_ALL, BURST_IN_ALL = 400, 320
WORST_SECONDS = 1.5
LATE_SECONDS = 0.06
FOR_EVER = -1  # what PTTL says of a key that has no time to live


@cache
def many(payload: bytes) -> bytes:
    return b"".join(build_frame(TEXT, payload, masked=True) for _ in range(200))


@define
class Fleet:
    """``members`` stand before one upstream, which notes what arrives and says it back."""

    members: list[Outside]
    arrived: Counter[bytes] = field(factory=Counter)

    def token(self, sub: str, *roles: str) -> str:
        return self.members[0].house.provider.mint(sub=sub, roles=list(roles))

    async def late_answers(self) -> int:
        return int(sum([(await member.house.samples())["ws_redis_late_total"] for member in self.members]))

    async def settled(self) -> None:
        """No `n` has arrived for a while."""
        before = None
        while self.arrived[b"n"] != before:
            before = self.arrived[b"n"]
            await trio.sleep(0.3)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                with suppress(trio.TooSlowError):
                    nursery.start_soon(self._echo, await self.members[0].house.upstream.next())

    async def _echo(self, peer: Peer) -> None:
        with suppress(EOFError, OSError, trio.TooSlowError):
            while True:
                if not peer._heard:
                    await trio.lowlevel.wait_readable(peer.sock)  # for ever: a session may well pause
                opcode, _, payload = await peer.hear()
                if opcode == CLOSE:
                    await peer.say(CLOSE, payload)
                    return
                self.arrived[payload] += 1
                if len(payload) > 1:
                    await peer.say(opcode, payload)


@asynccontextmanager
async def fleet(directory: Path, redis: Redis, **settings: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        terms = {"GRACEFUL_DRAIN_TIMEOUT_SECONDS": "0", "REDIS_URL": redis.url}
        terms |= {"RATE_LIMIT_PER_SECOND": str(RATE), "RATE_LIMIT_BURST": str(BURST), **settings}
        members: list[Outside] = []
        for number in range(GATEWAYS):
            home = directory / str(number)
            home.mkdir()
            if members:
                first = members[0].house
                terms |= {"JWKS_URL": first.provider.jwks_uri, "RAW_WS_BACKEND_URL": first.upstream.url}
            members.append(await stack.enter_async_context(outside(home, ready=True, **terms)))
            await members[-1].log_line("redis is there")
        together = Fleet(members)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(together.serve)
            yield together
            nursery.cancel_scope.cancel()


async def flood(member: Outside, token: str) -> None:
    """Send as much as is taken, and when it is over come back at once."""
    while True:
        with suppress(EOFError, OSError, trio.TooSlowError):
            async with member.house.knock(token=token) as (client, answer):
                while answer.status == 101:
                    await client.send(many(b"m"))
                    await trio.lowlevel.checkpoint()


async def do_your_worst(at: Fleet, tokens: Sequence[str], *, rate: int, burst: int, pauses: bool) -> None:
    """Two clients at each gateway, who draw on one bucket."""
    began_at, before, late = trio.current_time(), at.arrived[b"m"], await at.late_answers()
    with trio.move_on_after(WORST_SECONDS):
        async with trio.open_nursery() as nursery:
            for member, token in zip(at.members * 2, cycle(tokens), strict=False):
                nursery.start_soon(flood, member, token)
    accepted, seconds = at.arrived[b"m"] - before, trio.current_time() - began_at
    bound = burst + rate * seconds + GATEWAYS * lease_size(burst)
    bound += burst * (await at.late_answers() - late)  # which memory has decided; none on a machine that is not busy
    assert accepted <= bound
    if pauses:
        assert accepted >= burst + rate * (seconds - 0.3) - GATEWAYS * lease_size(burst)


async def crowd(at: Fleet) -> None:
    """Two sessions from one address, each at another gateway; a third one's token is not looked at any more."""
    here = ("X-Forwarded-For", "192.0.2.1")
    one, two, three = at.members
    async with one.house.open(here, token=at.token("one")), two.house.open(here, token=at.token("two")):
        assert (await three.house.refusal(here, token="no.token.atall"))[0].status == 429
        assert (await three.log_line("refused"))["detail"] == "sessions of one address"


async def move_about(at: Fleet) -> None:
    """One message at each gateway, then the rest at the first; and what was left behind a second later."""

    async def rest(member: Outside) -> None:
        async with member.house.knock(token=token) as (client, _):
            await client.send(many(b"n"))
            assert (await client.hear_close())[0] == 1008
        await at.settled()

    token = at.token("mover", "slow")
    for member in at.members:
        async with member.house.knock(token=token) as (client, _):
            await client.say(TEXT, b"one")
            assert (await client.hear())[2] == b"one"
    await rest(at.members[0])
    assert BURST - (GATEWAYS - 1) * lease_size(BURST) <= at.arrived[b"n"] + GATEWAYS <= BURST
    await trio.sleep(1.5)
    await rest(at.members[1])
    assert at.arrived[b"n"] + GATEWAYS == BURST


async def test_refusing(tmp_path: Path, redis: Redis) -> None:
    """What one client does at all gateways at a time, coming back whenever it is cut, is burst + rate x T + gateways x
    lease at most; so is what all clients do together, who wait instead. Who moves loses a lease at each gateway that he
    leaves, for little more than a second. An address has so many sessions in all. No key is for ever."""
    terms = {"RATE_LIMIT_TOTAL_PER_SECOND": str(RATE_IN_ALL), "RATE_LIMIT_TOTAL_BURST": str(BURST_IN_ALL)}
    terms |= {"TRUSTED_PROXIES": "127.0.0.1/32", "WS_MAX_SESSIONS_PER_ADDRESS": "2"}
    rules = f"[{{role: slow, rate: 0.001, burst: {BURST}}}, {{role: free, rate: unlimited}}]"
    async with fleet(tmp_path, redis, LIMITS=rules, **terms) as at:
        await do_your_worst(at, [at.token("greedy")], rate=RATE, burst=BURST, pauses=False)
        await move_about(at)
        await crowd(at)
        free = [at.token(f"free-{number}", "free") for number in range(2 * GATEWAYS)]
        await do_your_worst(at, free, rate=RATE_IN_ALL, burst=BURST_IN_ALL, pauses=True)
        with redis.client() as client:
            lives = [client.pttl(key) for key in client.scan_iter()]
        assert lives
        assert FOR_EVER not in lives


async def kill(redis: Redis, directory: Path, stack: ExitStack) -> None:
    redis.kill()
    await trio.sleep(0.4)
    stack.callback(Redis.start(directory, port=redis.port, name="back").kill)


async def freeze(redis: Redis, _directory: Path, _stack: ExitStack) -> None:
    redis.freeze()
    await trio.sleep(0.4)
    redis.thaw()


async def flush(redis: Redis, _directory: Path, _stack: ExitStack) -> None:
    with redis.client() as client:
        client.flushall()
        client.script_flush()


@pytest.mark.alone
async def test_pausing(tmp_path: Path, redis: Redis) -> None:
    """Where sessions pause the bound is the same, and reached. No session is lost and no message late when Redis is
    flushed, frozen or killed in mid-traffic, nor when it is back."""
    async with fleet(tmp_path, redis, RATE_LIMIT_EXCEEDED="pause", LIMITS="[{role: calm, rate: 1000}]") as at:
        await do_your_worst(at, [at.token("greedy")], rate=RATE, burst=BURST, pauses=True)
        latencies: list[float] = []

        async def talk(member: Outside, name: str) -> None:
            async with member.house.knock(token=at.token(name, "calm")) as (client, answer):
                assert answer.status == 101
                while True:
                    began_at = trio.current_time()
                    await client.say(TEXT, name.encode())
                    assert (await client.hear())[2] == name.encode()
                    latencies.append(trio.current_time() - began_at)
                    await trio.sleep(0.01)

        ended = [len(member.gateway.events("session ended")) for member in at.members]
        with ExitStack() as stack:
            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(talk, at.members[number % GATEWAYS], f"robot-{number}")
                await trio.sleep(0.5)
                undisturbed, returns = p99(latencies), 1
                for harm, attempts in ((flush, 3), (freeze, 3), (kill, 1)):
                    waits: list[float] = []  # the machine may add to one, and never takes from it
                    while len(waits) < attempts and not (waits and waits[-1] < undisturbed + LATE_SECONDS):
                        latencies.clear()
                        await harm(redis, tmp_path, stack)
                        returns += harm is not flush
                        for member in at.members:
                            await member.log_line("redis is there", returns)
                        await trio.sleep(0.3)
                        waits.append(p99(latencies))
                    assert waits[-1] < undisturbed + LATE_SECONDS, (harm, undisturbed, waits)
                assert [len(member.gateway.events("session ended")) for member in at.members] == ended
                nursery.cancel_scope.cancel()


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]
