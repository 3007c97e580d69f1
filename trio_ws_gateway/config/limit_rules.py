"""The rules that choose limits, as they are written: values, and the way to them from YAML.

A rule names conditions, all of which must hold, and limits: each a number, or the claim that carries it. What is wrong
is said of all rules at once, by their numbers.
"""

import math
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from attrs import field, frozen

from trio_ws_gateway.config import plain_yaml
from trio_ws_gateway.config.values import Networks, SeveralWrong

BURST_SECONDS = 3


class RateLimit(Enum):
    """The limits on rates, by what the three settings of each are called."""

    MESSAGES = "RATE_LIMIT"
    BYTES = "RATE_LIMIT_BYTES"
    PACKETS = "RATE_LIMIT_PACKETS"
    TO_CLIENT = "RATE_LIMIT_TO_CLIENT"
    BYTES_TO_CLIENT = "RATE_LIMIT_TO_CLIENT_BYTES"
    TOTAL = "RATE_LIMIT_TOTAL"
    TOTAL_BYTES = "RATE_LIMIT_TOTAL_BYTES"
    TOTAL_TO_CLIENT = "RATE_LIMIT_TOTAL_TO_CLIENT"
    TOTAL_BYTES_TO_CLIENT = "RATE_LIMIT_TOTAL_TO_CLIENT_BYTES"


@frozen(kw_only=True)
class Quota:
    """``rate``: so many per second (``math.inf``: no limit). Or ``claim`` carries the number, up to ``ceiling``, and
    ``rate`` is what holds where it carries none (``math.inf``: nothing is said of that).

    ``burst``: ``None`` for three seconds' worth.
    """

    rate: float = math.inf
    claim: str | None = None
    ceiling: float = math.inf
    burst: int | None = None

    @property
    def is_for_everybody(self) -> bool:
        """It says something of whoever comes, with the claim or without it."""
        return self.claim is None or self.rate < math.inf


@frozen(kw_only=True)
class LimitRule:
    """Conditions: one of ``roles``, each of ``claims`` as one of its values, ``protocols``, ``addresses``; empty: any.

    ``quotas``: the rates that it sets; a token without a claim that one of them asks for, and that has no rate by
    itself, is none of this rule's.
    ``sessions``: of one subject at a time (``math.inf``: any number), or ``None`` where it says nothing of them.
    """

    roles: frozenset[str] = frozenset()
    claims: tuple[tuple[str, frozenset[str]], ...] = ()
    protocols: frozenset[str] = frozenset()
    addresses: Networks = Networks()  # noqa: RUF009 - frozen
    quotas: Mapping[RateLimit, Quota] = field(factory=dict)
    sessions: float | None = None

    @property
    def is_for_everybody(self) -> bool:
        """It fits whoever comes."""
        conditions = (self.roles, self.claims, self.protocols, self.addresses)
        return not any(conditions) and all(quota.is_for_everybody for quota in self.quotas.values())

    @property
    def claims_read(self) -> frozenset[str]:
        """The claims of a token that it asks for."""
        numbers = {quota.claim for quota in self.quotas.values() if quota.claim is not None}
        return frozenset(numbers | {name for name, _ in self.claims})


def burst_of(rate: float) -> int:
    """Three seconds' worth, where nothing else is said."""
    return max(1, math.ceil(BURST_SECONDS * rate))


def parse_rules(text: str) -> tuple[LimitRule, ...]:
    """A list of mappings in YAML. Raises ``ValueError``, with all that is wrong ``SeveralWrong``."""
    try:
        content = plain_yaml.read(text)
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not isinstance(content, list) or not content:
        raise ValueError("is no list of rules")
    rules, wrong = [], []
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, dict) or not entry:
            wrong.append(f"rule {number}: it is no mapping")
            continue
        rule, problems = _rule(entry)
        rules.append(rule)
        if not problems and rule.is_for_everybody and number < len(content):
            problems.append("it has no condition, so no rule behind it is ever asked")
        wrong += [f"rule {number}: {problem}" for problem in problems]
    if wrong:
        raise SeveralWrong([f"is wrong in {problem}" for problem in wrong])
    return tuple(rules)


def _rule(entry: dict[str, object]) -> tuple[LimitRule, list[str]]:
    """One rule, and all that is wrong with it. The quota that stands in the rule itself is that of messages."""
    own = {name: value for name, value in entry.items() if name in _QUOTA_PARTS}
    parts, problems = _read(
        {name: value for name, value in entry.items() if name not in own}, {**_CONDITIONS, **_NAMED_LIMITS}, _A_RULE
    )
    if own:
        parts[RateLimit.MESSAGES], wrong = _quota_parts(own)
        problems += wrong
    if entry.keys().isdisjoint(_LIMITS):
        problems.append(f"it sets no limit; it needs one of {', '.join(_LIMITS)}")
    quotas = {limit: parts.pop(limit) for limit in RateLimit if limit in parts}
    return LimitRule(quotas=quotas, **{str(name): value for name, value in parts.items()}), problems


def _quota(value: object) -> Quota:
    """A quota by itself: a mapping, or only its rate."""
    quota, problems = _quota_parts(value if isinstance(value, dict) else {"rate": value})
    if problems:
        raise ValueError("is wrong: " + " and ".join(problems))
    return quota


def _quota_parts(entry: dict[str, object]) -> tuple[Quota, list[str]]:
    parts, problems = _read(entry, _QUOTA_PARTS, f"a limit, which has {', '.join(_QUOTA_PARTS)}")
    if entry.keys().isdisjoint(("rate", "rate_limit_claim")):
        problems.append("it needs rate or rate_limit_claim")
    if "rate_limit_claim" in entry and entry.get("rate") == "unlimited":
        problems.append("rate is what holds where rate_limit_claim says nothing usable: it cannot be unlimited")
    if ("ceiling" in entry) != ("rate_limit_claim" in entry):
        problems.append(
            "rate_limit_claim and ceiling belong together: without a ceiling the provider alone sets the limit"
        )
    if "burst" in entry and "rate_limit_claim" not in entry and entry.get("rate") == "unlimited":
        problems.append("burst says nothing where rate is unlimited")
    return Quota(**parts), problems


def _read(entry: dict[str, object], parts: "Parts", whole: str) -> tuple[dict[Any, Any], list[str]]:
    """What the parts that are there say, by what they are called in code; and what is wrong with them."""
    said, problems = {}, []
    for name, value in entry.items():
        if name not in parts:
            problems.append(f"{name} is no part of {whole}")
            continue
        called, parse = parts[name]
        try:
            said[called] = parse(value)
        except ValueError as error:
            problems.append(f"{name} {error}")
    return said, problems


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


def _count(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}", value) or not int(value):
        raise ValueError("is no whole number above zero")
    return int(value)


def _rate(value: object) -> float:
    return math.inf if value == "unlimited" else _number(value)


def _sessions(value: object) -> float:
    return math.inf if value == "unlimited" else _count(value)


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is no name of a claim")
    return value


Parts = Mapping[str, tuple[str | RateLimit, Callable[[object], object]]]
"""By how they are written: what they are called in code, and what reads them."""

_QUOTA_PARTS: Parts = {
    "rate": ("rate", _rate),
    "rate_limit_claim": ("claim", _name),
    "ceiling": ("ceiling", _number),
    "burst": ("burst", _count),
}
_CONDITIONS: Parts = {
    "role": ("roles", _texts),
    "claim": ("claims", _claims),
    "protocol": ("protocols", _texts),
    "address": ("addresses", _networks),
}
_NAMED_LIMITS: Parts = {
    "bytes": (RateLimit.BYTES, _quota),
    "packets": (RateLimit.PACKETS, _quota),
    "to_client": (RateLimit.TO_CLIENT, _quota),
    "to_client_bytes": (RateLimit.BYTES_TO_CLIENT, _quota),
    "sessions": ("sessions", _sessions),
}
_A_RULE = f"a rule, which has {', '.join((*_CONDITIONS, *_QUOTA_PARTS, *_NAMED_LIMITS))}"
_LIMITS = ("rate", "rate_limit_claim", *_NAMED_LIMITS)
