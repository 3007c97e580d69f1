"""The packet walker: the same truth whatever the pieces, masked or not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.wire.mqtt_fields import variable
from trio_ws_gateway.wire.mqtt_stream import PacketWalker

packets = st.builds(
    lambda kind, body: bytes([kind << 4]) + variable(len(body), "body") + body,
    st.integers(1, 15),
    st.binary(max_size=5) | st.integers(120, 20000).map(bytes),
)
masks = st.none() | st.binary(min_size=4, max_size=4)


def masked(payload: bytes, mask: bytes | None) -> bytes:
    return payload if mask is None else bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def boundaries(walker: PacketWalker, payload: bytes, cuts: list[int], mask: bytes | None) -> list[bool]:
    """Feeds one frame in pieces, out of a buffer where it stands in the middle; ``at_boundary`` after each piece."""
    view = memoryview(b"junk" + masked(payload, mask) + b"junk")
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
        walker.feed(view, 4 + start, 4 + end, mask, start)
        found.append(walker.at_boundary)
    return found


@given(st.lists(packets, max_size=4), masks, st.data())
@settings(max_examples=60, deadline=None)
def test_any_pieces_tell_the_same(sent: list[bytes], mask: bytes | None, data: st.DataObject) -> None:
    """Cut anywhere, masked or not, a piece that ends where a packet ends is a boundary and no other is."""
    payload = b"".join(sent)
    ends = {sum(map(len, sent[:count])) for count in range(len(sent) + 1)}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(payload)) | st.sampled_from(sorted(ends)), max_size=12)))
    walker = PacketWalker()
    assert boundaries(walker, payload, cuts, mask) == [at in ends for at in [*cuts, len(payload)]]
    assert walker.welcomed is any(packet[0] >> 4 == 2 and len(packet) > 2 for packet in sent)
    assert not walker.lost


@given(st.lists(packets.filter(lambda packet: len(packet) < 300), max_size=4), masks)
@settings(max_examples=40, deadline=None)
def test_byte_by_byte_tells_the_same(sent: list[bytes], mask: bytes | None) -> None:
    """Fed byte by byte it says the same as fed whole."""
    payload = b"".join(sent)
    whole, bytewise = PacketWalker(), PacketWalker()
    assert boundaries(whole, payload, [], mask) == [True]
    assert boundaries(bytewise, payload, list(range(len(payload))), mask)[-1]
    assert bytewise.welcomed is whole.welcomed


@given(st.lists(packets, min_size=1, max_size=4), st.lists(masks, min_size=1, max_size=3), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_packets_over_many_frames(sent: list[bytes], keys: list[bytes | None], size: int) -> None:
    """Packets are not aligned with frames, and every frame has a mask of its own."""
    payload = b"".join(sent)[: size * 40]
    rest = b"".join(sent)[size * 40 :]
    walker = PacketWalker()
    for count, at in enumerate(range(0, len(payload), size)):
        boundaries(walker, payload[at : at + size], [], keys[count % len(keys)])
    boundaries(walker, rest, [], None)
    assert walker.at_boundary


def test_a_connack_is_seen_when_it_has_passed_whole() -> None:
    """A CONNACK counts with its last byte, not with its first."""
    walker = PacketWalker()
    seen = []
    for piece in (b"\x20\x02\x00", b"\x00", b"\x30"):
        boundaries(walker, piece, [], None)
        seen.append((walker.welcomed, walker.at_boundary))
    assert seen == [(False, False), (True, True), (True, False)]


@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 4, 5]])
def test_a_broken_length_is_lost_for_ever(cuts: list[int]) -> None:
    """After a length of more than four bytes no boundary is ever claimed again."""
    walker = PacketWalker()
    assert not any(boundaries(walker, b"\x30\xff\xff\xff\xff\x01", cuts, None))
    assert walker.lost
    assert boundaries(walker, b"\xc0\x00\x20\x02\x00\x00", [2], None) == [False, False]
    assert not walker.welcomed
