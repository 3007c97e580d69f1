"""A newer token in a live session, from outside: by AUTH, by a topic, by a message; and what becomes of a bad one."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.house import House, house
from tests.oidc_provider import OidcProvider
from tests.tcp import Peer
from tests.wire.test_mqtt_packets import auth, packet
from trio_ws_gateway.wire.frames import BINARY, PONG, TEXT, build_frame
from trio_ws_gateway.wire.mqtt import Property, connack, disconnect, parse_connect
from trio_ws_gateway.wire.mqtt_fields import binary, string
from trio_ws_gateway.wire.mqtt_packets import auth_success

PROTOCOL = ("Sec-WebSocket-Protocol", "mqtt")
METHOD = (Property.AUTHENTICATION_METHOD, "JWT")
PINGREQ, PINGRESP = b"\xc0\x00", b"\xd0\x00"
TOPIC = {"MQTT_RENEW_TOPIC": "$gateway/renew"}
RAW = {"RAW_RENEW_TYPE": "auth.renew"}
NO_GRACE = {"JWT_EXPIRY_GRACE_SECONDS": "0"}
REFUSED = (1008, "JWT invalid or expired")


@pytest.fixture(autouse=True)
def _together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end as soon as they may."""
    monkeypatch.setattr("trio_ws_gateway.session.ENDS_SPREAD_SECONDS", 0)


def re_auth(token: str, method: bytes = b"JWT") -> bytes:
    return auth(0x19, b"\x15" + binary(method, "method") + b"\x16" + binary(token.encode(), "data"))


def publish(token: str, qos: int = 0, level: int = 4) -> bytes:
    body = string("$gateway/renew", "topic") + (b"\x00\x07" if qos else b"") + b"\x00" * (level == 5)
    return packet(0x30 | qos << 1, body + token.encode())


def message(token: str) -> str:
    return json.dumps({"type": "auth.renew", "token": token})


@asynccontextmanager
async def by_auth(home: House, **claims: Any) -> AsyncIterator[tuple[Peer, Peer]]:  # noqa: ANN401
    """An MQTT 5 session whose CONNECT names the method and holds the token as data; its CONNACK has passed."""
    data = (Property.AUTHENTICATION_DATA, home.provider.mint(**claims).encode())
    connect = home.connect_packet(5, username=None, password=None, properties=(METHOD, data))
    async with home.open(PROTOCOL) as client:
        await client.say(BINARY, connect.to_bytes())
        broker = await home.upstream.next()
        _, _, heard = await broker.hear()
        assert parse_connect(heard).properties == ()
        await broker.say(BINARY, connack(5, 0))
        assert await client.hear() == (BINARY, True, packet(0x20, b"\x00\x00\x06\x15\x00\x03JWT"))
        yield client, broker


@asynccontextmanager
async def by_topic(home: House, level: int = 4, **claims: Any) -> AsyncIterator[tuple[Peer, Peer]]:  # noqa: ANN401
    connect = home.connect_packet(level, password=home.provider.mint(**claims).encode())
    async with home.mqtt(connect) as both:
        yield both


async def still_there(client: Peer, broker: Peer) -> None:
    """Packets pass both ways, and nothing came before them."""
    await client.say(BINARY, PINGREQ)
    assert await broker.hear() == (BINARY, True, PINGREQ)
    await broker.say(BINARY, PINGRESP)
    assert await client.hear() == (BINARY, True, PINGRESP)


def leave(*peers: Peer) -> None:
    for peer in peers:
        peer.end_stream()


async def test_auth_renews() -> None:
    """A session outlives its first token and ends with the newer one; the broker hears nothing of it."""
    async with house(**NO_GRACE) as home:
        first, second = time.time() + 0.4, time.time() + 0.8
        async with by_auth(home, exp=first) as (client, broker):
            await client.say(BINARY, PINGREQ + re_auth(home.provider.mint(exp=second)) + PINGREQ)
            assert await client.hear() == (BINARY, True, auth_success("JWT"))
            for _ in range(2):
                assert await broker.hear() == (BINARY, True, PINGREQ)
            assert await client.hear() == (BINARY, True, disconnect(5, 0x87))
            assert time.time() >= second
            assert await client.hear_close() == (1008, "Token expired")
            assert (await broker.hear_close())[0] == 1001
            leave(client, broker)
        assert (await home.samples())["ws_token_renewals_total"] == 1


async def test_a_newer_token_that_ends_sooner() -> None:
    """The newer token's end counts, even where it is the earlier one."""
    async with house(**NO_GRACE) as home, by_auth(home) as (client, broker):
        await client.say(BINARY, re_auth(home.provider.mint(exp=time.time() + 0.2)))
        assert await client.hear() == (BINARY, True, auth_success("JWT"))
        assert await client.hear() == (BINARY, True, disconnect(5, 0x87))
        assert await client.hear_close() == (1008, "Token expired")
        leave(client, broker)


@pytest.mark.parametrize(
    ("level", "qos", "answers"),
    [
        (3, 0, []),
        (4, 1, [b"\x40\x02\x00\x07"]),
        (4, 2, [b"\x50\x02\x00\x07", b"\x70\x02\x00\x07"]),
        (5, 1, [b"\x40\x02\x00\x07"]),
    ],
)
async def test_publishing_renews(level: int, qos: int, answers: list[bytes]) -> None:
    """In any version a newer token may be published; the gateway acknowledges it, and the broker hears nothing."""
    async with house(**TOPIC) as home:
        async with by_topic(home, level) as (client, broker):
            await client.say(BINARY, publish(home.provider.mint(), qos, level))
            if qos:
                assert await client.hear() == (BINARY, True, answers[0])
            if qos == 2:
                await client.say(BINARY, b"\x62\x02\x00\x07")
                assert await client.hear() == (BINARY, True, answers[1])
            await still_there(client, broker)
            leave(client, broker)
        assert (await home.samples())["ws_token_renewals_total"] == 1


async def test_a_message_renews() -> None:
    """A raw client's message of that form renews, and is answered in kind; all others pass as they came."""
    async with house(**RAW) as home:
        offer = ("Sec-WebSocket-Extensions", "permessage-deflate")
        async with home.knock(offer, token=home.provider.mint()) as (client, answer):
            assert answer.headers.get("sec-websocket-extensions") is None
            upstream = await home.upstream.next()
            renewal = build_frame(TEXT, message(home.provider.mint()).encode(), masked=True)
            text = build_frame(TEXT, b'{"type": "other", "of": "auth.renew"}', masked=True)
            for piece in (text, renewal[:3], renewal[3:50], renewal[50:] + text):
                await client.send(piece)
                await trio.sleep(0.01)
            assert json.loads((await client.hear())[2]) == {"type": "auth.renew", "renewed": True}
            assert await upstream.read(2 * len(text)) == text * 2
            leave(client, upstream)
        assert (await home.samples())["ws_token_renewals_total"] == 1


@pytest.mark.parametrize("how", ["fragments", "binary", "too long", "not JSON", "another type"])
async def test_what_is_no_renewal(how: str) -> None:
    """Fragments, binary messages, long ones and what is not quite that form are data."""
    async with house(**RAW) as home, home.raw() as (client, upstream):
        said = message("x" * 17_000 if how == "too long" else "x").encode()
        said = {"not JSON": said + b"}", "another type": said.replace(b'"type"', b'"kind"')}.get(how, said)
        if how == "fragments":
            await client.say(TEXT, said[:9], fin=False)
            await client.say(0, said[9:])
            assert (await upstream.hear())[2] + (await upstream.hear())[2] == said
        else:
            opcode = BINARY if how == "binary" else TEXT
            await client.say(opcode, said)
            assert await upstream.hear() == (opcode, True, said)
        leave(client, upstream)


def bad_tokens(provider: OidcProvider) -> dict[str, tuple[str, tuple[int, str]]]:
    forger = OidcProvider(issuer=provider.issuer)
    forger.rotate()
    return {
        "expired": (provider.mint(exp=time.time() - 100), REFUSED),
        "forged": (forger.mint({"kid": provider.kid}), REFUSED),
        "another subject": (provider.mint(sub="robot-8"), (1008, "Forbidden")),
        "no token": ("", (1008, "Malformed JWT")),
        "junk": ("\xff\x00", (1008, "Malformed JWT")),
    }


BAD = ("expired", "forged", "another subject", "no token", "junk")


@pytest.mark.parametrize("which", BAD)
async def test_a_bad_token_by_auth(which: str) -> None:
    """A newer token that is not good ends the session with DISCONNECT 0x87, and nothing that followed it passes."""
    async with house() as home, by_auth(home) as (client, broker):
        token, close = bad_tokens(home.provider)[which]
        await client.say(BINARY, re_auth(token) + PINGREQ)
        assert await client.hear() == (BINARY, True, disconnect(5, 0x87))
        assert await client.hear_close() == close
        assert (await broker.hear_close())[0] == 1001
        leave(client, broker)
        assert (await home.last_line("session ended"))["detail"].startswith("renewal: ")
        assert token == "" or token not in home.output
        assert (await home.samples())["ws_token_renewals_total"] == 0


@pytest.mark.parametrize("which", BAD)
async def test_a_bad_token_by_topic_or_message(which: str) -> None:
    """The same ends a session that renews by a topic, whatever its QoS, or by a message: nobody acknowledges it."""
    async with house(**TOPIC, **RAW) as home, by_topic(home) as (client, broker), home.raw() as (raw, backend):
        token, close = bad_tokens(home.provider)[which]
        await client.say(BINARY, publish(token, 1) + PINGREQ)
        assert await client.hear_close() == close
        assert (await broker.hear_close())[0] == 1001
        await raw.say(TEXT, message(token).encode())
        await raw.say(TEXT, b"more")
        assert await raw.hear_close() == close
        assert (await backend.hear_close())[0] == 1001
        leave(client, broker, raw, backend)


async def test_auth_without_a_method() -> None:
    """AUTH without a method, in a session whose CONNECT named ours, is a protocol error."""
    async with house() as home, by_auth(home) as (client, broker):
        await client.say(BINARY, PINGREQ + auth(0x19, b""))
        assert await broker.hear() == (BINARY, True, PINGREQ)
        assert await client.hear() == (BINARY, True, disconnect(5, 0x82))
        assert await client.hear_close() == (1002, "Protocol error")
        leave(client, broker)


@pytest.mark.parametrize("settings", [TOPIC, {"RATE_LIMIT_PACKETS_PER_SECOND": "100"}])
async def test_auth_where_the_connect_named_no_method(settings: dict[str, str]) -> None:
    """Where packets are looked at, AUTH breaks the protocol if the CONNECT named no method; its token goes nowhere."""
    async with house(**settings) as home, by_topic(home, 5) as (client, broker):
        await client.say(BINARY, PINGREQ + re_auth(home.provider.mint()))
        assert await broker.hear() == (BINARY, True, PINGREQ)
        assert await client.hear() == (BINARY, True, disconnect(5, 0x82))
        assert await client.hear_close() == (1002, "Protocol error")
        assert (await broker.hear_close())[0] == 1002
        leave(client, broker)


async def test_foreign_methods() -> None:
    """A method that is not ours passes to the broker, in CONNECT and AUTH, and the broker's answers pass back."""
    properties = ((Property.AUTHENTICATION_METHOD, "SCRAM"), (Property.AUTHENTICATION_DATA, b"nonce"))
    async with house() as home, home.open(PROTOCOL) as client:
        connect = home.connect_packet(5, properties=properties)
        await client.say(BINARY, connect.to_bytes())
        broker = await home.upstream.next()
        assert await broker.hear() == (BINARY, True, connect.to_bytes())
        for said in (auth(0x18, b"\x15\x00\x05SCRAM"), connack(5, 0)):
            await broker.say(BINARY, said)
            assert await client.hear() == (BINARY, True, said)
        await client.say(BINARY, re_auth("whatever", b"SCRAM"))
        assert await broker.hear() == (BINARY, True, re_auth("whatever", b"SCRAM"))
        leave(client, broker)


async def test_the_answer_waits_for_the_end_of_a_packet() -> None:
    """AUTH comes neither before the CONNACK, nor in the midst of what the broker says."""
    async with house() as home, home.open(PROTOCOL) as client:
        token = home.provider.mint()
        connect = home.connect_packet(5, properties=(METHOD,))
        await client.say(BINARY, connect.to_bytes() + re_auth(token))
        broker = await home.upstream.next()
        await broker.hear()
        await client.say(BINARY, PINGREQ)
        assert await broker.hear() == (BINARY, True, PINGREQ)
        half = packet(0x30, b"\x00\x01t\x00" + bytes(30_000))
        await broker.say(BINARY, connack(5, 0))
        named = packet(0x20, b"\x00\x00\x06\x15\x00\x03JWT")
        assert {(await client.hear())[2], (await client.hear())[2]} == {named, auth_success("JWT")}
        await broker.say(BINARY, half[:20_000], fin=False)
        heard = b""
        while len(heard) < 20_000:
            heard += (await client.hear())[2]
        await client.say(BINARY, re_auth(token) + PINGREQ)
        assert await broker.hear() == (BINARY, True, PINGREQ)
        await broker.say(0, half[20_000:])
        while len(heard) < len(half):
            heard += (await client.hear())[2]
        assert heard == half
        assert await client.hear() == (BINARY, True, auth_success("JWT"))
        leave(client, broker)


@pytest.mark.parametrize("level", [4, 5])
async def test_the_acknowledgement_waits_too(level: int) -> None:
    """So does the acknowledgement of a published token, where frames pass as they came."""
    async with house(**TOPIC) as home, by_topic(home, level) as (client, broker):
        said = packet(0x30, b"\x00\x01t" + b"\x00" * (level == 5) + bytes(100))
        await broker.say(BINARY, said[:50])
        await client.hear()
        await client.say(BINARY, publish(home.provider.mint(), 1, level) + PINGREQ)
        assert await broker.hear() == (BINARY, True, PINGREQ)
        whole = build_frame(BINARY, said[50:], masked=False)
        await broker.send(whole[:40])
        await client.read(40)
        await broker.send(whole[40:])
        await client.read(len(whole) - 40)
        assert await client.hear() == (BINARY, True, b"\x40\x02\x00\x07")
        leave(client, broker)


async def test_limits_are_derived_anew() -> None:
    """The rates of the newer token hold from then on."""
    rules = "[{role: premium, rate: unlimited}]"
    settings = {"RATE_LIMIT_PER_SECOND": "0.001", "RATE_LIMIT_BURST": "2", "LIMITS": rules}
    async with house(**settings) as home, by_auth(home) as (client, broker):
        await client.say(BINARY, re_auth(home.provider.mint(roles=["premium"])))
        assert await client.hear() == (BINARY, True, auth_success("JWT"))
        for _ in range(5):
            await client.say(BINARY, PINGREQ)
            assert await broker.hear() == (BINARY, True, PINGREQ)
        leave(client, broker)


async def test_names_are_bound_anew() -> None:
    """A newer token that does not allow the names in use, or makes another user of the broker's, is refused."""
    for settings in (
        {"MQTT_USERNAME_CLAIM": "preferred_username"},
        {"UPSTREAM_MQTT_CREDENTIALS": "{preferred_username}:x"},
    ):
        async with house(**TOPIC, **settings) as home:
            password = home.provider.mint(preferred_username="ann").encode()
            connect = home.connect_packet(4, username="ann", password=password)
            async with home.mqtt(connect) as (client, broker):
                await client.say(BINARY, publish(home.provider.mint(preferred_username="ann"), 1))
                assert await client.hear() == (BINARY, True, b"\x40\x02\x00\x07")
                await client.say(BINARY, publish(home.provider.mint(preferred_username="bob"), 1))
                assert await client.hear_close() == (1008, "Forbidden")
                leave(client, broker)


async def test_roles_that_the_upstream_was_told_of() -> None:
    """A raw upstream cannot be told that a role is gone: a newer token without it is refused; one with more is not."""
    async with house(**RAW) as home, home.open(token=home.provider.mint(roles=["a", "b"])) as client:
        upstream = await home.upstream.next()
        for roles in (["b", "a", "c"], ["a", "b"]):
            await client.say(TEXT, message(home.provider.mint(roles=roles)).encode())
            assert (await client.hear())[0] == TEXT
        await client.say(TEXT, message(home.provider.mint(roles=["a", "c"])).encode())
        assert await client.hear_close() == (1008, "Forbidden")
        leave(client, upstream)


async def test_another_upstream() -> None:
    """An upstream in place of one that was lost is told of the newer token, and of its roles, and holds to these."""
    async with house(**RAW, RAW_RECONNECT="true") as home, home.open(token=home.provider.mint(roles=["a"])) as client:
        first = await home.upstream.next()
        newer = home.provider.mint(roles=["a", "b"])
        await client.say(TEXT, message(newer).encode())
        await client.hear()
        first.end_stream()
        second = await home.upstream.next()
        headers = home.upstream.requests[-1].headers
        assert (headers.get("authorization"), headers.get("x-user-roles")) == (f"Bearer {newer}", "a,b")
        await client.say(TEXT, message(home.provider.mint(roles=["a"])).encode())
        assert await client.hear_close() == (1008, "Forbidden")
        leave(client, second)


async def test_nothing_to_renew() -> None:
    """A client without a token cannot get one in mid-session, and its try never reaches the broker."""
    async with (
        house(**TOPIC, ALLOW_ANONYMOUS="true") as home,
        home.mqtt(home.connect_packet(4, username=None, password=None)) as (client, broker),
    ):
        await client.say(BINARY, publish(home.provider.mint()))
        assert await client.hear_close() == (1008, "Forbidden")
        assert (await broker.hear_close())[0] == 1001
        leave(client, broker)


async def test_renewal_in_a_drain() -> None:
    """A renewal that comes while the gateway drains changes nothing about the end."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="0.5") as home, by_auth(home) as (client, broker):
        home.drain()
        await client.say(BINARY, re_auth(home.provider.mint()))
        assert await client.hear() == (BINARY, True, auth_success("JWT"))
        assert await client.hear() == (BINARY, True, disconnect(5, 0x8B))
        assert (await client.hear_close())[0] == 1012
        leave(client, broker)


async def test_pongs_of_the_client_in_between() -> None:
    """Control frames around a renewal pass in their order."""
    async with house() as home, by_auth(home) as (client, broker):
        await client.send(
            build_frame(PONG, b"1", masked=True)
            + build_frame(BINARY, re_auth(home.provider.mint()), masked=True)
            + build_frame(PONG, b"2", masked=True)
        )
        assert [await broker.hear() for _ in range(2)] == [(PONG, True, b"1"), (PONG, True, b"2")]
        assert await client.hear() == (BINARY, True, auth_success("JWT"))
        leave(client, broker)
