"""A whole run: upstreams, peers, works, memory, in their order. Tells what it does as it does it."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from attrs import field, frozen

from benchmarks import table
from benchmarks.figures import Failure, Held, Sample, Samples
from benchmarks.load import LoadFailed
from benchmarks.peers import AUDIENCE, GATEWAY, Peer, Site
from benchmarks.programs import Compiled, compiled, unpacked
from benchmarks.resident import hold
from benchmarks.rounds import Plan, measure
from benchmarks.upstreams import Upstream, start_echo, start_mosquitto
from benchmarks.works import MEMORY, RELAYS, Work
from tests.oidc_provider import OidcProvider
from tests.servers.issuer import issuer

upstream_of = attrgetter("upstream")
TOKENS = 200
TOKEN_LIFE_SECONDS = 24 * 3600


@frozen(kw_only=True)
class Request:
    """What is asked of a run. Empty ``peers``: all; ``revisions``: gateways of git, as further peers."""

    works: Sequence[Work]
    held: Sequence[int]  # idle sessions whose memory is measured
    peers: Sequence[str]
    revisions: Sequence[str]
    rounds: int
    warm_seconds: float
    seconds: float


@frozen(kw_only=True)
class Suite:
    """A run under way: where it writes, what it has started, and what it has found so far."""

    request: Request
    directory: Path
    compiled: Compiled
    provider: OidcProvider
    revisions: dict[str, Path]
    say: Callable[[str], None]
    found: list[Sample | Failure] = field(factory=list)
    held: list[Held] = field(factory=list)

    @classmethod
    @contextmanager
    def prepared(cls, request: Request, say: Callable[[str], None]) -> "Iterator[Suite]":
        with tempfile.TemporaryDirectory(prefix="bench-") as name, issuer() as provider:
            directory = Path(name)
            say("compiling ...")
            revisions = {
                f"{GATEWAY}@{revision}": unpacked(revision, _made(directory / f"source-{number}"))
                for number, revision in enumerate(request.revisions)
            }
            yield cls(
                request=request,
                directory=directory,
                compiled=compiled(_made(directory / "bin")),
                provider=provider,
                revisions=revisions,
                say=say,
            )

    @property
    def beside(self) -> list[str]:
        """All peers that the gateway is measured beside, other revisions of it first."""
        request = self.request
        wanted = [*(RELAYS if request.held else ()), *(peer for work in request.works for peer in work.peers)]
        return [
            *self.revisions,
            *(peer for peer in dict.fromkeys(wanted) if not request.peers or peer in request.peers),
        ]

    @property
    def samples(self) -> Samples:
        return Samples([found for found in self.found if isinstance(found, Sample)])

    @property
    def failures(self) -> list[Failure]:
        return [found for found in self.found if isinstance(found, Failure)]

    def run(self) -> None:
        known = self.mint(TOKENS)
        for name, works in groupby(sorted(self.request.works, key=upstream_of), key=upstream_of):
            with ExitStack() as stack:
                upstream = self._start_upstream(name)
                stack.callback(upstream.process.kill)
                self._run_before(upstream, list(works), known)
        if self.request.held:
            self._run_memory(known)

    def _start_upstream(self, name: str) -> Upstream:
        directory = _made(self.directory / f"{name}-{time.monotonic_ns()}")
        return start_mosquitto(directory) if name == "mosquitto" else start_echo(directory, self.compiled)

    def _run_before(self, upstream: Upstream, works: Sequence[Work], known: Path) -> None:
        site = self._site(upstream)
        with ExitStack() as stack:
            peers: dict[str, Peer] = {}
            for number, work in enumerate(works, 1):
                names = [GATEWAY, *(peer for peer in self.beside if peer in (*self.revisions, *work.peers))]
                for name in names:
                    if name not in peers:
                        self.say(f"starting {name} ...")
                        peers[name] = site.start(name)
                        stack.callback(peers[name].stop)
                self.say(f"[{number}/{len(works)}] {work.title}")
                self._run_work(work, [peers[name] for name in names], known, upstream.broadcast)

    def _run_work(self, work: Work, peers: Sequence[Peer], known: Path, broadcast: int) -> None:
        request = self.request
        plan = Plan(
            load=self.compiled.load,
            rounds=request.rounds,
            warm_seconds=request.warm_seconds,
            seconds=request.seconds,
        )

        def tokens() -> Path:
            return self.mint(work.fresh_tokens) if work.fresh_tokens else known

        def tell(found: Sample | Failure) -> None:
            self.found.append(found)
            self.say(table.line(found))

        measure(plan, work, peers, tokens=tokens, broadcast=broadcast, tell=tell)
        for text in table.work_table(self.samples, work):
            self.say(text)
        self.say("")

    def _run_memory(self, known: Path) -> None:
        def tell(held: Held) -> None:
            self.held.append(held)
            self.say(f"  {MEMORY} {held.peer}: {held.kib_each:.1f} KiB for each of {held.sessions:,} idle sessions")

        with ExitStack() as stack:
            upstream = self._start_upstream("echo")
            stack.callback(upstream.process.kill)
            self.say("memory of idle sessions")
            for name in (GATEWAY, *(peer for peer in self.beside if peer in (*self.revisions, *RELAYS))):
                try:
                    hold(self._site(upstream), name, self.request.held, self.compiled.load, known, tell)
                except LoadFailed as failure:
                    self.found.append(Failure(work=MEMORY, peer=name, reason=str(failure)))
        self.say("")

    def _site(self, upstream: Upstream) -> Site:
        return Site(
            directory=self.directory,
            upstream=upstream.port,
            provider=self.provider,
            compiled=self.compiled,
            revisions=self.revisions,
        )

    def mint(self, count: int) -> Path:
        """A file of new tokens, of as many subjects."""
        path = self.directory / f"tokens-{time.monotonic_ns()}"
        claims = {"aud": AUDIENCE, "exp": int(time.time()) + TOKEN_LIFE_SECONDS}
        serial = time.monotonic_ns()
        path.write_text(
            "\n".join(self.provider.mint(**claims, sub=f"robot-{n}", jti=f"{serial}-{n}") for n in range(count))
        )
        return path


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
