"""An invented protocol of text messages: what a further protocol takes is this file and a line in the registry.

``WHISPER <name> <token>`` is its greeting, and ``SORRY <cause>`` what it says to whom it does not serve.
"""

from attrs import evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Opening, Verdict
from trio_ws_gateway.wire.handshake import Offer

GREETING = "WHISPER "


def sorry(cause: Cause) -> str:
    return f"SORRY {cause.value}"


@frozen
class WhisperGreeting:
    name: str
    credential: str | None = field(repr=False)
    protocol: str = "whisper"
    names_the_client: bool = False
    upstream_may_end_first: bool = False

    @property
    def describes(self) -> dict[str, str]:
        return {"name": self.name}

    def offer(self, answered: str | None) -> Offer:
        return Offer(subprotocols=("whisper",), must_choose=True)

    def for_upstream(self, identity: Identity | None, token: str | None) -> bytes:
        """The greeting without its token."""
        return f"{GREETING}{self.name}".encode()

    def without_secrets(self) -> "WhisperGreeting":
        return evolve(self, credential=None)

    def walkers(self) -> tuple[None, None]:
        return None, None

    def inspectors(self, *, counted: bool) -> tuple[None, None]:
        return None, None

    overhears: None = None

    def authorise_anew(self, told: Identity, now: Identity) -> None:
        """A name is a name."""

    def farewell(self, cause: Cause, *, welcomed: bool) -> str:
        return sorry(cause)

    def leave(self, cause: Cause) -> str:
        return "BYE"


class WhisperAdapter:
    name = "whisper"
    subprotocols = ("whisper",)

    def recognise(self, opening: Opening) -> WhisperGreeting | Verdict:
        said = opening.payload.decode()
        if not said.startswith(GREETING[: len(said)]):
            return Verdict.NOT_MINE
        if not opening.complete:
            return Verdict.MORE
        words = said.split(" ")
        if len(words) != 3:
            cause = Cause.BAD_FIRST_MESSAGE
            raise Refused(cause, "no name and token", last_words=sorry(cause))
        return WhisperGreeting(words[1], words[2])
