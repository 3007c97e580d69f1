"""Redis: plain, with a password, behind TLS, as a master that a Sentinel watches, or as a cluster."""

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import redis
from attrs import field, frozen

from tests.servers.debian import ensure
from tests.servers.ports import free_port
from tests.servers.processes import Process

SLOTS = 16384


@frozen(kw_only=True)
class Redis:
    process: Process
    port: int

    @classmethod
    def start(
        cls, directory: Path, *options: str, tls: Sequence[str | Path] = (), port: int = 0, name: str = "redis"
    ) -> "Redis":
        """Start Redis, which keeps nothing on disk. ``options``: as in its configuration (``--requirepass ...``).

        ``tls``: the file with certificate and key, and that of the authority; it then speaks nothing else.
        """
        program = ensure("redis-server", "redis-server")
        port = port or free_port()
        ports = ["--port", str(port)]
        if tls:
            pem, ca_file = tls
            ports = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", str(pem), "--tls-key-file", str(pem), "--tls-ca-cert-file", str(ca_file)]
        command = [program, "--bind", "127.0.0.1", *ports, "--save", "", "--appendonly", "no", *options]
        process = Process.start(command, directory=directory, environment={}, name=name)
        try:
            process.wait_for_port(port)
        except BaseException:
            process.popen.kill()
            raise
        return cls(process=process, port=port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port)

    def freeze(self) -> None:
        self.process.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, frozen or not. (It overwrites its environment, so its mark does not find it.)"""
        self.process.popen.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.stop()


@frozen(kw_only=True)
class SentinelGroup:
    """A master, its replica, and one Sentinel that promotes the replica soon after the master is gone."""

    master: Redis
    replica: Redis
    sentinel: Process
    port: int

    @classmethod
    def start(cls, directory: Path) -> "SentinelGroup":
        master = Redis.start(directory, "--repl-diskless-sync-delay", "0", name="master")
        replica = Redis.start(directory, "--replicaof", f"127.0.0.1 {master.port}", name="replica")
        port = free_port()
        configuration = directory / "sentinel.conf"
        configuration.write_text(
            f"bind 127.0.0.1\nport {port}\nsentinel monitor robots 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds robots 300\nsentinel failover-timeout robots 1000\n"
        )
        program = ensure("redis-server", "redis-server")
        sentinel = Process.start(
            [program, configuration, "--sentinel"], directory=directory, environment={}, name="sentinel"
        )
        group = cls(master=master, replica=replica, sentinel=sentinel, port=port)
        try:
            sentinel.wait_for_port(port)
            with replica.client() as client:
                replica.process.wait_until(lambda: client.info()["master_link_status"] == "up", "in step")
            with redis.Redis(port=port) as client:
                sentinel.wait_until(lambda: bool(client.sentinel_slaves("robots")), "aware of the replica")
        except BaseException:
            group.stop()
            raise
        return group

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/robots"

    def stop(self) -> None:
        for process in (self.sentinel, self.replica.process, self.master.process):
            process.popen.kill()
            process.wait()


@frozen(kw_only=True)
class Cluster:
    """Three masters that share the slots."""

    servers: tuple[Redis, ...] = field()

    @classmethod
    def start(cls, directory: Path) -> "Cluster":
        servers: list[Redis] = []
        try:
            for number in range(3):
                home = directory / str(number)
                home.mkdir()
                bus = str(free_port())
                servers.append(Redis.start(home, "--cluster-enabled", "yes", "--cluster-port", bus))
                with servers[number].client() as client:
                    slots = (number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1)
                    client.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
                    if number == 0:
                        first_bus = bus
                    else:
                        client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port, first_bus)
            for server in servers:
                with server.client() as client:
                    server.process.wait_until(partial(_is_whole, client), "a cluster")
        except BaseException:
            for server in servers:
                server.kill()
            raise
        return cls(servers=tuple(servers))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


def _is_whole(client: "redis.Redis") -> bool:
    said = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
    return bool(said["cluster_state"] == "ok" and said["cluster_known_nodes"] == "3")
