"""What counts as a JWT from outside."""

import pytest

from trio_ws_gateway.wire.jwt_shape import looks_like_jwt, unverified_part


@pytest.mark.parametrize("text", ["eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "a.b.c", "a-_.b-_.c-_", "a.b."])
def test_three_parts_of_base64url_are_a_jwt(text: str) -> None:
    """Three parts of base64url look like a JWT, also one that lost its signature: it is for the verifier to refuse."""
    assert looks_like_jwt(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b", "a..c", ".b.c", "a.b.c.d", "a.b.c\n", " a.b.c", "a.b=.c", "a.b.c+", "é.b.c", "a.b.c\0"],
)
def test_nothing_else_is(text: str) -> None:
    """Padding, white space, other characters and other numbers of parts do not."""
    assert not looks_like_jwt(text)


def test_reading_without_believing() -> None:
    """Header and claims are read as they stand; what is no JSON object in base64url is none."""
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."
    assert (unverified_part(token, 0), unverified_part(token, 1)) == ({"alg": "none"}, {"sub": "a"})
    for bad in ("", "a", "e30.e3.x", "W10.W10.x", "e30.\N{SNOWMAN}.x"):
        assert unverified_part(bad, 1) is None
