"""What a check says: one finding an item, with a status, what was found, and what to do about it.

Pure values, for people and for scripts alike. A detail and an advice are fit to be shown to anybody: whoever
writes one sees to it that no password or token is in it.
"""

import re
from collections.abc import Iterable
from enum import Enum

from attrs import asdict, evolve, frozen


class Status(Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@frozen
class Finding:
    """``advice`` is empty where nothing needs to be done. ``seconds``: how long it took to find out."""

    name: str
    status: Status
    detail: str
    advice: str = ""
    seconds: float = 0.0

    def accepted(self, names: Iterable[str]) -> "Finding":
        """This one, or where it is a warning of an item or about a setting with one of these names, one that is ok."""
        words = {self.name, *re.findall(r"[A-Z_]+", f"{self.detail} {self.advice}")}
        if self.status is not Status.WARNING or words.isdisjoint(names):
            return self
        return evolve(self, status=Status.OK, detail=f"{self.detail} (accepted)", advice="")

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "status": self.status.value, "seconds": round(self.seconds, 3)}


class Trouble(Exception):
    """What a probe raises instead of a finding: why the item does not work, and what to do."""

    def __init__(self, detail: str, advice: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice

    def found(self, name: str, status: Status = Status.FAILED) -> Finding:
        return Finding(name, status, self.detail, self.advice)


def worst(findings: Iterable[Finding]) -> Status:
    """The status of all of them together."""
    order = list(Status)
    return max((finding.status for finding in findings), key=order.index, default=Status.OK)


def quoted(text: object, most: int = 80) -> str:
    """What somebody else said, short and without control characters: it goes to a terminal.

    Where it is cut, its closing quote stays.
    """
    shown = ascii(text)
    return shown if len(shown) <= most else f"{shown[:most]}...{shown[-1]}"
