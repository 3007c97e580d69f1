"""The scenes: what they say of an answer, and that they tell a wrong one from the right one."""

from contextlib import suppress

import pytest
import trio

from tests.house import House, house
from trio_ws_gateway.demo.clients import Answer
from trio_ws_gateway.demo.scenes import Mint, play, scenes
from trio_ws_gateway.issuer.keys import SigningKey
from trio_ws_gateway.issuer.minting import claims_of

KEY = SigningKey.generate("ES256")
MINT = Mint(key=KEY, issuer="http://issuer.example", now=lambda: 10_000.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(), "nothing"),
        (Answer(http=401, reason="JWT invalid or expired"), "HTTP 401 JWT invalid or expired"),
        (Answer(http=404), "HTTP 404"),
        (Answer(http=101, echoed=True), "HTTP 101; echoed"),
        (
            Answer(connack=5, close=1008, reason="Forbidden"),
            "CONNACK 0x05, not authorised; close 1008 Forbidden",
        ),
        (Answer(reason="no connection"), "no connection"),
    ],
)
def test_answers_in_words(answer: Answer, words: str) -> None:
    """An answer is told in its codes and their words."""
    assert str(answer) == words


def test_tokens() -> None:
    """A good token is good for an hour, an expired one was; a forged one says the same as a good one."""
    good, expired, forged = (claims_of(make("alice")) for make in (MINT.good, MINT.expired, MINT.forged))
    assert (good["iat"], good["exp"], good["sub"], good["aud"]) == (10_000, 13_600, "alice", "gateway")
    assert (expired["iat"], expired["exp"]) == (2_800, 6_400)
    assert {name: value for name, value in forged.items() if name != "jti"} == {
        name: value for name, value in good.items() if name != "jti"
    }


async def wrong(gateway: House) -> list[str]:
    """Who tried what, in the scenes that do not end as they should."""
    url = f"ws://127.0.0.1:{gateway.port}/ws"
    found = []
    with trio.fail_after(60):
        for scene in scenes(url, MINT):
            if await play(scene) != scene.due:
                found.append(f"{scene.protocol} {scene.tries}")
    return found


async def test_a_gateway_that_believes_nobody() -> None:
    """Before a gateway with another provider, those who should be let in are not, and that is seen."""
    async with house() as gateway:
        assert [each for each in await wrong(gateway) if "good token, as" in each] == [
            "mqtt a good token, as password",
            "raw a good token, as header",
            "raw a good token, as subprotocol",
        ]


async def test_nobody_there() -> None:
    """Where nobody listens, no scene ends as it should, and none raises."""
    async with house() as gateway:
        gateway.scope.cancel()
        stage = scenes(f"ws://127.0.0.1:{gateway.port}/ws", MINT)
        with trio.fail_after(60), suppress(OSError):
            while True:
                async with gateway.connect():
                    await trio.sleep(0.005)
        for scene in stage:
            assert await play(scene) == Answer(reason="no connection")
