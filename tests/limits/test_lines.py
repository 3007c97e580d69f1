"""`Lines`: whose turn it is."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.limits.lines import Lines


def all_of(lines: Lines[str]) -> list[str]:
    return [lines.next() for _ in range(len(lines))]


def test_one_address() -> None:
    """First come, first served."""
    lines: Lines[str] = Lines()
    for who in "abc":
        lines.join("here", who)
    assert all_of(lines) == ["a", "b", "c"]


def test_addresses_take_turns() -> None:
    """Who comes alone waits for one of each address that was there before him, however many wait from them."""
    lines: Lines[str] = Lines()
    for number in range(3):
        lines.join("crowd", f"crowd {number}")
        lines.join("pair", f"pair {number}")
    lines.join("alone", "alone")
    assert all_of(lines) == ["crowd 0", "pair 0", "alone", "crowd 1", "pair 1", "crowd 2", "pair 2"]


def test_nobody() -> None:
    """Where nobody waits it is nobody's turn."""
    with pytest.raises(KeyError):
        Lines[str]().next()


steps = st.lists(st.tuples(st.sampled_from(["join", "leave", "next"]), st.integers(0, 2), st.integers(0, 3)))


@given(steps)
def test_as_a_plain_model_does(steps: list[tuple[str, int, int]]) -> None:
    """Whoever comes, leaves and has his turn in whatever order: nobody is lost, served twice, or before his turn."""
    lines: Lines[tuple[int, int]] = Lines()
    model: deque[tuple[int, deque[tuple[int, int]]]] = deque()
    for step, address, number in steps:
        who = (address, number)
        line = next((line for where, line in model if where == address), None)
        if step == "join" and (line is None or who not in line):
            lines.join(address, who)
            if line is None:
                model.append((address, deque([who])))
            else:
                line.append(who)
        elif step == "leave":
            assert lines.leave(address, who) == (line is not None and who in line)
            if line is not None and who in line:
                line.remove(who)
                if not line:
                    model.remove((address, line))
        elif step == "next" and model:
            where, waiting = model.popleft()
            assert lines.next() == waiting.popleft()
            if waiting:
                model.append((where, waiting))
        assert len(lines) == sum(len(waiting) for _, waiting in model)
