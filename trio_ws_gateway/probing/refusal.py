"""Why a session did not come about, or did not last: what happened, and what to look at.

Only the values. ``before_101`` makes them of what is seen until the WebSocket is open, ``after_101`` of what is seen
then.
"""

from attrs import frozen

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing.attempt import Attempt


@frozen(kw_only=True)
class Refusal:
    """``what`` happened, a sentence or two, and what to ``look_at``, the most likely first.

    ``causes``: where it was the gateway that said so, one as a rule; two causes may have the same words. The codes are
    those that came over the wire.
    """

    what: str
    look_at: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    http_status: int | None = None
    close_code: int | None = None
    connack_code: int | None = None


class Failed(Exception):
    """The session ends here."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.what)
        self.refusal = refusal


def timed_out(attempt: Attempt, what: str, look_at: str) -> Refusal:
    return Refusal(what=f"{what} in {attempt.timeout_seconds:g} s.", look_at=(look_at,))
