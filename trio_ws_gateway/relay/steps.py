"""What a step of a pump comes to: what it leaves to be waited for, and how a direction ends. Only words and a table."""

from enum import Enum

from trio_ws_gateway.limits.budgets import Kind
from trio_ws_gateway.wire.frames import Found


class Need(Enum):
    """What a step leaves its owner to do."""

    READABLE = "the source is drained; wait until it is readable"
    TURN = "the budget ran out; let others run, then go on"
    ROOM = "the target takes no more; wait until it does"
    TOKENS = "the budget is spent, or an answer is owed; wait until there is more, or the answer, or end"
    END = "this direction has ended; `ended` says how"


READABLE, TURN, ROOM, TOKENS, END = Need  # to look a member up in its class costs 0.1 us


class Ended(Enum):
    """How a direction ended. All that was to pass has passed by then, unless the target is gone."""

    CLOSE = "a Close frame has passed"
    ILLEGAL = "an illegal frame came"
    TOO_BIG = "a message came that is too big"
    TOO_MANY = "more came than the budget allows"
    SOURCE_LOST = "end of stream, or a reset, without a Close"
    TARGET_LOST = "the target is gone"


OF_FOUND = {
    Found.CLOSE: Ended.CLOSE,
    Found.ILLEGAL: Ended.ILLEGAL,
    Found.TOO_BIG: Ended.TOO_BIG,
    Found.TOO_MANY_MESSAGES: Ended.TOO_MANY,
    Found.TOO_MANY_EXTRAS: Ended.TOO_MANY,
}
LACKING = {Found.TOO_MANY_MESSAGES: Kind.MESSAGES, Found.TOO_MANY_EXTRAS: Kind.EXTRAS}
