"""Who knocks at the gateway, with which token: the scenes of the demo, and what the gateway has to answer in each."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from attrs import evolve, frozen

from trio_ws_gateway.demo.clients import ACCEPTED, Answer, Ended, Session, mqtt_session, raw_session
from trio_ws_gateway.issuer.keys import SigningKey
from trio_ws_gateway.issuer.minting import mint

AUDIENCE = "gateway"
HOUR_SECONDS = 3600
CLIENT_ID_PREFIX = "{sub}-"
"""The gateway's ``MQTT_CLIENT_ID_PREFIX``, which the scene of somebody else's client id is about."""

MQTT_ECHO = Answer(connack=ACCEPTED, echoed=True)
RAW_ECHO = Answer(http=101, echoed=True)
REJECTED = Answer(http=401, reason="JWT invalid or expired")


def turned_away(reason: str) -> Answer:
    """What an MQTT client hears: "not authorised", and why."""
    return Answer(connack=5, close=1008, reason=reason)


Token = Callable[[str], str]
"""The token of that subject; empty for none."""


def no_token(_subject: str) -> str:
    return ""


@frozen(kw_only=True)
class Mint:
    """Tokens of one issuer, good and bad."""

    key: SigningKey
    issuer: str
    now: Callable[[], float] = time.time

    def good(self, subject: str) -> str:
        """Good for an hour."""
        return self._token(self.key, subject, self.now())

    def expired(self, subject: str) -> str:
        """It was good until an hour ago."""
        return self._token(self.key, subject, self.now() - 2 * HOUR_SECONDS)

    def forged(self, subject: str) -> str:
        """It names the issuer's key, but another has signed it."""
        forger = evolve(SigningKey.generate(self.key.algorithm), kid=self.key.kid)
        return self._token(forger, subject, self.now())

    def _token(self, key: SigningKey, subject: str, now: float) -> str:
        return mint(
            key, issuer=self.issuer, subject=subject, audience=[AUDIENCE], lifetime_seconds=HOUR_SECONDS, now=now
        )


@frozen(kw_only=True)
class Scene:
    """``who`` opens a ``session`` and says something in it. ``due`` is what the gateway has to answer."""

    who: str
    protocol: str
    tries: str
    due: Answer
    session: Callable[[], AbstractAsyncContextManager[Session]]


def scenes(url: str, mint: Mint) -> list[Scene]:
    """All of them in their order, at the gateway at ``url``. The first two can be played for ever."""

    def mqtt(who: str, tries: str, due: Answer, token: Token, client_id: str = "") -> Scene:
        def session() -> AbstractAsyncContextManager[Session]:
            return mqtt_session(
                url, client_id=client_id or f"{who}-1", username=who, token=token(who), topic=f"demo/{who}"
            )

        return Scene(who=who, protocol="mqtt", tries=tries, due=due, session=session)

    def raw(who: str, tries: str, due: Answer, token: Token, *, is_subprotocol: bool = False) -> Scene:
        def session() -> AbstractAsyncContextManager[Session]:
            given = token(who)
            return (
                raw_session(url, subprotocols=["bearer", given]) if is_subprotocol else raw_session(url, bearer=given)
            )

        return Scene(who=who, protocol="raw", tries=tries, due=due, session=session)

    invalid = turned_away(REJECTED.reason)
    return [
        mqtt("robot-7", "a good token, as password", MQTT_ECHO, mint.good),
        raw("camera-2", "a good token, as header", RAW_ECHO, mint.good),
        raw("browser", "a good token, as subprotocol", RAW_ECHO, mint.good, is_subprotocol=True),
        mqtt("robot-7", "an expired token", invalid, mint.expired),
        mqtt("mallory", "a forged token", invalid, mint.forged),
        mqtt("mallory", "a good token, robot-7's client id", turned_away("Forbidden"), mint.good, "robot-7-1"),
        mqtt("mallory", "no token", turned_away("Token missing"), no_token),
        raw("camera-2", "an expired token", REJECTED, mint.expired),
        raw("mallory", "a forged token", REJECTED, mint.forged),
        raw("mallory", "no token", Answer(close=1008, reason="Token missing"), no_token),
    ]


async def play(scene: Scene) -> Answer:
    """What the gateway answered."""
    try:
        async with scene.session() as session:
            await session.round_trip(f"hello from {scene.who}")
            return evolve(session.welcome, echoed=True)
    except Ended as ended:
        return ended.answer
