"""``check``: whether the settings will do, and whether what they point to works; for people and for scripts."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap

import click
import trio

from trio_ws_gateway.checking.checks import check as check_all
from trio_ws_gateway.checking.findings import Finding, Status, worst
from trio_ws_gateway.commands.given import BAD_SETTINGS_STATUS, Seconds, exit_if_bad, load_settings, settings_options
from trio_ws_gateway.config.loading import BadSettings

FAILED_STATUS = 1
TIMEOUT_SECONDS = 5.0
MARKS = {Status.OK: ("ok", "green"), Status.WARNING: ("warn", "yellow"), Status.FAILED: ("FAIL", "red")}
INDENT = " " * 6
NAME_WIDTH = 13


@click.command(short_help="See whether settings, and what they point to, will do.")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, for scripts.")
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="NAME",
    help="Count a warning that names this setting, or is of this item, as ok: it is meant so. Repeatable.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=Seconds(),
    default=TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long each item may take; all are looked at at once.",
)
def check(
    config: Path | None,
    env_file: Path | None,
    as_json: bool,
    strict: bool,
    accepted: tuple[str, ...],
    timeout_seconds: float,
) -> None:
    """See whether the settings will do, and whether what they point to works.

    Takes the settings as `serve` does, and starts nothing: it fetches the provider's keys, compares the clocks, opens a
    WebSocket to each upstream (without credentials, for MQTT with a CONNECT, and closes it), asks Redis if there is
    one, binds the address to listen on, and counts descriptors. For each it says what works, what does not, and what to
    do; and it warns of settings that are legal but dangerous.

    Run it where the gateway is to run, in its container and as its user: names, networks and limits differ elsewhere.

    \b
    Exit status:
      0  all is well, perhaps with warnings
      1  something does not work; with --strict: or there is a warning
      2  wrong settings: nothing was tried

    \b
    Examples:
      trio-ws-gateway check --env-file .env
      podman run --rm --env-file .env <image> check --strict --accept UPSTREAM_WS_URL
      trio-ws-gateway check --json | jq -r '.items[] | select(.status == "failed") | .name'
    """
    with exit_if_bad():
        try:
            found = trio.run(check_all, load_settings(config, env_file), timeout_seconds)
            findings = [finding.accepted(accepted) for finding in found]
        except BadSettings as error:
            if not as_json:
                raise
            findings = [Finding(each.name, Status.FAILED, str(each)) for each in error.problems]
            click.echo(_as_json(findings))
            sys.exit(BAD_SETTINGS_STATUS)
    if as_json:
        click.echo(_as_json(findings))
    else:
        for finding in findings:
            click.echo(_as_text(finding))
        click.secho(summary(findings), fg=MARKS[worst(findings)][1])
    status = worst(findings)
    if status is Status.FAILED or (strict and status is Status.WARNING):
        sys.exit(FAILED_STATUS)


def _as_json(findings: Sequence[Finding]) -> str:
    items = [finding.as_json() for finding in findings]
    return json.dumps({"status": worst(findings).value, "items": items}, indent=2)


def _as_text(finding: Finding) -> str:
    """A line, and an indented one with what to do."""
    mark, colour = MARKS[finding.status]
    took = f" ({finding.seconds * 1000:.0f} ms)" if finding.seconds >= 0.0005 else ""
    lines = [f"{click.style(f'{mark:4}', fg=colour)}  {finding.name:{NAME_WIDTH}} {finding.detail}{took}"]
    if finding.advice:
        lines += wrap(f"-> {finding.advice}", _width(), initial_indent=INDENT, subsequent_indent=f"{INDENT}   ")
    return "\n".join(lines)


def _width() -> int:
    """Of a terminal; a pipe gets one line for each piece of advice."""
    return get_terminal_size().columns if sys.stdout.isatty() else 10_000


def summary(findings: Sequence[Finding]) -> str:
    """The last line: how all of it went."""
    failed = sum(finding.status is Status.FAILED for finding in findings)
    warnings = sum(finding.status is Status.WARNING for finding in findings)
    told = f"{warnings} warning{'s' if warnings != 1 else ''}"
    if failed:
        return f"{failed} of {len(findings)} {'do' if failed > 1 else 'does'} not work, {told}"
    return f"All works, {told}" if warnings else "All is well"
