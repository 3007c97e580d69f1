"""What one gateway holds of an identity's tokens, when all gateways share them. Pure; ``now`` is passed in.

The tokens are in Redis; a gateway takes some ahead, so that a message waits for nobody. Such a lease is debited there
when it is taken, and what is not spent a second after the last was taken is void. Nothing is spent that was not
debited, and no gateway has more in hand or on its way than ``size``: so over any T seconds all gateways together accept
at most burst + rate x T + gateways x size, whatever happens to them and to answers. What is void is given back.

While Redis is away or late, the memory bucket decides, and the limit holds for each gateway by itself. It is debited
all the time, so that nobody gets a new burst only because Redis has gone. What it grants while an answer is only late
is owed, and the next answers pay for it first.
"""

from typing import Protocol

from attrs import frozen

ASK_AGAIN_SECONDS = 1.0  # at the latest, however far the next token is: Redis may have been flushed since
LEASE_SECONDS = 1.0  # no lease is good for longer, whatever an answer says
SHARE = 8  # of the burst, that one gateway takes ahead


class Memory(Protocol):
    """A bucket of this process alone, ``TokenBucket`` or ``FixedWindow``."""

    def available(self, now: float) -> int: ...
    def spend(self, tokens: int) -> None: ...
    def seconds_until_next(self, now: float) -> float: ...
    def is_full(self, now: float) -> bool: ...


@frozen
class Question:
    """For Redis: ``back`` tokens are given back, ``wanted`` are asked for."""

    back: int
    wanted: int


@frozen
class Answer:
    """``granted`` tokens, void after ``valid_seconds``; none comes before ``again_seconds`` (0: there are more)."""

    granted: int
    valid_seconds: float
    again_seconds: float


def lease_size(burst: int) -> int:
    """How many tokens a gateway takes ahead at most."""
    return max(1, burst // SHARE)


class Lease:
    """Tokens of one identity in this gateway. ``memory``: its bucket for the times without Redis, which decides also
    where an answer does not come in ``patience_seconds``."""

    __slots__ = (
        "_asked_at",
        "_back",
        "_doubt_until",
        "_from_memory",
        "_given_up",
        "_left",
        "_low",
        "_none_before",
        "_owed",
        "_owes",
        "_patience_seconds",
        "_wanted",
        "is_exhausted",
        "memory",
        "size",
        "void_at",
    )

    def __init__(self, *, size: int, memory: Memory, patience_seconds: float) -> None:
        self.size = size
        self.memory = memory
        self._patience_seconds = patience_seconds
        self.void_at = 0.0
        self.is_exhausted = False  # the last answer was all that there was
        self._low = size // 2
        self._left = 0
        self._back = 0  # void, and not given back yet
        self._asked_at: float | None = None  # of the question that is open; there is one at a time
        self._wanted = 0  # by it
        self._none_before = 0.0  # Redis has said that no token comes before
        self._doubt_until = 0.0  # after a question that nobody answered
        self._given_up = False  # the open question is not waited for any more
        self._owed = 0  # spent from memory meanwhile
        self._owes = False
        self._from_memory = False

    def available(self, now: float, *, away: bool) -> int:
        """How many tokens may be spent now: of the lease, or from memory where Redis is ``away`` or late."""
        in_memory = self.memory.available(now)
        if away or self._given_up or now < self._doubt_until:
            self._from_memory, self._owes = True, not away  # away each gateway has a limit of its own
            return max(0, in_memory)
        self._from_memory = False
        if now >= self.void_at:
            self._void(now)
        return self._left

    def spend(self, tokens: int) -> bool:
        """Take tokens that ``available`` said are there, in the same moment. Whether it is time to ask for more: when
        half of a lease is spent, so that the rest lasts until there is an answer."""
        self.memory.spend(tokens)
        if not self._from_memory:
            self._left -= tokens
        elif self._owes:
            self._owed += tokens
        return self._left <= self._low and self._asked_at is None

    def seconds_until_next(self, now: float) -> float:
        """When to look again, for who has found none."""
        return self.memory.seconds_until_next(now) if self._from_memory else max(0.0, self._none_before - now)

    @property
    def is_settled(self) -> bool:
        """Nothing is in hand, open, or to be given back."""
        return not self._left and not self._back and self._asked_at is None

    def question(self, now: float) -> Question | None:
        """What to ask Redis now, if anything. It is open from then on."""
        self._void(now)
        if self._asked_at is not None or self._left > self._low:
            return None
        if now < self._none_before or now < self._doubt_until:
            return None
        return self._open(self.size - self._left + self._owed, now)

    def surrender(self, now: float) -> Question | None:
        """What to give back without asking for more, if anything. It is open from then on."""
        self._void(now)
        return self._open(0, now) if self._back and self._asked_at is None else None

    def answer_by(self, now: float) -> float | None:
        """Until when to wait for the open question; ``None`` where there is nothing to wait for."""
        return None if self._asked_at is None or self._in_doubt(now) else self._asked_at + self._patience_seconds

    def give_up(self, now: float, *, late: bool = False) -> bool:
        """Somebody has waited until then; whether it was in vain, so that memory decides until there is an answer.

        ``late``: others have waited so long already, and there is none before theirs.
        """
        self._given_up = self._asked_at is not None and (late or now >= self._asked_at + self._patience_seconds)
        return self._given_up

    def answered(self, answer: Answer, now: float) -> None:
        """The open question has its answer. A lease counts from when it was asked for: it was debited after that.

        One that the script cannot have given is none: whoever answers in place of Redis grants nobody anything.
        """
        if not (0 <= answer.granted <= self._wanted and 0 <= answer.valid_seconds <= LEASE_SECONDS):
            self.unanswered(now)
            return
        self._void(now)
        paid = min(self._owed, answer.granted)
        self._owed -= paid
        if (granted := answer.granted - paid) and self._asked_at is not None:
            self._left += granted
            self.void_at = self._asked_at + answer.valid_seconds
        self.is_exhausted = answer.again_seconds > 0
        asked_at = now if self._asked_at is None else self._asked_at  # the next one travels as long as this one did
        self._none_before = asked_at + min(answer.again_seconds, ASK_AGAIN_SECONDS)
        self._asked_at, self._given_up = None, False

    def unanswered(self, now: float) -> None:
        """Nobody knows what has become of the open question. What it may have debited is not spent."""
        self._asked_at, self._given_up = None, False
        self._doubt_until = now + self._patience_seconds

    def _in_doubt(self, now: float) -> bool:
        return self._given_up or now < self._doubt_until

    def _open(self, wanted: int, now: float) -> Question:
        back, self._back = self._back, 0
        self._asked_at, self._wanted = now, wanted
        return Question(back, wanted)

    def _void(self, now: float) -> None:
        if self._left and now >= self.void_at:
            self._back += self._left
            self._left = 0
