"""``sessions``: the live sessions of a gateway, and the end of one of them."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from trio_ws_gateway.commands.given import exit_if_bad
from trio_ws_gateway.commands.operator import ask, operator_options, shown, warn_of_silence

PAGE = 1000
UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@click.command(short_help="List the live sessions, or cut one.")
@operator_options
@click.option("--sub", help="Only those of this subject.")
@click.option("--protocol", help="Only those that speak this protocol.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many at most.")
@click.option("--cut", metavar="ID", help="End the session of this id; its token stays good.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def sessions(
    config: Path | None,
    env_file: Path | None,
    url: str | None,
    sub: str | None,
    protocol: str | None,
    limit: int,
    cut: str | None,
    as_json: bool,
) -> None:
    """List the live sessions of all workers of a gateway, in the order of their ids, or cut one.

    \b
    Examples:
      trio-ws-gateway sessions --sub robot-7
      trio-ws-gateway sessions --limit 100000 --json | jq -r .client | sort | uniq -c
      trio-ws-gateway sessions --cut 0123456789ab

    Exit status: 0, 1 where the gateway does not answer, has no such session, or a worker of it is silent, 2 for wrong
    settings.
    """
    door: dict[str, Any] = {"url": url, "config": config, "env_file": env_file}
    with exit_if_bad():
        if cut == "":
            raise click.BadParameter("it is empty", param_hint="--cut")
        if cut is not None:
            ask("DELETE", f"/admin/sessions/{quote(cut, safe='')}", **door)
            return
        wanted = {name: value for name, value in (("sub", sub), ("protocol", protocol)) if value is not None}
        left, after = limit, ""
        while left:
            query: dict[str, str | int] = {**wanted, "after": after, "limit": min(left, PAGE)}
            page = ask("GET", "/admin/sessions", query=query, **door)
            for session in page["sessions"]:
                click.echo(json.dumps(session) if as_json else _line(session))
            left -= len(page["sessions"])
            after = page["next"]
            if after is None:
                break
        if after is not None and not as_json:
            click.echo(f"more than {limit}: --limit", err=True)
        warn_of_silence(page)


def _line(session: dict[str, Any]) -> str:
    """The most important of it, in columns."""
    traffic = f"{session['bytes_from_client']}/{session['bytes_from_upstream']} B"
    columns = (
        session["protocol"] or "-",
        _age(session["age_seconds"]),
        session["client"],
        traffic,
        shown(session["sub"] or "-"),
    )
    return f"{session['id']}  {columns[0]:8} {columns[1]:>7}  {columns[2]:15} {columns[3]:>20}  {columns[4]}"


def _age(seconds: float) -> str:
    """In the two greatest units: ``3d4h``."""
    left, said = int(seconds), []
    for size, unit in UNITS:
        if left >= size or unit == "s":
            said.append(f"{left // size}{unit}")
            left %= size
    return "".join(said[:2])
