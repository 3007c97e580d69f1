"""The WebSocket handshake, with the client and with the upstream."""

import pytest

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.wire.handshake import (
    Accepted,
    Offer,
    Upgrade,
    accept_key,
    build_101,
    check_upgrade,
    check_upstream_answer,
    choose_subprotocol,
    permessage_deflate_offer,
)
from trio_ws_gateway.wire.http import (
    BadUpstream,
    Headers,
    HttpError,
    Request,
    Response,
    build_head,
    parse_request,
    parse_response,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
DEFLATE = "permessage-deflate; client_max_window_bits"


def request(*more: tuple[str, str], start: str = "GET /ws HTTP/1.1", without: str = "") -> Request:
    fields = {
        "Host": "gw.example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    fields.pop(without, None)
    return parse_request(build_head(start, [*fields.items(), *more]))


def refusal(asked: Request) -> Cause:
    with pytest.raises(HttpError) as caught:
        check_upgrade(asked, "/ws")
    return caught.value.cause


def offering(*values: str) -> Upgrade:
    return check_upgrade(request(*[("Sec-WebSocket-Protocol", value) for value in values]), "/ws")


def test_upgrade_is_understood() -> None:
    """A handshake gives its key, the offered subprotocols in their order, and the offered extensions as they came."""
    asked = request(
        ("Sec-WebSocket-Protocol", "mqtt, mqttv3.1"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", DEFLATE),
        ("Sec-WebSocket-Extensions", "x-foo"),
    )
    assert check_upgrade(asked, "/ws") == Upgrade(
        key=KEY, subprotocols=("mqtt", "mqttv3.1", "chat"), extensions=f"{DEFLATE}, x-foo"
    )


def test_upgrade_may_offer_nothing() -> None:
    """Neither subprotocols nor extensions need be offered."""
    assert check_upgrade(request(), "/ws") == Upgrade(key=KEY)


def test_browsers_connection_header_is_understood() -> None:
    """``Upgrade`` is one element of Connection among others, and case means nothing in either field."""
    asked = parse_request(
        build_head(
            "GET /ws HTTP/1.1",
            [
                ("Host", "a"),
                ("Connection", "keep-alive, UPGRADE"),
                ("Upgrade", "h2c, WebSocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", KEY),
            ],
        )
    )
    assert check_upgrade(asked, "/ws").key == KEY


@pytest.mark.parametrize("path", ["/", "/ws/", "/WS", "/%77s", "//ws"])
def test_other_paths_are_not_found(path: str) -> None:
    """Only the path itself is the endpoint, nothing that another server might read as the same."""
    assert refusal(request(start=f"GET {path} HTTP/1.1")) is Cause.NOT_FOUND


def test_query_is_no_part_of_the_path() -> None:
    """A query does not change which path is meant."""
    assert check_upgrade(request(start="GET /ws?a=1 HTTP/1.1"), "/ws").key == KEY


@pytest.mark.parametrize("method", ["POST", "get"])
def test_other_methods_are_not_allowed(method: str) -> None:
    """Only GET upgrades."""
    assert refusal(request(start=f"{method} /ws HTTP/1.1")) is Cause.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("without", ["Upgrade", "Connection", "Sec-WebSocket-Version"])
def test_plain_request_is_told_to_upgrade(without: str) -> None:
    """A request for the endpoint that asks for no WebSocket of version 13 is answered with 426."""
    assert refusal(request(without=without)) is Cause.UPGRADE_REQUIRED


def test_http_1_0_cannot_upgrade() -> None:
    """An Upgrade in HTTP/1.0 says nothing (RFC 9110 7.8)."""
    assert refusal(request(start="GET /ws HTTP/1.0")) is Cause.UPGRADE_REQUIRED


@pytest.mark.parametrize("version", ["8", "14", "013", "13, 8", ""])
def test_other_versions_are_told_which_one(version: str) -> None:
    """Any other version than 13 is answered with 426, which names 13."""
    asked = request(("Sec-WebSocket-Version", version), without="Sec-WebSocket-Version")
    assert refusal(asked) is Cause.UPGRADE_REQUIRED


@pytest.mark.parametrize(
    "key", ["", "dGhlIHNhbXBsZSBub25jZQ", "AAAA", "dGhlIHNhbXBsZSBub25j", f"{KEY}, {KEY}", "?" * 22 + "=="]
)
def test_key_is_sixteen_bytes(key: str) -> None:
    """A key that is not 16 bytes of base64 is a bad request."""
    assert refusal(request(("Sec-WebSocket-Key", key), without="Sec-WebSocket-Key")) is Cause.BAD_REQUEST


def test_key_is_required() -> None:
    """A handshake without a key is a bad request."""
    assert refusal(request(without="Sec-WebSocket-Key")) is Cause.BAD_REQUEST


@pytest.mark.parametrize(
    "twice", [("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13"), ("Origin", "https://a")]
)
def test_single_fields_do_not_come_twice(twice: tuple[str, str]) -> None:
    """Key, version and origin say one thing each (RFC 6455 11.3); two are a bad request."""
    assert refusal(request(twice, twice, without=twice[0])) is Cause.BAD_REQUEST


def test_bearer_pair_is_a_token() -> None:
    """``bearer`` and the token behind it are no offers, wherever they stand and over however many lines."""
    assert offering("bearer, a.b.c") == Upgrade(key=KEY, bearer="a.b.c")
    upgrade = offering("mqtt, bearer", "a.b.c, chat")
    assert (upgrade.subprotocols, upgrade.bearer) == (("mqtt", "chat"), "a.b.c")


def test_bearer_has_no_case() -> None:
    """``Bearer`` is understood as well: the token behind it would be offered to the upstream otherwise."""
    upgrade = offering("Bearer, a.b.c, chat")
    assert upgrade == Upgrade(key=KEY, subprotocols=("chat",), bearer="a.b.c", bearer_name="Bearer")


def test_bearer_pair_alone_is_answered_with_its_name() -> None:
    """A browser that offered subprotocols fails without an answer: it hears the name, never the token."""
    answer = build_101(offering("Bearer, a.b.c"), None, None)
    assert b"Sec-WebSocket-Protocol: Bearer\r\n" in answer
    assert b"a.b.c" not in answer
    assert b"Sec-WebSocket-Protocol" not in build_101(offering("bearer, a.b.c, chat"), None, None)


def test_bearer_alone_is_no_token() -> None:
    """``bearer`` with nothing behind it is dropped."""
    assert offering("chat, bearer") == Upgrade(key=KEY, subprotocols=("chat",))


def test_two_bearer_pairs_are_refused() -> None:
    """Of two tokens nobody can say which one is meant."""
    assert refusal(request(("Sec-WebSocket-Protocol", "bearer, a, bearer, b"))) is Cause.BAD_REQUEST


def test_subprotocol_that_is_no_token_is_refused() -> None:
    """An offered name is a token (RFC 6455 4.1)."""
    assert refusal(request(("Sec-WebSocket-Protocol", "my chat"))) is Cause.BAD_REQUEST


def test_name_offered_twice_counts_once() -> None:
    """A name that is offered again is not offered upstream twice."""
    assert offering("chat, b, chat").subprotocols == ("chat", "b")


def test_upgrade_shows_no_token() -> None:
    """The representation of an upgrade, which may get into a log, does not show the token."""
    assert "a.b.c" not in repr(offering("bearer, a.b.c"))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("chat, mqttv3.1, mqtt", "mqttv3.1"),
        ("mqtt, mqttv3.1", "mqtt"),
        ("MQTT, mqtt", "mqtt"),
        ("bearer, a.b.c, chat, other", "chat"),
        ("bearer, a.b.c", None),
        ("", None),
    ],
)
def test_subprotocol_is_chosen_before_the_upstream_is_known(offered: str, chosen: str | None) -> None:
    """The answer is the first name that is known, else the client's first other than ``bearer``; the token never is.

    Names of subprotocols have case."""
    assert choose_subprotocol(offering(offered).subprotocols, {"mqtt", "mqttv3.1"}) == chosen


def test_accept_is_that_of_the_standard() -> None:
    """The example of RFC 6455 1.3 comes out."""
    assert accept_key(KEY) == ACCEPT


def test_101_says_what_was_agreed() -> None:
    """A 101 answers the key and names subprotocol and extension."""
    response = parse_response(build_101(Upgrade(key=KEY), "mqtt", DEFLATE))
    assert (response.status, list(response.headers)) == (
        101,
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", ACCEPT),
            ("Sec-WebSocket-Protocol", "mqtt"),
            ("Sec-WebSocket-Extensions", DEFLATE),
        ],
    )


def test_101_leaves_out_what_was_not() -> None:
    """A 101 names neither subprotocol nor extension where none was agreed."""
    assert b"Protocol:" not in build_101(Upgrade(key=KEY), None, None)
    assert b"Extensions" not in build_101(Upgrade(key=KEY), None, None)


@pytest.mark.parametrize(
    ("header", "offer"),
    [
        (None, None),
        ("", None),
        ("permessage-deflate", "permessage-deflate"),
        (DEFLATE, DEFLATE),
        (f"{DEFLATE} , permessage-deflate", f"{DEFLATE}, permessage-deflate"),
        ("x-webkit-deflate-frame, permessage-deflate ;a=1", "permessage-deflate ;a=1"),
        ("permessage-deflated", None),
        ("x-foo", None),
        ('x-foo; a="b, permessage-deflate, c"', None),
    ],
)
def test_only_permessage_deflate_is_offered_on(header: str | None, offer: str | None) -> None:
    """Of the offered extensions only permessage-deflate is kept, as it came; a quoted string cannot smuggle one in."""
    assert permessage_deflate_offer(header) == offer


def answer(*more: tuple[str, str], start: str = "HTTP/1.1 101 Switching Protocols", without: str = "") -> Response:
    fields = {"Upgrade": "WebSocket", "Connection": "upgrade", "Sec-WebSocket-Accept": ACCEPT}
    fields.pop(without, None)
    return parse_response(build_head(start, [*fields.items(), *more]))


def bad(response: Response, subprotocols: tuple[str, ...] = (), extensions: str | None = None) -> BadUpstream:
    with pytest.raises(BadUpstream) as caught:
        check_upstream_answer(response, KEY, Offer(subprotocols=subprotocols, extensions=extensions))
    return caught.value


def test_upstream_accepts() -> None:
    """What the upstream agreed to is what it named."""
    named = answer(("Sec-WebSocket-Protocol", "b"), ("Sec-WebSocket-Extensions", "permessage-deflate"))
    offer = Offer(subprotocols=("a", "b"), extensions=DEFLATE)
    assert check_upstream_answer(named, KEY, offer) == Accepted(subprotocol="b", extensions="permessage-deflate")


def test_upstream_may_name_nothing() -> None:
    """An upstream that takes none of what was offered is accepted, and says so."""
    offer = Offer(subprotocols=("mqtt",), extensions=DEFLATE)
    assert check_upstream_answer(answer(), KEY, offer) == Accepted(subprotocol=None, extensions=None)


@pytest.mark.parametrize("name", ["b", None])
def test_upstream_agrees_on_the_same_again(name: str | None) -> None:
    """What one upstream agreed to the next one is offered: exactly the name, which it must choose, or none."""
    again = Accepted(subprotocol=name, extensions=None).again
    assert again == Offer(subprotocols=("b",) if name else (), must_choose=name is not None)


def test_upstream_that_must_name_one() -> None:
    """Where a protocol needs its subprotocol, an upstream that names none is a bad one."""
    offer = Offer(subprotocols=("mqtt",), must_choose=True)
    assert check_upstream_answer(answer(("Sec-WebSocket-Protocol", "mqtt")), KEY, offer).subprotocol == "mqtt"
    with pytest.raises(BadUpstream, match="names no subprotocol") as caught:
        check_upstream_answer(answer(), KEY, offer)
    assert caught.value.status == 101


@pytest.mark.parametrize("status", [200, 302, 401, 403, 503])
def test_other_statuses_are_told(status: int) -> None:
    """The status of an answer that is no 101 is told: whether it is the client's fault matters to who tries again."""
    error = bad(answer(start=f"HTTP/1.1 {status} Whatever"))
    assert error.status == status


@pytest.mark.parametrize("without", ["Upgrade", "Connection", "Sec-WebSocket-Accept"])
def test_upstream_must_upgrade(without: str) -> None:
    """A 101 without Upgrade, Connection or Accept is a bad upstream."""
    assert bad(answer(without=without)).status == 101


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upgrade", "h2c"),
        ("Upgrade", "websocket, h2c"),
        ("Connection", "close"),
        ("Sec-WebSocket-Accept", accept_key("AAAAAAAAAAAAAAAAAAAAAA==")),
        ("Sec-WebSocket-Accept", ACCEPT.lower()),
    ],
)
def test_upstream_must_mean_this_upgrade(name: str, value: str) -> None:
    """A 101 to something else, or for another key, is a bad upstream."""
    assert bad(answer((name, value), without=name)).status == 101


@pytest.mark.parametrize("values", [["chat"], ["MQTT"], ["mqtt, mqttv3.1"], ["mqtt", "mqtt"], [""]])
def test_upstream_answers_one_of_the_offered_subprotocols(values: list[str]) -> None:
    """A subprotocol that was not offered, or a list as RabbitMQ 3.10 sends, is a bad upstream."""
    bad(answer(*[("Sec-WebSocket-Protocol", value) for value in values]), ("mqtt", "mqttv3.1"))


def test_upstream_answers_no_subprotocol_where_none_was_offered() -> None:
    """A subprotocol in answer to no offer is a bad upstream."""
    bad(answer(("Sec-WebSocket-Protocol", "mqtt")))


@pytest.mark.parametrize(
    ("answered", "offered"),
    [
        ("permessage-deflate", None),
        ("x-foo", DEFLATE),
        ("permessage-deflate, x-foo", DEFLATE),
        ("permessage-deflate, permessage-deflate", DEFLATE),
    ],
)
def test_upstream_answers_an_offered_extension(answered: str, offered: str | None) -> None:
    """An extension that was not offered, any other than permessage-deflate, or two, is a bad upstream."""
    bad(answer(("Sec-WebSocket-Extensions", answered)), (), offered)


def test_empty_list_of_extensions_is_none() -> None:
    """An empty Sec-WebSocket-Extensions agrees to nothing."""
    headers = Headers([*answer().headers, ("Sec-WebSocket-Extensions", "")])
    response = Response(status=101, reason="", version="1.1", headers=headers)
    assert check_upstream_answer(response, KEY, Offer()).extensions is None
