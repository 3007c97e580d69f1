"""How much an identity may send, or be sent, as the settings have it. Pure values."""

from collections.abc import Hashable
from enum import Enum

from attrs import frozen


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

    def __bool__(self) -> bool:
        return self.messages is not None or self.bytes is not None


class Direction(Enum):
    FROM_CLIENT = "from the client to its upstream"
    TO_CLIENT = "from the upstream to its client"


@frozen
class Spender:
    """Who draws on a budget: an identity, in one direction, by the rates that hold for it."""

    identity: Hashable
    direction: Direction
    rates: Rates
