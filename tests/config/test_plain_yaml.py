"""YAML in which every plain scalar is the text that it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.config import plain_yaml


def test_scalars_stay_texts() -> None:
    """Booleans, numbers and dates of YAML are left as written; null and nothing are ``None``."""
    text = "a: off\nb: 010\nc: 1:30\nd: 2026-01-01\ne: ~\nf:\ng: 'null'\nh: [1, yes]\ni: {j: '#'}\n<<: x\n"
    mapping = plain_yaml.read(text)
    assert isinstance(mapping, dict)
    assert list(mapping.values()) == [
        "off",
        "010",
        "1:30",
        "2026-01-01",
        None,
        None,
        "null",
        ["1", "yes"],
        {"j": "#"},
        "x",
    ]
    assert "".join(mapping) == "abcdefghi<<"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: b: c", r"line 1, column 5: mapping values are not allowed here"),
        ("a: 1\nb: 2\na: 3", r"line 3, column 1: a is there twice"),
        ("a: &x [1]\nb: *x", r"line 2, column 4: an alias, which is not taken"),
        ("a: !!python/name:os.system ''", r"line 1, column 4: a tag, which is not taken"),
        ("a: !!int x", r"line 1, column 4: a tag, which is not taken"),
        ("[a]: b", r"line 1, column 1: a name that is no text"),
        ("[" * 100_000, r"line 1, column 21: nested too deep"),
        ("a: 1\n---\nb: 2", r"line 2, column 1: but found another document"),
        ("a: \x01", r"unacceptable character #x0001: special characters are not allowed"),
        ("#" * (2**20 + 1), r"it is bigger than 1 MiB"),
    ],
)
def test_what_is_refused_is_named_with_its_place(text: str, problem: str) -> None:
    """Broken YAML, duplicate keys, aliases, tags, depth and size are errors with line and column."""
    with pytest.raises(ValueError, match=rf"^{problem}$"):
        plain_yaml.read(text)


@given(st.text(alphabet="ab:[]{}&*!-?|>'\"#,% \n~"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the file holds, the answer is a value or a `ValueError`."""
    try:
        plain_yaml.read(text)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
