"""What was taken back: tokens, subjects, sessions. Pure; ``now`` is passed in, in seconds since 1970.

A revocation names claims, and takes back each token that has all of them, of that issuer where it names one. It is
remembered as long as such a token could still be good, and no longer. Two tables that have heard the same revocations
know the same, in whatever order and however often each came: that is what processes and gateways rely on.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self

from attrs import asdict, evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.token import MAX_NAME_CHARACTERS, MAX_NUMERIC_DATE, is_name

NAMES: Final = ("jti", "sid", "sub", "session")  # the more special ones first
REVOCATIONS_MAX: Final = 100_000  # that anybody remembers at a time
ARRIVAL_SECONDS: Final = 60.0  # what has nothing left to refuse has sessions to cut still, everywhere

_Key = tuple[str | bool | None, ...]


@frozen(kw_only=True)
class Terms:
    """``life_seconds``: no token is good for longer after it was issued. ``leeway_seconds``: by so much more may clocks
    differ. ``issuer``: of a revocation that names none."""

    life_seconds: float
    leeway_seconds: float
    issuer: str | None


class Full(Exception):
    """There are as many revocations as may be: none is forgotten for another, and this one is not remembered."""


def _no_later_than_any_token(until: float) -> float:
    return min(until, MAX_NUMERIC_DATE)


@frozen(kw_only=True)
class Revocation:
    """One of ``jti`` (with its ``sub``, or without), ``sub``, ``sid`` (a session at the provider; with ``sub``, or
    without), and ``session`` (one of ours, by the id in its log line).

    ``iss`` ``None``: of whatever issuer. ``issued_before``: of a subject only its tokens from before that time
    (``iat``), and those that do not say; ``None``: all of them. ``until``: when it may be forgotten.
    """

    until: float = field(converter=_no_later_than_any_token)
    iss: str | None = None
    jti: str | None = None
    sub: str | None = None
    sid: str | None = None
    session: str | None = None
    issued_before: float | None = None

    @classmethod
    def parse(cls, body: object, now: float, terms: Terms) -> Self:
        """What somebody asks for: the names above, and ``exp``, that of the token of this ``jti``.

        Raises ``ValueError`` with what is wrong with it.
        """
        if not isinstance(body, Mapping):
            raise ValueError("is no JSON object")
        known = {*NAMES, "iss", "issued_before", "exp"}
        if unknown := [name for name in body if name not in known]:
            raise ValueError(f"has a member that means nothing here: {str(unknown[0])[:40]!r}")
        given = {name: _text(body, name) for name in ("iss", *NAMES)}
        before, exp = _time(body, "issued_before"), _time(body, "exp")
        by_subject = given["jti"] is given["sid"] is None
        named = {name for name in NAMES if given[name] is not None}
        if named not in ({"jti"}, {"jti", "sub"}, {"sub"}, {"sid"}, {"sid", "sub"}, {"session"}):
            raise ValueError("names neither a jti nor a sub nor a sid nor a session, or two that do not go together")
        if before is not None and not by_subject:
            raise ValueError("has issued_before, which is for all tokens of a sub")
        if exp is not None and given["jti"] is None:
            raise ValueError("has exp, which is for the token of a jti")
        if before is not None and before > now + terms.leeway_seconds:
            raise ValueError("has an issued_before in the future, as if seconds were milliseconds")
        soonest = now + ARRIVAL_SECONDS
        if given["session"] is not None:
            return cls(until=soonest, session=given["session"])
        expires_at = exp if exp is not None else (now if before is None else before) + terms.life_seconds
        until = max(soonest, expires_at + terms.leeway_seconds)
        return cls(until=until, **{**given, "iss": given["iss"] or terms.issuer}, issued_before=before)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Of what ``to_json`` has made. Raises ``ValueError`` where it is not that."""
        until = _time(body, "until")
        if until is None:
            raise ValueError("has no until")
        names = {name: _text(body, name) for name in ("iss", *NAMES)}
        return cls(until=until, **names, issued_before=_time(body, "issued_before"))

    def to_json(self) -> dict[str, str | float]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def key(self) -> _Key:
        """What it is about: of two about one thing the wider holds."""
        return (self.iss, self.jti, self.sub, self.sid, self.session, self.issued_before is not None)

    def joined(self, other: Self) -> Self:
        """All that either of two about the same takes back, for as long as either does."""
        before = None if self.issued_before is None else max(self.issued_before, other.issued_before or 0)
        return evolve(self, until=max(self.until, other.until), issued_before=before)


class Revocations:
    """At most ``size`` of them, some 350 bytes each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._of: dict[_Key, Revocation] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Revocation]:
        return iter(self._of.values())

    def __contains__(self, revocation: Revocation) -> bool:
        """Whether just that was taken back before, no matter until when."""
        return revocation.key in self._of

    def add(self, revocation: Revocation, now: float, *, share: float = 1) -> bool:
        """Whether it says anything new. ``share``: of the table that it may use. Raises ``Full``."""
        if revocation.until <= now:
            return False
        known = self._of.get(revocation.key)
        room = self._size * share
        if known is None and len(self._of) >= room:
            self.sweep(now)
            if len(self._of) >= room:
                raise Full
        joined = revocation if known is None else known.joined(revocation)
        self._of[revocation.key] = joined
        return joined != known

    def why(self, identity: Identity, now: float) -> str:
        """By which of its claims its token is taken back; empty where it is not."""
        if not self._of:
            return ""
        for key in _keys(identity):
            found = self._of.get(key)
            if found is not None and now < found.until and _was_issued_before(identity, found.issued_before):
                return next(name for name in NAMES if getattr(found, name) is not None)
        return ""

    def cuts(self, session: str, now: float) -> bool:
        """Whether that session of ours is to end."""
        found = self._of.get((None, None, None, None, session, False))
        return found is not None and now < found.until

    def sweep(self, now: float) -> None:
        """Forget what no good token can be of any more."""
        for key in [key for key, revocation in self._of.items() if revocation.until <= now]:
            del self._of[key]


def _keys(identity: Identity) -> Iterable[_Key]:
    """All revocations that could be about that token. Threat: a subject, or a ``jti``, is one only with its issuer."""
    jti, sub, sid = identity.token_id, identity.subject, identity.session_id
    for iss in (identity.issuer, None):
        yield (iss, None, sub, None, None, False)
        yield (iss, None, sub, None, None, True)
        if jti is not None:
            yield (iss, jti, None, None, None, False)
            yield (iss, jti, sub, None, None, False)
        if sid is not None:
            yield (iss, None, None, sid, None, False)
            yield (iss, None, sub, sid, None, False)


def _was_issued_before(identity: Identity, moment: float | None) -> bool:
    """A token that does not say when it was issued may have been then. ``iat`` has whole seconds as a rule, so one of
    the same second counts as from before."""
    return moment is None or identity.issued_at is None or identity.issued_at < moment


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not value or not is_name(value):
        raise ValueError(f"has a {name} that is not a text of 1 to {MAX_NAME_CHARACTERS} characters, none of control")
    return value


def _time(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_NUMERIC_DATE:  # milliseconds are beyond it
        raise ValueError(f"has an {name} that is no time in seconds since 1970, or one that no token may have")
    return float(value)
