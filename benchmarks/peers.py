"""The proxies that are measured, each as its users would run it, with one worker, in front of the same upstream.

The gateway checks every session's token, has its message limit configured (and out of reach) and its metrics on. The
Go proxy is there twice: with and without a token. nginx and HAProxy relay, and check nothing.
"""

import os
import pwd
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from attrs import evolve, field, frozen

from benchmarks.costs import children
from benchmarks.programs import Compiled, announced
from benchmarks.works import INSPECTED, SEVERAL
from tests.oidc_provider import OidcProvider
from tests.servers.debian import ensure
from tests.servers.gateway import Gateway
from tests.servers.ports import free_port
from tests.servers.processes import Process

BEYOND_REACH = {
    "RATE_LIMIT_PER_SECOND": "50000000",
    "RATE_LIMIT_BURST": "100000000",
    "WS_IDLE_TIMEOUT_SECONDS": "3600",  # as with the others
    "WS_PING_INTERVAL_SECONDS": "0",
}
SET_UP = {
    SEVERAL: {"WORKERS": "2"},
    INSPECTED: {"RATE_LIMIT_PACKETS_PER_SECOND": "50000000", "RATE_LIMIT_PACKETS_BURST": "100000000"},
}
"""Variants of the gateway: their settings."""
AUDIENCE = "gateway"
STOP_SECONDS = 10.0

# A worker that is started as root would become somebody who may not write here.
NGINX = """
daemon off;
user {user};
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend back
backend back
    server upstream 127.0.0.1:{upstream}
"""


@frozen(kw_only=True)
class Peer:
    """A running proxy. ``pids``: all its processes."""

    name: str
    port: int
    process: Process
    pids: Sequence[int]

    def stop(self) -> None:
        """By its own means first: a worker of nginx paints over its environment, and so over its mark."""
        self.process.popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.popen.wait(STOP_SECONDS)
        self.process.kill()


@frozen(kw_only=True)
class Site:
    """What a peer needs to start: a place to write, somebody to relay to, somebody to believe."""

    directory: Path
    upstream: int
    provider: OidcProvider
    compiled: Compiled
    revisions: Mapping[str, Path] = field(factory=dict)  # unpacked gateways, by the name of their peer
    settings: Mapping[str, str] = field(factory=dict)  # further ones of the gateway

    def start(self, name: str) -> Peer:
        """Start the peer of that name, and wait until it accepts connections."""
        directory = Path(mkdtemp(dir=self.directory))
        if name in STARTED:
            return STARTED[name](self, name, directory)
        return self._start_gateway(name, directory)

    def _start_gateway(self, name: str, directory: Path) -> Peer:
        environment = {
            **BEYOND_REACH,
            **SET_UP.get(name, {}),
            "JWKS_URL": self.provider.jwks_uri,
            "JWT_EXPECTED_ISSUER": self.provider.issuer,
            "JWT_EXPECTED_AUDIENCE": AUDIENCE,
            "RAW_WS_BACKEND_URL": f"ws://127.0.0.1:{self.upstream}/",
            "UPSTREAM_WS_URL": f"ws://127.0.0.1:{self.upstream}/",
            **self.settings,
        }
        if name in self.revisions:
            environment["PYTHONPATH"] = str(self.revisions[name])
        gateway = Gateway.start(directory, environment)
        gateway.wait_until_ready()
        return _peer(name, gateway.process, gateway.port)

    def _start_go(self, name: str, directory: Path) -> Peer:
        command: list[str | Path] = [self.compiled.proxy, f"-upstream=ws://127.0.0.1:{self.upstream}/"]
        if name == "go":
            key = directory / "key.pem"
            key.write_bytes(self.provider.key.as_pem(private=False))
            command += [f"-key={key}", f"-issuer={self.provider.issuer}", f"-audience={AUDIENCE}"]
        process = Process.start(command, directory=directory, environment={"GOMAXPROCS": "1"}, name=name)
        return _peer(name, process, announced(process)["port"])

    def _start_nginx(self, name: str, directory: Path) -> Peer:
        peer = self._start_configured(name, directory, NGINX, lambda program, file: [program, "-c", file])
        master = peer.process.popen
        peer.process.wait_until(lambda: bool(children(master.pid)), "forked")  # it listens before it does
        return evolve(peer, pids=[master.pid, *children(master.pid)])

    def _start_haproxy(self, name: str, directory: Path) -> Peer:
        return self._start_configured(name, directory, HAPROXY, lambda program, file: [program, "-db", "-f", file])

    def _start_configured(
        self, name: str, directory: Path, text: str, command: Callable[[str, Path], list[str | Path]]
    ) -> Peer:
        port, file = free_port(), directory / f"{name}.conf"
        user = pwd.getpwuid(os.getuid()).pw_name
        file.write_text(text.format(directory=directory, port=port, upstream=self.upstream, user=user))
        process = Process.start(command(ensure(name, name), file), directory=directory, environment={}, name=name)
        process.wait_for_port(port)
        return _peer(name, process, port)


STARTED: Mapping[str, Callable[[Site, str, Path], Peer]] = {
    "go": Site._start_go,
    "go-open": Site._start_go,
    "nginx": Site._start_nginx,
    "haproxy": Site._start_haproxy,
    **dict.fromkeys(SET_UP, Site._start_gateway),
}
GATEWAY = "gateway"


def _peer(name: str, process: Process, port: int) -> Peer:
    return Peer(name=name, port=port, process=process, pids=[process.popen.pid, *children(process.popen.pid)])
