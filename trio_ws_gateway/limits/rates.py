"""How much an identity may send, or be sent, as the settings have it. Pure values."""

from collections.abc import Hashable, Mapping
from enum import Enum

from attrs import frozen

from trio_ws_gateway.config.limit_rules import RateLimit


@frozen
class Rate:
    """``per_second`` refills, ``burst`` is what there is at once. ``pauses``: who is beyond it waits."""

    per_second: float
    burst: int
    pauses: bool = False


@frozen(kw_only=True)
class Rates:
    """What holds for one direction; ``None``: no limit."""

    messages: Rate | None = None
    bytes: Rate | None = None
    packets: Rate | None = None

    def __bool__(self) -> bool:
        return any(rate is not None for rate in (self.messages, self.bytes, self.packets))


class Direction(Enum):
    FROM_CLIENT = "from the client to its upstream"
    TO_CLIENT = "from the upstream to its client"


def of_one(rates: Mapping[RateLimit, Rate]) -> Mapping[Direction, Rates]:
    """What an identity may send, and be sent."""
    return {
        Direction.FROM_CLIENT: Rates(
            messages=rates.get(RateLimit.MESSAGES),
            bytes=rates.get(RateLimit.BYTES),
            packets=rates.get(RateLimit.PACKETS),
        ),
        Direction.TO_CLIENT: Rates(messages=rates.get(RateLimit.TO_CLIENT), bytes=rates.get(RateLimit.BYTES_TO_CLIENT)),
    }


def of_all(rates: Mapping[RateLimit, Rate]) -> Mapping[Direction, Rates]:
    """What all clients together may send, and be sent."""
    return {
        Direction.FROM_CLIENT: Rates(messages=rates.get(RateLimit.TOTAL), bytes=rates.get(RateLimit.TOTAL_BYTES)),
        Direction.TO_CLIENT: Rates(
            messages=rates.get(RateLimit.TOTAL_TO_CLIENT), bytes=rates.get(RateLimit.TOTAL_BYTES_TO_CLIENT)
        ),
    }


@frozen
class Spender:
    """Who draws on a budget: an identity, in one direction, by the rates that hold for it."""

    identity: Hashable
    direction: Direction
    rates: Rates
