"""The whole demo: starts what a gateway needs and the gateway, plays the scenes, invites, and ends everything again.

What was started last ends first, so the gateway drains while there are still a broker and a backend behind it. No
process, file or socket outlives ``run``.
"""

import itertools
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TextIO

import httpx
import trio
from attrs import define, field, frozen

from trio_ws_gateway.config.values import Address
from trio_ws_gateway.demo.backends import serve_echo, serve_plain_mqtt
from trio_ws_gateway.demo.broker import StartBroker
from trio_ws_gateway.demo.children import kept_directory
from trio_ws_gateway.demo.clients import Ended
from trio_ws_gateway.demo.gateway import DRAIN_SECONDS, Gateway, LogLine, gateway
from trio_ws_gateway.demo.log_lines import visit
from trio_ws_gateway.demo.scenes import AUDIENCE, CLIENT_ID_PREFIX, Mint, Scene, play, scenes
from trio_ws_gateway.demo.screen import LET_IN, REFUSED, WRONG, Screen, ScreenRow
from trio_ws_gateway.demo.try_it import Places, addresses, commands
from trio_ws_gateway.issuer import server
from trio_ws_gateway.issuer.keys import SigningKey
from trio_ws_gateway.output import output_of
from trio_ws_gateway.probing.figures import duration

LOOPBACK = "127.0.0.1"
ALGORITHM = "ES256"  # people will look at these tokens; those of RS256 are twice as long
VISITOR = "alice"
TALKERS = 2  # so many of the scenes, the first, are played on for ever
PAUSE_SECONDS = 2.0
PLAIN_EVERY = 15  # where lines cannot change, every so many messages are one


@frozen(kw_only=True)
class Wanted:
    """``listen``: where the gateway shall be. ``once``: end after the scenes."""

    listen: Address
    start_broker: StartBroker
    once: bool


async def run(wanted: Wanted, output: TextIO) -> bool:
    """Run a demo until SIGINT, SIGTERM or SIGHUP. Returns whether all went as it should.

    Raises ``ChildFailed``, in a group, where something does not start or ends too soon.
    """
    with (
        kept_directory("trio-ws-gateway-demo-") as directory,
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals,
    ):
        async with trio.open_nursery() as nursery:
            demo = Demo(wanted)
            nursery.start_soon(demo.end_on, signals)
            if (written := output_of(output)) is not None:
                written.when_lost(demo.end)  # nobody sees it any more
            with Screen(output) as screen:
                with demo.everything:
                    await demo.run(screen, directory)
                if demo.everything.cancelled_caught:
                    screen.say("Ended before all had started. Nothing is left running.")
            nursery.cancel_scope.cancel()
    return demo.went_well


@define(eq=False)
class Demo:
    """``went_well``: no scene so far had another answer than it should, and the gateway no other end."""

    _wanted: Wanted
    everything: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _sessions: trio.CancelScope = field(factory=trio.CancelScope)
    _is_open: bool = False
    _unseen: int = 0  # ends of sessions that the gateway still has to log and that were on the screen before
    _played: list[ScreenRow] = field(factory=list)
    went_well: bool = True

    async def end_on(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self.end()

    def end(self) -> None:
        """With sessions there is a drain to be seen; before that, nothing is worth waiting for."""
        self.went_well &= not self._wanted.once  # the scenes were to be played to their end
        (self._sessions if self._is_open else self.everything).cancel()

    async def run(self, screen: Screen, directory: Path) -> None:
        """Start everything, and end it when ``end`` is called or, with the scenes all that is wanted, after them."""
        host = self._wanted.listen.host
        key = SigningKey.generate(ALGORITHM)

        def heard(line: LogLine) -> None:
            if (seen := visit(line)) is None:
                return
            if self._unseen:
                self._unseen -= 1
            else:
                screen.show(seen)

        async with trio.open_nursery() as nursery:  # of those who are still there while the gateway drains
            async with (
                server.serving([key], host=host, minting=True) as issuer,
                self._wanted.start_broker(directory) as broker,
            ):
                screen.say(f"issuer   {issuer}")
                screen.say(f"broker   {broker.url}  ({broker.name})")
                echo_port = await nursery.start(serve_echo, LOOPBACK)
                echo = f"ws://{LOOPBACK}:{echo_port}/"
                screen.say(f"backend  {echo}  (it says everything back)")
                settings = _settings(self._wanted.listen, issuer=issuer, broker=broker.url, backend=echo)
                async with gateway(settings, directory, heard) as running:
                    screen.say(f"gateway  {running.url}  (a process of its own, started like this:)\n")
                    screen.say(_as_command(settings) + "\n", "dim")
                    with self._sessions:
                        self._is_open = True
                        mint = Mint(key=key, issuer=issuer)
                        stage = scenes(running.url, mint)
                        await self._play(stage, screen)
                        if not self._wanted.once:
                            mqtt_port = await nursery.start(serve_plain_mqtt, running.address.host, running.url)
                            self._invite(screen, running, issuer, mqtt_port, mint)
                            for scene in stage[:TALKERS]:
                                nursery.start_soon(_talk, scene, screen)
                            nursery.start_soon(_count, running, screen)
                            await trio.sleep_forever()
                    screen.say("\nThe gateway drains: whoever is there is told to come again (close 1012).")
                self.went_well &= running.process.status == 0
                screen.say(f"It ended with status {running.process.status}.")
            nursery.cancel_scope.cancel()
        screen.say("Nothing is left running.")

    def _invite(self, screen: Screen, running: Gateway, issuer: str, mqtt_port: int, mint: Mint) -> None:
        places = Places(
            gateway=running.address, path=running.path, issuer=issuer, mqtt_port=mqtt_port, python=sys.executable
        )
        screen.say(f"\n{addresses(places)}")
        screen.say("\nTry it from another terminal; Ctrl-C here ends it all.\n", "bold")
        screen.invite(commands(places, good=mint.good(VISITOR), expired=mint.expired(VISITOR)) + "\n")
        if screen.is_terminal:  # what was shown before has left the screen by now
            screen.head()
            for row in self._played:
                screen.show(row)

    async def _play(self, stage: list[Scene], screen: Screen) -> None:
        screen.head()
        self._unseen = len(stage)
        for scene in stage:
            began_at = trio.current_time()
            answer = await play(scene)
            as_due = answer == scene.due
            self.went_well &= as_due
            verdict = (LET_IN if answer.echoed else REFUSED) if as_due else WRONG
            said = str(answer) if as_due else f"{answer} (due: {scene.due})"
            row = _row(scene, verdict, scene.tries, said, trio.current_time() - began_at)
            self._played.append(row)
            screen.show(row)


async def _talk(scene: Scene, screen: Screen) -> None:
    """Say something every few seconds, for ever, in a new session whenever one has ended."""
    while True:
        try:
            async with scene.session() as session:
                for count in itertools.count(1):
                    began_at = trio.current_time()
                    await session.round_trip(f"message {count}")
                    took = trio.current_time() - began_at
                    screen.keep(scene.who, f"{scene.protocol}: message {count} came back in {duration(took)}")
                    if not screen.is_terminal and count % PLAIN_EVERY == 0:
                        screen.show(_row(scene, LET_IN, f"message {count}", "echoed", took))
                    await trio.sleep(PAUSE_SECONDS)
        except Ended as ended:
            screen.keep(scene.who, f"{scene.protocol}: {ended.answer}")
        await trio.sleep(PAUSE_SECONDS)


def _row(scene: Scene, verdict: str, tried: str, answer: str, seconds: float) -> ScreenRow:
    return ScreenRow(
        verdict=verdict, who=scene.who, protocol=scene.protocol, tried=tried, answer=answer, seconds=seconds
    )


async def _count(running: Gateway, screen: Screen) -> None:
    """Keep on the screen what the gateway says of itself."""
    while True:
        try:
            counts = await running.counts()
        except httpx.HTTPError:
            return  # it drains
        now, refused = (counts.get(name) for name in ("ws_active_sessions", "ws_auth_failures_total"))
        if now is not None and refused is not None:  # half a page comes of a gateway that dies
            screen.keep("gateway", f"{now:.0f} sessions now, {refused:.0f} tokens refused")
        await trio.sleep(PAUSE_SECONDS)


def _settings(listen: Address, *, issuer: str, broker: str, backend: str) -> dict[str, str]:
    """All that makes the gateway of the demo different from any other."""
    return {
        "LISTEN": str(listen),
        "OIDC_ISSUER": issuer,
        "JWT_EXPECTED_AUDIENCE": AUDIENCE,
        "JWT_VALID_ALGORITHMS": ALGORITHM,
        "UPSTREAM_WS_URL": broker,
        "UPSTREAM_MQTT_CREDENTIALS": "strip",
        "MQTT_CLIENT_ID_PREFIX": CLIENT_ID_PREFIX,
        "RAW_WS_BACKEND_URL": backend,
        "GRACEFUL_DRAIN_TIMEOUT_SECONDS": str(DRAIN_SECONDS),
    }


def _as_command(settings: Mapping[str, str]) -> str:
    """What one would type."""
    return "".join(f"{name}={shlex.quote(value)} \\\n" for name, value in settings.items()) + "trio-ws-gateway serve"
