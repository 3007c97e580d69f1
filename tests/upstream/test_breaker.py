"""The circuit breaker: when it opens, whom it lets through meanwhile, and that it always closes again."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_ws_gateway.upstream.breaker import Breaker, Permit, State

CLOSED, HALF_OPEN, OPEN = State.CLOSED, State.HALF_OPEN, State.OPEN
LEVELS = [("closed", 0), ("half-open", 1), ("open", 2)]


def breaker(threshold: int = 3, changes: list[State] | None = None) -> Breaker:
    return Breaker(threshold=threshold, open_seconds=60, changed=([] if changes is None else changes).append)


def permit(breaker: Breaker, now: float = 0) -> Permit:
    given = breaker.permit(now)
    assert given is not None
    return given


def opened(threshold: int = 3, changes: list[State] | None = None) -> Breaker:
    """One that has opened at 0 s."""
    made = breaker(threshold, changes)
    for _ in range(threshold):
        made.fail(permit(made), 0)
    assert made.state is OPEN
    return made


def test_opens_at_the_threshold() -> None:
    """So many failures in a row open it, and not one fewer."""
    changes: list[State] = []
    one = breaker(3, changes)
    for _ in range(2):
        one.fail(permit(one), 0)
    assert (one.state, changes) == (CLOSED, [])
    one.fail(permit(one), 0)
    assert (one.state, changes) == (OPEN, [OPEN])
    assert one.permit(0) is None


def test_a_success_between_failures() -> None:
    """A success begins the count anew."""
    one = breaker()
    for _ in range(10):
        one.fail(permit(one), 0)
        one.fail(permit(one), 0)
        one.succeed()
    assert one.state is CLOSED


def test_one_trial_at_a_time() -> None:
    """When its time is up one caller may try, and the others not until that one is back."""
    one = opened()
    assert one.permit(59.9) is None
    trial = permit(one, 60)
    assert trial.trial
    assert one.state is HALF_OPEN
    assert one.permit(60) is one.permit(1000) is None


def test_trial_that_succeeds() -> None:
    """A trial that succeeds closes it for all."""
    changes: list[State] = []
    one = opened(changes=changes)
    permit(one, 60)
    one.succeed()
    assert changes == [OPEN, HALF_OPEN, CLOSED]
    assert permit(one, 60) is permit(one, 60)
    assert not permit(one, 60).trial


def test_trial_that_fails() -> None:
    """A trial that fails opens it again, for as long as the first time."""
    changes: list[State] = []
    one = opened(changes=changes)
    one.fail(permit(one, 70), 75)
    assert one.permit(134.9) is None
    assert permit(one, 135).trial
    assert changes == [OPEN, HALF_OPEN, OPEN, HALF_OPEN]


def test_trial_that_is_abandoned() -> None:
    """Of a trial whose client left nothing was learnt: the next caller is the trial."""
    one = opened()
    first = permit(one, 60)
    one.abandon(first)
    assert one.state is HALF_OPEN
    assert permit(one, 60).trial
    one.abandon(first)
    assert one.permit(60) is None


def test_healthy_probe() -> None:
    """A healthy probe closes it before its time is up, and the count begins anew."""
    one = opened()
    one.succeed()
    assert one.state is CLOSED
    one.fail(permit(one), 1)
    one.fail(permit(one), 1)
    assert one.state is CLOSED


def test_failure_from_before_the_outage_was_noticed() -> None:
    """Who dialled before it opened and fails after it has closed again counts no more."""
    one = breaker()
    late = [permit(one) for _ in range(100)]
    for each in late[:3]:
        one.fail(each, 0)
    one.succeed()
    for each in late:
        assert not one.is_current(each)
        one.fail(each, 10)
    assert one.state is CLOSED


def test_late_failure_does_not_prolong() -> None:
    """Nor does it prolong the time that it is open, or end somebody else's trial."""
    one = breaker()
    late = permit(one)
    for _ in range(3):
        one.fail(permit(one), 0)
    one.fail(late, 59)
    trial = permit(one, 60)
    one.fail(late, 60)
    assert one.is_current(trial)


@pytest.mark.parametrize(("word", "level"), LEVELS)
def test_levels(word: str, level: int) -> None:
    """For a gauge the states are numbers, the worst the highest."""
    assert State(word).level == level


class AnyCourse(RuleBasedStateMachine):
    """Sessions that come, succeed, fail and leave in any order, and probes between them."""

    threshold = 3
    open_seconds = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.out: list[Permit] = []  # handed out and not back
        self.trials: list[Permit] = []  # since it was last open
        self.in_a_row = 0  # failures since the last success, told or not
        self.opened_at = 0.0
        self.breaker = Breaker(threshold=self.threshold, open_seconds=self.open_seconds, changed=self.changed)

    def changed(self, state: State) -> None:
        self.trials = []
        if state is OPEN:
            assert self.failing_trial or self.in_a_row >= self.threshold
            self.opened_at = self.now
        if state is HALF_OPEN:
            assert self.now >= self.opened_at + self.open_seconds

    failing_trial = False

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        given = self.breaker.permit(self.now)
        if given is None:
            assert self.breaker.state is not CLOSED
            return
        assert self.breaker.state is not OPEN
        assert given.trial is (self.breaker.state is HALF_OPEN)
        self.out.append(given)
        if given.trial:
            self.trials.append(given)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        self.back(data)
        self.in_a_row = 0
        self.breaker.succeed()
        assert self.breaker.state is CLOSED

    @rule()
    def probe(self) -> None:
        self.in_a_row = 0
        self.breaker.succeed()
        assert self.breaker.state is CLOSED

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        given = self.back(data)
        self.in_a_row += 1
        self.failing_trial = given.trial and given in self.trials
        was_trial = self.failing_trial
        self.breaker.fail(given, self.now)
        self.failing_trial = False
        assert not was_trial or self.breaker.state is OPEN

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        before = self.breaker.state
        given = self.back(data)
        self.breaker.abandon(given)
        if given in self.trials:
            self.trials.remove(given)
        assert self.breaker.state is before

    def back(self, data: st.DataObject) -> Permit:
        return self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    @invariant()
    def never_two_trials(self) -> None:
        assert len(self.trials) <= 1

    @invariant()
    def closed_asks_at_will(self) -> None:
        if self.breaker.state is CLOSED:
            assert self.breaker.permit(self.now) is not None

    def teardown(self) -> None:
        """However it came to this: when all are back and its time is up, a good upstream closes it."""
        while self.out:
            self.breaker.abandon(self.out.pop())
        self.now += self.open_seconds
        assert self.breaker.permit(self.now) is not None
        self.breaker.succeed()
        assert self.breaker.state is CLOSED


AnyCourse.TestCase.settings = settings(deadline=None, stateful_step_count=40)
TestAnyCourse = AnyCourse.TestCase
