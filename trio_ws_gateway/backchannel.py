"""Logging out at the provider ends sessions here: what ``POST /backchannel-logout`` does (Back-Channel Logout 1.0).

The request comes from anywhere and shows nothing but its token, so what it may cost is bounded before that is looked
at. What is taken back is for others to take back, everywhere: this knows one process and one request.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import structlog
import trio

from trio_ws_gateway.auth.authenticator import Authenticator
from trio_ws_gateway.auth.revocation import Revocation, Revocations, Terms
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.limits.connections import block_of

PER_SECOND, BURST = 10, 100  # of one address: a provider logs out one by one; a signature costs some 50 us
ADDRESSES_MAX = 1000  # that are remembered; further ones share what one has

_OTHERS = ""

RevokeAll = Callable[[list[Revocation]], Awaitable[bool]]
"""Have these be in effect in the whole group, and in other gateways. Whether they are."""


class NotDone(Exception):
    """The logout is not in effect; the message is for the provider's log, and for ours."""


class BackchannelLogout:
    """``client_id``: ours at the provider. ``revocations``: what this process knows."""

    def __init__(
        self,
        authenticator: Authenticator,
        client_id: str,
        terms: Terms,
        revocations: Revocations,
        revoke_all: RevokeAll,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._authenticator = authenticator
        self._client_id = client_id
        self._terms = terms
        self._revocations = revocations
        self._revoke_all = revoke_all
        self._log = log
        self._buckets: dict[str | bytes, TokenBucket] = {}

    async def log_out(self, content_type: str, body: bytes, address: str) -> None:
        """``address``: who asks. Raises ``NotDone``; and ``Refused`` for too many requests, or without keys."""
        now = trio.current_time()
        if not self._bucket(address, now).take(1, now):
            raise Refused(Cause.TOO_MANY_CONNECTIONS, "logouts")
        try:
            logout = await self._authenticator.read_logout(_token(content_type, body), self._client_id, self._terms)
        except Refused as refused:
            if refused.cause is Cause.KEYS_UNAVAILABLE:
                raise
            self._log.warning("logout refused", detail=refused.detail)
            raise NotDone(refused.detail) from None
        if logout.used in self._revocations:
            self._log.warning("logout refused", detail="used before")
            raise NotDone("used before")
        if not await self._revoke_all([logout.revocation, logout.used]):
            raise NotDone("not in effect everywhere")
        self._log.info("logged out", **logout.revocation.to_json())

    def _bucket(self, address: str, now: float) -> TokenBucket:
        """Threat: whoever asks all the time keeps nobody else from asking, least of all the provider."""
        block = block_of(address)
        if block not in self._buckets and len(self._buckets) >= ADDRESSES_MAX:
            self._buckets = {each: bucket for each, bucket in self._buckets.items() if not bucket.is_full(now)}
            if len(self._buckets) >= ADDRESSES_MAX:
                block = _OTHERS
        if block not in self._buckets:
            self._buckets[block] = TokenBucket(rate=PER_SECOND, capacity=BURST, now=now)
        return self._buckets[block]


def _token(content_type: str, body: bytes) -> str:
    """The one that the form holds, and nothing beside it that could be another."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise NotDone("the body must be application/x-www-form-urlencoded")
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=10).get("logout_token", [])
    except ValueError:
        raise NotDone("the body is no form") from None
    if len(found) != 1:
        raise NotDone("the body must hold one logout_token")
    return found[0]
