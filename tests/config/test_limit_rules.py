"""Rules of limits are read from YAML, and what is wrong with them is said of all at once."""

import math

import pytest

from trio_ws_gateway.config.limit_rules import LimitRule, Quota, RateLimit, burst_of, parse_rules
from trio_ws_gateway.config.loading import BadSettings, load
from trio_ws_gateway.config.values import Networks

ANYBODY = {"ALLOW_ANONYMOUS": "true"}


def test_rules() -> None:
    """Each condition may be one text or a list; a rate is a number, `unlimited`, or in a claim with a ceiling."""
    rules = parse_rules(
        """
        - role: premium
          rate: 100
          burst: 500
          bytes: 1000000
          sessions: 20
        - claim: {tenant: acme, plan: [gold, silver]}
          protocol: [mqtt, raw]
          address: [10.0.0.0/8, 192.0.2.1]
          rate_limit_claim: mps
          ceiling: 50.5
          to_client: {rate: 7, burst: 8}
          to_client_bytes: {rate_limit_claim: bps, ceiling: 1000, rate: 10}
        - rate: unlimited
          sessions: unlimited
        """
    )
    assert rules[0] == LimitRule(
        roles=frozenset({"premium"}),
        quotas={RateLimit.MESSAGES: Quota(rate=100, burst=500), RateLimit.BYTES: Quota(rate=1e6)},
        sessions=20,
    )
    assert rules[1] == LimitRule(
        claims=(("tenant", frozenset({"acme"})), ("plan", frozenset({"gold", "silver"}))),
        protocols=frozenset({"mqtt", "raw"}),
        addresses=Networks.parse(("10.0.0.0/8", "192.0.2.1")),
        quotas={
            RateLimit.MESSAGES: Quota(claim="mps", ceiling=50.5),
            RateLimit.TO_CLIENT: Quota(rate=7, burst=8),
            RateLimit.BYTES_TO_CLIENT: Quota(claim="bps", ceiling=1000, rate=10),
        },
    )
    assert rules[2] == LimitRule(quotas={RateLimit.MESSAGES: Quota(rate=math.inf)}, sessions=math.inf)
    assert rules[1].claims_read == {"tenant", "plan", "mps", "bps"}
    assert rules[0].claims_read == frozenset()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[]", "is no list of rules"),
        ("{rate: 1}", "is no list of rules"),
        ("[premium]", "rule 1: it is no mapping"),
        ("[{}]", "rule 1: it is no mapping"),
        ("[{roles: a, rate: 1}]", "rule 1: roles is no part of a rule, which has role, claim,"),
        ("[{role: a}]", "rule 1: it sets no limit; it needs one of rate, rate_limit_claim, bytes,"),
        ("[{rate: unlimited, rate_limit_claim: mps, ceiling: 2}]", "rule 1: rate is what holds where"),
        ("[{rate_limit_claim: mps}]", "rule 1: rate_limit_claim and ceiling belong together"),
        ("[{rate: 1, ceiling: 2}]", "rule 1: rate_limit_claim and ceiling belong together"),
        ("[{rate: 0}]", "rule 1: rate is no number above zero"),
        ("[{rate: -1}]", "rule 1: rate is no number above zero"),
        ("[{rate: [1]}]", "rule 1: rate is no number above zero"),
        ("[{rate: 1, burst: 1.5}]", "rule 1: burst is no whole number above zero"),
        ("[{rate: 1, role: []}]", "rule 1: role is neither a text nor a list of texts"),
        ("[{rate: 1, role: {a: b}}]", "rule 1: role is neither a text nor a list of texts"),
        ("[{rate: 1, claim: tenant}]", "rule 1: claim is no mapping of claims to values"),
        ("[{rate: 1, address: 10.0.0.1/8}]", "rule 1: address has bits beyond its mask"),
        ("[{rate_limit_claim: [mps], ceiling: 2}]", "rule 1: rate_limit_claim is no name of a claim"),
        ("[{burst: 5, sessions: 1}]", "rule 1: it needs rate or rate_limit_claim"),
        ("[{sessions: 0}]", "rule 1: sessions is no whole number above zero"),
        ("[{sessions: {rate: 1}}]", "rule 1: sessions is no whole number above zero"),
        ("[{bytes: 0}]", "rule 1: bytes is wrong: rate is no number above zero"),
        ("[{to_client: {burst: x}}]", "rule 1: to_client is wrong: burst is no whole .* and it needs rate or"),
        ("[{to_client_bytes: {claim: x, rate: 1}}]", "claim is no part of a limit, which has rate, rate_limit_claim,"),
        ("[{rate: unlimited, burst: 5}]", "rule 1: burst says nothing where rate is unlimited"),
        ("[{to_client: {rate: unlimited, burst: 5}}]", "burst says nothing where rate is unlimited"),
        ("[{rate: 5}, {role: a, rate: 6}]", "rule 1: it has no condition, so no rule behind it is ever asked"),
        ("[{rate: 5, rate_limit_claim: a, ceiling: 7}, {role: a, rate: 6}]", "rule 1: it has no condition, so no rule"),
        ("[{rate: 1", "cannot be read: line 1, column"),
    ],
)
def test_wrong(text: str, wrong: str) -> None:
    """What is wrong with a rule is named with its number."""
    with pytest.raises(ValueError, match=wrong):
        parse_rules(text)


def test_all_at_once() -> None:
    """All that is wrong with all rules is said at once."""
    with pytest.raises(
        ValueError, match=r"rule 1: rate is no number.*; is wrong in rule 3: burst is no whole"
    ) as caught:
        parse_rules("[{rate: x}, {rate: 1, role: a}, {rate: 1, burst: x}]")
    assert "rule 2" not in str(caught.value)


def test_in_a_file_and_in_the_environment() -> None:
    """The rules are a list of mappings in the file, or the same as a text in the environment, which wins."""
    file = "limits:\n  - role: premium\n    rate: 100\n  - claim: {plan: [a, b]}\n    rate: 5\n"
    from_file = load(ANYBODY, file).settings.limits
    assert [rule.quotas[RateLimit.MESSAGES].rate for rule in from_file] == [100, 5]
    assert from_file[1].claims == (("plan", frozenset({"a", "b"})),)
    (rule,) = load(ANYBODY | {"LIMITS": "[{rate: 7}]"}, file).settings.limits
    assert rule.quotas[RateLimit.MESSAGES].rate == 7
    assert load(ANYBODY, "limits:\n").settings.limits == ()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "limits: [{rate: x}]",
            "LIMITS is wrong in rule 1: rate is no number above zero$",
        ),
        (
            "limits: [{rate: x}, {burst: 3}]",
            "LIMITS is wrong in rule 1: rate is no number above zero\nLIMITS is wrong in rule 2: it needs rate",
        ),
        ("limits: fast", "LIMITS=fast is no list of rules"),
        ("limits: {rate: 1}", "is no list of rules"),
        ("limits: [{protocol: stomp, rate: 1}]", "LIMITS names a protocol without an upstream"),
    ],
)
def test_wrong_at_start(text: str, wrong: str) -> None:
    """Wrong rules are wrong settings."""
    with pytest.raises(BadSettings, match=wrong):
        load(ANYBODY, text)


def test_burst() -> None:
    """Three seconds' worth, and at least one message."""
    assert [burst_of(rate) for rate in (0.1, 1, 2.5)] == [1, 3, 8]
