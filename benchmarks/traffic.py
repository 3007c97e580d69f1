"""Who talks to the gateway while things break: good sessions that must not notice, and visitors who misbehave."""

import random
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count

import trio
from attrs import define

from benchmarks.fickle import BEHAVIOURS
from benchmarks.watch import Watch
from tests.faults.others import heard
from tests.house import House
from tests.serve.visits import UPGRADE, visit
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head

GONE = (EOFError, OSError, trio.TooSlowError)
NOT_NOW = {429, 502, 503}  # what a good client may be told, while something is broken
BURST = 4
LARGEST_BYTES = 50_000
PAUSE_SECONDS = 0.2
BYTE_SECONDS = 0.3
VISIT_SECONDS = 6.0


@define(eq=False)
class Talker:
    """A good raw session, and when it has ended the next one. Half of them show their token in the first message."""

    name: str
    chance: random.Random
    watch: Watch
    live: bool = False

    async def run(self, house: House) -> None:
        while True:
            early = self.chance.random() < 0.5
            token = house.provider.mint(sub=self.name, exp=int(time.time()) + 3600)
            why = ""
            try:
                async with house.knock(token=token if early else None) as (client, answer):
                    if answer.status == 101:
                        if not early:
                            await client.say(TEXT, token.encode())
                        why = await self._talk(client)
                    elif answer.status not in NOT_NOW:
                        self.watch.violated(f"{self.name} was refused with {answer.status}")
            except GONE as error:
                why = type(error).__name__
            if self.live:
                self.live = False
                self.watch.ended(self.name, "raw", why)
            await trio.sleep(self.chance.uniform(0, PAUSE_SECONDS))

    async def _talk(self, client: Peer) -> str:
        """Say bursts of messages, and hear them all, as they were and in their order; the reason of a Close."""
        for number in count():
            sizes = [int(LARGEST_BYTES ** self.chance.random()) for _ in range(self.chance.randint(1, BURST))]
            messages = [b"%d %d " % (number, at) + self.chance.randbytes(size) for at, size in enumerate(sizes)]
            began_at = trio.current_time()
            await client.send(b"".join(build_frame(BINARY, message, masked=True) for message in messages))
            for message in messages:
                opcode, fin, payload = await heard(client)
                if opcode == 8:
                    return payload[2:].decode()
                if (opcode, fin, payload) != (BINARY, True, message):
                    self.watch.violated(f"{self.name} heard {payload[:20]!r}, not {message[:20]!r}")
                self.live = True
            self.watch.answered(trio.current_time() - began_at)
            await trio.sleep(self.chance.uniform(0, PAUSE_SECONDS))
        raise AssertionError


Come = Callable[[House, Peer, random.Random], Awaitable[None]]


async def enter(house: House, client: Peer, query: str = "") -> None:
    fields = UPGRADE.partition(b"\r\n")[2]
    token = f"Authorization: Bearer {house.provider.mint(sub='visitor')}\r\n".encode()
    await client.send(f"GET /ws{query} HTTP/1.1\r\n".encode() + token + fields)
    await client.read_until(b"\r\n\r\n")


async def trickle(client: Peer, data: bytes) -> None:
    for byte in data:
        await client.send(bytes([byte]))
        await trio.sleep(BYTE_SECONDS)


async def trickled_head(_house: House, client: Peer, _chance: random.Random) -> None:
    await trickle(client, UPGRADE)


async def trickled_first_message(house: House, client: Peer, _chance: random.Random) -> None:
    await client.send(UPGRADE)
    await client.read_until(b"\r\n\r\n")
    await client.say(TEXT, fin=False)
    for byte in house.provider.mint().encode():
        await trickle(client, build_frame(CONTINUATION, bytes([byte]), fin=False, masked=True))


async def trickled_frame(house: House, client: Peer, _chance: random.Random) -> None:
    await enter(house, client)
    await trickle(client, build_frame(BINARY, bytes(1000), masked=True))


async def vanishes(house: House, client: Peer, chance: random.Random) -> None:
    if chance.random() < 0.5:
        await enter(house, client)
        await client.say(BINARY, b"hello")
    else:
        await client.send(UPGRADE[: chance.randrange(len(UPGRADE))])
    client.vanish()
    await trio.sleep_forever()


async def never_reads(house: House, client: Peer, _chance: random.Random) -> None:
    soon_full(client)
    await enter(house, client)
    while True:
        await client.say(BINARY, bytes(50_000))
        await trio.lowlevel.checkpoint()


def soon_full(client: Peer) -> None:
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        client.sock.setsockopt(socket.SOL_SOCKET, buffer, 16_384)


async def unread_flood(house: House, client: Peer, _chance: random.Random) -> None:
    soon_full(client)
    await enter(house, client, "?do=flooding")
    await trio.sleep_forever()


async def bad_upstream(house: House, client: Peer, chance: random.Random) -> None:
    """Whatever its upstream does, it says something and hears what comes."""
    await enter(house, client, f"?do={chance.choice(sorted(BEHAVIOURS))}")
    await client.say(BINARY, b"hello")
    while True:
        await heard(client)
        await trio.sleep(PAUSE_SECONDS)  # of a flood it takes a part


async def bad_token(house: House, client: Peer, chance: random.Random) -> None:
    """Expired, forged, of a key that nobody knows, or none at all."""
    good = house.provider.mint()
    bad = [house.provider.mint(exp=1), good[:-4] + "AAAA", house.provider.mint({"kid": "invented"}), "nonsense"]
    fields = UPGRADE.partition(b"\r\n")[2]
    await client.send(build_head("GET /ws HTTP/1.1", [("Authorization", f"Bearer {chance.choice(bad)}")])[:-2] + fields)
    await client.read_to_end()


WORST: Sequence[Come] = (
    *(trickled_head, trickled_first_message, trickled_frame, vanishes, never_reads, unread_flood),
    *(bad_upstream, bad_upstream, bad_token),
)


async def visitors(house: House, chance: random.Random) -> None:
    """One after the other comes in one way or another, stays for a while, and goes."""
    while True:
        with trio.move_on_after(chance.uniform(0.01, VISIT_SECONDS)), suppress(*GONE, AssertionError):
            # A visit that was refused reads the answer as frames.
            if chance.random() < 0.5:
                await visit(house, chance)
            else:
                async with house.connect() as client:
                    await chance.choice(WORST)(house, client, chance)
        await trio.sleep(chance.uniform(0, PAUSE_SECONDS))
