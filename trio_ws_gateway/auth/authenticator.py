"""The one question that a session asks: whose token is this?

A service over ``token`` (what is believed), ``jwks`` (with which keys) and ``revocation`` (what was taken back). Every
error becomes a ``Refused`` here, with a detail that is fit for a log.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.auth.jwks import KeySource
from trio_ws_gateway.auth.keys import KeySet
from trio_ws_gateway.auth.logout import Logout, read_logout
from trio_ws_gateway.auth.revocation import Revocations, Terms
from trio_ws_gateway.auth.token import MalformedToken, TokenError, TokenPolicy, UnknownKey, verify
from trio_ws_gateway.auth.verdicts import Verdicts
from trio_ws_gateway.causes import Cause, Refused

T = TypeVar("T")


class Authenticator:
    """Turns tokens into identities. ``clock`` gives seconds since 1970; of so many signatures the verdict is kept.

    Whether a token was revoked is asked of every one, whatever is known of its signature.
    """

    def __init__(
        self,
        *,
        keys: KeySource,
        policy: TokenPolicy,
        revocations: Revocations | None = None,
        verdicts: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._policy = policy
        self._revocations = revocations if revocations is not None else Revocations(0)
        self._verdicts = Verdicts(verdicts)
        self._clock = clock

    async def identify(self, token: str) -> Identity:
        """Whose token it is. Raises ``Refused``: MALFORMED_TOKEN, INVALID_TOKEN, TOKEN_REVOKED or
        KEYS_UNAVAILABLE.

        Sleeps only where keys are missing, and then no longer than one fetch is waited for.
        """
        return await self._with_keys(partial(self._verified, token))

    async def read_logout(self, token: str, client_id: str, terms: Terms) -> Logout:
        """What a logout token takes back. Raises ``Refused`` as ``identify`` does."""
        return await self._with_keys(
            lambda keys: read_logout(token, keys, self._policy, client_id, terms, self._clock())
        )

    async def _with_keys(self, judge: Callable[[KeySet], T]) -> T:
        if not self._keys.ready:
            await self._keys.refetch_for(None)
        try:
            try:
                return judge(self._current())
            except UnknownKey as unknown:
                await self._keys.refetch_for(unknown.kid)
                return judge(self._current())
        except MalformedToken as error:
            raise Refused(Cause.MALFORMED_TOKEN, str(error)) from None
        except TokenError as error:
            raise Refused(Cause.INVALID_TOKEN, str(error)) from None

    def _current(self) -> KeySet:
        keys = self._keys.current
        if keys is None:
            raise Refused(Cause.KEYS_UNAVAILABLE, "no keys of the provider yet")
        return keys

    def _verified(self, token: str, keys: KeySet) -> Identity:
        now = self._clock()
        identity = verify(token, keys, self._policy, now, verdicts=self._verdicts)
        if why := self._revocations.why(identity, now):
            raise Refused(Cause.TOKEN_REVOKED, f"by its {why}")
        return identity
