"""The provider of the keys is away, slow, or says a hundred megabytes: whose key is known comes in all the while."""

import math
from pathlib import Path

import pytest
import trio

from tests.faults.double import harmed
from tests.faults.others import before_an_echo, nothing_stays, undisturbed
from tests.house import House
from tests.oidc_provider import Answer
from trio_ws_gateway.auth import jwks

WAIT_SECONDS = 0.3
MARGIN_SECONDS = 2.0
MUCH_BYTES = 100_000_000
RESIDENT_MAX_KIB = 8 * 1024


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has an unknown key waits for less than five seconds, and the provider is asked more often than in ten."""
    monkeypatch.setattr(jwks, "REFETCH_WAIT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(jwks, "REFETCH_INTERVAL_SECONDS", 0.0)


async def status(home: House, token: str) -> int:
    async with home.knock(token=token) as (_, answer):
        return answer.status


async def known_and_unknown(home: House, known: str) -> None:
    """Whose key is known comes in at once, and whose is not is refused in time."""
    unknown = home.provider.mint({"kid": "invented"})
    with trio.fail_after(WAIT_SECONDS + MARGIN_SECONDS):
        async with trio.open_nursery() as nursery:

            async def refused() -> None:
                assert await status(home, unknown) == 401

            nursery.start_soon(refused)
            assert await status(home, known) == 101
    assert (await home.samples())["ws_auth_failures_total"] == 1
    assert (await home.get("/readyz"))[0].status == 200


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("way", ["away", "slow", "500", "endless"])
async def test_last_good_keys_serve(way: str) -> None:
    """When the provider is back, its new keys are fetched for the first who needs them."""
    async with harmed("raw") as (home, _):
        provider, known = home.provider, home.provider.mint()
        match way:
            case "away":
                await provider.go_down()
            case "slow":
                provider.stall()
            case "500":
                provider.answers[provider.jwks_path] = Answer(status=500)
            case "endless":
                provider.answers[provider.jwks_path] = Answer(padding_bytes=math.inf)
        await known_and_unknown(home, known)
        if way == "slow":
            provider.flow()
        else:
            assert (await home.last_line("keys not fetched"))["serving"] == "the last good keys"
        if way == "away":
            await provider.come_up()
        provider.answers.clear()
        provider.rotate(keep_old=True)
        assert await status(home, provider.mint()) == 101
        assert (await home.samples())["ws_jwks_age_seconds"] < MARGIN_SECONDS


async def test_a_hundred_megabytes(tmp_path: Path) -> None:
    """Of a hundred megabytes one is read, and the rest is neither kept nor waited for."""
    async with before_an_echo(tmp_path) as there, nothing_stays(there), undisturbed(there.house, "raw"):
        provider, before = there.house.provider, there.resident_kib
        provider.answers[provider.jwks_path] = Answer(padding_bytes=MUCH_BYTES)
        assert await status(there.house, provider.mint({"kid": "invented"})) == 401
        line = await there.log_line("keys not fetched")
        assert line["reason"] == f"more than {jwks.DOCUMENT_MAX_BYTES} bytes"
        assert await status(there.house, provider.mint()) == 101
        assert there.resident_kib - before < RESIDENT_MAX_KIB
