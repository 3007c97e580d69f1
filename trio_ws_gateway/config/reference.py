"""The reference page of settings, written from the table.

``python -m trio_ws_gateway.config.reference > docs/settings.md`` writes the page anew; a test asserts that
it is current. Nothing about a setting is said here that the table does not say.
"""

from collections.abc import Iterator

from trio_ws_gateway.config.rules import MEANINGLESS
from trio_ws_gateway.config.settings import GROUPS, rows

_INTRODUCTION = """\
# Settings

<!-- Generated from the table in trio_ws_gateway/config/settings.py; do not edit. -->

Settings come from the environment, and from a YAML file (`--config FILE`, or `GATEWAY_CONFIG`) that holds a
mapping of the same names, in upper or lower case, with lists where a setting is a list. The environment wins.
An empty value is unset. White space followed by `#` ends a value of the environment, in quotes too; write such a
value in the YAML file.

Every wrong setting is reported at start, all of them at once, and the exit status is 2. A name that begins with
`WS_`, `JWT_`, `RATE_` or `CB_` and is no setting is an error too.
"""


def settings_reference() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION.rstrip()
    for name, row in rows():
        if heading := GROUPS.get(name.lower()):
            yield from ("", f"## {heading}", "", "| name | type | default | what it does |", "|---|---|---|---|")
        default = "unset" if not row.default else row.default if row.is_derived else f"`{row.default}`"
        no_effect = "" if row.works_for is None else " *No effect yet.*"
        yield f"| `{name}` | {row.kind.name} | {default} | {row.sentence}{no_effect} |"
        if name == "RAW_WS_BACKEND_URL":
            yield (
                "| `UPSTREAM_<PROTOCOL>_URL` | WebSocket URL | unset |"
                " The upstream of a further protocol, by the name of its adapter. |"
            )
    yield from ("", "## Accepted, without meaning", "", "Names of the Go gateway that an env file may keep.", "")
    for name, why in MEANINGLESS.items():
        yield f"- `{name}`: {why}."
    yield "- `JWT_CACHE_STORE=postgres`: means `memory`."


if __name__ == "__main__":
    print(settings_reference(), end="")
