"""What becomes of a revocation that there is no room for, by whose order it is."""

from typing import Any

from trio_ws_gateway.auth.revocation import Revocation, Revocations
from trio_ws_gateway.control import Control, Heard

NOW = 1_800_000_000.0


def of(jti: str) -> Revocation:
    return Revocation(jti=jti, until=NOW + 60)


class Gateway:
    """One whose table holds ``size``; ``asked``: what its processes were to do."""

    def __init__(self, *, size: int) -> None:
        self.known = Revocations(size)
        self.asked: list[Any] = []
        self.control = Control(self.known, self._ask_all, shares=self, clock=lambda: NOW)
        self.told: list[Revocation] = []

    async def _ask_all(self, _: str, body: Any) -> Heard:  # noqa: ANN401
        self.asked += body
        return Heard([len(body)])

    async def tell(self, revocation: Revocation) -> bool:
        self.told.append(revocation)
        return True


async def test_no_room_for_an_operator() -> None:
    """What an operator takes back ends what lives, here and elsewhere, even where there is no room to remember it."""
    here = Gateway(size=1)
    assert (await here.control.revoke(of("a"))).kept
    outcome = await here.control.revoke(of("b"))
    assert (outcome.cut, outcome.told, outcome.kept) == (1, True, False)
    assert here.asked == [of("a").to_json(), of("b").to_json()]
    assert here.told == [of("a"), of("b")]
    assert set(here.known) == {of("a")}


async def test_logouts_leave_room() -> None:
    """Logouts fill no more than half of the table, and are known again; the rest is the operator's."""
    here = Gateway(size=4)
    assert await here.control.obey([of("a"), of("b")])
    assert not await here.control.obey([of("c")])
    assert await here.control.obey([of("b")])
    assert [(await here.control.revoke(of(jti))).kept for jti in "cde"] == [True, True, False]
    assert not await here.control.obey([of("f")])
    assert of("f").to_json() not in here.asked
