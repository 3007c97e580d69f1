"""The gateway of the demo: ``trio-ws-gateway serve`` as a process of its own, given nothing but settings."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define

from trio_ws_gateway.config.values import Address
from trio_ws_gateway.demo.children import POLL_SECONDS, START_SECONDS, Child, ChildFailed, child

PATH = "/ws"
DRAIN_SECONDS = 2
PATIENCE_SECONDS = DRAIN_SECONDS + 3.0

LogLine = dict[str, Any]


@define(eq=False)
class Gateway:
    """A running one. ``address`` is where it is found."""

    address: Address
    process: Child
    _http: httpx.AsyncClient
    path: str = PATH

    @property
    def url(self) -> str:
        return f"ws://{self.address}{self.path}"

    @property
    def http_url(self) -> str:
        return f"http://{self.address}"

    async def counts(self) -> dict[str, float]:
        """What ``/metrics`` says of numbers without labels, by name. Raises ``httpx.HTTPError``."""
        answer = await self._http.get(f"{self.http_url}/metrics")
        answer.raise_for_status()
        lines = [line for line in answer.text.splitlines() if line[:1] not in ("", "#") and "{" not in line]
        return {name: float(value) for name, _, value in (line.partition(" ") for line in lines)}

    async def _ready(self) -> None:
        """Wait until it has the issuer's keys. Raises ``ChildFailed`` if that takes longer than ``START_SECONDS``."""
        why = "is silent"
        with trio.move_on_after(START_SECONDS):
            while True:
                try:
                    answer = await self._http.get(f"{self.http_url}/readyz")
                except httpx.HTTPError as error:
                    why = f"does not answer ({error or type(error).__name__})"
                else:
                    if answer.status_code == 200:
                        return
                    why = f"is {answer.text.strip()}"
                await trio.sleep(POLL_SECONDS)
        raise ChildFailed(f"the gateway {why} after {START_SECONDS:g} s")


@asynccontextmanager
async def gateway(
    settings: Mapping[str, str], directory: Path, heard: Callable[[LogLine], None]
) -> AsyncIterator[Gateway]:
    """A gateway for the length of the block, at whose end it drains; ready at the beginning.

    ``heard`` is called with every line that it logs. Raises ``ChildFailed``, in a group, where it does not start or
    ends by itself.
    """
    listening: list[LogLine] = []

    def read(text: str) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            return  # what Python says of a crash; the child keeps it
        if line.get("event") == "listening":
            listening.append(line)
        heard(line)

    async with (
        httpx.AsyncClient(trust_env=False) as http,  # no proxy that the environment names leads to this machine
        child(
            "the gateway",
            [sys.executable, "-m", "trio_ws_gateway", "serve"],
            directory=directory,
            environment=settings,
            heard=read,
            patience_seconds=PATIENCE_SECONDS,
        ) as process,
    ):
        await process.until(lambda: bool(listening), "listening")
        found = Gateway(Address(listening[0]["host"], listening[0]["port"]).reachable(), process, http)
        await found._ready()
        yield found
