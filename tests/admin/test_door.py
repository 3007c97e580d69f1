"""The operator's door of a running gateway: who comes in, what he is told, and what he can do."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import jsonschema
import pytest
import trio

from tests.house import House, house
from tests.serve.visits import UPGRADE
from trio_ws_gateway import live
from trio_ws_gateway.admin import serving
from trio_ws_gateway.admin.openapi import description
from trio_ws_gateway.config.loading import BadSettings, load
from trio_ws_gateway.wire.frames import BINARY, TEXT

SECRET = "correct-horse-battery-staple"
REVOKED = (1008, "Token revoked")


@asynccontextmanager
async def operated(**settings: str) -> AsyncIterator[tuple[House, httpx.AsyncClient]]:
    """A gateway with a door, and an operator with its credential."""
    async with house(ADMIN_LISTEN="127.0.0.1:0", ADMIN_TOKEN=SECRET, **settings) as home:
        port = (await home.last_line("operators welcome"))["port"]
        credential = {"Authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=credential) as operator:
            yield home, operator


def checked(answer: httpx.Response, path: str, method: str) -> Any:  # noqa: ANN401
    """The body of an answer, which must be one that the description allows."""
    whole = description()
    said = whole["paths"][path][method]["responses"][str(answer.status_code)]
    if "$ref" in said:
        said = whole["components"]["responses"][said["$ref"].rpartition("/")[2]]
    schema = said["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**schema, "components": whole["components"]})
    return answer.json()


async def revoke(operator: httpx.AsyncClient, **body: object) -> Any:  # noqa: ANN401
    answer = await operator.post("/admin/revoke", json=body)
    assert answer.status_code == 200, answer.text
    return checked(answer, "/admin/revoke", "post")


async def test_revoked_in_mid_session() -> None:
    """Live sessions of a revoked token are cut, others are not; the token is good for no other session, whatever is
    known of its signature, and a forged one with the same claims is as bad as before."""
    async with operated() as (home, operator):
        token, other = home.provider.mint(sub="a", jti="t-1"), home.provider.mint(sub="a", jti="t-2")
        async with home.open(token=token) as client, home.open(token=other) as spared:
            await home.upstream.next()
            upstream = await home.upstream.next()
            assert (await revoke(operator, sub="a", jti="t-1"))["cut"] == 1
            assert await client.hear_close() == REVOKED
            answer, problem = await home.refusal(token=token)
            assert (answer.status, problem["cause"]) == (401, "token_revoked")
            forged = f"{token[:-8]}{'A' * 8}"
            assert (await home.refusal(token=forged))[1]["cause"] == "invalid_token"
            await spared.say(TEXT, b"still there")
            assert (await upstream.hear())[2] == b"still there"
        with trio.fail_after(5):
            while (await home.samples())["ws_revocations_total"] != 2:
                await trio.sleep(0.01)


async def test_mqtt_5() -> None:
    """An MQTT 5 client hears DISCONNECT 0x98 first, in a frame of its own."""
    async with operated() as (home, operator), home.mqtt(home.connect_packet(5)) as (client, _):
        await revoke(operator, sub="robot-7")
        assert await client.hear() == (BINARY, True, b"\xe0\x02\x98\x00")
        assert await client.hear_close() == REVOKED


async def test_in_mid_frame() -> None:
    """A session that is in the middle of a frame from its upstream, and of one from its client, ends in time."""
    async with operated() as (home, operator), home.raw() as (client, upstream):
        await upstream.send(b"\x82\x7e\x03\xe8" + bytes(10))
        await client.send(b"\x82\xfe\x03\xe8" + bytes(14))
        assert await client.read(14) == b"\x82\x7e\x03\xe8" + bytes(10)
        assert (await revoke(operator, sub="robot-7"))["cut"] == 1
        with trio.fail_after(3):
            assert await client.read_to_end() == b""
        assert (await home.end())["cause"] == "token_revoked"


async def test_before_it_is_a_session() -> None:
    """Who is revoked while his upstream is still dialled does not get there."""
    async with (
        operated(RAW_WS_BACKEND_URL="ws://127.0.0.1:9/", WS_DIAL_RETRY_INTERVAL_SECONDS="60") as (
            home,
            operator,
        ),
        home.connect() as client,
    ):
        await client.send(UPGRADE[:-2] + f"Authorization: Bearer {home.provider.mint()}\r\n\r\n".encode())
        while not (await operator.get("/admin/sessions")).json()["sessions"]:
            await trio.sleep(0.01)
        await revoke(operator, sub="robot-7")
        assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")


async def test_new_tokens() -> None:
    """What was issued before is revoked, and who logs in again may come again."""
    async with operated() as (home, operator):
        old, new = home.provider.mint(iat=1_800_000_000 - 10**8), home.provider.mint()
        await revoke(operator, sub="robot-7", issued_before=1_800_000_000 - 10**8 + 1)
        assert (await home.refusal(token=old))[0].status == 401
        async with home.open(token=new):
            pass


async def test_sessions() -> None:
    """Live sessions are listed without any secret, filtered, page by page; one is cut by its id, once."""
    async with operated() as (home, operator):
        token = home.provider.mint(sub="a", jti="t-1", preferred_username="anna")
        async with home.raw(), home.mqtt(home.connect_packet()), home.open(token=token) as client:
            listed = checked(await operator.get("/admin/sessions"), "/admin/sessions", "get")
            assert (len(listed["sessions"]), listed["next"]) == (3, None)
            paged: list[Any] = []
            page: dict[str, Any] = {"next": ""}
            while page["next"] is not None:
                answer = await operator.get("/admin/sessions", params={"limit": 2, "after": page["next"]})
                page = checked(answer, "/admin/sessions", "get")
                paged += page["sessions"]
            assert [each["id"] for each in paged] == [each["id"] for each in listed["sessions"]]
            [mqtt] = (await operator.get("/admin/sessions", params={"protocol": "mqtt"})).json()["sessions"]
            assert mqtt["bytes_from_client"] > 0
            answer = await operator.get("/admin/sessions", params={"sub": "a"})
            assert token.rpartition(".")[2] not in answer.text
            [one] = answer.json()["sessions"]
            assert (one["iss"], one["jti"], one["preferred_username"]) == (home.provider.issuer, "t-1", "anna")
            assert (one["protocol"], one["client"], one["upstream"]) == ("raw", "127.0.0.1", home.upstream.url)
            assert 0 < one["age_seconds"] < 60 < one["expires_at"]
            assert (await operator.delete(f"/admin/sessions/{one['id']}")).status_code == 204
            assert await client.hear_close() == (1008, "Session cut")
            await home.last_line("session ended")
            answer = await operator.delete(f"/admin/sessions/{one['id']}")
            assert answer.status_code == 404
            checked(answer, "/admin/sessions/{id}", "delete")
        async with home.open(token=token):  # which was not revoked
            pass
        assert (await home.samples())["ws_revocations_total"] == 0


async def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room to remember it, live sessions end, and the operator hears that it is not kept."""
    monkeypatch.setattr(live, "REVOCATIONS_MAX", 0)
    async with operated() as (home, operator), home.raw() as (client, _):
        answer = await operator.post("/admin/revoke", json={"sub": "robot-7"})
        assert answer.status_code == 507
        assert "1 live sessions cut" in checked(answer, "/admin/revoke", "post")["error"]
        assert await client.hear_close() == REVOKED


async def test_upstreams() -> None:
    """Each upstream is shown with what the probes have found, and the state of its circuit."""
    async with operated(
        CB_HEALTHCHECK_INTERVAL_SECONDS="60",
        CB_HEALTHCHECK_MODE="tcp",
        RAW_WS_BACKEND_URL="ws://127.0.0.1:9/",
        CB_FAILURE_THRESHOLD="1",
        WS_DIAL_RETRY_MAX="0",
    ) as (home, operator):
        await home.refusal(token=home.provider.mint())
        with trio.fail_after(5):
            found = await upstreams(operator)
            while any(each["healthy"] is None for each in found):
                await trio.sleep(0.01)
                found = await upstreams(operator)
        mqtt, raw = found
        assert (mqtt["protocol"], mqtt["healthy"], mqtt["reason"]) == ("mqtt", True, None)
        assert (raw["protocol"], raw["healthy"], raw["url"]) == ("raw", False, "ws://127.0.0.1:9/")
        assert "refused" in raw["reason"]
        assert mqtt["circuits"] == {"closed": 1, "half-open": 0, "open": 0}
        assert raw["circuits"] == {"closed": 0, "half-open": 0, "open": 1}


async def upstreams(operator: httpx.AsyncClient) -> Any:  # noqa: ANN401
    return checked(await operator.get("/admin/upstreams"), "/admin/upstreams", "get")["upstreams"]


@pytest.mark.parametrize(
    "credential", [None, "Bearer", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Basic {SECRET}"]
)
async def test_credential(credential: str | None) -> None:
    """Without the credential nothing is answered, whatever is asked for, and nothing done."""
    async with operated() as (home, operator), home.raw():
        del operator.headers["Authorization"]
        headers = {} if credential is None else {"Authorization": credential}
        for method, path in (("GET", "/admin/sessions"), ("POST", "/admin/revoke"), ("GET", "/openapi.json")):
            answer = await operator.request(method, path, headers=headers, json={"sub": "robot-7"})
            assert answer.status_code == 401
            assert checked(answer, path, method.lower())["error"]
        assert home.lines("revoked") == []


async def test_web_page() -> None:
    """Where there is no credential no web page comes in, neither with its own origin nor under a name of its own."""
    async with house(ADMIN_LISTEN="127.0.0.1:0") as home:
        port = (await home.last_line("operators welcome"))["port"]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as operator:
            assert (await operator.get("/admin/sessions")).status_code == 200
            for headers in ({"Origin": "https://evil.example"}, {"Host": "rebound.example"}):
                answer = await operator.get("/admin/sessions", headers=headers)
                assert answer.status_code == 403
                checked(answer, "/admin/sessions", "get")


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"sub": "robot-7"}', "text/plain", 415),
        (b'{"sub": "robot-7"', "application/json", 422),
        (b"[" * 10_000, "application/json", 422),
        (b'{"jti": 7}', "application/json", 422),
        (b'{"sub": "\\ud800"}', "application/json", 422),
        (b'{"\\ud800": 7}', "application/json", 422),
        (b'{"jti": "a", "exp": ' + b"9" * 400 + b"}", "application/json", 422),
        (b'{"jti": "a", "exp": ' + b"9" * 5000 + b"}", "application/json", 422),
        (b'{"jti": "a", "exp": 1e400}', "application/json", 422),
        (b'{"sub": "' + b"x" * 20_000 + b'"}', "application/json", 413),
    ],
)
async def test_bad_body(content: bytes, kind: str, status: int) -> None:
    """A body that is not understood, or too long, does nothing, and it is said why."""
    async with operated() as (home, operator), home.raw():
        answer = await operator.post("/admin/revoke", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert checked(answer, "/admin/revoke", "post")["error"]
        assert home.lines("revoked") == []


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "limit=99999999", "limit=000019999", "limit=%D9%A3"),
        "limit=" + "0" * 6000,
        *("subject=a", "%ff=a"),
    ],
)
async def test_bad_query(query: str) -> None:
    """A query that is not understood is refused: a filter that is not applied would show others."""
    async with operated() as (_, operator):
        answer = await operator.get(f"/admin/sessions?{query}")
        assert answer.status_code == 422
        checked(answer, "/admin/sessions", "get")


async def test_what_is_no_http() -> None:
    """Whatever comes through the door ends neither it nor a session."""
    async with operated() as (home, operator), home.raw() as (client, upstream):
        for junk in (
            b"\x00" * 5000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /admin/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            b"POST /admin/revoke HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
            b"GET /admin/sessions HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nHost: a\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + b"\xff" * 20,
            b"GET /" + b"x" * 100_000,
            b"GET /%ff%00 HTTP/1.1\r\nHost: \xff\r\nAuthorization: Bearer \xff\r\n\r\n",
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", operator.base_url.port or 0)
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(junk)
                    await stream.send_eof()
                    with trio.move_on_after(1):
                        while await stream.receive_some():
                            pass
        assert (await operator.get("/admin/sessions")).status_code == 200
        await client.say(TEXT, b"hello")
        assert (await upstream.hear())[2] == b"hello"
        assert home.lines("fault") == []


async def test_held_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds connections open keeps no operator out, and has a moment for his credential."""
    monkeypatch.setattr(serving, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.5)
    async with operated() as (home, operator), AsyncExitStack() as stack:
        assert (await operator.get("/admin/sessions")).status_code == 200
        silent = [await trio.open_tcp_stream("127.0.0.1", operator.base_url.port or 0) for _ in range(5)]
        for stream in silent:
            await stack.enter_async_context(stream)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"GET /admin/sessions HTTP/1.1\r\n")
        async with httpx.AsyncClient(base_url=operator.base_url, headers=operator.headers) as other:
            assert (await other.get("/admin/sessions")).status_code == 200
        assert (await operator.get("/admin/sessions")).status_code == 200
        with trio.fail_after(3):
            for stream in silent:
                with suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
        assert (await operator.get("/admin/sessions")).status_code == 200
        assert home.lines("operator's connection failed") == []


async def test_anonymous_sessions() -> None:
    """A session of nobody's is listed too, and cut by its id like any other."""
    async with operated(ALLOW_ANONYMOUS="true") as (home, operator), home.open() as client:
        await client.say(TEXT, b"hello")
        await home.upstream.next()
        with trio.fail_after(5):
            while not (found := (await operator.get("/admin/sessions")).json()["sessions"]):
                await trio.sleep(0.01)
        assert found[0]["sub"] is None
        assert (await revoke(operator, session=found[0]["id"]))["cut"] == 1
        assert await client.hear_close() == REVOKED


async def test_description() -> None:
    """The door serves its own description."""
    async with operated() as (_, operator):
        assert (await operator.get("/openapi.json")).json() == description()


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"ADMIN_LISTEN": "0.0.0.0:8081"}, "ADMIN_LISTEN is an address that others can reach"),
        ({"ADMIN_LISTEN": "operators.example:8081"}, "ADMIN_LISTEN is an address that others can reach"),
        ({"ADMIN_LISTEN": "127.0.0.1:8081", "ADMIN_TOKEN": "short"}, "ADMIN_TOKEN is shorter than 16 characters"),
        ({"ADMIN_TOKEN": SECRET, "ADMIN_TOKEN_FILE": __file__}, "ADMIN_TOKEN_FILE is set, and so is ADMIN_TOKEN"),
    ],
)
def test_wrong_settings(settings: dict[str, str], wrong: str) -> None:
    """A door that anybody could open keeps the gateway from starting; no credential is repeated."""
    with pytest.raises(BadSettings, match=re.escape(wrong)) as caught:
        load({"JWKS_URL": "http://127.0.0.1:9/certs", **settings})
    assert "short;" not in str(caught.value)
