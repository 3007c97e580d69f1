"""What the demo shows: lines that stay, and on a terminal a few beneath them that change.

Nothing here knows what the demo does.
"""

from typing import TextIO

from attrs import frozen
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trio_ws_gateway.probing.figures import duration

LET_IN, REFUSED, WRONG, OVER = "let in", "refused", "WRONG", "over"
STYLES = {LET_IN: "green", REFUSED: "yellow", WRONG: "bold red", OVER: "cyan"}
WIDTHS = (7, 9, 4)  # of the first three columns; the last has the time, and the others share the rest
COMMENTS = ("#", "//")
TIME_WIDTH = 8
PLAIN_WIDTHS = (*WIDTHS, 33, 63, TIME_WIDTH)
HEADER = ("", "who", "", "tried", "the gateway said", "took")


@frozen(kw_only=True)
class ScreenRow:
    """One thing that happened. ``verdict`` is a key of ``STYLES``."""

    verdict: str
    who: str
    protocol: str
    tried: str
    answer: str
    seconds: float


class Screen:
    """A screen on ``file``. A context manager, at whose end what changes is gone."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._kept: dict[str, str] = {}
        self.is_terminal = self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """A text as it is, for copying too: never cut, never broken."""
        self._console.print(Text(text, style), soft_wrap=True)

    def invite(self, commands: str) -> None:
        """Commands to copy; comments among them are set apart."""
        text = Text()
        for line in commands.splitlines(keepends=True):
            text.append(line, "green" if line.startswith(COMMENTS) else "")
        self._console.print(text, soft_wrap=True)

    def head(self) -> None:
        """Name the columns of the lines to come."""
        self._print(HEADER, "dim")

    def show(self, line: ScreenRow) -> None:
        took = duration(line.seconds)
        self._print((line.verdict, line.who, line.protocol, line.tried, line.answer, took), STYLES[line.verdict])

    def keep(self, name: str, text: str) -> None:
        """Keep one line of that name beneath everything else, in the place of the last. Only a terminal shows it."""
        if not self.is_terminal:
            return
        self._kept[name] = text
        rows = Table.grid(padding=(0, 1))
        for kept in self._kept.items():
            rows.add_row(*map(Text, kept), style="cyan")
        self._live.start()
        self._live.update(rows, refresh=True)

    def _print(self, cells: tuple[str, ...], style: str) -> None:
        if not self.is_terminal:
            self.say(" ".join(f"{cell:{width}}" for cell, width in zip(cells, PLAIN_WIDTHS, strict=True)).rstrip())
            return
        *_, took = cells
        row = Table.grid(padding=(0, 1), expand=True)
        for width in WIDTHS:
            row.add_column(width=width, no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(ratio=1)
        row.add_column(width=TIME_WIDTH, justify="right", no_wrap=True)
        verdict, who, *rest, _ = cells
        row.add_row(Text(verdict, style), Text(who, "bold"), *map(Text, rest), Text(took, "dim"))
        self._console.print(row)
