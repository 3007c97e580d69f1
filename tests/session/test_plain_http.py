"""What a request that becomes no WebSocket gets: answers for probes, and a refusal for what is wrong or doubtful."""

import json

import pytest
import trio

from tests.house import HANDSHAKE, House, house
from trio_ws_gateway.farewell import RETRY_AFTER_MAX_SECONDS
from trio_ws_gateway.wire.http import Response, build_head, parse_response

HOST = b"Host: gateway.example\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"


async def refused(home: House, request: bytes) -> tuple[int, str]:
    """Ask and be refused: status and cause. The connection is closed afterwards."""
    answer, body = await home.ask(request)
    assert answer.headers.get("connection") == "close"
    assert answer.headers.get("content-type") == "application/problem+json"
    assert answer.headers.get("content-length") == str(len(body))
    problem = json.loads(body)
    assert problem["status"] == answer.status
    return answer.status, problem["cause"]


# Probes


@pytest.mark.parametrize(("path", "said"), [("/healthz", b"alive\n"), ("/readyz", b"ready\n"), ("/metrics", None)])
async def test_get_and_head(path: str, said: bytes | None) -> None:
    """/healthz, /readyz and /metrics answer GET, and HEAD with the same head and no body."""
    async with house() as home:
        answer, body = await home.get(path)
        assert answer.status == 200
        assert answer.headers.get("content-length") == str(len(body))
        assert answer.headers.get("connection") == "close"
        assert said in {None, body}
        head, nothing = await home.get(path, "HEAD")
        assert (head.status, nothing) == (200, b"")
        assert head.headers.get("content-type") == answer.headers.get("content-type")
        assert int(head.headers.get("content-length") or 0) > 0


async def test_probe_with_a_query() -> None:
    """A query on the path of a probe changes nothing."""
    async with house() as home:
        answer, body = await home.get("/healthz?verbose=1")
        assert (answer.status, body) == (200, b"alive\n")


async def test_not_ready_before_there_are_keys() -> None:
    """Until the provider's keys are there the gateway is alive, but not ready."""
    async with house(JWKS_URL="http://127.0.0.1:1/keys") as home:
        answer, body = await home.get("/readyz")
        assert (answer.status, body) == (503, b"not ready: the provider's keys are not there yet\n")
        assert (await home.get("/healthz"))[0].status == 200


async def test_probes_while_draining() -> None:
    """While the gateway drains it is alive, but not ready, and a new session is a 503 with Retry-After."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="60") as home, home.raw() as (first, _), home.raw():
        home.drain()
        assert await first.hear_close() == (1012, "Service restart")
        assert (await home.get("/healthz"))[0].status == 200
        answer, body = await home.get("/readyz")
        assert (answer.status, body) == (503, b"not ready: draining\n")
        refusal, problem = await home.refusal(token=home.provider.mint())
        assert (refusal.status, problem["cause"]) == (503, "draining")
        assert 1 <= int(refusal.headers.get("retry-after") or 0) <= RETRY_AFTER_MAX_SECONDS


async def test_drain_behind_the_answer() -> None:
    """A probe that has its answer when the gateway begins to drain is not refused on top of it."""
    async with house(GRACEFUL_DRAIN_TIMEOUT_SECONDS="60") as home, home.connect() as prober:
        await prober.send(GET + HOST + b"\r\n")
        assert (await prober.read_until(b"alive\n")).startswith(b"HTTP/1.1 200 ")
        async with home.raw():
            home.drain()
            with trio.fail_after(5):
                while not home.lines("draining"):
                    await trio.sleep(0.005)
            assert await prober.read_to_end() == b""
            assert (await home.get("/readyz"))[0].status == 503
            assert home.lines("refused") == []


async def test_one_answer_a_connection() -> None:
    """A second request behind the first is not answered: the connection is closed."""
    async with house() as home:
        answer, body = await home.ask(2 * (GET + HOST + b"\r\n"))
        assert (answer.status, body) == (200, b"alive\n")


# Refusals


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/nothing", "/ws/", "/WS", "/healthz/", "/%77s", "//ws"])
async def test_no_such_path(path: str, method: str) -> None:
    """Any other path is a 404, compared as it came; HEAD gets no body."""
    async with house() as home:
        answer, body = await home.get(path, method)
        assert answer.status == 404
        assert bool(body) is (method == "GET")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/ws"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "BREW"])
async def test_method_not_allowed(path: str, method: str) -> None:
    """Another method than GET and HEAD is a 405 that says so in Allow."""
    async with house() as home:
        answer, _ = await home.get(path, method)
        assert answer.status == 405
        assert "GET" in answer.headers.tokens("allow")


@pytest.mark.parametrize(
    "without", ["Upgrade", "Connection", "Sec-WebSocket-Version", ("Upgrade", "Connection", "Sec-WebSocket-Version")]
)
async def test_upgrade_required(without: str | tuple[str, ...]) -> None:
    """A request for the endpoint that asks for no WebSocket is a 426 that names the version."""
    async with house() as home, home.knock(without=[without] if isinstance(without, str) else without) as (_, answer):
        assert answer.status == 426
        assert answer.headers.all("sec-websocket-version") == ("13",)
        assert answer.headers.all("upgrade") == ("websocket",)


async def test_another_version_of_websocket() -> None:
    """Another version than 13 is a 426 too."""
    async with (
        house() as home,
        home.knock(("Sec-WebSocket-Version", "8"), without=["Sec-WebSocket-Version"]) as (_, answer),
    ):
        assert answer.status == 426
        assert answer.headers.all("sec-websocket-version") == ("13",)


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "x" * 24])
async def test_bad_key(key: str) -> None:
    """A key that is not 16 bytes of base64 is a 400."""
    async with house() as home, home.knock(("Sec-WebSocket-Key", key), without=["Sec-WebSocket-Key"]) as (_, answer):
        assert answer.status == 400


@pytest.mark.parametrize(
    "request_head",
    [
        GET + HOST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        GET + HOST + b"Content-Length: 0, 5\r\n\r\n",
        GET + HOST + b"Content-Length: +5\r\n\r\n",
        GET + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        GET + HOST + b"Transfer-Encoding: xchunked\r\n\r\n",
        GET + HOST + b"X-Folded: one\r\n two\r\n\r\n",
        GET + HOST + b": nameless\r\n\r\n",
        GET + HOST + b"X-Name : value\r\n\r\n",
        GET + HOST + b"no colon\r\n\r\n",
        GET + HOST + b"X: a\x00b\r\n\r\n",
        GET + HOST + b"X: a\nY: b\r\n\r\n",
        GET + HOST + b"X: a\rY: b\r\n\r\n",
        GET.replace(b"\r", b"") + HOST.replace(b"\r", b"") + b"\n",
        GET + b"\r\n",
        GET + HOST + HOST + b"\r\n",
        GET + b"Host: a b\r\n\r\n",
        b"GET http://gateway.example/ws HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a\x7fb HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT gateway.example:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_doubtful_request(request_head: bytes) -> None:
    """What two parsers could read differently is a 400 and a closed connection."""
    async with house() as home:
        assert await refused(home, request_head) == (400, "bad_request")


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
async def test_body_is_not_taken(framing: bytes) -> None:
    """A request with a body is a 413: nothing here reads one."""
    async with house() as home:
        assert await refused(home, GET + HOST + framing) == (413, "body_not_taken")


async def test_too_many_headers() -> None:
    """A hundred and one header lines are a 431."""
    async with house() as home:
        assert await refused(home, GET + HOST + 100 * b"X: y\r\n" + b"\r\n") == (431, "head_too_big")


@pytest.mark.parametrize("shape", [b"X-%d: y\r\n", b"x"])
async def test_head_of_a_megabyte(shape: bytes) -> None:
    """A head of a megabyte is a 431, which a client that sends all of it before it reads still gets."""
    async with house() as home:
        flood = b"".join(shape % at if b"%" in shape else 20 * shape for at in range(60_000))[:1_000_000]
        assert await refused(home, GET + HOST + flood) == (431, "head_too_big")


async def test_answer_comes_while_the_client_is_sending() -> None:
    """The refusal of a head that is too big arrives while the client is still sending, and is not lost to a reset."""
    async with house() as home, home.connect() as client, trio.open_nursery() as nursery:
        told = trio.Event()

        async def flood() -> None:
            await client.send(GET + HOST + b"X: " + bytes(32_768).replace(b"\0", b"x"))
            await told.wait()
            await client.send(200_000 * b"x")
            client.end_stream()

        nursery.start_soon(flood)
        answer = parse_response(await client.read_until(b"\r\n\r\n"))
        told.set()
        assert answer.status == 431
        assert json.loads(await client.read_to_end())["cause"] == "head_too_big"


async def test_first_words_behind_a_refused_request() -> None:
    """What a client sends behind a request that is refused does not keep it from reading why."""
    async with house() as home, home.connect() as client:
        headers = [*HANDSHAKE, ("Authorization", "Bearer nonsense")]
        await client.send(build_head("GET /ws HTTP/1.1", headers) + 500_000 * b"x")
        assert parse_response(await client.read_until(b"\r\n\r\n")).status == 401
        assert json.loads(await client.read_to_end())["cause"] == "malformed_token"


async def answer_in_time(home: House, pieces: list[bytes]) -> Response:
    """The answer to a request whose pieces come slowly."""
    async with home.connect() as client, trio.open_nursery() as nursery:

        async def trickle() -> None:
            for piece in pieces:
                await client.send(piece)
                await trio.sleep(0.02)

        nursery.start_soon(trickle)
        answer = parse_response(await client.read_until(b"\r\n\r\n"))
        nursery.cancel_scope.cancel()
        return answer


async def test_head_that_never_ends() -> None:
    """There is one deadline for the whole head: a client that trickles it, or says nothing, gets a 408."""
    async with house(WS_HANDSHAKE_TIMEOUT_SECONDS="0.2") as home:
        began_at = trio.current_time()
        for pieces in ([], [GET], [bytes([byte]) for byte in GET + HOST + 1000 * b"x"]):
            answer = await answer_in_time(home, pieces)
            assert answer.status == 408
        assert trio.current_time() - began_at < 3


async def test_head_that_comes_slowly() -> None:
    """A head that comes in pieces within the deadline is answered like any other."""
    async with house() as home:
        answer = await answer_in_time(home, [GET[:4], GET[4:] + HOST + b"\r", b"\n"])
        assert answer.status == 200


async def test_client_that_leaves_within_its_head() -> None:
    """A client that leaves before the end of its head is lost."""
    async with house() as home, home.connect() as client:
        await client.send(GET)
        client.end_stream()
        assert await client.read_to_end() == b""
        assert (await home.last_line("refused"))["cause"] == "client_lost"


async def test_a_look_whether_the_port_is_open() -> None:
    """A connection that ends, politely or not, before its first byte leaves neither a line nor a count."""
    async with house() as home:
        async with home.connect() as polite:
            polite.end_stream()
            assert await polite.read_to_end() == b""
        async with home.connect() as rude:
            rude.reset()
        await home.get("/healthz")
        assert not home.lines("refused")
        assert not any(name.startswith("ws_session_ends_total") for name in await home.samples())
