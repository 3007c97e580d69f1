"""Where the sessions of each protocol go, what their upstreams are told on the way, and when they are left alone."""

import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

import pytest
import structlog
import trio
from attrs import define, evolve, field, frozen
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from trio_ws_gateway import leg
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.metrics import Metrics
from trio_ws_gateway.protocols.raw import RawGreeting
from trio_ws_gateway.upstream.dial import Dialled, Dialler, T, tls_context
from trio_ws_gateway.upstream.failures import DialFailed, Failure
from trio_ws_gateway.upstream.introduction import Visitor
from trio_ws_gateway.upstream.resolver import Address
from trio_ws_gateway.upstream.routes import LONG_HEAD_BYTES, Routes
from trio_ws_gateway.wire.handshake import Offer, accept_key
from trio_ws_gateway.wire.http import Request, Response, build_head, parse_request, parse_response

URL = WebSocketUrl.parse("ws://backend:8081/raw")
VISITOR = Visitor(
    peer="203.0.113.7", request=parse_request(b"GET /ws HTTP/1.1\r\nHost: gateway.example\r\n\r\n"), token="a.b.c"
)
THRESHOLD, OPEN_SECONDS, TRY_SECONDS = 3, 60.0, 2.0


async def nobody(host: str) -> tuple[Address, ...]:
    raise AssertionError(host)


@frozen(kw_only=True)
class Answering(Dialler):
    """Every dial takes two tries of two seconds, unless it is for once. The upstream agrees, or ends as told."""

    ends: list[Failure | BaseException] = field(factory=list)
    asked: list[Request] = field(factory=list)

    async def dial(
        self,
        url: WebSocketUrl,
        request: bytes,
        check: Callable[[Response], T],
        trying_again: Callable[[], None],
        *,
        once: bool = False,
        tried: int = 0,
    ) -> Dialled[T]:
        self.asked.append(parse_request(request))
        await trio.sleep(TRY_SECONDS)
        if not once:
            trying_again()
            await trio.sleep(TRY_SECONDS)
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, Failure):
            raise DialFailed(end, f"{url.authority}: as told")
        if end is not None:
            raise end
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(self.asked[-1].headers.get("sec-websocket-key") or "")),
        ]
        answer = parse_response(build_head("HTTP/1.1 101 Switching Protocols", headers))
        return Dialled(socket.socket(), check(answer), b"")


@define
class World:
    """Two protocols whose upstreams are one."""

    dialler: Answering
    metrics: Metrics
    routes: Routes

    async def reach(self, protocol: str = "raw", tried: int = 0) -> None:
        dialled = await self.routes.of(protocol).reach(RawGreeting(), VISITOR, Offer(), tried=tried)
        dialled.sock.close()

    async def refusal(self, protocol: str = "raw", tried: int = 0) -> Cause:
        with pytest.raises(Refused) as caught:
            await self.reach(protocol, tried)
        assert caught.value.detail.startswith("backend:8081: ")
        return caught.value.cause

    async def open_circuit(self) -> None:
        self.dialler.ends[:] = [Failure.UNREACHABLE] * THRESHOLD
        for _ in range(THRESHOLD):
            assert await self.refusal() is Cause.UPSTREAM_UNAVAILABLE

    def sample(self, name: str, protocol: str = "raw") -> float:
        families = text_string_to_metric_families(self.metrics.expose().decode())
        [value] = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels == {"protocol": protocol}
        ]
        return value


def world(*, forwards_token: bool = True) -> World:
    metrics = Metrics(max_identities=0)
    dialler = Answering(
        tls=tls_context(None),
        resolve=nobody,
        timeout_seconds=1,
        retry_max=0,
        retry_interval_seconds=0,
        configure=leg.configure,
    )
    routes = Routes(
        {"raw": URL, "mqtt": URL},
        dialler=dialler,
        threshold=THRESHOLD,
        open_seconds=OPEN_SECONDS,
        metrics=metrics,
        forwards_token=forwards_token,
        log=structlog.get_logger(),
    )
    return World(dialler, metrics, routes)


# Reaching


@pytest.mark.parametrize("forwards", [True, False])
async def test_upstream_is_reached(autojump_clock: MockClock, forwards: bool) -> None:
    """A route introduces the visitor, with its token where that may go on, and counts tries and time."""
    here = world(forwards_token=forwards)
    assert here.routes.of("raw").url == URL
    for _ in range(2):
        await here.reach()
    assert [each.headers.get("authorization") for each in here.dialler.asked] == [
        "Bearer a.b.c" if forwards else None for _ in range(2)
    ]
    assert len({each.headers.get("sec-websocket-key") for each in here.dialler.asked}) == 2
    assert here.sample("ws_proxy_retries_total") == 2
    assert here.sample("ws_dial_seconds_sum") == 4 * TRY_SECONDS


def test_protocol_without_an_upstream() -> None:
    """A protocol whose upstream is not configured has no route, and the log is told which setting is missing."""
    with pytest.raises(Refused, match="UPSTREAM_STOMP_URL is not set") as caught:
        world().routes.of("stomp")
    assert caught.value.cause is Cause.UPSTREAM_UNAVAILABLE


# The circuit


async def test_opens(autojump_clock: MockClock, log: list[MutableMapping[str, Any]]) -> None:
    """After so many sessions in a row that reach no upstream the next is refused at once, without a dial."""
    here = world()
    assert (here.sample("ws_circuit_open_total"), here.sample("ws_circuit_state")) == (0, 0)
    await here.open_circuit()
    before = trio.current_time()
    assert await here.refusal() is Cause.CIRCUIT_OPEN
    assert trio.current_time() == before
    assert len(here.dialler.asked) == THRESHOLD
    assert (here.sample("ws_circuit_open_total"), here.sample("ws_circuit_state")) == (1, 2)
    assert log == [
        {"event": "circuit open", "log_level": "warning", "protocol": "raw", "upstream": "ws://backend:8081/raw"}
    ]


async def test_one_dial_is_one_failure(autojump_clock: MockClock) -> None:
    """A session counts once, however often it has tried."""
    here = world()
    here.dialler.ends[:] = [Failure.UNREACHABLE] * (THRESHOLD - 1)
    for _ in range(THRESHOLD - 1):
        assert await here.refusal() is Cause.UPSTREAM_UNAVAILABLE
    assert here.sample("ws_proxy_retries_total") == THRESHOLD - 1
    await here.reach()


async def test_other_protocols_have_circuits_of_their_own(autojump_clock: MockClock) -> None:
    """Behind one port may be several upstreams: what befalls one protocol closes off no other."""
    here = world()
    await here.open_circuit()
    await here.reach("mqtt")
    assert (here.sample("ws_circuit_state", "mqtt"), here.sample("ws_circuit_state", "raw")) == (0, 2)


@pytest.mark.parametrize("harmless", [Failure.DISAGREES, Failure.OURS, ZeroDivisionError(), Cause.FAULT])
async def test_what_does_not_count(autojump_clock: MockClock, harmless: Failure | Exception | Cause) -> None:
    """What is about one client, or the gateway's own trouble, opens nothing however often it happens."""
    here = world()
    end = Refused(harmless) if isinstance(harmless, Cause) else harmless
    here.dialler.ends[:] = [end] * 10 * THRESHOLD
    for _ in range(10 * THRESHOLD):
        with suppress(Refused, ZeroDivisionError):
            await here.reach()
    assert here.dialler.ends == []
    await here.reach()


@pytest.mark.parametrize(("size", "harmless"), [(LONG_HEAD_BYTES, True), (10, False)], ids=["long", "ordinary"])
@pytest.mark.parametrize("failure", [Failure.NO_ANSWER, Failure.BROKEN])
async def test_a_head_that_is_too_long_for_the_upstream(
    autojump_clock: MockClock, size: int, harmless: bool, failure: Failure
) -> None:
    """Who sends more than an upstream has room for, which then hangs up without a word, closes it off for nobody."""
    here = world()
    head = f"GET /ws HTTP/1.1\r\nHost: gateway.example\r\nCookie: {'x' * size}\r\n\r\n"
    greedy = evolve(VISITOR, request=parse_request(head.encode()))
    here.dialler.ends[:] = [failure] * THRESHOLD
    for _ in range(THRESHOLD):
        with pytest.raises(Refused, match="as told"):
            await here.routes.of("raw").reach(RawGreeting(), greedy, Offer())
    is_closed_off = here.sample("ws_circuit_state") == 2
    assert is_closed_off is not (harmless and failure is Failure.NO_ANSWER)


async def test_clients_that_leave(autojump_clock: MockClock) -> None:
    """Clients that leave while they are dialled for open nothing."""
    here = world()
    for _ in range(10 * THRESHOLD):
        with trio.move_on_after(TRY_SECONDS / 2):
            await here.reach()
    await here.reach()


async def test_trial(autojump_clock: MockClock, log: list[MutableMapping[str, Any]]) -> None:
    """After its time one session tries, once and without further tries, the others wait for its outcome outside."""
    here = world()
    await here.open_circuit()
    await trio.sleep(OPEN_SECONDS)
    here.dialler.ends[:] = [Failure.UNREACHABLE]
    tries = here.sample("ws_proxy_retries_total")
    async with trio.open_nursery() as nursery:

        async def the_trial() -> None:
            assert await here.refusal() is Cause.UPSTREAM_UNAVAILABLE

        nursery.start_soon(the_trial)
        await trio.sleep(TRY_SECONDS / 2)
        assert here.sample("ws_circuit_state") == 1
        for _ in range(100):
            assert await here.refusal() is Cause.CIRCUIT_OPEN
    assert here.sample("ws_proxy_retries_total") == tries
    assert (here.sample("ws_circuit_open_total"), here.sample("ws_circuit_state")) == (2, 2)
    await trio.sleep(OPEN_SECONDS)
    await here.reach()
    assert here.sample("ws_circuit_state") == 0
    events = ["circuit open", "circuit half-open", "circuit open", "circuit half-open", "circuit closed"]
    assert [line["event"] for line in log] == events


@pytest.mark.parametrize("harmless", [Failure.DISAGREES, ZeroDivisionError(), None])
async def test_trial_of_which_nothing_is_learnt(
    autojump_clock: MockClock, harmless: Failure | Exception | None
) -> None:
    """A trial whose client is refused, is at fault, or leaves makes room for the next session."""
    here = world()
    await here.open_circuit()
    await trio.sleep(OPEN_SECONDS)
    here.dialler.ends[:] = [] if harmless is None else [harmless]
    with trio.move_on_after(TRY_SECONDS / 2 if harmless is None else 100), suppress(Refused, ZeroDivisionError):
        await here.reach()
    assert here.sample("ws_circuit_state") == 1
    await here.reach()
    assert here.sample("ws_circuit_state") == 0


async def test_opens_between_tries(autojump_clock: MockClock) -> None:
    """A session whose circuit opens between two of its tries does not try again: it hears what the others hear."""
    here = world()
    causes: list[Cause] = []

    async def late() -> None:
        await trio.sleep(1.5 * TRY_SECONDS)
        causes.append(await here.refusal())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late)
        here.dialler.ends[:] = [Failure.UNREACHABLE] * THRESHOLD
        for _ in range(THRESHOLD):
            nursery.start_soon(here.refusal)
    assert causes == [Cause.CIRCUIT_OPEN]
    assert here.sample("ws_proxy_retries_total") == THRESHOLD


async def test_opens_and_closes_between_tries(autojump_clock: MockClock) -> None:
    """A session whose circuit was open between two of its tries goes on when it is closed again, as of now."""
    here = world()
    here.dialler.ends[:] = [Failure.UNREACHABLE] * THRESHOLD
    async with trio.open_nursery() as nursery:
        for _ in range(THRESHOLD):
            nursery.start_soon(here.refusal)
        await trio.sleep(1.5 * TRY_SECONDS)
        nursery.start_soon(here.reach)
        await trio.sleep(0.6 * TRY_SECONDS)
        assert here.sample("ws_circuit_state") == 2
        here.routes.is_healthy("raw")
    assert here.sample("ws_circuit_state") == 0


async def test_sessions_that_were_had(autojump_clock: MockClock) -> None:
    """Sessions that have lost their upstream open nothing, and are closed off as all are; as a trial they count."""
    here = world()
    here.dialler.ends[:] = [Failure.UNREACHABLE] * 10 * THRESHOLD
    for _ in range(10 * THRESHOLD):
        assert await here.refusal(tried=1) is Cause.UPSTREAM_UNAVAILABLE
    assert here.sample("ws_circuit_state") == 0
    await here.open_circuit()
    assert await here.refusal(tried=1) is Cause.CIRCUIT_OPEN
    await trio.sleep(OPEN_SECONDS)
    here.dialler.ends[:] = [Failure.UNREACHABLE]
    assert await here.refusal(tried=1) is Cause.UPSTREAM_UNAVAILABLE
    assert here.sample("ws_circuit_state") == 2


async def test_healthy_probe(autojump_clock: MockClock) -> None:
    """A healthy probe closes an open circuit at once."""
    here = world()
    await here.open_circuit()
    here.routes.is_healthy("raw")
    assert here.sample("ws_circuit_state") == 0
    await here.reach()
