"""One cookie read, or left out."""

import pytest

from trio_ws_gateway.wire.cookies import cookie_values, without_cookie


def test_cookie_is_found_among_others() -> None:
    """A cookie is found by its exact name in every line, first one first, without the quotes around its value."""
    lines = ['a=1; session="x=y"; sessions=no', "Session=no; session; session = z "]
    assert cookie_values(lines, "session") == ("x=y", "z")
    assert cookie_values([], "session") == ()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("session=x", ""),
        ("session=x; a=1", "a=1"),
        ("a=1; session=x; b=2", "a=1; b=2"),
        ("a=1;  b=2 ;session=x", "a=1;  b=2"),
        ("session=x; session=y;a=session=z", "a=session=z"),
        ("xsession=1; SESSION=2", "xsession=1; SESSION=2"),
        ("session; a=1", "a=1"),
    ],
)
def test_only_that_cookie_is_left_out(line: str, left: str) -> None:
    """Every occurrence of the cookie goes, the others stay as they came."""
    assert without_cookie(line, "session") == left
