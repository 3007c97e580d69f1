"""What is legal but dangerous: a table of rows, each a question to the settings, with words and advice.

Pure. Rows that are ``at_start`` are worth a line in the log of each start of the gateway; the others a line to somebody
who asks. No value that may be secret is repeated.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from attrs import frozen

from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.config.loading import Loaded
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.diagnosis.unreachable import is_loopback
from trio_ws_gateway.protocols.mqtt_binding import CLAIMS, Mode, parse_mqtt_credentials

PROXY_CUTS_SECONDS = 60  # nginx's proxy_read_timeout; few cut earlier
LONG_LEEWAY_SECONDS = 300

Answer = bool | str
"""Whether a row holds; a text also fills the ``{}`` in its words."""


@frozen
class Danger:
    """``about``: a setting that must have been set for the row to say anything, where its default is safe."""

    holds: Callable[[Settings], Answer]
    words: str
    advice: str
    at_start: bool = False
    about: str | None = None


def dangers(loaded: Loaded) -> Iterator[Finding]:
    """The rows that hold, in the order of the table."""
    for _, finding in _holding(loaded):
        yield finding


def at_start(loaded: Loaded) -> Iterator[str]:
    """What of it the gateway itself warns of."""
    for danger, finding in _holding(loaded):
        if danger.at_start:
            yield f"{finding.detail}; {finding.advice}"


def _holding(loaded: Loaded) -> Iterator[tuple[Danger, Finding]]:
    for danger in TABLE:
        answer = danger.about in (None, *loaded.given) and danger.holds(loaded.settings)
        if answer:
            words = danger.words.format(answer) if isinstance(answer, str) else danger.words
            yield danger, Finding("settings", Status.WARNING, words, danger.advice)


def _fetches_in_the_clear(settings: Settings) -> Answer:
    named = (("JWKS_URL", settings.jwks_url), ("OIDC_ISSUER", settings.oidc_issuer))
    return next((name for name, url in named if url is not None and url.lower().startswith("http:")), False)


def _passes_anybodys_name(settings: Settings) -> Answer:
    bound = settings.mqtt_username_claim is not None or settings.mqtt_client_id_prefix is not None
    return settings.upstream_mqtt_credentials == "pass" and settings.verifies_tokens and not bound


def _expects_another_issuer(settings: Settings) -> Answer:
    discovers = settings.jwks_url is None and settings.oidc_issuer is not None
    return discovers and settings.jwt_expected_issuer != settings.oidc_issuer


def _serves_anybody(settings: Settings) -> Answer:
    credentials = parse_mqtt_credentials(settings.upstream_mqtt_credentials)
    texts = (credentials.username.text, credentials.password.text, settings.mqtt_client_id_prefix or "")
    return settings.allow_anonymous and credentials.mode is Mode.REPLACE and not any(map(_names_a_claim, texts))


def _shares_client_ids(settings: Settings) -> Answer:
    """``pass`` without any binding has a row of its own."""
    credentials = parse_mqtt_credentials(settings.upstream_mqtt_credentials)
    told_apart = credentials.mode is Mode.PASS or _names_a_claim(credentials.username.text)
    return not told_apart and settings.mqtt_client_id_prefix is None


def _names_a_claim(text: str) -> bool:
    return any(f"{{{name}}}" in text for name in CLAIMS)


def _shows_mqtt_credentials(settings: Settings) -> Answer:
    url = settings.upstream_ws_url
    exposed = not url.secure and not is_loopback(url.host) and settings.upstream_mqtt_credentials != "strip"
    return url.authority if exposed else False


def _shows_raw_token(settings: Settings) -> Answer:
    url = settings.raw_ws_backend_url
    exposed = not url.secure and not is_loopback(url.host) and settings.raw_forward_token
    return url.authority if exposed else False


def _trusts_everybody(settings: Settings) -> Answer:
    networks = settings.trusted_proxies.networks
    v4 = collapse_addresses([network for network in networks if isinstance(network, IPv4Network)])
    v6 = collapse_addresses([network for network in networks if isinstance(network, IPv6Network)])
    return any(network.prefixlen == 0 for network in v4) or any(network.prefixlen == 0 for network in v6)


def _goes_in_circles(settings: Settings) -> Answer:
    here = settings.listen
    for protocol, url in settings.upstreams.items():
        if url.port == here.port and (is_loopback(url.host) or url.host == here.host):
            return protocol
    return False


def _is_silent_too_long(settings: Settings) -> Answer:
    return not 0 < settings.ws_ping_interval_seconds < PROXY_CUTS_SECONDS


def _opens_to_the_machine(settings: Settings) -> Answer:
    open_door = settings.admin_token is None and settings.admin_token_file is None
    return str(settings.admin_listen) if settings.admin_listen is not None and open_door else False


def _revokes_at_one_gateway(settings: Settings) -> Answer:
    revokes = settings.admin_listen is not None or settings.oidc_client_id is not None
    return revokes and settings.redis_url is not None and settings.jwt_cache_store != "redis"


TABLE = (
    Danger(
        lambda settings: settings.allow_anonymous,
        "ALLOW_ANONYMOUS=true: clients without a token are let in",
        "Right where the upstream itself asks who comes, or all may; otherwise leave it out.",
        at_start=True,
    ),
    Danger(
        _fetches_in_the_clear,
        "{} begins with http://: whoever stands between can put keys of their own in",
        "https://; no matter where it stays on one machine, or on a network of your own.",
        at_start=True,
    ),
    Danger(
        lambda settings: settings.verifies_tokens and settings.jwt_expected_issuer is None,
        "JWT_EXPECTED_ISSUER is unset: the issuer of tokens is not checked",
        "Set it to the `iss` of the provider's tokens, or OIDC_ISSUER, which it follows.",
        at_start=True,
    ),
    Danger(
        lambda settings: settings.verifies_tokens and not settings.jwt_expected_audience,
        "JWT_EXPECTED_AUDIENCE is unset: tokens that were meant for other services are accepted",
        "Set it to the `aud` that the provider writes into tokens for this gateway.",
        at_start=True,
    ),
    Danger(
        lambda settings: not settings.accepts_cookies,
        "JWT_COOKIE_NAME is set, but no cookie counts: without a list of origins any web page could use it",
        "List the pages that may in WS_ALLOWED_ORIGINS (`*` is no list).",
        at_start=True,
        about="JWT_COOKIE_NAME",
    ),
    Danger(
        _passes_anybodys_name,
        "UPSTREAM_MQTT_CREDENTIALS=pass without MQTT_USERNAME_CLAIM or MQTT_CLIENT_ID_PREFIX:"
        " a client with any valid token may be anybody on the broker",
        "MQTT_USERNAME_CLAIM=sub, unless the broker itself verifies the token that it gets.",
        at_start=True,
    ),
    Danger(
        _expects_another_issuer,
        "JWT_EXPECTED_ISSUER is not OIDC_ISSUER: a token of the provider whose keys are used is refused",
        "Leave JWT_EXPECTED_ISSUER out, unless the provider really writes another `iss` than its own.",
    ),
    Danger(
        _goes_in_circles,
        "the upstream of {} is the address in LISTEN: its sessions would come back to the gateway",
        "Give the upstream's own address.",
    ),
    Danger(
        _serves_anybody,
        "ALLOW_ANONYMOUS=true with a service account in UPSTREAM_MQTT_CREDENTIALS: whoever comes is that user",
        "Put {sub} into the user name or MQTT_CLIENT_ID_PREFIX, which only a token fills; or `strip`.",
    ),
    Danger(
        lambda settings: settings.allow_anonymous and not settings.accepts_cookies,
        "ALLOW_ANONYMOUS=true without a list in WS_ALLOWED_ORIGINS: any web page opened near the gateway gets in",
        "List the pages that may in WS_ALLOWED_ORIGINS.",
    ),
    Danger(
        _shares_client_ids,
        "MQTT_CLIENT_ID_PREFIX is unset and the broker sees one user: a client can take over another one's session",
        "MQTT_CLIENT_ID_PREFIX={sub}- lets a client use no client id but one that begins with its subject and a dash.",
    ),
    Danger(
        _shows_mqtt_credentials,
        "ws:// to {}: passwords and tokens of MQTT clients cross the network in the clear",
        "wss:// in UPSTREAM_WS_URL; no matter on a network of your own.",
    ),
    Danger(
        _shows_raw_token,
        "ws:// to {} with RAW_FORWARD_TOKEN=true: tokens of raw clients cross the network in the clear",
        "wss:// in RAW_WS_BACKEND_URL, or RAW_FORWARD_TOKEN=false; no matter on a network of your own.",
    ),
    Danger(
        _trusts_everybody,
        "TRUSTED_PROXIES covers every address: any client can claim any other address in X-Forwarded-For",
        "Name the networks of the proxies in front, and nothing else.",
    ),
    Danger(
        lambda settings: settings.rate_limit_algorithm == "fixed-window",
        "RATE_LIMIT_ALGORITHM=fixed-window: each second allows the whole burst; the rates per second do not count",
        "token-bucket, the default, holds the rates over any time.",
        at_start=True,
    ),
    Danger(
        lambda settings: settings.rate_limit_per_second is None,
        "RATE_LIMIT_PER_SECOND is unset: one client may send as much as it can",
        "Set it to what the busiest good client needs.",
    ),
    Danger(
        _opens_to_the_machine,
        "ADMIN_LISTEN={} has no ADMIN_TOKEN: every process of this machine can cut any session",
        "Set ADMIN_TOKEN_FILE, unless nobody else is on the machine.",
    ),
    Danger(
        _revokes_at_one_gateway,
        "REDIS_URL is set, but not JWT_CACHE_STORE=redis: what is revoked at one gateway is good at the others",
        "JWT_CACHE_STORE=redis, where there is more than one gateway.",
    ),
    Danger(
        _is_silent_too_long,
        "a silent client is not pinged within a minute: nginx cuts it after 60 s of silence, other proxies after 100 s",
        "WS_PING_INTERVAL_SECONDS=30, or longer time-outs in the proxy.",
    ),
    Danger(
        lambda settings: settings.jwt_leeway_seconds > LONG_LEEWAY_SECONDS,
        "JWT_LEEWAY_SECONDS is above five minutes: an expired token is good for so long",
        "The default of 30 is enough where both clocks are set by NTP.",
    ),
)
