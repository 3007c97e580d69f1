"""The course of a probe: its steps, how long each took, and how it ended."""

from collections.abc import Callable

import trio
from attrs import define, field, frozen

from trio_ws_gateway.probing.refusal import Refusal


@frozen
class Step:
    """Something that was waited for, and came. ``detail``: what there is to know of it."""

    name: str
    seconds: float
    detail: str = ""


@define
class Course:
    """``tell`` hears of every step as soon as it is done. ``unfinished``: the step that is being waited for."""

    tell: Callable[[Step], None]
    steps: list[Step] = field(factory=list)
    round_trips: list[float] = field(factory=list)
    notes: list[str] = field(factory=list)
    refusal: Refusal | None = None
    unfinished: str = ""
    _began_at: float = 0.0

    @property
    def worked(self) -> bool:
        return self.refusal is None and not self.unfinished

    def begins(self, name: str) -> None:
        self.unfinished = name
        self._began_at = trio.current_time()

    def passed(self, detail: str = "") -> None:
        step = Step(self.unfinished, trio.current_time() - self._began_at, detail)
        self.unfinished = ""
        self.steps.append(step)
        self.tell(step)
