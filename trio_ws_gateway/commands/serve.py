"""``serve``: the gateway itself, until a signal ends it."""

import sys
from functools import partial
from pathlib import Path

import click
import structlog
import trio

from trio_ws_gateway import collector, gateway, logs, workers
from trio_ws_gateway.checking.dangers import at_start
from trio_ws_gateway.commands.given import exit_if_bad, load_settings, settings_options
from trio_ws_gateway.config.loading import BadSettings
from trio_ws_gateway.config.settings import Settings

CRASHED_STATUS = 1


@click.command(short_help="Run the gateway until a signal drains it.")
@settings_options
def serve(config: Path | None, env_file: Path | None) -> None:
    """Run the gateway until SIGTERM or SIGINT, which drains it; a second SIGINT ends it at once.

    Exit status: 0 after a drain, 1 where the address cannot be listened on or a worker does not start, 2 for wrong
    settings.
    """
    with exit_if_bad():
        loaded = load_settings(config, env_file)
        settings = loaded.settings
        with logs.Outlet(sys.stdout.fileno()) as outlet:
            logs.configure(format=settings.log_format, level=settings.log_level, file=outlet)
            log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()  # not made anew for each line
            for warning in (*loaded.warnings, *at_start(loaded)):
                log.warning("setting", warning=warning)
            _run(settings, log)


def _run(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
    alone = workers.as_asked(settings.workers) == 1
    if alone:
        collector.take_over()
    try:
        trio.run(gateway.to_the_end, partial(gateway.serve if alone else workers.serve, settings, log))
    except BadSettings:
        raise
    except workers.DidNotStart as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        where = error.filename or settings.listen
        raise click.ClickException(f"cannot listen on {where}: {error.strerror or error}") from None
    except Exception as error:  # a bare traceback on stderr would not have its tokens cut out
        log.critical("crashed", exc_info=error)
        sys.exit(CRASHED_STATUS)
