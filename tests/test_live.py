"""The live sessions of a process: which of them a revocation ends."""

from typing import Any

import structlog
from attrs import define, field
from structlog.testing import capture_logs

from trio_ws_gateway import live
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.revocation import Revocation, Revocations
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.ledger import Ledger
from trio_ws_gateway.live import Live
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.upstream.routes import Routes

NOW = 1_800_000_000.0


@define(eq=False)
class Visit:
    ledger: Ledger
    ended_by: list[Cause] = field(factory=list)

    def end(self, cause: Cause) -> None:
        self.ended_by.append(cause)


def visit(**claims: Any) -> Visit:  # noqa: ANN401
    ledger = Ledger(Metrics(max_identities=0), structlog.get_logger(), "127.0.0.1")
    if claims:
        ledger.identity = Identity(**{"issuer": "i", "subject": "a", "expires_at": NOW + 60, **claims})
    return Visit(ledger)


def living(*visits: Visit) -> Live:
    made = Live(structlog.get_logger(), clock=lambda: NOW)
    made.watch(lambda: visits, Routes.__new__(Routes), None)
    return made


async def revoke(made: Live, **names: Any) -> int:  # noqa: ANN401
    body = [Revocation(until=NOW + 60, **names).to_json()]
    count: int = await made.answers[live.REVOKE](body)
    return count


async def test_whose_sessions_end() -> None:
    """Sessions end that a revocation is about, and no others."""
    mine, other, nobodys = visit(subject="a", token_id="t"), visit(subject="b", session_id="s"), visit()
    made = living(mine, other, nobodys)
    assert await revoke(made, jti="u") == 0
    assert await revoke(made, sid="s") == 1
    assert await revoke(made, session=nobodys.ledger.id) == 1
    assert mine.ended_by == []
    assert other.ended_by == nobodys.ended_by == [Cause.TOKEN_REVOKED]


async def test_name_of_another_kind() -> None:
    """A subject that is called as a session is, or the other way round, is not that session."""
    one = visit(subject="a")
    two = visit(subject=one.ledger.id)
    made = living(one, two)
    assert await revoke(made, sub=one.ledger.id) == 1
    assert one.ended_by == []
    assert await revoke(made, session=one.ledger.id) == 1
    assert len(two.ended_by) == 1


async def test_what_is_not_kept() -> None:
    """A revocation that there is no room for ends sessions all the same, and its loss is an error in the log."""
    mine = visit(subject="a")
    made = living(mine)
    made.revocations = Revocations(0)
    with capture_logs() as lines:
        assert await revoke(made, sub="a") == 1
    assert [(line["event"], line["log_level"]) for line in lines] == [("revocation not kept", "error")]
