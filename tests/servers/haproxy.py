"""HAProxy, as ``docs/proxies/haproxy.cfg`` sets it up."""

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process
from tests.servers.proxies import DOCUMENTED_NAME, Place, Proxy


def start(place: Place) -> Proxy:
    program, port = ensure("haproxy", "haproxy"), free_port()
    configuration = place.directory / "haproxy.cfg"
    configuration.write_text(
        place.snippet(
            "haproxy.cfg",
            {
                "bind :443": f"bind 127.0.0.1:{port}",
                f"/etc/haproxy/{DOCUMENTED_NAME}.pem": str(place.certificate),
                "log /dev/log local0": "log stdout format raw local0",
                "maxconn 20000": "maxconn 100",  # more than that takes more descriptors than everybody may have
            },
        )
    )
    process = Process.start([program, "-db", "-f", configuration], directory=place.directory, environment={})
    return Proxy.started(process, port, place.directory)
