"""The rules that choose a rate, as they are written: values, and the way to them from YAML.

A rule names conditions, all of which must hold, and a rate or the claim that carries it. What is wrong is said of all
rules at once, by their numbers.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve, frozen

from trio_ws_gateway.config import plain_yaml
from trio_ws_gateway.config.values import Networks

BURST_SECONDS = 3


@frozen(kw_only=True)
class LimitRule:
    """Conditions: one of ``roles``, each of ``claims`` as one of its values, ``protocols``, ``addresses``; empty: any.

    ``rate``: messages per second, or else ``rate_claim`` carries it, up to ``ceiling``; a token without such a number
    is none of this rule's. ``burst``: ``None`` for three seconds' worth.
    """

    roles: frozenset[str] = frozenset()
    claims: tuple[tuple[str, frozenset[str]], ...] = ()
    protocols: frozenset[str] = frozenset()
    addresses: Networks = Networks()  # noqa: RUF009 - frozen
    rate: float = math.inf
    rate_claim: str | None = None
    ceiling: float = math.inf
    burst: int | None = None

    @property
    def claims_read(self) -> frozenset[str]:
        """The claims of a token that it asks for."""
        names = {name for name, _ in self.claims}
        return frozenset(names if self.rate_claim is None else names | {self.rate_claim})


def burst_of(rate: float) -> int:
    """Three seconds' worth, where nothing else is said."""
    return max(1, math.ceil(BURST_SECONDS * rate))


def parse_rules(text: str) -> tuple[LimitRule, ...]:
    """A list of mappings in YAML. Raises ``ValueError`` with all that is wrong."""
    content = plain_yaml.read(text)
    if not isinstance(content, list) or not content:
        raise ValueError("is no list of rules")
    rules, wrong = [], []
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, dict) or not entry:
            wrong.append(f"rule {number} is no mapping")
            continue
        rule, problems = _rule(entry)
        rules.append(rule)
        wrong += [f"rule {number}: {problem}" for problem in problems]
    if wrong:
        raise ValueError("is wrong in " + "; ".join(wrong))
    return tuple(rules)


def _rule(entry: dict[str, object]) -> tuple[LimitRule, list[str]]:
    rule, problems = LimitRule(), []
    for name, value in entry.items():
        if name not in _PARTS:
            problems.append(f"{name} is no part of a rule, which has {', '.join(_PARTS)}")
            continue
        attribute, parse = _PARTS[name]
        try:
            given: dict[str, Any] = {attribute: parse(value)}
            rule = evolve(rule, **given)
        except ValueError as error:
            problems.append(f"{name} {error}")
    problems += _contradictions(entry)
    return rule, problems


def _contradictions(entry: dict[str, object]) -> Iterator[str]:
    if ("rate" in entry) == ("rate_limit_claim" in entry):
        yield "it needs either rate or rate_limit_claim"
    if ("ceiling" in entry) != ("rate_limit_claim" in entry):
        yield "rate_limit_claim and ceiling belong together: without a ceiling the provider alone sets the limit"


def _texts(value: object) -> frozenset[str]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str) and item for item in items):
        raise ValueError("is neither a text nor a list of texts")
    return frozenset(items)


def _claims(value: object) -> tuple[tuple[str, frozenset[str]], ...]:
    if not isinstance(value, dict) or not value:
        raise ValueError("is no mapping of claims to values")
    return tuple((name, _texts(values)) for name, values in value.items())


def _networks(value: object) -> Networks:
    return Networks.parse(tuple(sorted(_texts(value))))


def _number(value: object) -> float:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) or not float(value):
        raise ValueError("is no number above zero")
    return float(value)


def _rate(value: object) -> float:
    return math.inf if value == "unlimited" else _number(value)


def _count(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}", value) or not int(value):
        raise ValueError("is no whole number above zero")
    return int(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is no name of a claim")
    return value


_PARTS: dict[str, tuple[str, Callable[[object], object]]] = {
    "role": ("roles", _texts),
    "claim": ("claims", _claims),
    "protocol": ("protocols", _texts),
    "address": ("addresses", _networks),
    "rate": ("rate", _rate),
    "rate_limit_claim": ("rate_claim", _name),
    "ceiling": ("ceiling", _number),
    "burst": ("burst", _count),
}
