"""The page of faults names tests that there are, settings with the defaults that they have, and causes and metrics."""

import re
from pathlib import Path

import pytest

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.config.settings import rows
from trio_ws_gateway.metrics import Metrics

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
TABLES = [line for line in PAGE.splitlines() if line.startswith("| ")]
FAULTS = [line for line in TABLES if not line.startswith("| fault |")]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_test_exists(file: str, name: str) -> None:
    """Each test that the page names is a function of the file that it names."""
    assert re.search(rf"^ *(async )?def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("line", FAULTS, ids=lambda line: line.split("|")[1].strip())
def test_every_fault_has_its_test(line: str) -> None:
    """Each row has five cells, none empty, and the last one names a test."""
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 5
    assert all(cells)
    assert re.fullmatch(r"`[\w/]+\.py::\w+`(, `[\w/]+\.py::\w+`)*", cells[-1])


def test_every_test_of_faults_is_named() -> None:
    """No test in ``tests/faults`` is missing from the page."""
    there = {
        (f"faults/{path.name}", name)
        for path in (TESTS / "faults").glob("test_*.py")
        for name in re.findall(r"^async def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert there <= set(NAMED)


def test_defaults_are_current() -> None:
    """A number in brackets behind a setting is its default."""
    defaults = {name: row.default for name, row in rows()}
    quoted = re.findall(r"`([A-Z_]+)` \[(\d+)\]", PAGE)
    assert quoted
    for name, value in quoted:
        assert float(value) == float(str(defaults[name])), name


def test_names_are_current() -> None:
    """Whatever looks like a setting, a metric or a cause is one."""
    words = set(re.findall(r"`([\w]+)`", PAGE))
    metrics = {row.name for row in Metrics(max_identities=1).table}
    assert {word for word in words if word.isupper()} <= {name for name, _ in rows()}
    assert {word for word in words if word.startswith("ws_")} <= metrics
    causes = {cause.value for cause in Cause}
    assert {word for word in words if re.fullmatch(r"[a-z]+_[a-z_]+", word) and not word.startswith("ws_")} <= causes
