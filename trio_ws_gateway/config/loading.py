"""From the environment and a YAML file to ``Settings``, or to a list of everything that is wrong.

The environment wins over the file; an empty value is unset. A value in the environment is read as one in an env file
(``read_value``), because container engines pass the lines of an env file on as they stand. No file is opened here:
texts come in. The value of a secret never comes out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import frozen

from trio_ws_gateway.config import plain_yaml
from trio_ws_gateway.config.kinds import WEBSOCKET_URL
from trio_ws_gateway.config.rules import MEANINGLESS, contradictions, warnings_for
from trio_ws_gateway.config.settings import Settings, rows
from trio_ws_gateway.config.values import SeveralWrong

OWN_PREFIXES = ("WS_", "JWT_", "RATE_", "CB_")

_TABLE = dict(rows())
_KNOWN = {*_TABLE, *MEANINGLESS}
_UPSTREAM = re.compile(r"UPSTREAM_([A-Z][A-Z0-9_]*)_URL")

_ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)", re.ASCII)
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:\s#.*)?""")

# Kubernetes puts variables of these names into every container, for each service in its namespace: a
# service called `ws-gateway` must not keep the gateway of that name from starting.
_OF_A_SERVICE = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|\w+_PORT=(tcp|udp|sctp)://.*", re.DOTALL
)


@frozen
class Problem:
    """One wrong setting. ``value`` is what may be shown of it, ``None`` where it is a secret or not set."""

    name: str
    wrong: str
    right: str = ""
    value: str | None = None

    def __str__(self) -> str:
        shown = "" if self.value is None else f"={self.value}"
        return f"{self.name}{shown} {self.wrong}" + (f"; it must be {self.right}" if self.right else "")


class BadSettings(Exception):
    """Settings with which the gateway does not start: all problems at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


@frozen
class Loaded:
    """``given``: the names that were set; the others have their defaults."""

    settings: Settings
    warnings: tuple[str, ...]
    given: frozenset[str] = frozenset()


def load(environ: Mapping[str, str], yaml_text: str | None = None) -> Loaded:
    """``environ``: a process's environment. ``yaml_text``: a mapping of the same names, in either case.

    Raises ``BadSettings``.
    """
    problems: list[Problem] = []
    given = _from_yaml(yaml_text, problems) if yaml_text is not None else {}
    given |= _from_environment(environ, problems)

    values: dict[str, Any] = {}
    upstream_urls = {}
    for name, text in given.items():
        kind = _TABLE[name].kind if name in _TABLE else WEBSOCKET_URL
        if name in MEANINGLESS:
            continue
        try:
            value = kind.parse(text)
        except SeveralWrong as error:
            problems += [Problem(name, wrong) for wrong in error.problems]
            continue
        except ValueError as error:
            problems.append(Problem(name, str(error), kind.right, _shown(name, text)))
            continue
        if name in _TABLE:
            values[name.lower()] = value
        else:
            upstream_urls[name.removeprefix("UPSTREAM_").removesuffix("_URL").lower()] = value

    settings = Settings(**values, upstream_urls=upstream_urls)
    named = {problem.name for problem in problems}
    problems += [
        Problem(contradiction.names[0], contradiction.wrong, contradiction.right)
        for contradiction in contradictions(settings)
        if named.isdisjoint(contradiction.names)
    ]
    if problems:
        raise BadSettings(tuple(problems))
    return Loaded(settings, (*warnings_for(settings, given), *_near_misses(environ)), frozenset(given))


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of an ``.env`` file, ``KEY=value`` lines with or without ``export``, with the values as they stand.

    The last of two equal names counts. Raises ``BadSettings`` with the number of each line that cannot be read, and
    nothing of its text, which may be half a secret.
    """
    given: dict[str, str] = {}
    problems = []
    for number, line in enumerate(re.split(r"\r?\n", text.removeprefix("\ufeff")), 1):
        if not _without_comment(line):
            continue
        match = _ENV_LINE.fullmatch(line)
        if match is None or read_value(match[2]) is None:
            problems.append(Problem(f"line {number} of the env file", "cannot be read", "NAME=value"))
        else:
            given[match[1]] = match[2]
    if problems:
        raise BadSettings(tuple(problems))
    return given


def over_env_file(environ: Mapping[str, str], text: str) -> dict[str, str]:
    """An environment on top of what an env file sets. An empty variable is unset, so it hides nothing of the file's.

    Raises ``BadSettings``, as ``parse_env_file`` does.
    """
    return parse_env_file(text) | {name: value for name, value in environ.items() if read_value(value) != ""}


def read_value(text: str) -> str | None:
    """A value without the quotes around it, or without a comment at its end, as shells have it: quotes keep what is
    between them. ``None`` where a quote is not closed, or followed by more.
    """
    text = text.strip()
    if not text.startswith(("'", '"')):
        return _without_comment(text)
    if not (match := _QUOTED.fullmatch(text)):
        return None
    single, double = match.groups()
    return re.sub(r"\\([\\\"$`])", r"\1", double) if single is None else single


def _without_comment(text: str) -> str:
    return re.sub(r"(^|\s+)#.*$", "", text, flags=re.DOTALL).strip()


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    given = {}
    for name, text in environ.items():
        if _is_setting(name):
            value = read_value(text)
            if value is None:
                problems.append(Problem(name, "begins with a quote that does not end it", "in two quotes, or in none"))
            elif value:
                given[name] = value
        elif name.startswith(OWN_PREFIXES) and not _OF_A_SERVICE.fullmatch(f"{name}={text}"):
            problems.append(_unknown(name))
    return given


def _from_yaml(text: str, problems: list[Problem]) -> dict[str, str]:
    try:
        content = plain_yaml.read(text)
    except ValueError as error:
        problems.append(Problem("the YAML file", f"cannot be read: {error}"))
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(Problem("the YAML file", "holds no mapping", "lines such as `WS_PATH: /ws`"))
        return {}

    given: dict[str, str] = {}
    for key, value in content.items():
        name = str(key).upper()
        if not _is_setting(name):
            problems.append(_unknown(name))
        elif name in given:
            problems.append(Problem(name, "is there twice, in upper and in lower case"))
        elif (joined := _joined(name, value, problems)) is not None:
            given[name] = joined
    return given


def _joined(name: str, value: object, problems: list[Problem]) -> str | None:
    """A YAML value as it would be written in the environment; ``None`` where it is unset, or a problem."""
    if value is not None and name in _TABLE and _TABLE[name].kind.nested:
        return value if isinstance(value, str) else json.dumps(value)  # which is YAML too
    takes_list = name in _TABLE and _TABLE[name].kind.nothing is not None
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if not isinstance(value, list):
        problems.append(Problem(name, "is a mapping", "one value" + " or a list" * takes_list))
    elif not takes_list:
        problems.append(Problem(name, "is a list", "one value"))
    elif not value:
        problems.append(Problem(name, "is an empty list", "a list with something in it, or left out"))
    elif not all(isinstance(item, str) and item and "," not in item for item in value):
        problems.append(Problem(name, "has an item that is no plain text", "a list of texts without commas"))
    else:
        return ",".join(value)
    return None


def _is_setting(name: str) -> bool:
    return name in _KNOWN or _UPSTREAM.fullmatch(name) is not None


def _unknown(name: str) -> Problem:
    near = get_close_matches(name, _KNOWN, n=1)
    return Problem(name, "is no setting" + (f"; did you mean {near[0]}?" if near else ""))


def _near_misses(environ: Mapping[str, str]) -> Iterator[str]:
    """Names that are nobody's business, but so near to a setting that they may be meant for one."""
    for name, text in environ.items():
        if not _is_setting(name) and not _OF_A_SERVICE.fullmatch(f"{name}={text}"):
            for near in get_close_matches(name, _KNOWN, n=1, cutoff=0.85):
                yield f"{name} is no setting and is ignored; did you mean {near}?"


def _shown(name: str, text: str) -> str | None:
    """A wrong value, where it can be no secret: not in a user info, not in a query, not long."""
    if (name in _TABLE and _TABLE[name].secret) or "@" in text or "?" in text or len(text) > 200:
        return None
    return text
