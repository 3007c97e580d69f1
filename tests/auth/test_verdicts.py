"""Verdicts on signatures: what is remembered of tokens, for how long, and what it may never excuse."""

from collections import OrderedDict
from collections.abc import Sequence

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tests.oidc_provider import OidcProvider
from trio_ws_gateway.auth import token as token_module
from trio_ws_gateway.auth.keys import KeySet, PublicKey, parse_key_set
from trio_ws_gateway.auth.token import InvalidToken, TokenPolicy, UnknownKey, verify
from trio_ws_gateway.auth.verdicts import Verdicts

NOW = 1_800_000_000.0
provider = OidcProvider(clock=lambda: NOW)
POLICY = TokenPolicy(algorithms=("RS256",), issuer=provider.issuer, audiences=("gateway",), leeway_seconds=30)
KEYS = parse_key_set(provider.jwks(), POLICY.algorithms)
(KEY,) = KEYS.of_algorithm["RS256"]
TOKEN = provider.mint(jti="t-1")


@pytest.fixture
def verdicts() -> Verdicts:
    """What is known once ``TOKEN`` has been verified."""
    known = Verdicts(10)
    verify(TOKEN, KEYS, POLICY, NOW, verdicts=known)
    return known


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[PublicKey]:
    """The keys that signatures are verified with from now on."""
    seen: list[PublicKey] = []
    verify_signature = token_module._signer

    def noted(signed: bytes, signature: bytes, algorithm: str, candidates: Sequence[PublicKey]) -> PublicKey:
        seen.append(verify_signature(signed, signature, algorithm, candidates))
        return seen[-1]

    monkeypatch.setattr(token_module, "_signer", noted)
    return seen


def test_a_known_token_costs_no_signature(verdicts: Verdicts, checked: list[PublicKey]) -> None:
    """A token that comes again is the same identity, and its signature is not verified again."""
    assert verify(TOKEN, KEYS, POLICY, NOW, verdicts=verdicts) == verify(TOKEN, KEYS, POLICY, NOW)
    assert len(checked) == 1  # the one without verdicts


def test_a_forged_token_with_the_sub_and_jti_of_a_good_one(verdicts: Verdicts) -> None:
    """A token with the ``sub`` and ``jti`` of a good one is refused if other claims, or its signature, are forged."""
    head, claims, signature = TOKEN.split(".")
    other = OidcProvider(clock=lambda: NOW)
    other.issuer = provider.issuer
    forged = other.mint(jti="t-1", roles=["admin"]).split(".")[1]
    for token in (f"{head}.{forged}.{signature}", f"{head}.{claims}.{signature[:-8]}AAAAAAAA"):
        with pytest.raises(InvalidToken, match="signature does not match"):
            verify(token, KEYS, POLICY, NOW, verdicts=verdicts)
    assert len(verdicts) == 1


@pytest.mark.parametrize(
    ("policy", "now", "why"),
    [
        (POLICY, NOW + 331, "expired"),
        (POLICY, NOW - 31, "issued in the future"),
        (evolve(POLICY, issuer="https://other"), NOW, "another issuer"),
        (evolve(POLICY, audiences=("other",)), NOW, "another audience"),
        (evolve(POLICY, algorithms=("ES256",)), NOW, "algorithm not allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_known_signature_excuses_nothing_else(verdicts: Verdicts, policy: TokenPolicy, now: float, why: str) -> None:
    """Times, issuer, audience and algorithm are held against a known token as against any other."""
    with pytest.raises(InvalidToken, match=why):
        verify(TOKEN, KEYS, policy, now, verdicts=verdicts)


def test_a_key_that_has_left_the_key_set(verdicts: Verdicts) -> None:
    """A known token is refused as soon as its key is no longer published, by its id or at all."""
    with pytest.raises(UnknownKey):
        verify(TOKEN, KeySet(), POLICY, NOW, verdicts=verdicts)
    other = OidcProvider()
    other.rotate()
    keys = parse_key_set(other.jwks(), POLICY.algorithms)
    another = keys.of_algorithm["RS256"][-1]
    assert another != KEY
    under_its_name = KeySet({kid: {"RS256": [another]} for kid in KEYS.by_kid}, {"RS256": [another]})
    with pytest.raises(InvalidToken, match="signature does not match"):
        verify(TOKEN, under_its_name, POLICY, NOW, verdicts=verdicts)


def test_a_key_set_that_is_fetched_again(verdicts: Verdicts, checked: list[PublicKey]) -> None:
    """A newer document with the same key in it keeps what is known."""
    verify(TOKEN, parse_key_set(provider.jwks(), POLICY.algorithms), POLICY, NOW, verdicts=verdicts)
    assert not checked


def test_not_past_exp(verdicts: Verdicts, checked: list[PublicKey]) -> None:
    """Within the leeway after ``exp`` a token is good, but what was known of it is gone."""
    expires_at = verify(TOKEN, KEYS, POLICY, NOW).expires_at
    checked.clear()
    assert verdicts.signer(TOKEN, expires_at - 0.001) is KEY
    assert verdicts.signer(TOKEN, expires_at) is None
    assert len(verdicts) == 0
    verify(TOKEN, KEYS, POLICY, expires_at + 1, verdicts=verdicts)
    assert checked == [KEY]


def test_bad_tokens_are_not_kept() -> None:
    """What is refused for any reason leaves nothing behind: nobody crowds out others with junk."""
    known = Verdicts(10)
    for token in (provider.mint(exp=NOW - 60), provider.mint(aud="other"), TOKEN[:-8] + "AAAAAAAA"):
        with pytest.raises(InvalidToken):
            verify(token, KEYS, POLICY, NOW, verdicts=known)
    assert len(known) == 0


@given(
    size=st.integers(0, 4),
    steps=st.lists(st.tuples(st.sampled_from(["ask", "keep"]), st.sampled_from("abcdefgh"), st.integers(1, 30))),
)
def test_bounded(size: int, steps: list[tuple[str, str, int]]) -> None:
    """There are never more than ``size``, those that were asked for or kept last, and never one past its time."""
    verdicts, model = Verdicts(size), OrderedDict[str, int]()
    for now, (step, token, life) in enumerate(steps):
        if step == "keep":
            verdicts.keep(token, KEY, now + life)
            model[token] = now + life
            model.move_to_end(token)
            while len(model) > size:
                model.popitem(last=False)
        else:
            if token in model and model[token] <= now:
                del model[token]
            assert verdicts.signer(token, now) is (KEY if token in model else None)
            if token in model:
                model.move_to_end(token)
        assert len(verdicts) == len(model) <= size
