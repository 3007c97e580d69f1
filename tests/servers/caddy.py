"""Caddy, as ``docs/proxies/Caddyfile`` sets it up."""

from pathlib import Path

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process
from tests.servers.proxies import DOCUMENTED_NAME, Place, Proxy

OURS = "{\n\tadmin off\n\tauto_https disable_redirects\n"  # else it would listen on port 80 and 2019


def start(place: Place) -> Proxy:
    program, port = ensure("caddy", "caddy"), free_port()
    site = f":{port} {{\n\tbind 127.0.0.1\n\ttls {place.certificate} {place.certificate}"
    snippet = place.snippet("Caddyfile", {f"{DOCUMENTED_NAME} {{": site})
    configuration = place.directory / "Caddyfile"
    configuration.write_text(snippet.replace("{\n", OURS, 1))
    command: list[str | Path] = [program, "run", "--config", configuration, "--adapter", "caddyfile"]
    process = Process.start(command, directory=place.directory, environment={"HOME": str(place.directory)})
    return Proxy.started(process, port, place.directory)
