"""Whole probes: through a gateway with doubles around it, and against servers that lie."""

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.certificates import Authority
from tests.house import House, agreeing, answering, house
from tests.probing.trying import Broker, byte_by_byte, listening, mqtt, refused, said_in, tried, upgrading, whole
from tests.serve.outside import echo
from tests.servers.ports import free_port
from tests.tcp import Peer
from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing import doorway, open_socket
from trio_ws_gateway.probing.attempt import Carry
from trio_ws_gateway.upstream.dial import tls_context
from trio_ws_gateway.wire.frames import BINARY, CLOSE, TEXT
from trio_ws_gateway.wire.mqtt import connack

SHORT = 0.25  # seconds, where something is waited for in vain


@asynccontextmanager
async def behind(behave: Callable[[Peer], Awaitable[None]], **settings: str) -> AsyncIterator[tuple[House, str]]:
    """A gateway whose upstream behaves so to its one session, and its URL."""

    async def serve(there: House) -> None:
        await behave(await there.upstream.next())

    async with house(**settings) as there, trio.open_nursery() as nursery:
        nursery.start_soon(serve, there)
        yield there, f"ws://127.0.0.1:{there.port}/ws"
        nursery.cancel_scope.cancel()


async def broker(level: int, peer: Peer, say: Callable[[Peer, bytes], Awaitable[None]] = whole) -> None:
    await Broker(peer, level, say).serve()


# Sessions that work


@pytest.mark.parametrize("carry", [Carry.HEADER, Carry.SUBPROTOCOL, Carry.QUERY, Carry.COOKIE, Carry.FIRST_MESSAGE])
async def test_raw(carry: Carry) -> None:
    """A raw session is opened with the token in any carrier, and what is echoed is measured."""
    async with behind(echo, WS_ALLOWED_ORIGINS="https://app.example.com") as (there, url):
        name = {"carry_name": "session"} if carry is Carry.COOKIE else {}
        course = await tried(url, token=there.provider.mint(), carry=carry, **name)
        assert course.refusal is None
        assert course.worked
        names = [step.name for step in course.steps]
        sent = ["token sent"] * (carry is Carry.FIRST_MESSAGE)
        assert names == ["TCP connected", "WebSocket upgraded", *sent, "closed"]
        assert course.steps[-1].detail == "1000, normal closure"
        assert len(course.round_trips) == 3
        assert all(seconds > 0 for seconds in course.round_trips)
        assert (await there.end())["cause"] == "closed_by_client"


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1])
async def test_mqtt(level: int, qos: int) -> None:
    """An MQTT session of every version subscribes, and measures what it publishes to itself."""
    async with behind(partial(broker, level)) as (there, url):
        token = there.provider.mint()
        spoken = mqtt(level, username="robot-7", qos=qos)
        course = await tried(url, mqtt=spoken, token=token, carry=Carry.PASSWORD)
        assert course.refusal is None
        names = [step.name for step in course.steps]
        assert names == ["TCP connected", "WebSocket upgraded", "CONNACK", "SUBACK", "closed"]
        assert course.steps[1].detail == f"101, subprotocol {spoken.subprotocol}"
        assert course.steps[3].detail == f"QoS {qos}, probe/1"
        assert len(course.round_trips) == 3


async def test_opening_only() -> None:
    """With no messages the session is opened and closed, whatever the upstream does."""

    async def silent(peer: Peer) -> None:
        await peer.say(CLOSE, (await peer.hear())[2])

    async with behind(silent) as (there, url):
        course = await tried(url, token=there.provider.mint(), count=0)
        assert course.worked
        assert course.round_trips == []


@pytest.mark.parametrize("level", [4, 5])
async def test_packets_cut_and_joined(level: int) -> None:
    """Packets that come byte by byte, or two in one message, are understood."""
    async with upgrading(lambda peer: broker(level, peer, byte_by_byte)) as url:
        assert (await tried(url, mqtt=mqtt(level, qos=1))).worked


async def test_echo_with_words_around_it() -> None:
    """An upstream that greets, and echoes in words of its own, echoes all the same."""

    async def polite(peer: Peer) -> None:
        await peer.say(TEXT, b"welcome")
        while (heard := await peer.hear())[0] != CLOSE:
            await peer.say(BINARY, b"you said: " + heard[2])
        await peer.say(CLOSE, heard[2])

    async with upgrading(polite) as url:
        assert (await tried(url)).worked


async def test_name_and_tls(tmp_path: Path) -> None:
    """A name and TLS are steps of their own."""
    context = Authority(tmp_path).server("localhost")

    async def accept(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True)
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += bytes(await secure.receive_some())
        await secure.send_all(b"HTTP/1.1 403 No\r\n\r\n")

    async with listening(accept) as url:
        course = await tried(
            url.replace("ws://127.0.0.1", "wss://localhost"), tls=tls_context(tmp_path / "authority.pem")
        )
        assert [step.name for step in course.steps] == ["name resolved", "TCP connected", "TLS"]
        assert course.steps[2].detail == "TLSv1.3"
        assert course.refusal is not None
        assert course.refusal.http_status == 403


async def test_server_that_does_not_answer_the_close() -> None:
    """A session that worked has worked, though its Close finds no answer: that is a note."""

    async def deaf(peer: Peer) -> None:
        await trio.sleep_forever()

    async with upgrading(deaf) as url:
        course = await tried(url, count=0, timeout_seconds=SHORT)
        assert course.worked
        assert course.notes == [f"The server did not answer the Close in {SHORT} s."]


async def test_broker_that_never_answers_the_connect() -> None:
    """Where the gateway has waited in vain for the CONNACK, the broker is what to look at, and no interval."""
    idle = Cause.IDLE.row
    assert idle.close is not None

    async def mute(peer: Peer) -> None:
        await peer.hear()
        await peer.say_close(idle.close or 0, idle.reason)

    async with upgrading(mute) as url:
        found = await refused(url, mqtt=mqtt(4))
    assert found.causes == (Cause.IDLE,)
    assert "did not answer the CONNECT" in found.look_at[0]
    assert "--interval" not in said_in(found)


# Refusals of the gateway


async def test_refusals_before_the_101() -> None:
    """Each refusal in HTTP is told as the gateway's cause."""
    async with house(WS_ALLOWED_ORIGINS="https://app.example.com", WS_DIAL_RETRY_MAX="0") as there:
        url = f"ws://127.0.0.1:{there.port}/ws"
        mint = there.provider.mint
        there.upstream.answer = answering("HTTP/1.1 503 No")
        for cause, found in {
            Cause.NOT_FOUND: await refused(url + "s", token=mint()),
            Cause.INVALID_TOKEN: await refused(url, token=mint(exp=int(time.time()) - 200)),
            Cause.MALFORMED_TOKEN: await refused(url, token="swordfish"),
            Cause.FORBIDDEN: await refused(url, token=mint(), origin="https://evil.example"),
            Cause.UPSTREAM_UNAVAILABLE: await refused(url, token=mint()),
            Cause.HEAD_TOO_BIG: await refused(url, token="x" * 17_000),
        }.items():
            assert (found.causes, found.http_status) == ((cause,), cause.row.http)
        assert "expired 3 minutes ago" in said_in(await refused(url, token=mint(exp=int(time.time()) - 200)))


async def test_refusals_after_the_101() -> None:
    """Each refusal by a Close is told as the gateway's cause: with the first message, and in mid-session."""
    async with house() as there:
        url = f"ws://127.0.0.1:{there.port}/ws"
        assert (await refused(url)).causes == (Cause.NO_TOKEN,)
        bad = there.provider.mint(exp=1)
        assert (await refused(url, token=bad, carry=Carry.FIRST_MESSAGE)).causes == (Cause.INVALID_TOKEN,)
    async with behind(echo, WS_MAX_MESSAGE_BYTES="100") as (there, url):
        found = await refused(url, token=there.provider.mint(), size=101)
        assert (found.causes, found.close_code) == ((Cause.MESSAGE_TOO_BIG,), 1009)
    async with behind(echo, RATE_LIMIT_PER_SECOND="1", RATE_LIMIT_BURST="2") as (there, url):
        course = await tried(url, token=there.provider.mint(), count=10)
        assert course.refusal is not None
        assert course.refusal.causes == (Cause.RATE_LIMITED,)
        assert len(course.round_trips) == 2
        assert course.unfinished == "message 3"


@pytest.mark.parametrize("level", [3, 4, 5])
async def test_mqtt_refusals(level: int) -> None:
    """A CONNACK of the gateway's is told as its cause, with the code of that version."""
    async with house(MQTT_USERNAME_CLAIM="sub", WS_DIAL_RETRY_MAX="0") as there:
        url = f"ws://127.0.0.1:{there.port}/ws"
        there.upstream.answer = answering("HTTP/1.1 503 No")
        token = there.provider.mint()
        for cause, name, password in (
            (Cause.MALFORMED_TOKEN, "robot-7", "swordfish"),
            (Cause.FORBIDDEN, "robot-8", token),
            (Cause.UPSTREAM_UNAVAILABLE, "robot-7", token),
        ):
            found = await refused(url, mqtt=mqtt(level, username=name), token=password, carry=Carry.PASSWORD)
            row = cause.row
            assert found.causes == (cause,)
            assert (found.connack_code, found.close_code) == (row.connack5 if level == 5 else row.connack3, row.close)


async def test_disconnect_in_mid_session() -> None:
    """A gateway that ends an MQTT 5 session says so in a DISCONNECT; its Close names the cause."""
    async with behind(partial(broker, 5), RATE_LIMIT_PER_SECOND="1", RATE_LIMIT_BURST="4") as (there, url):
        found = await refused(
            url, mqtt=mqtt(5, username="u"), token=there.provider.mint(), carry=Carry.PASSWORD, count=9
        )
        assert found.causes == (Cause.RATE_LIMITED,)
        assert "DISCONNECT 0x96, message rate too high" in found.what


async def test_close_of_the_upstream() -> None:
    """A Close that passed through the gateway is told with its code and reason, in the pause between messages too."""

    async def leaves(peer: Peer) -> None:
        heard = await peer.hear()
        await peer.say(heard[0], heard[2])
        await peer.say_close(4001, "enough")
        await peer.hear_close()

    async with behind(leaves) as (there, url):
        found = await refused(url, token=there.provider.mint(), interval_seconds=60)
        assert found.what == 'The session was closed with 4001, of the application: "enough", between two messages.'


# Brokers


async def say_once(data: bytes, peer: Peer) -> None:
    """Whatever is said, that is the answer; and then nothing."""
    await peer.hear()
    await peer.say(BINARY, data)
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (connack(5, 0x87), "The broker refuses: CONNACK 0x87, not authorised."),
        (b"\x90\x04\x00\x01\x00\x00", "no MQTT: SUBACK in place of a CONNACK"),
        (b"\x20\x00", "no MQTT: acknowledge flags is cut short"),
        (b"\xff\xff\xff\xff\xff", "no MQTT: length has more than four bytes"),
        (connack(5, 0) + b"\x90\x04\x00\x01\x00\x87", "refuses the SUBSCRIBE with 0x87, not authorised"),
        (connack(5, 0) + b"\x90\x04\x00\x63\x00\x00", "no MQTT: a SUBACK for another SUBSCRIBE"),
        (connack(5, 0) + b"\xe0\x01\x8b", "DISCONNECT 0x8b, server shutting down"),
        (connack(5, 0) + b"\x90\x04\x00\x01\x00\x01\x40\x03\x00\x02\x87", "refuses the PUBLISH with 0x87"),
    ],
)
async def test_brokers_that_refuse_or_lie(data: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broker says in place of what was asked for is told in words."""
    monkeypatch.setattr(open_socket, "LAST_WORDS_SECONDS", SHORT)  # there is no Close
    async with upgrading(partial(say_once, data)) as url:
        assert words in said_in(await refused(url, mqtt=mqtt(5, qos=1)))


async def test_mqtt_in_text() -> None:
    """MQTT in a text message is none (MQTT 5.0 6)."""

    async def texts(peer: Peer) -> None:
        await peer.hear()
        await peer.say(TEXT, b"\x20\x03\x00\x00\x00")

    async with upgrading(texts) as url:
        assert "no MQTT: a text message" in said_in(await refused(url, mqtt=mqtt()))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", f"The CONNECT was not answered in {SHORT} s."),
        (connack(5, 0), f"The SUBSCRIBE was not answered in {SHORT} s."),
        (
            connack(5, 0) + b"\x90\x04\x00\x01\x00\x01",
            f"Message 1 did not come back in {SHORT} s, and nothing",
        ),
        (
            connack(5, 0) + b"\x90\x04\x00\x01\x00\x01" + b"\x30\x05\x00\x01x\x00y",
            f"Message 1 did not come back in {SHORT} s, and 1 other message came.",
        ),
        (
            connack(5, 0) + b"\x90\x04\x00\x01\x00\x01" + b"\x30\x2a\x00\x07probe/1\x00" + b"probe 1 ".ljust(32, b"."),
            f"Message 1 was not acknowledged in {SHORT} s.",
        ),
    ],
)
async def test_brokers_that_fall_silent(said: bytes, words: str) -> None:
    """A broker that does not answer is told with what it did not answer."""

    async def behave(peer: Peer) -> None:
        await peer.hear()
        if said:
            await peer.say(BINARY, said)
        await trio.sleep_forever()

    async with upgrading(behave) as url:
        assert words in said_in(await refused(url, mqtt=mqtt(5, qos=1), timeout_seconds=SHORT))


# Servers that are no gateways


async def test_nothing_comes_back() -> None:
    """An upstream that does not echo is told as one: the session is open all the same."""

    async def talks(peer: Peer) -> None:
        await peer.say(TEXT, b"news")
        await trio.sleep_forever()

    async with upgrading(talks) as url:
        found = await refused(url, timeout_seconds=SHORT)
        assert found.what == f"Message 1 did not come back in {SHORT} s, and 1 other message came."
        assert "need an upstream that echoes" in said_in(found)


async def drip(stream: trio.SocketStream, data: bytes) -> None:
    await stream.send_all(data)
    await trio.sleep_forever()


async def flood(stream: trio.SocketStream, data: bytes, then: bytes) -> None:
    await stream.send_all(data)
    while True:
        await stream.send_all(then * 4096)


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def silence(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        (silence, f"The server did not answer the request in {SHORT} s."),
        (hang_up, "The server closed the connection without an answer to the request."),
        (partial(drip, data=b"SSH-2.0-OpenSSH_9.2p1\r\n"), "speaks no HTTP: SSH-2.0-OpenSSH_9.2p1"),
        (partial(drip, data=b"\x15\x03\x03\x00\x02\x02\x46"), "try wss:// in place of ws://."),
        (partial(drip, data=b"HTTP/9.9 \xff\r\n\r\n"), "no legal HTTP: HTTP/9.9"),
        (partial(drip, data=b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nugly"), "HTTP 500 Oops: ugly"),
        (partial(drip, data=b"HTTP/1.1 500 Oops\r\n\r\nugly"), "HTTP 500 Oops: ugly"),
        (
            partial(flood, data=b"HTTP/1.1 500 Oops\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", then=b"ugly "),
            "HTTP 500 Oops: ugly ugly",
        ),
        (partial(flood, data=b"", then=bytes(16)), "speaks no HTTP."),
        (partial(flood, data=b"HTTP/1.1 101 No\r\n", then=b"x: y\r\n"), "no legal HTTP: HTTP/1.1 101 No"),
        (partial(flood, data=b"HTTP/1.1 500 Oops\r\n\r\n", then=b"ugly "), "HTTP 500 Oops: ugly ugly"),
        (
            partial(drip, data=b"HTTP/1.1 101 No\r\n\r\n"),
            "The server's 101 breaks the rules of the handshake: it does not upgrade to WebSocket.",
        ),
    ],
)
async def test_servers_of_another_kind(
    serve: Callable[[trio.SocketStream], Awaitable[None]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever answers, for ever or not at all, is told in words, in time."""
    monkeypatch.setattr(doorway, "BODY_SECONDS", SHORT)
    async with listening(serve) as url:
        assert words in said_in(await refused(url, timeout_seconds=SHORT if serve is silence else 20))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Sec-WebSocket-Accept": "abc"}, "it has a wrong Sec-WebSocket-Accept"),
        ({"Sec-WebSocket-Protocol": "other"}, "another subprotocol than one that was offered"),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, "another extension than one that was offered"),
        ({"Connection": "Upgrade\r\nConnection: keep-alive"}, "headers that a WebSocket library does not take"),
    ],
)
async def test_bad_101(changes: dict[str, str], words: str) -> None:
    """A 101 that breaks the rules is told with the rule."""

    async def nothing(peer: Peer) -> None:
        await trio.sleep_forever()

    def answer(request: object) -> bytes:
        plain = {name: value.partition("\r\n")[0] for name, value in changes.items()}
        head = agreeing(plain)(request)  # type: ignore[arg-type]
        extra = b"".join(value.partition("\r\n")[2].encode() + b"\r\n" for value in changes.values() if "\r" in value)
        return head.replace(b"\r\n\r\n", b"\r\n" + extra + b"\r\n")

    async with upgrading(nothing, answer) as url:
        assert words in said_in(await refused(url))


async def cut(peer: Peer) -> None:
    await peer.send(b"\x82\x7e\x10\x00abc")
    leg.close(peer.sock)


async def zeros(peer: Peer) -> None:
    await peer.send(bytes(4096))
    await trio.sleep_forever()


async def too_much(peer: Peer) -> None:
    await peer.send(b"\x82\x7f" + (1 << 40).to_bytes(8))
    while True:
        await peer.send(bytes(65536))


async def chatter(peer: Peer) -> None:
    while True:
        await peer.send(b"\x82\x01a" * 1000)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (cut, "The connection broke off without a Close"),
        (zeros, "1002, protocol error"),
        (too_much, "sends a message of more than 1048640 bytes"),
        (chatter, "other messages came"),
    ],
)
async def test_servers_that_break_the_session(behave: Callable[[Peer], Awaitable[None]], words: str) -> None:
    """A session that breaks off, or drowns, is told in words, in time."""
    async with upgrading(behave) as url:
        assert words in said_in(await refused(url, timeout_seconds=SHORT if behave is chatter else 20))


# No connection


async def test_nobody_there() -> None:
    """A port without a listener, and a name that nobody has, are told as such."""
    found = await refused(f"ws://127.0.0.1:{free_port()}/")
    assert "connection refused" in found.what
    found = await refused("ws://nobody.invalid/")
    assert "the name nobody.invalid does not resolve" in found.what


async def secured(context: ssl.SSLContext, stream: trio.SocketStream) -> None:
    await trio.SSLStream(stream, context, server_side=True).do_handshake()


async def test_certificates(tmp_path: Path) -> None:
    """A certificate that is not trusted, is over, or is another's is told apart."""
    authority = Authority(tmp_path)
    trusting = tls_context(authority.ca_file)
    for context, tls, words in (
        (authority.server("127.0.0.1"), tls_context(None), "--ca-file"),
        (authority.server("127.0.0.1", expired=True), trusting, "its certificate has expired"),
        (authority.server("other.example"), trusting, "for other names than 127.0.0.1"),
    ):
        async with listening(partial(secured, context)) as url:
            assert words in said_in(await refused(url.replace("ws:", "wss:"), tls=tls))


async def test_tls_to_a_plain_port() -> None:
    """wss:// to a port that speaks plainly, is silent, or hangs up, is told as that."""
    tls = tls_context(None)
    async with house() as there:
        assert "Try ws://" in said_in(await refused(f"wss://127.0.0.1:{there.port}/ws", tls=tls))
    async with listening(silence) as url:
        found = await refused(url.replace("ws:", "wss:"), tls=tls, timeout_seconds=SHORT)
        assert "try ws://" in said_in(found)
    async with listening(hang_up) as url:
        assert "does not speak TLS" in said_in(await refused(url.replace("ws:", "wss:"), tls=tls))
