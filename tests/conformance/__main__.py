"""The command line. ``python -m tests.conformance --help``"""

import tempfile
import time
from pathlib import Path

import click

from tests.conformance.runs import DIRECTLY, Site, Way
from tests.conformance.verdicts import Difference, Verdict, Verdicts, differences, failures, summary, table
from tests.servers.processes import ProcessFailed

SECTIONS = [f"{number}.*" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
SLOW = [f"{section}.{number}.*" for section, last in ((12, 5), (13, 7)) for number in range(1, last + 1)]
LOG = Path("build/conformance/gateway.log")
DEADLINE_SECONDS = 1200  # of a section, on a machine that has other things to do


@click.command()
@click.option("--cases", default=",".join(SECTIONS + SLOW), help="Which ones, with commas between: 1.*,7.9.1")
def main(cases: str) -> None:
    """Run Autobahn cases straight to an echo server and through the gateway, and tell where that differs.

    The exit status is 1 where a case that passes directly does not pass through the gateway.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory, Site.serving(Path(directory)) as site:
        verdicts: dict[str, dict[str, Verdict]] = {way.name: {} for way in site.ways}
        began_at = time.monotonic()
        for pattern in cases.split(","):
            for way in site.ways:
                try:
                    found = site.run(way, [pattern], DEADLINE_SECONDS)
                except ProcessFailed as error:
                    raise click.ClickException(str(error)) from None
                verdicts[way.name] |= found
                if found:
                    click.echo(f"{time.monotonic() - began_at:5.0f} s  {pattern:<7} {way.name}: {summary(found)}")
        regressions = [each for way in site.through for each in told(way, verdicts[DIRECTLY], verdicts[way.name])]
        if regressions:
            LOG.parent.mkdir(parents=True, exist_ok=True)
            LOG.write_text(site.gateway.output())
            click.echo(f"what the gateway logged: {LOG}")
    click.echo(f"{len(regressions)} cases pass directly and not through the gateway")
    if regressions or failures(verdicts[DIRECTLY]):
        raise SystemExit(1)


def told(way: Way, directly: Verdicts, through: Verdicts) -> list[Difference]:
    """Say where a way differs; the regressions among it."""
    directly = {case: verdict for case, verdict in directly.items() if way.takes(case)}
    found = differences(directly, through)
    click.echo(f"{DIRECTLY}: {summary(directly)}")
    click.echo(f"{way.name}: {summary(through)}")
    for line in table(found):
        click.echo(line)
    return [each for each in found if each.is_regression]


if __name__ == "__main__":
    main()
