"""A short round of every fuzz target, always the same: the targets keep their promises, and keep working."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target, readings
from tests.fuzz.targets import TARGETS

EXAMPLES = 200
each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed, or two joined, with a few places cut out or written over."""
    data = draw(st.sampled_from(seeds)) + draw(st.just(b"") | st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 8)) :]
    return data


@each_target
def test_seeds(target: Target) -> None:
    """Every seed keeps the promises, and so does nothing at all."""
    for seed in (b"", *target.seeds):
        target.check(seed)


@each_target
def test_mutated_seeds(target: Target) -> None:
    """Whatever becomes of a seed keeps the promises."""

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(mutated(list(target.seeds)))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@each_target
def test_worst_inputs(target: Target) -> None:
    """The inputs that may cost most have the size that was asked for, more or less, and can be read."""
    assert target.worst
    for make in target.worst.values():
        data = make(4096)
        assert 2048 < len(data) <= 4096 + 200
        target.read(data)


def test_readings() -> None:
    """A stream is read whole, byte by byte, and in pieces, and nothing of it is lost."""
    found = list(readings(b"abcdef"))
    assert found[0] == [b"abcdef"]
    assert found[1] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert all(b"".join(pieces) == b"abcdef" for pieces in found)
