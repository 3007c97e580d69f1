"""What the reverse proxies share: they are set up as ``docs/proxies`` says.

A test changes what it must, addresses and paths, and what it is about, in the documented text: what it
does not find there is an error. So the snippets are tested, and not something like them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from tests.servers.processes import Process

SNIPPETS = Path(__file__).parents[2] / "docs" / "proxies"
NAME = "localhost"  # which the certificate must have
DOCUMENTED_NAME = "gateway.example.com"
DOCUMENTED_GATEWAYS = ("10.0.0.11:8080", "10.0.0.12:8080")


@frozen(kw_only=True)
class Proxy:
    """A running one, which ends TLS at ``port``. ``directory`` holds all that it writes."""

    process: Process
    port: int
    directory: Path

    @classmethod
    def started(cls, process: Process, port: int, directory: Path) -> "Proxy":
        """The proxy of ``process``, as soon as it listens."""
        proxy = cls(process=process, port=port, directory=directory)
        try:
            process.wait_for_port(port)
        except BaseException:
            proxy.stop()
            raise
        return proxy

    def stop(self) -> None:
        """End it with SIGTERM, which closes what is open. No other way: nginx writes over its mark, and its workers
        outlive a master that is killed."""
        self.process.stop()

    def written(self) -> str:
        """All that it has printed or logged so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.directory.rglob("*.log")))


@frozen(kw_only=True)
class Place:
    """Where a proxy stands: ``certificate`` (PEM, with its key) is for ``NAME``, ``gateways`` are ports, one or two.

    ``changes`` are made to the documented text.
    """

    directory: Path
    certificate: Path
    gateways: Sequence[int]
    changes: Mapping[str, str] = {}

    def snippet(self, file_name: str, replacements: Mapping[str, str]) -> str:
        """A documented configuration, for this place. The line of a gateway that is not there is left out."""
        lines = (SNIPPETS / file_name).read_text().splitlines()
        for address in DOCUMENTED_GATEWAYS[len(self.gateways) :]:
            lines = [line for line in lines if address not in line]
        text = "\n".join(lines) + "\n"
        addresses = dict(zip(DOCUMENTED_GATEWAYS, (f"127.0.0.1:{port}" for port in self.gateways), strict=False))
        for old, new in {**self.changes, **addresses, **replacements}.items():
            assert old in text, f"{file_name} has no {old!r}"
            text = text.replace(old, new)
        return text
