"""The command line. Opens the files it is told of, says what is wrong with them, and starts the gateway."""

import os
import sys
from functools import partial
from pathlib import Path

import click
import structlog
import trio

from trio_ws_gateway import __version__, gateway, logs
from trio_ws_gateway.config.loading import BadSettings, Loaded, Problem, load, over_env_file
from trio_ws_gateway.config.settings import Settings

CRASHED_STATUS = 1
BAD_SETTINGS_STATUS = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trio-ws-gateway")
def main() -> None:
    """A WebSocket gateway: it checks the OIDC token, finds the protocol, and relays bytes.

    Settings come from the environment, so an .env file made for containers works as it is; see docs/settings.md.
    """


@main.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A YAML file with settings; the environment wins over it. [env: GATEWAY_CONFIG]",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    help="A file of NAME=value lines; the environment wins over it too, and it over the YAML file.",
)
def serve(config: Path | None, env_file: Path | None) -> None:
    """Run the gateway until SIGTERM or SIGINT, which drains it; a second SIGINT ends it at once.

    Exit status: 0 after a drain, 1 where the address cannot be listened on, 2 for wrong settings.
    """
    try:
        loaded = _load(config, env_file)
        settings = loaded.settings
        with logs.Outlet(sys.stdout.fileno()) as outlet:
            logs.configure(format=settings.log_format, level=settings.log_level, file=outlet)
            log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
            for warning in loaded.warnings:
                log.warning("setting", warning=warning)
            _run(settings, log)
    except BadSettings as error:
        count = len(error.problems)
        click.echo(f"{count} wrong setting{'s' if count > 1 else ''}:", err=True)
        for problem in error.problems:
            click.echo(f"  {problem}", err=True)
        sys.exit(BAD_SETTINGS_STATUS)


def _run(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    try:
        trio.run(partial(gateway.serve, settings, log))
    except BadSettings:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot listen on {settings.listen}: {error.strerror or error}") from None
    except Exception as error:  # a bare traceback on stderr would not have its tokens cut out
        log.critical("crashed", exc_info=error)
        sys.exit(CRASHED_STATUS)


def _load(config: Path | None, env_file: Path | None) -> Loaded:
    environ = dict(os.environ)
    if env_file is not None:
        environ = over_env_file(environ, _text_of("env", env_file))
    if config is None and (name := environ.get("GATEWAY_CONFIG")):
        config = Path(name)
    return load(environ, _text_of("YAML", config) if config is not None else None)


def _text_of(kind: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadSettings((Problem(f"the {kind} file {path}", f"cannot be read: {error.strerror}"),)) from None
    except UnicodeDecodeError:
        raise BadSettings((Problem(f"the {kind} file {path}", "is not UTF-8"),)) from None
