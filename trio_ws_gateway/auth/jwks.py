"""Where keys come from: a JWKS URL, or an issuer that names one (OpenID Connect Discovery).

A service. ``run`` makes every request itself, one at a time: at the start, again before the keys grow old, and when a
token names an unknown key. Good keys are kept until better ones are here, however long the provider is away. Knows
nothing of tokens. All times are Trio's.
"""

import json
import random
from collections.abc import Sequence
from typing import Any, Final

import httpx
import structlog
import trio

from trio_ws_gateway.auth.keys import BadKeySet, KeySet, parse_key_set

log: Final[structlog.typing.FilteringBoundLogger] = structlog.get_logger(__name__)


class FetchFailed(Exception):
    """A document could not be had, or is not what it should be. ``url`` and the message are fit for a log."""

    def __init__(self, url: httpx.URL, reason: str) -> None:
        super().__init__(reason)
        self.url = _public(url)


class OtherIssuer(FetchFailed):
    """The metadata is of another issuer; ``said`` is whom it names, whatever that is."""

    def __init__(self, url: httpx.URL, said: object) -> None:
        super().__init__(url, "it speaks for another issuer than the configured one")
        self.said = said


DISCOVERY_PATH = "/.well-known/openid-configuration"
DOCUMENT_SECONDS = 5.0  # for one document, redirects and all; discovery needs two documents
DOCUMENT_MAX_BYTES = 1024 * 1024
MAX_REDIRECTS = 3
# Not compressed, for a megabyte could unpack to a gigabyte.
HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "trio-ws-gateway"}
REFETCH_INTERVAL_SECONDS = 10.0  # anybody can invent a kid: the provider must not feel it
REFETCH_WAIT_SECONDS = 5.0  # a client with an unknown kid waits no longer, though the fetch goes on
FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0


class KeySource:
    """The provider's current keys. Give it either ``jwks_url`` or ``issuer``; ``ValueError`` where that is no URL.

    Nothing happens until ``run`` runs; it belongs in the caller's nursery and ends by cancellation.
    """

    def __init__(
        self,
        *,
        jwks_url: str | None = None,
        issuer: str | None = None,
        algorithms: Sequence[str],
        ttl_seconds: float = 600.0,
    ) -> None:
        if (jwks_url is None) == (issuer is None):
            raise ValueError("either jwks_url or issuer")
        self._jwks_url = _url(jwks_url or "")  # from an issuer: what it said last, empty until then
        self._issuer = issuer
        self._discovery_url = None if issuer is None else _url(issuer.rstrip("/") + DISCOVERY_PATH)
        self._algorithms = algorithms
        self._ttl_seconds = ttl_seconds
        self._current: KeySet | None = None
        self._fetched_at = 0.0
        self._failures = 0  # since the last good fetch
        self._next_refetch_at = float("-inf")
        self._wanted = trio.Event()  # set from when somebody asks for a fetch until it has ended
        self._ended = trio.Event()  # set when the fetch that is wanted has ended, well or badly

    @property
    def current(self) -> KeySet | None:
        return self._current

    @property
    def ready(self) -> bool:
        """Whether there are keys to verify with."""
        return self._current is not None

    def age_seconds(self, now: float) -> float | None:
        """How long ago (``now``: ``trio.current_time()``) the keys were fetched; ``None`` without keys."""
        return None if self._current is None else now - self._fetched_at

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch and fetch again, until cancelled. Started at once: the provider may well come up after us."""
        async with new_client() as client:
            task_status.started()
            while True:
                self._wanted.set()
                try:
                    pause_seconds = await self._refresh(client)
                finally:
                    self._ended.set()
                    self._wanted, self._ended = trio.Event(), trio.Event()
                with trio.move_on_after(pause_seconds):
                    await self._wanted.wait()

    async def fetch(self, client: httpx.AsyncClient) -> KeySet:
        """The keys as they are at this moment, for who asks once: they are not kept. Raises ``FetchFailed``."""
        return await self._fetch_keys(client, await self._find_jwks(client))

    async def refetch_for(self, kid: str | None) -> None:
        """Return when a fetch has been made for the sake of that kid, or when none will be now.

        Whoever asks while one is under way shares it; after one that was asked for there is none for ten seconds.
        A caller that is cancelled, or has waited enough, leaves the fetch to the others.
        """
        if kid is not None and self._current is not None and kid in self._current.by_kid:
            return
        if not self._wanted.is_set():
            if trio.current_time() < self._next_refetch_at:
                return
            self._next_refetch_at = trio.current_time() + REFETCH_INTERVAL_SECONDS
            self._wanted.set()
        with trio.move_on_after(REFETCH_WAIT_SECONDS):
            await self._ended.wait()

    async def _refresh(self, client: httpx.AsyncClient) -> float:
        """Replace the keys by newer ones if those can be had. Returns the seconds to wait until the next try."""
        try:
            url = await self._find_jwks(client)
            keys = await self._fetch_keys(client, url)
        except FetchFailed as failure:
            return self._failed(url=failure.url, reason=str(failure))
        except Exception as error:  # whatever it is: no session ends for what a provider says
            return self._failed(reason=type(error).__name__, exc_info=error)
        if self._current is None or self._failures or self._current.kids != keys.kids:
            log.info("keys fetched", url=_public(url), kids=keys.kids)
        self._current, self._fetched_at, self._failures = keys, trio.current_time(), 0
        return self._pause_seconds()

    def _failed(self, **facts: object) -> float:
        self._failures += 1
        pause_seconds = self._pause_seconds()
        log.warning(
            "keys not fetched",
            **facts,
            next_try_seconds=round(pause_seconds, 1),
            serving="the last good keys" if self.ready else "nobody: there are no keys yet",
        )
        return pause_seconds

    def _pause_seconds(self) -> float:
        """Spread, so that many gateways do not ask in step."""
        longest = self._ttl_seconds
        if self._failures:
            growing = FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 16)
            longest = min(growing, LAST_RETRY_SECONDS, longest)
        return longest * random.uniform(0.8, 1.0)  # noqa: S311 - no secret

    async def _find_jwks(self, client: httpx.AsyncClient) -> httpx.URL:
        """Ask the issuer each time, for its keys may move; where it does not say, they are where they were."""
        if self._issuer is not None and self._discovery_url is not None:
            try:
                self._jwks_url = await _discover(client, self._discovery_url, self._issuer)
            except FetchFailed as failure:
                if not self._jwks_url.host:
                    raise
                log.warning("discovery failed", url=failure.url, reason=str(failure), using=_public(self._jwks_url))
        return self._jwks_url

    async def _fetch_keys(self, client: httpx.AsyncClient, url: httpx.URL) -> KeySet:
        try:
            return parse_key_set(await _fetch(client, url), self._algorithms)
        except BadKeySet as error:
            raise FetchFailed(url, str(error)) from None


def new_client() -> httpx.AsyncClient:
    """What documents are fetched with. The caller closes it."""
    # One deadline covers a whole document, so httpx needs none; no idle connection waits for the next refresh.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=None, limits=limits, headers=HEADERS)  # noqa: S113


async def _discover(client: httpx.AsyncClient, url: httpx.URL, issuer: str) -> httpx.URL:
    """The ``jwks_uri`` of the issuer's metadata (OpenID Connect Discovery 4)."""
    document = await _fetch(client, url)
    try:
        metadata: Any = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise FetchFailed(url, f"not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise FetchFailed(url, "not a JSON object")
    if metadata.get("issuer") != issuer:  # RFC 8414 3.3: else one tenant of a provider could speak for another
        raise OtherIssuer(url, metadata.get("issuer"))
    try:
        jwks_url = _url(metadata.get("jwks_uri", ""))
    except (ValueError, TypeError):
        raise FetchFailed(url, "its jwks_uri is not a URL") from None
    if jwks_url.scheme not in ("http", "https") or not jwks_url.host:
        raise FetchFailed(url, "its jwks_uri is not an http or https URL")
    if url.scheme == "https" != jwks_url.scheme:
        raise FetchFailed(url, "its jwks_uri leaves https")
    return jwks_url


async def _fetch(client: httpx.AsyncClient, url: httpx.URL) -> bytes:
    """The document at that URL, or behind a few redirects."""
    start = url
    try:
        with trio.fail_after(DOCUMENT_SECONDS):
            for _ in range(1 + MAX_REDIRECTS):
                # Credentials travel as a header, never in a URL that httpx may log.
                auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
                async with client.stream("GET", url.copy_with(userinfo=b""), auth=auth) as response:
                    if not response.has_redirect_location:
                        return await _body(response)
                    url = _redirected(url, response.headers["Location"])
            raise FetchFailed(start, f"more than {MAX_REDIRECTS} redirects")
    except trio.TooSlowError:
        raise FetchFailed(start, f"not answered within {DOCUMENT_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: of a host that is no good IDNA
        raise FetchFailed(start, f"{type(error).__name__}: {_reason(error)}") from None


async def _body(response: httpx.Response) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise FetchFailed(response.url, f"status {response.status_code}")
    body = bytearray()
    # Too much of it is cancelled, not left: generators of httpx that are left half read are leaked.
    with trio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > DOCUMENT_MAX_BYTES:
                reading.cancel()
    if len(body) > DOCUMENT_MAX_BYTES:
        raise FetchFailed(response.url, f"more than {DOCUMENT_MAX_BYTES} bytes")
    return bytes(body)


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads: never out of https, and over plain http to the same host only."""
    target = url.join(location)
    secure = target.scheme == "https" and (url.scheme == "https" or target.host == url.host)
    plain = target.scheme == url.scheme == "http" and target.host == url.host
    if not (secure or plain):
        raise FetchFailed(url, "redirected to another host, or out of https")
    return target


def _url(text: str) -> httpx.URL:
    """Raises ``ValueError``. httpx looks at an A-label (IDNA) only when asked for its host, and then raises that."""
    try:
        url = httpx.URL(text)
        _ = url.host
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None
    return url


def _reason(error: BaseException) -> str:
    """What is said of it, by itself or by what lies beneath: of a bad certificate httpx says nothing."""
    beneath = error.__cause__ or error.__context__
    return str(error) or (_reason(beneath) if beneath else "no reason given")


def _public(url: httpx.URL) -> str:
    """The URL without what may be secret in it."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))
