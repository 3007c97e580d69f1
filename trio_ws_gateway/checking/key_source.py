"""Are the provider's keys there, of use, and of the right issuer? And what time is it, where tokens are made?

Asks as the gateway does, with the gateway's own ``KeySource``, once and without keeping anything. No token is
needed, and none is seen.
"""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import trio
from attrs import evolve, field, frozen

from trio_ws_gateway import wiring
from trio_ws_gateway.auth.jwks import DOCUMENT_SECONDS, FetchFailed, KeySource, OtherIssuer, new_client
from trio_ws_gateway.auth.keys import BadKeySet, KeySet
from trio_ws_gateway.checking.findings import Finding, Status, Trouble, quoted
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.diagnosis.spans import span
from trio_ws_gateway.diagnosis.unreachable import ADVICE, TLS_REASONS, Reason, reason_of, refused, words_for
from trio_ws_gateway.wire import jwa

SHOWN_KEYS = 4
LONGEST_KID = 200  # to be compared with that of a token, so whole wherever it is one
CLOCK_GRAIN_SECONDS = 2  # a Date header counts whole seconds, and was written before it was read

_VANISHES = "Packets to it vanish: a firewall drops them, or it is an address of nobody."
_HANGS = "The server there hangs, or its port is one of TLS, or none of HTTP: look at its log."
_FROM_METADATA = "The provider's metadata names this address: is it wrong from here, set JWKS_URL beside OIDC_ISSUER."
_ADVICE = ADVICE | {
    Reason.CUT: "A proxy there has no backend, or TLS is on one side only: https:// speaks it, http:// does not.",
    Reason.UNTRUSTED: "An authority of your own goes into a PEM file that the variable SSL_CERT_FILE names,"
    " together with the others that are needed; UPSTREAM_CA_FILE is for upstreams only.",
    Reason.NOT_TLS: "Is that port one of plain http://, or behind a proxy that is not there yet?",
}
_BY_STATUS = {
    401: "The provider's keys are public: this is another page, or a proxy that wants to know who asks.",
    403: "The provider's keys are public: this is another page, or a proxy that wants to know who asks.",
    404: "The path is wrong. Keycloak: https://host/realms/<realm>/protocol/openid-connect/certs for the keys,"
    " https://host/realms/<realm> for the issuer (before version 17 with /auth before /realms).",
}
_EMPTY = "The provider publishes no key there: is it the right realm or tenant, and has it been set up?"
_REDIRECTED = "Follow it by hand (curl -LI), and set the address at its end: the gateway lets nobody lead it elsewhere."


@frozen
class _Heard:
    """What was asked for, how far that went, and what the answers said beside their documents."""

    clock: Callable[[], float]
    asked: list[httpx.URL] = field(factory=list)
    connected: list[httpx.URL] = field(factory=list)
    urls: list[httpx.URL] = field(factory=list)
    statuses: list[int] = field(factory=list)
    types: list[str] = field(factory=list)
    locations: list[str] = field(factory=list)
    ahead_seconds: list[float] = field(factory=list)  # by how much our clock is ahead of the server's

    async def note_request(self, request: httpx.Request) -> None:
        async def trace(event: str, _info: object) -> None:
            if event == "connection.connect_tcp.complete":
                self.connected.append(request.url)

        self.asked.append(request.url)
        request.extensions["trace"] = trace

    async def note(self, response: httpx.Response) -> None:
        self.urls.append(response.url)
        self.statuses.append(response.status_code)
        self.types.append(response.headers.get("Content-Type", ""))
        self.locations.append(response.headers.get("Location", ""))
        try:
            then = parsedate_to_datetime(response.headers["Date"]).timestamp()
            then += float(response.headers.get("Age", 0))  # what a cache has kept tells an old time
        except (KeyError, ValueError):
            return
        self.ahead_seconds.append(self.clock() - then)

    @property
    def follows_metadata(self) -> bool:
        """Whether there was a document, and it led to what was asked for last."""
        return httpx.codes.OK in self.statuses and len(self.asked) > 1 + self.statuses.index(httpx.codes.OK)

    @property
    def has_document(self) -> bool:
        """Whether what was asked for last came."""
        return len(self.statuses) == len(self.asked) and self.statuses[-1:] == [httpx.codes.OK]

    def silence(self, within: str) -> Trouble:
        """What was asked for last did not come in time."""
        place = _without_query(str(self.asked[-1])) if self.asked else "nothing was asked for"
        if len(self.statuses) == len(self.asked):
            return Trouble(f"{place}: answers, but its document has no end {within}", "It is slow, or no document.")
        if len(self.connected) == len(self.asked):
            return Trouble(f"{place}: takes the connection, but answers nothing {within}", _HANGS)
        return Trouble(f"{place}: no connection {within}", _VANISHES)


async def check_keys(
    settings: Settings, source: KeySource, timeout_seconds: float, *, clock: Callable[[], float] = time.time
) -> list[Finding]:
    """Of the keys, and of the clock where the provider tells the time."""
    heard = _Heard(clock)
    keys = None
    try:
        async with new_client() as client:
            client.event_hooks = {"request": [heard.note_request], "response": [heard.note]}
            with trio.move_on_after(timeout_seconds):
                try:
                    keys = await source.fetch(client)
                except FetchFailed as failure:
                    raise await _explained(failure, settings, heard) from failure
        if keys is None:
            raise heard.silence(f"within {timeout_seconds:g} s")
        shown = _described(keys, _without_query(str(heard.urls[-1])))
        findings = [Finding("keys", Status.OK, shown)]
    except Trouble as trouble:
        was_misled = heard.follows_metadata and not heard.has_document
        advice = f"{_FROM_METADATA} {trouble.advice}" if was_misled else trouble.advice
        findings = [evolve(trouble.found("keys"), advice=advice)]
    return [*findings, *clock_findings(heard.ahead_seconds[:1], settings.jwt_leeway_seconds)]


async def check_issuer(settings: Settings, timeout_seconds: float) -> list[Finding]:
    """Whether JWT_EXPECTED_ISSUER is how the provider calls itself, where it says so: a slash too many, and no token
    is accepted. Where keys come from JWKS_URL the gateway has no need to ask, so silence is no finding."""
    expected = settings.jwt_expected_issuer or ""
    if settings.jwks_url is None or not expected.startswith(("https://", "http://")):
        return []
    try:
        source = KeySource(issuer=expected, algorithms=jwa.ALGORITHMS)
    except ValueError:
        return []
    with trio.move_on_after(timeout_seconds):
        async with new_client() as client:
            try:
                await source.fetch(client)
            except OtherIssuer as other:
                said = f"the provider there calls itself {quoted(other.said)}"
                detail = f"JWT_EXPECTED_ISSUER is {quoted(expected)}, but {said}"
                advice = "Take the provider's very words; a slash at the end counts too."
                return [Finding("issuer", Status.WARNING, detail, advice)]
            except FetchFailed:
                return []
        return [Finding("issuer", Status.OK, f"the provider calls itself {quoted(expected)} too")]
    return []


def clock_findings(ahead_seconds: list[float], leeway_seconds: float) -> list[Finding]:
    """What to think of a clock that differs by so much; nothing where nobody tells the time."""
    findings = []
    for ahead in ahead_seconds:
        by = f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the provider's"
        if abs(ahead) <= max(leeway_seconds, CLOCK_GRAIN_SECONDS):
            detail = "agrees with the provider's" if abs(ahead) <= CLOCK_GRAIN_SECONDS else f"{by}, within the leeway"
            findings.append(Finding("clock", Status.OK, detail))
        else:
            effect = "good tokens count as expired" if ahead > 0 else "fresh tokens count as not valid yet"
            detail = f"this machine's clock is {by}, JWT_LEEWAY_SECONDS allows {leeway_seconds:g}: {effect}"
            findings.append(Finding("clock", Status.WARNING, detail, "Set the clock (NTP), here or there."))
    return findings


async def _explained(failure: FetchFailed, settings: Settings, heard: _Heard) -> Trouble:
    """The failure in an operator's words."""
    name = "JWKS_URL" if settings.jwks_url is not None else "jwks_uri" if heard.follows_metadata else "OIDC_ISSUER"
    detail, reason = f"{failure.url}: {failure}", reason_of(failure)
    if isinstance(failure.__context__, trio.TooSlowError):
        return heard.silence(f"within {DOCUMENT_SECONDS:g} s")
    if isinstance(failure, OtherIssuer):
        says = f"it is the metadata of {quoted(failure.said)}, not of {quoted(settings.oidc_issuer)}"
        return Trouble(f"{failure.url}: {says}", "Set OIDC_ISSUER to its very words; a slash at the end counts too.")
    if reason is not Reason.OTHER:
        return _unreachable(failure, reason, name, _without_query(str(heard.asked[-1])))
    if "none of its 0 keys" in str(failure):
        return Trouble(f"{failure.url}: its key set is empty, so no token can be verified", _EMPTY)
    if isinstance(failure.__context__, BadKeySet) and "none of its" in str(failure):
        return await _no_use(failure, settings)
    status, content_type = (heard.statuses[-1], heard.types[-1]) if heard.statuses else (httpx.codes.OK, "")
    if status >= 500:
        return Trouble(detail, "The provider, or the proxy in front of it, is not well: look at its log.")
    if 300 <= status < 400:
        return Trouble(f"{detail}, to {quoted(_without_query(heard.locations[-1]))}", _REDIRECTED)
    if status != httpx.codes.OK:
        return Trouble(detail, _BY_STATUS.get(status, f"Is {name} right?"))
    if not heard.statuses:
        return Trouble(detail, f"What listens there speaks no HTTP, or hangs up on it: is the port right in {name}?")
    if "html" in content_type:
        page = f"{failure.url}: a web page ({quoted(content_type)}), not JSON"
        return Trouble(
            page, f"{name} leads to a page for people, such as a login or a console: see the provider's manual."
        )
    if "no list named keys" in str(failure):
        advice = "That may be the metadata: set JWKS_URL to its `jwks_uri`, or OIDC_ISSUER to its `issuer` instead."
        return Trouble(detail, advice)
    return Trouble(detail, f"Is {name} right? Look at what is there: curl -L {failure.url}")


def _unreachable(failure: FetchFailed, reason: Reason, name: str, asked: str) -> Trouble:
    """``asked``: what could not be reached, which a redirect of what was to be fetched may have led to."""
    url = urlsplit(asked)
    place = asked if asked == failure.url else f"{failure.url} redirects to {asked}"
    host, port, advice = url.hostname or "", url.port or (443 if url.scheme == "https" else 80), _ADVICE.get(reason, "")
    if (proxy := _proxy_for(url)) is not None and reason not in TLS_REASONS:
        proxy_host = proxy.hostname or ""
        words = words_for(failure, proxy_host, proxy.port or 80)
        advice = f"{proxy_host} is the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; NO_PROXY names who needs none."
        return Trouble(f"{place}, through a proxy: {words}", advice)
    if asked != failure.url:
        advice = _REDIRECTED
    elif reason is Reason.REFUSED:
        advice = refused(f"Does the provider run, and is the port right in {name}?", host)
    return Trouble(f"{place}: {words_for(failure, host, port)}", advice)


def _proxy_for(url: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for it: httpx goes by the same variables."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


async def _no_use(failure: FetchFailed, settings: Settings) -> Trouble:
    """Keys are there, but not for JWT_VALID_ALGORITHMS: see what they would be for."""
    detail = f"{failure.url}: {failure} (JWT_VALID_ALGORITHMS)"
    source = wiring.key_source(evolve(settings, jwt_valid_algorithms=jwa.ALGORITHMS))
    try:
        async with new_client() as client:
            keys = await source.fetch(client) if source is not None else KeySet()
    except FetchFailed:
        return Trouble(detail, "No key there is of any use: RSA below 2048 bits, symmetric, or not for signatures.")
    others = ", ".join(keys.of_algorithm)
    return Trouble(detail, f"They are for {others}: name in JWT_VALID_ALGORITHMS what the provider signs tokens with.")


def _described(keys: KeySet, url: str) -> str:
    count = len({id(key) for found in keys.of_algorithm.values() for key in found})
    shown = [f"{quoted(kid, LONGEST_KID)} for {', '.join(algorithms)}" for kid, algorithms in keys.by_kid.items()]
    if not shown:
        shown = [f"without a kid, for {', '.join(keys.of_algorithm)}"]
    more = f"; and {len(shown) - SHOWN_KEYS} more" if len(shown) > SHOWN_KEYS else ""
    return f"{count} usable key{'s' if count > 1 else ''} at {url}: {'; '.join(shown[:SHOWN_KEYS])}{more}"


def _without_query(url: str) -> str:
    return url.partition("?")[0]
