"""A few cases of every section: what passes straight to the echo server passes through the gateway as well."""

from collections.abc import Iterator

import pytest

from tests.conformance.runs import Site
from tests.conformance.verdicts import Verdict, differences, failures

SECTIONS = ("1.*", "2.*", "3.*", "4.*", "5.8", "5.15", "6.2.*", "6.4.1", "6.6.*", "7.*", "10.*")
LARGE = ("9.1.1", "9.2.3", "9.4.9", "9.5.4", "9.7.1", "9.8.1")
COMPRESSED = ("12.1.1", "13.3.1")
DEADLINE_SECONDS = 100


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site.serving(tmp_path_factory.mktemp("conformance")) as site:
        yield site


@pytest.fixture(scope="module")
def directly(site: Site) -> dict[str, Verdict]:
    """The echo server itself passes, or there would be nothing to compare with."""
    verdicts = site.run(site.directly, (*SECTIONS, *LARGE, *COMPRESSED), DEADLINE_SECONDS)
    assert failures(verdicts) == []
    return verdicts


@pytest.mark.parametrize("number", [0, 1], ids=["dialled early", "dialled late"])
def test_no_case_fails_through_the_gateway(site: Site, directly: dict[str, Verdict], number: int) -> None:
    """Neither with an early token, where compression is agreed on end to end, nor without one, where it is declined."""
    way = site.through[number]
    through = site.run(way, (*SECTIONS, *LARGE, *COMPRESSED), DEADLINE_SECONDS)
    compared = {case: verdict for case, verdict in directly.items() if way.takes(case)}
    assert [each for each in differences(compared, through) if each.is_regression] == []
    assert len(through) == len(compared)
