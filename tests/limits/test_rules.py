"""Which rate holds for whom."""

from collections.abc import Mapping
from typing import Any

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import parse_rules
from trio_ws_gateway.limits.rates import Direction, Rate, Rates
from trio_ws_gateway.limits.rules import Client, RateTable

FROM, TO = Direction
DEFAULT = Rate(10, 30)


def client(
    *,
    roles: tuple[str, ...] = (),
    claims: Mapping[str, Any] | None = None,
    protocol: str = "mqtt",
    address: str = "192.0.2.1",
) -> Client:
    identity = Identity(issuer="issuer", subject="robot", expires_at=1.0, roles=roles, claims=claims or {})
    return Client(identity=identity, protocol=protocol, address=address)


NOBODY = Client(identity=None, protocol="mqtt", address="192.0.2.1")


def chosen(text: str, of: Client) -> Rate | None:
    table = RateTable(parse_rules(text), {FROM: Rates(messages=DEFAULT), TO: Rates()}, pauses=False)
    return table.of(of)[FROM].messages


def test_first_that_fits() -> None:
    """The first rule that fits counts, and where none does the default."""
    rules = "[{role: premium, rate: 100}, {role: [basic, premium], rate: 1}]"
    assert chosen(rules, client(roles=("basic", "premium"))) == Rate(100, 300)
    assert chosen(rules, client(roles=("basic",))) == Rate(1, 3)
    assert chosen(rules, client()) == DEFAULT
    assert chosen(rules, NOBODY) == DEFAULT


def test_all_conditions_hold() -> None:
    """All conditions of a rule must hold."""
    rules = "[{role: r, protocol: mqtt, address: 10.0.0.0/8, claim: {tenant: acme}, rate: 5, burst: 7}]"
    given: dict[str, Any] = {"roles": ("r",), "protocol": "mqtt", "address": "10.1.1.1", "claims": {"tenant": "acme"}}
    assert chosen(rules, client(**given)) == Rate(5, 7)
    for name, other in {"roles": (), "protocol": "raw", "address": "192.0.2.1", "claims": {"tenant": "x"}}.items():
        assert chosen(rules, client(**given | {name: other})) == DEFAULT


def test_unlimited() -> None:
    """A rule may lift the limit."""
    assert chosen("[{address: 192.0.2.0/24, rate: unlimited}]", NOBODY) is None


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("gold", True),
        (["silver", "gold"], True),
        (7, True),
        (7.0, True),
        (True, True),
        (False, False),
        ("Gold", False),
        (None, False),
        ({"gold": 1}, False),
        ([], False),
    ],
)
def test_claims(claim: object, holds: bool) -> None:
    """A claim holds where it, or a member of it, is written as one of the rule's values."""
    rules = "[{claim: {plan: [gold, 7, true]}, rate: 5}]"
    assert (chosen(rules, client(claims={"plan": claim})) == Rate(5, 15)) is holds
    assert chosen(rules, NOBODY) == DEFAULT


@pytest.mark.parametrize(
    ("mps", "rate"),
    [(20, 20), (0.5, 0.5), (10**400, 50), (51, 50), (0, 10), (-1, 10), (True, 10), ("20", 10), (None, 10)],
)
def test_number_in_a_claim(mps: object, rate: float) -> None:
    """The number is the claim's, up to the ceiling; what is no number above zero is for the next rule."""
    found = chosen("[{rate_limit_claim: mps, ceiling: 50}]", client(claims={"mps": mps}))
    assert found is not None
    assert found.per_second == rate


def test_what_rules_leave_alone() -> None:
    """A rule sets how many messages a client may send, and nothing of the other limits; beyond it as by default."""
    table = RateTable(
        parse_rules("[{rate: 5}]"), {FROM: Rates(bytes=Rate(7, 8)), TO: Rates(messages=Rate(1, 2))}, pauses=True
    )
    assert table.of(NOBODY) == {
        FROM: Rates(messages=Rate(5, 15, pauses=True), bytes=Rate(7, 8)),
        TO: Rates(messages=Rate(1, 2)),
    }
