"""The command line: one group, whose commands are imported when they are asked for.

``serve`` in production then loads nothing of the demo, and ``--help`` of one command nothing of the others.
"""

from importlib import import_module
from typing import Any

import click

from trio_ws_gateway import __version__
from trio_ws_gateway.output import lasting

COMMANDS = ("serve", "demo", "check", "token", "probe", "healthcheck", "sessions", "revoke")
"""In the order of the help; each is the function of that name in the module of that name."""


class Commands(click.Group):
    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401
        with lasting():
            return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"trio_ws_gateway.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trio-ws-gateway")
def main() -> None:
    """A WebSocket gateway: it checks the OIDC token, finds the protocol, and relays bytes.

    Settings come from the environment, so an .env file made for containers works as it is; see docs/settings.md.
    """
