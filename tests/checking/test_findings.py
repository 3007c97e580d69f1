"""What is done with findings when they are there."""

import pytest

from trio_ws_gateway.checking.findings import Finding, Status

WARNING = Finding("settings", Status.WARNING, "RATE_LIMIT_PER_SECOND is unset", "Set it, or RATE_LIMIT_BURST.")


@pytest.mark.parametrize("name", ["settings", "RATE_LIMIT_PER_SECOND", "RATE_LIMIT_BURST"])
def test_accepted(name: str) -> None:
    """A warning is accepted by the name of its item, or of a setting that it names, and still told."""
    accepted = WARNING.accepted(["other", name])
    assert accepted == Finding("settings", Status.OK, "RATE_LIMIT_PER_SECOND is unset (accepted)")


@pytest.mark.parametrize("name", ["RATE_LIMIT", "Set", "unset", ""])
def test_not_accepted(name: str) -> None:
    """Half a name, or another word, accepts nothing."""
    assert WARNING.accepted([name]) == WARNING


def test_failure() -> None:
    """What does not work is not accepted."""
    failed = Finding("redis", Status.FAILED, "REDIS_URL: connection refused")
    assert failed.accepted(["redis", "REDIS_URL"]) == failed
