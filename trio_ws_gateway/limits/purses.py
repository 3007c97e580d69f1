"""Purses that can be waited for, and the budgets made of them. The one room for limits in memory that knows a clock.

A limit that refuses has nothing to wait for; one that pauses lets its spender sleep until the next token: it stops
reading, and TCP slows down its peer.
"""

import math
from collections.abc import Callable
from functools import partial

import trio
from attrs import frozen

from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.limits.budgets import FRAMES_PER_MESSAGE, FRAMES_PER_SECOND, Budget, Purse
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.limits.window import FixedWindow

# So long a pause is at the least: a spender that is woken for every byte would cost more than one without a limit.
SHORTEST_PAUSE_SECONDS = 0.02

# How often all who wait for one bucket look at it, together: each look costs 10 to 20 us, found something or not.
LOOKS_PER_SECOND = 500

A_HAIR_SECONDS = 1e-6  # whoever wakes too early for want of digits sleeps for another pause

MakePurse = Callable[[str, Spender, Rate, float], Purse]
"""Makes a full one: what it is for (``messages``, ``bytes``, ``packets``), whose it is, the rate, and the time."""


class Waiters:
    """Those who wait for one bucket. Each sleeps the longer the more there are, so that their looks cost little; what
    comes meanwhile is there for the next who wakes."""

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        self._asleep = trio.lowlevel.ParkingLot()

    async def sleep(self, seconds: float) -> None:
        """For so long at the least, or until ``wake_one`` is called."""
        longer = max(seconds, (len(self._asleep) + 1) / LOOKS_PER_SECOND)
        with trio.move_on_after(longer + A_HAIR_SECONDS):
            await self._asleep.park()

    def wake_one(self) -> None:
        """There is something for somebody."""
        self._asleep.unpark()


def token_bucket(rate: Rate, now: float) -> TokenBucket:
    """A full one."""
    return TokenBucket(rate=rate.per_second, capacity=rate.burst, now=now)


def fixed_window(rate: Rate, now: float) -> FixedWindow:
    """One that grants the burst, whatever the rate."""
    return FixedWindow(capacity=rate.burst, now=now)


def purse(rate: Rate, bucket: TokenBucket | FixedWindow) -> Purse:
    """Around a bucket in the memory of this process."""
    return Purse(bucket, partial(_pause, bucket, Waiters()) if rate.pauses else None)


def in_memory(_what: str, _spender: Spender, rate: Rate, now: float) -> Purse:
    """A ``MakePurse``: of this process alone."""
    return purse(rate, token_bucket(rate, now))


def windowed(_what: str, _spender: Spender, rate: Rate, now: float) -> Purse:
    """A ``MakePurse``: of this process alone, with fixed windows of a second."""
    return purse(rate, fixed_window(rate, now))


def shortest_pause(capacity: int, rate: float) -> float:
    """How long a pause is at the least, in seconds: never so long that the bucket runs over meanwhile."""
    return min(SHORTEST_PAUSE_SECONDS, capacity / rate / 2)


async def _pause(bucket: TokenBucket | FixedWindow, waiters: Waiters) -> bool:
    shortest = shortest_pause(bucket.capacity, bucket.rate)
    await waiters.sleep(max(shortest, bucket.seconds_until_next(trio.current_time())))
    return True


@frozen
class Common:
    """What all clients share in one direction: everybody's budget draws on it as well."""

    messages: tuple[Purse, ...]
    bytes: tuple[Purse, ...]

    @classmethod
    def of(
        cls,
        rates: Rates,
        direction: Direction = Direction.FROM_CLIENT,
        now: float = -math.inf,
        *,
        make: MakePurse = in_memory,
    ) -> "Common":
        """Full ones."""
        everybody = Spender("everybody", direction, rates)
        return cls(
            () if rates.messages is None else (make("messages", everybody, rates.messages, now),),
            () if rates.bytes is None else (make("bytes", everybody, rates.bytes, now),),
        )


def budget(
    common: Common, spender: Spender, now: float, *, make: MakePurse = in_memory, make_here: MakePurse = in_memory
) -> Budget:
    """A full one for a spender that has none; ``common``: of its direction. ``make_here``: makes what other gateways
    never share, of the same kind."""
    rates = spender.rates
    messages = [] if rates.messages is None else [make("messages", spender, rates.messages, now)]
    frames = [] if rates.messages is None else [make_here("frames", spender, _of_frames(rates.messages), now)]
    octets = [] if rates.bytes is None else [make("bytes", spender, rates.bytes, now)]
    packets = [] if rates.packets is None else [make("packets", spender, rates.packets, now)]
    own = (*messages, *frames, *octets, *packets)
    messages += common.messages
    octets += common.bytes
    return Budget(messages=messages, frames=frames, bytes=octets, packets=packets, own=own)


def _of_frames(messages: Rate) -> Rate:
    """That of frames which begin no message."""
    per_second = max(messages.per_second * FRAMES_PER_MESSAGE, FRAMES_PER_SECOND)
    return Rate(per_second, messages.burst * FRAMES_PER_MESSAGE, pauses=messages.pauses)
