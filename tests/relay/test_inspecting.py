"""A relay that looks at packets: they pass as they are, in other frames, and as many as may."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.relay.test_relay import CONNACK_5, TERMS, driver, made, mqtt, relaying, tls_contexts
from tests.tcp import Peer
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.rates import Rate
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.relay.answering import Authorised
from trio_ws_gateway.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT, build_frame
from trio_ws_gateway.wire.mqtt import connack, disconnect

__all__ = ["driver", "tls_contexts"]  # fixtures: all holds whoever drives the pumps

PLENTY = Rate(1e6, 10**6)
PINGREQ = b"\xc0\x00"


def publish(payload: bytes) -> bytes:
    assert len(payload) < 120
    return bytes([0x30, 3 + len(payload)]) + b"\x00\x01t" + payload


async def packets(peer: Peer, size: int) -> bytes:
    """So many bytes of packets, in whatever data frames they come."""
    heard = b""
    while len(heard) < size:
        opcode, _, payload = await peer.hear()
        assert opcode < 8
        heard += payload
    return heard


async def test_packets_pass() -> None:
    """Packets arrive as they were in whole messages, pings and pongs between them; the other direction is as ever."""
    async with relaying(greeting=mqtt(4), budget=made(packets=PLENTY)) as ends:
        sent = [publish(b"%d" % number) for number in range(3)]
        stream = b"".join(sent)
        await ends.client.say(BINARY, stream[:5])
        await ends.client.say(PING, b"?")
        assert await ends.upstream.hear() == (PING, True, b"?")
        await ends.client.say(BINARY, stream[5:], fin=True)
        assert await packets(ends.upstream, len(stream)) == stream
        answer = build_frame(BINARY, connack(4, 0), masked=False) + build_frame(PONG, b"?", masked=False)
        await ends.upstream.send(answer)
        assert await ends.client.read(len(answer)) == answer
        assert ends.relay.counts["messages_from_client"] == 2
        await ends.client.say_close()
        assert (await ends.upstream.hear_close())[0] == 1000
        ends.upstream.end_stream()
        ends.client.end_stream()
    assert ends.relay.cause is Cause.CLOSED_BY_CLIENT


async def test_a_long_packet_through_a_slow_upstream() -> None:
    """A packet of megabytes in messages of all sizes arrives, however little the upstream takes at a time."""
    body = bytes(at * 7 % 256 for at in range(1 << 20)) * 4
    stream = PINGREQ + b"\x30\x80\x80\x80\x02" + body + PINGREQ
    async with relaying(greeting=mqtt(4), budget=made(packets=PLENTY)) as ends, trio.open_nursery() as nursery:

        async def talk() -> None:
            at, size = 0, 1
            while at < len(stream):
                await ends.client.say(BINARY, stream[at : at + size])
                at, size = at + size, size * 3 % 1_000_003

        nursery.start_soon(talk)
        await wait_all_tasks_blocked()
        assert await packets(ends.upstream, len(stream)) == stream
        ends.client.end_stream()


async def test_a_ping_of_ours_in_a_long_packet() -> None:
    """Our own ping needs no end of a packet, nor of a frame of the client's."""
    async with relaying(greeting=mqtt(4), budget=made(packets=PLENTY)) as ends:
        frame = build_frame(BINARY, b"\x30\xff\xff\x7f" + bytes(100_000), masked=True)
        await ends.client.send(frame[:50_000])
        await packets(ends.upstream, 49_000)
        await wait_all_tasks_blocked()
        ends.relay.upstream.ping()
        assert (await ends.upstream.hear())[0] == PING
        ends.relay.client.ping()
        _, _, asked = await ends.client.hear()
        await ends.client.send(frame[50_000:])
        await ends.client.say(PONG, asked)
        assert len(await packets(ends.upstream, 100_004 - 49_986)) >= 50_000
        ends.client.end_stream()


async def test_packets_beyond_the_limit() -> None:
    """Thousands of packets in one message are counted one by one: what was granted arrives, the next is never begun."""
    async with relaying(greeting=mqtt(5), budget=made(packets=Rate(0.001, 5))) as ends:
        await ends.upstream.say(BINARY, CONNACK_5)
        await ends.client.hear()
        sent = [mqtt(5).connect.to_bytes(), *(publish(b"%d" % number) for number in range(2000))]
        await ends.client.say(BINARY, b"".join(sent))
        granted = b"".join(sent[:6])
        assert await packets(ends.upstream, len(granted)) == granted
        assert await ends.client.hear() == (BINARY, True, disconnect(5, 0x96))
        assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
        assert (await ends.upstream.hear_close())[0] == 1001
        ends.client.end_stream()
        ends.upstream.end_stream()
    assert (ends.relay.cause, ends.relay.detail) == (Cause.RATE_LIMITED, "packets")


async def test_an_opening_full_of_packets() -> None:
    """What comes in one message with the CONNECT that carries the token is free as a message, and not as packets."""
    sent = [mqtt(4).connect.to_bytes(), *(publish(b"%d" % number) for number in range(50))]
    opening = build_frame(BINARY, b"".join(sent), masked=True)
    async with relaying(greeting=mqtt(4), budget=made(packets=Rate(0.001, 3)), opening=opening) as ends:
        granted = b"".join(sent[:4])
        assert await packets(ends.upstream, len(granted)) == granted
        assert await ends.client.hear_close() == (1008, "Rate limit exceeded")
        assert (await ends.upstream.hear_close())[0] == 1001
        ends.client.end_stream()
        ends.upstream.end_stream()


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_pause_loses_no_packet(ahead: bool) -> None:
    """Beyond a limit that pauses the client is not read until tokens return; then every packet passes, in order, and
    so does what is no packet."""
    sent = [mqtt(4).connect.to_bytes(), *(publish(b"%d" % number * 20) for number in range(60))]
    stream = b"".join(sent)
    wire = build_frame(BINARY, stream[:777], masked=True, fin=False) + build_frame(PING, b"?", masked=True)
    wire += build_frame(0, stream[777:], masked=True) + build_frame(PING, b"!", masked=True)
    began_at = trio.current_time()
    budget = made(packets=Rate(200, 5, pauses=True), messages=PLENTY)
    opening = wire if ahead else b""
    async with relaying(greeting=mqtt(4), budget=budget, opening=opening) as ends:
        if not ahead:
            await ends.client.send(wire)
        heard, pings = b"", list[bytes]()
        while len(pings) < 2:
            opcode, _, payload = await ends.upstream.hear()
            if opcode == PING:
                pings.append(payload)
            else:
                heard += payload
        assert (heard, pings) == (stream, [b"?", b"!"])
        assert trio.current_time() - began_at >= 55 / 200
        await ends.client.say(BINARY, PINGREQ)
        assert await packets(ends.upstream, 2) == PINGREQ
        ends.client.end_stream()
    assert ends.relay.cause is Cause.CLIENT_LOST


async def test_the_end_in_a_pause() -> None:
    """A session that ends while its client is paused ends well, and nothing that was refused is begun."""
    async with relaying(greeting=mqtt(5), budget=made(packets=Rate(0.001, 1, pauses=True))) as ends:
        await ends.client.send(build_frame(BINARY, mqtt(5).connect.to_bytes() + publish(b"m") * 300, masked=True))
        await packets(ends.upstream, len(mqtt(5).connect.to_bytes() + publish(b"m")))
        await wait_all_tasks_blocked()
        ends.relay.upstream.ping()
        assert (await ends.upstream.hear())[0] == PING
        ends.relay.end(Cause.DRAINING)
        assert (await ends.upstream.hear_close())[0] == 1001
        assert await ends.client.hear() == (BINARY, True, connack(5, 0x88))
        assert (await ends.client.hear_close())[0] == 1012
        ends.client.end_stream()
        ends.upstream.end_stream()


@pytest.mark.parametrize("trickles", [False, True])
async def test_a_goodbye_in_a_long_packet(trickles: bool) -> None:
    """The DISCONNECT that keeps a will waits for the end of a packet that is half passed, and for no other; a packet
    that does not end in time is cut off."""
    async with relaying(greeting=mqtt(4, will=True), budget=made(packets=PLENTY)) as ends:
        long = b"\x30\xb0\xea\x01" + bytes(30_000)
        rest = long[-10_000:] + publish(b"never")
        await ends.client.say(BINARY, PINGREQ + long[:-10_000])
        await packets(ends.upstream, 20_006)
        ends.relay.end(Cause.DRAINING)
        await wait_all_tasks_blocked()
        if trickles:
            await ends.client.say(BINARY, rest[:-20])
        else:
            await ends.client.say(BINARY, rest)
            assert await packets(ends.upstream, 10_002) == long[-10_000:] + disconnect(4)
        code, _ = await ends.upstream.hear_close() if not trickles else (None, await ends.upstream.read_to_end())
        assert code in {1001, None}
        ends.client.end_stream()
        if not trickles:
            ends.upstream.end_stream()


@pytest.mark.parametrize(
    ("opcode", "said", "detail"),
    [
        (TEXT, PINGREQ, "a text message where there must be none"),
        (BINARY, b"\x30\xff\xff\xff\xff\x01", "MQTT: length has more than four bytes"),
    ],
)
async def test_what_is_no_mqtt(opcode: int, said: bytes, detail: str) -> None:
    """What cannot be MQTT ends the session, and nothing of it passes."""
    async with relaying(greeting=mqtt(4), budget=made(packets=PLENTY)) as ends:
        await ends.client.send(build_frame(BINARY, PINGREQ, masked=True) + build_frame(opcode, said, masked=True))
        assert await packets(ends.upstream, 2) == PINGREQ
        assert await ends.client.hear_close() == (1002, "Protocol error")
        assert (await ends.upstream.hear_close())[0] == 1002
        ends.client.end_stream()
        ends.upstream.end_stream()
    assert (ends.relay.cause, ends.relay.detail) == (Cause.ILLEGAL_FRAME, f"from the client: {detail}")


async def test_held_bytes() -> None:
    """A packet that waits for its end counts as held; one that nobody ends is dropped with its client."""
    async with relaying(TERMS, greeting=mqtt(4), budget=made(packets=PLENTY)) as ends:
        await ends.client.say(BINARY, publish(bytes(100))[:60])
        await wait_all_tasks_blocked()
        while ends.relay.to_upstream.bytes_held != 60:
            await trio.sleep(0.001)
        ends.client.end_stream()
        assert await ends.upstream.read_to_end() == b""


RE_AUTH = b"\xf0\x12\x19\x10\x15\x00\x03JWT\x16\x00\x07a token"
AUTHENTICATED = b"\xf0\x08\x00\x06\x15\x00\x03JWT"
AUTHORISED = Authorised(token_ends_at=math.inf, budget=None, budget_to_client=None)


class Office:
    """Where tokens are renewed: one that was brought waits until it is ``done``."""

    def __init__(self, refusal: Refused | None = None) -> None:
        self.brought: list[str] = []
        self.done = trio.Event()
        self._refusal = refusal

    async def authorise(self, token: str) -> Authorised:
        self.brought.append(token)
        await self.done.wait()
        if self._refusal is not None:
            raise self._refusal
        return AUTHORISED


@pytest.mark.parametrize("behind", [False, True])
async def test_what_follows_waits_for_the_answer(behind: bool) -> None:
    """While a token is looked at nothing more of the client's passes, in whatever frames it comes; pings of ours do,
    and so does what the upstream says."""
    office = Office()
    async with relaying(greeting=mqtt(5, method=True), authorise=office.authorise) as ends:
        await ends.upstream.say(BINARY, CONNACK_5)
        assert (await ends.client.hear())[2] == b"\x20\x09\x00\x00\x06\x15\x00\x03JWT"
        stream = PINGREQ + RE_AUTH + publish(b"m") * 100
        if behind:
            await ends.client.send(build_frame(BINARY, stream, masked=True))
        else:
            for at in range(0, len(stream), 7):
                await ends.client.say(BINARY, stream[at : at + 7])
        assert await packets(ends.upstream, 2) == PINGREQ
        await wait_all_tasks_blocked()
        assert office.brought == ["a token"]
        ends.relay.upstream.ping()
        assert (await ends.upstream.hear())[0] == PING
        await ends.upstream.say(BINARY, publish(b"down"))
        assert await packets(ends.client, len(publish(b"down"))) == publish(b"down")
        office.done.set()
        assert await ends.client.hear() == (BINARY, True, AUTHENTICATED)
        assert await packets(ends.upstream, len(publish(b"m") * 100)) == publish(b"m") * 100
        ends.client.end_stream()
    assert ends.relay.cause is Cause.CLIENT_LOST


@pytest.mark.parametrize("together", [False, True])
async def test_frames_of_the_broker_pass_as_they_came(together: bool) -> None:
    """Behind its CONNACK, once a message has ended, what the broker says passes byte for byte; words of ours wait for
    the end of its packets all the same."""
    office = Office()
    office.done.set()
    async with relaying(greeting=mqtt(5, method=True), authorise=office.authorise) as ends:
        half = publish(bytes(100))[:50]
        welcome = build_frame(BINARY, CONNACK_5 + half * together, masked=False, fin=not together)
        rest = build_frame(CONTINUATION, publish(bytes(100))[50:], masked=False) if together else b""
        await ends.upstream.send(welcome)
        named = b"\x20\x09\x00\x00\x06\x15\x00\x03JWT"
        assert await packets(ends.client, len(named)) == named
        await ends.upstream.send(rest)
        if together:
            assert await packets(ends.client, len(publish(bytes(100)))) == publish(bytes(100))
        wire = build_frame(BINARY, half[:1], masked=False, fin=False) + build_frame(PING, b"?", masked=False)
        wire += build_frame(CONTINUATION, half[1:], masked=False)
        await ends.upstream.send(wire)
        assert await ends.client.read(len(wire)) == wire
        await ends.client.say(BINARY, RE_AUTH + PINGREQ)
        assert await packets(ends.upstream, 2) == PINGREQ
        wire = build_frame(BINARY, publish(bytes(100))[50:], masked=False)
        await ends.upstream.send(wire)
        assert await ends.client.read(len(wire)) == wire
        assert await ends.client.hear() == (BINARY, True, AUTHENTICATED)
        wire = b"".join(build_frame(BINARY, publish(b"m"), masked=False) for _ in range(3000))
        await ends.upstream.send(wire)
        assert await ends.client.read(len(wire)) == wire
        ends.client.end_stream()


async def test_nothing_passes_behind_a_refusal() -> None:
    """A token that is refused ends the session; of what came behind it nothing passes."""
    office = Office(Refused(Cause.INVALID_TOKEN, "expired"))
    office.done.set()
    async with relaying(greeting=mqtt(5, method=True), authorise=office.authorise) as ends:
        await ends.upstream.say(BINARY, CONNACK_5)
        await ends.client.hear()
        await ends.client.say(BINARY, RE_AUTH + publish(b"m") * 5000)
        assert await ends.client.hear() == (BINARY, True, disconnect(5, 0x87))
        assert await ends.client.hear_close() == (1008, "JWT invalid or expired")
        assert (await ends.upstream.hear_close())[0] == 1001
        ends.client.end_stream()
        ends.upstream.end_stream()
    assert (ends.relay.cause, ends.relay.detail) == (Cause.INVALID_TOKEN, "renewal: expired")


async def test_answers_that_find_no_place() -> None:
    """A client that asks on and on while no answer can be said, because the broker has not ended a packet, is cut."""
    office = Office()
    office.done.set()
    async with relaying(greeting=mqtt(5, method=True), authorise=office.authorise) as ends:
        await ends.upstream.say(BINARY, CONNACK_5)
        await ends.client.hear()
        await ends.upstream.say(BINARY, publish(bytes(100))[:50])
        await packets(ends.client, 50)
        await ends.client.say(BINARY, RE_AUTH * 2000)
        assert (await ends.client.hear_close())[1] == "Too slow"
        ends.client.end_stream()
        ends.upstream.end_stream()
    assert ends.relay.cause is Cause.TOO_SLOW
    assert len(office.brought) < 500


async def test_the_end_while_a_token_is_looked_at() -> None:
    """A session that ends meanwhile ends as ever."""
    office = Office()
    async with relaying(greeting=mqtt(5, method=True), authorise=office.authorise) as ends:
        await ends.upstream.say(BINARY, CONNACK_5)
        await ends.client.hear()
        await ends.client.say(BINARY, RE_AUTH + PINGREQ)
        await wait_all_tasks_blocked()
        ends.relay.end(Cause.TOKEN_EXPIRED)
        assert await ends.client.hear() == (BINARY, True, disconnect(5, 0x87))
        assert await ends.client.hear_close() == (1008, "Token expired")
        assert (await ends.upstream.hear_close())[0] == 1001
        ends.client.end_stream()
        ends.upstream.end_stream()


async def test_a_raw_message_for_the_gateway() -> None:
    """A message for the gateway is cut out, wherever reads cut it; all else passes byte for byte, in its order."""
    office = Office()
    office.done.set()
    greeting = RawGreeting(renewal_type="renew")
    renewal = build_frame(TEXT, b'{"type": "renew", "token": "a token"}', masked=True)
    other = build_frame(TEXT, b'{"type": "else"}', masked=True) * 3 + build_frame(BINARY, b"renew", masked=True)
    async with relaying(greeting=greeting, authorise=office.authorise) as ends:
        for cut in range(len(renewal) + 1):
            await ends.client.send(other + renewal[:cut])
            assert await ends.upstream.read(len(other)) == other
            await ends.client.send(renewal[cut:] + other)
            assert await ends.client.hear() == (TEXT, True, b'{"type": "renew", "renewed": true}')
            assert await ends.upstream.read(len(other)) == other
        await ends.upstream.say(TEXT, b"half of", fin=False)
        await ends.client.hear()
        await ends.client.send(renewal)
        await wait_all_tasks_blocked()
        await ends.upstream.say(CONTINUATION, b" a message")
        assert await ends.client.hear() == (CONTINUATION, True, b" a message")
        assert (await ends.client.hear())[0] == TEXT
        ends.client.end_stream()
    assert len(office.brought) == len(renewal) + 2
