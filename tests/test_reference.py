"""The reference pages: current, complete, and whole as tables."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from trio_ws_gateway import reference
from trio_ws_gateway.causes import Cause
from trio_ws_gateway.config.settings import GROUPS, rows
from trio_ws_gateway.metrics import LABELS, Metrics
from trio_ws_gateway.reference import PAGES, causes_page, metrics_page, settings_page

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str) -> None:
    """Each page is what its table says; ``python -m trio_ws_gateway.reference`` writes it anew."""
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name]()


@pytest.mark.parametrize("name", PAGES)
def test_rows_have_their_cells(name: str) -> None:
    """Every row has as many cells as the rule beneath the heads of its table."""
    cells = 0
    for line in PAGES[name]().replace("\\|", "").splitlines():
        if line.startswith("|---"):
            cells = line.count("|")
        elif line.startswith("| ") and cells:
            assert line.count("|") == cells, line
        elif not line:
            cells = 0


def test_module_writes_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a program it writes the pages into ``docs/``, or where it is told."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["other"]):
        monkeypatch.setattr(sys, "argv", ["reference", *arguments])
        runpy.run_path(reference.__file__, run_name="__main__")
    for directory in ("docs", "other"):
        assert {path.name: path.read_text() for path in Path(directory).iterdir()} == {
            name: page() for name, page in PAGES.items()
        }


def test_every_setting_has_its_row_beneath_a_heading() -> None:
    """Each setting is one table row, and each group begins where the class says."""
    page = settings_page()
    for name, row in rows():
        assert page.count(f"\n| `{name}` | ") == 1
        assert row.sentence.endswith(".")
    for first, heading in GROUPS.items():
        assert page.index(f"## {heading}\n") < page.index(f"| `{first.upper()}` |")


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_told(cause: Cause) -> None:
    """Each cause has a sentence for people, a row of what it means, and a row of what is heard."""
    row = cause.row
    assert row.meaning.endswith(".")
    assert row.advice == "" or row.advice.endswith(".")
    meaning, heard = (line for line in causes_page().splitlines() if line.startswith(f"| `{cause.value}` |"))
    assert row.meaning in meaning
    assert row.reason in heard


def test_every_cause_happens() -> None:
    """There is no cause that nothing in the package brings about."""
    package = Path(reference.__file__).parent
    elsewhere = (package / "causes.py", package / "reference.py", package / "probing" / "advice.py")
    code = "".join(path.read_text() for path in package.rglob("*.py") if path not in elsewhere)
    assert [cause for cause in Cause if not re.search(rf"\bCause\.{cause.name}\b", code)] == []


def test_what_is_heard() -> None:
    """Statuses, close codes and MQTT's codes stand under the one who hears them."""
    page = causes_page()
    assert "\n| `draining` | 503, Retry-After | 1012 Service restart | 0x03 | 0x88 | 0x8B | 1001 |\n" in page
    assert "\n| `not_found` | 404 | - | - | - | - | - |\n" in page
    assert "\n| `upstream_lost` | - | 1011 Upstream connection lost | 0x03 | 0x88 | 0x80 | - |\n" in page


def test_settings_that_causes_and_labels_name() -> None:
    """What is advised names settings that there are."""
    names = {name for name, _ in rows()}
    texts = [text for cause in Cause for text in (cause.row.meaning, cause.row.advice)] + list(LABELS.values())
    named = {word for text in texts for word in text.split("`")[1::2] if word.isupper()}
    assert "WS_PATH" in named
    assert named <= names


def test_every_metric_is_told() -> None:
    """Each metric that can be exposed has its row, with its labels, and each label a sentence."""
    metrics = Metrics(max_identities=1)
    metrics.watch_keys(lambda: 1.0)
    told = {row.name.removesuffix("_total") if row.kind == "counter" else row.name: row for row in metrics.table}
    exposed = {family.name: family for family in metrics.registry.collect()}
    assert set(told) == set(exposed)
    assert len(told) == len(metrics.table)
    for name, row in told.items():
        assert (row.kind, row.sentence) == (exposed[name].type, exposed[name].documentation)
        assert f"\n| `{row.name}` | {row.kind} | " in metrics_page()
    assert {label for row in metrics.table for label in row.labels} == set(LABELS)
