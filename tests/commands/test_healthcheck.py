"""What a container's engine hears: an exit status and a line."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from tests.house import house
from tests.servers.gateway import inherited_environment
from tests.servers.ports import free_port
from trio_ws_gateway.cli import main

KEYS = "http://127.0.0.1:9/certs"


def healthcheck(*arguments: str, directory: Path | None = None, **environment: str) -> tuple[int, str]:
    """Exit status, and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "trio_ws_gateway", "healthcheck", *arguments],
        env={**inherited_environment(), "JWKS_URL": KEYS, **environment},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.strip()


async def ask(port: int, *arguments: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Of a gateway in this event loop."""
    return await trio.to_thread.run_sync(lambda: healthcheck(*arguments, LISTEN=f"{host}:{port}"))


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """The port of a server that says just that to its first client, nothing for ``None``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):  # who has heard enough hangs up
                client.recv(4096)
                if answer is None:
                    client.recv(1)
                else:
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


async def test_alive_and_ready() -> None:
    """A gateway that serves is alive and ready; an address of every interface is asked on the loopback."""
    async with house() as there:
        assert await ask(there.port) == (0, "alive")
        assert await ask(there.port, "--ready", host="0.0.0.0") == (0, "ready")
        assert await ask(there.port, host="") == (0, "alive")


async def test_alive_but_not_ready() -> None:
    """A gateway without keys is alive and not ready, and the line says why."""
    async with house(JWKS_URL=KEYS) as there:
        assert await ask(there.port) == (0, "alive")
        status, line = await ask(there.port, "--ready")
        assert (status, line.partition("503 ")[2]) == (1, "not ready: the provider's keys are not there yet")


def test_settings_from_files(tmp_path: Path) -> None:
    """The address comes from the same files as the gateway's."""
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n") as port:
        (tmp_path / "gateway.yaml").write_text(f"listen: 127.0.0.1:{port}\n")
        assert healthcheck("--config", "gateway.yaml", directory=tmp_path) == (0, "alive")
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nalive\n") as port:
        (tmp_path / ".env").write_text(f"LISTEN=127.0.0.1:{port}\n")
        assert healthcheck("--env-file", ".env", directory=tmp_path) == (0, "alive")


def test_nobody_listens() -> None:
    """A port without a listener is unhealthy."""
    port = free_port()
    assert healthcheck(LISTEN=f"0.0.0.0:{port}") == (1, f"0.0.0.0:{port}/healthz: Connection refused")


def test_settings_without_an_end(tmp_path: Path) -> None:
    """A file that goes on for ever is no file of settings."""
    for option in ("--env-file", "--config"):
        status, line = healthcheck(option, "/dev/zero", directory=tmp_path)
        assert (status, line[-35:]) == (1, "file /dev/zero is bigger than 1 MiB")


def test_silence() -> None:
    """A gateway that accepts and says nothing is unhealthy when the time is up."""
    with listening(None) as port:
        status, line = healthcheck("--timeout", "0.2", LISTEN=f"127.0.0.1:{port}")
    assert (status, line) == (1, f"127.0.0.1:{port}/healthz: no answer in 0.2 s")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers is no HTTP server"),
        (bytes(100_000), "what answers is no HTTP server"),
        (b"nonsense\r\n\r\n", "no status line of HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>\nalive", "200, but what answers is no gateway"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_000), "200, but what answers is no gateway"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n\x1b[31mred", "500 [31mred"),
    ],
)
def test_other_answers(answer: bytes, line: str) -> None:
    """Whatever else answers is unhealthy, and cannot write to the terminal."""
    with listening(answer) as port:
        assert healthcheck(LISTEN=f"127.0.0.1:{port}") == (1, f"127.0.0.1:{port}/healthz: {line}")


def test_settings_that_will_not_do() -> None:
    """Wrong settings are unhealthy in one line, not the status 2, which is reserved."""
    assert healthcheck(LISTEN="8080", WORKERS="none") == (
        1,
        "wrong settings: LISTEN=8080 has no port; it must be host:port, such as 0.0.0.0:8080 or [::]:8080, and 1 more",
    )
    status, line = healthcheck(LISTEN="127.0.0.1:0")
    assert (status, line[:22]) == (1, "LISTEN has port 0: the")


def test_what_it_imports() -> None:
    """It runs every few seconds: neither an event loop nor an HTTP client is imported for it."""
    code = (
        "import sys, trio_ws_gateway.cli, trio_ws_gateway.commands.healthcheck\n"
        "print({'trio', 'httpx', 'http.client', 'ssl', 'authlib', 'prometheus_client'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert printed.strip() == "set()"


@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "1e9", "soon"])
def test_time_that_is_none(text: str) -> None:
    """A time-out is a span above zero that a clock can tell; anything else is wrong usage."""
    for command in (["healthcheck"], ["check"], ["probe", "ws://127.0.0.1:1/"]):
        done = CliRunner().invoke(main, [*command, "--timeout", text])
        assert (done.exit_code, type(done.exception)) == (2, SystemExit)
        assert "'--timeout'" in done.output
