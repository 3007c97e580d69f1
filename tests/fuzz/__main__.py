"""The command line. ``python -m tests.fuzz --help``"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tests.fuzz.growth import growths
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

FOUND = Path("build/fuzz")
LONGEST_BYTES = 2000
SECONDS_FOR_ONE = 10  # an input that takes longer is a finding


@click.command()
@click.option(
    "--target", "names", multiple=True, type=click.Choice(list(TARGETS)), help="Only this one; more than once."
)
@click.option("--seconds", default=60, show_default=True, help="How long each target is searched.")
def main(names: Sequence[str], seconds: int) -> None:
    """Throw at every target what may break its promises, and what may cost most.

    Exit status 1 where something was found; the input is then under build/fuzz.
    """
    FOUND.mkdir(parents=True, exist_ok=True)
    bad = []
    for name in names or TARGETS:
        if grows_too_fast(TARGETS[name]):
            bad.append(name)
        if not searched(TARGETS[name], seconds):
            bad.append(name)
    if bad:
        raise click.ClickException(f"found something: {', '.join(bad)}; see {FOUND}")
    click.echo("nothing found")


def grows_too_fast(target: Target) -> bool:
    """Whether four times as much of the worst costs far more than four times as much time."""
    found = list(growths(target))
    for each in found:
        mark = "QUADRATIC" if each.is_quadratic else ""
        click.echo(
            f"{target.name}: {each.size / 1024:6.0f} KiB of {each.name}: {each.seconds * 1000:8.1f} ms"
            f" (a quarter: {each.quarter_seconds * 1000:.1f} ms) {mark}"
        )
    return any(each.is_quadratic for each in found)


def searched(target: Target, seconds: int) -> bool:
    """Whether the search found nothing."""
    log = FOUND / f"{target.name}.log"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus, log.open("wb") as output:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, corpus]
        command += [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", f"-timeout={SECONDS_FOR_ONE}"]
        command += [f"-artifact_prefix={FOUND}/{target.name}-", "-print_final_stats=1"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    lines = log.read_text(errors="replace").splitlines()
    runs = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "some")
    click.echo(f"{target.name}: {runs} inputs, {'nothing found' if done.returncode == 0 else f'FOUND, see {log}'}")
    return done.returncode == 0


if __name__ == "__main__":
    main()
