"""What the upstream is asked, what it may answer, and what the client hears of it."""

import pytest
import trio

from tests.house import HANDSHAKE, Answer, agreeing, answering, house
from tests.servers.ports import free_port
from trio_ws_gateway.wire.frames import BINARY, TEXT, build_frame
from trio_ws_gateway.wire.http import build_head
from trio_ws_gateway.wire.mqtt import connack

PROTOCOL = "Sec-WebSocket-Protocol"
EXTENSIONS = "Sec-WebSocket-Extensions"
DEFLATE = "permessage-deflate; client_max_window_bits"
BAD_ANSWERS: dict[str, Answer] = {
    "answers 403, not 101": answering("HTTP/1.1 403 Forbidden"),
    "answers 500, not 101": answering("HTTP/1.1 500 Internal Server Error"),
    "answers 200, not 101": answering("HTTP/1.1 200 OK"),
    "does not upgrade": answering("HTTP/1.1 101 Switching Protocols"),
    "no status line": answering("SSH-2.0-OpenSSH_9.2"),
    "an answer without end": lambda _: b"x" * 40_000,
    "has a wrong Sec-WebSocket-Accept": agreeing({"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}),
    "another subprotocol": agreeing({PROTOCOL: "v9"}),
    "another extension": agreeing({EXTENSIONS: "permessage-deflate"}),
}


# Who is dialled when


async def test_upstream_that_speaks_first_is_heard_at_once() -> None:
    """With an early token the client hears what the upstream says first without having said anything."""
    async with house() as home, home.raw() as (client, upstream):
        await upstream.say(TEXT, b"welcome")
        assert await client.hear() == (TEXT, True, b"welcome")


async def test_first_words_that_come_glued_to_the_101() -> None:
    """What an upstream says in the same segment as its 101 reaches the client."""
    async with house() as home:
        home.upstream.answer = agreeing(rest=build_frame(TEXT, b"welcome", masked=False))
        async with home.open(token=home.provider.mint()) as client:
            assert await client.hear() == (TEXT, True, b"welcome")


async def test_first_words_that_come_glued_to_the_request() -> None:
    """What a client says without waiting for its 101 reaches the upstream."""
    async with house() as home, home.connect() as client:
        headers = [*HANDSHAKE, ("Authorization", f"Bearer {home.provider.mint()}")]
        await client.send(build_head("GET /ws HTTP/1.1", headers) + build_frame(TEXT, b"hello", masked=True))
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b"hello")


async def test_without_early_dial_the_first_message_is_waited_for() -> None:
    """With EARLY_DIAL=false the upstream is dialled when the client has said a message, and hears it as it came."""
    async with house(EARLY_DIAL="false") as home, home.open(token=home.provider.mint()) as client:
        await client.say(TEXT, b"hello", fin=False)
        await client.say(9, b"are you there")
        assert await client.hear() == (10, True, b"are you there")
        assert home.upstream.connections == 0
        await client.say(0, b" there")
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, False, b"hello")
        assert await upstream.hear() == (0, True, b" there")


async def test_client_that_leaves_during_the_dial() -> None:
    """A client that leaves while its upstream is dialled ends the dial: the upstream's connection is closed."""
    async with house() as home:
        home.upstream.answer = lambda _: b""
        async with home.connect() as client:
            headers = [*HANDSHAKE, ("Authorization", f"Bearer {home.provider.mint()}")]
            await client.send(build_head("GET /ws HTTP/1.1", headers))
            upstream = await home.upstream.next()
        assert await upstream.read_to_end() == b""
        line = await home.end()
        assert (line["cause"], line["detail"]) == ("client_lost", "while its upstream was dialled")


async def test_client_that_leaves_between_two_tries() -> None:
    """A client that leaves while the dial pauses is not dialled for again."""
    async with house(WS_DIAL_RETRY_INTERVAL_SECONDS="30") as home:
        home.upstream.answer = answering("HTTP/1.1 500 Internal Server Error")
        async with home.open() as client:
            await client.say(TEXT, home.provider.mint().encode())
            await home.upstream.next()
            client.end_stream()
            assert (await home.end())["cause"] == "client_lost"
        assert home.upstream.connections == 1


async def test_upstream_that_has_nothing_to_do_with_a_bad_token() -> None:
    """No upstream is dialled before the token is believed."""
    async with house() as home:
        await home.refusal(token="a.b.c")
        assert home.upstream.connections == 0


async def test_path_of_the_endpoint() -> None:
    """WS_PATH is where the endpoint is, and nowhere else."""
    async with house(WS_PATH="/socket") as home:
        async with home.open(token=home.provider.mint(), target="/socket"):
            pass
        answer, _ = await home.refusal(token=home.provider.mint())
        assert answer.status == 404


# Answers of the upstream


@pytest.mark.parametrize("detail", BAD_ANSWERS)
async def test_upstream_that_answers_wrongly(detail: str) -> None:
    """An upstream that answers anything but a proper 101 is a 502 with a problem body behind a good early token."""
    async with house(WS_DIAL_RETRY_MAX="0") as home:
        home.upstream.answer = BAD_ANSWERS[detail]
        response, problem = await home.refusal(token=home.provider.mint())
        assert response.status == 502
        assert response.headers.get("content-type") == "application/problem+json"
        assert problem == {
            "type": "about:blank",
            "title": "Bad Gateway",
            "status": 502,
            "cause": "upstream_unavailable",
            "detail": "Upstream unavailable",
        }
        assert detail in (await home.end())["detail"]


@pytest.mark.parametrize("answer", ["chat, superchat", "superchat, chat", "Chat", "v9"])
async def test_subprotocol_that_was_not_offered(answer: str) -> None:
    """An upstream that answers an offer of subprotocols with a list, or with another name, is a bad upstream."""
    async with house(WS_DIAL_RETRY_MAX="0") as home:
        home.upstream.answer = agreeing({PROTOCOL: answer})
        response, _ = await home.refusal((PROTOCOL, "chat, superchat"), token=home.provider.mint())
        assert response.status == 502


async def test_upstream_that_refuses_connections() -> None:
    """An upstream where nobody listens is tried again as often as configured, and then a 502."""
    port = free_port()
    async with house(RAW_WS_BACKEND_URL=f"ws://127.0.0.1:{port}", WS_DIAL_RETRY_INTERVAL_SECONDS="0") as home:
        response, _ = await home.refusal(token=home.provider.mint())
        assert response.status == 502
        line = await home.end()
        assert line["detail"].startswith(f"127.0.0.1:{port}: ")
        assert (await home.samples())['ws_proxy_retries_total{protocol="raw"}'] == 3


async def test_upstream_that_says_nothing() -> None:
    """An upstream that does not answer within WS_DIAL_TIMEOUT_SECONDS, over all tries, is a 502."""
    async with house(WS_DIAL_TIMEOUT_SECONDS="0.1") as home:
        home.upstream.answer = lambda _: b""
        response, _ = await home.refusal(token=home.provider.mint())
        assert response.status == 502
        upstream = await home.upstream.next()
        assert await upstream.read_to_end() == b""


async def test_upstream_that_hangs_up() -> None:
    """An upstream that closes the connection in place of an answer is a 502."""
    async with house(WS_DIAL_RETRY_MAX="0") as home:
        home.upstream.answer = lambda _: b""
        async with trio.open_nursery() as nursery:

            async def hang_up() -> None:
                (await home.upstream.next()).end_stream()

            nursery.start_soon(hang_up)
            response, _ = await home.refusal(token=home.provider.mint())
        assert response.status == 502
        assert "closed the connection without an answer" in (await home.end())["detail"]


async def test_upstream_that_recovers() -> None:
    """A 5xx is tried again, and the client of an upstream that recovers notices nothing."""
    async with house(WS_DIAL_RETRY_INTERVAL_SECONDS="0") as home:
        answers = iter([answering("HTTP/1.1 503 Service Unavailable"), agreeing()])
        home.upstream.answer = lambda request: next(answers)(request)
        async with home.open(token=home.provider.mint()):
            assert home.upstream.connections == 2


async def test_refusal_of_this_client_is_final() -> None:
    """A 4xx of the upstream is about this client, so it is not tried again."""
    async with house() as home:
        home.upstream.answer = answering("HTTP/1.1 403 Forbidden")
        response, _ = await home.refusal(token=home.provider.mint())
        assert response.status == 502
        assert home.upstream.connections == 1


async def test_dead_upstream_after_the_101() -> None:
    """Where the 101 came first, a dead upstream is 1013 Upstream unavailable."""
    async with house(WS_DIAL_RETRY_MAX="0") as home, home.open() as client:
        home.upstream.answer = answering("HTTP/1.1 500 Internal Server Error")
        await client.say(TEXT, home.provider.mint().encode())
        assert await client.hear_close() == (1013, "Upstream unavailable")


# Subprotocols


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [("chat, superchat", "chat"), ("bearer, {token}, chat, superchat", "chat"), ("chat, bearer, {token}", "chat")],
)
async def test_subprotocols_of_an_early_session(offer: str, chosen: str) -> None:
    """On an early dial the client's offer goes to the upstream without the token, and the upstream's choice back."""
    async with house() as home:
        token = home.provider.mint()
        async with home.knock((PROTOCOL, offer.format(token=token)), token=token) as (_, answer):
            assert answer.headers.all(PROTOCOL) == (chosen,)
            offered = home.upstream.requests[0].headers.tokens(PROTOCOL)
            assert offered == tuple(name for name in ("chat", "superchat") if name in offer.split(", "))


async def test_upstream_that_chooses_the_second() -> None:
    """Which of the client's subprotocols an early session speaks is the upstream's choice."""
    async with house() as home:
        home.upstream.answer = agreeing({PROTOCOL: "superchat"})
        async with home.knock((PROTOCOL, "chat, superchat"), token=home.provider.mint()) as (_, answer):
            assert answer.headers.all(PROTOCOL) == ("superchat",)


async def test_upstream_that_chooses_none() -> None:
    """An early session whose upstream names no subprotocol has none."""
    async with house() as home:
        home.upstream.answer = agreeing({PROTOCOL: ""})
        async with home.knock((PROTOCOL, "chat"), token=home.provider.mint()) as (_, answer):
            assert (answer.status, answer.headers.all(PROTOCOL)) == (101, ())


async def test_bearer_alone() -> None:
    """A client that offers nothing but its token hears `bearer` (a browser fails without an answer), its upstream
    nothing."""
    async with house() as home, home.knock((PROTOCOL, f"bearer, {home.provider.mint()}")) as (_, answer):
        assert (answer.status, answer.headers.all(PROTOCOL)) == (101, ("bearer",))
        assert home.upstream.requests[0].headers.all(PROTOCOL) == ()


async def test_first_subprotocol_where_the_101_comes_first() -> None:
    """Where the 101 comes first, it names the client's first subprotocol, and the upstream is offered exactly that."""
    async with house() as home, home.knock((PROTOCOL, "chat, superchat")) as (client, answer):
        assert answer.headers.all(PROTOCOL) == ("chat",)
        await client.say(TEXT, home.provider.mint().encode())
        await home.upstream.next()
        assert home.upstream.requests[0].headers.all(PROTOCOL) == ("chat",)


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqttv3.1"), ("chat, mqtt", "mqtt")],
)
@pytest.mark.parametrize("early", [False, True])
async def test_mqtt_subprotocol(offer: str, chosen: str, *, early: bool) -> None:
    """A client that offers an MQTT subprotocol is answered with it, token or not, and so is offered to the broker."""
    async with house() as home:
        token = home.provider.mint() if early else None
        async with home.knock((PROTOCOL, offer), token=token) as (client, answer):
            assert answer.headers.all(PROTOCOL) == (chosen,)
            assert home.upstream.connections == 0
            await client.say(BINARY, home.connect_packet().to_bytes())
            await home.upstream.next()
            assert home.upstream.requests[0].headers.all(PROTOCOL) == (chosen,)


@pytest.mark.parametrize(("level", "name"), [(3, "mqttv3.1"), (4, "mqtt"), (5, "mqtt")])
async def test_mqtt_without_a_subprotocol(level: int, name: str) -> None:
    """A client that offers none has none, and its broker is offered the one that goes with its version."""
    async with house() as home, home.knock() as (client, answer):
        assert answer.headers.all(PROTOCOL) == ()
        await client.say(BINARY, home.connect_packet(level).to_bytes())
        await home.upstream.next()
        assert home.upstream.requests[0].headers.all(PROTOCOL) == (name,)


@pytest.mark.parametrize("configured", ["mqtt", "mqttv3.1"])
@pytest.mark.parametrize("offered", ["mqtt", "mqttv3.1", None])
async def test_configured_mqtt_subprotocol(configured: str, offered: str | None) -> None:
    """UPSTREAM_MQTT_SUBPROTOCOL says what every broker is offered, whatever the client has."""
    async with house(UPSTREAM_MQTT_SUBPROTOCOL=configured) as home:
        headers = [] if offered is None else [(PROTOCOL, offered)]
        async with home.knock(*headers) as (client, answer):
            assert answer.headers.get(PROTOCOL) == offered
            await client.say(BINARY, home.connect_packet().to_bytes())
            await home.upstream.next()
            assert home.upstream.requests[0].headers.all(PROTOCOL) == (configured,)


@pytest.mark.parametrize("answer", ["", "mqtt, mqttv3.1", "mqttv3.1"])
async def test_broker_that_names_no_proper_subprotocol(answer: str) -> None:
    """A broker that names no subprotocol, a list, or another one is a bad upstream."""
    async with house(WS_DIAL_RETRY_MAX="0") as home, home.open((PROTOCOL, "mqtt")) as client:
        home.upstream.answer = agreeing({PROTOCOL: answer})
        await client.say(BINARY, home.connect_packet().to_bytes())
        assert await client.hear() == (BINARY, True, connack(4, 0x03))
        assert await client.hear_close() == (1013, "Upstream unavailable")


# Extensions


async def test_compression_is_end_to_end() -> None:
    """On an early raw session the client's permessage-deflate goes to the upstream, and its answer comes back."""
    async with house() as home:
        answer = "permessage-deflate; server_no_context_takeover"
        home.upstream.answer = agreeing({EXTENSIONS: answer})
        async with home.knock((EXTENSIONS, DEFLATE), token=home.provider.mint()) as (client, response):
            assert home.upstream.requests[0].headers.all(EXTENSIONS) == (DEFLATE,)
            assert response.headers.all(EXTENSIONS) == (answer,)
            upstream = await home.upstream.next()
            compressed = b"\xc1\x83" + bytes(4) + b"\x4b\x04\x00"  # RSV1
            await client.send(compressed)
            assert await upstream.read(len(compressed)) == compressed


async def test_compressed_frames_where_none_were_agreed() -> None:
    """RSV1 is illegal where the upstream has declined compression."""
    async with house() as home, home.raw((EXTENSIONS, DEFLATE)) as (client, upstream):
        await client.send(b"\xc1\x83" + bytes(4) + b"\x4b\x04\x00")
        assert await client.hear_close() == (1002, "Protocol error")
        assert await upstream.hear_close() == (1002, "")


@pytest.mark.parametrize(
    ("offer", "passed"),
    [
        ("x-webkit-deflate-frame", ()),
        (f"x-zip, {DEFLATE}, x-tar", (DEFLATE,)),
        ('permessage-deflate; x="a, b"', ()),
    ],
)
async def test_unknown_extensions(offer: str, passed: tuple[str, ...]) -> None:
    """Unknown extensions are never passed, alone or among others."""
    async with house() as home, home.knock((EXTENSIONS, offer), token=home.provider.mint()) as (_, answer):
        assert home.upstream.requests[0].headers.all(EXTENSIONS) == passed
        assert answer.headers.all(EXTENSIONS) == ()


async def test_compression_switched_off() -> None:
    """WS_COMPRESSION=off declines: nothing is offered upstream, nothing answered."""
    async with (
        house(WS_COMPRESSION="off") as home,
        home.knock((EXTENSIONS, DEFLATE), token=home.provider.mint()) as (_, answer),
    ):
        assert home.upstream.requests[0].headers.all(EXTENSIONS) == ()
        assert answer.headers.all(EXTENSIONS) == ()


async def test_no_compression_where_the_101_comes_first() -> None:
    """Where the 101 comes before the upstream is known, no extension is negotiated on either leg."""
    async with house() as home, home.knock((EXTENSIONS, DEFLATE), (PROTOCOL, "mqtt")) as (client, answer):
        assert answer.headers.all(EXTENSIONS) == ()
        await client.say(BINARY, home.connect_packet().to_bytes())
        await home.upstream.next()
        assert home.upstream.requests[0].headers.all(EXTENSIONS) == ()


# Headers


async def test_each_leg_has_its_own_key() -> None:
    """Host, Connection, key and version are the gateway's own toward the upstream, and differ from dial to dial."""
    async with house() as home, home.raw(), home.raw():
        first, second = (request.headers for request in home.upstream.requests)
        keys = {first.get("sec-websocket-key"), second.get("sec-websocket-key")}
        assert len(keys | {dict(HANDSHAKE)["Sec-WebSocket-Key"]}) == 3
        assert first.all("host") == (f"127.0.0.1:{home.upstream.port}",)
        assert first.all("connection") == ("Upgrade",)
        assert first.all("sec-websocket-version") == ("13",)


async def test_what_passes_of_the_clients_headers() -> None:
    """Origin and unknown headers pass; hop-by-hop headers do not, nor those that Connection names."""
    async with house() as home:
        own = [
            ("Origin", "https://app.example"),
            ("User-Agent", "robot/7"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authorization", "Basic eA=="),
            ("TE", "trailers"),
        ]
        async with home.raw(*own):
            passed = home.upstream.requests[0].headers
            assert passed.all("origin") == ("https://app.example",)
            assert passed.all("user-agent") == ("robot/7",)
            for name in ("x-hop", "keep-alive", "proxy-authorization", "te"):
                assert passed.all(name) == ()


async def test_forwarded_headers() -> None:
    """The client's address, scheme and host are appended; what a client that is no trusted proxy says is dropped."""
    async with house() as home:
        own = [("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-Proto", "https"), ("Forwarded", "for=9.9.9.9")]
        async with home.raw(*own):
            passed = home.upstream.requests[0].headers
            assert passed.all("x-forwarded-for") == ("127.0.0.1",)
            assert passed.all("x-forwarded-proto") == ("http",)
            assert passed.all("x-forwarded-host") == ("gateway.example",)
            assert passed.all("forwarded") == ()


async def test_forwarded_headers_of_a_trusted_proxy() -> None:
    """What a trusted proxy says is kept and its own address appended, and the log names the client behind it."""
    async with house(TRUSTED_PROXIES="127.0.0.0/8") as home:
        own = [
            ("X-Forwarded-For", "1.1.1.1, 9.9.9.9"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "www.example"),
        ]
        async with home.raw(*own):
            passed = home.upstream.requests[0].headers
            assert passed.all("x-forwarded-for") == ("1.1.1.1, 9.9.9.9, 127.0.0.1",)
            assert passed.all("x-forwarded-proto") == ("https",)
            assert passed.all("x-forwarded-host") == ("www.example",)
        assert (await home.end())["client"] == "9.9.9.9"


async def test_query_passes_without_the_token() -> None:
    """The client's query reaches the upstream byte for byte, but for the token, joined to the query of its own URL."""
    async with house() as home:
        target = f"/ws?room=a%20b&token={home.provider.mint()}&lang=de"
        async with home.open(target=target):
            assert home.upstream.requests[0].target == "/raw?room=a%20b&lang=de"
