"""The settings that a command was given: two options, the environment, and the files that they name.

``@settings_options`` gives a command ``config`` and ``env_file``; ``load_settings`` reads them. ``exit_if_bad`` tells
of every wrong setting at once, and ends with the status that stands for them.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from trio_ws_gateway.config.loading import BadSettings, Loaded, Problem, load, over_env_file, read_value

BAD_SETTINGS_STATUS = 2

MOST_CHARACTERS = 2**20  # of a file of settings
MOST_SECONDS = 10**6  # what a socket takes as a time-out is not much more

Command = TypeVar("Command", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A span of time, above zero unless ``zero_will_do``. click itself takes nan and inf as numbers."""

    name = "seconds"

    def __init__(self, *, zero_will_do: bool = False) -> None:
        super().__init__(min=0, min_open=not zero_will_do, max=MOST_SECONDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        if not math.isfinite(number := super().convert(value, param, ctx)):
            self.fail(f"{value} is no span of time.", param, ctx)
        return number


_OPTIONS = (
    click.option(
        "--env-file",
        type=click.Path(path_type=Path),
        help="A file of NAME=value lines; the environment wins over it too, and it over the YAML file.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="A YAML file with settings; the environment wins over it. [env: GATEWAY_CONFIG]",
    ),
)


def settings_options(command: Command) -> Command:
    """Give a command ``--config`` and ``--env-file``."""
    for option in _OPTIONS:
        command = option(command)
    return command


def load_settings(config: Path | None, env_file: Path | None) -> Loaded:
    """Read the environment and the files. Raises ``BadSettings``."""
    environ = dict(os.environ)
    if env_file is not None:
        environ = over_env_file(environ, _text_of("env", env_file))
    if config is None and (name := read_value(environ.get("GATEWAY_CONFIG", ""))):
        config = Path(name)
    return load(environ, _text_of("YAML", config) if config is not None else None)


@contextmanager
def exit_if_bad() -> Iterator[None]:
    """Turn ``BadSettings`` into words on standard error, and the exit status 2."""
    try:
        yield
    except BadSettings as error:
        count = len(error.problems)
        click.echo(f"{count} wrong setting{'s' if count > 1 else ''}:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(BAD_SETTINGS_STATUS)


def _text_of(kind: str, path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise BadSettings((Problem(f"the {kind} file {path}", f"cannot be read: {error.strerror}"),)) from None
    except UnicodeDecodeError:
        raise BadSettings((Problem(f"the {kind} file {path}", "is not UTF-8"),)) from None
    if len(text) > MOST_CHARACTERS:
        raise BadSettings((Problem(f"the {kind} file {path}", "is bigger than 1 MiB"),))
    return text
