"""A token that comes in the query, or in a header, is in nothing that a proxy writes."""

from pathlib import Path
from types import ModuleType

import pytest
import trio
from attrs import evolve

from tests.house import House, house
from tests.proxies.front import Front, behind, in_front_of
from tests.servers import caddy, haproxy, nginx
from tests.servers.ports import free_port

pytestmark = pytest.mark.integration


def ways_in(token: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Target and headers."""
    return [
        (f"/ws?a=b&token={token}", ()),
        ("/ws", (("Authorization", f"Bearer {token}"),)),
        ("/ws", (("Sec-WebSocket-Protocol", f"bearer, {token}"),)),
    ]


def away(home: House) -> House:
    """The same, with nobody at its address."""
    return evolve(home, port=free_port())


async def written(front: Front, lines: int) -> str:
    """What the proxy has written, as soon as it has told of so many requests."""
    with trio.fail_after(10):
        while (text := front.proxy.written()).count("/gateway/ws") < lines:
            await trio.sleep(0.02)
    return text


async def test_sessions(kind: ModuleType, tmp_path: Path) -> None:
    """Of a session the proxy logs the path, and no token."""
    async with behind(kind, tmp_path) as front:
        token = front.provider.mint()
        for target, headers in ways_in(token):
            async with front.open(*headers, target=target):
                pass
        assert token not in await written(front, 3)


async def test_gateway_that_is_away(kind: ModuleType, tmp_path: Path) -> None:
    """Nor does it when it cannot reach the gateway, which is when proxies write most."""
    async with house() as home, in_front_of(away(home), kind, tmp_path / "proxy") as front:
        token = home.provider.mint()
        headers = [header for _, headers in ways_in(token) for header in headers]
        async with front.knock(*headers, target=f"/ws?token={token}") as (_, answer):
            assert answer.status in (502, 503)
        assert token not in await written(front, 1)


@pytest.mark.parametrize(
    ("kind", "line", "instead"),
    [
        (nginx, "access_log /var/log/nginx/gateway.log gateway;", "access_log /var/log/nginx/gateway.log;"),
        (nginx, "error_log /var/log/nginx/gateway-error.log emerg;", ""),
        (haproxy, "%HPO", "%HU"),
        (caddy, 'request>uri regexp \\?.* ""', ""),
    ],
    ids=["nginx-access", "nginx-error", "haproxy", "caddy"],
)
async def test_not_by_default(kind: ModuleType, tmp_path: Path, line: str, instead: str) -> None:
    """Without these lines of the documented files the token is written down."""
    async with (
        house() as home,
        in_front_of(away(home), kind, tmp_path / "proxy", changes={line: instead}) as front,
    ):
        token = home.provider.mint()
        async with front.knock(target=f"/ws?token={token}"):
            assert token in await written(front, 1)
