"""Tokens: what is believed, and what is not."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oidc_provider import ABSENT, OidcProvider, b64, sign, signing_key
from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.keys import KeySet, parse_key_set
from trio_ws_gateway.auth.token import (
    LOGOUT_EVENT,
    MAX_KEYS_TRIED,
    MAX_TOKEN_CHARACTERS,
    InvalidToken,
    MalformedToken,
    TokenError,
    TokenPolicy,
    UnknownKey,
    verify,
)

NOW = 1_800_000_000.0
provider = OidcProvider(clock=lambda: NOW)
POLICY = TokenPolicy(algorithms=("RS256",), issuer=provider.issuer, audiences=("gateway", "other"), leeway_seconds=30)
KEYS = parse_key_set(provider.jwks(), POLICY.algorithms)


def checked(token: str, *, keys: KeySet = KEYS, now: float = NOW, **changes: Any) -> Identity:  # noqa: ANN401
    return verify(token, keys, evolve(POLICY, **changes), now)


def refusal(token: str, *, keys: KeySet = KEYS, now: float = NOW, **changes: Any) -> str:  # noqa: ANN401
    """The kind and the message of the error that the token meets."""
    with pytest.raises(TokenError) as caught:
        checked(token, keys=keys, now=now, **changes)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_good_token() -> None:
    """A good token becomes the identity that it speaks of."""
    token = provider.mint(preferred_username="Robbie", jti="t-1", roles=["driver"])
    assert checked(token) == Identity(
        issuer=provider.issuer,
        subject="robot-7",
        preferred_username="Robbie",
        issued_at=NOW,
        expires_at=NOW + 300,
        token_id="t-1",
        roles=("driver",),
    )


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"],
)
def test_every_algorithm(algorithm: str) -> None:
    """RSA, PS, ES and EdDSA signatures are verified where the settings allow them, and refused where not."""
    signer = OidcProvider(algorithm=algorithm, issuer=provider.issuer, clock=lambda: NOW)
    keys = parse_key_set(signer.jwks(), (algorithm,))
    assert checked(signer.mint(), keys=keys, algorithms=(algorithm,)).subject == "robot-7"
    others = ("ES256",) if algorithm != "ES256" else ("RS256",)
    assert refusal(signer.mint(), keys=keys, algorithms=others) == "InvalidToken: algorithm not allowed"
    head, body, _ = signer.mint().split(".")
    for signature in ("", "AAAA", b64(bytes(64))):
        assert refusal(f"{head}.{body}.{signature}", keys=keys, algorithms=(algorithm,)) == (
            "InvalidToken: signature does not match"
        )


@pytest.mark.parametrize(("setting", "name"), [("EdDSA", "Ed25519"), ("Ed25519", "EdDSA")])
def test_both_names_of_eddsa(setting: str, name: str) -> None:
    """A setting of EdDSA takes tokens that say Ed25519, and the other way round."""
    signer = OidcProvider(algorithm=name, issuer=provider.issuer, clock=lambda: NOW)
    keys = parse_key_set(signer.jwks(), (setting,))
    assert checked(signer.mint(), keys=keys, algorithms=(setting,)).subject == "robot-7"


@pytest.mark.parametrize("algorithms", [(), ("none",), ("RS256", "HS256"), ("ES256K",)])
def test_policy_takes_public_key_algorithms_only(algorithms: tuple[str, ...]) -> None:
    """``none``, HMAC and unknown algorithms cannot even be configured."""
    with pytest.raises(ValueError, match="algorithms must be some of RS256, "):
        TokenPolicy(algorithms=algorithms)


# Form


@pytest.mark.parametrize(
    ("token", "complaint"),
    [
        ("", "not three segments of base64url"),
        ("a.b", "not three segments of base64url"),
        ("a.b.c.d.e", "not three segments of base64url"),
        ("é.b.c", "not three segments of base64url"),
        ("x" * (MAX_TOKEN_CHARACTERS + 1), "longer than 16384 characters"),
        ("a.b.c", "header is not base64url"),
        (".b.c", "header is not JSON, or says something twice"),
        (f"{b64(b'{')}.b.c", "header is not JSON, or says something twice"),
        (f"{b64(bytes([255]))}.b.c", "header is not JSON, or says something twice"),
        (f"{b64(b'[1]')}.b.c", "header is not a JSON object"),
        (f"{b64(b'{}')}.b.c", "alg is not a string"),
        (b64(b'{"alg":"RS256","kid":7}') + ".b.c", "kid is not a string"),
        (b64(b'{"alg":"RS256"}') + ".b.=", "signature is not base64url"),
        (f"{b64(b'[' * 5000 + b']' * 5000)}.b.c", "header is nested too deep"),
    ],
)
def test_malformed(token: str, complaint: str) -> None:
    """What has not the form of a JWT is malformed, and the message says where."""
    assert refusal(token) == f"MalformedToken: {complaint}"


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "payload is not JSON, or says something twice"),
        (b"\xef\xbb\xbf{}", "payload is not JSON, or says something twice"),
        (b'"sub"', "payload is not a JSON object"),
        (b'{"sub":"a","sub":"b"}', "payload is not JSON, or says something twice"),
        (b'{"sub":"a","\\u0073ub":"b"}', "payload is not JSON, or says something twice"),
        (b'{"realm_access":{"roles":[],"roles":["admin"]}}', "payload is not JSON, or says something twice"),
        (b'{"exp":NaN}', "payload is not JSON, or says something twice"),
        (b'{"exp":Infinity}', "payload is not JSON, or says something twice"),
        (b'{"exp":' + b"9" * 5000 + b"}", "payload is not JSON, or says something twice"),
        (b'{"roles":' + b"[" * 5000 + b"]" * 5000 + b"}", "payload is nested too deep"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "payload is nested too deep"),
    ],
)
def test_malformed_claims(payload: bytes, complaint: str) -> None:
    """Claims that are no JSON object, that repeat a name, or are nested 5,000 deep are malformed though signed."""
    assert refusal(provider.sign(payload)) == f"MalformedToken: {complaint}"


# Attacks of RFC 8725


def test_alg_none() -> None:
    """``none`` in any spelling is not allowed, with or without a signature (RFC 8725 2.1)."""
    for name in ("none", "None", "NONE", "nOnE"):
        _, body, signature = provider.mint().split(".")
        head = b64(json.dumps({"alg": name, "kid": provider.kid}).encode())
        for token in (f"{head}.{body}.", f"{head}.{body}.{signature}"):
            assert refusal(token) == "InvalidToken: algorithm not allowed"


def test_hmac_with_the_public_key() -> None:
    """HMAC keyed with the published key in any encoding is not allowed (RFC 8725 2.1)."""
    public = signing_key("RS256", 1)
    for secret in (public.as_pem(), public.as_der(), json.dumps(provider.jwk()).encode()):
        head, body = b64(json.dumps({"alg": "HS256", "kid": provider.kid}).encode()), provider.mint().split(".")[1]
        mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        assert refusal(f"{head}.{body}.{b64(mac)}") == "InvalidToken: algorithm not allowed"


def test_key_used_for_another_algorithm() -> None:
    """A key that is published for RS256 verifies no PS256, though the settings allow both (RFC 8725 3.1)."""
    both = ("RS256", "PS256")
    payload = json.dumps({"sub": "robot-7"}).encode()
    token = sign(provider.key, payload, {"alg": "PS256", "kid": provider.kid})
    keys = parse_key_set(provider.jwks(), both)
    assert refusal(token, keys=keys, algorithms=both) == "InvalidToken: the key is for another algorithm"
    token = sign(provider.key, payload, {"alg": "PS256"})
    assert refusal(token, keys=keys, algorithms=both) == "UnknownKey: no key in the key set fits"


def test_key_of_another_type() -> None:
    """A kid of an EC key in an RSA token does not reach the EC key."""
    ec = OidcProvider(algorithm="ES256")
    keys = parse_key_set(ec.jwks(), ("RS256", "ES256"))
    token = provider.mint({"kid": ec.kid})
    assert refusal(token, keys=keys, algorithms=("RS256", "ES256")) == "InvalidToken: the key is for another algorithm"


@pytest.mark.parametrize("kid", [provider.kid, ABSENT])
def test_embedded_keys(kid: object) -> None:
    """A key that the token brings along, or points to, is never used (RFC 8725 3.10)."""
    forger = signing_key("RS256", 99)
    public = forger.as_dict(private=False)
    header = {"jwk": public, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "x5c": ["MII"]}
    stamp = {} if kid is ABSENT else {"kid": kid}
    token = sign(forger, provider.mint().encode(), {"alg": "RS256", **stamp, **header})
    assert refusal(token) == "InvalidToken: signature does not match"


def test_embedded_keys_do_no_harm_to_a_good_token() -> None:
    """A good token that also carries a ``jku`` is judged by the known key alone."""
    assert checked(provider.mint({"jku": "https://evil.example/jwks", "x5c": 7})).subject == "robot-7"


def test_stripped_signature() -> None:
    """A token whose signature was cut off does not verify."""
    head, body, _ = provider.mint().split(".")
    assert refusal(f"{head}.{body}.") == "InvalidToken: signature does not match"
    assert refusal(f"{head}.{body}") == "MalformedToken: not three segments of base64url"


def test_crit_header() -> None:
    """Any ``crit`` is refused: no extension is understood here (RFC 7515 4.1.11)."""
    for crit in (["exp"], ["b64"], [], "exp", None):
        token = provider.mint({"crit": crit, "b64": False})
        assert refusal(token) == "InvalidToken: crit names extensions that are not understood"


def test_foreign_issuer_with_the_same_kid() -> None:
    """Another issuer's token does not verify though its kid is ours; nor does our key sign for another issuer."""
    forged = sign(signing_key("RS256", 99), b"{}", {"alg": "RS256", "kid": provider.kid})
    assert refusal(forged) == "InvalidToken: signature does not match"
    assert refusal(provider.mint(iss="https://evil.example.com")) == "InvalidToken: another issuer"


def test_long_names() -> None:
    """A subject that would be too long to be revoked is none; another name that is too long is not there."""
    longest = "x" * 1024
    who = checked(provider.mint(sub=longest, jti=longest, sid=longest + "x"))
    assert (who.subject, who.token_id, who.session_id) == (longest, longest, None)
    assert "longer than 1024" in refusal(provider.mint(sub=longest + "x"))
    assert "too long" in refusal(provider.mint(iss=longest + "x"), issuer=None)


@pytest.mark.parametrize("event", [{}, True])
def test_logout_token_of_no_kind(event: object) -> None:
    """A logout token whose header says no more than JWT, as older providers', lets nobody in."""
    assert "logout token" in refusal(provider.mint(events={LOGOUT_EVENT: event}))
    assert checked(provider.mint(events={"https://other.example/event": {}})).subject == "robot-7"


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "application/secevent+jwt", "", 7, None])
def test_another_kind_of_token(kind: object) -> None:
    """A logout token, a DPoP proof and the like are no access tokens (RFC 8725 3.11)."""
    assert refusal(provider.mint({"typ": kind})) == "InvalidToken: typ names another kind of token"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", ABSENT])
def test_kinds_of_access_token(kind: object) -> None:
    """A token may call itself a JWT or an access token (RFC 9068 2.1), or say nothing."""
    assert checked(provider.mint({"typ": kind})).subject == "robot-7"


def test_duplicate_header_parameter() -> None:
    """A header that names something twice is malformed: readers differ in which one they believe."""
    header = json.dumps({"alg": "RS256", "kid": provider.kid}).encode().replace(b"{", b'{"alg":"none",', 1)
    token = sign(provider.key, b"{}", header, algorithm="RS256")
    assert refusal(token) == "MalformedToken: header is not JSON, or says something twice"


# Keys


def test_unknown_kid() -> None:
    """A kid that is not in the set is named to the caller, and not in the message."""
    with pytest.raises(UnknownKey, match=r"^no such key in the key set$") as caught:
        checked(provider.mint({"kid": "key-of-tomorrow"}))
    assert caught.value.kid == "key-of-tomorrow"


def test_without_kid() -> None:
    """A token without kid is tried against every key that fits its algorithm."""
    other = OidcProvider(issuer=provider.issuer, clock=lambda: NOW)
    other.rotate(keep_old=True)
    keys = parse_key_set(other.jwks(), ("RS256",))
    assert checked(other.mint({"kid": ABSENT}), keys=keys).subject == "robot-7"


def test_without_kid_only_some_keys_are_tried() -> None:
    """A token without kid costs at most eight verifications."""
    decoy = {**signing_key("RS256", 99).as_dict(private=False), "kid": "decoy"}
    for decoys, good in ((MAX_KEYS_TRIED - 1, True), (MAX_KEYS_TRIED, False)):
        keys = parse_key_set(json.dumps({"keys": [decoy] * decoys + [provider.jwk()]}), ("RS256",))
        token = provider.mint({"kid": ABSENT})
        if good:
            assert checked(token, keys=keys).subject == "robot-7"
        else:
            assert refusal(token, keys=keys) == "InvalidToken: signature does not match"


# Claims


@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        (ABSENT, "sub is missing"),
        (None, "sub is not a string"),
        (7, "sub is not a string"),
        (["robot-7"], "sub is not a string"),
        ({"robot": 7}, "sub is not a string"),
        ("", "sub is empty"),
        ("robot\x00-7", "sub holds a control character"),
        ("robot\r\nX-User-Roles: admin", "sub holds a control character"),
        ("robot\x7f", "sub holds a control character"),
        ("robot\x85", "sub holds a control character"),
        ("robot\u2028", "sub holds a control character"),
        ("robot\ud800", "sub holds a control character"),
    ],
)
def test_subject(subject: object, complaint: str) -> None:
    """The subject must be a string with something in it, and nothing that breaks headers or MQTT strings."""
    assert refusal(provider.mint(sub=subject)) == f"InvalidToken: {complaint}"


@pytest.mark.parametrize("subject", ["auth0|5f7c", "räuber hotzenplotz", "机器人", "a,b", " "])
def test_unusual_subjects(subject: str) -> None:
    """A subject may be any other text."""
    assert checked(provider.mint(sub=subject)).subject == subject


def test_expired_twin() -> None:
    """Of two tokens that differ in ``exp`` alone the expired one is refused."""
    assert checked(provider.mint(exp=NOW + 1)).expires_at == NOW + 1
    assert refusal(provider.mint(exp=NOW - 31)) == "InvalidToken: expired"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1800000300", True, False, None, [1], {}])
def test_time_that_is_no_number(name: str, value: object) -> None:
    """A time that is no JSON number is refused, whichever it is."""
    assert refusal(provider.mint(**{name: value})) == f"InvalidToken: {name} is not a number"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1e308", "1e999", "-1e999", "-1", "253402300800", "1" + "0" * 4000])
def test_time_that_is_no_date(name: str, value: str) -> None:
    """A number beyond any date (1e308) is refused and overflows nothing."""
    assert refusal(_with_raw_member(name, value)) == f"InvalidToken: {name} is no date"


def _with_raw_member(name: str, value: str) -> str:
    claims = {"iss": provider.issuer, "sub": "robot-7", "aud": "gateway", "exp": NOW + 300, name: "RAW"}
    return provider.sign(json.dumps(claims).replace('"RAW"', value).encode())


def test_exp_is_required() -> None:
    """A token that never expires is refused."""
    assert refusal(provider.mint(exp=ABSENT)) == "InvalidToken: exp is missing"


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": NOW - 29.5}, True),
        ({"exp": NOW - 30}, False),
        ({"nbf": NOW + 30}, True),
        ({"nbf": NOW + 30.5}, False),
        ({"iat": NOW + 30}, True),
        ({"iat": NOW + 31}, False),
        ({"nbf": 0, "iat": 0}, True),
        ({"iat": ABSENT}, True),
    ],
)
def test_leeway(claims: dict[str, Any], good: bool) -> None:
    """``exp``, ``nbf`` and ``iat`` may each be off by the leeway and no more."""
    token = provider.mint(**claims)
    if good:
        assert checked(token).subject == "robot-7"
    else:
        assert refusal(token).startswith("InvalidToken: ")


@pytest.mark.parametrize(
    ("issuer", "complaint"),
    [
        (provider.issuer + "/", "another issuer"),
        (provider.issuer.upper(), "another issuer"),
        (ABSENT, "another issuer"),
        (None, "iss is not a string, is too long, or holds a control character"),
        ([provider.issuer], "iss is not a string, is too long, or holds a control character"),
        (provider.issuer + "\n", "iss is not a string, is too long, or holds a control character"),
    ],
)
def test_issuer(issuer: object, complaint: str) -> None:
    """The issuer is compared exactly."""
    assert refusal(provider.mint(iss=issuer)) == f"InvalidToken: {complaint}"


def test_issuer_and_audience_unchecked() -> None:
    """Without an expected issuer and audience any is taken, or none."""
    identity = checked(provider.mint(iss=ABSENT, aud=ABSENT), issuer=None, audiences=())
    assert identity.issuer == ""


@pytest.mark.parametrize("claims", [{"aud": "gateway"}, {"aud": ["x", "other"]}, {"aud": ABSENT, "client_id": "other"}])
def test_one_of_several_audiences(claims: dict[str, Any]) -> None:
    """One common audience is enough; a client id stands for it in a token that has no ``aud``."""
    assert checked(provider.mint(**claims)).subject == "robot-7"


@pytest.mark.parametrize(
    ("claims", "complaint"),
    [
        ({"aud": "gate"}, "another audience"),
        ({"aud": "gateway,other"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": [["gateway"], 7, None, {}]}, "another audience"),
        ({"aud": "x", "client_id": "gateway"}, "another audience"),
        ({"aud": "x", "azp": "gateway"}, "another audience"),
        ({"aud": ABSENT, "azp": "gateway"}, "aud is missing"),
        ({"aud": None, "client_id": "gateway"}, "aud is missing"),
        ({"aud": 7}, "aud is neither a string nor a list"),
        ({"aud": {"gateway": 1}}, "aud is neither a string nor a list"),
        ({"aud": ABSENT, "client_id": 7}, "aud is neither a string nor a list"),
    ],
)
def test_another_audience(claims: dict[str, Any], complaint: str) -> None:
    """A token for somebody else is refused; ``azp`` never counts, ``client_id`` only where there is no ``aud``."""
    assert refusal(provider.mint(**claims)) == f"InvalidToken: {complaint}"


@pytest.mark.parametrize("value", [7, "", "a\nb", ["x"], None])
def test_odd_name_or_token_id_is_left_out(value: object) -> None:
    """A user name or token id that is no clean string is as good as none."""
    identity = checked(provider.mint(preferred_username=value, jti=value))
    assert (identity.preferred_username, identity.token_id) == (None, None)


def test_roles() -> None:
    """Roles come from every provider's place, in a fixed order, each once; those of a client carry its name."""
    token = provider.mint(
        realm_access={"roles": ["admin", "driver"]},
        resource_access={"fleet": {"roles": ["admin"]}, "shop": {"roles": ["admin", "buyer"]}},
        roles=["driver", "Task.Write"],
        scope="openid email  admin",
        scp=["read:robots", "email"],
        **{"cognito:groups": ["eu-west"]},
    )
    assert checked(token).roles == (
        *("admin", "driver", "fleet:admin", "shop:admin", "shop:buyer"),
        *("Task.Write", "eu-west", "openid", "email", "read:robots"),
    )


@pytest.mark.parametrize(
    "odd", [None, 7, True, "admin", ["x", {"roles": ["admin"]}], {"roles": "admin"}, [[["admin"]]]]
)
def test_roles_of_the_wrong_type_are_ignored(odd: object) -> None:
    """Whatever stands where roles belong: what is no list of strings grants nothing."""
    claims = {"realm_access": odd, "resource_access": {"a": odd, "b": {"roles": odd}}, "cognito:groups": odd}
    roles = checked(provider.mint(**claims, roles=odd)).roles
    assert not any("admin" in role for role in roles)
    assert checked(provider.mint(resource_access=odd, scope={"admin": 1}, scp=7)).roles == ()


@pytest.mark.parametrize(
    "role",
    [
        "user,admin",
        "user\r\nX-User-Id: root",
        "user\x00",
        "user\x7f",
        " admin",
        "admin\t",
        "",
        " ",
        "\u200badmin",
        "\ud800",
    ],
)
def test_role_that_could_become_another(role: str) -> None:
    """A role that would read differently in a header of comma-separated roles is dropped, wherever it stands."""
    token = provider.mint(
        realm_access={"roles": [role]},
        resource_access={"c": {"roles": [role]}, role: {"roles": ["x"]}},
        roles=[role, "ok"],
    )
    assert set(checked(token).roles) <= {"ok", ":x"}


# Properties


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
def test_any_string_is_an_identity_or_a_token_error(token: str) -> None:
    """Arbitrary strings raise ``TokenError`` and nothing else."""
    with pytest.raises(TokenError):
        checked(token)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_signed_bytes_are_an_identity_or_a_token_error(header: bytes, payload: bytes) -> None:
    """Arbitrary bytes as header, or as properly signed payload, raise ``TokenError`` and nothing else."""
    with pytest.raises(TokenError):
        checked(f"{b64(header)}.{b64(payload)}.{b64(payload)}")
    with pytest.raises(TokenError):
        checked(provider.sign(payload))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
claim_names = st.sampled_from(
    [
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "preferred_username", "client_id"),
        *("realm_access", "resource_access", "roles", "scope", "scp", "cognito:groups"),
    ]
)


@settings(max_examples=60)
@given(st.dictionaries(claim_names, json_values, max_size=5))
def test_any_claims_are_an_identity_or_a_token_error(claims: dict[str, Any]) -> None:
    """Whatever types the claims have, there is an identity with clean strings or a ``TokenError``."""
    try:
        identity = checked(provider.mint(**claims), issuer=None, audiences=())
    except TokenError:
        return
    assert identity.subject
    assert all(role.isprintable() and "," not in role for role in identity.roles)


GOOD = provider.mint()


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii") | st.sampled_from("ABab01-_.=+/ "))
def test_flipped_character_never_verifies(position: int, character: str) -> None:
    """A good token with any one character changed is no good token, in its last, padded, bits as well."""
    if character == GOOD[position]:
        return
    with pytest.raises(TokenError):
        checked(GOOD[:position] + character + GOOD[position + 1 :])


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.text(max_size=3))
def test_corrupted_token_never_verifies(start: int, end: int, filling: str) -> None:
    """A good token with any part cut out or replaced raises ``TokenError`` unless it is still the same."""
    corrupted = GOOD[:start] + filling + GOOD[end:]
    if corrupted == GOOD:
        return
    with pytest.raises(TokenError):
        checked(corrupted)


@pytest.mark.parametrize("kind", [MalformedToken, InvalidToken, UnknownKey])
def test_every_error_is_a_token_error(kind: type[Exception]) -> None:
    """One ``except TokenError`` catches all that can be wrong with a token."""
    assert issubclass(kind, TokenError)


def test_errors_hold_nothing_of_the_token() -> None:
    """No claim, kid or part of the token stands in a message."""
    tokens = [
        provider.mint({"kid": "SECRET"}),
        provider.mint({"alg": "SECRET"}),
        provider.mint({"typ": "SECRET"}),
        provider.mint(iss="SECRET"),
        provider.mint(aud="SECRET"),
        provider.mint(sub="SECRET\n"),
        provider.mint(exp="SECRET"),
        provider.sign(b"SECRET"),
    ]
    for token in tokens:
        assert "SECRET" not in refusal(token)
