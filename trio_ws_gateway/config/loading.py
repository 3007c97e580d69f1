"""From the environment and a YAML file to ``Settings``, or to a list of everything that is wrong.

The environment wins over the file; an empty value is unset; white space plus ``# ...`` at the end of an
environment value is cut. No file is opened here: texts come in. The value of a secret never comes out.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml
from attrs import frozen

from trio_ws_gateway.config.kinds import WEBSOCKET_URL
from trio_ws_gateway.config.settings import MEANINGLESS, Settings, contradictions, rows, warnings_for

MAX_YAML_CHARACTERS = 2**20
MAX_YAML_DEPTH = 20
OWN_PREFIXES = ("WS_", "JWT_", "RATE_", "CB_")

_TABLE = dict(rows())
_KNOWN = {*_TABLE, *MEANINGLESS}
_UPSTREAM = re.compile(r"UPSTREAM_([A-Z][A-Z0-9_]*)_URL")

# Kubernetes puts variables of these names into every container, for each service in its namespace: a
# service called `ws-gateway` must not keep the gateway of that name from starting.
_OF_A_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


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
    settings: Settings
    warnings: tuple[str, ...]


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
    return Loaded(settings, (*warnings_for(settings, given), *_near_misses(environ)))


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    given = {}
    for name, text in environ.items():
        if _is_setting(name):
            if value := re.sub(r"(^|\s+)#.*$", "", text, flags=re.DOTALL).strip():
                given[name] = value
        elif name.startswith(OWN_PREFIXES) and not _OF_A_SERVICE.fullmatch(name):
            problems.append(_unknown(name))
    return given


def _from_yaml(text: str, problems: list[Problem]) -> dict[str, str]:
    if len(text) > MAX_YAML_CHARACTERS:
        problems.append(Problem("the YAML file", "is too big", "1 MiB at most"))
        return {}
    try:
        content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader with less
    except yaml.MarkedYAMLError as error:
        place = (
            f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}" if error.problem_mark else ""
        )
        problems.append(Problem("the YAML file", f"cannot be read: {place}: {error.problem}"))
        return {}
    except yaml.YAMLError as error:
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


class _PlainLoader(yaml.SafeLoader):
    """YAML in which every plain scalar is the text that it is.

    So `off` stays a word, `1:30` is no number in base sixty, and one parser serves both sources. Aliases
    (expansion bombs) and depth are refused, and so are duplicate keys, of which YAML lets the last win.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _refused("an alias, which is not taken", self.current_event.start_mark)
        if self.depth == MAX_YAML_DEPTH:
            raise _refused("nested too deep", self.current_event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None and node.tag not in _PLAIN_TAGS:
            raise _refused("a tag, which is not taken", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a name that is no text", key.start_mark)
            if key.value in seen:
                raise _refused(f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NULL = "tag:yaml.org,2002:null"
_PLAIN_TAGS = {_NULL, *(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))}
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _is_setting(name: str) -> bool:
    return name in _KNOWN or _UPSTREAM.fullmatch(name) is not None


def _unknown(name: str) -> Problem:
    near = get_close_matches(name, _KNOWN, n=1)
    return Problem(name, "is no setting" + (f"; did you mean {near[0]}?" if near else ""))


def _near_misses(environ: Mapping[str, str]) -> Iterator[str]:
    """Names that are nobody's business, but so near to a setting that they may be meant for one."""
    for name in environ:
        if not _is_setting(name) and not _OF_A_SERVICE.fullmatch(name):
            for near in get_close_matches(name, _KNOWN, n=1, cutoff=0.85):
                yield f"{name} is no setting and is ignored; did you mean {near}?"


def _shown(name: str, text: str) -> str | None:
    """A wrong value, where it can be no secret: not in a user info, not in a query, not long."""
    if (name in _TABLE and _TABLE[name].secret) or "@" in text or "?" in text or len(text) > 200:
        return None
    return text
