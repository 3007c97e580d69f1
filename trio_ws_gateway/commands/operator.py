"""What the operator's commands have in common: how they find the door, knock at it, and say that it stays shut.

The door is that of the settings, so where the gateway runs nothing more is to be said. From elsewhere ``--url`` names
it, and the credential comes from ADMIN_TOKEN or ADMIN_TOKEN_FILE alone.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import httpx

from trio_ws_gateway.admin.credential import credential_of
from trio_ws_gateway.commands.given import load_settings, settings_options
from trio_ws_gateway.config.loading import load

Command = TypeVar("Command", bound=Callable[..., Any])

FAILED_STATUS = 1
ANSWER_SECONDS = 5.0
CREDENTIAL = ("ADMIN_TOKEN", "ADMIN_TOKEN_FILE")

_OPTION = click.option(
    "--url",
    metavar="URL",
    help="The operator's door, where it is not that of the settings: http://host:port.",
)


def operator_options(command: Command) -> Command:
    """Give a command ``url``, ``config`` and ``env_file``."""
    return settings_options(_OPTION(command))


def ask(
    method: str,
    path: str,
    *,
    url: str | None,
    config: Path | None,
    env_file: Path | None,
    query: dict[str, str | int] | None = None,
    body: dict[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - JSON
    """What the gateway answers, ``None`` where it says no more than that it is done. Ends the command otherwise.

    Raises ``BadSettings``.
    """
    where, credential = _door(url, config, env_file)
    headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}
    try:
        with httpx.Client(base_url=where, headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
            answer = client.request(method, path, params=query, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _end(f"{where}: {str(error) or type(error).__name__}")
    try:
        said = answer.json() if answer.content else None
    except ValueError:
        _end(f"{where}: {answer.status_code}, but what answers is no gateway")
    if not answer.is_success:
        _end(f"{where}: {answer.status_code} {said.get('error', '') if isinstance(said, dict) else ''}".rstrip())
    return said


def shown(text: str) -> str:
    """Threat: a name is somebody else's, and must not move the cursor, nor turn the line round."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def warn_of_silence(answer: dict[str, Any]) -> None:
    """Say that the answer is not that of all workers, and end with the status of it."""
    if silent := answer["unanswered"]:
        _end(f"{silent} worker{'s' if silent > 1 else ''} did not answer")


def _door(url: str | None, config: Path | None, env_file: Path | None) -> tuple[str, str | None]:
    """Where it is, and what opens it."""
    if url is None:
        settings = load_settings(config, env_file).settings
        if settings.admin_listen is None:
            _end("ADMIN_LISTEN is unset: the gateway has no door for operators")
        return f"http://{settings.admin_listen.reachable()}", credential_of(settings)
    given = {name: os.environ[name] for name in CREDENTIAL if name in os.environ}
    return url, credential_of(load({"ALLOW_ANONYMOUS": "true", **given}).settings)


def _end(why: str) -> NoReturn:
    click.echo(shown(why), err=True)
    sys.exit(FAILED_STATUS)
