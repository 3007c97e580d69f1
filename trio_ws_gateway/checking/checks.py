"""All checks of one configuration: which there are, run together, and read together.

Settings in, findings out; knows no command line. The only place that knows every probe.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from attrs import evolve

from trio_ws_gateway import wiring, workers
from trio_ws_gateway.admin.credential import credential_of
from trio_ws_gateway.checking.answers import Upstream
from trio_ws_gateway.checking.dangers import dangers
from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.checking.key_source import check_issuer, check_keys
from trio_ws_gateway.checking.machine import authorities, check_descriptors, check_listen, upstream_tls
from trio_ws_gateway.checking.redis_store import check_redis
from trio_ws_gateway.checking.running import Check, run
from trio_ws_gateway.checking.upstreams import check_upstream, upstreams_of
from trio_ws_gateway.config.loading import Loaded
from trio_ws_gateway.protocols.registry import standard_registry


async def check(loaded: Loaded, timeout_seconds: float) -> list[Finding]:
    """Look at everything, at the same time. Raises ``BadSettings``."""
    credential_of(loaded.settings)  # a file that will not do keeps the gateway from starting
    upstreams = upstreams_of(loaded.settings)
    findings = await run(_checks(loaded, upstreams, timeout_seconds))
    return [*_settings(loaded), *_at_defaults(findings, upstreams, loaded.given)]


def _settings(loaded: Loaded) -> list[Finding]:
    """What was set in vain, and then what is dangerous."""
    findings = [Finding("settings", Status.WARNING, warning) for warning in loaded.warnings]
    findings += dangers(loaded)
    return findings or [Finding("settings", Status.OK, "nothing wrong, and nothing dangerous")]


def _checks(loaded: Loaded, upstreams: Sequence[Upstream], timeout_seconds: float) -> Iterator[Check]:
    settings = loaded.settings
    wiring.try_redis_url(settings)
    yield Check("listen", partial(check_listen, settings.listen))
    yield Check("descriptors", partial(check_descriptors, workers.as_asked(settings.workers)))
    if (source := wiring.key_source(settings)) is not None:
        yield Check("keys", partial(check_keys, settings, source, timeout_seconds))
        yield Check("issuer", partial(check_issuer, settings, timeout_seconds))
    tls = upstream_tls(settings.upstream_ca_file)
    if settings.upstream_ca_file is not None:
        yield Check("authorities", partial(_authorities, settings.upstream_ca_file, upstreams))
    known = standard_registry(settings).protocols
    for upstream in upstreams:
        name = f"upstream {upstream.protocol}"
        if upstream.protocol in known:
            yield Check(name, partial(check_upstream, upstream, tls, timeout_seconds))
        else:
            yield Check(name, partial(_nobodys, upstream))
    if settings.redis_url is not None:
        yield Check("redis", partial(check_redis, settings.redis_url, settings.redis_prefix, timeout_seconds))


async def _authorities(path: Path, upstreams: Sequence[Upstream]) -> list[Finding]:
    return [authorities(path, used=any(upstream.url.secure for upstream in upstreams))]


async def _nobodys(upstream: Upstream) -> list[Finding]:
    detail = wiring.nobodys(upstream.protocol)
    return [Finding(f"upstream {upstream.protocol}", Status.WARNING, detail, "Is the protocol's name right in it?")]


def _at_defaults(findings: list[Finding], upstreams: Sequence[Upstream], given: frozenset[str]) -> Iterator[Finding]:
    """An upstream that nobody has configured may be missing where another one is configured: many need only one.

    There is no way to switch one off, so that this is no warning either.
    """
    one_is_given = any(upstream.setting in given for upstream in upstreams)
    defaults = {f"upstream {each.protocol}": each.setting for each in upstreams if each.setting not in given}
    for finding in findings:
        if finding.status is Status.FAILED and finding.name in defaults:
            unset = f"{defaults[finding.name]} is unset, and this is its default"
            if one_is_given:
                detail = f"{unset}: nothing is there, no matter if no such sessions come"
                finding = Finding(finding.name, Status.OK, detail, seconds=finding.seconds)
            else:
                finding = evolve(finding, advice=f"{unset}. {finding.advice}")
        yield finding
