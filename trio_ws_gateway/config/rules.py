"""What settings mean together: contradictions that stop the start, and what was set in vain.

Pure: settings in, words out. No value is repeated here, for any of them may hold a secret.
"""

from collections.abc import Iterator, Mapping

from attrs import frozen

from trio_ws_gateway.config.limit_rules import RateLimit
from trio_ws_gateway.config.settings import Settings

MEANINGLESS = {
    "INGRESS_HOST": "the ingress knows its own name",
    "SHUTDOWN_HARD_LIMIT": "GRACEFUL_DRAIN_TIMEOUT_SECONDS is the limit",
    "POSTGRES_DSN": "nothing is kept in PostgreSQL",
}
"""Names of the Go gateway that are accepted and mean nothing here, and why."""


@frozen
class Contradiction:
    """Settings that are wrong together: the name to change first; what is wrong with it, and what would be right."""

    names: tuple[str, ...]
    wrong: str
    right: str


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    if settings.jwks_url is None and settings.oidc_issuer is None and not settings.allow_anonymous:
        yield Contradiction(
            ("JWKS_URL", "OIDC_ISSUER", "ALLOW_ANONYMOUS"),
            "is unset, and so is OIDC_ISSUER: no token could be verified",
            "the URL of the provider's keys; or set OIDC_ISSUER to find it; or ALLOW_ANONYMOUS=true to let anybody in",
        )
    if settings.ws_ping_interval_seconds >= settings.ws_idle_timeout_seconds:
        yield Contradiction(
            ("WS_PING_INTERVAL_SECONDS", "WS_IDLE_TIMEOUT_SECONDS"),
            "is not below WS_IDLE_TIMEOUT_SECONDS: a healthy side would be cut before it is asked",
            f"below {settings.ws_idle_timeout_seconds:g}, or 0 for no pings",
        )
    if settings.oidc_client_id is not None and settings.jwks_url is None and settings.oidc_issuer is None:
        yield Contradiction(
            ("OIDC_CLIENT_ID", "JWKS_URL", "OIDC_ISSUER"),
            "is set, but neither JWKS_URL nor OIDC_ISSUER is: no logout could be verified",
            "unset where there is no provider",
        )
    if settings.admin_token is not None and settings.admin_token_file is not None:
        yield Contradiction(
            ("ADMIN_TOKEN_FILE", "ADMIN_TOKEN"), "is set, and so is ADMIN_TOKEN", "unset, or set without ADMIN_TOKEN"
        )
    open_door = settings.admin_token is None and settings.admin_token_file is None
    if settings.admin_listen is not None and not settings.admin_listen.is_loopback and open_door:
        yield Contradiction(
            ("ADMIN_LISTEN", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE"),
            "is an address that others can reach, and there is no ADMIN_TOKEN: anybody could cut any session",
            "a loopback address such as 127.0.0.1:8081; or set ADMIN_TOKEN, or ADMIN_TOKEN_FILE",
        )
    for limit in RateLimit:
        per_second, burst = f"{limit.value}_PER_SECOND", f"{limit.value}_BURST"
        if getattr(settings, burst.lower()) is not None and getattr(settings, per_second.lower()) is None:
            yield Contradiction(
                (burst, per_second),
                f"is set, but {per_second} is not: nothing would refill the bucket",
                f"set together with {per_second}, or not at all",
            )
    if settings.ready_needs_upstreams and settings.cb_healthcheck_interval_seconds == 0:
        yield Contradiction(
            ("READY_NEEDS_UPSTREAMS", "CB_HEALTHCHECK_INTERVAL_SECONDS"),
            "is set, but CB_HEALTHCHECK_INTERVAL_SECONDS is 0: nothing would ever be found healthy",
            "unset where upstreams are not probed",
        )
    if not settings.upstreams.keys() >= set(settings.ready_needs_upstreams):
        yield Contradiction(
            ("READY_NEEDS_UPSTREAMS",), "names a protocol without an upstream", " or ".join(settings.upstreams)
        )
    if not settings.upstreams.keys() >= {name for rule in settings.limits for name in rule.protocols}:
        yield Contradiction(("LIMITS",), "names a protocol without an upstream", " or ".join(settings.upstreams))
    if 0 < settings.ws_max_message_bytes < settings.ws_first_message_max_bytes:
        yield Contradiction(
            ("WS_FIRST_MESSAGE_MAX_BYTES", "WS_MAX_MESSAGE_BYTES"),
            "is above WS_MAX_MESSAGE_BYTES: the first message is a message too",
            f"{settings.ws_max_message_bytes} or less",
        )


def warnings_for(settings: Settings, given: Mapping[str, str]) -> Iterator[str]:
    """What was set and does nothing. ``given``: the names that were set, with their texts.

    What does something that may be dangerous is in ``checking.dangers``.
    """
    for name, why in MEANINGLESS.items():
        if name in given:
            yield f"{name} is accepted but means nothing here: {why}"
    if given.get("JWT_CACHE_STORE", "").lower() == "postgres":
        yield "JWT_CACHE_STORE=postgres is accepted but means `memory` here: nothing is kept in PostgreSQL"
    if settings.jwt_cache_store == "redis" and settings.redis_url is None:
        yield "JWT_CACHE_STORE=redis needs REDIS_URL, which is unset: what is known of tokens stays in memory"
