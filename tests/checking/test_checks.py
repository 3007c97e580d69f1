"""All checks of one configuration together."""

import os
import resource

import pytest

from tests.house import agreeing, house
from tests.servers.ports import free_port
from trio_ws_gateway.checking.checks import check
from trio_ws_gateway.checking.dangers import dangers
from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.config.loading import BadSettings, load
from trio_ws_gateway.wire.frames import BINARY, build_frame
from trio_ws_gateway.wire.mqtt import connack

PATIENCE = 30.0
HASTE = 0.5  # where the double of a broker, which is none, does not answer the CONNECT


async def found(**environment: str) -> dict[str, Finding]:
    """By name; of the settings, the last."""
    findings = await check(load({"LISTEN": "127.0.0.1:0", **environment}), PATIENCE)
    return {finding.name: finding for finding in findings}


async def test_all_is_well() -> None:
    """Every item that there is has a finding, and one that there is not has none."""
    async with house() as home:
        home.upstream.answer = agreeing(rest=build_frame(BINARY, connack(4, 0), masked=False))
        environment = {
            "JWKS_URL": home.provider.jwks_uri,
            "JWT_EXPECTED_ISSUER": home.provider.issuer,
            "UPSTREAM_WS_URL": home.upstream.url,
            "RAW_WS_BACKEND_URL": home.upstream.url,
        }
        findings = await found(**environment)
        assert list(findings) == [
            "settings",
            "listen",
            "descriptors",
            "keys",
            "issuer",
            "upstream mqtt",
            "upstream raw",
        ]
        assert Status.FAILED not in {finding.status for finding in findings.values()}
        anonymous = await found(
            ALLOW_ANONYMOUS="true",
            UPSTREAM_WS_URL=home.upstream.url,
            REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        )
        assert {"keys", "issuer"}.isdisjoint(anonymous)
        assert anonymous["redis"].status is not Status.OK


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis://:pass-word@h/0?bogus=1", "has an option, behind the question mark, that redis-py does not take"),
        ("redis://:pass-word@h/0?ssl_ca_certs=/nope", "has an option of TLS, which is spoken only where it begins"),
        (
            "rediss://:pass-word@h/0?ssl_ca_certs=/nope",
            "names a file in ssl_ca_certs that cannot be read: No such",
        ),
        ("rediss+sentinel://:pass-word@h/s/0?ssl_certfile=/nope", "names a file in ssl_certfile that cannot be read"),
        ("rediss+cluster://:pass-word@h?ssl_keyfile=/", "names a file in ssl_keyfile that cannot be read: Is a dir"),
    ],
)
async def test_redis_url(url: str, wrong: str) -> None:
    """An option in the URL with which no connection could be made is a wrong setting, as it is at the start."""
    loaded = load({"ALLOW_ANONYMOUS": "true", "LISTEN": "127.0.0.1:0", "REDIS_URL": url})
    with pytest.raises(BadSettings, match=wrong) as caught:
        await check(loaded, PATIENCE)
    assert "pass-word" not in str(caught.value)


async def test_settings() -> None:
    """What was set in vain comes first, and then what is dangerous."""
    loaded = load({"ALLOW_ANONYMOUS": "true", "LISTEN": "127.0.0.1:0", "INGRESS_HOST": "gw.example"})
    findings = [each for each in await check(loaded, PATIENCE) if each.name == "settings"]
    assert findings[0].detail == loaded.warnings[0]
    assert findings[1:] == list(dangers(loaded))
    assert {each.status for each in findings} == {Status.WARNING}


async def test_upstream_at_its_default() -> None:
    """An upstream that nobody configured may be missing where another one is configured, and only there."""
    async with house() as home:
        given = await found(ALLOW_ANONYMOUS="true", RAW_WS_BACKEND_URL=home.upstream.url)
    assert given["upstream mqtt"].status is Status.OK
    assert given["upstream mqtt"].detail.startswith("UPSTREAM_WS_URL is unset, and this is its default: nothing is")
    neither = await found(ALLOW_ANONYMOUS="true")
    assert neither["upstream mqtt"].status is Status.FAILED
    assert neither["upstream mqtt"].advice.startswith("UPSTREAM_WS_URL is unset, and this is its default. ")
    named = await found(ALLOW_ANONYMOUS="true", UPSTREAM_WS_URL="ws://rabbitmq:15675/ws")
    assert named["upstream mqtt"].status is Status.FAILED


async def test_careful_gateway_for_brokers() -> None:
    """A careful gateway for MQTT alone, with the raw backend left out, is warned of nothing but its double's http://."""
    async with house() as home:
        environment = {
            "LISTEN": "127.0.0.1:0",
            "JWKS_URL": home.provider.jwks_uri,
            "JWT_EXPECTED_ISSUER": home.provider.issuer,
            "JWT_EXPECTED_AUDIENCE": "gateway",
            "MQTT_USERNAME_CLAIM": "sub",
            "UPSTREAM_WS_URL": home.upstream.url,
            "RATE_LIMIT_PER_SECOND": "10",
        }
        findings = await check(load(environment), HASTE)
    troubled = [each for each in findings if each.status is not Status.OK and each.name in ("settings", "upstream raw")]
    assert [each.detail.partition(":")[0] for each in troubled] == ["JWKS_URL begins with http"]


async def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORKERS=auto counts the descriptors of as many workers as there will be."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    findings = await found(ALLOW_ANONYMOUS="true", WORKERS="auto")
    assert "good for 5,994 sessions by 3 workers" in findings["descriptors"].detail


async def test_upstream_of_no_adapter() -> None:
    """An upstream of a protocol that nobody speaks is not visited, but warned of."""
    findings = await found(ALLOW_ANONYMOUS="true", UPSTREAM_WHISPER_URL="ws://127.0.0.1:9/")
    assert findings["upstream whisper"].status is Status.WARNING
    assert "no adapter is called `whisper`" in findings["upstream whisper"].detail


async def test_authorities_that_cannot_be_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A wrong UPSTREAM_CA_FILE is named once, and the upstreams that need it say that they were not tried."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_text("no certificate")
    findings = await found(
        ALLOW_ANONYMOUS="true", UPSTREAM_CA_FILE=str(path), RAW_WS_BACKEND_URL="wss://backend.example/"
    )
    assert "holds no certificates" in findings["authorities"].detail
    assert "not tried" in findings["upstream raw"].detail


async def test_settings_that_only_serving_finds_wrong() -> None:
    """Settings with which the gateway would not start are wrong settings here too."""
    with pytest.raises(BadSettings):
        await check(load({"JWKS_URL": "https://xn--a/certs"}), PATIENCE)
