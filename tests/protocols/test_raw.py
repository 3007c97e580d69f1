"""The raw adapter: what is a token, what is data, and what becomes of either."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.protocols.base import Adapter, Opening, Unchanged, Verdict
from trio_ws_gateway.protocols.raw import RawAdapter, RawGreeting, credential_in
from trio_ws_gateway.wire.handshake import Offer

JWT = "eyJh.eyJz.c2ln"
ADAPTER: Adapter = RawAdapter()


@pytest.mark.parametrize("text", [True, False])
def test_raw_waits_for_the_first_message_to_be_complete(text: bool) -> None:
    """Half a message may be half a token; a whole one, text or binary, is a greeting."""
    assert ADAPTER.recognise(Opening(payload=JWT[:5].encode(), text=text, complete=False)) is Verdict.MORE
    assert ADAPTER.recognise(Opening(payload=JWT.encode(), text=text, complete=True)) == RawGreeting(JWT)
    assert ADAPTER.recognise(Opening(payload=b"hello", text=text, complete=True)) == RawGreeting()


@pytest.mark.parametrize(
    ("message", "token"),
    [
        (JWT, JWT),
        (f"\r\n {JWT}\t\n", JWT),
        (f'{{"token": "{JWT}"}}', JWT),
        (f' {{"access_token":"{JWT}","type":"auth"}} ', JWT),
        (f'{{"jwt":"{JWT}"}}', JWT),
        ('{"jwt":"j","access_token":"a","token":"t"}', "t"),
        ('{"jwt":"j","access_token":"a","token":5}', "a"),
        ('{"jwt":"j","access_token":null,"token":""}', "j"),
        ('{"token":"not a jwt"}', "not a jwt"),
        ('{"token":"\\ud800"}', "\\ud800"),
        ('{"token":"é"}', "\\xe9"),
    ],
)
def test_a_message_that_is_a_token(message: str, token: str) -> None:
    """A bare JWT, or the first of `token`, `access_token` and `jwt` that is a string, is the credential, in ASCII."""
    assert credential_in(message.encode()) == token


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        b"\xff\xfe",
        b"Bearer " + JWT.encode(),
        b"[1]",
        b'"' + JWT.encode() + b'"',
        b'["' + JWT.encode() + b'"]',
        b"{}",
        b"{",
        b'{"Token":"a"}',
        b'{"auth":{"token":"a"}}',
        b'{"token":{"token":"a"}}',
        b'{"token":"a","n":NaN}',
        b'{"token":"a","n":-Infinity}',
        b'{"token":"a","token":"b"}',
        b'{"token":"a","x":{"y":1,"y":2}}',
        b'{"token":"a"} {}',
        b'\xef\xbb\xbf{"token":"a"}',
        b'{"token":"a","n":' + b"9" * 5000 + b"}",
        b'{"token":"a","x":' + b"[" * 50_000,
        b'{"token":"a","x":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    ],
)
def test_a_message_that_is_data(message: bytes) -> None:
    """Anything else is data, however deep it is nested and whatever is wrong with it as JSON."""
    assert credential_in(message) is None


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["token", "jwt", "x"]), st.text()).map(lambda said: json.dumps(said).encode())
)
def test_no_message_raises(message: bytes) -> None:
    """Whatever the message is, its credential is a string of ASCII that is not empty, or none."""
    token = credential_in(message)
    assert token is None or (token and token.isascii())


def test_a_credential_is_consumed() -> None:
    """A message that was the credential is not forwarded; other ones are, and so is a token that decided nothing."""
    assert RawGreeting(JWT).for_upstream(None, JWT) is Unchanged.NOTHING
    assert RawGreeting(JWT).for_upstream(None, None) is Unchanged.NOTHING
    assert RawGreeting(JWT).for_upstream(None, "another.early.one") is Unchanged.AS_IT_CAME
    assert RawGreeting().for_upstream(None, JWT) is Unchanged.AS_IT_CAME
    assert RawGreeting().for_upstream(None, None) is Unchanged.AS_IT_CAME


def test_the_upstream_is_offered_what_the_client_has() -> None:
    """The subprotocol that the client was given is offered on, and the upstream need not choose it."""
    assert RawGreeting().offer("chat") == Offer(subprotocols=("chat",), must_choose=False)


def test_raw_has_no_words_of_its_own() -> None:
    """Raw says nothing at the end, offers nothing, follows nothing and shows no token."""
    greeting = RawGreeting(JWT)
    assert (greeting.protocol, greeting.describes) == ("raw", {})
    assert greeting.offer(None) == Offer()
    assert greeting.walkers() == (None, None)
    assert greeting.leave(Cause.DRAINING) == greeting.farewell(Cause.DRAINING, welcomed=False) == b""
    assert JWT not in repr(greeting)


@pytest.mark.parametrize(
    ("said", "token"),
    [
        (f'{{"type": "renew", "token": "{JWT}"}}', JWT),
        (f' {{"token": "{JWT}", "id": 7, "type": "renew"}} ', JWT),
        ('{"type": "renew"}', ""),
        ('{"type": "renew", "token": 7}', ""),
        ('{"type": "renew", "token": "\\ud800"}', "\\ud800"),
        ('{"type": "renewed", "token": "x"}', None),
        ('{"of": {"type": "renew", "token": "x"}}', None),
        ('{"type": "renew", "type": "renew", "token": "x"}', None),
        ('{"type": "renew", "token": NaN}', None),
        ('{"type": "ren\\u0065w", "token": "x"}', None),
        ('["renew"]', None),
        ('"renew"' + "[" * 9000, None),
        ('{"renew"', None),
    ],
)
def test_renewals(said: str, token: str | None) -> None:
    """A JSON object of the type that is set is a renewal, with whatever stands for its token; all else is data."""
    find = RawGreeting(renewal_type="renew").overhears
    assert find is not None
    asked = find(said.encode())
    assert (None if asked is None else asked.token) == token
    assert asked is None or asked.reply == '{"type": "renew", "renewed": true}'
    assert JWT not in repr(asked)


def test_renewals_that_are_no_text() -> None:
    """What is no UTF-8 is data; and where no type is set nothing is looked into."""
    find = RawGreeting(renewal_type="renew").overhears
    assert find is not None
    assert find(b'{"type": "renew", "token": "\xff"}') is None
    assert RawGreeting().overhears is None
