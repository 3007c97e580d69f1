"""`Connections`: who may come, by address and in all, and what is remembered of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import Networks
from trio_ws_gateway.limits import connections
from trio_ws_gateway.limits.connections import (
    PROBES,
    SHOWN_OUT_MAX,
    Connections,
    ConnectionTerms,
    Visit,
    block_of,
    reserved,
    sessions_for,
)

HERE = "203.0.113.7"
THERE = "203.0.113.8"


def arrived(everybody: Connections, address: str = HERE, now: float = 0.0) -> Visit:
    return everybody.admit(address, now)


def refusal(everybody: Connections, address: str = HERE, now: float = 0.0) -> str:
    with pytest.raises(Refused) as caught:
        arrived(everybody, address, now)
    overloaded = "not known yet, in all" in caught.value.detail
    assert caught.value.cause is (Cause.OVERLOADED if overloaded else Cause.TOO_MANY_CONNECTIONS)
    return caught.value.detail


def test_sessions_of_one_address() -> None:
    """Sessions of one address are counted until they leave; those of another one have nothing to do with it."""
    everybody = Connections(ConnectionTerms(sessions_per_address=2))
    first, second, third = (arrived(everybody) for _ in range(3))
    first.verified()
    second.verified()
    with pytest.raises(Refused, match="of one address"):
        third.verified()
    assert refusal(everybody) == "connections of one address"
    arrived(everybody, THERE).verified()
    second.leave()
    third.verified()
    assert (everybody.sessions, everybody.handshakes) == (3, 0)


def test_sessions_in_all() -> None:
    """When there are as many sessions as may be, pages can still be asked for."""
    everybody = Connections(ConnectionTerms(sessions=1))
    arrived(everybody).verified()
    second = arrived(everybody, THERE)
    with pytest.raises(Refused, match="in all"):
        second.ask_for_session()
    with pytest.raises(Refused, match="in all"):
        second.verified()


def test_handshakes() -> None:
    """Who is not known yet counts as a handshake, by address and in all, until it is, or leaves."""
    everybody = Connections(ConnectionTerms(handshakes=3, handshakes_per_address=2))
    first, second = arrived(everybody), arrived(everybody)
    assert refusal(everybody) == "connections that are not known yet, of one address"
    arrived(everybody, THERE)
    assert refusal(everybody, THERE) == "connections that are not known yet, in all"
    first.verified()
    second.leave()
    arrived(everybody)
    arrived(everybody)


def test_new_connections_per_second() -> None:
    """So many at once, and then so many per second, whether they stay or not."""
    everybody = Connections(ConnectionTerms(rate_per_address=2, burst_per_address=3))
    for _ in range(3):
        arrived(everybody).leave()
    assert refusal(everybody) == "connections per second of one address"
    arrived(everybody, THERE)
    arrived(everybody, now=0.5)
    refusal(everybody, now=0.5)


def test_exempt() -> None:
    """Behind an exempt address are many clients: only what is said of all holds for it."""
    terms = ConnectionTerms(
        sessions=3,
        sessions_per_address=1,
        handshakes_per_address=1,
        rate_per_address=1,
        exempt=Networks.parse(("10.0.0.0/8",)),
    )
    everybody = Connections(terms)
    for visit in [arrived(everybody, "10.1.2.3") for _ in range(3)]:
        visit.verified()
    with pytest.raises(Refused, match="in all"):
        arrived(everybody, "10.1.2.3").verified()


def test_probes() -> None:
    """Who fills all handshakes from outside leaves room for a probe from a private address; that has a bound too."""
    everybody = Connections(ConnectionTerms(handshakes=2, exempt=Networks.parse(("10.0.0.0/8",))))
    arrived(everybody)
    arrived(everybody)
    refusal(everybody)
    for _ in range(PROBES):
        arrived(everybody, "10.1.2.3")
    assert "in all" in refusal(everybody, "10.1.2.3")


def test_behind_a_proxy() -> None:
    """Where the peer is a proxy that is trusted, the address counts as soon as it is heard."""
    everybody = Connections(ConnectionTerms(handshakes_per_address=1))
    first, second = everybody.admit(None, 0.0), everybody.admit(None, 0.0)
    first.come_from(HERE, 0.0)
    with pytest.raises(Refused):
        second.come_from(HERE, 0.0)
    second.leave()
    first.leave()
    assert everybody.handshakes == 0


def test_ipv6() -> None:
    """An IPv6 address counts by its /64, whatever interface is named with it."""
    assert block_of("2001:db8:1:2::1") == block_of("2001:db8:1:2:ffff::9%eth0")
    assert block_of("2001:db8:1:2::1") != block_of("2001:db8:1:3::1")
    assert block_of("192.0.2.1") == "192.0.2.1"
    assert block_of("no:address") == "no:address"


def test_ipv4_mapped_into_ipv6() -> None:
    """A dual-stack listener has IPv4 clients whose addresses are of one /64; each counts as itself."""
    assert block_of("::ffff:192.0.2.1") == block_of("192.0.2.1")


def test_exempt_within_a_64() -> None:
    """An address of a /64 that is exempt has no limit for what comes from the others, nor they one less for it."""
    exempt, other = "2001:db8::5", "2001:db8::6"
    everybody = Connections(ConnectionTerms(handshakes_per_address=1, exempt=Networks.parse((exempt,))))
    for _ in range(2):
        arrived(everybody, exempt)
    arrived(everybody, other)
    refusal(everybody, other)
    arrived(everybody, exempt)


def test_addresses_are_forgotten() -> None:
    """An address is forgotten when nothing comes from it and its bucket is full again."""
    everybody = Connections(ConnectionTerms(rate_per_address=1, burst_per_address=2))
    stays = arrived(everybody)
    arrived(everybody, THERE).leave()
    everybody.sweep(0.5)
    assert len(everybody) == 2
    everybody.sweep(1.6)
    assert len(everybody) == 1
    stays.leave()
    everybody.sweep(5.0)
    assert len(everybody) == 0


def test_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses come, the table has its bound; who does not fit in is counted with all alone."""
    monkeypatch.setattr(connections, "MAX_ADDRESSES", 10)
    everybody = Connections(ConnectionTerms(handshakes=30, handshakes_per_address=1))
    visits = [arrived(everybody, f"192.0.2.{number}") for number in range(20)]
    visits += [arrived(everybody, "192.0.2.19") for _ in range(10)]
    assert len(everybody) == 10
    assert "in all" in refusal(everybody, "192.0.2.20")
    for visit in visits:
        visit.leave()
    arrived(everybody, "192.0.2.21", now=60.0)
    assert len(everybody) == 1


def test_descriptors() -> None:
    """A session takes two, a handshake one; half of the reserve is for handshakes that come when it is full."""
    assert (sessions_for(1024), reserved(1024)) == (462, 100)
    assert (sessions_for(40), reserved(40)) == (10, 20)
    everybody = Connections(ConnectionTerms(descriptors=5))
    arrived(everybody).verified()
    arrived(everybody).verified()
    arrived(everybody)
    assert refusal(everybody) == "connections for the descriptors that there are"


def test_patience_has_a_bound() -> None:
    """Who is refused is heard out, up to so many at a time."""
    everybody = Connections(ConnectionTerms())
    going = [everybody.showing_out() for _ in range(SHOWN_OUT_MAX + 1)]
    assert [each.__enter__() for each in going] == [True] * SHOWN_OUT_MAX + [False]
    going.pop().__exit__(None, None, None)
    going.pop().__exit__(None, None, None)
    with everybody.showing_out() as patient:
        assert patient


WALKS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["arrive", "verify", "leave"])), max_size=200)


@settings(max_examples=200, deadline=None)
@given(WALKS)
def test_counts(walk: list[tuple[int, str]]) -> None:
    """Whatever visits do, and however they are refused: the counts are those of who is there."""
    terms = ConnectionTerms(sessions=3, sessions_per_address=2, handshakes=4, handshakes_per_address=2)
    everybody = Connections(terms)
    there: dict[int, tuple[Visit, str]] = {}
    for number, does in walk:
        try:
            if does == "arrive" and number not in there:
                there[number] = (arrived(everybody, f"192.0.2.{number % 3}"), "handshake")
            elif does == "verify" and number in there and there[number][1] == "handshake":
                there[number][0].verified()
                there[number] = (there[number][0], "session")
            elif does == "leave" and number in there:
                there.pop(number)[0].leave()
        except Refused:
            pass
        stages = [stage for _, stage in there.values()]
        assert (everybody.handshakes, everybody.sessions) == (stages.count("handshake"), stages.count("session"))
        assert everybody.sessions <= 3
        assert everybody.handshakes <= 4
    for visit, _ in there.values():
        visit.leave()
        visit.leave()
    everybody.sweep(10.0)
    assert (everybody.handshakes, everybody.sessions, len(everybody)) == (0, 0, 0)
