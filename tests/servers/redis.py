"""Redis, plain, with a password, or behind TLS."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process


@frozen(kw_only=True)
class Redis:
    process: Process
    port: int

    @classmethod
    def start(cls, directory: Path, *options: str, tls: Sequence[str | Path] = ()) -> "Redis":
        """Start Redis, which keeps nothing on disk. ``options``: as in its configuration (``--requirepass ...``).

        ``tls``: the file with certificate and key, and that of the authority; it then speaks nothing else.
        """
        program = ensure("redis-server", "redis-server")
        port = free_port()
        ports = ["--port", str(port)]
        if tls:
            pem, ca_file = tls
            ports = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", str(pem), "--tls-key-file", str(pem), "--tls-ca-cert-file", str(ca_file)]
        command = [program, "--bind", "127.0.0.1", *ports, "--save", "", "--appendonly", "no", *options]
        process = Process.start(command, directory=directory, environment={}, name="redis")
        try:
            process.wait_for_port(port)
        except BaseException:
            process.kill()
            raise
        return cls(process=process, port=port)

    def stop(self) -> None:
        self.process.stop()
