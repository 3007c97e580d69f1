"""Spans of time."""

import pytest

from trio_ws_gateway.diagnosis.spans import span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a second"),
        (1.9, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7300, "2 hours"),
        (1e7, "115 days"),
    ],
)
def test_span(seconds: float, words: str) -> None:
    """The biggest unit that is there is said, rounded down."""
    assert span(seconds) == words
