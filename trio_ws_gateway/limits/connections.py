"""How many connections, of one address and in all, and how fast new ones may come. Pure; ``now`` is passed in.

Asked before a request is read where the peer is the client itself, behind a trusted proxy as soon as its head is:
always before any crypto. An IPv6 address counts by its /64, for a client has all of that. The table of addresses has a
bound; whoever does not fit in is counted only with all: who has so many addresses is not stopped by their number.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address

from attrs import field, frozen

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import Networks
from trio_ws_gateway.limits.bucket import TokenBucket

MAX_ADDRESSES = 50_000  # some 15 MB
SWEEP_AGAIN_SECONDS = 1.0
PROBES = 50  # handshakes beyond the limit, from exempt addresses: whoever fills it shall not turn a liveness probe away
SHOWN_OUT_MAX = 200  # at a time, with patience; the others are cut as soon as they have been told

# A session takes two descriptors, a handshake one. Of the reserve one half is for the process itself (listener, epoll,
# log, Redis, probes), the other for handshakes that come while there are as many sessions as there may be.
RESERVED_DESCRIPTORS = 100


@frozen(kw_only=True)
class ConnectionTerms:
    """``math.inf``: no limit. ``handshakes``: connections of which nobody knows yet who they are. ``rate_per_address``:
    new connections per second, ``burst_per_address``: at once. ``exempt``: addresses that may be many clients, so only
    what is said of all holds for them. ``descriptors``: what sessions and handshakes may take of them."""

    descriptors: float = math.inf
    sessions: float = math.inf
    sessions_per_address: float = math.inf
    handshakes: float = math.inf
    handshakes_per_address: float = math.inf
    rate_per_address: float = math.inf
    burst_per_address: int = 1
    exempt: Networks = field(factory=Networks)


def reserved(descriptors: int) -> int:
    """How many of the descriptors of a process are not for sessions."""
    return min(RESERVED_DESCRIPTORS, descriptors // 2)


def sessions_for(descriptors: int) -> int:
    """For how many sessions that many descriptors are enough."""
    return (descriptors - reserved(descriptors)) // 2


class Place:
    """What comes from one address."""

    __slots__ = ("arrivals", "exempt", "handshakes", "sessions")

    def __init__(self, arrivals: TokenBucket | None, *, exempt: bool) -> None:
        self.sessions = 0
        self.handshakes = 0
        self.arrivals = arrivals
        self.exempt = exempt

    def is_forgettable(self, now: float) -> bool:
        return not self.sessions and not self.handshakes and (self.arrivals is None or self.arrivals.is_full(now))


def block_of(address: str) -> str | bytes:
    """What an address counts as: itself, or its /64. IPv4 mapped into IPv6 is IPv4."""
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return parsed.packed[:8] if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)


class Connections:
    """All connections of this process."""

    def __init__(self, terms: ConnectionTerms) -> None:
        self.terms = terms
        self.sessions = 0
        self.handshakes = 0
        self._places: dict[str | bytes, Place] = {}
        self._shown_out = 0
        self._sweep_at = -math.inf

    def admit(self, address: str | None, now: float) -> "Visit":
        """A connection more. ``address``: where it comes from; ``None`` where that is still to be heard."""
        visit = Visit(self)
        try:
            visit.arrive(address, now)
        except Refused:
            visit.leave()
            raise
        return visit

    def place(self, address: str, now: float) -> Place | None:
        """Where an address is counted; ``None`` where the table is full."""
        exempt = address in self.terms.exempt  # of an IPv6 /64 one address may be, and the others not
        block = address if exempt else block_of(address)
        place = self._places.get(block)
        if place is None:
            if len(self._places) >= MAX_ADDRESSES:
                self.sweep(now)
                if len(self._places) >= MAX_ADDRESSES:
                    return None
            terms = self.terms
            limited = terms.rate_per_address < math.inf and not exempt
            arrivals = (
                TokenBucket(rate=terms.rate_per_address, capacity=terms.burst_per_address, now=now) if limited else None
            )
            place = self._places[block] = Place(arrivals, exempt=exempt)
        return place

    def limited_block(self, address: str) -> str | bytes | None:
        """What an address counts as; ``None`` where it is exempt from what is said of addresses."""
        return None if address in self.terms.exempt else block_of(address)

    def sweep(self, now: float) -> None:
        """Forget the addresses of which there is nothing to remember. To be called now and then."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_AGAIN_SECONDS
            self._places = {block: each for block, each in self._places.items() if not each.is_forgettable(now)}

    @contextmanager
    def showing_out(self) -> Iterator[bool]:
        """For the time of somebody's last words; whether there is the patience to see him read them."""
        self._shown_out += 1
        try:
            yield self._shown_out <= SHOWN_OUT_MAX
        finally:
            self._shown_out -= 1

    def __len__(self) -> int:
        return len(self._places)


class Visit:
    """One connection, from its acceptance to its end: a handshake first, and once it is ``verified`` a session.

    Each step raises ``Refused`` where there are as many as are allowed: OVERLOADED where too many come at once,
    TOO_MANY_CONNECTIONS where too many are there. ``leave`` it in any case.
    """

    __slots__ = ("_all", "_place", "_stage")

    def __init__(self, connections: Connections) -> None:
        self._all = connections
        self._place: Place | None = None
        self._stage = "outside"

    def arrive(self, address: str | None, now: float) -> None:
        """It has been accepted."""
        everybody = self._all
        place = None if address is None else everybody.place(address, now)
        room = everybody.terms.handshakes + (PROBES if place is not None and place.exempt else 0)
        if everybody.handshakes >= room:
            raise Refused(Cause.OVERLOADED, "connections that are not known yet, in all")
        if 2 * everybody.sessions + everybody.handshakes >= everybody.terms.descriptors:
            raise _refused("for the descriptors that there are")
        everybody.handshakes += 1
        self._stage = "handshake"
        if place is not None:
            self._take(place, now)

    def come_from(self, address: str, now: float) -> None:
        """It has been heard where it comes from."""
        if (place := self._all.place(address, now)) is not None:
            self._take(place, now)

    def _take(self, place: Place, now: float) -> None:
        terms = self._all.terms
        if not place.exempt:
            if place.handshakes >= terms.handshakes_per_address:
                raise _refused("that are not known yet, of one address")
            if place.sessions >= terms.sessions_per_address:
                raise _refused("of one address")
            if place.arrivals is not None and not place.arrivals.take(1, now):
                raise _refused("per second of one address")
        place.handshakes += 1
        self._place = place

    def ask_for_session(self) -> None:
        """It wants to become a session, and not only a page."""
        if self._all.sessions >= self._all.terms.sessions:
            raise _refused("in all")

    def verified(self) -> None:
        """It is known who it is."""
        self.ask_for_session()
        place, terms = self._place, self._all.terms
        if place is not None and not place.exempt and place.sessions >= terms.sessions_per_address:
            raise _refused("of one address")
        self._leave_stage()
        self._stage = "session"
        self._all.sessions += 1
        if place is not None:
            place.sessions += 1

    def leave(self) -> None:
        """It has gone."""
        self._leave_stage()
        self._place = None

    def _leave_stage(self) -> None:
        if self._stage == "handshake":
            self._all.handshakes -= 1
            if self._place is not None:
                self._place.handshakes -= 1
        elif self._stage == "session":
            self._all.sessions -= 1
            if self._place is not None:
                self._place.sessions -= 1
        self._stage = "outside"


def _refused(which: str) -> Refused:
    return Refused(Cause.TOO_MANY_CONNECTIONS, f"connections {which}")
