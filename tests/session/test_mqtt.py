"""MQTT sessions: what the broker is shown of a client, whose names it may bear, and how both hear that it is over."""

from functools import partial

import pytest

from tests.house import house
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, CLOSE
from trio_ws_gateway.wire.mqtt import Connect, Property, Will, connack, disconnect, parse_connect

PROTOCOL = "Sec-WebSocket-Protocol"
WILL = Will(topic="gone", payload=b"\x00\xff", qos=1, retain=True)
PUBLISH = b"\x30\x06\x00\x01a\x00\x00\x00"


def lose(peer: Peer, *, reset: bool) -> None:
    if reset:
        peer.reset()
    else:
        peer.end_stream()


async def is_dropped(peer: Peer) -> bool:
    """Whether the connection ends without another word."""
    return await peer.read_to_end() == b""


# Credentials for the broker


async def test_credentials_that_pass() -> None:
    """With ``pass`` the broker gets user name and password as they came."""
    async with house(UPSTREAM_MQTT_CREDENTIALS="pass") as home, home.open((PROTOCOL, "mqtt")) as client:
        packet = home.connect_packet(will=WILL).to_bytes()
        await client.say(BINARY, packet)
        broker = await home.upstream.next()
        assert await broker.hear() == (BINARY, True, packet)


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize(
    ("setting", "username", "password"),
    [
        ("strip", None, None),
        ("gateway:secret", "gateway", b"secret"),
        ("{sub}:{preferred_username}:x", "robot-7", b"Seven:x"),
        ("{preferred_username}:", "Seven", b""),
    ],
)
async def test_credentials_that_are_replaced(
    level: int, setting: str, username: str | None, password: bytes | None
) -> None:
    """With ``strip`` or ``user:password`` the CONNECT is rebuilt, and all but user name and password is unchanged."""
    async with house(UPSTREAM_MQTT_CREDENTIALS=setting) as home, home.open((PROTOCOL, "mqtt")) as client:
        token = home.provider.mint(preferred_username="Seven").encode()
        properties = ((Property.SESSION_EXPIRY_INTERVAL, 9), (Property.USER_PROPERTY, ("a", "b"))) if level == 5 else ()
        connect = partial(
            Connect, level=level, client_id="c", will=WILL, keep_alive=77, clean_start=False, properties=properties
        )
        await client.say(BINARY, connect(username="u", password=token).to_bytes())
        broker = await home.upstream.next()
        opcode, fin, packet = await broker.hear()
        assert (opcode, fin) == (BINARY, True)
        assert parse_connect(packet) == connect(username=username, password=password)


@pytest.mark.parametrize("setting", ["{preferred_username}:x", "x:{preferred_username}"])
async def test_credentials_of_a_claim_that_is_missing(setting: str) -> None:
    """A token without the claim that the credentials need is forbidden; nothing is dialled."""
    async with house(UPSTREAM_MQTT_CREDENTIALS=setting) as home, home.open((PROTOCOL, "mqtt")) as client:
        await client.say(BINARY, home.connect_packet().to_bytes())
        assert await client.hear() == (BINARY, True, connack(4, 0x05))
        assert await client.hear_close() == (1008, "Forbidden")
        assert home.upstream.connections == 0


async def test_credentials_that_no_connect_can_say() -> None:
    """A claim that makes a user name longer than MQTT's is forbidden, and nothing is dialled."""
    async with house(UPSTREAM_MQTT_CREDENTIALS=80 * "{sub}" + ":x") as home, home.open((PROTOCOL, "mqtt")) as client:
        packet = home.connect_packet(password=home.provider.mint(sub=1000 * "a").encode())
        await client.say(BINARY, packet.to_bytes())
        assert await client.hear() == (BINARY, True, connack(4, 0x05))
        assert await client.hear_close() == (1008, "Forbidden")
        assert home.upstream.connections == 0


# Whose names


@pytest.mark.parametrize(
    ("settings", "fields", "allowed"),
    [
        ({"MQTT_USERNAME_CLAIM": "sub"}, {"username": "robot-7"}, True),
        ({"MQTT_USERNAME_CLAIM": "sub"}, {"username": "robot-8"}, False),
        ({"MQTT_USERNAME_CLAIM": "sub"}, {"username": "Robot-7"}, False),
        ({"MQTT_USERNAME_CLAIM": "sub"}, {"username": ""}, False),
        ({"MQTT_USERNAME_CLAIM": "preferred_username"}, {"username": "Seven"}, True),
        ({"MQTT_USERNAME_CLAIM": "preferred_username"}, {"username": "robot-7"}, False),
        ({"MQTT_CLIENT_ID_PREFIX": "{sub}"}, {"client_id": "robot-7"}, True),
        ({"MQTT_CLIENT_ID_PREFIX": "{sub}"}, {"client_id": "robot-7/left-arm"}, True),
        ({"MQTT_CLIENT_ID_PREFIX": "{sub}"}, {"client_id": "robot-77"}, False),
        ({"MQTT_CLIENT_ID_PREFIX": "{sub}"}, {"client_id": ""}, False),
        ({"MQTT_CLIENT_ID_PREFIX": "fleet-{preferred_username}-"}, {"client_id": "fleet-Seven-1"}, True),
        ({"MQTT_CLIENT_ID_PREFIX": "fleet-{preferred_username}-"}, {"client_id": "fleet-Eight-1"}, False),
    ],
)
@pytest.mark.parametrize("level", [4, 5])
async def test_binding(level: int, settings: dict[str, str], fields: dict[str, str], *, allowed: bool) -> None:
    """A client bears the names of its own token; another one's is a CONNACK that forbids it, then 1008 Forbidden."""
    async with house(**settings) as home, home.open((PROTOCOL, "mqtt")) as client:
        token = home.provider.mint(preferred_username="Seven").encode()
        await client.say(BINARY, home.connect_packet(level, password=token, **fields).to_bytes())
        if allowed:
            await home.upstream.next()
            return
        assert await client.hear() == (BINARY, True, connack(level, 0x87 if level == 5 else 0x05))
        assert await client.hear_close() == (1008, "Forbidden")
        assert home.upstream.connections == 0


async def test_binding_without_a_user_name() -> None:
    """A bound client may do without a user name."""
    async with (
        house(MQTT_USERNAME_CLAIM="sub") as home,
        home.open((PROTOCOL, "mqtt"), token=home.provider.mint()) as client,
    ):
        await client.say(BINARY, Connect(level=4, client_id="c-1").to_bytes())
        await home.upstream.next()


# How it ends


@pytest.mark.parametrize(("level", "code"), [(3, 0x03), (4, 0x03), (5, 0x88)])
@pytest.mark.parametrize("reset", [False, True])
async def test_broker_that_is_lost_before_its_connack(level: int, code: int, *, reset: bool) -> None:
    """A broker that is lost before its CONNACK: the client gets one that says so, then 1011."""
    async with (
        house(WS_CONTROL_TIMEOUT_SECONDS="0.1") as home,
        home.mqtt(home.connect_packet(level), welcomed=False) as (client, broker),
    ):
        lose(broker, reset=reset)
        assert await client.hear() == (BINARY, True, connack(level, code))
        assert await client.hear_close() == (1011, "Upstream connection lost")


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("reset", [False, True])
async def test_broker_that_is_lost_in_mid_session(level: int, *, reset: bool) -> None:
    """A broker that is lost after its CONNACK: an MQTT 5 client gets DISCONNECT 0x80, then every client 1011."""
    async with (
        house(WS_CONTROL_TIMEOUT_SECONDS="0.1") as home,
        home.mqtt(home.connect_packet(level)) as (client, broker),
    ):
        lose(broker, reset=reset)
        if level == 5:
            assert await client.hear() == (BINARY, True, disconnect(5, 0x80))
        assert await client.hear_close() == (1011, "Upstream connection lost")


async def test_broker_that_is_lost_with_something_said() -> None:
    """What the broker said before it was lost reaches the client first."""
    async with house() as home, home.mqtt(home.connect_packet(5)) as (client, broker):
        await broker.say(BINARY, PUBLISH)
        broker.end_stream()
        assert await client.hear() == (BINARY, True, PUBLISH)
        assert await client.hear() == (BINARY, True, disconnect(5, 0x80))


async def test_broker_that_is_lost_within_a_packet() -> None:
    """Where the broker is lost in the middle of a packet, there is no place for a DISCONNECT: only 1011."""
    async with house() as home, home.mqtt(home.connect_packet(5)) as (client, broker):
        await broker.say(BINARY, PUBLISH[:4])
        broker.end_stream()
        assert await client.hear() == (BINARY, True, PUBLISH[:4])
        assert await client.hear_close() == (1011, "Upstream connection lost")


@pytest.mark.parametrize("level", [4, 5])
async def test_broker_that_is_lost_within_its_connack(level: int) -> None:
    """Where half a CONNACK has passed, no second one is begun: only 1011."""
    async with (
        house(WS_CONTROL_TIMEOUT_SECONDS="0.1") as home,
        home.mqtt(home.connect_packet(level), welcomed=False) as (client, broker),
    ):
        await broker.say(BINARY, connack(level, 0)[:2])
        broker.end_stream()
        assert await client.hear() == (BINARY, True, connack(level, 0)[:2])
        assert await client.hear_close() == (1011, "Upstream connection lost")


@pytest.mark.parametrize("level", [4, 5])
async def test_no_disconnect_before_the_connack(level: int) -> None:
    """A cause that no CONNACK can say is only a Close to a client that waits for one: no DISCONNECT goes first."""
    async with house() as home, home.mqtt(home.connect_packet(level), welcomed=False) as (client, _):
        await client.send(b"\x82\x00")  # not masked
        assert await client.hear_close() == (1002, "Protocol error")


@pytest.mark.parametrize("reset", [False, True])
async def test_client_that_is_lost(*, reset: bool) -> None:
    """A client that is lost leaves the broker with a dropped connection and no DISCONNECT: its will fires."""
    async with house() as home, home.mqtt(home.connect_packet(will=WILL)) as (client, broker):
        lose(client, reset=reset)
        assert await is_dropped(broker)
        assert (await home.end())["cause"] == "client_lost"


@pytest.mark.parametrize("level", [4, 5])
async def test_illegal_frame_of_the_client(level: int) -> None:
    """An illegal frame of the client: DISCONNECT 0x82 in MQTT 5, then 1002 to both sides."""
    async with house() as home, home.mqtt(home.connect_packet(level, will=WILL)) as (client, broker):
        await client.send(b"\x82\x00")  # not masked
        if level == 5:
            assert await client.hear() == (BINARY, True, disconnect(5, 0x82))
        assert await client.hear_close() == (1002, "Protocol error")
        assert await broker.hear_close() == (1002, "")


@pytest.mark.parametrize("level", [4, 5])
async def test_illegal_frame_of_the_broker(level: int) -> None:
    """An illegal frame of the broker never reaches the client, and both sides hear 1002."""
    async with house() as home, home.mqtt(home.connect_packet(level)) as (client, broker):
        await broker.send(b"\x82\x80\x00\x00\x00\x00")  # masked
        if level == 5:
            assert await client.hear() == (BINARY, True, disconnect(5, 0x82))
        assert await client.hear_close() == (1002, "Protocol error")
        assert await broker.hear_close() == (1002, "")


@pytest.mark.parametrize("level", [4, 5])
async def test_message_too_big(level: int) -> None:
    """A message that is too big is refused before any of it passes: DISCONNECT 0x95 in MQTT 5, then 1009."""
    async with (
        house(WS_MAX_MESSAGE_BYTES="2000") as home,
        home.mqtt(home.connect_packet(level, will=WILL)) as (client, broker),
    ):
        await client.say(BINARY, bytes(2001))
        if level == 5:
            assert await client.hear() == (BINARY, True, disconnect(5, 0x95))
        assert await client.hear_close() == (1009, "Message too big")
        assert await broker.hear_close() == (1001, "")


@pytest.mark.parametrize("level", [4, 5])
async def test_idle(level: int) -> None:
    """An idle client: DISCONNECT 0x8D in MQTT 5, then 1001. The broker hears no DISCONNECT: the will fires."""
    async with (
        house(WS_IDLE_TIMEOUT_SECONDS="0.2", WS_PING_INTERVAL_SECONDS="0") as home,
        home.mqtt(home.connect_packet(level, will=WILL)) as (client, broker),
    ):
        if level == 5:
            assert await client.hear() == (BINARY, True, disconnect(5, 0x8D))
        assert await client.hear_close() == (1001, "Idle timeout")
        assert await broker.hear_close() == (1001, "")


@pytest.mark.parametrize("level", [3, 4, 5])
@pytest.mark.parametrize("has_will", [True, False])
async def test_drain(level: int, *, has_will: bool) -> None:
    """On a drain the client hears 1012 (MQTT 5: DISCONNECT 0x8B first), and a DISCONNECT stops its will."""
    async with house() as home:
        connect = home.connect_packet(level, will=WILL if has_will else None)
        async with home.mqtt(connect) as (client, broker):
            home.drain()
            if level == 5:
                assert await client.hear() == (BINARY, True, disconnect(5, 0x8B))
            assert await client.hear_close() == (1012, "Service restart")
            if has_will:
                assert await broker.hear() == (BINARY, True, disconnect(level))
            assert await broker.hear_close() == (1001, "")


async def test_drain_that_lets_wills_fire() -> None:
    """With MQTT_WILL_ON_DRAIN=fire no DISCONNECT is said for a client on a drain."""
    async with house(MQTT_WILL_ON_DRAIN="fire") as home, home.mqtt(home.connect_packet(will=WILL)) as (_, broker):
        home.drain()
        assert await broker.hear_close() == (1001, "")


@pytest.mark.parametrize(("level", "code"), [(4, 0x03), (5, 0x88)])
async def test_drain_before_the_connack(level: int, code: int) -> None:
    """A client that still waits for its CONNACK when the gateway drains gets one that refuses, then 1012."""
    async with house() as home, home.mqtt(home.connect_packet(level), welcomed=False) as (client, _):
        home.drain()
        assert await client.hear() == (BINARY, True, connack(level, code))
        assert await client.hear_close() == (1012, "Service restart")


@pytest.mark.parametrize(("level", "code"), [(4, 0x03), (5, 0x88)])
async def test_drain_during_the_dial(level: int, code: int) -> None:
    """A client whose broker is being dialled when the gateway drains is refused in the same words."""
    async with house() as home, home.open((PROTOCOL, "mqtt")) as client:
        home.upstream.answer = lambda _: b""
        await client.say(BINARY, home.connect_packet(level).to_bytes())
        broker = await home.upstream.next()
        home.drain()
        assert await client.hear() == (BINARY, True, connack(level, code))
        assert await client.hear_close() == (1012, "Service restart")
        assert await is_dropped(broker)


async def test_goodbye_of_the_client() -> None:
    """A DISCONNECT and a Close of the client's own pass to the broker, and the broker's answer passes back."""
    async with house() as home, home.mqtt(home.connect_packet(5)) as (client, broker):
        await client.say(BINARY, disconnect(5, 0x04))
        await client.say_close(1000)
        assert await broker.hear() == (BINARY, True, disconnect(5, 0x04))
        assert await broker.hear_close() == (1000, "")
        await broker.say_close(1000)
        assert await client.hear_close() == (1000, "")
        assert (await home.end())["cause"] == "closed_by_client"


async def test_goodbye_of_the_broker() -> None:
    """A DISCONNECT and a Close of the broker pass to the client, and nothing of ours is added."""
    async with house() as home, home.mqtt(home.connect_packet(5)) as (client, broker):
        await broker.say(BINARY, disconnect(5, 0x8E))
        await broker.say_close(1000)
        assert await client.hear() == (BINARY, True, disconnect(5, 0x8E))
        assert await client.hear_close() == (1000, "")
        await client.say(CLOSE, b"\x03\xe8")
        assert await broker.hear_close() == (1000, "")
        assert await client.read_to_end() == b""
        assert (await home.end())["cause"] == "closed_by_upstream"
