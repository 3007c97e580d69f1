"""What of a client's packets is the gateway's: its AUTH, and what it publishes to one topic; and nothing else."""

import pytest

from tests.wire.test_mqtt_packets import auth, packet
from tests.wire.test_mqtt_reframing import Way, frames_of
from trio_ws_gateway.protocols.mqtt_renewal import UNRELEASED_MAX, RenewalWatch, WelcomeWatch
from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.frames import BINARY, Found, build_frame
from trio_ws_gateway.wire.mqtt import connack
from trio_ws_gateway.wire.mqtt_fields import MqttError
from trio_ws_gateway.wire.mqtt_packets import auth_success
from trio_ws_gateway.wire.mqtt_reframing import WHOLE_MAX_BYTES, Reframer

TOPIC = "$gateway/renew"
SAID = b"\x00\x0e$gateway/renew"
PINGREQ = b"\xc0\x00"
RE_AUTH = auth(0x19, b"\x15\x00\x03JWT" + b"\x16\x00\x05a.b.c")
BY_AUTH = Asked(token="a.b.c", reply=auth_success("JWT"))
BY_TOPIC = packet(0x30, SAID + b"a.b.c")
AT_QOS_1 = packet(0x32, SAID + b"\x00\x07a.b.c")


def way(level: int = 4, *, method: str | None = None, topic: str | None = TOPIC) -> Way:
    return Way(Reframer(masked=True, watch=RenewalWatch(level=level, method=method, topic=topic)))


def answered(here: Way) -> Asked | None:
    """What was asked; more may pass now."""
    asked, here.reframer.asked = here.reframer.asked, None
    return asked


@pytest.mark.parametrize(
    ("renewal", "asked", "on"),
    [
        (RE_AUTH, BY_AUTH, way(5, method="JWT", topic=None)),
        (BY_TOPIC, Asked(token="a.b.c"), way()),
        (AT_QOS_1, Asked(token="a.b.c", reply=b"\x40\x02\x00\x07"), way(3)),
        (packet(0x33, SAID + b"\x00\x07\x00a.b.c"), Asked(token="a.b.c", reply=b"\x40\x02\x00\x07"), way(5)),
    ],
    ids=["AUTH", "QoS 0", "QoS 1", "QoS 1 in MQTT 5"],
)
def test_cut_at_every_byte(renewal: bytes, asked: Asked, on: Way) -> None:
    """A renewal is taken out wherever it is cut, and what follows it waits for the answer."""
    stream = PINGREQ + renewal + PINGREQ
    for cut in range(len(stream) + 1):
        on.messages.clear()
        on.read(frames_of(stream, [cut]))
        assert on.heard == PINGREQ
        assert on.reframer.asked == asked
        on.reframer.asked = None
        on.read(b"")
        assert (on.heard, on.reframer.asked, on.rest) == (PINGREQ * 2, None, b"")
    for at in range(len(stream)):
        on.read(build_frame(BINARY, stream[at : at + 1], masked=True))
        if on.reframer.asked is not None:
            assert (on.reframer.asked, at) == (asked, len(PINGREQ + renewal) - 1)
            on.reframer.asked = None
    assert on.heard == PINGREQ * 4


@pytest.mark.parametrize(
    "other",
    [
        packet(0x30, b"\x00\x0d$gateway/rene" + b"a.b.c"),
        packet(0x30, b"\x00\x0f$gateway/renew/" + b"a.b.c"),
        packet(0x30, b"\x00\x0e$gateway/reneW" + b"a.b.c"),
        packet(0x30, b"\x00\x01t" + SAID),
        packet(0x30, b"\x00\x00"),
        packet(0x82, b"\x00\x01" + SAID + b"\x00"),
        packet(0x62, b"\x00\x07"),
        packet(0x62, b""),
        RE_AUTH,
    ],
)
def test_what_is_not_ours(other: bytes) -> None:
    """Another topic, a subscription, a release of what was not taken, and AUTH where the CONNECT named no method of
    ours pass as they are, also byte by byte."""
    here = way()
    here.read(frames_of(other * 2, [3]))
    for at in range(len(other)):
        here.read(build_frame(BINARY, other[at : at + 1], masked=True))
    assert (here.heard, here.reframer.asked, here.reframer.fault) == (other * 3, None, "")


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (auth(0x19, b""), "without the method"),
        (b"\xf0\x00", "without the method"),
        (auth(0x19, b"\x15\x00\x05SCRAM"), "without the method"),
        (auth(0x18, b"\x15\x00\x03JWT"), "no re-authentication"),
        (auth(0x19, b"\x16\x00\x01x"), "without an authentication method"),
        (packet(0x30, SAID + b"\x03\x23\x00\x01a.b.c"), "alias"),
        (packet(0x36, SAID + b"\x00\x07\x00a.b.c"), "QoS is 3"),
        (packet(0x32, SAID + b"\x00\x00\x00a.b.c"), "identifier is 0"),
        (packet(0x30, SAID), "cut short"),
        (b"\xf0\xff\xff\xff\xff\x01", "more than four bytes"),
        (b"\x30\xff\xff\xff\xff\x01", "more than four bytes"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_breaks_the_protocol(wrong: bytes, fault: str, bytewise: bool) -> None:
    """What breaks the protocol in a packet for us is a fault, and nothing of it passes, nor what follows."""
    here = way(5, method="JWT")
    stream = PINGREQ + wrong + PINGREQ
    cuts = list(range(1, len(stream))) if bytewise else []
    here.read(frames_of(stream, cuts))
    assert fault in here.reframer.fault
    assert (here.heard, here.reframer.asked) == (PINGREQ, None)


@pytest.mark.parametrize("topic", [None, TOPIC])
def test_auth_without_a_method_in_the_connect(topic: str | None) -> None:
    """AUTH is a fault where the CONNECT named no method, and the broker's where it named another; before MQTT 5 there
    is none."""
    here = way(5, topic=topic)
    here.read(frames_of(PINGREQ + RE_AUTH, [3]))
    assert (here.heard, "without the method" in here.reframer.fault) == (PINGREQ, True)
    foreign = Way(Reframer(masked=True, watch=RenewalWatch(level=5, method=None, topic=TOPIC, foreign=True)))
    for passing in (foreign, way(4)):
        passing.read(frames_of(PINGREQ + RE_AUTH, [3]))
        assert (passing.heard, passing.reframer.fault) == (PINGREQ + RE_AUTH, "")


@pytest.mark.parametrize("head", [b"\x30\xff\xff\x03" + SAID, b"\xf0\xff\xff\x03\x19"])
def test_too_long(head: bytes) -> None:
    """A packet for us that is longer than any token is a fault as soon as that is clear, wherever it is cut; another
    that is as long passes."""
    for cut in range(len(head) + 1):
        here = way(5, method="JWT")
        stream = head + bytes(100)
        here.read(frames_of(stream, [cut]))
        assert "more than" in here.reframer.fault
        assert here.heard == b""
        here = way(5, method="JWT")
        stream = b"\x30\xff\xff\x03" + SAID[:-1] + b"?" + bytes(100)
        here.read(frames_of(stream, [cut]))
        assert (here.heard, here.reframer.fault) == (stream, "")


def test_a_long_name_of_a_topic_is_held_no_longer_than_needed() -> None:
    """A long packet whose topic is cut is held until that can be told from ours."""
    here = way()
    here.read(build_frame(BINARY, b"\x30\xff\xff\x03" + SAID[:10], masked=True))
    assert (here.heard, here.reframer.held_bytes) == (b"", 14)
    here.read(build_frame(BINARY, b"x", masked=True))
    assert (len(here.heard), here.reframer.held_bytes) == (15, 0)


def test_the_longest_token() -> None:
    """16 KiB of token pass in either way."""
    token = b"t" * 16 * 1024
    here = way(5, method="JWT")
    for said in (
        auth(0x19, b"\x15\x00\x03JWT\x16\x40\x00" + token),
        packet(0x32, SAID + b"\x00\x01\x00" + token),
    ):
        assert len(said) < WHOLE_MAX_BYTES
        here.read(build_frame(BINARY, said, masked=True))
        asked = answered(here)
        assert asked is not None
        assert asked.token == token.decode()


def test_qos_2() -> None:
    """At QoS 2 the gateway says PUBREC, and answers the release of what it took, once; another's release passes."""
    here = way()
    here.read(build_frame(BINARY, packet(0x34, SAID + b"\x00\x07a.b.c"), masked=True))
    assert answered(here) == Asked(token="a.b.c", reply=b"\x50\x02\x00\x07")
    release = packet(0x62, b"\x00\x07")
    here.read(build_frame(BINARY, packet(0x62, b"\x00\x08") + release, masked=True))
    assert answered(here) == Asked(reply=b"\x70\x02\x00\x07")
    here.read(build_frame(BINARY, release, masked=True))
    assert here.heard == packet(0x62, b"\x00\x08") + release


@pytest.mark.parametrize("cut", range(7))
def test_a_release_that_is_too_long(cut: int) -> None:
    """A release of what was taken that is longer than any is a fault, wherever it is cut; another's passes."""
    for packet_id, fault in ((b"\x00\x07", "more than"), (b"\x00\x08", "")):
        here = way()
        here.read(build_frame(BINARY, packet(0x34, SAID + b"\x00\x07a.b.c"), masked=True))
        answered(here)
        release = b"\x62\xff\xff\x03" + packet_id + bytes(10)
        here.read(frames_of(release, [cut]))
        assert here.reframer.fault[6:15] == fault
        assert here.heard == (b"" if fault else release)


def test_tokens_that_are_never_released() -> None:
    """A client that releases nothing cannot fill the memory."""
    watch = RenewalWatch(level=4, method=None, topic=TOPIC)
    for number in range(1, UNRELEASED_MAX + 1):
        watch.judge(packet(0x34, SAID + number.to_bytes(2) + b"a.b.c"))
    with pytest.raises(MqttError):
        watch.judge(packet(0x34, SAID + b"\xff\xffa.b.c"))


@pytest.mark.parametrize("cut", range(12))
def test_welcome(cut: int) -> None:
    """The broker's CONNACK names the method, wherever it is cut; what follows passes as it is."""
    here = Way(Reframer(masked=False, watch=WelcomeWatch("JWT")), masked=False)
    publish = packet(0x30, b"\x00\x01tm")
    here.read(frames_of(connack(5, 0) + publish, [cut], masked=False))
    assert here.heard == packet(0x20, b"\x00\x00\x06\x15\x00\x03JWT") + publish
    assert here.reframer.welcomed


def test_found() -> None:
    """What stops a scan is said to the pump as a refusal."""
    here = way()
    here.read(build_frame(BINARY, BY_TOPIC + PINGREQ, masked=True))
    assert here.scanner.found is Found.REFUSED
