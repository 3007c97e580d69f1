"""Logging out at the provider: what it may cost before its token has been looked at."""

import pytest
import structlog
import trio

from trio_ws_gateway import backchannel
from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.revocation import Revocation, Revocations, Terms
from trio_ws_gateway.backchannel import BackchannelLogout, NotDone
from trio_ws_gateway.causes import Refused


async def _nothing(_: list[Revocation]) -> bool:
    return True


def made() -> BackchannelLogout:
    terms = Terms(life_seconds=3600, leeway_seconds=30, issuer=None)
    authenticator = Authenticator.__new__(Authenticator)  # no request comes as far
    return BackchannelLogout(authenticator, "us", terms, Revocations(9), _nothing, structlog.get_logger())


async def is_heard(page: BackchannelLogout, address: str) -> bool:
    try:
        await page.log_out("text/plain", b"", address)
    except NotDone:
        return True
    except Refused:
        return False
    return True


async def test_each_address_by_itself(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    """Whoever asks too often is refused, and nobody else is; one network of IPv6 is one of them."""
    monkeypatch.setattr(backchannel, "BURST", 2)
    page = made()
    assert [await is_heard(page, "192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [await is_heard(page, f"2001:db8::{end}") for end in (1, 2, 3)] == [True, True, False]
    assert await is_heard(page, "192.0.2.2")


async def test_many_addresses(monkeypatch: pytest.MonkeyPatch, autojump_clock: object) -> None:
    """Who comes from a further address than are remembered shares one budget with all who do, for a while."""
    monkeypatch.setattr(backchannel, "BURST", 1)
    monkeypatch.setattr(backchannel, "ADDRESSES_MAX", 2)
    page = made()
    assert [await is_heard(page, f"192.0.2.{end}") for end in range(4)] == [True, True, True, False]
    await trio.sleep(1)
    assert [await is_heard(page, f"192.0.2.{end}") for end in (5, 6)] == [True, True]
