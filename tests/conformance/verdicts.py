"""What the judge of the cases says, and how two ways to the same server compare. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping

from attrs import frozen


@frozen(kw_only=True)
class Verdict:
    """Of one case: of its messages, and of how the connection was closed (OK, NON-STRICT, INFORMATIONAL, FAILED, ...).

    ``passed`` is the judge's own word: everything but a breach of the standard. ``reason``: in words.
    """

    case: str
    message: str
    close: str
    passed: bool
    reason: str = ""

    def __str__(self) -> str:
        return self.message if self.close in {"OK", self.message} else f"{self.message}, close {self.close}"


NO_VERDICT = Verdict(case="", message="NO VERDICT", close="NO VERDICT", passed=False)


@frozen(kw_only=True)
class Difference:
    """A case on which the two ways differ."""

    case: str
    directly: Verdict
    through: Verdict

    @property
    def is_regression(self) -> bool:
        return self.directly.passed and not self.through.passed


Verdicts = Mapping[str, Verdict]
"""By the name of the case."""


def differences(directly: Verdicts, through: Verdicts) -> list[Difference]:
    """Where the ways differ, in the order of the cases. One without a verdict through the gateway has not passed."""
    pairs = ((case, verdict, through.get(case, NO_VERDICT)) for case, verdict in directly.items())
    return [Difference(case=case, directly=one, through=other) for case, one, other in pairs if str(one) != str(other)]


def failures(verdicts: Verdicts) -> list[Verdict]:
    return [verdict for verdict in verdicts.values() if not verdict.passed]


def summary(verdicts: Verdicts) -> str:
    """How many cases there were, and how often each verdict."""
    counts = Counter(str(verdict) for verdict in verdicts.values())
    return f"{len(verdicts)} cases: " + ", ".join(f"{count} {words}" for words, count in counts.most_common())


def table(found: list[Difference]) -> Iterator[str]:
    """A line for each difference, regressions with an exclamation mark and the judge's reason."""
    if found:
        width = max(len(str(each.directly)) for each in found)
        yield f"  {'case':<8} {'directly':<{width}}  through the gateway"
    for each in found:
        mark, reason = ("!", f": {each.through.reason}") if each.is_regression else (" ", "")
        yield f"{mark} {each.case:<8} {each.directly!s:<{width}}  {each.through}{reason}"
