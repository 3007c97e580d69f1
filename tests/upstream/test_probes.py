"""Four ways to ask an upstream whether it is well: what it hears of each, and which answers will do."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
from attrs import define, field

from tests.certificates import Authority, accept_tls
from tests.house import Answer, agreeing
from tests.servers.ports import free_port
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.config.values import WebSocketUrl, bracketed
from trio_ws_gateway.upstream import probes
from trio_ws_gateway.upstream.dial import tls_context
from trio_ws_gateway.upstream.probes import Probes
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.http import Request, parse_request
from trio_ws_gateway.wire.mqtt import Connect, connack, disconnect, parse_connect

Converse = Callable[[Peer], Awaitable[None]]


async def nothing(_peer: Peer) -> None:
    """Say nothing after the handshake."""


async def polite(peer: Peer) -> None:
    """Answer a Close."""
    code, _ = await peer.hear_close()
    await peer.say_close(code)


@define
class Upstream:
    """A server that takes one kind of connection. ``ended`` counts those that have gone as they should."""

    port: int
    answer: Answer
    converse: Converse
    requests: list[Request] = field(factory=list)
    ended: int = 0
    fault: Exception | None = None

    async def accept(self, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        leg.configure(sock, user_timeout_seconds=30)
        try:
            if tls is not None:
                sock = await accept_tls(sock, tls)
            peer = Peer(sock, masked=False)
            try:
                self.requests.append(parse_request(await peer.read_until(b"\r\n\r\n")))
            except EOFError:
                return
            await peer.send(self.answer(self.requests[-1]))
            await self.converse(peer)
            await peer.read_to_end()
        except OSError:
            pass
        except (AssertionError, EOFError) as error:
            self.fault = error
        finally:
            self.ended += 1
            leg.close(sock)

    def probes(self, *, host: str = "127.0.0.1", subprotocol: str | None = None, ca_file: Path | None = None) -> Probes:
        url = WebSocketUrl.parse(f"ws{'s' if ca_file else ''}://{bracketed(host)}:{self.port}/ws?a=b")
        return Probes(url=url, tls=tls_context(ca_file), subprotocol=subprotocol)


@asynccontextmanager
async def upstream(
    answer: Answer | None = None,
    converse: Converse = polite,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Upstream]:
    """All of its connections must have ended when the test does."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)
        there = Upstream(listeners[0].socket.getsockname()[1], answer or agreeing(), converse)
        nursery.start_soon(trio.serve_listeners, lambda stream: there.accept(stream, tls), listeners)
        yield there
        assert there.fault is None
        nursery.cancel_scope.cancel()


async def all_ended(there: Upstream, count: int = 1) -> None:
    with trio.fail_after(10):
        while there.ended < count:
            await trio.sleep(0.002)


# TCP


async def test_tcp() -> None:
    """A connection that is taken will do; it is closed without a word."""
    async with upstream() as there:
        assert await there.probes().tcp() == ""
        await all_ended(there)
        assert there.requests == []


async def test_nobody_listens() -> None:
    """Whichever way, an upstream where nobody listens is an error."""
    there = Probes(url=WebSocketUrl.parse(f"ws://127.0.0.1:{free_port()}"), tls=tls_context(None))
    connect = Connect(level=4, client_id="probe")
    for ask in (there.tcp, there.websocket, lambda: there.mqtt(connect)):
        with pytest.raises(OSError, match="attempts to connect"):
            await ask()
    with pytest.raises(httpx.ConnectError):
        await there.http("/")


# HTTP


@pytest.mark.parametrize(
    ("status", "why"), [(200, ""), (204, ""), (302, ""), (404, "answers 404"), (503, "answers 503")]
)
async def test_http(status: int, why: str) -> None:
    """A GET of the path is well answered below 400; it names nobody, and follows no redirect."""
    answer = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nLocation: http://192.0.2.1/\r\n\r\n".encode()
    async with upstream(lambda _: answer, nothing) as there:
        assert await there.probes().http("/healthz?full=1") == why
        [request] = there.requests
        assert (request.method, request.path, request.query) == ("GET", "/healthz", "full=1")
        assert request.headers.get("host") == f"127.0.0.1:{there.port}"
        assert request.headers.get("authorization") is None


async def test_http_of_an_endless_body() -> None:
    """The head decides: nobody waits for a body."""
    async with upstream(lambda _: b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", nothing) as there:
        with trio.fail_after(10):
            assert await there.probes().http("/") == ""


async def test_http_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is for others."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    async with upstream(lambda _: b"HTTP/1.1 204 X\r\n\r\n", nothing) as there:
        assert await there.probes().http("/") == ""


# WebSocket


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_websocket(host: str) -> None:
    """A handshake for the upstream's own path, in nobody's name, and a Close that says 1000."""
    codes: list[int] = []

    async def converse(peer: Peer) -> None:
        code, _ = await peer.hear_close()
        codes.append(code)
        await peer.say_close(code)

    async with upstream(None, converse, host="127.0.0.1" if host == "localhost" else host) as there:
        assert await there.probes(host=host).websocket() == ""
        await all_ended(there)
        [request] = there.requests
        assert (request.path, request.query) == ("/ws", "a=b")
        assert request.headers.get("host") == f"{bracketed(host)}:{there.port}"
        for name in ("authorization", "cookie", "origin", "sec-websocket-protocol"):
            assert request.headers.get(name) is None
        assert codes == [1000]


async def test_subprotocol() -> None:
    """Exactly one is offered."""
    async with upstream() as there:
        assert await there.probes(subprotocol="mqtt").websocket() == ""
        assert there.requests[0].headers.all("sec-websocket-protocol") == ("mqtt",)


async def test_subprotocol_that_is_not_chosen() -> None:
    """Who does not choose it would be no good for a session either."""
    async with upstream(agreeing({"Sec-WebSocket-Protocol": ""})) as there:
        assert await there.probes(subprotocol="mqtt").websocket() == "names no subprotocol"


@pytest.mark.parametrize("status", [400, 403, 500, 503])
async def test_rejected_handshake(status: int) -> None:
    """Any answer but a 101 is a reason."""
    async with upstream(lambda _: f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode(), nothing) as there:
        assert await there.probes().websocket() == f"answers {status}, not 101"


async def test_no_http() -> None:
    """Nor is it a WebSocket where something else is spoken."""
    async with upstream(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", nothing) as there:
        assert await there.probes().websocket() == "speaks no WebSocket"


async def test_no_answer() -> None:
    """Who says nothing is waited for as long as the caller likes, and no longer."""
    patience = trio.CancelScope()

    def answer(_: Request) -> bytes:
        patience.deadline = trio.current_time() + 0.05
        return b""

    async with upstream(answer, nothing) as there:
        with patience:
            await there.probes().websocket()
        assert patience.cancelled_caught
        await all_ended(there)


async def test_close_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that took the handshake is well, though it does not answer the Close: it is not waited for long."""
    monkeypatch.setattr(probes, "GOODBYE_SECONDS", 0.05)
    async with upstream(None, nothing) as there:
        with trio.fail_after(10):
            assert await there.probes().websocket() == ""
        await all_ended(there)


async def test_tls(tmp_path: Path) -> None:
    """Behind wss:// the certificate is verified as for a session."""
    authority, other = Authority(tmp_path), tmp_path / "other"
    other.mkdir()
    async with upstream(tls=authority.server("localhost")) as there:
        assert await there.probes(host="localhost", ca_file=authority.ca_file).websocket() == ""
        with pytest.raises(trio.BrokenResourceError) as caught:
            await there.probes(host="localhost", ca_file=Authority(other).ca_file).websocket()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


# MQTT


def broker(answer: bytes, *, heard: list[bytes], opcode: int = BINARY, pieces: int = 1) -> Converse:
    """Answers a CONNECT, in so many messages, and is polite then."""

    async def converse(peer: Peer) -> None:
        heard.append((await peer.hear())[2])
        for at in range(pieces):
            await peer.say(opcode, answer[at:] if at == pieces - 1 else answer[at : at + 1])
        kind, _, payload = await peer.hear()
        if kind == BINARY:
            heard.append(payload)
            await polite(peer)
        else:
            await peer.say_close()

    return converse


@pytest.mark.parametrize(("level", "subprotocol"), [(3, "mqttv3.1"), (4, "mqtt"), (5, "mqtt")])
@pytest.mark.parametrize("pieces", [1, 4])
async def test_mqtt(level: int, subprotocol: str, pieces: int) -> None:
    """A CONNECT under a name of its own, the CONNACK in whatever pieces, and a DISCONNECT."""
    heard: list[bytes] = []
    async with upstream(None, broker(connack(level, 0), heard=heard, pieces=pieces)) as there:
        connect = Connect(level=level, client_id="probe", username="gateway", password=b"swordfish")
        assert await there.probes(subprotocol=subprotocol).mqtt(connect) == ""
        await all_ended(there)
        assert await there.probes(subprotocol=subprotocol).mqtt(connect) == ""
        await all_ended(there, 2)
    first, second = parse_connect(heard[0]), parse_connect(heard[2])
    assert (first.username, first.password, first.clean_start) == ("gateway", b"swordfish", True)
    assert first.client_id != second.client_id
    assert len(first.client_id) <= 23  # the limit of MQTT 3.1
    assert heard[1] == heard[3] == disconnect(level)


@pytest.mark.parametrize(("code", "why"), [(1, ""), (3, "calls itself unavailable"), (4, ""), (5, "")])
async def test_refusal_of_a_broker(code: int, why: str) -> None:
    """A broker that refuses this client is well; one that says that it is unavailable is not."""
    async with upstream(None, broker(connack(4, code), heard=[])) as there:
        assert await there.probes(subprotocol="mqtt").mqtt(Connect(level=4, client_id="probe")) == why


@pytest.mark.parametrize(
    ("answer", "opcode", "why"),
    [
        (connack(4, 0), TEXT, "answers a CONNECT with text"),
        (b"\x90\x03\x00\x01\x00", BINARY, "answers a CONNECT with something else than a CONNACK"),
    ],
)
async def test_no_broker(answer: bytes, opcode: int, why: str) -> None:
    """What answers a CONNECT with anything else is no broker."""
    async with upstream(None, broker(answer, heard=[], opcode=opcode)) as there:
        assert await there.probes(subprotocol="mqtt").mqtt(Connect(level=4, client_id="probe")) == why


async def test_broker_that_closes() -> None:
    """Nor is one that closes the connection in place of an answer."""

    async def converse(peer: Peer) -> None:
        await peer.hear()
        await peer.say_close(1002)

    async with upstream(None, converse) as there:
        why = await there.probes(subprotocol="mqtt").mqtt(Connect(level=4, client_id="probe"))
        assert why == "closes the connection"
