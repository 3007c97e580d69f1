"""Every reason why a session is refused or ends: one enum, one table.

A row says what it means, and what each party hears: the HTTP status before the 101, the close code
and reason after it, the CONNACK of a client that still waits for one, the DISCONNECT of an MQTT 5
client in mid-session, the close toward the upstream. ``farewell`` and the protocol adapters turn rows
into bytes; nobody else does. This module knows no wire format.

Only close codes that libraries accept are here (1014 is refused by wsproto and gorilla).
"""

from enum import Enum

from attrs import frozen


class Counts(Enum):
    """The counter that a cause belongs to, beside ``ws_session_ends_total``."""

    NOTHING = "nothing"
    AUTH_FAILURE = "ws_auth_failures_total"
    PROXY_ERROR = "ws_proxy_errors_total"
    RATE_LIMIT = "ws_rate_limit_violations_total"
    REVOCATION = "ws_revocations_total"


@frozen(kw_only=True)
class Row:
    """What one cause means, to people and on each wire.

    ``meaning`` is a sentence; ``advice``, for whoever runs the gateway, one or two where that helps.
    ``http``: status before the 101. ``close`` and ``reason``: the Close frame for the client.
    ``connack3``, ``connack5``: return code (MQTT 3.1.1 3.2.2.3) and reason code (MQTT 5.0 3.2.2.2).
    ``disconnect5``: reason code (MQTT 5.0 3.14.2.1). ``upstream_close``: close code for the
    upstream, ``None`` where its TCP connection is dropped instead. ``fires_will``: whether an MQTT
    client's will may fire. ``retry``: the client is told to come again (``Retry-After``).
    Everything that is ``None`` is not said.
    """

    meaning: str
    advice: str = ""
    http: int | None = None
    close: int | None = None
    reason: str = ""
    connack3: int | None = None
    connack5: int | None = None
    disconnect5: int | None = None
    upstream_close: int | None = 1001
    fires_will: bool = True
    retry: bool = False
    counts: Counts = Counts.NOTHING


class Cause(Enum):
    """A cause; its ``value`` is the word for logs and for the label ``cause``, its ``row`` the rest."""

    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UPGRADE_REQUIRED = "upgrade_required"
    HEAD_TOO_BIG = "head_too_big"
    BODY_NOT_TAKEN = "body_not_taken"
    BAD_FIRST_MESSAGE = "bad_first_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    ILLEGAL_FRAME = "illegal_frame"
    NO_TOKEN = "no_token"
    MALFORMED_TOKEN = "malformed_token"
    INVALID_TOKEN = "invalid_token"
    FORBIDDEN = "forbidden"
    KEYS_UNAVAILABLE = "keys_unavailable"
    NOTHING_SAID = "nothing_said"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    OVERLOADED = "overloaded"
    RATE_LIMITED = "rate_limited"
    MESSAGE_TOO_BIG = "message_too_big"
    UPSTREAM_MESSAGE_TOO_BIG = "upstream_message_too_big"
    IDLE = "idle"
    TOO_SLOW = "too_slow"
    TOKEN_EXPIRED = "token_expired"
    SESSION_TOO_OLD = "session_too_old"
    TOKEN_REVOKED = "token_revoked"
    SESSION_CUT = "session_cut"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    CIRCUIT_OPEN = "circuit_open"
    UPSTREAM_LOST = "upstream_lost"
    DRAINING = "draining"
    FAULT = "fault"
    CLOSED_BY_CLIENT = "closed_by_client"
    CLOSED_BY_UPSTREAM = "closed_by_upstream"
    CLIENT_LOST = "client_lost"

    @property
    def row(self) -> Row:
        return TABLE[self]


TABLE: dict[Cause, Row] = {
    Cause.BAD_REQUEST: Row(
        meaning="The request cannot be read, or says one thing twice.",
        advice="`detail` names the rule; a proxy in between may have rewritten the request.",
        http=400,
    ),
    Cause.NOT_FOUND: Row(
        meaning="The path is not `WS_PATH` and no page of the gateway's own.",
        advice="Compare what clients ask for, and what a proxy makes of it, with `WS_PATH`.",
        http=404,
    ),
    Cause.METHOD_NOT_ALLOWED: Row(
        meaning="The path is right, the method is neither GET nor HEAD.",
        http=405,
    ),
    Cause.UPGRADE_REQUIRED: Row(
        meaning="A request for `WS_PATH` asks for no WebSocket of version 13.",
        advice="A proxy that does not pass `Upgrade` and `Connection` on makes every session look like this.",
        http=426,
    ),
    Cause.HEAD_TOO_BIG: Row(
        meaning="The request head has more than 16 KiB, or too many headers.",
        advice="Mostly these are cookies, or a token that lists hundreds of groups.",
        http=431,
    ),
    Cause.BODY_NOT_TAKEN: Row(
        meaning="The request announces a body.",
        http=413,
    ),
    Cause.BAD_FIRST_MESSAGE: Row(
        meaning="The first message is one that no protocol begins with, or a malformed CONNECT.",
        advice="`detail` names the rule.",
        close=1002,
        reason="Bad CONNECT",
        connack5=0x81,
    ),
    Cause.UNSUPPORTED_VERSION: Row(
        meaning="The client speaks an MQTT that is neither 3.1 nor 3.1.1 nor 5.",
        close=1002,
        reason="Unsupported protocol version",
        connack3=0x01,
        connack5=0x84,
    ),
    Cause.ILLEGAL_FRAME: Row(
        meaning="Client or upstream broke the WebSocket protocol (RFC 6455).",
        advice="`detail` says which side, and which rule.",
        close=1002,
        reason="Protocol error",
        disconnect5=0x82,
        upstream_close=1002,
    ),
    Cause.NO_TOKEN: Row(
        meaning="There is a token neither in the request nor in the first message.",
        advice=(
            "Look where the client puts it; a cookie counts only with `WS_ALLOWED_ORIGINS`, a query parameter "
            "only by the names in `JWT_QUERY_PARAMETER`."
        ),
        http=401,
        close=1008,
        reason="Token missing",
        connack3=0x05,
        connack5=0x87,
        counts=Counts.AUTH_FAILURE,
    ),
    Cause.MALFORMED_TOKEN: Row(
        meaning="What stands in the token's place is no JWT.",
        advice=(
            "Opaque access tokens look like this: have the provider issue JWTs. `detail` names the part that "
            "cannot be read."
        ),
        http=401,
        close=1008,
        reason="Malformed JWT",
        connack3=0x04,
        connack5=0x86,
        disconnect5=0x87,
        counts=Counts.AUTH_FAILURE,
    ),
    Cause.INVALID_TOKEN: Row(
        meaning="The token is a JWT that is not believed: expired, not for us, or not signed by the provider's keys.",
        advice=(
            "`detail` names the rule; compare the token with `JWT_EXPECTED_ISSUER`, `JWT_EXPECTED_AUDIENCE` and "
            "`JWT_VALID_ALGORITHMS`. Where all are expired, look at the clocks."
        ),
        http=401,
        close=1008,
        reason="JWT invalid or expired",
        connack3=0x05,
        connack5=0x87,
        disconnect5=0x87,
        counts=Counts.AUTH_FAILURE,
    ),
    Cause.FORBIDDEN: Row(
        meaning="The origin is not allowed, or the token does not allow this MQTT user name or client id.",
        advice="`detail` says which; see `WS_ALLOWED_ORIGINS`, `MQTT_USERNAME_CLAIM` and `MQTT_CLIENT_ID_PREFIX`.",
        http=403,
        close=1008,
        reason="Forbidden",
        connack3=0x05,
        connack5=0x87,
        disconnect5=0x87,
    ),
    Cause.KEYS_UNAVAILABLE: Row(
        meaning="The provider's keys have not been fetched once, so that no token can be verified.",
        advice=(
            "The log lines `keys not fetched` say why; `JWKS_URL` or `OIDC_ISSUER` must be reachable from the gateway."
        ),
        http=503,
        close=1013,
        reason="Try again later",
        connack3=0x03,
        connack5=0x88,
        retry=True,
    ),
    Cause.NOTHING_SAID: Row(
        meaning="The request head, or the first message, was not there in time.",
        advice=(
            "See `WS_HANDSHAKE_TIMEOUT_SECONDS` and `WS_AUTH_TIMEOUT_SECONDS`; load balancers that only open a "
            "connection look like this."
        ),
        http=408,
        close=1008,
        reason="Authentication timeout",
    ),
    Cause.TOO_MANY_CONNECTIONS: Row(
        meaning="There are as many connections or sessions as are allowed, of this client or in all.",
        advice="`detail` says which, [limits.md](limits.md) where it is set; behind a proxy see `TRUSTED_PROXIES`.",
        http=429,
        close=1013,
        reason="Too many connections",
        connack3=0x03,
        connack5=0x97,
        disconnect5=0x97,
        retry=True,
    ),
    Cause.OVERLOADED: Row(
        meaning="So many clients came at once that this one could not be let in in time.",
        advice=(
            "[operations.md](operations.md) has what happens when thousands come at once; more workers or gateways "
            "let them in faster."
        ),
        http=503,
        retry=True,
    ),
    Cause.RATE_LIMITED: Row(
        meaning="The client sent more messages, bytes or packets than it may.",
        advice=(
            "`detail` says which, [limits.md](limits.md) where it is set; before the first message pings and pongs are "
            "limited."
        ),
        close=1008,
        reason="Rate limit exceeded",
        disconnect5=0x96,
        counts=Counts.RATE_LIMIT,
    ),
    Cause.MESSAGE_TOO_BIG: Row(
        meaning="A message of the client's is longer than it may be.",
        advice="See `WS_MAX_MESSAGE_BYTES`, and for the first message `WS_FIRST_MESSAGE_MAX_BYTES`.",
        close=1009,
        reason="Message too big",
        disconnect5=0x95,
    ),
    Cause.UPSTREAM_MESSAGE_TOO_BIG: Row(
        meaning="A message of the upstream's is longer than it may be.",
        advice="See `WS_MAX_MESSAGE_BYTES`.",
        close=1001,
        reason="Upstream message too big",
        disconnect5=0x80,
        upstream_close=1009,
        counts=Counts.PROXY_ERROR,
    ),
    Cause.IDLE: Row(
        meaning="A side was silent for too long, or no data passed for too long.",
        advice=(
            "See `WS_IDLE_TIMEOUT_SECONDS`, `WS_PING_INTERVAL_SECONDS` and `WS_DATA_IDLE_TIMEOUT_SECONDS`; "
            "`detail` says which side. Many of them mean lines that break without a word."
        ),
        close=1001,
        reason="Idle timeout",
        disconnect5=0x8D,
    ),
    Cause.TOO_SLOW: Row(
        meaning="The client took nothing for too long while data waited for it.",
        advice="See `WS_WRITE_TIMEOUT_SECONDS`.",
        close=1008,
        reason="Too slow",
    ),
    Cause.TOKEN_EXPIRED: Row(
        meaning="The token of a live session expired, and no newer one came.",
        advice="Ordinary where clients come again with a newer token; [tokens.md](tokens.md) has how they spare that.",
        close=1008,
        reason="Token expired",
        disconnect5=0x87,
    ),
    Cause.SESSION_TOO_OLD: Row(
        meaning="The session lived as long as any may.",
        advice="See `MAX_SESSION_SECONDS`.",
        close=1008,
        reason="Session too old",
        disconnect5=0x87,
    ),
    Cause.TOKEN_REVOKED: Row(
        meaning="The token was taken back, or its session was.",
        advice="`detail` says by which of its claims; empty: the session was live. See [admin.md](admin.md).",
        http=401,
        close=1008,
        reason="Token revoked",
        connack3=0x05,
        connack5=0x87,
        disconnect5=0x98,
        counts=Counts.REVOCATION,
    ),
    Cause.SESSION_CUT: Row(
        meaning="An operator cut this session; its token stays good.",
        advice="`DELETE /admin/sessions/{id}`, see [admin.md](admin.md).",
        http=403,
        close=1008,
        reason="Session cut",
        connack3=0x05,
        connack5=0x87,
        disconnect5=0x98,
    ),
    Cause.UPSTREAM_UNAVAILABLE: Row(
        meaning="The upstream could not be reached, or declined the WebSocket.",
        advice="`detail` says how far it went; `trio-ws-gateway check` tries every upstream.",
        http=502,
        close=1013,
        reason="Upstream unavailable",
        connack3=0x03,
        connack5=0x88,
        counts=Counts.PROXY_ERROR,
    ),
    Cause.CIRCUIT_OPEN: Row(
        meaning="The upstream failed so often that it is left alone for a while.",
        advice=(
            "See `CB_FAILURE_THRESHOLD` and `CB_OPEN_TIMEOUT_SECONDS`; the lines before, with "
            "`upstream_unavailable`, say what was wrong."
        ),
        http=503,
        close=1013,
        reason="Try again later",
        connack3=0x03,
        connack5=0x88,
        retry=True,
        counts=Counts.PROXY_ERROR,
    ),
    Cause.UPSTREAM_LOST: Row(
        meaning="The upstream's connection broke, or it took nothing for too long.",
        advice="The upstream's own log says why it went.",
        close=1011,
        reason="Upstream connection lost",
        connack3=0x03,
        connack5=0x88,
        disconnect5=0x80,
        upstream_close=None,
        counts=Counts.PROXY_ERROR,
    ),
    Cause.DRAINING: Row(
        meaning="The gateway is going down and asks its clients to come again.",
        http=503,
        close=1012,
        reason="Service restart",
        connack3=0x03,
        connack5=0x88,
        disconnect5=0x8B,
        fires_will=False,
        retry=True,
    ),
    Cause.FAULT: Row(
        meaning="A mistake of the gateway's own.",
        advice="The line `fault` with the same `session` has the traceback: report it.",
        http=500,
        close=1011,
        reason="Internal error",
        connack3=0x03,
        connack5=0x80,
        disconnect5=0x83,
        counts=Counts.PROXY_ERROR,
    ),
    Cause.CLOSED_BY_CLIENT: Row(
        meaning="The client closed the session: the ordinary end.",
        upstream_close=None,
    ),
    Cause.CLOSED_BY_UPSTREAM: Row(
        meaning="The upstream closed the session, with a code that passed to the client.",
        advice="Where this comes at once, the upstream does not accept the session: look at its log.",
        upstream_close=None,
    ),
    Cause.CLIENT_LOST: Row(
        meaning="The client's connection broke without a Close.",
        advice="Ordinary for devices that move.",
        upstream_close=None,
    ),
}


Words = bytes | str
"""A message in a protocol's own words: ``str`` for a text message, ``bytes`` for a binary one; empty for none."""


class Refused(Exception):
    """A session that shall not be. ``detail`` is for the log and must never hold a secret.

    ``last_words`` is what the protocol wants said before the Close frame, where an adapter refuses
    a client whose greeting never became a value (a CONNACK for half a CONNECT).
    """

    def __init__(self, cause: Cause, detail: str = "", *, last_words: Words = b"") -> None:
        super().__init__(cause, detail)
        self.cause = cause
        self.detail = detail
        self.last_words = last_words

    def __str__(self) -> str:
        return f"{self.cause.value}: {self.detail}" if self.detail else self.cause.value
