"""What every limit on a rate consists of: three rows of the table of settings, written in one way.

``<NAME>_PER_SECOND`` is how many, ``<NAME>_BURST`` how many at once, ``<NAME>_EXCEEDED`` what happens to who wants
more. Which limits there are is in ``limit_rules``.
"""

from trio_ws_gateway.config import kinds
from trio_ws_gateway.config.limit_rules import burst_of
from trio_ws_gateway.config.table import derived, setting

_BEYOND = kinds.choice("close", "pause")


def per_second(what: str) -> float | None:
    """The row ``<NAME>_PER_SECOND``."""
    return setting(None, kinds.RATE, f"{what} per second; unset: no limit.")


def burst(name: str) -> int | None:
    """The row ``<NAME>_BURST``, behind the first one."""

    def three_seconds_worth(settings: object) -> int | None:
        rate: float | None = getattr(settings, f"{name}_PER_SECOND".lower())
        return None if rate is None else burst_of(rate)

    words = f"three seconds' worth of {name}_PER_SECOND"
    return derived(words, three_seconds_worth, kinds.POSITIVE_COUNT, "The same, at once.")


def exceeded(name: str, default: str) -> str:
    """The row ``<NAME>_EXCEEDED``: ``close`` or ``pause``."""
    return setting(default, _BEYOND, f"Beyond {name}_PER_SECOND: `close` the session, or `pause` reading.")
