"""The page about proxies shows the files that are tested, and says what the tests do."""

import re
from pathlib import Path

import pytest
import yaml

from tests.proxies.test_sessions import UNDER_THE_PREFIX
from tests.servers.proxies import SNIPPETS

PAGE = (SNIPPETS.parent / "proxies.md").read_text()
BLOCKS = re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", sorted(SNIPPETS.iterdir()), ids=lambda path: path.name)
def test_files(path: Path) -> None:
    """Every file is on the page as it is."""
    assert path.read_text() in BLOCKS


def test_nothing_else() -> None:
    """The page shows no configuration that is not in a file."""
    assert len(BLOCKS) == len(list(SNIPPETS.iterdir()))


def test_prefix() -> None:
    """What the page says of WS_PATH is what the tests change."""
    for changes in UNDER_THE_PREFIX.values():
        for old, new in changes.items():
            assert f"`{old}` to `{new}`" in PAGE


def test_traefik_is_yaml() -> None:
    """Traefik's file can at least be read; nothing here runs it."""
    routed = yaml.safe_load((SNIPPETS / "traefik.yaml").read_text())["http"]
    [router] = routed["routers"].values()
    assert router["service"] in routed["services"]
    assert set(router["middlewares"]) == set(routed["middlewares"])
