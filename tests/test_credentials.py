"""Which credential of a client decides."""

import pytest

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.credentials import Carrier, Credential, early_credential, late_cookie, without_token
from trio_ws_gateway.wire.handshake import Upgrade
from trio_ws_gateway.wire.http import HttpError, Request, build_head, parse_request

HEADER = ("Authorization", "Bearer h.h.h")
COOKIE = ("Cookie", "a=1; session=c.c.c")
QUERY = "token=q.q.q"


def asking(*fields: tuple[str, str], query: str = "") -> Request:
    return parse_request(build_head(f"GET /ws?{query} HTTP/1.1", [("Host", "a"), *fields]))


def early(
    *fields: tuple[str, str],
    query: str = "",
    bearer: str | None = None,
    cookie_waits: bool = False,
    cookie_name: str | None = "session",
) -> Credential | None:
    return early_credential(
        asking(*fields, query=query),
        Upgrade(key="", bearer=bearer),
        query_parameters=("token", "access_token"),
        cookie_name=cookie_name,
        cookie_waits=cookie_waits,
    )


def test_order_of_carriers() -> None:
    """The header counts before the subprotocol, that before the query, that before the cookie."""
    assert early(HEADER, COOKIE, query=QUERY, bearer="s.s.s") == Credential("h.h.h", Carrier.HEADER)
    assert early(COOKIE, query=QUERY, bearer="s.s.s") == Credential("s.s.s", Carrier.SUBPROTOCOL)
    assert early(COOKIE, query=QUERY) == Credential("q.q.q", Carrier.QUERY)
    assert early(COOKIE) == Credential("c.c.c", Carrier.COOKIE)
    assert early() is None


def test_there_is_no_second_chance() -> None:
    """A header or subprotocol that holds no JWT is the credential all the same, whatever else is there."""
    assert early(("Authorization", "Bearer garbage"), COOKIE, query=QUERY) == Credential("garbage", Carrier.HEADER)
    assert early(("Authorization", "Bearer"), COOKIE, query=QUERY) == Credential("", Carrier.HEADER)
    assert early(COOKIE, query=QUERY, bearer="garbage") == Credential("garbage", Carrier.SUBPROTOCOL)


@pytest.mark.parametrize("value", ["bearer h.h.h", "BEARER  h.h.h", "Bearer h.h.h "])
def test_bearer_has_no_case(value: str) -> None:
    """The scheme has no case, and spaces around the token are none of it."""
    assert early(("Authorization", value)) == Credential("h.h.h", Carrier.HEADER)


@pytest.mark.parametrize("value", ["Basic dTpw", "Bearerh.h.h", "h.h.h", "", "Digest Bearer h.h.h"])
def test_other_schemes_are_no_credential(value: str) -> None:
    """An Authorization of another scheme says nothing here, and what else there is counts."""
    assert early(("Authorization", value), query=QUERY) == Credential("q.q.q", Carrier.QUERY)


@pytest.mark.parametrize("second", [HEADER, ("authorization", "Basic dTpw")])
def test_two_authorizations_are_refused(second: tuple[str, str]) -> None:
    """Of two Authorization headers another reader might take the other one."""
    with pytest.raises(HttpError) as caught:
        early(HEADER, second)
    assert caught.value.cause is Cause.BAD_REQUEST


@pytest.mark.parametrize(
    "query",
    [
        "token=q.q.q",
        "a=1&token=q.q.q&b=2",
        "access_token=q.q.q",
        "token=q%2Eq%2eq",
        "%74oken=q.q.q",
        "token=&token=opaque&token=q.q.q",
        "token=q.q.q&access_token=r.r.r",
    ],
)
def test_query_carries_a_token(query: str) -> None:
    """The first parameter of a token's name with the shape of a JWT is the credential, percent-encoded or not."""
    assert early(query=query) == Credential("q.q.q", Carrier.QUERY)


@pytest.mark.parametrize("query", ["token=opaque", "token", "token=", "Token=q.q.q", "xtoken=q.q.q", "a=token=q.q.q"])
def test_query_value_without_the_shape_is_no_credential(query: str) -> None:
    """A value that has not the shape of a JWT, or another parameter's, is no credential."""
    assert early(query=query) is None
    assert early(COOKIE, query=query) == Credential("c.c.c", Carrier.COOKIE)


def test_cookie_that_has_to_wait_comes_late() -> None:
    """The cookie of a client that offers a protocol is asked for after its first words; no other carrier is late."""
    assert early(COOKIE, cookie_waits=True) is None
    assert early(COOKIE, query=QUERY, cookie_waits=True) == Credential("q.q.q", Carrier.QUERY)
    assert late_cookie(asking(COOKIE), "session") == Credential("c.c.c", Carrier.COOKIE)


def test_cookie_may_be_no_credential() -> None:
    """Where cookies do not count, none is a credential."""
    assert early(COOKIE, cookie_name=None) is None
    assert late_cookie(asking(COOKIE), None) is None


@pytest.mark.parametrize("cookie", ["session=opaque", "session=", "Session=c.c.c", "other=c.c.c"])
def test_cookie_without_the_shape_is_no_credential(cookie: str) -> None:
    """A backend's own session cookie, or another cookie, is no credential."""
    assert late_cookie(asking(("Cookie", cookie)), "session") is None


def test_first_cookie_with_the_shape_counts() -> None:
    """Of several cookies of that name the first one with the shape of a JWT counts."""
    request = asking(("Cookie", "session=opaque; session=c.c.c"), ("Cookie", "session=d.d.d"))
    assert late_cookie(request, "session") == Credential("c.c.c", Carrier.COOKIE)


def test_credential_shows_no_token() -> None:
    """The representation of a credential, which may get into a log, does not show it."""
    assert repr(early(HEADER)) == "Credential(carrier=<Carrier.HEADER: 'header'>)"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("token=q.q.q", ""),
        ("a=1&token=q.q.q&b=%2f+%2F", "a=1&b=%2f+%2F"),
        ("token=q.q.q&&a&=b&token=r&access_token", "&a&=b"),
        ("%74oken=q.q.q&a=token", "a=token"),
        ("token=opaque&Token=1&tokens=2", "Token=1&tokens=2"),
        ("a=1&a=2&b", "a=1&a=2&b"),
    ],
)
def test_query_loses_only_the_token(query: str, left: str) -> None:
    """Every parameter of a token's name goes, whatever it holds; the rest stays byte for byte."""
    assert without_token(query, ("token", "access_token")) == left
