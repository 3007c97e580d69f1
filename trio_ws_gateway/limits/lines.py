"""Who waits for a turn, by address: round robin over the addresses, first come first served within one. Pure.

However many wait from one address, whoever comes alone from another is next but as many as there are addresses.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Lines(Generic[T]):
    """A line for each address. Every operation takes the same time, however many wait."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, OrderedDict[T, None]] = OrderedDict()  # in the order of their turns
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def join(self, address: Hashable, who: T) -> None:
        """Wait behind those of that address; where there are none, behind all other addresses."""
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = OrderedDict()
        line[who] = None
        self._waiting += 1

    def has(self, address: Hashable, who: T) -> bool:
        """Whether he waits there."""
        return who in self._lines.get(address, ())

    def leave(self, address: Hashable, who: T) -> bool:
        """Wait no longer; whether he did."""
        if not self.has(address, who):
            return False
        line = self._lines[address]
        del line[who]
        self._waiting -= 1
        if not line:
            del self._lines[address]
        return True

    def next(self) -> T:
        """Whose turn it is; he waits no longer. Raises ``KeyError`` where nobody does."""
        address, line = self._lines.popitem(last=False)
        who, _ = line.popitem(last=False)
        self._waiting -= 1
        if line:
            self._lines[address] = line
        return who
