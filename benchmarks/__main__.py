"""The command line. ``python -m benchmarks --help``"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks import machine, page, picture, table
from benchmarks.peers import GATEWAY, STARTED
from benchmarks.programs import ROOT
from benchmarks.results import Results
from benchmarks.suite import Request, Suite
from benchmarks.works import CHOICES, MEMORY, VARIANTS, chosen

DOCS = ROOT / "docs"
ELSEWHERE = ROOT / "build" / "bench"  # for what is not a whole run


@click.command()
@click.option("--quick", is_flag=True, help="Short and few rounds, no growth curves: less than two minutes.")
@click.option("--only", "names", multiple=True, type=click.Choice(CHOICES), help="Only this work, or group of works.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(STARTED)), help="Only this peer.")
@click.option("--against", "revisions", multiple=True, help="The gateway of this git revision is one more peer.")
@click.option("--rounds", type=click.IntRange(1, 100), help="How often every peer has its turn.")
@click.option("--seconds", type=click.FloatRange(0.05, 30), help="How long a turn counts.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Where the page goes; a whole run's: docs."
)
def main(
    *,
    quick: bool,
    names: Sequence[str],
    peers: Sequence[str],
    revisions: Sequence[str],
    rounds: int | None,
    seconds: float | None,
    output: Path | None,
) -> None:
    """Measure the gateway of this working tree beside its peers."""
    whole = not (quick or names or peers or revisions)
    request = Request(
        works=chosen(names, quick=quick),
        held=() if names and MEMORY not in names else (1000,) if quick else (1000, 5000),
        peers=peers,
        revisions=revisions,
        rounds=rounds or (2 if quick else 5),
        warm_seconds=0.1 if quick else 0.3,
        seconds=seconds or (0.3 if quick else 1.0),
    )
    load_before = os.getloadavg()[0]
    with Suite.prepared(request, click.echo) as suite:
        suite.run()
        results = Results(
            machine=machine.machine(),
            load_before=load_before,
            versions=machine.versions(suite.compiled),
            works=request.works,
            rounds=request.rounds,
            seconds=request.seconds,
            samples=suite.samples,
            failures=suite.failures,
            held=suite.held,
            subject=GATEWAY,
            beside=[peer for peer in suite.beside if peer not in VARIANTS.values()],
        )
    for text in table.ratio_table(results):
        click.echo(text)
    _write(results, output or (DOCS if whole else ELSEWHERE))
    if results.failures:
        raise click.ClickException(f"{len(results.failures)} turns came to nothing")


def _write(results: Results, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "performance.json").write_text(json.dumps(results.for_json(), indent=1) + "\n")
    picture.draw(results, directory / "performance.png")
    (directory / "performance.md").write_text(page.written(results))
    click.echo(f"written to {directory}")


if __name__ == "__main__":
    main()
