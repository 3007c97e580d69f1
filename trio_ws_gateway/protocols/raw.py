"""Raw WebSocket: what no other protocol takes. Its first message may be nothing but the token.

Whatever is said is forwarded as it came, except a first message that was the credential: it is
consumed. Has no words of its own to say hello or goodbye.
"""

import json
from typing import Final

from attrs import field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.protocols.base import Opening, Unchanged, Verdict
from trio_ws_gateway.wire.handshake import Offer
from trio_ws_gateway.wire.jwt_shape import looks_like_jwt

NAME: Final = "raw"
TOKEN_NAMES: Final = ("token", "access_token", "jwt")  # the first that is there decides


@frozen
class RawGreeting:
    """A raw client. Without a ``credential`` where its token came early, or never."""

    credential: str | None = field(default=None, repr=False)

    @property
    def protocol(self) -> str:
        return NAME

    @property
    def describes(self) -> dict[str, str]:
        return {}

    @property
    def names_the_client(self) -> bool:
        return True

    @property
    def upstream_may_end_first(self) -> bool:
        return False

    def offer(self, answered: str | None) -> Offer:
        """What the client was given, if anything; an upstream may do without."""
        return Offer(subprotocols=() if answered is None else (answered,))

    def for_upstream(self, identity: Identity | None, token: str | None) -> Unchanged:
        """Nothing if the opening was the credential; one that came beside the token that was verified is data."""
        consumed = self.credential is not None and token in (None, self.credential)
        return Unchanged.NOTHING if consumed else Unchanged.AS_IT_CAME

    def without_secrets(self) -> "RawGreeting":
        return RawGreeting()

    def walkers(self) -> tuple[None, None]:
        return None, None

    def inspector(self) -> None:
        return None

    def farewell(self, cause: Cause, *, welcomed: bool) -> bytes:
        return b""

    def leave(self, cause: Cause) -> bytes:
        return b""


class RawAdapter:
    """Takes everything, once the first message is complete; to be asked last."""

    name = NAME
    subprotocols: tuple[str, ...] = ()

    def recognise(self, opening: Opening) -> RawGreeting | Verdict:
        return RawGreeting(credential_in(opening.payload)) if opening.complete else Verdict.MORE


def credential_in(message: bytes) -> str | None:
    """The token that a whole message is: a bare JWT, or a JSON object with one of ``TOKEN_NAMES``.

    White space around either is allowed. What is not quite JSON (NaN, a name twice, nested too deeply) is data. In
    JSON any string counts, so that a bad token is refused and not forwarded; it is given back in ASCII.
    """
    try:
        text = message.decode().strip()
    except UnicodeDecodeError:
        return None
    if looks_like_jwt(text):
        return text
    if not text.startswith("{"):
        return None
    try:
        said = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    found = (said.get(name) for name in TOKEN_NAMES)
    token = next((value for value in found if isinstance(value, str) and value), None)
    # A lone surrogate (legal in JSON's escapes) would be an encoding error wherever the token is used next.
    return None if token is None else token.encode("ascii", "backslashreplace").decode("ascii")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):  # threat: two readers that pick different tokens
        raise ValueError("a name comes twice")
    return named


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
