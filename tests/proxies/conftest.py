"""Which proxies the tests are about."""

from types import ModuleType

import pytest

from tests.servers import caddy, haproxy, nginx


@pytest.fixture(params=[nginx, haproxy, caddy], ids=["nginx", "haproxy", "caddy"])
def kind(request: pytest.FixtureRequest) -> ModuleType:
    chosen: ModuleType = request.param
    return chosen
