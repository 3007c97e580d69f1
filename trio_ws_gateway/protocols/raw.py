"""Raw WebSocket: what no other protocol takes. Its first message may be nothing but the token.

Whatever is said is forwarded as it came, except a first message that was the credential: it is
consumed. Has no words of its own to say hello or goodbye.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Opening, Unchanged, Verdict
from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.handshake import Offer
from trio_ws_gateway.wire.jwt_shape import looks_like_jwt

NAME: Final = "raw"
TOKEN_NAMES: Final = ("token", "access_token", "jwt")  # the first that is there decides


@frozen
class RawGreeting:
    """A raw client. Without a ``credential`` where its token came early, or never.

    ``renewal_type``: the ``type`` of a message that carries a newer token; ``None``: none does.
    """

    credential: str | None = field(default=None, repr=False)
    renewal_type: str | None = field(default=None, kw_only=True)

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
        return evolve(self, credential=None)

    def walkers(self) -> tuple[None, None]:
        return None, None

    def inspectors(self, *, counted: bool) -> tuple[None, None]:
        return None, None

    @property
    def overhears(self) -> Callable[[bytes], Asked | None] | None:
        return None if self.renewal_type is None else partial(renewal_in, self.renewal_type)

    def authorise_anew(self, told: Identity, now: Identity) -> None:
        """The upstream was told of roles when it was dialled, and cannot be told that one is gone."""
        if not set(told.roles) <= set(now.roles):
            raise Refused(Cause.FORBIDDEN, "the newer token lacks a role that the upstream was told of")

    def farewell(self, cause: Cause, *, welcomed: bool) -> bytes:
        return b""

    def leave(self, cause: Cause) -> bytes:
        return b""


class RawAdapter:
    """Takes everything, once the first message is complete; to be asked last."""

    name = NAME
    subprotocols: tuple[str, ...] = ()

    def __init__(self, *, renewal_type: str | None = None) -> None:
        self._renewal_type = renewal_type

    def recognise(self, opening: Opening) -> RawGreeting | Verdict:
        if not opening.complete:
            return Verdict.MORE
        return RawGreeting(credential_in(opening.payload), renewal_type=self._renewal_type)


def renewal_in(renewal_type: str, message: bytes) -> Asked | None:
    """A JSON object of that ``type`` asks for a renewal; its ``token`` is the newer one."""
    if json.dumps(renewal_type).encode() not in message:
        return None
    said = _json_object(message)
    if said is None or said.get("type") != renewal_type:
        return None
    token = said.get("token")
    reply = json.dumps({"type": renewal_type, "renewed": True})
    return Asked(token=_ascii(token) if isinstance(token, str) else "", reply=reply)


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
    said = _json_object(message)
    if said is None:
        return None
    found = (said.get(name) for name in TOKEN_NAMES)
    token = next((value for value in found if isinstance(value, str) and value), None)
    return None if token is None else _ascii(token)


def _ascii(token: str) -> str:
    """A lone surrogate (legal in JSON's escapes) would be an encoding error wherever the token is used next."""
    return token.encode("ascii", "backslashreplace").decode("ascii")


def _json_object(message: bytes) -> dict[str, object] | None:
    """The one that a message is, if it is."""
    try:
        text = message.decode().strip()
        if not text.startswith("{"):
            return None
        said: dict[str, object] = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return said


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):  # threat: two readers that pick different tokens
        raise ValueError("a name comes twice")
    return named


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
