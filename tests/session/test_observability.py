"""What operators see of sessions: metrics, one log line for each end, and never a token."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.house import House, answering, house
from trio_ws_gateway.wire.frames import BINARY, PING, TEXT
from trio_ws_gateway.wire.http import build_head
from trio_ws_gateway.wire.mqtt import connack

PROTOCOL = "Sec-WebSocket-Protocol"

# Name, type and labels of every metric that is promised.
PROMISED = {
    "ws_connections_total": ("counter", set[str]()),
    "ws_auth_failures_total": ("counter", set()),
    "ws_auth_success_total": ("counter", {"sub", "preferred_username"}),
    "ws_active_sessions": ("gauge", set()),
    "ws_connection_duration_seconds": ("histogram", set()),
    "ws_protocol_connections_total": ("counter", {"protocol"}),
    "ws_proxy_errors_total": ("counter", {"protocol"}),
    "ws_proxy_retries_total": ("counter", {"protocol"}),
    "ws_circuit_open_total": ("counter", {"protocol"}),
    "ws_upstream_health_success_total": ("counter", set()),
    "ws_upstream_health_failure_total": ("counter", set()),
    "ws_rate_limit_violations_total": ("counter", set()),
    "ws_revocations_total": ("counter", set()),
    "ws_messages_total": ("counter", {"direction", "protocol"}),
    "ws_bytes_total": ("counter", {"direction", "protocol"}),
    "ws_session_ends_total": ("counter", {"cause"}),
}


async def ended(home: House, sessions: int) -> None:
    """Wait until so many sessions have ended."""
    with trio.fail_after(5):
        while len(home.lines("session ended")) < sessions:
            await trio.sleep(0.005)


@asynccontextmanager
async def session_as(home: House, **claims: str) -> AsyncIterator[None]:
    async with home.open(token=home.provider.mint(**claims)):
        yield


# Metrics


async def test_names_types_and_labels() -> None:
    """Every promised metric has exactly its name, type and labels, and there is no ``_created`` series."""
    async with house(WS_DIAL_RETRY_MAX="1", WS_DIAL_RETRY_INTERVAL_SECONDS="0") as home:
        async with home.mqtt(home.connect_packet()):
            pass
        home.upstream.answer = answering("HTTP/1.1 500 Internal Server Error")
        await home.refusal(token=home.provider.mint())
        await ended(home, 1)
        answer, body = await home.get("/metrics")
        text = body.decode()
        types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        for name, (kind, labels) in PROMISED.items():
            assert types[name] == kind
            found = [set(sample.labels) - {"le"} for sample in samples if sample.name.startswith(name)]
            assert all(each == labels for each in found)
            assert found
        assert "_created" not in text
        assert answer.headers.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"


async def test_further_metrics() -> None:
    """Beside the promised ones there are latencies, the keys' age, the loop's lag and the version."""
    async with house() as home:
        async with home.raw():
            samples = await home.samples()
        for name in ("ws_auth_seconds_count", 'ws_dial_seconds_count{protocol="raw"}'):
            assert samples[name] == 1
        assert 0 <= samples["ws_jwks_age_seconds"] < 60
        assert "ws_event_loop_lag_seconds" in samples
        assert samples['ws_build_info{version="0.1.0"}'] == 1


async def test_attempts_are_counted() -> None:
    """Every upgrade request counts as a connection, let in or not; a plain request does not."""
    async with house() as home:
        await home.get("/healthz")
        await home.get("/ws")
        await home.refusal(token="nonsense")
        async with home.raw(), home.open():
            samples = await home.samples()
        assert samples["ws_connections_total"] == 3
        assert samples["ws_auth_failures_total"] == 1
        assert samples['ws_auth_success_total{preferred_username="",sub="robot-7"}'] == 1


async def test_sessions_are_counted() -> None:
    """A session is active from its dial to its end, counts under its protocol, and its length is observed."""
    async with house() as home:
        async with home.raw(), home.mqtt(home.connect_packet()):
            samples = await home.samples()
            assert samples["ws_active_sessions"] == 2
            assert samples["ws_connection_duration_seconds_count"] == 0
        await ended(home, 2)
        samples = await home.samples()
        assert samples["ws_active_sessions"] == 0
        assert samples["ws_connection_duration_seconds_count"] == 2
        assert samples['ws_protocol_connections_total{protocol="raw"}'] == 1
        assert samples['ws_protocol_connections_total{protocol="mqtt"}'] == 1


async def test_lengths_from_seconds_to_days() -> None:
    """The buckets for the length of sessions reach from a second to days."""
    async with house() as home:
        bounds = [
            float(name.split('"')[1])
            for name in await home.samples()
            if name.startswith("ws_connection_duration_seconds_bucket")
        ]
        assert bounds == sorted(bounds)
        assert bounds[0] == 1
        assert bounds[-2] >= 24 * 3600


async def test_traffic_is_counted_while_it_passes() -> None:
    """Messages and bytes are counted by direction and protocol, in live sessions as in those that ended."""
    async with house() as home:
        async with home.raw() as (client, upstream):
            await client.say(TEXT, b"one", fin=False)
            await client.say(0, b"two")
            await client.say(PING)
            await client.say(TEXT, b"three")
            await upstream.say(TEXT, b"four")
            assert await client.hear() == (TEXT, True, b"four")
            for _ in range(4):
                await upstream.hear()
            live = await home.samples()
        await ended(home, 1)
        after = await home.samples()
        for name, value in (
            ('ws_messages_total{direction="client_to_upstream",protocol="raw"}', 2),
            ('ws_messages_total{direction="upstream_to_client",protocol="raw"}', 1),
            ('ws_bytes_total{direction="client_to_upstream",protocol="raw"}', 4 * 6 + 3 + 3 + 5),
            ('ws_bytes_total{direction="upstream_to_client",protocol="raw"}', 2 + 4),
        ):
            assert live[name] == after[name] == value


async def test_identity_labels_are_bounded() -> None:
    """After METRICS_MAX_IDENTITIES subjects, the rest count as ``other``."""
    async with house(METRICS_MAX_IDENTITIES="2") as home:
        for subject in ("a", "b", "c", "a", "d"):
            async with session_as(home, sub=subject, preferred_username=subject.upper()):
                pass
        samples = await home.samples()
        assert {name: value for name, value in samples.items() if name.startswith("ws_auth_success_total")} == {
            'ws_auth_success_total{preferred_username="A",sub="a"}': 2,
            'ws_auth_success_total{preferred_username="B",sub="b"}': 1,
            'ws_auth_success_total{preferred_username="",sub="other"}': 2,
        }


async def test_identity_labels_are_switched_off() -> None:
    """With METRICS_MAX_IDENTITIES=0 the labels are there and say nothing."""
    async with house(METRICS_MAX_IDENTITIES="0") as home:
        for subject in ("a", "b"):
            async with session_as(home, sub=subject, preferred_username=subject):
                pass
        samples = await home.samples()
        assert samples['ws_auth_success_total{preferred_username="",sub=""}'] == 2


# Log lines


async def test_line_of_a_raw_session() -> None:
    """One JSON line when a raw session ends: cause, identity, protocol, upstream, bytes, messages, duration."""
    async with house() as home:
        token = home.provider.mint(sub="robot-9", preferred_username="Nine")
        async with home.open(token=token) as client:
            upstream = await home.upstream.next()
            await client.say(TEXT, b"hello")
            await upstream.hear()
            await client.say_close(1000)
            await upstream.hear_close()
            await upstream.say_close(1000)
            await client.hear_close()
            line = await home.end()
        assert 0 <= line.pop("duration") < 10
        assert line.pop("timestamp").endswith("Z")
        assert len(line.pop("session")) == 12
        assert line == {
            "event": "session ended",
            "level": "info",
            "cause": "closed_by_client",
            "detail": "",
            "client": "127.0.0.1",
            "protocol": "raw",
            "sub": "robot-9",
            "preferred_username": "Nine",
            "upstream": home.upstream.url,
            "bytes_from_client": 6 + 5 + 6 + 2,
            "bytes_from_upstream": 2 + 2,
            "messages_from_client": 1,
            "messages_from_upstream": 0,
        }


async def test_line_of_an_mqtt_session() -> None:
    """The line of an MQTT session names client id and version too, and counts the CONNECT."""
    async with house() as home:
        connect = home.connect_packet(5)
        async with home.mqtt(connect):
            pass
        line = await home.end()
        assert (line["protocol"], line["client_id"], line["mqtt_version"]) == ("mqtt", "c-1", "5")
        assert line["upstream"] == f"ws://127.0.0.1:{home.upstream.port}/mqtt"
        assert line["messages_from_client"] == line["messages_from_upstream"] == 1
        assert line["bytes_from_client"] == len(connect.to_bytes()) + 8  # a header of four bytes, and the mask
        assert line["bytes_from_upstream"] == len(connack(5, 0)) + 2


async def test_line_of_a_refusal() -> None:
    """One line for a refusal too, with what was known of the client by then."""
    async with house(RAW_WS_BACKEND_URL="ws://127.0.0.1:1/raw", WS_DIAL_RETRY_MAX="0") as home:
        await home.refusal(token=home.provider.mint())
        line = await home.end()
        assert (line["event"], line["level"], line["cause"]) == ("refused", "warning", "upstream_unavailable")
        assert (line["sub"], line["protocol"], line["upstream"]) == ("robot-7", "raw", "ws://127.0.0.1:1/raw")


async def test_probes_are_not_logged() -> None:
    """What probes and scrapers ask leaves no line."""
    async with house() as home:
        before = home.output
        for path in ("/healthz", "/readyz", "/metrics"):
            await home.get(path)
        assert home.output == before


# Secrets


@pytest.mark.parametrize("quality", ["good", "forged", "expired", "nonsense"])
async def test_no_token_is_ever_printed(quality: str, capfd: pytest.CaptureFixture[str]) -> None:
    """No token, good or bad, is in anything that a run prints or tells: logs, metrics, answers, standard error."""
    async with house(WS_ALLOWED_ORIGINS="https://app.example", WS_DIAL_RETRY_MAX="0") as home:
        token = {
            "good": home.provider.mint(),
            "forged": home.provider.mint().rpartition(".")[0] + "." + home.provider.mint(sub="x").rpartition(".")[2],
            "expired": home.provider.mint(exp=1),
            "nonsense": "correct-horse.battery-staple.unquoted",
        }[quality]
        parts = [token, *token.split(".")]
        told = ""
        for headers, target in (
            ([("Authorization", f"Bearer {token}")], "/ws"),
            ([(PROTOCOL, f"bearer, {token}")], "/ws"),
            ([(PROTOCOL, f"chat, {token}, bearer, {token}, {token}")], "/ws"),
            ([], f"/ws?token={token}"),
            ([("Cookie", f"session={token}")], "/ws"),
            ([("Authorization", f"Bearer {token}")], f"/{token}"),
            ([("Authorization", f"Bearer {token}"), ("Content-Length", token)], "/ws"),
            ([("Origin", f"https://{token}.example")], f"/ws?token={token}"),
        ):
            async with home.knock(*headers, target=target) as (client, answer):
                if answer.status != 101:
                    told += (await client.read_to_end()).decode()
        for first in (token, json.dumps({"token": token}), json.dumps({"access_token": token}), f"x{token}"):
            async with home.open() as client:
                await client.say(TEXT, first.encode())
                await client.say_close()
        for level in (3, 4, 5):
            async with home.open((PROTOCOL, "mqtt")) as client:
                packet = home.connect_packet(level, username=token, password=token.encode())
                await client.say(BINARY, packet.to_bytes())
        home.upstream.answer = lambda request: build_head(
            "HTTP/1.1 403 Forbidden", [("X-Echo", value) for _, value in request.headers]
        )
        async with home.knock(("Authorization", f"Bearer {token}")) as (client, answer):
            told += (await client.read_to_end()).decode()
        with trio.fail_after(10):
            while len(home.lines("session ended") + home.lines("refused")) < 16:
                await trio.sleep(0.01)
        _, metrics = await home.get("/metrics")
        printed = capfd.readouterr()
        everything = home.output + told + metrics.decode() + printed.out + printed.err
        assert not [part for part in parts if part in everything]


async def test_no_token_in_a_fault(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an exception that quotes a token is logged without it."""
    async with house() as home:
        token = home.provider.mint()

        def quote_it(*_: object, **__: object) -> None:
            raise ValueError(f"cannot make sense of {token}")

        monkeypatch.setattr("trio_ws_gateway.upstream.routes.introduce", quote_it)
        answer, _ = await home.refusal(token=token)
        assert answer.status == 500
        fault = await home.last_line("fault")
        assert fault["level"] == "error"
        assert fault["session"] == (await home.last_line("refused"))["session"]
        everything = home.output + "".join(capfd.readouterr())
        assert not [part for part in token.split(".") if part in everything]
