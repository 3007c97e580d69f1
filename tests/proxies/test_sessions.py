"""What passes through a proxy, and what does not."""

import secrets
from pathlib import Path
from types import ModuleType

import pytest
import trio

from tests.mqtt_client import ACCEPTED, V5, Message, Paho
from tests.proxies.front import PREFIX, Front, behind
from tests.servers import caddy, haproxy, nginx
from tests.servers.mosquitto import Mosquitto
from tests.tcp import Peer
from trio_ws_gateway.wire.frames import BINARY, TEXT

pytestmark = pytest.mark.integration

MEBIBYTE = 1 << 20
SIZES = (0, 1, 125, 126, 70_000, MEBIBYTE)
LONG_CLAIM_BYTES = 4_500  # makes a token of 6 KiB
METRICS = (
    *("/metrics", "//metrics", "/gateway/metrics", "/gateway//metrics", "/gateway/METRICS", "/gateway/./metrics"),
    *("/gateway/ws/metrics", "/gateway/ws/../metrics", "/gateway/readyz/../../metrics", "/gateway/ws%2f..%2fmetrics"),
    *("/gateway/%6detrics", "/gateway/metrics?/gateway/ws", "/metrics?/gateway/ws", "/metrics;/gateway/ws"),
)
UNDER_THE_PREFIX = {  # what docs/proxies.md says for a gateway with WS_PATH=/gateway/ws
    nginx: {"proxy_pass http://gateways/ws;": "proxy_pass http://gateways;"},
    haproxy: {"replace-path /gateway/(.*) /\\1": "replace-path /gateway/(.*) /\\1 unless { path /gateway/ws }"},
    caddy: {"uri strip_prefix /gateway": "uri /gateway/*z strip_prefix /gateway"},
}


async def talk(client: Peer, upstream: Peer) -> None:
    for size in SIZES:
        for opcode, payload in ((TEXT, b"x" * size), (BINARY, secrets.token_bytes(size))):
            for one, other in ((client, upstream), (upstream, client)):
                async with trio.open_nursery() as nursery:  # more than all buffers on the way hold
                    nursery.start_soon(one.say, opcode, payload)
                    assert await other.hear() == (opcode, True, payload)


async def test_raw(kind: ModuleType, tmp_path: Path) -> None:
    """Messages of all sizes pass both ways, and the close handshake after them."""
    async with behind(kind, tmp_path) as front, front.raw() as (client, upstream):
        await talk(client, upstream)
        await client.say_close(1000, "done")
        assert await upstream.hear_close() == (1000, "done")
        await upstream.say_close(1000)
        assert await client.hear_close() == (1000, "")
        assert (await front.end())["cause"] == "closed_by_client"


async def test_mqtt(kind: ModuleType, tmp_path: Path, mosquitto: Mosquitto) -> None:
    """An MQTT client hears from the broker what it has published, and the broker takes a big message too."""

    def converse(front: Front) -> None:
        with Paho(
            front.websocket_url,
            version=V5,
            client_id="c-1",
            username="robot-7",
            password=front.provider.mint(),
            ca_file=front.ca_file,
        ) as client:
            assert client.connect() == ACCEPTED
            topic = f"tests/{secrets.token_hex(4)}"
            client.subscribe(topic, 1)
            client.publish(Message(topic, b"hello", 1))
            assert client.receive() == Message(topic, b"hello", 1)
            client.publish(Message(f"{topic}/big", secrets.token_bytes(MEBIBYTE), 1))

    async with behind(kind, tmp_path, UPSTREAM_WS_URL=mosquitto.websocket_url) as front:
        await trio.to_thread.run_sync(converse, front)
        line = await front.end()
        assert (line["protocol"], line["client_id"]) == ("mqtt", "c-1")
        assert line["bytes_from_client"] > MEBIBYTE


async def test_prefix_that_the_gateway_knows(kind: ModuleType, tmp_path: Path) -> None:
    """With WS_PATH the prefix need not be taken off."""
    async with (
        behind(kind, tmp_path, changes=UNDER_THE_PREFIX[kind], WS_PATH=f"{PREFIX}/ws") as front,
        front.raw() as (client, upstream),
    ):
        await client.say(TEXT, b"hello")
        assert await upstream.hear() == (TEXT, True, b"hello")
        assert (await front.get(f"{PREFIX}/readyz"))[1] == b"ready\n"


async def test_health(kind: ModuleType, tmp_path: Path) -> None:
    """Whether the gateway is alive and ready can be asked through the proxy."""
    async with behind(kind, tmp_path) as front:
        for path, says in (("/healthz", b"alive\n"), ("/readyz", b"ready\n")):
            answer, body = await front.get(PREFIX + path)
            assert (answer.status, body) == (200, says)


async def test_metrics_stay_inside(kind: ModuleType, tmp_path: Path) -> None:
    """Metrics are not to be had through the proxy, however their path is written."""
    async with behind(kind, tmp_path) as front:
        for path in METRICS:
            answer, body = await front.get(path)
            assert answer.status == 404, path
            assert b"ws_active_sessions" not in body


async def test_big_token(kind: ModuleType, tmp_path: Path) -> None:
    """A token of 6 KiB comes through, in a header and in the query."""
    async with behind(kind, tmp_path) as front:
        token = front.provider.mint(groups="x" * LONG_CLAIM_BYTES)
        assert len(token) > 6 * 1024
        async with front.open(token=token), front.open(target=f"/ws?token={token}"):
            pass
