"""The table of settings: one frozen class whose fields are the rows.

A row has a default, a kind (type, unit, parser) and one sentence; the parser, the errors, the warnings
and the reference page all come from it. The attribute is the environment name in lower case, always.
Nothing here reads the environment or a file: ``loading`` does, and names every wrong setting at once.
"""

# ruff: noqa: RUF009 - a call in the class body makes a field here, not a value that instances share

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, fields, frozen

from trio_ws_gateway.config import kinds
from trio_ws_gateway.config.kinds import choice
from trio_ws_gateway.config.limit_rules import LimitRule
from trio_ws_gateway.config.rate_limits import burst, exceeded, per_second
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.config.table import Row, derived, setting
from trio_ws_gateway.config.values import Address, Networks, WebSocketUrl


@frozen(kw_only=True)
class Settings:
    """All settings, parsed. Seconds are floats, sizes are bytes; ``None`` and empty mean "unset"."""

    # Listening

    listen: Address = setting(
        "0.0.0.0:8080", kinds.ADDRESS, "Address and port to listen on; port 0 lets the system choose."
    )
    ws_path: str = setting("/ws", kinds.PATH, "The path of the one WebSocket endpoint.")
    ws_allowed_origins: tuple[str, ...] = setting(
        "",
        kinds.ORIGINS,
        "Origins that browsers may come from; unset: all. Only with a list (`*` is none) a cookie is a credential.",
    )
    trusted_proxies: Networks = setting(
        "", kinds.NETWORKS, "Networks of the proxies in front whose X-Forwarded-For is believed."
    )
    workers: int = setting(
        "1", kinds.WORKERS, "Processes that share the port; `auto`: one for each processor that may be used."
    )

    # Tokens

    jwks_url: str | None = setting(None, kinds.HTTP_URL, "Where the provider publishes its keys (JWKS).")
    oidc_issuer: str | None = setting(
        None, kinds.ISSUER, "The provider's issuer URL, to discover the keys' address where JWKS_URL is unset."
    )
    jwks_ttl_minutes: float = setting("10", kinds.POSITIVE_MINUTES, "After how long the keys are fetched again.")
    jwt_expected_issuer: str | None = derived(
        "OIDC_ISSUER",
        lambda settings: settings.oidc_issuer,
        kinds.TEXT,
        "The `iss` that a token must have; unset: not checked.",
    )
    jwt_expected_audience: tuple[str, ...] = setting(
        "", kinds.TEXTS, "A token must be meant for one of these (`aud`); unset: not checked."
    )
    jwt_valid_algorithms: tuple[str, ...] = setting(
        "RS256", kinds.ALGORITHMS, "Signature algorithms that are accepted, whatever the token itself says."
    )
    jwt_leeway_seconds: float = setting(
        "30",
        kinds.SECONDS,
        "By how much the provider's clock may differ from ours when `exp`, `nbf` and `iat` are checked.",
    )
    jwt_expiry_grace_seconds: float = setting(
        "5",
        kinds.SECONDS,
        "How long after `exp` of its token a live session ends, or up to 5 s later, so that not all end at once.",
    )
    jwt_cookie_name: str = setting(
        "session",
        kinds.NAME,
        "The cookie that carries the token where nothing else does; counts only with WS_ALLOWED_ORIGINS.",
    )
    jwt_query_parameter: tuple[str, ...] = setting(
        "token",
        kinds.NAMES,
        "Query parameters that may carry the token, the first that is there counts; the upstream never sees them.",
    )
    jwt_cache_size: int = setting(
        "10000",
        kinds.COUNT,
        "Tokens whose signature is known to be good, kept by their hash until they expire; 0: none.",
    )
    jwt_max_life_seconds: float = setting(
        "86400",
        kinds.POSITIVE_SECONDS,
        "The longest that the provider lets a token live: so long a revocation is remembered whose end is not known.",
    )
    jwt_cache_store: str = setting(
        "memory",
        choice("memory", "redis", aliases={"postgres": "memory"}),
        "Where revocations are kept: `redis` shares them with all gateways that have this REDIS_URL.",
    )
    jwt_cache_prefix: str = setting("jwt_cached_token_", kinds.TEXT, "Begins the key of the revocations in Redis.")
    oidc_client_id: str | None = setting(
        None,
        kinds.TEXT,
        "Our client id at the provider, which may then log out at `POST /backchannel-logout`; unset: nobody can.",
    )
    allow_anonymous: bool = setting(
        "false",
        kinds.BOOLEAN,
        "Whether a client without a token is let in; its first message is then forwarded as it came.",
    )

    # Timeouts

    ws_handshake_timeout_seconds: float = setting(
        "10",
        kinds.POSITIVE_SECONDS,
        "For the whole HTTP request head, and the wait for a turn where many come at once.",
    )
    ws_auth_timeout_seconds: float = setting(
        "10", kinds.POSITIVE_SECONDS, "For the whole first message, where the token comes with it."
    )
    ws_idle_timeout_seconds: float = setting(
        "60", kinds.POSITIVE_SECONDS, "A side from which nothing at all was heard for so long, pongs included, is cut."
    )
    ws_ping_interval_seconds: float = derived(
        "half of WS_IDLE_TIMEOUT_SECONDS",
        lambda settings: settings.ws_idle_timeout_seconds / 2,
        kinds.SECONDS,
        "A side that was silent for so long is pinged; 0: never.",
    )
    ws_data_idle_timeout_seconds: float = setting(
        "0",
        kinds.SECONDS,
        "A session in which no data passed for so long ends, pings or not; 0: never (a quiet subscriber is healthy).",
    )
    max_session_seconds: float = setting(
        "0",
        kinds.SECONDS,
        "How long a session lives at most, or up to 5 s longer, whatever its token says; 0: as long as that.",
    )
    ws_write_timeout_seconds: float = setting(
        "10", kinds.POSITIVE_SECONDS, "A peer that takes nothing for so long while data waits for it is cut."
    )
    ws_control_timeout_seconds: float = setting(
        "1", kinds.POSITIVE_SECONDS, "How long a goodbye of ours waits for the end of the frame or message before it."
    )
    ws_close_timeout_seconds: float = setting(
        "5", kinds.POSITIVE_SECONDS, "How long the other side may take to answer a Close before both are cut."
    )
    graceful_drain_timeout_seconds: float = setting(
        "30", kinds.SECONDS, "Over how long the live sessions are closed after SIGTERM; what is left then is cut."
    )

    # Limits

    ws_max_message_bytes: int = setting(
        "67108864",
        kinds.BYTES,
        "The size of any message at most, refused as soon as a header announces more; 0: no limit.",
    )
    ws_max_message_bytes_to_client: int = derived(
        "WS_MAX_MESSAGE_BYTES",
        lambda settings: settings.ws_max_message_bytes,
        kinds.BYTES,
        "The same for what an upstream sends.",
    )
    tcp_unsent_max_bytes: int = setting(
        "262144",
        kinds.BYTES,
        "What the system takes for a peer beyond what is on its way to it, a bound for who does not read; 0: its own.",
    )
    tcp_receive_buffer_bytes: int = setting(
        "0",
        kinds.BYTES,
        "What the system holds of what a peer sends (Linux doubles it); 0: its own, which grows with the traffic.",
    )
    ws_max_fragments: int = setting(
        "65536", kinds.COUNT, "Frames that one message may come in at most, from either side; 0: no limit."
    )
    ws_first_message_max_bytes: int = derived(
        "65536, or WS_MAX_MESSAGE_BYTES where that is less",
        lambda settings: min(65536, settings.ws_max_message_bytes or 65536),
        kinds.POSITIVE_BYTES,
        "The size of the first message at most.",
    )
    rate_limit_per_second: float | None = per_second("Messages an identity may send in all its sessions")
    rate_limit_burst: int | None = burst("RATE_LIMIT")
    rate_limit_exceeded: str = exceeded("RATE_LIMIT", "close")
    rate_limit_bytes_per_second: float | None = per_second("Bytes an identity may send in all its sessions")
    rate_limit_bytes_burst: int | None = burst("RATE_LIMIT_BYTES")
    rate_limit_bytes_exceeded: str = exceeded("RATE_LIMIT_BYTES", "pause")
    rate_limit_packets_per_second: float | None = per_second("MQTT packets an identity may send in all its sessions")
    rate_limit_packets_burst: int | None = burst("RATE_LIMIT_PACKETS")
    rate_limit_packets_exceeded: str = exceeded("RATE_LIMIT_PACKETS", "close")
    rate_limit_to_client_per_second: float | None = per_second("Messages an identity may be sent in all its sessions")
    rate_limit_to_client_burst: int | None = burst("RATE_LIMIT_TO_CLIENT")
    rate_limit_to_client_exceeded: str = exceeded("RATE_LIMIT_TO_CLIENT", "pause")
    rate_limit_to_client_bytes_per_second: float | None = per_second(
        "Bytes an identity may be sent in all its sessions"
    )
    rate_limit_to_client_bytes_burst: int | None = burst("RATE_LIMIT_TO_CLIENT_BYTES")
    rate_limit_to_client_bytes_exceeded: str = exceeded("RATE_LIMIT_TO_CLIENT_BYTES", "pause")
    rate_limit_total_per_second: float | None = per_second("Messages all clients together may send")
    rate_limit_total_burst: int | None = burst("RATE_LIMIT_TOTAL")
    rate_limit_total_exceeded: str = exceeded("RATE_LIMIT_TOTAL", "pause")
    rate_limit_total_bytes_per_second: float | None = per_second("Bytes all clients together may send")
    rate_limit_total_bytes_burst: int | None = burst("RATE_LIMIT_TOTAL_BYTES")
    rate_limit_total_bytes_exceeded: str = exceeded("RATE_LIMIT_TOTAL_BYTES", "pause")
    rate_limit_total_to_client_per_second: float | None = per_second("Messages all clients together may be sent")
    rate_limit_total_to_client_burst: int | None = burst("RATE_LIMIT_TOTAL_TO_CLIENT")
    rate_limit_total_to_client_exceeded: str = exceeded("RATE_LIMIT_TOTAL_TO_CLIENT", "pause")
    rate_limit_total_to_client_bytes_per_second: float | None = per_second("Bytes all clients together may be sent")
    rate_limit_total_to_client_bytes_burst: int | None = burst("RATE_LIMIT_TOTAL_TO_CLIENT_BYTES")
    rate_limit_total_to_client_bytes_exceeded: str = exceeded("RATE_LIMIT_TOTAL_TO_CLIENT_BYTES", "pause")
    rate_limit_algorithm: str = setting(
        "token-bucket",
        choice("token-bucket", "fixed-window"),
        "`fixed-window` is the Go gateway's: the burst in each second, whatever the rate.",
    )
    limits: tuple[LimitRule, ...] = setting(
        "",
        kinds.LIMIT_RULES,
        "Rules that set other limits for some, by role, claim, protocol or address; the first that fits counts.",
    )
    ws_max_sessions: int = setting(
        "0",
        kinds.COUNT,
        "Sessions of one process at most; 0: as many as its descriptors allow, which is the limit anyway.",
    )
    ws_max_sessions_per_subject: int = setting(
        "10000", kinds.COUNT, "Sessions of one subject at a time, through REDIS_URL in all gateways; 0: any number."
    )
    ws_max_sessions_per_address: int = setting(
        "1000",
        kinds.COUNT,
        "Sessions from one address (of IPv6: one /64) at a time, through REDIS_URL in all gateways; 0: any.",
    )
    ws_max_handshakes: int = setting(
        "6000", kinds.COUNT, "Connections in one process that have not shown who they are yet; 0: any number."
    )
    ws_max_handshakes_per_address: int = setting(
        "200", kinds.COUNT, "The same, from one address (of IPv6: one /64); 0: any number."
    )
    ws_connections_per_second_per_address: float = setting(
        "50", kinds.PER_SECOND, "New connections from one address (of IPv6: one /64), in each process; 0: any number."
    )
    ws_connections_burst_per_address: int = setting("200", kinds.POSITIVE_COUNT, "The same, at once.")
    ws_address_limits_exempt: Networks = setting(
        "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,fc00::/7,fe80::/10",
        kinds.NETWORKS,
        "Networks without limits per address: there may be proxies that TRUSTED_PROXIES does not name; `none`: none.",
    )
    redis_url: RedisUrl | None = setting(
        None, kinds.REDIS_URL, "The Redis through which several gateways share limits.", secret=True
    )
    redis_prefix: str = setting("ws-gateway:", kinds.TEXT, "Begins every key in Redis.")

    # Upstreams

    upstream_ws_url: WebSocketUrl = setting(
        "ws://rabbitmq:15675/ws", kinds.WEBSOCKET_URL, "The broker that MQTT sessions are forwarded to."
    )
    raw_ws_backend_url: WebSocketUrl = setting(
        "ws://localhost:8081/raw", kinds.WEBSOCKET_URL, "The backend that raw sessions are forwarded to."
    )
    upstream_urls: Mapping[str, WebSocketUrl] = field(factory=dict)  # UPSTREAM_<PROTOCOL>_URL, by protocol
    upstream_ca_file: Path | None = setting(
        None, kinds.FILE, "Certificate authorities (PEM) that wss:// upstreams may have besides the system's."
    )
    early_dial: bool = setting(
        "true",
        kinds.BOOLEAN,
        "Whether a raw session with an early token is dialled before the 101; `false`: with its first message.",
    )
    ws_compression: str = setting(
        "pass",
        choice("pass", "off"),
        "Whether permessage-deflate may be agreed between client and upstream, end to end.",
    )
    ws_dial_timeout_seconds: float = setting("10", kinds.POSITIVE_SECONDS, "For reaching an upstream, over all tries.")
    ws_dial_retry_max: int = setting("3", kinds.COUNT, "How often an upstream is tried again at most.")
    ws_dial_retry_interval_seconds: float = setting(
        "2",
        kinds.SECONDS,
        "The pause before the second try at most; it doubles with each, and is drawn from all between 0 and that.",
    )
    raw_forward_token: bool = setting(
        "true",
        kinds.BOOLEAN,
        "Whether a raw upstream gets the token (`Authorization: Bearer`); `false`: identity headers only.",
    )
    raw_reconnect: bool = setting(
        "false",
        kinds.BOOLEAN,
        "Whether a raw upstream that drops between two messages is dialled anew, unnoticed; without compression then.",
    )
    raw_renew_type: str | None = setting(
        None,
        kinds.TEXT,
        "The `type` of JSON messages by which raw clients renew, such as `auth.renew`, with the newer token as `token`;"
        " unset: none do.",
    )
    cb_failure_threshold: int = setting(
        "5",
        kinds.POSITIVE_COUNT,
        "After how many sessions in a row that could not reach their upstream its circuit opens.",
    )
    cb_open_timeout_seconds: float = setting(
        "60", kinds.POSITIVE_SECONDS, "How long an upstream is left alone then, before one session may try it."
    )
    cb_healthcheck_interval_seconds: float = setting(
        "30", kinds.SECONDS, "How often each upstream's health is probed, give or take a fifth; 0: never."
    )
    cb_healthcheck_mode: str = setting(
        "websocket",
        choice("websocket", "tcp", "http", "mqtt"),
        "What a probe is: a WebSocket handshake, a connection, a GET, or a handshake and for MQTT a CONNECT.",
    )
    cb_healthcheck_path: str = setting(
        "/", kinds.TARGET, "What is asked for where CB_HEALTHCHECK_MODE is `http`, on the upstream's host and port."
    )
    ready_needs_upstreams: tuple[str, ...] = setting(
        "", kinds.NAMES, "Protocols (`mqtt`, `raw`) whose upstreams must be healthy for `/readyz` to say ready."
    )

    # MQTT

    upstream_mqtt_credentials: str = setting(
        "pass",
        kinds.MQTT_CREDENTIALS,
        "What the broker gets as user name and password: `pass` (as they came), `strip` (none), or `user:password` with"
        " `{sub}` and `{preferred_username}` in either.",
        secret=True,
    )
    upstream_mqtt_subprotocol: str = setting(
        "auto",
        choice("auto", "mqtt", "mqttv3.1"),
        "The subprotocol that the broker is offered; `auto`: the one that the client has.",
    )
    mqtt_username_claim: str | None = setting(
        None, choice("sub", "preferred_username"), "The claim that an MQTT user name must equal; unset: any name."
    )
    mqtt_client_id_prefix: str | None = setting(
        None,
        kinds.TEMPLATE,
        "What an MQTT client id must begin with, such as `{sub}-`; `{sub}` and `{preferred_username}` stand for claims"
        " of the token, and after one at the end of this comes `-`, `_`, `/` or `:`, or nothing.",
    )
    mqtt_auth_method: str = setting(
        "JWT",
        kinds.TEXT,
        "The authentication method by which MQTT 5 clients renew their token with AUTH, if their CONNECT names it.",
    )
    mqtt_renew_topic: str | None = setting(
        None,
        kinds.TOPIC,
        "A topic such as `$gateway/renew`: who publishes a newer token to it, in any version of MQTT, renews; unset:"
        " nobody does.",
    )
    mqtt_will_on_drain: str = setting(
        "suppress",
        choice("suppress", "fire"),
        "Whether the wills of MQTT clients fire when the gateway drains.",
    )

    # Operating

    admin_listen: Address | None = setting(
        None,
        kinds.ADDRESS,
        "Address and port of the operator's own door, such as 127.0.0.1:8081; unset: there is none.",
    )
    admin_token: str | None = setting(
        None,
        kinds.SECRET,
        "The credential (`Authorization: Bearer`) of whoever comes to ADMIN_LISTEN; any other address than a loopback"
        " needs one.",
        secret=True,
    )
    admin_token_file: Path | None = setting(None, kinds.FILE, "A file that holds that credential, in place of it.")

    # Observing

    log_format: str = setting("json", choice("json", "console"), "How log lines look.")
    log_level: str = setting(
        "info",
        choice("debug", "info", "warning", "error", aliases={"warn": "warning"}),
        "The least important log lines that are written.",
    )
    metrics_max_identities: int = setting(
        "1000", kinds.COUNT, "Subjects that metrics tell apart, the rest count as `other`; 0: the labels stay empty."
    )

    @property
    def tcp_user_timeout_seconds(self) -> float:
        """For data that a peer does not acknowledge: longer than any timeout of ours, so that ours say why it ends."""
        return self.ws_idle_timeout_seconds + self.ws_write_timeout_seconds

    @property
    def verifies_tokens(self) -> bool:
        return self.jwks_url is not None or self.oidc_issuer is not None

    @property
    def renewal_type(self) -> str | None:
        """That of raw messages, where there are tokens to renew."""
        return self.raw_renew_type if self.verifies_tokens else None

    @property
    def accepts_cookies(self) -> bool:
        """Whether a cookie counts: a browser sends it from any page, so it takes a list of origins."""
        return bool(self.ws_allowed_origins) and "*" not in self.ws_allowed_origins

    @property
    def upstreams(self) -> Mapping[str, WebSocketUrl]:
        """Where sessions go, by the names of their protocols' adapters."""
        return {"mqtt": self.upstream_ws_url, "raw": self.raw_ws_backend_url, **self.upstream_urls}


def upstream_setting(protocol: str) -> str:
    """The setting with the URL of that protocol's upstream."""
    own = {"mqtt": "UPSTREAM_WS_URL", "raw": "RAW_WS_BACKEND_URL"}
    return own.get(protocol, f"UPSTREAM_{protocol.upper()}_URL")


GROUPS = {
    "listen": "Listening",
    "jwks_url": "Tokens",
    "ws_handshake_timeout_seconds": "Timeouts",
    "ws_max_message_bytes": "Limits",
    "upstream_ws_url": "Upstreams",
    "upstream_mqtt_credentials": "MQTT",
    "admin_listen": "Operating",
    "log_format": "Observing",
}
"""The headings of the reference, each by the first setting beneath it."""


def rows() -> Iterator[tuple[str, Row]]:
    """The table: name in the environment, and row, in order."""
    for attribute in fields(Settings):
        if "row" in attribute.metadata:
            yield attribute.name.upper(), attribute.metadata["row"]
