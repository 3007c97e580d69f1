"""What a fuzz target is, and the ways to cut a stream into reads."""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

Check = Callable[[bytes], None]


@frozen(kw_only=True)
class Target:
    """``check`` fails where a promise is broken, whatever the bytes. ``seeds``: what a search begins with.

    ``worst``: inputs of any size that may cost most, and ``read``, which is what they cost it. ``most_bytes``: more is
    refused unread.
    """

    name: str
    check: Check
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    worst: Mapping[str, Callable[[int], bytes]] = field(factory=dict)
    most_bytes: int = 1024 * 1024


def readings(stream: bytes) -> Iterator[list[bytes]]:
    """The stream whole, byte by byte, and cut at places that are drawn, always the same for the same stream."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    draw = random.Random(zlib.crc32(stream))
    cuts = sorted(draw.randint(0, len(stream)) for _ in range(draw.randint(1, 6)))
    yield [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def same(outcomes: Iterator[object]) -> None:
    """All of them are."""
    first, *others = outcomes
    for other in others:
        assert other == first, f"{other}\nis not\n{first}"


def says_little(error: Exception) -> None:
    """An error is for a log: it names a rule, and has no room for what was sent."""
    assert len(str(error)) < 200, str(error)


def repeated(unit: bytes, *, before: bytes = b"") -> Callable[[int], bytes]:
    """As often as fits the size."""
    return lambda size: before + unit * ((size - len(before)) // len(unit))
