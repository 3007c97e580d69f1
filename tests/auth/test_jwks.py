"""The key source, against a real HTTP server: fetching, refreshing, outages, caps. Only the clock is pretended."""

import json
import re
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from tests.oidc_provider import Answer, OidcProvider, write_certificate
from trio_ws_gateway.auth import jwks
from trio_ws_gateway.auth.jwks import DOCUMENT_MAX_BYTES, FetchFailed, KeySource, OtherIssuer, new_client

RS256 = ("RS256",)
TTL = 600.0


@pytest.fixture
async def provider(mock_clock: MockClock) -> AsyncIterator[OidcProvider]:
    """A provider that serves; time stands still unless a test moves it, for sockets know no pretended time."""
    async with OidcProvider().serving() as serving:
        yield serving


@asynccontextmanager
async def running(source: KeySource) -> AsyncIterator[KeySource]:
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run)
        yield source
        nursery.cancel_scope.cancel()


async def until(fact: Callable[[], object]) -> None:
    while not fact():
        await trio.lowlevel.checkpoint()


async def until_idle(source: KeySource) -> None:
    """Until no fetch is under way."""
    await until(lambda: not source._wanted.is_set())


def from_url(provider: OidcProvider, **changes: Any) -> KeySource:  # noqa: ANN401
    return KeySource(**{"jwks_url": provider.jwks_uri, "algorithms": RS256, "ttl_seconds": TTL, **changes})


def from_issuer(provider: OidcProvider, **changes: Any) -> KeySource:  # noqa: ANN401
    return KeySource(**{"issuer": provider.issuer, "algorithms": RS256, "ttl_seconds": TTL, **changes})


def kids(source: KeySource) -> tuple[str, ...]:
    return source.current.kids if source.current else ()


async def failure(source: KeySource) -> dict[str, Any]:
    """The log line of the source's first fetch, which must fail."""
    with capture_logs() as lines:
        async with running(source):
            await until_idle(source)
    assert not source.ready
    assert [line["event"] for line in lines] == ["keys not fetched"]
    return dict(lines[0])


@pytest.mark.parametrize("url", [None, "https://id.example.com"])
def test_one_source(url: str | None) -> None:
    """A key source has either a URL or an issuer."""
    with pytest.raises(ValueError, match="either jwks_url or issuer"):
        KeySource(algorithms=RS256, jwks_url=url, issuer=url)


@pytest.mark.parametrize("host", ["[v1.a]", "xn--a", "\N{SNOWMAN}.example"])
@pytest.mark.parametrize("name", ["jwks_url", "issuer"])
def test_host_that_nobody_has(name: str, host: str) -> None:
    """A URL whose host httpx would refuse later is refused at once."""
    urls: dict[str, str] = {name: f"https://{host}/"}
    with pytest.raises(ValueError, match=r"IDNA|odepoint|IPv6|label"):
        KeySource(algorithms=RS256, jwks_url=urls.get("jwks_url"), issuer=urls.get("issuer"))


async def test_what_nobody_thought_of(
    provider: OidcProvider, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any error of a refresh is a failure like others: logged with its traceback, tried again, and the keys stay."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)

        def fail(*_: object) -> None:
            raise ZeroDivisionError("of the parser")

        with capture_logs() as lines, monkeypatch.context() as patch:
            patch.setattr(jwks, "parse_key_set", fail)
            mock_clock.jump(TTL)
            await until(lambda: lines)
        [line] = lines
        assert (line["event"], line["reason"]) == ("keys not fetched", "ZeroDivisionError")
        assert repr(line["exc_info"]) == "ZeroDivisionError('of the parser')"
        assert (line["next_try_seconds"] <= 1, line["serving"]) == (True, "the last good keys")
        assert kids(source) == (provider.kid,)
        rotated = provider.rotate()
        mock_clock.jump(1)
        await until(lambda: kids(source) == (rotated,))


async def test_ready_with_the_first_keys(provider: OidcProvider, mock_clock: MockClock) -> None:
    """The source starts at once, is ready when it has keys, and knows how old they are."""
    provider.stall()
    source = from_url(provider)
    async with running(source):
        assert (source.ready, source.current, source.age_seconds(trio.current_time())) == (False, None, None)
        provider.flow()
        await until(lambda: source.ready)
        assert kids(source) == (provider.kid,)
        mock_clock.jump(7)
        assert source.age_seconds(trio.current_time()) == 7


async def test_discovery(provider: OidcProvider) -> None:
    """From an issuer the source finds the key set by discovery."""
    async with running(from_issuer(provider)) as source:
        await until(lambda: source.ready)
        assert provider.requests == [provider.discovery_path, provider.jwks_path]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_issuer_is_compared_exactly(provider: OidcProvider, slash: str) -> None:
    """An issuer with a slash at its end (Auth0) is discovered at the same place, and is another than one without."""
    provider.answers[provider.discovery_path] = Answer(
        body=json.dumps({"issuer": provider.issuer + "/", "jwks_uri": provider.jwks_uri}).encode()
    )
    source = from_issuer(provider, issuer=provider.issuer + slash)
    if slash:
        async with running(source):
            await until(lambda: source.ready)
    else:
        assert (await failure(source))["reason"] == "it speaks for another issuer than the configured one"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"<html>", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "not JSON: maximum recursion depth exceeded"),
        (b"[]", "not a JSON object"),
        (b"{}", "it speaks for another issuer than the configured one"),
        (b'{"issuer":"ISSUER"}', "its jwks_uri is not an http or https URL"),
        (b'{"issuer":"ISSUER","jwks_uri":7}', "its jwks_uri is not a URL"),
        (b'{"issuer":"ISSUER","jwks_uri":"http://[::1"}', "its jwks_uri is not a URL"),
        (b'{"issuer":"ISSUER","jwks_uri":"https://xn--a/"}', "its jwks_uri is not a URL"),
        (b'{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}', "its jwks_uri is not an http or https URL"),
        (b'{"issuer":"ISSUER","jwks_uri":"https:///jwks"}', "its jwks_uri is not an http or https URL"),
    ],
)
async def test_bad_discovery_document(provider: OidcProvider, document: bytes, reason: str) -> None:
    """A discovery document that is not what it should be is named in the log with its URL."""
    body = document.replace(b"ISSUER", provider.issuer.encode())
    provider.answers[provider.discovery_path] = Answer(body=body)
    line = await failure(from_issuer(provider))
    assert line["reason"].startswith(reason)
    assert line["url"] == provider.origin + provider.discovery_path


async def test_keys_may_move(provider: OidcProvider, mock_clock: MockClock) -> None:
    """Discovery is asked with each refresh; where it fails, the keys are fetched from where they were."""
    async with running(from_issuer(provider)) as source:
        await until(lambda: source.ready)
        moved = {**provider.discovery(), "jwks_uri": f"{provider.origin}/moved"}
        provider.answers[provider.discovery_path] = Answer(body=json.dumps(moved).encode())
        provider.answers["/moved"] = Answer(body=provider.jwks())
        mock_clock.jump(TTL)
        await until(lambda: provider.count("/moved") == 1)
        await until_idle(source)
        provider.answers[provider.discovery_path] = Answer(status=500)
        with capture_logs() as lines:
            mock_clock.jump(TTL)
            await until(lambda: provider.count("/moved") == 2)
            await until_idle(source)
        assert [(line["event"], line["reason"], line["using"]) for line in lines] == [
            ("discovery failed", "status 500", f"{provider.origin}/moved")
        ]
        assert source.age_seconds(trio.current_time()) == 0


async def test_refresh_before_the_keys_are_old(provider: OidcProvider, mock_clock: MockClock) -> None:
    """Keys are fetched again within their time to live, and not at once."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        new = provider.rotate()
        mock_clock.jump(TTL * 0.79)
        await trio.testing.wait_all_tasks_blocked()
        assert provider.count(provider.jwks_path) == 1
        mock_clock.jump(TTL * 0.21)
        await until(lambda: kids(source) == (new,))
        assert provider.count(provider.jwks_path) == 2


async def test_provider_that_comes_up_late(provider: OidcProvider, mock_clock: MockClock) -> None:
    """While the provider is away the source tries again and again, less and less often, and says so each time."""
    await provider.go_down()
    source = from_url(provider)
    with capture_logs() as lines:
        async with running(source):
            for attempt in range(1, 11):
                await until(partial(_has, lines, attempt))
                await until_idle(source)
                mock_clock.jump(60)
            await until(partial(_has, lines, 11))
            await until_idle(source)
            await provider.come_up()
            mock_clock.jump(60)
            await until(lambda: source.ready)
    assert {line["event"] for line in lines[:-1]} == {"keys not fetched"}
    first = lines[0]
    assert (first["url"], first["serving"]) == (provider.jwks_uri, "nobody: there are no keys yet")
    assert first["reason"].startswith("ConnectError")
    for line, longest in zip(lines, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60], strict=False):
        assert 0.79 * longest <= line["next_try_seconds"] <= longest
    assert (lines[-1]["event"], lines[-1]["kids"]) == ("keys fetched", (provider.kid,))


def _has(lines: list[Any], number: int) -> bool:
    return len(lines) == number


@pytest.mark.parametrize(
    "bad",
    [
        Answer(status=503),
        Answer(body=b"oops"),
        Answer(body=b'{"keys":[]}'),
        Answer(body=b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'),
    ],
)
async def test_last_good_keys_serve_through_an_outage(
    provider: OidcProvider, mock_clock: MockClock, bad: Answer
) -> None:
    """A fetch that fails, or brings no usable key, never replaces good keys."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        good = source.current
        provider.answers[provider.jwks_path] = bad
        with capture_logs() as lines:
            mock_clock.jump(TTL)
            await until(lambda: lines)
        assert source.current is good
        assert source.age_seconds(trio.current_time()) == TTL
        assert lines[0]["serving"] == "the last good keys"
        del provider.answers[provider.jwks_path]
        new = provider.rotate()
        mock_clock.jump(60)
        await until(lambda: kids(source) == (new,))


# An unknown kid


async def test_unknown_kid_is_fetched(provider: OidcProvider) -> None:
    """After ``refetch_for`` a key that was published since is there."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        await until_idle(source)
        new = provider.rotate()
        await source.refetch_for(new)
        assert kids(source) == (new,)


async def test_known_kid_is_not_fetched(provider: OidcProvider) -> None:
    """A kid that has come meanwhile costs nothing."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        await until_idle(source)
        await source.refetch_for(provider.kid)
        assert len(provider.requests) == 1


async def test_one_refetch_in_ten_seconds(provider: OidcProvider, mock_clock: MockClock) -> None:
    """However many kids are invented, the provider is asked once in ten seconds."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        await until_idle(source)
        for _ in range(3):
            for number in range(20):
                await source.refetch_for(f"invented-{number}")
            mock_clock.jump(9.9)
            await source.refetch_for("invented")
            mock_clock.jump(0.2)
        assert len(provider.requests) == 1 + 3


async def test_callers_share_one_fetch(provider: OidcProvider) -> None:
    """Concurrent callers share one fetch, and one that is cancelled does not take it from the others."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        await until_idle(source)
        new = provider.rotate()
        provider.stall()
        async with trio.open_nursery() as patient, trio.open_nursery() as impatient:
            impatient.start_soon(source.refetch_for, new)  # it is the one that asks
            await until(lambda: len(provider.requests) == 2)
            for _ in range(10):
                patient.start_soon(source.refetch_for, new)
                impatient.start_soon(source.refetch_for, new)
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
            provider.flow()
        assert kids(source) == (new,)
        assert len(provider.requests) == 2


async def test_caller_waits_five_seconds_at_most(provider: OidcProvider, mock_clock: MockClock) -> None:
    """A provider that does not answer holds a caller for five seconds, and the next one not at all."""
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)
        await until_idle(source)
        provider.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.refetch_for, "unknown")
            await until(lambda: len(provider.requests) == 2)
            mock_clock.jump(5)
        await until_idle(source)
        await source.refetch_for("unknown")
        assert len(provider.requests) == 2


async def test_callers_are_released_when_the_source_ends(provider: OidcProvider) -> None:
    """Who waits for a fetch does not wait on when the source is cancelled."""
    provider.stall()
    source = from_url(provider)
    async with trio.open_nursery() as nursery, running(source):
        await until(lambda: provider.requests)
        nursery.start_soon(source.refetch_for, "unknown")
        await trio.testing.wait_all_tasks_blocked()


# Caps


async def test_slow_provider(provider: OidcProvider, mock_clock: MockClock) -> None:
    """A document that is not there within five seconds is given up."""
    provider.stall()
    source = from_url(provider)
    with capture_logs() as lines:
        async with running(source):
            await until(lambda: provider.requests)
            mock_clock.jump(5)
            await until(lambda: lines)
    assert lines[0]["reason"] == "not answered within 5 s"


@pytest.mark.parametrize("padding", [DOCUMENT_MAX_BYTES, float("inf")])
async def test_huge_document(provider: OidcProvider, padding: float) -> None:
    """A document of more than 1 MiB is not read to its end."""
    provider.answers[provider.jwks_path] = Answer(body=b"x", padding_bytes=padding)
    assert (await failure(from_url(provider)))["reason"] == "more than 1048576 bytes"


async def test_large_document(provider: OidcProvider) -> None:
    """A document just below the cap is taken."""
    body = provider.jwks()
    provider.answers[provider.jwks_path] = Answer(body=body, padding_bytes=DOCUMENT_MAX_BYTES - len(body))
    async with running(from_url(provider)) as source:
        await until(lambda: source.ready)


def to(location: str) -> Answer:
    return Answer(status=302, headers=(("Location", location),))


async def test_redirects_on_the_same_host(provider: OidcProvider) -> None:
    """Up to three redirects are followed on the same host, absolute or relative."""
    provider.answers["/1"] = to(f"{provider.origin}/2")
    provider.answers["/2"] = to("/3")
    provider.answers["/3"] = to(provider.jwks_uri)
    async with running(from_url(provider, jwks_url=f"{provider.origin}/1")) as source:
        await until(lambda: source.ready)


async def test_redirect_in_circles(provider: OidcProvider) -> None:
    """More than three redirects are too many."""
    provider.answers[provider.jwks_path] = to(provider.jwks_uri)
    assert (await failure(from_url(provider)))["reason"] == "more than 3 redirects"
    assert len(provider.requests) == 4


@pytest.mark.parametrize(
    "location", ["http://localhost:{port}/jwks", "https://id.example.com/jwks", "ftp://127.0.0.1/"]
)
async def test_redirect_to_another_host(provider: OidcProvider, location: str) -> None:
    """A redirect to another host, or to something that is no HTTP, is not followed."""
    provider.answers[provider.jwks_path] = to(location.format(port=provider.origin.rpartition(":")[2]))
    assert (await failure(from_url(provider)))["reason"] == "redirected to another host, or out of https"
    assert len(provider.requests) == 1


async def test_redirect_to_no_url(provider: OidcProvider) -> None:
    """A redirect to what is no URL is a failure like any other."""
    provider.answers[provider.jwks_path] = to("http://[::1")
    assert (await failure(from_url(provider)))["reason"].startswith("RemoteProtocolError: Invalid URL")
    provider.answers[provider.jwks_path] = to("https://xn--a/")
    assert (await failure(from_url(provider)))["reason"].startswith("InvalidCodepoint: ")


async def test_no_http_at_all(mock_clock: MockClock) -> None:
    """A server that speaks something else is a failure like any other."""

    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.example.com ESMTP\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, babble, 0)
        port = listeners[0].socket.getsockname()[1]
        source = KeySource(jwks_url=f"http://localhost:{port}/", algorithms=RS256)
        assert (await failure(source))["reason"].startswith("RemoteProtocolError: ")
        nursery.cancel_scope.cancel()


async def test_hangs_up(mock_clock: MockClock) -> None:
    """A server that hangs up without a word is named by its error, whatever text that has."""

    async def hang_up(stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
        port = listeners[0].socket.getsockname()[1]
        source = KeySource(jwks_url=f"http://localhost:{port}/", algorithms=RS256)
        assert re.match(r"\w+Error: .", (await failure(source))["reason"])
        nursery.cancel_scope.cancel()


async def test_credentials_in_the_url(provider: OidcProvider) -> None:
    """User and password of the URL are sent to its host, also after a redirect there, and never logged."""
    provider.answers[provider.jwks_path] = to("/with?key=SECRET")
    url = provider.jwks_uri.replace("http://", "http://gateway:SECRET@") + "?key=SECRET"
    provider.answers[provider.jwks_path + "?key=SECRET"] = to("/elsewhere")
    provider.answers["/elsewhere"] = Answer(status=403)
    line = await failure(from_url(provider, jwks_url=url))
    assert line["url"] == f"{provider.origin}/elsewhere"
    assert "SECRET" not in str(line)
    expected = "Basic " + b64encode(b"gateway:SECRET").decode()
    assert [headers.get("authorization") for headers in provider.request_headers] == [expected, expected]


# TLS


@pytest.fixture
async def secure(mock_clock: MockClock, tmp_path: Path) -> AsyncIterator[OidcProvider]:
    """A provider behind TLS, with a certificate that nobody knows."""
    async with OidcProvider(certificate=write_certificate(tmp_path)).serving() as serving:
        yield serving


@pytest.fixture
def trusted(secure: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OidcProvider:
    """The same, with its certificate among those that are trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "provider.pem"))
    return secure


async def test_unknown_certificate(secure: OidcProvider) -> None:
    """A provider whose certificate is not trusted is not believed."""
    line = await failure(from_issuer(secure))
    assert "CERTIFICATE_VERIFY_FAILED" in line["reason"]
    assert secure.requests == []


async def test_own_certificate_authority(trusted: OidcProvider) -> None:
    """``SSL_CERT_FILE`` names the authorities to trust; redirects may lead from https to https."""
    trusted.answers["/old"] = to(trusted.jwks_uri)
    for source in (from_issuer(trusted), from_url(trusted, jwks_url=f"{trusted.origin}/old")):
        async with running(source):
            await until_idle(source)
        assert source.ready


async def test_jwks_uri_that_leaves_https(trusted: OidcProvider) -> None:
    """An issuer behind https cannot name keys that travel in the clear."""
    document = {**trusted.discovery(), "jwks_uri": trusted.jwks_uri.replace("https", "http")}
    trusted.answers[trusted.discovery_path] = Answer(body=json.dumps(document).encode())
    assert (await failure(from_issuer(trusted)))["reason"] == "its jwks_uri leaves https"


async def test_redirect_that_leaves_https(trusted: OidcProvider) -> None:
    """A redirect from https to http is not followed, not even on the same host."""
    trusted.answers[trusted.jwks_path] = to(trusted.jwks_uri.replace("https", "http"))
    assert (await failure(from_url(trusted)))["reason"] == "redirected to another host, or out of https"


async def test_fetched_once(provider: OidcProvider) -> None:
    """Who only asks how things are gets the keys without a service that runs, and the source keeps none."""
    source = from_issuer(provider)
    async with new_client() as client:
        assert (await source.fetch(client)).kids == (provider.kid,)
    assert not source.ready


async def test_fetched_once_in_vain(provider: OidcProvider) -> None:
    """Who asks hears what is wrong: where, what, and whom the metadata of another issuer is of."""
    async with new_client() as client:
        with pytest.raises(OtherIssuer) as other:
            await from_issuer(provider, issuer=provider.issuer + "/").fetch(client)
        assert other.value.said == provider.issuer
        provider.answers[provider.jwks_path] = Answer(status=503)
        with pytest.raises(FetchFailed, match="status 503") as failed:
            await from_url(provider).fetch(client)
        assert failed.value.url == provider.jwks_uri
