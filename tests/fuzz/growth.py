"""How the time to read an input grows with its size: what four times as much may cost."""

import time
from collections.abc import Iterator

from attrs import frozen

from tests.fuzz.target import Target

TIMES = 4
ROUNDS = 3
QUADRATIC = 10.0  # four times as much takes four times as long; sixteen times as long if it is quadratic
HARMLESS_SECONDS = 0.005  # what costs less may grow as it likes


@frozen(kw_only=True)
class Growth:
    """Of one worst input: processor seconds for a quarter of the size, and for all of it."""

    name: str
    size: int
    quarter_seconds: float
    seconds: float

    @property
    def is_quadratic(self) -> bool:
        return self.seconds > HARMLESS_SECONDS and self.seconds > QUADRATIC * self.quarter_seconds


def growths(target: Target) -> Iterator[Growth]:
    for name, make in target.worst.items():
        quarter, whole = make(target.most_bytes // TIMES), make(target.most_bytes)
        yield Growth(
            name=name,
            size=len(whole),
            quarter_seconds=min(_seconds(target, quarter) for _ in range(ROUNDS)),
            seconds=min(_seconds(target, whole) for _ in range(ROUNDS)),
        )


def _seconds(target: Target, data: bytes) -> float:
    began_at = time.thread_time()
    target.read(data)
    return time.thread_time() - began_at
