"""The reference page of settings."""

import runpy
from pathlib import Path

import pytest

from trio_ws_gateway.config import reference
from trio_ws_gateway.config.reference import settings_reference
from trio_ws_gateway.config.settings import GROUPS, rows

ROOT = Path(__file__).parents[2]


def test_page_is_current() -> None:
    """``docs/settings.md`` is what the table says."""
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings_reference()


def test_module_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m trio_ws_gateway.config.reference`` is how the page is written anew."""
    runpy.run_path(reference.__file__, run_name="__main__")
    assert capsys.readouterr().out == settings_reference()


def test_every_setting_has_its_row_beneath_a_heading() -> None:
    """Each setting is one table row of four cells, and each group begins where the class says."""
    page = settings_reference()
    for name, row in rows():
        assert page.count(f"\n| `{name}` | ") == 1
        assert row.sentence.endswith(".")
    for first, heading in GROUPS.items():
        assert page.index(f"## {heading}\n") < page.index(f"| `{first.upper()}` |")
    cells = {line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")}
    assert cells == {5}
