"""``healthcheck``: one question to the gateway on this machine, for a container without shell tools.

It runs every few seconds for as long as a container lives, so it imports no event loop and no HTTP client: a socket
and the parser of heads cost half the CPU time of ``http.client``. One deadline is over all of it.
"""

import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from trio_ws_gateway.commands.given import Seconds, load_settings, settings_options
from trio_ws_gateway.config.loading import BadSettings
from trio_ws_gateway.config.values import Address
from trio_ws_gateway.wire.http import HEAD_LIMIT, BadUpstream, head_end, parse_response

UNHEALTHY_STATUS = 1  # 2 is reserved for a HEALTHCHECK of Docker's
SAYS = {"/healthz": "alive", "/readyz": "ready"}
SHOWN = 200
ANSWER_LIMIT = HEAD_LIMIT + 1024


@click.command(short_help="Ask the gateway on this machine whether it lives.")
@settings_options
@click.option("--ready", is_flag=True, help="Ask /readyz, which is 503 while it drains and while keys are missing.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=Seconds(),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="For connection and answer together.",
)
def healthcheck(config: Path | None, env_file: Path | None, ready: bool, timeout_seconds: float) -> None:
    """Ask the gateway on this machine whether it lives.

    It is asked for /healthz at the address of LISTEN; every address (0.0.0.0, ::) means the loopback. Give it the
    settings that the gateway itself was given: in a container it inherits the same environment.

    \b
        HEALTHCHECK CMD ["trio-ws-gateway", "healthcheck"]
        podman run --health-cmd '["trio-ws-gateway", "healthcheck"]' ...

    Liveness and readiness are two questions. Who restarts what is not healthy should ask without --ready: a gateway
    whose identity provider is away is not ready, and no restart helps it.

    Exit status: 0 where the gateway says that it lives, or is ready, else 1. One line says why.
    """
    path = "/readyz" if ready else "/healthz"
    try:
        address = load_settings(config, env_file).settings.listen
    except BadSettings as error:
        first, *others = error.problems
        _end(f"wrong settings: {first}" + (f", and {len(others)} more" if others else ""))
    if address.port == 0:
        _end("LISTEN has port 0: the gateway has chosen one that nobody else knows")
    try:
        status, body = ask(address, path, time.monotonic() + timeout_seconds)
    except TimeoutError:
        _end(f"{address}{path}: no answer in {timeout_seconds:g} s")
    except OSError as error:
        _end(f"{address}{path}: {error.strerror or error}")
    except BadUpstream as error:
        _end(f"{address}{path}: {error.detail}")
    if status != 200:
        _end(f"{address}{path}: {status} {body[:SHOWN]}".rstrip())
    if body != SAYS[path]:
        _end(f"{address}{path}: 200, but what answers is no gateway")
    click.echo(body)


def ask(address: Address, path: str, deadline: float) -> tuple[int, str]:
    """The status of the answer and the first line of its body. ``deadline``: by ``time.monotonic``.

    Raises ``TimeoutError`` or another ``OSError``, and ``BadUpstream`` for what is no HTTP.
    """
    there = address.reachable()
    with socket.create_connection((there.host, there.port), _left(deadline)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        heard = bytearray()
        while len(heard) < ANSWER_LIMIT:
            sock.settimeout(_left(deadline))
            if not (data := sock.recv(ANSWER_LIMIT)):
                break
            heard += data
    if (end := head_end(heard)) is None:
        raise BadUpstream("closed the connection without an answer" if not heard else "what answers is no HTTP server")
    body = heard[end:ANSWER_LIMIT].decode(errors="replace").splitlines()
    return parse_response(heard[:end]).status, "".join(filter(str.isprintable, body[0])) if body else ""


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _end(why: str) -> NoReturn:
    click.echo(why, err=True)
    sys.exit(UNHEALTHY_STATUS)
