"""Which limits hold for a client: those of the first rule that fits, and for the rest the defaults. Pure.

A number in a claim is the provider's word, and may be anything. One that is there and cannot be used is no reason to
limit its client less than others: the rule's own rate holds then, or next to nothing.
"""

import math
import re
from collections.abc import Callable, Mapping

from attrs import frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import LimitRule, Quota, RateLimit, burst_of
from trio_ws_gateway.limits.rates import Rate

LEAST_PER_SECOND = 0.1  # of what a claim may say, and what holds where it says zero, or nothing that can be used

_ABSENT = object()  # where the token has no such claim, or there is no token
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


@frozen(kw_only=True)
class Client:
    """What rules ask about. ``identity``: ``None`` where nobody knows it."""

    identity: Identity | None
    protocol: str
    address: str


@frozen
class Allowance:
    """What a client may have. ``rates``: where there is none, there is no limit. ``sessions``: of its subject."""

    rates: Mapping[RateLimit, Rate]
    sessions: float


@frozen
class LimitTable:
    """``pausing``: limits of which who is beyond them waits, whatever the rate is. ``unusable`` is told which claim
    carries no number that can be used."""

    rules: tuple[LimitRule, ...]
    defaults: Allowance
    pausing: frozenset[RateLimit]
    unusable: Callable[[str], object] = lambda _claim: None

    def of(self, client: Client) -> Allowance:
        """What this client may have. A rule says nothing of the limits that it does not name."""
        rule = next((rule for rule in self.rules if _fits(rule, client)), None)
        if rule is None:
            return self.defaults
        rates = {limit: rate for limit, rate in self.defaults.rates.items() if limit not in rule.quotas}
        for limit, quota in rule.quotas.items():
            if (per_second := self._per_second(quota, client)) < math.inf:
                burst = quota.burst or burst_of(per_second)
                rates[limit] = Rate(per_second, burst, pauses=limit in self.pausing)
        return Allowance(rates, self.defaults.sessions if rule.sessions is None else rule.sessions)

    def _per_second(self, quota: Quota, client: Client) -> float:
        """What the claim says, within bounds, or else the quota's own rate."""
        said = _claim(quota, client)
        if said is _ABSENT or quota.claim is None:
            return quota.rate
        if (number := _number(said)) is not None:
            return float(min(max(number, LEAST_PER_SECOND), quota.ceiling))
        self.unusable(quota.claim)
        return quota.rate if quota.rate < math.inf else min(LEAST_PER_SECOND, quota.ceiling)


def _fits(rule: LimitRule, client: Client) -> bool:
    """Whether all its conditions hold. Cheap ones first; nobody without a token has a role or a claim."""
    identity = client.identity
    if rule.protocols and client.protocol not in rule.protocols:
        return False
    if (rule.roles or rule.claims) and identity is None:
        return False
    if identity is not None:
        if rule.roles and rule.roles.isdisjoint(identity.roles):
            return False
        if not all(_holds(identity.claims, name, values) for name, values in rule.claims):
            return False
    if rule.addresses and client.address not in rule.addresses:
        return False
    return all(_has_rate(quota, client) for quota in rule.quotas.values())


def _has_rate(quota: Quota, client: Client) -> bool:
    """Whether there is a rate at all: a claim that is not there has none."""
    return quota.is_for_everybody or _claim(quota, client) is not _ABSENT


def _holds(claims: Mapping[str, object], name: str, values: frozenset[str]) -> bool:
    """Whether a claim, or one of its members where it is a list, is one of ``values``, as they would be written."""
    claim = claims.get(name)
    return any(_text(each) in values for each in (claim if isinstance(claim, list) else [claim]))


def _text(value: object) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)
    return None


def _claim(quota: Quota, client: Client) -> object:
    """What the claim says, or ``_ABSENT``."""
    claims = client.identity.claims if client.identity is not None else {}
    return _ABSENT if quota.claim is None else claims.get(quota.claim, _ABSENT)


def _number(said: object) -> int | float | None:
    """A number above zero, as it is or written as text."""
    if isinstance(said, str) and _NUMBER.fullmatch(said):
        said = float(said)
    if isinstance(said, bool) or not isinstance(said, int | float) or not said > 0:
        return None
    return said
