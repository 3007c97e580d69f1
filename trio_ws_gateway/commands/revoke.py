"""``revoke``: take back a token, all tokens of a subject, or a session."""

import json
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from trio_ws_gateway.commands.given import exit_if_bad
from trio_ws_gateway.commands.operator import ask, operator_options, warn_of_silence


class Moment(click.ParamType[float]):
    """Seconds since 1970, or ``now``."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        if value == "now":
            return time.time()
        try:
            moment = float(value)
        except ValueError:
            moment = math.nan
        if not math.isfinite(moment):
            self.fail(f"{value} is neither a number of seconds since 1970 nor `now`.", param, ctx)
        return moment


@click.command(short_help="Take back a token, a subject's tokens, or a session.")
@operator_options
@click.option("--jti", help="One token, by its id.")
@click.option("--sub", help="All tokens of a subject; with --jti: whose token that is.")
@click.option("--sid", help="All tokens of a session at the provider.")
@click.option("--session", help="One live session, by the id in its log lines.")
@click.option("--iss", help="The issuer, where more than one is accepted.")
@click.option(
    "--issued-before",
    type=Moment(),
    metavar="SECONDS|now",
    help="With --sub: only tokens of before; who logs in again may come again.",
)
@click.option("--exp", type=Moment(), metavar="SECONDS", help="With --jti: when the token expires.")
@click.option("--json", "as_json", is_flag=True, help="Print what the gateway answers.")
def revoke(
    config: Path | None, env_file: Path | None, url: str | None, as_json: bool, **body: str | float | None
) -> None:
    """Take back a token, all tokens of a subject, or a session, and end what lives of it.

    \b
    Examples:
      trio-ws-gateway revoke --sub robot-7 --issued-before now
      trio-ws-gateway revoke --jti a1b2 --exp 1800000000
      ADMIN_TOKEN_FILE=admin-token trio-ws-gateway revoke --url https://ops.example.com --sub robot-7

    Exit status: 0 where it is in effect, 1 where it is not, or not in every worker yet, 2 for wrong settings.
    """
    given = {name: value for name, value in body.items() if value is not None}
    with exit_if_bad():
        answer = ask("POST", "/admin/revoke", url=url, config=config, env_file=env_file, body=given)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        until = datetime.fromtimestamp(answer["revoked"]["until"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        count = answer["cut"]
        click.echo(f"{count} session{'s' if count != 1 else ''} cut; remembered until {until}; {answer['scope']}")
    warn_of_silence(answer)
