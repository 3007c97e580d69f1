"""Structured logs: one JSON object, or one line for a person, each on standard output.

No token is ever logged, and this is the last line of defence: whatever looks like a JWT is cut out
of every value, wherever it came from.
"""

import contextlib
import re
import sys
from collections.abc import Mapping
from typing import TextIO, cast

import structlog

# Begins as base64url of "{" and then a quote, white space or a line break does; host names hardly ever do. In what was
# quoted, a line break before it is a backslash and a letter.
JWT_SHAPE = re.compile(r"(?:\b|(?<=\\[nrt]))e[yw][A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]{4,}|\.(?=\.))(\.[A-Za-z0-9_-]*)*")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def without_tokens(value: object) -> object:
    """The value with everything that has the shape of a JWT replaced, in mappings and lists too; what is neither those
    nor a number comes back as text."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return JWT_SHAPE.sub("[token]", value)
    if isinstance(value, Mapping):
        return {str(without_tokens(key)): without_tokens(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_tokens(each) for each in value]
    return without_tokens(str(value))


def _cut_tokens(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: without_tokens(value) for key, value in event.items()}


class _Sink:
    """A file that is full, or a pipe that nobody reads any more, costs log lines and not sessions."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


def configure(*, format: str, level: str, file: TextIO | None = None) -> None:
    """Set up all loggers of the process. ``format``: ``json`` or ``console``; ``level``: a key of ``LEVELS``."""
    file = file or sys.stdout
    sink = _Sink(file)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False, default=str)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=file.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _cut_tokens,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: structlog.WriteLogger(cast(TextIO, sink)),
        cache_logger_on_first_use=False,
    )
