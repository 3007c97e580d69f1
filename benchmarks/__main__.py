"""The command: starts everything, measures, tells, writes. ``python -m benchmarks --help``"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks import table
from benchmarks.figures import Sample, Samples
from benchmarks.peers import AUDIENCE, GATEWAY, STARTED, Peer, Site, announced
from benchmarks.programs import compiled, unpacked
from benchmarks.rounds import Plan, measure
from benchmarks.works import WORKS, Work
from tests.oidc_provider import OidcProvider
from tests.servers.issuer import issuer
from tests.servers.processes import Process

TOKENS = 200
TOKEN_LIFE_SECONDS = 24 * 3600


@click.command()
@click.option("--quick", is_flag=True, help="Short and few rounds: less than two minutes for all of it.")
@click.option(
    "--only", "names", multiple=True, type=click.Choice([work.name for work in WORKS]), help="Only this work."
)
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(STARTED)), help="Only this peer.")
@click.option("--against", "revisions", multiple=True, help="The gateway of this git revision is one more peer.")
@click.option("--rounds", type=click.IntRange(1, 100), help="How often every peer has its turn.")
@click.option("--seconds", type=click.FloatRange(0.05, 30), help="How long a turn counts.")
def main(
    *,
    quick: bool,
    names: Sequence[str],
    peers: Sequence[str],
    revisions: Sequence[str],
    rounds: int | None,
    seconds: float | None,
) -> None:
    """Measure the gateway of this working tree beside its peers."""
    works = [work for work in WORKS if not names or work.name in names]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = stack.enter_context(issuer())
        click.echo("compiling ...")
        programs = compiled(_made(directory / "bin"))
        echo = Process.start([programs.echo], directory=directory, environment={"GOMAXPROCS": "1"})
        stack.callback(echo.kill)
        echo_ports = announced(echo)
        site = Site(
            directory=directory,
            upstream=echo_ports["port"],
            provider=provider,
            compiled=programs,
            revisions={
                f"{GATEWAY}@{revision}": unpacked(revision, _made(directory / f"source-{number}"))
                for number, revision in enumerate(revisions)
            },
        )
        plan = Plan(
            load=programs.load,
            tokens=_write_tokens(directory, provider),
            broadcast=echo_ports["broadcast_port"],
            rounds=rounds or (2 if quick else 5),
            warm_seconds=0.1 if quick else 0.3,
            seconds=seconds or (0.4 if quick else 1.0),
        )
        beside = [*site.revisions, *(peers or (["go", "haproxy"] if quick else ["go", "haproxy", "nginx"]))]
        with _running(site, [GATEWAY, *beside]) as running:
            samples = _run(plan, works, running)
    for text in table.ratio_table(samples, works, GATEWAY, beside):
        click.echo(text)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _write_tokens(directory: Path, provider: OidcProvider) -> Path:
    path = directory / "tokens"
    claims = {"iss": provider.issuer, "aud": AUDIENCE}
    life = {"exp": int(time.time()) + TOKEN_LIFE_SECONDS}
    path.write_text("\n".join(provider.mint(**claims, **life, sub=f"robot-{number}") for number in range(TOKENS)))
    return path


@contextmanager
def _running(site: Site, names: Sequence[str]) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        running = []
        for name in names:
            click.echo(f"starting {name} ...")
            peer = site.start(name)
            stack.callback(peer.stop)
            running.append(peer)
        yield running


def _run(plan: Plan, works: Sequence[Work], peers: Sequence[Peer]) -> Samples:
    collected: list[Sample] = []
    samples = Samples(collected)

    def tell(sample: Sample) -> None:
        collected.append(sample)
        click.echo(table.line(sample))

    for number, work in enumerate(works, 1):
        click.echo(f"[{number}/{len(works)}] {work.title}")
        measure(plan, work, peers, tell)
        for text in table.work_table(samples, work):
            click.echo(text)
        click.echo()
    return samples


if __name__ == "__main__":
    main()
