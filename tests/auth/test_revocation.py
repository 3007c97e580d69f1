"""What was taken back: of which tokens, for how long, and that all who have heard the same know the same."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.revocation import ARRIVAL_SECONDS, Full, Revocation, Revocations, Terms
from trio_ws_gateway.auth.token import MAX_NUMERIC_DATE

NOW = 1_800_000_000.0
LIFE, LEEWAY = 3600.0, 30.0
ISSUER = "https://id.example.com"
TERMS = Terms(life_seconds=LIFE, leeway_seconds=LEEWAY, issuer=None)


def asked(**body: object) -> Revocation:
    return Revocation.parse(body, NOW, TERMS)


def identity(**changes: Any) -> Identity:  # noqa: ANN401
    defaults: dict[str, Any] = {"issuer": ISSUER, "subject": "robot-7", "token_id": "t-1", "session_id": "s-1"}
    return Identity(**{**defaults, "issued_at": NOW - 60, "expires_at": NOW + 300, **changes})


def table(*revocations: Revocation, size: int = 100) -> Revocations:
    made = Revocations(size)
    for revocation in revocations:
        made.add(revocation, NOW)
    return made


@pytest.mark.parametrize(
    ("body", "why", "not_of"),
    [
        ({"jti": "t-1"}, "jti", {"token_id": "t-2"}),
        ({"jti": "t-1"}, "jti", {"token_id": None}),
        ({"jti": "t-1", "sub": "robot-7"}, "jti", {"subject": "robot-8"}),
        ({"sub": "robot-7"}, "sub", {"subject": "robot-8"}),
        ({"sub": "robot-7", "iss": ISSUER}, "sub", {"issuer": "https://id.example.org"}),
        ({"sub": "robot-7", "issued_before": NOW - 50}, "sub", {"issued_at": NOW - 50}),
        ({"sid": "s-1"}, "sid", {"session_id": "s-2"}),
        ({"sid": "s-1", "sub": "robot-7"}, "sid", {"subject": "robot-8"}),
    ],
)
def test_whose_token(body: dict[str, object], why: str, not_of: dict[str, object]) -> None:
    """A token is taken back that has all the claims of a revocation, and none that differs in one."""
    revoked = table(asked(**body))
    assert revoked.why(identity(), NOW) == why
    assert revoked.why(identity(**not_of), NOW) == ""


def test_token_that_does_not_say_when() -> None:
    """A token without `iat` may have been issued before."""
    revoked = table(asked(sub="robot-7", issued_before=NOW - 3000))
    assert revoked.why(identity(issued_at=None), NOW) == "sub"


def test_names_are_not_mixed() -> None:
    """One name under two claims is two names."""
    assert table(asked(jti="robot-7"), asked(sid="robot-7")).why(identity(), NOW) == ""


def test_issuer_that_is_not_named() -> None:
    """Who names no issuer means the one whose tokens are accepted; where that is any, whichever."""
    of_one, of_any = Revocation.parse({"sub": "robot-7"}, NOW, evolve(TERMS, issuer=ISSUER)), asked(sub="robot-7")
    other = identity(issuer="https://id.example.org")
    assert table(of_one).why(identity(), NOW) == table(of_any).why(identity(), NOW) == "sub"
    assert table(of_one).why(other, NOW) == ""
    assert table(of_any).why(other, NOW) == "sub"


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"jti": "t-1"}, LIFE + LEEWAY),
        ({"jti": "t-1", "exp": NOW + 500}, 500 + LEEWAY),
        ({"jti": "t-1", "exp": NOW - 500}, ARRIVAL_SECONDS),
        ({"jti": "t-1", "exp": MAX_NUMERIC_DATE}, MAX_NUMERIC_DATE - NOW),
        ({"sub": "robot-7"}, LIFE + LEEWAY),
        ({"sub": "robot-7", "issued_before": NOW - 600}, LIFE - 600 + LEEWAY),
        ({"session": "abc"}, ARRIVAL_SECONDS),
    ],
)
def test_no_longer_than_needed(body: dict[str, object], seconds: float) -> None:
    """It is remembered until no token that it takes back can be good any more, and a minute at least."""
    revocation = asked(**body)
    assert revocation.until == NOW + seconds
    revoked = table(revocation)
    revoked.sweep(NOW + seconds - 1)
    assert len(revoked) == 1
    assert revoked.why(identity(), NOW + seconds) == ""
    revoked.sweep(NOW + seconds)
    assert len(revoked) == 0


def test_session() -> None:
    """A session of ours is cut by its id, and no token is the worse for it."""
    revoked = table(asked(session="abc"))
    assert revoked.cuts("abc", NOW)
    assert not revoked.cuts("abd", NOW)
    assert revoked.why(identity(), NOW) == ""


def test_bound() -> None:
    """A full table takes no more, and forgets none for another; what is over makes room."""
    revoked = table(asked(jti="a", exp=NOW), asked(jti="b"), size=2)
    with pytest.raises(Full):
        revoked.add(asked(jti="c"), NOW)
    assert not revoked.add(asked(jti="b"), NOW)
    assert revoked.add(asked(jti="c"), NOW + ARRIVAL_SECONDS)
    assert len(revoked) == 2


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("robot-7", "is no JSON object"),
        ([], "is no JSON object"),
        ({}, "names neither"),
        ({"iss": ISSUER}, "names neither"),
        ({"jti": "a", "session": "b"}, "do not go together"),
        ({"jti": ""}, "has a jti that is not a text"),
        ({"sub": 7}, "has a sub that is not a text"),
        ({"sub": "x" * 1025}, "has a sub that is not a text"),
        ({"sub": "a\ud800"}, "has a sub that is not a text"),
        ({"iss": "\x00", "sub": "a"}, "has a iss that is not a text"),
        ({"subject": "robot-7"}, "has a member that means nothing here: 'subject'"),
        ({"jti": "a", "issued_before": NOW}, "has issued_before, which is for all"),
        ({"sub": "a", "exp": NOW}, "has exp, which is for the token"),
        ({"sub": "a", "issued_before": True}, "no time"),
        ({"sub": "a", "issued_before": float("inf")}, "no time"),
        ({"sub": "a", "issued_before": NOW * 1000}, "no token may have"),
        ({"sub": "a", "issued_before": NOW + 60}, "in the future"),
        ({"jti": "a", "exp": NOW * 1000}, "no token may have"),
        ({"jti": "a", "exp": 10**400}, "no token may have"),
    ],
)
def test_what_is_wrong(body: object, wrong: str) -> None:
    """A request that says nothing, too much, or what is no claim's value is refused with words."""
    with pytest.raises(ValueError, match=wrong):
        Revocation.parse(body, NOW, TERMS)


NAMES = st.sampled_from(["a", "b"])
TIMES = st.integers(0, 3).map(lambda number: NOW + 100.0 * number)
REVOCATIONS = st.one_of(
    st.builds(Revocation, until=TIMES, iss=st.none() | NAMES, jti=NAMES, sub=st.none() | NAMES),
    st.builds(Revocation, until=TIMES, iss=st.none() | NAMES, sub=NAMES, issued_before=st.none() | TIMES),
    st.builds(Revocation, until=TIMES, iss=st.none() | NAMES, sid=NAMES, sub=st.none() | NAMES),
    st.builds(Revocation, until=TIMES, session=NAMES),
)
IDENTITIES = st.builds(
    Identity,
    issuer=NAMES,
    subject=NAMES,
    token_id=st.none() | NAMES,
    session_id=st.none() | NAMES,
    issued_at=st.none() | TIMES,
    expires_at=st.just(NOW + 1000),
)


@given(
    st.lists(REVOCATIONS, max_size=8).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some + some[:3])))
)
def test_order_does_not_matter(heard: tuple[list[Revocation], list[Revocation]]) -> None:
    """Whoever has heard the same knows the same, in whatever order it came and however often."""
    one, other = (set(table(*revocations)) for revocations in heard)
    assert one == other


@given(st.lists(REVOCATIONS, max_size=6), IDENTITIES, TIMES)
def test_same_as_asking_each(revocations: list[Revocation], who: Identity, now: float) -> None:
    """A token is taken back if one of the revocations takes it back, each looked at by itself."""

    def covers(revocation: Revocation) -> bool:
        pairs = [(revocation.iss, who.issuer), (revocation.jti, who.token_id), (revocation.sid, who.session_id)]
        pairs.append((revocation.sub, who.subject))
        same = revocation.session is None and all(wanted in (None, claim) for wanted, claim in pairs)
        before = revocation.issued_before
        return same and now < revocation.until and (before is None or who.issued_at is None or who.issued_at < before)

    each_by_itself = any(map(covers, revocations))
    together = bool(table(*revocations).why(who, now))
    assert together >= each_by_itself
    if len({revocation.key for revocation in revocations}) == len(revocations):  # else the wider of two holds
        assert together == each_by_itself


@given(REVOCATIONS)
def test_json(revocation: Revocation) -> None:
    """What is passed on is what was heard."""
    assert Revocation.from_json(revocation.to_json()) == revocation
