"""Who a verified token says that the client is. A value and nothing else."""

from attrs import frozen


@frozen(kw_only=True)
class Identity:
    """What later decisions read of a verified token.

    ``issued_at`` and ``expires_at`` are seconds since 1970 (``iat``, ``exp``). ``issuer`` is the
    token's own ``iss``, empty if it has none. ``(issuer, subject)`` names a client: a subject
    alone does not.
    """

    issuer: str
    subject: str
    preferred_username: str | None = None
    issued_at: float | None = None
    expires_at: float
    token_id: str | None = None
    roles: tuple[str, ...] = ()
