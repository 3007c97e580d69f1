"""What is legal but dangerous: a table of rows, each a question to the settings, with words and advice.

Pure. What the gateway itself warns of at start is in ``config.rules`` and not said again here: rows here are worth
a line to somebody who asks, and not one in the log of each start. No value that may be secret is repeated.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from attrs import frozen

from trio_ws_gateway.checking.findings import Finding, Status
from trio_ws_gateway.checking.unreachable import is_loopback
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.protocols.mqtt_binding import CLAIMS, Mode, parse_mqtt_credentials

PROXY_CUTS_SECONDS = 60  # nginx's proxy_read_timeout; few cut earlier
LONG_LEEWAY_SECONDS = 300

Answer = bool | str
"""Whether a row holds; a text also fills the ``{}`` in its words."""


@frozen
class Danger:
    holds: Callable[[Settings], Answer]
    words: str
    advice: str


def dangers(settings: Settings) -> Iterator[Finding]:
    """The rows that hold, in the order of the table."""
    for danger in TABLE:
        if answer := danger.holds(settings):
            words = danger.words.format(answer) if isinstance(answer, str) else danger.words
            yield Finding("settings", Status.WARNING, words, danger.advice)


def _expects_another_issuer(settings: Settings) -> Answer:
    discovers = settings.jwks_url is None and settings.oidc_issuer is not None
    return discovers and settings.jwt_expected_issuer != settings.oidc_issuer


def _serves_anybody(settings: Settings) -> Answer:
    credentials = parse_mqtt_credentials(settings.upstream_mqtt_credentials)
    texts = (credentials.username.text, credentials.password.text, settings.mqtt_client_id_prefix or "")
    return settings.allow_anonymous and credentials.mode is Mode.REPLACE and not any(map(_names_a_claim, texts))


def _shares_client_ids(settings: Settings) -> Answer:
    """``pass`` without any binding is a warning of the gateway's own."""
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


TABLE = (
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
        lambda settings: settings.rate_limit_per_second is None,
        "RATE_LIMIT_PER_SECOND is unset: one client may send as much as it can",
        "Set it to what the busiest good client needs.",
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
