"""Who a verified token says that the client is. A value and nothing else."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class Identity:
    """What later decisions read of a verified token.

    ``issued_at`` and ``expires_at`` are seconds since 1970 (``iat``, ``exp``). ``issuer`` is the
    token's own ``iss``, empty if it has none. ``(issuer, subject)`` names a client: a subject
    alone does not. ``session_id``: of the session at the provider (``sid``). ``claims``: those that
    the policy names, as the token has them, unchecked.
    """

    issuer: str
    subject: str
    preferred_username: str | None = None
    issued_at: float | None = None
    expires_at: float
    token_id: str | None = None
    session_id: str | None = None
    roles: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(factory=dict, hash=False)
