"""The check of the keys, against a provider that is well, and against one that is not."""

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.oidc_provider import Answer, OidcProvider, write_certificate
from tests.servers.ports import free_port
from trio_ws_gateway import wiring
from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.checking.key_source import check_issuer, check_keys, clock_findings
from trio_ws_gateway.config.loading import load

PATIENCE = 30.0
NOON = 1_700_000_000.0
NOON_DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
LONG_KID = "0123456789abcdef" * 4


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with OidcProvider().serving() as serving:
        yield serving


async def checked(timeout_seconds: float = PATIENCE, **environment: str) -> list[Finding]:
    settings = load(environment).settings
    source = wiring.key_source(settings)
    assert source is not None
    return await check_keys(settings, source, timeout_seconds, clock=lambda: NOON)


async def trouble(timeout_seconds: float = PATIENCE, **environment: str) -> tuple[str, str]:
    """What is said of keys that could not be had."""
    (finding,) = await checked(timeout_seconds, **environment)
    assert (finding.name, finding.status) == ("keys", Status.FAILED)
    assert (finding.detail + finding.advice).isprintable()
    return finding.detail, finding.advice


async def test_good_keys(provider: OidcProvider) -> None:
    """Usable keys are counted, and named with their algorithms; the URL is shown without its query."""
    provider.rotate(keep_old=True)
    (finding,) = await checked(OIDC_ISSUER=provider.issuer)
    assert finding.status is Status.OK
    assert finding.detail == f"2 usable keys at {provider.jwks_uri}: 'key-1' for RS256; 'key-2' for RS256"
    provider.answers[f"{provider.jwks_path}?key=secret"] = Answer(body=provider.jwks())
    (finding,) = await checked(JWKS_URL=f"{provider.jwks_uri}?key=secret")
    assert finding.detail.startswith(f"2 usable keys at {provider.jwks_uri}: ")


async def test_keys_without_names(provider: OidcProvider) -> None:
    """Keys without a kid count too; of many kids only the first are shown, and those whole."""
    jwk = {name: value for name, value in provider.jwk().items() if name not in ("kid", "alg")}
    provider.answers[provider.jwks_path] = Answer(body=json.dumps({"keys": [jwk]}).encode())
    (finding,) = await checked(JWKS_URL=provider.jwks_uri, JWT_VALID_ALGORITHMS="RS256,PS256")
    assert finding.detail.endswith(": without a kid, for RS256, PS256")
    many = [{**jwk, "kid": f"{LONG_KID}-{number}"} for number in range(6)]
    provider.answers[provider.jwks_path] = Answer(body=json.dumps({"keys": many}).encode())
    (finding,) = await checked(JWKS_URL=provider.jwks_uri)
    assert finding.detail.endswith(f"'{LONG_KID}-3' for RS256; and 2 more")


async def test_other_algorithms(provider: OidcProvider) -> None:
    """Keys that no accepted algorithm fits are named with those that would."""
    detail, advice = await trouble(JWKS_URL=provider.jwks_uri, JWT_VALID_ALGORITHMS="ES256")
    assert "none of its 1 keys can verify ES256 (JWT_VALID_ALGORITHMS)" in detail
    assert advice.startswith("They are for RS256:")
    provider.answers[provider.jwks_path] = Answer(body=b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}')
    _, advice = await trouble(JWKS_URL=provider.jwks_uri)
    assert advice.startswith("No key there is of any use")


@pytest.mark.parametrize(
    ("answer", "detail", "advice"),
    [
        (Answer(status=404), "status 404", "Keycloak: "),
        (Answer(status=403), "status 403", "keys are public"),
        (Answer(status=418), "status 418", "Is JWKS_URL right?"),
        (Answer(status=503), "status 503", "not well"),
        (Answer(status=302, headers=(("Location", "https://a.example/"),)), "to 'https://a.example/'", "curl -LI"),
        (Answer(body=b"<p>", headers=(("Content-Type", "text/html"),)), "a web page ('text/html')", "for people"),
        (Answer(body=b"{}"), "not a JWKS: no list named keys", "`jwks_uri`"),
        (Answer(body=b"?"), "not JSON", "Look at what is there: curl -L http"),
    ],
)
async def test_bad_document(provider: OidcProvider, answer: Answer, detail: str, advice: str) -> None:
    """Whatever is there in place of keys has words and advice of its own."""
    provider.answers[provider.jwks_path] = answer
    said = await trouble(JWKS_URL=provider.jwks_uri)
    assert detail in said[0]
    assert advice in said[1]


async def test_issuer_of_another_name(provider: OidcProvider) -> None:
    """Metadata of another issuer is shown beside the configured one, so that the slash at the end is seen."""
    detail, advice = await trouble(OIDC_ISSUER=provider.issuer + "/")
    assert f"of '{provider.issuer}', not of '{provider.issuer}/'" in detail
    assert "OIDC_ISSUER" in advice


async def test_unreachable(provider: OidcProvider) -> None:
    """Nobody there, no such name, no HTTP, no TLS, no end: each is told from the others."""
    port = free_port()
    detail, advice = await trouble(JWKS_URL=f"http://127.0.0.1:{port}/certs")
    assert f"connection refused: nobody listens on port {port} of 127.0.0.1" in detail
    assert advice == (
        "Does the provider run, and is the port right in JWKS_URL? In a container, 127.0.0.1 is the container itself."
    )
    detail, _ = await trouble(JWKS_URL="https://no-such-name.invalid/certs")
    assert "no-such-name.invalid" in detail
    detail, advice = await trouble(JWKS_URL=provider.jwks_uri.replace("http:", "https:"))
    assert "does not speak TLS" in detail
    assert "http://" in advice
    provider.stall()
    detail, advice = await trouble(0.2, JWKS_URL=provider.jwks_uri)
    assert detail.endswith(": takes the connection, but answers nothing within 0.2 s")
    assert "firewall" not in advice


async def test_no_connection(nursery: trio.Nursery) -> None:
    """Only where no connection comes about, packets may vanish."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [trio.socket.socket() for _ in range(4)]
        for each in waiting:
            nursery.start_soon(each.connect, address)
        await trio.testing.wait_all_tasks_blocked()
        detail, advice = await trouble(0.2, JWKS_URL=f"http://127.0.0.1:{address[1]}/certs")
        nursery.cancel_scope.cancel()
        for each in waiting:
            each.close()
    assert detail.endswith(": no connection within 0.2 s")
    assert "firewall" in advice


async def test_document_without_an_end(nursery: trio.Nursery) -> None:
    """A server that answers and does not come to an end is told from one that is silent."""

    async def drip(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, drip, [listener])
    detail, _ = await trouble(0.2, JWKS_URL=f"http://127.0.0.1:{listener.socket.getsockname()[1]}/certs")
    assert detail.endswith(": answers, but its document has no end within 0.2 s")


async def test_redirect_to_nobody(provider: OidcProvider) -> None:
    """Where a redirect leads to nobody, both addresses are named, and nobody else is blamed."""
    port = free_port()
    target = f"http://127.0.0.1:{port}/login"
    provider.answers[provider.jwks_path] = Answer(status=302, headers=(("Location", f"{target}?state=secret"),))
    detail, advice = await trouble(JWKS_URL=provider.jwks_uri)
    assert detail == (
        f"{provider.jwks_uri} redirects to {target}: connection refused: nobody listens on port {port} of 127.0.0.1"
    )
    assert "curl -LI" in advice


async def test_address_that_the_metadata_names(provider: OidcProvider) -> None:
    """A key set that only the metadata has named is not blamed on OIDC_ISSUER, but leads to JWKS_URL."""
    jwks_uri = f"http://127.0.0.1:{free_port()}/certs"
    metadata = json.dumps({**provider.discovery(), "jwks_uri": jwks_uri}).encode()
    provider.answers[provider.discovery_path] = Answer(body=metadata)
    detail, advice = await trouble(OIDC_ISSUER=provider.issuer)
    assert detail.startswith(f"{jwks_uri}: connection refused")
    assert advice.startswith("The provider's metadata names this address: ")
    assert "JWKS_URL" in advice
    assert "in OIDC_ISSUER" not in advice


async def test_empty_key_set(provider: OidcProvider) -> None:
    """A set without any key is called empty."""
    provider.answers[provider.jwks_path] = Answer(body=b'{"keys": []}')
    detail, _ = await trouble(JWKS_URL=provider.jwks_uri)
    assert detail == f"{provider.jwks_uri}: its key set is empty, so no token can be verified"


async def test_no_http(nursery: trio.Nursery) -> None:
    """A server that hangs up on HTTP is no provider."""

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.aclose()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, hang_up, [listener])
    _, advice = await trouble(JWKS_URL=f"http://127.0.0.1:{listener.socket.getsockname()[1]}/certs")
    assert "speaks no HTTP" in advice


async def test_certificate_of_nobody(tmp_path: Path) -> None:
    """A certificate that is not trusted leads to SSL_CERT_FILE, not to the setting for upstreams."""
    async with OidcProvider(certificate=write_certificate(tmp_path)).serving() as provider:
        detail, advice = await trouble(JWKS_URL=provider.jwks_uri)
    assert "its certificate is of no authority that is trusted here (self-signed certificate)" in detail
    assert "SSL_CERT_FILE" in advice


async def test_proxy_of_the_environment(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is told from the provider, and its password is not shown."""
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pass-word@127.0.0.1:{port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    detail, advice = await trouble(JWKS_URL="http://id.example/certs")
    assert f"through a proxy: connection refused: nobody listens on port {port} of 127.0.0.1" in detail
    assert "HTTP_PROXY" in advice
    assert "pass-word" not in detail + advice
    (finding,) = await checked(JWKS_URL=provider.jwks_uri)
    assert finding.status is Status.OK


async def test_clock(provider: OidcProvider) -> None:
    """The provider's Date is compared with this machine's clock, and what a cache adds to its age is allowed for."""
    headers = (("Date", NOON_DATE), ("Age", "600"))
    provider.answers[provider.jwks_path] = Answer(body=provider.jwks(), headers=headers[:1])
    _, clock = await checked(JWKS_URL=provider.jwks_uri)
    assert clock == Finding("clock", Status.OK, "agrees with the provider's")
    provider.answers[provider.jwks_path] = Answer(body=provider.jwks(), headers=headers)
    _, clock = await checked(JWKS_URL=provider.jwks_uri)
    assert clock.status is Status.WARNING
    assert clock.detail.startswith("this machine's clock is 10 minutes behind the provider's")
    provider.answers[provider.jwks_path] = Answer(body=provider.jwks(), headers=(("Date", "soon"),))
    (only,) = await checked(JWKS_URL=provider.jwks_uri)
    assert only.name == "keys"


@pytest.mark.parametrize(
    ("ahead", "leeway", "status", "words"),
    [
        (1.9, 0, Status.OK, "agrees with the provider's"),
        (29, 30, Status.OK, "29 seconds ahead of the provider's, within the leeway"),
        (
            31,
            30,
            Status.WARNING,
            "31 seconds ahead of the provider's, JWT_LEEWAY_SECONDS allows 30: good tokens",
        ),
        (
            -3,
            0,
            Status.WARNING,
            "3 seconds behind the provider's, JWT_LEEWAY_SECONDS allows 0: fresh tokens",
        ),
        (-7300, 30, Status.WARNING, "2 hours behind"),
        (1e7, 30, Status.WARNING, "115 days ahead"),
    ],
)
def test_clock_and_leeway(ahead: float, leeway: float, status: Status, words: str) -> None:
    """What the leeway allows is well, and beyond it the words say whose tokens suffer."""
    (finding,) = clock_findings([ahead], leeway)
    assert finding.status is status
    assert words in finding.detail


async def test_expected_issuer(provider: OidcProvider) -> None:
    """Beside JWKS_URL, JWT_EXPECTED_ISSUER is compared with how the provider there calls itself, if it says so."""

    async def found(issuer: str) -> list[Finding]:
        return await check_issuer(load({"JWKS_URL": provider.jwks_uri, "JWT_EXPECTED_ISSUER": issuer}).settings, 10)

    (good,) = await found(provider.issuer)
    assert good.status is Status.OK
    (bad,) = await found(provider.issuer + "/")
    assert bad.status is Status.WARNING
    assert bad.detail.endswith(f"calls itself '{provider.issuer}'")
    for silent in (f"{provider.origin}/elsewhere", "robots", "http://xn--a/"):
        assert await found(silent) == []
    assert await check_issuer(load({"OIDC_ISSUER": provider.issuer}).settings, 10) == []
    provider.stall()
    settings = load({"JWKS_URL": provider.jwks_uri, "JWT_EXPECTED_ISSUER": provider.issuer}).settings
    assert await check_issuer(settings, 0.2) == []
