"""`Lease` spends only what was debited, holds no more than its size, and asks before it runs out.

The fleet is played here: a bucket that all share, gateways that lease from it, answers that come late, never, or after
the gateway has stopped waiting, and clients that do their worst. ``Shared`` stands in place of Redis.
"""

from collections.abc import Callable
from fractions import Fraction

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.limits.leases import LEASE_SECONDS, Answer, Lease, Question, lease_size

PATIENCE_SECONDS = 0.05


@define
class Shared:
    """What the script does, in exact numbers."""

    rate: Fraction
    capacity: int
    debt: Fraction = Fraction(0)
    at: Fraction = Fraction(0)

    def take(self, question: Question, now: Fraction) -> Answer:
        self.debt = max(Fraction(0), self.debt - (now - self.at) * self.rate - question.back)
        self.at = now
        free = int(self.capacity - self.debt)
        granted = min(question.wanted, free)
        self.debt += granted
        again = float(max(Fraction(0), self.debt - self.capacity + 1) / self.rate) if granted == free else 0.0
        return Answer(granted, LEASE_SECONDS, again)


def lease(size: int = 4, *, burst: int = 32, rate: float = 10) -> Lease:
    return Lease(size=size, memory=TokenBucket(rate=rate, capacity=burst, now=0.0), patience_seconds=PATIENCE_SECONDS)


def leased(tokens: int, *, size: int = 4, now: float = 0.0) -> Lease:
    held = lease(size)
    assert held.question(now) == Question(0, size)
    held.answered(Answer(tokens, LEASE_SECONDS, 0.0), now)
    return held


def test_size() -> None:
    """An eighth of the burst, and at least one."""
    assert [lease_size(burst) for burst in (1, 8, 15, 16, 1000)] == [1, 1, 1, 2, 125]


def test_asks_when_half_is_spent() -> None:
    """When half is left it asks for what is missing, and the rest lasts until the answer; one question at a time."""
    held = leased(4)
    assert held.question(0.1) is None
    assert held.available(0.1, away=False) == 4
    held.spend(2)
    assert held.question(0.1) == Question(0, 2)
    assert held.question(0.1) is None
    assert held.available(0.1, away=False) == 2
    held.spend(2)
    assert held.question(0.11) is None
    held.answered(Answer(2, LEASE_SECONDS, 0.0), 0.12)
    assert held.available(0.12, away=False) == 2


def test_void_after_a_second() -> None:
    """What is not spent a second after it was asked for is void, and given back with the next question."""
    held = leased(4)
    assert held.available(0.999, away=False) == 4
    assert held.available(1.0, away=False) == 0
    assert held.question(1.0) == Question(4, 4)


def test_gives_back_by_itself() -> None:
    """What is void can be given back without asking for more, once."""
    held = leased(4)
    assert held.surrender(0.5) is None
    assert held.surrender(1.0) == Question(4, 0)
    held.answered(Answer(0, LEASE_SECONDS, 0.0), 1.01)
    assert held.surrender(1.02) is None
    assert held.is_settled


def test_denied() -> None:
    """Where Redis has none, none is asked for until one can be there, a second at the longest."""
    held = lease()
    held.question(0.0)
    held.answered(Answer(0, LEASE_SECONDS, 0.3), 0.01)
    assert held.available(0.02, away=False) == 0
    assert held.answer_by(0.02) is None
    assert held.is_exhausted
    assert held.question(0.29) is None
    assert held.question(0.3) is not None  # it travels as long as the first one did
    held.answered(Answer(0, LEASE_SECONDS, 5000.0), 0.33)
    assert held.question(1.29) is None
    assert held.question(1.31) is not None
    held.answered(Answer(4, LEASE_SECONDS, 0.0), 1.32)
    assert not held.is_exhausted


def test_waits_fifty_milliseconds() -> None:
    """An open question is waited for that long; then memory decides, until there is an answer."""
    held = lease()
    held.question(0.0)
    assert held.available(0.02, away=False) == 0
    assert held.answer_by(0.02) == PATIENCE_SECONDS
    held.give_up(0.02)
    assert held.available(0.02, away=False) == 0
    held.give_up(PATIENCE_SECONDS)
    assert held.answer_by(PATIENCE_SECONDS) is None
    assert held.available(PATIENCE_SECONDS, away=False) == 32
    held.spend(1)
    assert held.available(PATIENCE_SECONDS, away=False) == 31
    held.answered(Answer(4, LEASE_SECONDS, 0.0), 0.2)
    assert held.available(0.2, away=False) == 3


def test_others_have_waited() -> None:
    """Where Redis owes others an answer for so long already, memory decides at once, for whoever has asked."""
    held = lease()
    assert not held.give_up(0.0, late=True)
    held.question(0.0)
    assert held.give_up(0.0, late=True)
    assert held.answer_by(0.0) is None
    assert held.available(0.0, away=False) == 32


def test_what_is_owed() -> None:
    """What memory granted in place of a late answer the next ones pay for; what it grants without Redis nobody does."""
    held = lease()
    held.question(0.0)
    held.give_up(0.06)
    assert held.available(0.06, away=False) == 32
    held.spend(10)
    held.answered(Answer(4, LEASE_SECONDS, 0.0), 0.07)
    assert held.available(0.07, away=False) == 0
    assert held.question(0.07) == Question(0, 4 + 6)
    held.answered(Answer(7, LEASE_SECONDS, 0.0), 0.08)
    assert held.available(0.08, away=False) == 1
    assert held.available(0.08, away=True) > 0
    held.spend(5)
    assert held.available(0.08, away=False) == 1
    assert held.question(0.08) == Question(0, 3)


def test_a_question_that_nobody_answers() -> None:
    """Memory decides then, for as long as an answer is waited for; what may have been debited is not spent."""
    held = lease()
    held.question(0.0)
    held.unanswered(0.01)
    assert held.available(0.02, away=False) == 32
    assert held.question(0.02) is None
    assert held.available(0.07, away=False) == 0
    assert held.question(0.07) == Question(0, 4)


@pytest.mark.parametrize(("granted", "seconds"), [(-5, 1.0), (5, 1.0), (9 * 10**18, 1.0), (4, -1.0), (4, 9e15)])
def test_answers_that_are_not_believed(granted: int, seconds: float) -> None:
    """More than was asked for, less than nothing, or a lease that lasts: memory decides, as where nobody answers."""
    held = lease()
    held.question(0.0)
    held.answered(Answer(granted, seconds, 0.0), 0.01)
    assert held.available(0.01, away=False) == 32
    assert held.available(0.07, away=False) == 0
    assert held.question(0.07) == Question(0, 4)


def test_memory_counts_along() -> None:
    """While Redis is away memory decides, and remembers what was spent before: nobody gets a new burst."""
    held = leased(4)
    assert held.available(0.0, away=False) == 4
    held.spend(4)
    assert held.available(0.0, away=True) == 28
    held.spend(28)
    assert held.available(0.0, away=True) == 0
    assert held.available(0.2, away=True) == 2


def test_an_answer_that_comes_after_a_second() -> None:
    """A lease counts from when it was asked for: one that comes too late is void."""
    held = lease()
    held.question(0.0)
    held.answered(Answer(4, LEASE_SECONDS, 0.0), 1.2)
    assert held.available(1.2, away=False) == 0
    assert held.question(1.2) == Question(4, 4)


@define
class Gateway:
    """One of the fleet: its lease, and the questions on their way: when each arrives, and when its answer does."""

    lease: Lease
    open: list[tuple[Fraction, Fraction, Question, bool]] = field(factory=list)


RATES = st.fractions(Fraction(1, 10), 1000, max_denominator=10)
DELAYS = st.sampled_from([Fraction(0), Fraction(1, 1000), Fraction(3, 100), Fraction(1, 10), Fraction(2)])
PAUSES = st.sampled_from([Fraction(0), Fraction(1, 1000), Fraction(1, 50), Fraction(1, 3), Fraction(1), Fraction(5)])
STEPS = st.lists(
    st.tuples(PAUSES, st.integers(0, 2), st.integers(0, 50), DELAYS, DELAYS, st.booleans(), st.booleans()),
    min_size=1,
    max_size=60,
)


def play(
    rate: Fraction, burst: int, steps: list[tuple[Fraction, int, int, Fraction, Fraction, bool, bool]]
) -> tuple[list[tuple[Fraction, int]], Shared]:
    """A client that comes to any gateway at any time and takes all that it is given; what was accepted, and when.

    A step: how long to pause, which gateway, how many messages, how long question and answer travel, whether the answer
    is lost, and whether what is void is given back. Memory never decides: the bound is that of a Redis that is there.
    """
    shared = Shared(rate, burst)
    fleet = [
        Gateway(
            Lease(
                size=lease_size(burst),
                memory=TokenBucket(rate=1, capacity=1, now=0.0),
                patience_seconds=PATIENCE_SECONDS,
            )
        )
        for _ in range(3)
    ]
    accepted: list[tuple[Fraction, int]] = []
    events: list[tuple[Fraction, int, Callable[[Fraction], None]]] = []
    now, number = Fraction(0), 0

    def later(at: Fraction, do: Callable[[Fraction], None]) -> None:
        nonlocal number
        number += 1
        events.append((at, number, do))

    def send(gateway: Gateway, question: Question | None, there: Fraction, back: Fraction, lost: bool) -> None:
        if question is None:
            return

        def arrive(at: Fraction) -> None:
            answer = shared.take(question, at)

            def hear(at: Fraction) -> None:
                if lost:
                    gateway.lease.unanswered(float(at))
                else:
                    gateway.lease.answered(answer, float(at))

            later(at + back, hear)

        later(now + there, arrive)

    for pause, which, messages, there, back, lost, gives_back in steps:
        until = now + pause
        while due := [event for event in events if event[0] <= until]:
            event = min(due, key=lambda event: event[:2])
            events.remove(event)
            event[2](event[0])
        now = until
        gateway = fleet[which]
        tokens = gateway.lease.available(float(now), away=False)
        if not gateway.lease._from_memory:
            taken = min(messages, tokens)
            gateway.lease.spend(taken)
            accepted.append((now, taken))
        if gives_back:
            send(gateway, gateway.lease.surrender(float(now)), there, back, lost)
        send(gateway, gateway.lease.question(float(now)), there, back, lost)
    return accepted, shared


@settings(max_examples=400, deadline=None)
@given(RATES, st.integers(1, 100), STEPS)
def test_the_bound(
    rate: Fraction, burst: int, steps: list[tuple[Fraction, int, int, Fraction, Fraction, bool, bool]]
) -> None:
    """Over any stretch T the fleet accepts at most burst + rate x T + gateways x lease, whatever answers do."""
    accepted, _ = play(rate, burst, steps)
    for first in range(len(accepted)):
        total = 0
        for at, taken in accepted[first:]:
            total += taken
            assert total <= burst + rate * (at - accepted[first][0]) + 3 * lease_size(burst)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100), st.integers(1, 60))
def test_a_client_that_moves(burst: int, moves: int) -> None:
    """Who goes from gateway to gateway gets his whole burst less one lease for each that he has left in the last
    second; and all of it when those have been given back."""
    shared = Shared(Fraction(1, 1000), burst)
    size = lease_size(burst)
    left_at = [
        Lease(size=size, memory=TokenBucket(rate=1, capacity=1, now=0.0), patience_seconds=PATIENCE_SECONDS)
        for _ in range(min(moves, burst // size))
    ]
    spent = 0
    for held in left_at:
        question = held.question(0.0)
        assert question is not None
        held.answered(shared.take(question, Fraction(0)), 0.0)
        if held.available(0.0, away=False):
            held.spend(1)
            spent += 1
    assert burst - shared.debt >= burst - len(left_at) * size
    for held in left_at:
        if (question := held.surrender(1.0)) is not None:
            held.answered(shared.take(question, Fraction(0)), 1.0)
    assert shared.debt == spent


@pytest.mark.parametrize("per_second", [1, 5, 9.9])
def test_who_keeps_to_the_rate_is_never_denied(per_second: float) -> None:
    """Who sends no more than the rate is never denied, however slow: what is void was given back."""
    shared = Shared(Fraction(10), 16)
    held = lease(lease_size(16), burst=16)
    for number in range(500):
        now = number / per_second
        if not held.available(now, away=False):
            question = held.question(now)
            assert question is not None, number
            held.answered(shared.take(question, Fraction(now)), now)
        assert held.available(now, away=False)
        held.spend(1)
        if (question := held.question(now)) is not None:
            held.answered(shared.take(question, Fraction(now)), now)
    assert shared.capacity - shared.debt >= 1
