"""One endpoint for every protocol: a client's first words, however they come, and what is wrong with them."""

import pytest
import trio

from tests.house import House, house
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, build_frame
from trio_ws_gateway.wire.mqtt import Connect, connack

PROTOCOL = "Sec-WebSocket-Protocol"
SUBSCRIBE = b"\x82\x06\x00\x01\x00\x01a\x00"


async def heard_payload(peer: Peer, size: int) -> bytes:
    """So many bytes of payload, from however many data frames."""
    payload = b""
    while len(payload) < size:
        opcode, _, more = await peer.hear()
        assert opcode in {CONTINUATION, BINARY, TEXT}
        payload += more
    return payload


async def refused_with(client: Peer, home: House) -> tuple[int, str]:
    """The Close that a client hears, after which there is nothing more, and nothing was dialled."""
    close = await client.hear_close()
    assert await client.read_to_end() == b""
    assert home.upstream.connections == 0
    return close


# What comes through


@pytest.mark.parametrize("offer", [None, "mqtt", "mqttv3.1"])
@pytest.mark.parametrize("level", [3, 4, 5])
async def test_mqtt(level: int, offer: str | None) -> None:
    """MQTT 3.1, 3.1.1 and 5 are recognised with and without an offered subprotocol; the CONNECT passes as it came."""
    async with house() as home, home.open(*([] if offer is None else [(PROTOCOL, offer)])) as client:
        packet = home.connect_packet(level).to_bytes()
        await client.say(BINARY, packet)
        broker = await home.upstream.next()
        assert home.upstream.requests[0].target == "/mqtt"
        assert await broker.hear() == (BINARY, True, packet)
        await broker.say(BINARY, connack(level, 0))
        assert await client.hear() == (BINARY, True, connack(level, 0))
        await client.say(BINARY, SUBSCRIBE)
        assert await broker.hear() == (BINARY, True, SUBSCRIBE)


@pytest.mark.parametrize("offer", [None, "mqtt"])
async def test_connect_in_messages_of_one_byte(offer: str | None) -> None:
    """A CONNECT may come in messages of one byte each."""
    async with house() as home, home.open(*([] if offer is None else [(PROTOCOL, offer)])) as client:
        packet = home.connect_packet(5).to_bytes()
        for byte in packet:
            await client.say(BINARY, bytes([byte]))
        broker = await home.upstream.next()
        assert await heard_payload(broker, len(packet)) == packet


async def test_connect_in_fragments_with_pings_between() -> None:
    """A CONNECT may come in fragments with pings and pongs between: those are answered and never forwarded."""
    async with house() as home, home.open((PROTOCOL, "mqtt")) as client:
        packet = home.connect_packet().to_bytes()
        await client.say(BINARY, packet[:1], fin=False)
        await client.say(PING, b"one")
        assert await client.hear() == (PONG, True, b"one")
        await client.say(CONTINUATION, packet[1:20], fin=False)
        await client.say(PONG, b"unasked")
        await client.say(CONTINUATION, b"", fin=False)
        await client.say(PING, b"two")
        assert await client.hear() == (PONG, True, b"two")
        await client.say(CONTINUATION, packet[20:])
        broker = await home.upstream.next()
        assert await heard_payload(broker, len(packet)) == packet


@pytest.mark.parametrize("credentials", ["pass", "strip"])
async def test_message_that_goes_on_behind_the_connect(credentials: str) -> None:
    """A message whose first fragments are the CONNECT may go on behind it, rewritten or not."""
    async with house(UPSTREAM_MQTT_CREDENTIALS=credentials) as home, home.open((PROTOCOL, "mqtt")) as client:
        connect = home.connect_packet()
        await client.say(BINARY, connect.to_bytes(), fin=False)
        if credentials == "strip":
            connect = Connect(level=4, client_id="c-1")
        broker = await home.upstream.next()
        assert await broker.hear() == (BINARY, False, connect.to_bytes())
        await client.say(CONTINUATION, SUBSCRIBE)
        assert await broker.hear() == (CONTINUATION, True, SUBSCRIBE)


@pytest.mark.parametrize("credentials", ["pass", "strip"])
async def test_packets_in_one_frame(credentials: str) -> None:
    """CONNECT and what follows it may share a message, and part of a packet may be in the next, rewritten or not."""
    async with house(UPSTREAM_MQTT_CREDENTIALS=credentials) as home, home.open((PROTOCOL, "mqtt")) as client:
        connect = home.connect_packet()
        await client.say(BINARY, connect.to_bytes() + SUBSCRIBE + SUBSCRIBE[:3])
        await client.say(BINARY, SUBSCRIBE[3:])
        if credentials == "strip":
            connect = Connect(level=4, client_id="c-1")
        expected = connect.to_bytes() + SUBSCRIBE + SUBSCRIBE
        broker = await home.upstream.next()
        assert await heard_payload(broker, len(expected)) == expected


async def test_frames_in_one_segment() -> None:
    """What a client sends behind its first message, without waiting, passes behind it."""
    async with house() as home, home.open() as client:
        frames = [build_frame(TEXT, text, masked=True) for text in (home.provider.mint().encode(), b"one", b"two")]
        await client.send(b"".join(frames))
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b"one")
        assert await upstream.hear() == (TEXT, True, b"two")


@pytest.mark.parametrize("message", [b"\x10", b"\x10\x0a\x00\x04MQTX", b"\x30\x00", b"", b"\xff"])
async def test_binary_message_that_is_no_mqtt(message: bytes) -> None:
    """A client that offers no MQTT speaks raw as soon as its first words are no CONNECT, whatever they begin with."""
    async with (
        house(ALLOW_ANONYMOUS="true") as home,
        home.open((PROTOCOL, "chat")) as client,
    ):
        await client.say(BINARY, message)
        await client.say(BINARY, b"hello")
        upstream = await home.upstream.next()
        assert home.upstream.requests[0].target == "/raw"
        assert await upstream.hear() == (BINARY, True, message)
        assert await upstream.hear() == (BINARY, True, b"hello")


async def test_empty_first_message() -> None:
    """An empty first message, text or binary, is forwarded without waiting for a second one."""
    for opcode in (TEXT, BINARY):
        async with house(ALLOW_ANONYMOUS="true") as home, home.open() as client:
            await client.say(opcode, b"")
            upstream = await home.upstream.next()
            assert await upstream.hear() == (opcode, True, b"")


async def test_connect_behind_an_early_token_is_data() -> None:
    """A client with an early token that offers no MQTT speaks raw, even if it says a CONNECT."""
    async with house() as home, home.raw() as (client, upstream):
        packet = home.connect_packet().to_bytes()
        await client.say(BINARY, packet)
        assert await upstream.hear() == (BINARY, True, packet)
        assert home.upstream.requests[0].target == "/raw"


# What is answered here


async def test_ping_before_the_first_message() -> None:
    """A ping before the first message is answered with its payload, and never forwarded."""
    async with house() as home, home.open() as client:
        await client.say(PING, b"are you there")
        assert await client.hear() == (PONG, True, b"are you there")
        await client.say(TEXT, home.provider.mint().encode())
        await client.say(TEXT, b"hello")
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b"hello")


@pytest.mark.parametrize(("code", "reason", "answer"), [(1000, "", 1000), (1001, "bye", 1001), (4000, "x" * 100, 4000)])
async def test_close_before_the_first_message(code: int, reason: str, answer: int) -> None:
    """A Close before the first message is answered with its code, and nothing is dialled."""
    async with house() as home, home.open() as client:
        await client.say_close(code, reason)
        assert await refused_with(client, home) == (answer, "")
        assert (await home.end())["cause"] == "closed_by_client"


async def test_close_without_a_code() -> None:
    """A Close without a code is answered with one without a code."""
    async with house() as home, home.open() as client:
        await client.say(CLOSE)
        assert await refused_with(client, home) == (1005, "")


@pytest.mark.parametrize(
    "payload",
    [b"\x03", b"\x00\x00", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x0b\xb7", b"\x13\x88", b"\x03\xe8caf\xe9"],
)
async def test_close_with_an_illegal_code_or_reason(payload: bytes) -> None:
    """Half a code, one that must not be sent, or a reason that is not UTF-8 is a protocol error, and not answered with
    the same."""
    async with house() as home, home.open() as client:
        await client.say(CLOSE, payload)
        assert await refused_with(client, home) == (1002, "Protocol error")


@pytest.mark.parametrize("reset", [False, True])
async def test_client_that_leaves_before_its_first_message(*, reset: bool) -> None:
    """A client that leaves without a Close before its first message is lost, and nothing is dialled."""
    async with house() as home, home.open() as client:
        await client.say(TEXT, b"half", fin=False)
        if reset:
            client.reset()
        else:
            client.end_stream()
        assert (await home.end())["cause"] == "client_lost"
        assert home.upstream.connections == 0


# What is refused


@pytest.mark.parametrize(("opcode", "offer"), [(TEXT, "chat"), (BINARY, "mqtt")])
async def test_first_message_that_announces_too_much(opcode: int, offer: str) -> None:
    """A first message whose header announces too much is refused before any of it has come."""
    async with house(WS_FIRST_MESSAGE_MAX_BYTES="100") as home, home.open((PROTOCOL, offer)) as client:
        await client.send(build_frame(opcode, bytes(101), masked=True)[:6])
        assert await refused_with(client, home) == (1009, "Message too big")


async def test_first_message_that_grows_too_big() -> None:
    """The limit holds for all fragments of a first message together."""
    async with house(WS_FIRST_MESSAGE_MAX_BYTES="100") as home, home.open() as client:
        await client.say(TEXT, bytes(60), fin=False)
        await client.say(CONTINUATION, bytes(60), fin=False)
        assert await refused_with(client, home) == (1009, "Message too big")


async def test_connect_that_announces_too_much() -> None:
    """A CONNECT whose own length is beyond the limit is refused as soon as it says so."""
    async with house(WS_FIRST_MESSAGE_MAX_BYTES="100") as home, home.open((PROTOCOL, "mqtt")) as client:
        await client.say(BINARY, b"\x10\xff\x7f")
        assert await refused_with(client, home) == (1009, "Message too big")


async def test_empty_fragments_without_end() -> None:
    """A first message of nothing but empty fragments is refused before it fills the memory."""
    async with house(WS_FIRST_MESSAGE_MAX_BYTES="100") as home, home.open() as client:
        empty = build_frame(CONTINUATION, fin=False, masked=True)
        await client.say(TEXT, fin=False)
        await client.send(empty * 30_000)
        assert await refused_with(client, home) == (1009, "Message too big")


async def test_client_that_says_nothing() -> None:
    """A client that says nothing is closed when WS_AUTH_TIMEOUT_SECONDS are over."""
    async with house(WS_AUTH_TIMEOUT_SECONDS="0.05") as home, home.open() as client:
        assert await refused_with(client, home) == (1008, "Authentication timeout")


@pytest.mark.parametrize("offer", ["chat", "mqtt"])
async def test_client_that_trickles(offer: str) -> None:
    """There is one deadline for all of the first message: bytes and pings that trickle do not extend it."""
    async with house(WS_AUTH_TIMEOUT_SECONDS="0.2") as home, home.open((PROTOCOL, offer)) as client:
        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def trickle() -> None:
                packet = home.connect_packet().to_bytes()
                await client.say(BINARY, packet[:1], fin=False)
                for byte in packet[1:]:
                    await client.say(CONTINUATION, bytes([byte]), fin=False)
                    await client.say(PING)
                    await trio.sleep(0.02)

            nursery.start_soon(trickle)
            while (frame := await client.hear()) == (PONG, True, b""):
                pass
            nursery.cancel_scope.cancel()
        assert frame == (CLOSE, True, b"\x03\xf0Authentication timeout")
        assert 0.15 < trio.current_time() - began_at < 2


@pytest.mark.parametrize(
    "frames",
    [
        build_frame(TEXT, b"unmasked", masked=False),
        b"\xc1\x80" + bytes(4),  # RSV1
        b"\xa1\x80" + bytes(4),  # RSV2
        b"\x83\x80" + bytes(4),  # a reserved opcode
        b"\x8b\x80" + bytes(4),  # a reserved control opcode
        build_frame(CONTINUATION, b"of nothing", masked=True),
        build_frame(TEXT, b"a", fin=False, masked=True) + build_frame(TEXT, b"b", masked=True),
        build_frame(PING, b"in two", fin=False, masked=True),
        b"\x89\xfe\x00\x7e" + bytes(4 + 126),  # a ping of 126 bytes
        b"\x81\xff\xff" + bytes(11),  # a length of 64 bits with the highest one set
    ],
    ids=range(10),
)
async def test_illegal_frame_before_the_first_message(frames: bytes) -> None:
    """A frame that RFC 6455 forbids is answered with 1002, before the first message as in it."""
    async with house() as home, home.open() as client:
        await client.send(frames)
        assert await refused_with(client, home) == (1002, "Protocol error")


@pytest.mark.parametrize(
    ("opcode", "message", "words", "reason"),
    [
        (TEXT, b"\x10", b"", "Bad CONNECT"),
        (BINARY, b"\x82\x00", b"", "Bad CONNECT"),  # SUBSCRIBE first
        (BINARY, b"\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00", b"", "Bad CONNECT"),
        (BINARY, b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", b"", "Bad CONNECT"),  # the reserved flag
        (BINARY, b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00", connack(5, 0x81), "Bad CONNECT"),
        (BINARY, b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", connack(4, 0x02), "Bad CONNECT"),  # no client id
        (BINARY, b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00", connack(5, 0x84), "Unsupported protocol version"),
        (BINARY, b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", connack(4, 0x01), "Unsupported protocol version"),
    ],
)
async def test_bad_connect(opcode: int, message: bytes, words: bytes, reason: str) -> None:
    """A client that offers MQTT and says no proper CONNECT is closed with 1002, if possible after a CONNACK."""
    async with house() as home, home.open((PROTOCOL, "mqtt")) as client:
        await client.say(opcode, message)
        if words:
            assert await client.hear() == (BINARY, True, words)
        assert await refused_with(client, home) == (1002, reason)
