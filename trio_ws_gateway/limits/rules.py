"""Which limits hold for a client: those of the first rule that fits, and for the rest the defaults. Pure."""

import math
from collections.abc import Mapping

from attrs import frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import LimitRule, Quota, RateLimit, burst_of
from trio_ws_gateway.limits.rates import Rate


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
    """``pausing``: limits of which who is beyond them waits, whatever the rate is."""

    rules: tuple[LimitRule, ...]
    defaults: Allowance
    pausing: frozenset[RateLimit]

    def of(self, client: Client) -> Allowance:
        """What this client may have. A rule says nothing of the limits that it does not name."""
        rule = next((rule for rule in self.rules if _fits(rule, client)), None)
        if rule is None:
            return self.defaults
        rates = {limit: rate for limit, rate in self.defaults.rates.items() if limit not in rule.quotas}
        for limit, quota in rule.quotas.items():
            per_second = _per_second(quota, client)
            if per_second is not None and per_second < math.inf:
                burst = quota.burst or burst_of(per_second)
                rates[limit] = Rate(per_second, burst, pauses=limit in self.pausing)
        return Allowance(rates, self.defaults.sessions if rule.sessions is None else rule.sessions)


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
    return all(_per_second(quota, client) is not None for quota in rule.quotas.values())


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


def _per_second(quota: Quota, client: Client) -> float | None:
    """``None`` where a claim should carry it and does not."""
    if quota.claim is None:
        return quota.rate
    value = client.identity.claims.get(quota.claim) if client.identity is not None else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, quota.ceiling))
