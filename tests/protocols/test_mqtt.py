"""The MQTT adapter: recognition at every byte, refusals and their last words, what the broker is shown."""

import pytest
from attrs import evolve
from hypothesis import given, settings

from tests.wire.connects import connects
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Adapter, Opening, Unchanged, Verdict
from trio_ws_gateway.protocols.mqtt import Binding, MqttAdapter, MqttGreeting, parse_mqtt_credentials
from trio_ws_gateway.wire.handshake import Offer
from trio_ws_gateway.wire.mqtt import Connect, Will, parse_connect

ALICE = Identity(issuer="https://idp", subject="alice", preferred_username="Alice", expires_at=1e9)
NAMELESS = evolve(ALICE, preferred_username=None)
JWT = "eyJh.eyJz.c2ln"
CONNECT = Connect(level=4, client_id="alice-1", username="alice", password=JWT.encode(), keep_alive=60)
PLAIN = CONNECT.to_bytes()
FIVE = evolve(CONNECT, level=5)
WILL = Will(topic="t", payload=b"gone")
ANY = pytest.mark.parametrize("offered", [(), ("mqtt",), ("mqttv3.1", "chat")])


def adapter(
    credentials: str = "pass",
    claim: str | None = None,
    prefix: str | None = None,
    *,
    longest: int = 1000,
    subprotocol: str | None = None,
) -> MqttAdapter:
    return MqttAdapter(
        credentials=parse_mqtt_credentials(credentials),
        username_claim=claim,
        client_id_prefix=prefix,
        max_connect_bytes=longest,
        subprotocol=subprotocol,
    )


def opening(payload: bytes, *offered: str, text: bool = False) -> Opening:
    return Opening(payload=payload, text=text, complete=True, offered=offered)


def greet(
    connect: Connect, credentials: str = "pass", claim: str | None = None, prefix: str | None = None, rest: bytes = b""
) -> MqttGreeting:
    found = adapter(credentials, claim, prefix).recognise(opening(connect.to_bytes() + rest))
    assert isinstance(found, MqttGreeting)
    return found


def shown(
    connect: Connect, credentials: str, identity: Identity | None = ALICE, token: str | None = None
) -> Connect | Unchanged:
    """The CONNECT that the broker hears."""
    said = greet(connect, credentials).for_upstream(identity, token)
    return said if isinstance(said, Unchanged) else parse_connect(said)


def refusal(payload: bytes, *offered: str, longest: int = 1000, text: bool = False) -> Refused:
    with pytest.raises(Refused) as caught:
        adapter(longest=longest).recognise(opening(payload, *offered, text=text))
    return caught.value


# Recognition


@given(connects())
@settings(max_examples=40, deadline=None)
def test_every_packet_is_recognised_at_its_last_byte(connect: Connect) -> None:
    """Cut anywhere, a CONNECT may still become one, offered or not; whole, it is a greeting, whatever follows it."""
    asked: Adapter = adapter()
    packet = connect.to_bytes()
    for offered in ((), ("mqtt",)):
        for cut in range(1, len(packet)):
            assert asked.recognise(opening(packet[:cut], *offered)) is Verdict.MORE
        for rest in (b"", b"\x82\x09"):
            found = asked.recognise(opening(packet + rest, *offered))
            assert isinstance(found, MqttGreeting)
            assert (found.connect, found.rest) == (connect, rest)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00",
        b"\x20",
        b"hello",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x20\x01",
        b"\x10\x20\x00\x05",
        b"\x10\x20\x00\x04MQTX",
        b"\x10\x03\x00\x04M",
    ],
)
def test_what_cannot_become_a_connect_is_another_protocol_or_an_error(payload: bytes) -> None:
    """As soon as no CONNECT can begin like that it is not MQTT, or refused if the client said that it is."""
    assert adapter().recognise(opening(payload)) is Verdict.NOT_MINE
    refused = refusal(payload, "mqtt")
    assert (refused.cause, refused.last_words) == (Cause.BAD_FIRST_MESSAGE, b"")
    assert refused.detail


def test_empty_message_begins_no_connect() -> None:
    """An empty message is not MQTT, unless the client offered that or goes on in fragments."""
    assert adapter().recognise(opening(b"")) is Verdict.NOT_MINE
    assert adapter().recognise(opening(b"", "mqtt")) is Verdict.MORE
    assert adapter().recognise(Opening(payload=b"", text=False, complete=False)) is Verdict.MORE


def test_mqtt_is_binary() -> None:
    """A text message is not MQTT, and an error of a client that offered it."""
    assert adapter().recognise(opening(PLAIN, text=True)) is Verdict.NOT_MINE
    assert refusal(b"", "mqttv3.1", text=True).cause is Cause.BAD_FIRST_MESSAGE


@ANY
@pytest.mark.parametrize("level", [3, 4])
def test_a_malformed_connect_before_mqtt_5_has_no_answer(offered: tuple[str, ...], level: int) -> None:
    """MQTT 3 has no return code for a malformed CONNECT: it is named in the log only."""
    packet = bytearray(Connect(level=level, client_id="c").to_bytes())
    packet[-6] |= 1  # connect flags
    refused = refusal(bytes(packet), *offered)
    assert (refused.cause, refused.last_words) == (Cause.BAD_FIRST_MESSAGE, b"")
    assert "reserved" in refused.detail


@ANY
@pytest.mark.parametrize(
    "packet",
    [
        b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c",
        b"\x10\x8e\x00\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c",
        b"\x10\x07\x00\x04MQTT\x05",
    ],
)
def test_a_malformed_connect_of_mqtt_5_is_answered(offered: tuple[str, ...], packet: bytes) -> None:
    """MQTT 5 says 0x81, whatever is wrong, where the level could be read."""
    refused = refusal(packet, *offered)
    assert (refused.cause, refused.last_words) == (Cause.BAD_FIRST_MESSAGE, b"\x20\x03\x00\x81\x00")


def test_an_empty_client_id_has_its_own_answer() -> None:
    """An empty client id without a clean session is answered with 0x02 (MQTT 3.1.1 3.1.3.1)."""
    refused = refusal(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00")
    assert (refused.cause, refused.last_words) == (Cause.BAD_FIRST_MESSAGE, b"\x20\x02\x00\x02")


@ANY
@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\x00\x04MQTT\x03", b"\x20\x02\x00\x01"),
        (b"\x00\x04MQTT\x01", b"\x20\x02\x00\x01"),
        (b"\x00\x06MQIsdp\x05", b"\x20\x02\x00\x01"),
        (b"\x00\x04MQTT\x06", b"\x20\x03\x00\x84\x00"),
        (b"\x00\x04MQTT\xff", b"\x20\x03\x00\x84\x00"),
    ],
)
def test_an_unsupported_version_is_answered_in_a_form_that_it_reads(
    offered: tuple[str, ...], head: bytes, words: bytes
) -> None:
    """An unknown level is refused as soon as it is read: above 5 as MQTT 5 does it, else as MQTT 3.1.1 does."""
    refused = refusal(b"\x10\x7f" + head, *offered)
    assert (refused.cause, refused.last_words) == (Cause.UNSUPPORTED_VERSION, words)


def test_a_connect_that_is_too_big_is_refused_at_once() -> None:
    """An announced length is enough; of a client that offered nothing only once it is MQTT by name."""
    assert refusal(b"\x10\xff\xff\xff\x7f", "mqtt").cause is Cause.MESSAGE_TOO_BIG
    assert adapter().recognise(opening(b"\x10\xff\xff\xff\x7f")) is Verdict.MORE
    assert refusal(b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x04").cause is Cause.MESSAGE_TOO_BIG
    assert refusal(PLAIN, longest=len(PLAIN) - 1).cause is Cause.MESSAGE_TOO_BIG
    assert isinstance(adapter(longest=len(PLAIN)).recognise(opening(PLAIN + PLAIN)), MqttGreeting)


# What a greeting says


@pytest.mark.parametrize(
    ("level", "version", "subprotocol"), [(3, "3.1", "mqttv3.1"), (4, "3.1.1", "mqtt"), (5, "5", "mqtt")]
)
def test_a_greeting_describes_itself(level: int, version: str, subprotocol: str) -> None:
    """The log has version and client id, shortened; where the client has no subprotocol its version decides."""
    greeting = greet(Connect(level=level, client_id="c" * 65))
    assert greeting.protocol == "mqtt"
    assert greeting.describes == {"client_id": "c" * 64, "mqtt_version": version}
    assert greeting.offer(None) == Offer(subprotocols=(subprotocol,), must_choose=True)


@pytest.mark.parametrize(
    ("configured", "answered", "offered"),
    [(None, "mqttv3.1", "mqttv3.1"), ("mqtt", "mqttv3.1", "mqtt"), ("mqttv3.1", None, "mqttv3.1")],
)
def test_the_broker_is_offered_one_subprotocol(configured: str | None, answered: str | None, offered: str) -> None:
    """The broker is offered what is configured, else what the client has, and must choose it."""
    found = adapter(subprotocol=configured).recognise(opening(PLAIN))
    assert isinstance(found, MqttGreeting)
    assert found.offer(answered) == Offer(subprotocols=(offered,), must_choose=True)


@pytest.mark.parametrize(
    ("password", "credential"),
    [(JWT.encode(), JWT), (None, None), (b"", None), (b"\xff.b.c", "\\xff.b.c"), ("é".encode(), "\\xc3\\xa9")],
)
def test_the_password_is_the_credential(password: bytes | None, credential: str | None) -> None:
    """An empty password is none; bytes that are not ASCII make a credential that no token is."""
    assert greet(evolve(CONNECT, password=password)).credential == credential


def test_a_greeting_shows_no_secret() -> None:
    """Neither the password nor what followed the CONNECT, nor a service account's, is in the repr."""
    assert not any(secret in repr(greet(CONNECT, "svc:hush", rest=b"more")) for secret in (JWT, "hush", "more"))


# Credentials


@pytest.mark.parametrize("text", ["", "PASS", "user", ":password", ":", "replace", "strip "])
def test_credentials_are_pass_strip_or_a_pair(text: str) -> None:
    """Anything else is an error that says what would be right."""
    with pytest.raises(ValueError, match="neither `pass` nor `strip` nor `user:password`"):
        parse_mqtt_credentials(text)


@pytest.mark.parametrize("text", ["{name}:x", "x:{}", "x:{ sub }", "{sub}:hush{hush}"])
def test_an_unknown_placeholder_is_an_error(text: str) -> None:
    """Placeholders are known ones, also in a client id prefix; the error does not show what may be a password."""
    with pytest.raises(ValueError, match=r"other than \{sub\} and \{preferred_username\}") as caught:
        parse_mqtt_credentials(text)
    assert "hush" not in str(caught.value)
    with pytest.raises(ValueError, match="in braces"):
        adapter(prefix="{tenant}-")


def test_pass_touches_nothing() -> None:
    """With `pass` the opening goes as it came, however the token came."""
    assert shown(CONNECT, "pass") is Unchanged.AS_IT_CAME
    assert shown(CONNECT, "pass", identity=None) is Unchanged.AS_IT_CAME


@given(connects())
@settings(max_examples=40, deadline=None)
def test_credentials_change_and_nothing_else(connect: Connect) -> None:
    """Stripped or replaced, every other field of the CONNECT is what it was, and what followed it follows."""
    for mode, username, password in (("strip", None, None), ("svc:p:w", "svc", b"p:w")):
        wanted = evolve(connect, username=username, password=password)
        said = greet(connect, mode, rest=b"\xc0\x00").for_upstream(ALICE, None)
        assert said == (Unchanged.AS_IT_CAME if wanted == connect else wanted.to_bytes() + b"\xc0\x00")


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("{sub}:{preferred_username}", "alice", b"Alice"),
        ("t/{sub}/{sub}:x", "t/alice/alice", b"x"),
        ("svc:", "svc", b""),
        ("svc:a{b", "svc", b"a{b"),
        ("{{sub}}:}", "{alice}", b"}"),
    ],
)
def test_a_template_names_the_client(text: str, username: str, password: bytes) -> None:
    """Claims take the places of their names, in the user name and in the password."""
    assert shown(CONNECT, text) == evolve(CONNECT, username=username, password=password)


def test_both_are_set_where_the_client_had_neither() -> None:
    """A client whose token came early, without user name and password, gets both."""
    connect = Connect(level=4, client_id="c")
    assert shown(connect, "{sub}:x", token=JWT) == evolve(connect, username="alice", password=b"x")
    assert shown(connect, "strip") is Unchanged.AS_IT_CAME


def test_a_claim_is_never_a_placeholder() -> None:
    """Templates are expanded in one pass: what a claim holds is text."""
    sly = evolve(ALICE, subject="{preferred_username}", preferred_username="root:{sub}")
    assert shown(CONNECT, "{sub}:{preferred_username}", sly) == evolve(
        CONNECT, username="{preferred_username}", password=b"root:{sub}"
    )


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("{preferred_username}:x", NAMELESS),
        ("x:{preferred_username}", evolve(ALICE, preferred_username="")),
        ("{sub}:x", evolve(ALICE, subject="")),
        ("{sub}:x", None),
        ("{sub}:x", evolve(ALICE, subject="a\0b")),
        ("{sub}:x", evolve(ALICE, subject="\ud800")),
        ("{sub}:x", evolve(ALICE, subject="a" * 65536)),
        ("x:{sub}", evolve(ALICE, subject="a" * 65536)),
    ],
)
def test_a_claim_that_makes_no_legal_name_is_forbidden(text: str, identity: Identity | None) -> None:
    """A claim that is missing, or that no CONNECT can carry, is a refusal and never an illegal packet."""
    with pytest.raises(Refused) as caught:
        shown(CONNECT, text, identity)
    assert caught.value.cause is Cause.FORBIDDEN
    assert "token" in caught.value.detail


def test_a_service_account_needs_no_identity() -> None:
    """Without placeholders an anonymous client is shown as the service account as well."""
    assert shown(CONNECT, "svc:p", identity=None) == evolve(CONNECT, username="svc", password=b"p")


# Binding


def allowed(
    connect: Connect, identity: Identity | None = ALICE, claim: str | None = None, prefix: str | None = None
) -> bool:
    greeting = greet(connect, "strip", claim, prefix)
    try:
        greeting.for_upstream(identity, JWT)
    except Refused as refused:
        return refused.cause is not Cause.FORBIDDEN
    return True


@pytest.mark.parametrize(
    ("username", "identity", "claim", "fine"),
    [
        ("alice", ALICE, "sub", True),
        ("Alice", ALICE, "sub", False),
        ("Alice", ALICE, "preferred_username", True),
        ("alice", ALICE, "preferred_username", False),
        ("bob", ALICE, "sub", False),
        ("", ALICE, "sub", False),
        ("bob", ALICE, None, True),
        ("Alice", NAMELESS, "preferred_username", False),
        ("alice", None, "sub", False),
    ],
)
def test_a_user_name_is_bound_to_its_claim(
    username: str, identity: Identity | None, claim: str | None, fine: bool
) -> None:
    """A user name that is not exactly the claim is forbidden, even where it would be stripped."""
    assert allowed(evolve(CONNECT, username=username), identity, claim) is fine


def test_no_user_name_claims_nothing() -> None:
    """A CONNECT without a user name passes the binding, also where the token lacks the claim."""
    connect = Connect(level=5, client_id="c", password=JWT.encode())
    assert allowed(connect, ALICE, "sub")
    assert allowed(connect, NAMELESS, "preferred_username")


@pytest.mark.parametrize(
    ("client_id", "prefix", "fine"),
    [
        ("alice-1", "{sub}-", True),
        ("alice-", "{sub}-", True),
        ("alice", "{sub}-", False),
        ("bob-1", "{sub}-", False),
        ("", "{sub}-", False),
        ("", "{sub}", False),
        ("alice", "{sub}", True),
        ("alice-1", "{sub}", True),
        ("alice/1", "{sub}", True),
        ("alice:1", "{sub}", True),
        ("alice_1", "{sub}", True),
        ("alicex", "{sub}", False),
        ("alice1", "{sub}", False),
        ("alice.b", "{sub}", False),
        ("alice@b", "{sub}", False),
        ("alice\u0301", "{sub}", False),
        ("x-aliceb", "x-{sub}", False),
        ("x-alice", "x-{sub}", True),
        ("x-Alice/1", "x-{preferred_username}", True),
        ("dev-1", "dev-", True),
        ("dev1", "dev-", False),
        ("device", "dev", True),
        ("anything", "", True),
    ],
)
def test_a_client_id_is_bound_to_its_prefix(client_id: str, prefix: str, fine: bool) -> None:
    """A client id begins with the prefix; after one that ends with a claim comes nothing, or a separator."""
    assert allowed(evolve(CONNECT, client_id=client_id), prefix=prefix) is fine


def test_a_prefix_needs_its_claim() -> None:
    """Without the claim that the prefix names, no client id is anybody's."""
    assert not allowed(CONNECT, NAMELESS, prefix="{preferred_username}-")
    assert not allowed(CONNECT, None, prefix="{sub}-")
    assert allowed(CONNECT, None, prefix="alice-")


# Goodbyes


@pytest.mark.parametrize("cause", list(Cause))
def test_farewells_follow_the_table(cause: Cause) -> None:
    """Before the CONNACK a client hears a CONNACK, after it an MQTT 5 client a DISCONNECT, where the table has one."""
    row = cause.row
    three, five = greet(CONNECT), greet(FIVE)
    waiting = b"" if row.connack3 is None else bytes([0x20, 2, 0, row.connack3])
    assert three.farewell(cause, welcomed=False) == waiting
    waiting = b"" if row.connack5 is None else bytes([0x20, 3, 0, row.connack5, 0])
    assert five.farewell(cause, welcomed=False) == waiting
    assert three.farewell(cause, welcomed=True) == b""
    ending = b"" if row.disconnect5 is None else bytes([0xE0, 2, row.disconnect5, 0])
    assert five.farewell(cause, welcomed=True) == ending


@pytest.mark.parametrize("connect", [CONNECT, FIVE])
def test_leaving_spares_the_will_where_the_cause_says_so(connect: Connect) -> None:
    """A DISCONNECT keeps a will from firing; without a will, or where it is to fire, nothing is said."""
    willing = greet(evolve(connect, will=WILL))
    assert willing.has_will
    assert willing.leave(Cause.DRAINING) == b"\xe0\x00"
    assert willing.leave(Cause.CLIENT_LOST) == b""
    assert not greet(connect).has_will
    assert greet(connect).leave(Cause.DRAINING) == b""


@pytest.mark.parametrize(
    ("connect", "needed"),
    [
        (CONNECT, (False, False)),
        (evolve(CONNECT, will=WILL), (True, False)),
        (FIVE, (False, True)),
        (evolve(FIVE, will=WILL), (True, True)),
    ],
)
def test_packets_are_followed_only_where_a_boundary_will_be_needed(connect: Connect, needed: tuple[bool, bool]) -> None:
    """Toward the upstream because of a will, toward the client since MQTT 5 lets a server say DISCONNECT."""
    to_upstream, to_client = greet(connect).walkers()
    assert (to_upstream is not None, to_client is not None) == needed


def test_without_secrets() -> None:
    """What lives as long as the session knows neither user name, password nor opening; its goodbye is the same."""
    will = Will(topic="gone", payload=b"bye")
    connect = Connect(level=5, client_id="robot", username="me", password=b"secret", will=will)
    greeting = MqttGreeting(
        connect=connect, rest=b"more", credentials=parse_mqtt_credentials("pass"), binding=Binding()
    )
    kept = greeting.without_secrets()
    assert (kept.connect.username, kept.connect.password, kept.rest) == (None, None, b"")
    assert kept.describes == greeting.describes
    for cause in (Cause.IDLE, Cause.DRAINING):
        assert kept.farewell(cause, welcomed=True) == greeting.farewell(cause, welcomed=True)
        assert kept.leave(cause) == greeting.leave(cause)
