"""What the tests of upstreams share."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines
