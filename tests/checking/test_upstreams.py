"""One handshake with an upstream, step by step: name, TCP, TLS, answer, goodbye."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.certificates import Authority, accept_tls
from tests.house import agreeing
from tests.servers.ports import free_port
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.checking.findings import Status, Trouble
from trio_ws_gateway.checking.upstreams import check_upstream, upstreams_of
from trio_ws_gateway.config.loading import load
from trio_ws_gateway.upstream.dial import tls_context
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame, close_frame
from trio_ws_gateway.wire.http import Request, parse_request
from trio_ws_gateway.wire.mqtt import Connect, connack, disconnect, parse_connect

PATIENCE = 30.0
Converse = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def server(converse: Converse, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port. Every connection is talked to as ``converse`` says."""

    async def accept(stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        try:
            with suppress(OSError, EOFError):
                if tls is not None:
                    sock = await accept_tls(sock, tls)
                await converse(Peer(sock, masked=False))
        finally:
            leg.close(sock)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, accept, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def visit(
    protocol: str, *, tls: ssl.SSLContext | None = None, timeout_seconds: float = PATIENCE, **environment: str
) -> str:
    """What is said of an upstream that works. Raises ``Trouble``."""
    settings = load({"ALLOW_ANONYMOUS": "true", **environment}).settings
    (upstream,) = [each for each in upstreams_of(settings) if each.protocol == protocol]
    (finding,) = await check_upstream(upstream, tls, timeout_seconds)
    assert (finding.name, finding.status) == (f"upstream {protocol}", Status.OK)
    return finding.detail


async def trouble(url: str, *, tls: ssl.SSLContext | None = None, timeout_seconds: float = PATIENCE) -> Trouble:
    with pytest.raises(Trouble) as caught:
        await visit("raw", tls=tls, timeout_seconds=timeout_seconds, RAW_WS_BACKEND_URL=url)
    assert "secret" not in caught.value.detail + caught.value.advice
    return caught.value


async def hush(peer: Peer) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(("setting", "offered"), [("auto", "mqtt"), ("mqttv3.1", "mqttv3.1")])
async def test_polite_visit(setting: str, offered: str) -> None:
    """The upstream sees a real handshake with one subprotocol and no credentials, and then a Close."""
    seen: list[Request] = []
    closes: list[tuple[int, str]] = []
    connects: list[Connect] = []
    disconnects: list[tuple[int, bool, bytes]] = []

    async def broker(peer: Peer) -> None:
        seen.append(request := parse_request(await peer.read_until(b"\r\n\r\n")))
        await peer.send(agreeing()(request))
        _, _, connect = await peer.hear()
        connects.append(parse_connect(connect))
        await peer.say(BINARY, connack(connects[0].level, 0))
        disconnects.append(await peer.hear())
        closes.append(await peer.hear_close())
        await peer.say_close()

    async with server(broker) as port:
        url = f"ws://127.0.0.1:{port}/ws?key=secret"
        detail = await visit("mqtt", UPSTREAM_WS_URL=url, UPSTREAM_MQTT_SUBPROTOCOL=setting)
    assert detail == f"ws://127.0.0.1:{port}/ws: takes WebSocket connections, subprotocol {offered}"
    assert seen[0].target == "/ws?key=secret"
    assert seen[0].headers.tokens("sec-websocket-protocol") == (offered,)
    assert not {"authorization", "cookie", "x-user-id"} & {name.lower() for name, _ in seen[0].headers}
    assert (connects[0].level, connects[0].username) == (3 if offered == "mqttv3.1" else 4, None)
    assert disconnects == [(BINARY, True, disconnect(4))]
    assert closes == [(1000, "")]


def conversing(*said: bytes, ends: bool = True) -> Converse:
    """Shakes hands, says that in frames as they are, and ends the connection."""

    async def converse(peer: Peer) -> None:
        await peer.send(agreeing()(parse_request(await peer.read_until(b"\r\n\r\n"))))
        for each in said:
            await peer.send(each)
        if ends:
            peer.end_stream()
        await peer.read_to_end()

    return converse


REFUSING = build_frame(BINARY, connack(4, 5), masked=False)


async def test_broker_that_refuses() -> None:
    """A broker that does not let in a client without a name is well: it has answered."""
    async with server(conversing(REFUSING)) as port:
        await visit("mqtt", UPSTREAM_WS_URL=f"ws://127.0.0.1:{port}/")
    async with server(conversing(REFUSING[:3], REFUSING[3:])) as port:
        await visit("mqtt", UPSTREAM_WS_URL=f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (build_frame(TEXT, b"hello", masked=False), "a CONNECT is answered with text"),
        (build_frame(BINARY, b"HTTP/1.1", masked=False), "a CONNECT is answered with something else than a CONNACK"),
        (b"\xff\xff", "answers 101, but then breaks the rules of WebSocket: "),
        (b"SSH-2.0-OpenSSH", "answers 101, but then breaks the rules of WebSocket: "),
    ],
)
async def test_no_broker_behind_a_101(said: bytes, detail: str) -> None:
    """What shakes hands and then speaks something else is told at once."""
    async with server(conversing(said, ends=False)) as port:
        with pytest.raises(Trouble) as caught:
            await visit("mqtt", UPSTREAM_WS_URL=f"ws://127.0.0.1:{port}/")
    assert detail in caught.value.detail


async def test_silence_behind_a_101() -> None:
    """What shakes hands and does not answer a CONNECT is no broker."""
    async with server(conversing(ends=False)) as port:
        with pytest.raises(Trouble, match=r"but does not answer a CONNECT within 0\.2 s"):
            await visit("mqtt", timeout_seconds=0.2, UPSTREAM_WS_URL=f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"UPSTREAM_WS_URL": "{}", "UPSTREAM_MQTT_CREDENTIALS": "strip"}, Status.FAILED),
        ({"UPSTREAM_WS_URL": "{}"}, Status.WARNING),
        ({"RAW_WS_BACKEND_URL": "{}", "RAW_FORWARD_TOKEN": "false"}, Status.FAILED),
        ({"RAW_WS_BACKEND_URL": "{}"}, Status.WARNING),
    ],
)
@pytest.mark.parametrize(
    ("said", "words"),
    [(close_frame(1008, "go\x1b", masked=False), "closes them with 1008 at once ('go\\x1b')"), (b"", "hangs up")],
)
async def test_end_behind_a_101(said: bytes, words: str, environment: dict[str, str], status: Status) -> None:
    """What shakes hands and ends it does not work; only a warning where that may be for want of credentials."""
    async with server(conversing(said)) as port:
        given = {name: value.format(f"ws://127.0.0.1:{port}/") for name, value in environment.items()}
        settings = load({"ALLOW_ANONYMOUS": "true", **given}).settings
        (upstream,) = [each for each in upstreams_of(settings) if each.setting in given]
        (finding,) = await check_upstream(upstream, None, PATIENCE)
    assert (finding.status, "No credentials were sent" in finding.advice) == (status, status is Status.WARNING)
    assert words in finding.detail


async def test_upstream_that_never_closes() -> None:
    """One that does not answer the Close is waited for no longer than a goodbye takes, and is well."""

    async def chatter(peer: Peer) -> None:
        await peer.send(agreeing()(parse_request(await peer.read_until(b"\r\n\r\n"))))
        while True:
            await peer.say(1, b"tick")
            await trio.sleep(0.01)

    async with server(chatter) as port:
        with trio.fail_after(PATIENCE / 2):
            await visit("raw", RAW_WS_BACKEND_URL=f"ws://127.0.0.1:{port}/")


async def test_backend_that_wants_the_token() -> None:
    """A 401 is well where sessions bring the token; no frame follows it."""
    heard: list[bytes] = []

    async def strict(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 401 Who\r\n\r\n")
        heard.append(await peer.read_to_end())

    async with server(strict) as port:
        url = f"ws://127.0.0.1:{port}/"
        assert "answers 401 without a token" in await visit("raw", RAW_WS_BACKEND_URL=url)
        with pytest.raises(Trouble, match="answers 401"):
            await visit("raw", RAW_WS_BACKEND_URL=url, RAW_FORWARD_TOKEN="false")
        with trio.fail_after(PATIENCE):
            while len(heard) < 2:
                await trio.sleep(0.005)
    assert heard == [b"", b""]


async def test_nobody_there() -> None:
    """Nobody on the port, and no such name."""
    port = free_port()
    refused = await trouble(f"ws://localhost:{port}/raw?key=secret")
    assert refused.detail == (
        f"ws://localhost:{port}/raw: connection refused: nobody listens on port {port} of localhost"
    )
    assert "In a container, localhost is the container itself" in refused.advice
    unknown = await trouble("ws://no-such-name.invalid/")
    assert "no-such-name.invalid" in unknown.detail
    with pytest.raises(Trouble) as broker:
        await visit("mqtt", UPSTREAM_WS_URL=f"ws://127.0.0.1:{port}/")
    assert "is its WebSocket listener on?" in broker.value.advice


async def test_black_hole() -> None:
    """Packets that vanish are told from a server that is silent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):  # fills the queue: further connections get no answer at all
            lost = await trouble(f"ws://127.0.0.1:{address[1]}/", timeout_seconds=0.5)
    assert f"no connection to port {address[1]} within 0.5 s" in lost.detail
    assert "firewall" in lost.advice


async def test_silence() -> None:
    """A server that takes the connection and says nothing, plainly or instead of TLS."""
    async with server(hush) as port:
        plain = await trouble(f"ws://127.0.0.1:{port}/", timeout_seconds=0.5)
        secure = await trouble(f"wss://127.0.0.1:{port}/", tls=tls_context(None), timeout_seconds=0.5)
    assert "takes the connection, but answers nothing within 0.5 s" in plain.detail
    assert "takes the connection, but no TLS comes about within 0.5 s" in secure.detail
    assert "RAW_WS_BACKEND_URL with ws://" in secure.advice


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_tls_to_a_plain_port(says: bytes) -> None:
    """wss:// to a server that hangs up on TLS, or answers it with HTTP, is a case for ws://."""

    async def plain(peer: Peer) -> None:
        await leg.receive(peer.sock, 10)  # the rest is left unread, so that its close is a reset
        await peer.send(says)

    async with server(plain) as port:
        wrong = await trouble(f"wss://127.0.0.1:{port}/", tls=tls_context(None))
    assert wrong.detail.endswith("what answers there does not speak TLS")
    assert wrong.advice == "Begin RAW_WS_BACKEND_URL with ws:// instead of wss://, or give the port of TLS."


async def test_certificates(tmp_path: Path) -> None:
    """A certificate of a foreign authority, for another name, or of yesterday; and one that is good."""
    authority = Authority(tmp_path)
    trusting = tls_context(authority.ca_file)

    async def web(peer: Peer) -> None:
        await peer.send(agreeing()(parse_request(await peer.read_until(b"\r\n\r\n"))))
        await peer.hear_close()

    async with server(web, authority.server("localhost")) as port:
        url = f"wss://localhost:{port}/"
        assert "takes WebSocket connections" in await visit("raw", tls=trusting, RAW_WS_BACKEND_URL=url)
        foreign = await trouble(url, tls=tls_context(None))
        assert "of no authority that is trusted here" in foreign.detail
        assert "UPSTREAM_CA_FILE" in foreign.advice
        other = await trouble(f"wss://127.0.0.1:{port}/", tls=trusting)
        assert "for other names than 127.0.0.1" in other.detail
        untried = await trouble(url, tls=None)
        assert "not tried, for UPSTREAM_CA_FILE cannot be used" in untried.detail
    async with server(web, authority.server("localhost", expired=True)) as port:
        expired = await trouble(f"wss://localhost:{port}/", tls=trusting)
        assert expired.detail.endswith("its certificate has expired")


async def test_endless_answer() -> None:
    """A head without end is not read for ever, nor what is plainly no HTTP for longer than that is plain."""

    async def endless(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"X-More: more\r\n" * 100)

    async with server(endless) as port:
        assert "has no end" in (await trouble(f"ws://127.0.0.1:{port}/")).detail

    async def other(peer: Peer) -> None:
        await peer.send(b"220 mail.example ESMTP\r\n")
        await trio.sleep_forever()

    async with server(other) as port:
        assert "not with HTTP: '220 mail.example ESMTP" in (await trouble(f"ws://127.0.0.1:{port}/")).detail
