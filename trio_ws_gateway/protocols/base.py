"""The adapter interface: all that the gateway asks of a protocol.

A further protocol is one file beside this one that implements ``Adapter`` and ``Greeting``, and a
line in ``registry``. Adapters are pure: they get what the client said as bytes and return values;
they raise ``Refused`` and nothing else. They never see a frame, a socket or a clock.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from attrs import frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Words
from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.handshake import Offer


@frozen(kw_only=True)
class Opening:
    """What a client has said since the 101.

    ``payload``: the payloads of its data messages so far, joined. ``text``: the first of them is a text
    message. ``complete``: no message is half said. ``offered``: the subprotocols of its request.
    """

    payload: bytes
    text: bool
    complete: bool
    offered: tuple[str, ...] = ()


class Verdict(Enum):
    """What an adapter says of an opening that is not yet, or never, a greeting of its protocol."""

    NOT_MINE = "not mine"
    MORE = "more"


class Unchanged(Enum):
    """What becomes of the opening where the adapter does not rewrite it."""

    AS_IT_CAME = "as it came"
    NOTHING = "nothing"  # it was only a credential


class Walker(Protocol):
    """Follows the protocol's packets through the payloads of one direction, without keeping any."""

    packets: int
    """How many have begun."""

    @property
    def at_boundary(self) -> bool:
        """No packet is half passed."""

    @property
    def welcomed(self) -> bool:
        """The upstream's first answer has passed whole."""

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """``view[start:end]`` is payload of one frame, ``offset`` bytes into it, masked with ``mask``.

        How many bytes at its end must not pass, or not now; mostly 0.
        """


class Inspector(Protocol):
    """Looks at the packets of one side, one by one, and decides what the other hears in their place.

    It is fed payloads, and what it has let pass is taken as frames of its own. ``packets``: how many have begun.
    ``ceiling``: no packet begins beyond that number. ``asked``: what a packet asks of the gateway; it lets nothing more
    pass until that is ``None`` again.
    """

    packets: int
    ceiling: int
    asked: Asked | None

    @property
    def fault(self) -> str:
        """Why nothing more may pass for ever, in words; else empty."""

    @property
    def welcomed(self) -> bool:
        """As a ``Walker``'s, toward the client."""

    @property
    def at_boundary(self) -> bool:
        """No packet is half passed."""

    @property
    def has_finished(self) -> bool:
        """It has nothing more to look at, and holds nothing: frames may pass as they come, where a message begins."""

    def step_aside(self) -> None:
        """They do, from here on; it still knows where packets end."""

    @property
    def held_bytes(self) -> int:
        """Of a packet that waits for its end."""

    def feed(self, view: memoryview, start: int, end: int, mask: bytes | None, offset: int) -> int:
        """As a ``Walker``'s. How many bytes at its end do not pass: for the ceiling, what is asked, or a fault."""

    def on_control(self, frame: memoryview) -> None:
        """A control frame passes."""

    def take(self) -> bytearray:
        """Whole frames for the other side."""


class Greeting(Protocol):
    """A client's first words, understood. Lives as long as its session."""

    @property
    def protocol(self) -> str:
        """The adapter's ``name``."""

    @property
    def credential(self) -> str | None:
        """The token that the first words carry, if they do. Not yet believed."""

    @property
    def describes(self) -> dict[str, str]:
        """What the session's log line says of it (client id, version), never a secret."""

    @property
    def names_the_client(self) -> bool:
        """Whether the upstream's handshake says who the client is, in headers."""

    @property
    def upstream_may_end_first(self) -> bool:
        """An upstream that ends its stream without a Close may just have done what the client asked for in the
        protocol's own words (MQTT: DISCONNECT). It is lost only if the client does not leave as well."""

    def offer(self, answered: str | None) -> Offer:
        """What the upstream is offered in its handshake. ``answered``: the subprotocol that the client was given."""

    def for_upstream(self, identity: Identity | None, token: str | None) -> bytes | Unchanged:
        """The payload that the upstream hears in place of the opening.

        ``token``: the token that was verified, whichever way it came. Raises ``Refused(FORBIDDEN)``
        where the greeting claims another one's name.
        """

    def without_secrets(self) -> "Greeting":
        """The same, less the credential and the opening: what a session keeps for as long as it lasts."""

    def walkers(self) -> tuple[Walker | None, Walker | None]:
        """New walkers toward the upstream and toward the client, each only where ``farewell`` or ``leave`` will need
        to know a packet boundary: they cost time on every message."""

    def inspectors(self, *, counted: bool) -> tuple[Inspector | None, Inspector | None]:
        """New ones for what goes to the upstream and to the client, in place of walkers and only where somebody has to
        look at packets: they cost more. ``counted``: there is a limit on the client's."""

    @property
    def overhears(self) -> Callable[[bytes], Asked | None] | None:
        """Says what a short text message of the client's asks of the gateway itself; ``None`` where none ever does."""

    def authorise_anew(self, told: Identity, now: Identity) -> None:
        """The client has a newer token. Raises ``Refused(FORBIDDEN)`` where it does not allow what goes on.

        ``told``: who the upstream was told that the client is.
        """

    def farewell(self, cause: Cause, *, welcomed: bool) -> Words:
        """What the protocol says to its client before the Close frame; empty where it says nothing.

        ``welcomed``: the upstream's own first answer (MQTT: CONNACK) has passed to the client.
        """

    def leave(self, cause: Cause) -> Words:
        """What the protocol says to the upstream before the connection ends (MQTT: a DISCONNECT that keeps the
        will from firing); empty where it says nothing."""


class Adapter(Protocol):
    """One protocol: how it is recognised."""

    @property
    def name(self) -> str:
        """The word for metrics, logs and settings: ``mqtt``, ``raw``."""

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """Subprotocols that say that a client speaks this protocol, best first."""

    def recognise(self, opening: Opening) -> Greeting | Verdict:
        """Whether the opening is this protocol's greeting. Asked again with more after ``MORE``.

        Raises ``Refused`` where it plainly is this protocol and plainly wrong.
        """
