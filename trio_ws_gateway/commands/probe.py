"""``probe``: open a session through a gateway, step by step, and measure messages there and back."""

import json
import os
import secrets
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click
import trio

from trio_ws_gateway.commands.given import Seconds
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.probing import packets, report
from trio_ws_gateway.probing.attempt import Attempt, Carry, Mqtt
from trio_ws_gateway.probing.claims import subject_of
from trio_ws_gateway.probing.course import Course
from trio_ws_gateway.probing.probe import probe as run
from trio_ws_gateway.upstream.dial import tls_context
from trio_ws_gateway.wire.http import build_head, is_token
from trio_ws_gateway.wire.mqtt import MqttError

FAILED_STATUS = 1
LEVELS = {"3.1": 3, "3.1.1": 4, "5": 5}
NAMES = {Carry.QUERY: "token", Carry.COOKIE: "session"}  # as JWT_QUERY_PARAMETER and JWT_COOKIE_NAME have them
OURS = ("connection", "upgrade", "origin", "sec-websocket-")  # headers that the handshake writes itself
MEGABYTE = 1 << 20


def _url(_context: click.Context, _parameter: click.Parameter, text: str) -> WebSocketUrl:
    try:
        return WebSocketUrl.parse(text)
    except ValueError as error:
        raise click.BadParameter(f"it {error}") from None


def _headers(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    headers = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not is_token(name):
            raise click.BadParameter("a header is written 'Name: value'")
        if name.lower().startswith(OURS):
            raise click.BadParameter(f"the handshake writes {name} itself")
        headers.append((name, value.strip()))
    return headers


@click.command(short_help="Open a session through a gateway and measure it.")
@click.argument("url", callback=_url)
@click.option("--mqtt", type=click.Choice(list(LEVELS)), help="Speak MQTT, of that version. Default: a raw session.")
@click.option("--token", help="The token. Everybody on this machine can see it in `ps`: better one of the other ways.")
@click.option(
    "--token-file", type=click.File(), metavar="FILE", help="A file that holds the token; - is standard input."
)
@click.option(
    "--carry",
    type=click.Choice([each.value for each in Carry]),
    help="What the token travels in. Default: header; with --mqtt: password.",
)
@click.option("--carry-name", metavar="NAME", help="Of the query parameter (default: token) or cookie (session).")
@click.option("--origin", help="The Origin header, as of a page that a browser shows.")
@click.option(
    "--header", "headers", multiple=True, callback=_headers, help="Another header, 'Name: value'. Repeatable."
)
@click.option("--username", help="The MQTT user name. Default: the token's sub, where the token is the password.")
@click.option("--client-id", help="The MQTT client id. Default: one of its own, that begins with the token's sub.")
@click.option("--topic", help="What is subscribed and published to. Default: one of its own.")
@click.option("--qos", type=click.IntRange(0, 1), default=0, show_default=True, help="Of the MQTT messages.")
@click.option(
    "--count", type=click.IntRange(0), default=10, show_default=True, help="Messages; 0: open and close, no more."
)
@click.option("--size", type=click.IntRange(1, MEGABYTE), default=32, show_default=True, help="Bytes of each message.")
@click.option(
    "--interval", type=Seconds(zero_will_do=True), default=0.0, show_default=True, help="Seconds between two messages."
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    help="Seconds for each step, and for each message to come back.",
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate authorities (PEM) that a wss:// server may have besides the system's.",
)
@click.option("--insecure", is_flag=True, help="Do not check the server's certificate. Others may read the token.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, times in seconds.")
def probe(**given: Any) -> None:  # noqa: ANN401
    """Open a session through a gateway and measure round trips.

    Says of each step how long it took: the name resolved, TCP, TLS, the WebSocket, for MQTT the CONNACK and the SUBACK;
    then how long messages take there and back. Where a step fails it says what happened, and what to look at. Works
    with any WebSocket server or broker. A raw session needs an upstream that echoes (or --count 0); an MQTT session
    publishes to a topic of its own.

    \b
      TOKEN=eyJ... trio-ws-gateway probe ws://localhost:8080/ws
      trio-ws-gateway probe wss://gw.example.com/ws --mqtt 5 --token-file token.txt
      my-login | trio-ws-gateway probe wss://gw.example.com/ws --token-file - --count 0
      trio-ws-gateway probe ws://localhost:8080/ws --carry subprotocol --origin https://app.example.com
      trio-ws-gateway probe ws://localhost:9001/ --mqtt 3.1.1 --qos 1 --count 1000 --json

    The token comes from --token-file, --token, or TOKEN in the environment, and is never printed.

    \b
    Exit status: 0 the session worked; 1 it was refused, or failed; 2 wrong usage.
    """
    as_json = given.pop("as_json")
    attempt = _attempt(**given)
    course = Course(lambda step: None if as_json else _show(report.step_line(step)))
    if not as_json:
        _show(f"{report.heading(attempt)}\n")
    interrupted = _interrupted(partial(run, attempt, course, now=time.time))
    if interrupted:
        course.notes.append("interrupted")
    if as_json:
        click.echo(json.dumps(report.as_value(attempt, course), indent=2))
    else:
        for line in report.ending(attempt, course, plain=not _has_bars(sys.stdout)):
            _show(line)
    if interrupted or not course.worked:
        sys.exit(FAILED_STATUS)


def _attempt(
    *,
    url: WebSocketUrl,
    mqtt: str | None,
    token: str | None,
    token_file: TextIO | None,
    carry: str | None,
    carry_name: str | None,
    origin: str | None,
    headers: list[tuple[str, str]],
    username: str | None,
    client_id: str | None,
    topic: str | None,
    qos: int,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    ca_file: Path | None,
    insecure: bool,
) -> Attempt:
    """What is to be tried. Raises ``click.UsageError`` for what contradicts itself, or can be no request."""
    token = _token(token, token_file)
    carried = Carry(carry) if carry is not None else Carry.PASSWORD if mqtt is not None else Carry.HEADER
    if carry_name is not None and carried not in NAMES:
        raise click.UsageError("--carry-name is for --carry query and --carry cookie")
    if mqtt is None and (carried is Carry.PASSWORD or qos or any((username, client_id, topic))):
        raise click.UsageError("--carry password, --username, --client-id, --topic and --qos are for --mqtt")
    if mqtt is not None and carried is Carry.FIRST_MESSAGE:
        raise click.UsageError("the first message of MQTT is the CONNECT: --carry password")
    if not url.secure and (insecure or ca_file is not None):
        raise click.UsageError("--insecure and --ca-file are for wss://")
    subject = subject_of(token)
    own = secrets.token_hex(4)
    if username is None and token is not None and carried is Carry.PASSWORD:
        username = subject or "probe"  # before MQTT 5 there is no password without a user name
    attempt = Attempt(
        url=url,
        mqtt=None
        if mqtt is None
        else Mqtt(
            level=LEVELS[mqtt],
            client_id=client_id or (f"{subject}-probe-{own}" if subject else f"probe-{own}"),
            username=username,
            topic=topic or f"trio-ws-gateway/probe/{own}",
            qos=qos,
        ),
        token=token,
        carry=carried,
        carry_name=carry_name or NAMES.get(carried, ""),
        origin=origin,
        headers=tuple(headers),
        tls=_tls(ca_file, insecure=insecure) if url.secure else None,
        verifies=not insecure,
        timeout_seconds=timeout,
        count=count,
        size=size,
        interval_seconds=interval,
    )
    _check(attempt)
    return attempt


def _token(token: str | None, token_file: TextIO | None) -> str | None:
    if token is not None and token_file is not None:
        raise click.UsageError("either --token or --token-file")
    if token_file is not None:
        try:
            text = token_file.read(MEGABYTE)
        except (OSError, UnicodeDecodeError):
            raise click.UsageError("the token file cannot be read as text") from None
    else:
        text = token if token is not None else os.environ.get("TOKEN", "")
    if not text.strip() and (token, token_file) != (None, None):
        raise click.UsageError("the token is empty")
    return text.strip() or None


def _check(attempt: Attempt) -> None:
    """Raises ``click.UsageError`` for what no request, or no packet, can hold; never quotes it."""
    try:
        build_head(f"GET {attempt.target} HTTP/1.1", [("Host", attempt.host), *attempt.request_headers])
    except ValueError:
        raise click.UsageError("a header, or the token, has a character that no header can have") from None
    if not all(map(is_token, attempt.subprotocols)):
        raise click.UsageError("the token has a character that no subprotocol can have")
    if attempt.mqtt is not None:
        try:
            attempt.connect(attempt.mqtt).to_bytes()
            packets.subscribe(attempt.mqtt.level, 1, attempt.mqtt.topic, attempt.mqtt.qos)
        except MqttError as error:
            raise click.UsageError(str(error)) from None
        if set("+#") & set(attempt.mqtt.topic):
            raise click.UsageError("--topic is one topic, without + and #")


def _tls(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        context = tls_context(ca_file)
    except (ssl.SSLError, OSError):
        raise click.UsageError("--ca-file holds no certificates in PEM") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _interrupted(work: Callable[[], Any]) -> bool:
    """Do the work; whether somebody has pressed Ctrl-C meanwhile, as one does who has seen enough."""
    interrupted = False
    try:
        trio.run(work)
    except* KeyboardInterrupt:
        interrupted = True
    return interrupted


def _show(text: str) -> None:
    """Print it; what the terminal's encoding does not have, as a question mark: a server may say anything."""
    encoding = sys.stdout.encoding or "ascii"
    click.echo(text.encode(encoding, "replace").decode(encoding))


def _has_bars(output: TextIO) -> bool:
    try:
        "█▏".encode(output.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
