"""The reference pages under ``docs/``, written from the tables in code.

``python -m trio_ws_gateway.reference`` writes them anew; tests assert that they are current. Nothing about a setting,
a cause or a metric is said here that its table does not say.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from trio_ws_gateway.admin.openapi import description
from trio_ws_gateway.causes import Cause, Counts
from trio_ws_gateway.config.rules import MEANINGLESS
from trio_ws_gateway.config.settings import GROUPS, rows
from trio_ws_gateway.metrics import LABELS, Metrics

_SETTINGS = """\
# Settings

<!-- Generated from the table in trio_ws_gateway/config/settings.py; do not edit. -->

Settings come from the environment, and from a YAML file (`--config FILE`, or `GATEWAY_CONFIG`) that holds a
mapping of the same names, in upper or lower case, with lists where a setting is a list. The environment wins.
An empty value is unset.

A value in the environment is read as one in an env file (`--env-file FILE`), for container engines pass the lines of
theirs on as they stand: a pair of quotes around it is taken off, and outside of quotes white space followed by `#`
begins a comment. A quote that is not closed, or followed by more, is an error.

Every wrong setting is reported at start, all of them at once, and the exit status is 2. A name that begins with
`WS_`, `JWT_`, `RATE_` or `CB_` and is no setting is an error too.
"""

_CAUSES = """\
# Causes

<!-- Generated from the table in trio_ws_gateway/causes.py; do not edit. -->

Every session that ends, and every request that is refused, has one cause. It is `cause` in the log line, the label of
`ws_session_ends_total` (see [metrics.md](metrics.md)) and, where the answer is one of HTTP, `cause` in its body. What
more is known stands in the log as `detail`.

## What they mean

| cause | what it means | what to do | counts in |
|---|---|---|---|
"""

_CAUSES_HEARD = """
## What is heard

What the gateway itself says: an HTTP answer before the 101; after it a Close frame, and to an MQTT client before that a
CONNACK where it still waits for one, or a DISCONNECT where it speaks MQTT 5. A dash: nothing is said, and what is still
there of a connection is cut. The Close of one side passes to the other as it came.

| cause | HTTP | Close | CONNACK 3.1, 3.1.1 | CONNACK 5 | DISCONNECT 5 | Close to an upstream that was dialled |
|---|---|---|---|---|---|---|
"""

_METRICS = """\
# Metrics

<!-- Generated from the table in trio_ws_gateway/metrics.py; do not edit. -->

What `/metrics` says, in the text format of Prometheus. A series with labels is there from its first event on.

| name | type | labels | what it says |
|---|---|---|---|
"""


_NO_EFFECT = " *No effect yet.*"


def settings_page() -> str:
    """The page of settings, in Markdown."""
    return "\n".join(_settings()) + "\n"


def causes_page() -> str:
    """The page of causes: what each means, and who hears what."""
    return "".join((_CAUSES, *map(_meaning, Cause), _CAUSES_HEARD, *map(_heard, Cause)))


def metrics_page() -> str:
    """The page of metrics, their labels and buckets."""
    return _METRICS + "\n".join(_metrics()) + "\n"


def openapi_page() -> str:
    """The description of the operator's door, in OpenAPI."""
    return json.dumps(description(), indent=2) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "causes.md": causes_page,
    "metrics.md": metrics_page,
    "admin.openapi.json": openapi_page,
}


def write(directory: Path) -> None:
    """Write every page anew."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


def _settings() -> Iterator[str]:
    yield _SETTINGS.rstrip()
    for name, row in rows():
        if heading := GROUPS.get(name.lower()):
            yield from ("", f"## {heading}", "", "| name | type | default | what it does |", "|---|---|---|---|")
        default = "unset" if not row.default else row.default if row.is_derived else f"`{row.default}`"
        yield f"| `{name}` | {row.kind.name} | {default} | {row.sentence} |"
        if name == "RAW_WS_BACKEND_URL":
            yield (
                "| `UPSTREAM_<PROTOCOL>_URL` | WebSocket URL | unset |"
                " The upstream of a further protocol, by the name of its adapter. |"
            )
    yield from ("", "## Accepted, without meaning", "", "Names of the Go gateway that an env file may keep.", "")
    for name, why in MEANINGLESS.items():
        yield f"- `{name}`: {why}."
    yield "- `JWT_CACHE_STORE=postgres`: means `memory`."


def _meaning(cause: Cause) -> str:
    row = cause.row
    counter = "" if row.counts is Counts.NOTHING else f"`{row.counts.value}`"
    return f"| `{cause.value}` | {row.meaning} | {row.advice} | {counter} |\n"


def _heard(cause: Cause) -> str:
    row = cause.row
    is_early = row.close is None and row.http is not None  # there is no upstream yet
    cells = (
        f"`{cause.value}`",
        "-" if row.http is None else f"{row.http}, Retry-After" if row.retry else str(row.http),
        "-" if row.close is None else f"{row.close} {row.reason}",
        *("-" if code is None else f"0x{code:02X}" for code in (row.connack3, row.connack5, row.disconnect5)),
        "-" if row.upstream_close is None or is_early else str(row.upstream_close),
    )
    return f"| {' | '.join(cells)} |\n"


def _metrics() -> Iterator[str]:
    table = sorted(Metrics(max_identities=0).table, key=lambda row: row.name)
    for row in table:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.sentence} |"
    yield from ("", "## Labels", "", "| label | its values |", "|---|---|")
    for label, sentence in LABELS.items():
        yield f"| `{label}` | {sentence} |"
    yield from ("", "## Buckets", "", "In seconds.", "", "| histogram | upper bounds |", "|---|---|")
    for row in table:
        if row.buckets:
            yield f"| `{row.name}` | {', '.join(f'{bound:g}' for bound in row.buckets)} |"


if __name__ == "__main__":
    write(Path(*sys.argv[1:] or ["docs"]))
