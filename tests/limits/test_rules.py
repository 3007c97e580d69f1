"""Which limits hold for whom."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import RateLimit, parse_rules
from trio_ws_gateway.limits.rates import Rate
from trio_ws_gateway.limits.rules import LEAST_PER_SECOND, Allowance, Client, LimitTable

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
    table = LimitTable(parse_rules(text), Allowance({RateLimit.MESSAGES: DEFAULT}, 100), frozenset())
    return table.of(of).rates.get(RateLimit.MESSAGES)


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
    [(20, 20), (0.5, 0.5), (10**400, 50), (51, 50), ("20", 20), ("2.5", 2.5), ("51", 50), (1e-300, LEAST_PER_SECOND)],
)
def test_number_in_a_claim(mps: object, rate: float) -> None:
    """The number is the claim's, also where it is written as text, from the least to the ceiling."""
    found = chosen("[{rate_limit_claim: mps, ceiling: 50}]", client(claims={"mps": mps}))
    assert found is not None
    assert found.per_second == rate


@pytest.mark.parametrize("mps", [0, -1, -(10**400), math.nan, True, False, "", "-1", "inf", " 7", [5], {"a": 1}, None])
def test_claims_that_carry_no_number(mps: object) -> None:
    """A claim that is there, and is no number above zero, limits to the rule's own rate, or to next to nothing."""
    told: list[str] = []
    table = LimitTable(
        parse_rules("[{rate_limit_claim: mps, ceiling: 50, bytes: {rate_limit_claim: mps, ceiling: 9, rate: 7}}]"),
        Allowance({RateLimit.MESSAGES: DEFAULT}, 100),
        frozenset(),
        told.append,
    )
    rates = table.of(client(claims={"mps": mps})).rates
    assert rates == {RateLimit.MESSAGES: Rate(LEAST_PER_SECOND, 1), RateLimit.BYTES: Rate(7, 21)}
    assert told == ["mps", "mps"]


def test_tokens_without_the_claim() -> None:
    """Who has no such claim is none of the rule's, unless it has a rate of its own."""
    for whoever in (client(), NOBODY):
        assert chosen("[{rate_limit_claim: mps, ceiling: 50}]", whoever) == DEFAULT
        assert chosen("[{rate_limit_claim: mps, ceiling: 50, rate: 7}]", whoever) == Rate(7, 21)


DEFAULTS = Allowance({RateLimit.MESSAGES: DEFAULT, RateLimit.BYTES: Rate(7, 8)}, 100)


def allowed(text: str, of: Client = NOBODY) -> Allowance:
    return LimitTable(parse_rules(text), DEFAULTS, frozenset({RateLimit.MESSAGES, RateLimit.TO_CLIENT})).of(of)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("rate: 5", Allowance({RateLimit.MESSAGES: Rate(5, 15, pauses=True), RateLimit.BYTES: Rate(7, 8)}, 100)),
        ("bytes: 1000", Allowance({RateLimit.MESSAGES: DEFAULT, RateLimit.BYTES: Rate(1000, 3000)}, 100)),
        ("bytes: unlimited", Allowance({RateLimit.MESSAGES: DEFAULT}, 100)),
        ("packets: 6", Allowance({**DEFAULTS.rates, RateLimit.PACKETS: Rate(6, 18)}, 100)),
        (
            "to_client: {rate: 2, burst: 9}",
            Allowance({**DEFAULTS.rates, RateLimit.TO_CLIENT: Rate(2, 9, pauses=True)}, 100),
        ),
        ("to_client_bytes: 4", Allowance({**DEFAULTS.rates, RateLimit.BYTES_TO_CLIENT: Rate(4, 12)}, 100)),
        ("sessions: 3", Allowance(DEFAULTS.rates, 3)),
        ("sessions: unlimited", Allowance(DEFAULTS.rates, math.inf)),
        ("rate: unlimited, bytes: unlimited, sessions: 1", Allowance({}, 1)),
    ],
)
def test_each_limit(rule: str, expected: Allowance) -> None:
    """A rule sets the limits that it names, and nothing of the others; beyond one of them as its settings say."""
    assert allowed(f"[{{{rule}}}]") == expected


def test_one_rule_for_all_limits() -> None:
    """The first rule that fits is the only one: what it does not name is as by default, whatever later rules say."""
    rules = "[{address: 192.0.2.1, sessions: 3}, {rate: 1}]"
    assert allowed(rules) == Allowance(DEFAULTS.rates, 3)
    assert allowed(rules, client(address="10.0.0.1")).rates[RateLimit.MESSAGES].per_second == 1


def test_several_numbers_in_claims() -> None:
    """Each limit may have its number in a claim; without one of them the rule is not the client's."""
    rules = (
        "[{rate_limit_claim: mps, ceiling: 50, bytes: {rate_limit_claim: bps, ceiling: 900, burst: 7}, sessions: 3}]"
    )
    assert allowed(rules, client(claims={"mps": 20, "bps": 1000})) == Allowance(
        {RateLimit.MESSAGES: Rate(20, 60, pauses=True), RateLimit.BYTES: Rate(900, 7)}, 3
    )
    assert allowed(rules, client(claims={"mps": 20})) == DEFAULTS
