"""nginx, as ``docs/proxies/nginx.conf`` sets it up."""

import grp
import os
import pwd
from pathlib import Path

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process
from tests.servers.proxies import DOCUMENTED_NAME, NAME, Place, Proxy

# Started as root its workers would be a user who may not read the tests' directories: they stay who they are.
AROUND = """
user {user} {group};
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{snippet}
}}
"""


def start(place: Place) -> Proxy:
    program, port = ensure("nginx", "nginx"), free_port()
    snippet = place.snippet(
        "nginx.conf",
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            f"/etc/ssl/{DOCUMENTED_NAME}.pem": str(place.certificate),
            f"/etc/ssl/{DOCUMENTED_NAME}.key": str(place.certificate),
            "/var/log/nginx": str(place.directory),
            DOCUMENTED_NAME: NAME,
        },
    )
    configuration = place.directory / "nginx.conf"
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    configuration.write_text(AROUND.format(user=user, group=group, snippet=snippet))
    command: list[str | Path] = [program, "-p", place.directory, "-e", "stderr", "-c", configuration]
    process = Process.start(command, directory=place.directory, environment={})
    return Proxy.started(process, port, place.directory)
