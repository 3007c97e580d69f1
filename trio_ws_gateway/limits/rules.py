"""Which rates hold for a client: the first rule that fits decides, and where none does, the defaults. Pure."""

import math
from collections.abc import Mapping

from attrs import evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.config.limit_rules import LimitRule, burst_of
from trio_ws_gateway.limits.rates import Direction, Rate, Rates


@frozen(kw_only=True)
class Client:
    """What rules ask about. ``identity``: ``None`` where nobody knows it."""

    identity: Identity | None
    protocol: str
    address: str


@frozen
class RateTable:
    """``rules`` set how many messages a client may send; ``pauses``: who is beyond that waits."""

    rules: tuple[LimitRule, ...]
    defaults: Mapping[Direction, Rates]
    pauses: bool = field(kw_only=True)

    def of(self, client: Client) -> Mapping[Direction, Rates]:
        """What this client may send, and be sent."""
        for rule in self.rules:
            if _fits(rule, client) and (per_second := _rate(rule, client)) is not None:
                messages = None
                if per_second < math.inf:
                    messages = Rate(per_second, rule.burst or burst_of(per_second), pauses=self.pauses)
                from_client = evolve(self.defaults[Direction.FROM_CLIENT], messages=messages)
                return {**self.defaults, Direction.FROM_CLIENT: from_client}
        return self.defaults


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
    return not rule.addresses or client.address in rule.addresses


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


def _rate(rule: LimitRule, client: Client) -> float | None:
    """The rate that it sets, ``None`` where a claim should carry it and does not."""
    if rule.rate_claim is None:
        return rule.rate
    value = client.identity.claims.get(rule.rate_claim) if client.identity is not None else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return float(min(value, rule.ceiling))
