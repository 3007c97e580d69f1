"""YAML in which every plain scalar is the text that it is.

So `off` stays a word, `1:30` is no number in base sixty, and one parser serves the file and the
environment. Refused: duplicate keys (YAML lets the last win), aliases (expansion bombs), tags (objects),
depth (the parser recurses) and size. This module knows no setting.
"""

from typing import Any

import yaml

MAX_CHARACTERS = 2**20
MAX_DEPTH = 20


def read(text: str) -> object:
    """``None``, or nested dicts, lists and texts (``None`` for null). Raises ``ValueError`` with line and column."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError("it is bigger than 1 MiB")
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader with less
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from None


class _PlainLoader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _refused("an alias, which is not taken", self.current_event.start_mark)
        if self.depth == MAX_DEPTH:
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
