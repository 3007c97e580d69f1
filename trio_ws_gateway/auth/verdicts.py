"""Which tokens were found to be signed, and with which key. Pure; ``now`` is passed in, in seconds since 1970.

A client that comes again with its token spares the signature, the dearest part of verifying, and nothing else:
what depends on the time, the settings or the key set is asked every time. A token is known by the hash of all of
it. Threat: by its subject and ``jti`` a forged one would be known too. Only good signatures are kept, so
that nobody can crowd them out with junk.
"""

import hashlib
from collections import OrderedDict
from typing import Final

from attrs import frozen

from trio_ws_gateway.auth.keys import PublicKey


@frozen
class _Verdict:
    key: PublicKey
    expires_at: float


class Verdicts:
    """At most ``size`` of them, some 350 bytes each; those that were asked for last stay longest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._of: OrderedDict[bytes, _Verdict] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def signer(self, token: str, now: float) -> PublicKey | None:
        """The key that the token is signed with, ``None`` where that is not known, or no more once it has expired.

        Whether that key is still to be believed is for the caller to say.
        """
        if not self._of:
            return None
        name = _name(token)
        verdict = self._of.get(name)
        if verdict is None:
            return None
        if now >= verdict.expires_at:
            del self._of[name]
            return None
        self._of.move_to_end(name)
        return verdict.key

    def keep(self, token: str, key: PublicKey, expires_at: float) -> None:
        """The token is signed with that key; its ``exp`` is the last moment at which that is of interest."""
        if not self._size:
            return
        name = _name(token)
        self._of[name] = _Verdict(key, expires_at)
        self._of.move_to_end(name)
        if len(self._of) > self._size:
            self._of.popitem(last=False)


NO_VERDICTS: Final = Verdicts(0)


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
