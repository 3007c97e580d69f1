"""The kinds of settings: how a text becomes a value, and what to tell whoever wrote it wrongly.

A ``Kind`` has a name for the reference page, a parser that raises ``ValueError`` with what is wrong, and
the words for what would be right. Parsers never repeat the text: the loader knows what may be shown.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from attrs import frozen

from trio_ws_gateway.config.limit_rules import LimitRule, parse_rules
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.config.values import Address, Networks, WebSocketUrl, checked_host, checked_origin, host_and_port
from trio_ws_gateway.wire import jwa

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_TRUTH = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)


@frozen
class Kind(Generic[T]):
    """``name``: type and unit, for the reference. ``right``: what would be right, completing "must be ...".

    ``nothing``: for lists, the empty one. ``nested``: its text is YAML, so in a file it may be a tree.
    """

    name: str
    parse: Callable[[str], T]
    right: str
    nothing: T | None = None
    nested: bool = False


def items(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, without white space around them and without empty ones."""
    return tuple(item for part in text.split(",") if (item := part.strip()))


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?|\.[0-9]+", text):
        raise ValueError("is not a plain number")
    if (value := float(text)) > 10**9:
        raise ValueError("is too big")
    return value


def _positive_number(text: str) -> float:
    if (value := _number(text)) == 0:
        raise ValueError("is zero")
    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        if not least <= (value := int(text)) <= most:
            raise ValueError("is too small" if value < least else "is too big")
        return value

    return parse


def _workers(text: str) -> int:
    return 0 if text.lower() == "auto" else _whole(1, 1000)(text)


def _boolean(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError("is neither true nor false") from None


def _algorithms(text: str) -> tuple[str, ...]:
    for name in items(text):
        if name.lower() == "none":
            raise ValueError("allows `none`: a token without a signature proves nothing")
        if name.upper().startswith("HS"):
            raise ValueError(
                "allows an HMAC algorithm: its key is a secret, and with a public key in its place anybody can forge"
            )
        if name not in jwa.ALGORITHMS:
            raise ValueError("names an unknown algorithm")
    return _some(items(text))


def _origins(text: str) -> tuple[str, ...]:
    return _some(tuple(map(checked_origin, items(text))))


def _http_url(text: str) -> str:
    if re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("has white space in it")
    try:
        parts = urlsplit(text)
        port_is_good = parts.port != 0
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("does not begin with https:// (or http://) and a host")
    if not port_is_good:
        raise ValueError("has port 0, where nobody listens")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password")
    if "#" in text:
        raise ValueError("has a fragment (#...)")
    checked_host(host_and_port(parts.netloc)[0])
    return text


def _issuer(text: str) -> str:
    """OpenID Connect Discovery 1.0 section 3: an issuer has neither query nor fragment."""
    if "?" in text:
        raise ValueError("has a query (?...)")
    return _http_url(text)


def _path(text: str) -> str:
    if not re.fullmatch(r"/[!$-;=@-~]*", text):
        raise ValueError("is not the path of a URL")
    if text in ("/healthz", "/readyz", "/metrics", "/backchannel-logout"):
        raise ValueError("is the path of a page of the gateway's own")
    return text


def _target(text: str) -> str:
    if not re.fullmatch(r"/[!$-;=?-~]*", text):
        raise ValueError("is not the path of a URL")
    return text


def _tokens(text: str) -> tuple[str, ...]:
    for name in items(text):
        _token(name)
    return _some(items(text))


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("has a character that no such name has")
    return text


def checked_secret(text: str) -> str:
    """A credential that fits into a header and takes long to guess (RFC 6750 2.1). Raises ``ValueError``."""
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError("has white space, or a character that no header has")
    if not 16 <= len(text) <= 1024:
        raise ValueError("is shorter than 16 characters" if len(text) < 16 else "is longer than 1024 characters")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("is not there, or is no file")
    return path


def _topic(text: str) -> str:
    if len(text.encode()) > LONGEST_TOPIC or set(text) & set("+#\0"):
        raise ValueError("is no topic that a client can publish to")
    return text


def _template(text: str) -> str:
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in ("sub", "preferred_username"):
            raise ValueError("has a placeholder other than {sub} and {preferred_username}")
    return text


def _credentials(text: str) -> str:
    username, colon, password = text.partition(":")
    if text not in ("pass", "strip") and not (colon and username):
        raise ValueError("is neither pass nor strip nor user:password")
    _template(username)
    _template(password)
    return text


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("has nothing between its commas")
    return values


def choice(*words: str, aliases: dict[str, str] | None = None) -> Kind[str]:
    """One of ``words``, in any case; ``aliases`` are accepted beside them and mean one of them."""
    meanings = {word: word for word in words} | (aliases or {})

    def parse(text: str) -> str:
        try:
            return meanings[text.lower()]
        except KeyError:
            raise ValueError("is not one of the choices") from None

    return Kind(" \\| ".join(f"`{word}`" for word in words), parse, " or ".join(words))


_NO_TEXTS: tuple[str, ...] = ()
_NO_RULES: tuple[LimitRule, ...] = ()

LONGEST_TOPIC = 1024  # bytes; MQTT has no such limit, and nobody such a topic
MOST_BYTES = 2**62  # a frame announces at most 2**63 - 1 (RFC 6455 5.2)

TEXT = Kind("text", str, "a text")
TEXTS = Kind("list", lambda text: _some(items(text)), "a comma-separated list", nothing=_NO_TEXTS)
BOOLEAN = Kind("boolean", _boolean, "true or false (1, 0, yes, no, on and off do too)")
SECONDS = Kind("seconds", _number, "a number of seconds, such as 60 or 0.5")
POSITIVE_SECONDS = Kind("seconds", _positive_number, "a number of seconds above zero, such as 60 or 0.5")
POSITIVE_MINUTES = Kind("minutes", _positive_number, "a number of minutes above zero, such as 10")
RATE = Kind("per second", _positive_number, "a number above zero, such as 10")
PER_SECOND = Kind("per second", _number, "a number such as 10 or 0.5")
COUNT = Kind("count", _whole(0, 10**9), "a whole number, 0 or more")
POSITIVE_COUNT = Kind("count", _whole(1, 10**9), "a whole number, 1 or more")
WORKERS = Kind("count \\| `auto`", _workers, "a whole number, 1 or more, or auto")
BYTES = Kind("bytes", _whole(0, MOST_BYTES), "a whole number of bytes, such as 65536")
POSITIVE_BYTES = Kind("bytes", _whole(1, MOST_BYTES), "a whole number of bytes above zero, such as 65536")
ADDRESS = Kind("address", Address.parse, "host:port, such as 0.0.0.0:8080 or [::]:8080")
PATH = Kind("URL path", _path, "a path that begins with a slash, such as /ws")
TARGET = Kind("URL path", _target, "a path that begins with a slash, such as /healthz")
NETWORKS = Kind(
    "list of CIDRs",
    lambda text: Networks() if text == "none" else Networks.parse(items(text)),
    "a comma-separated list of networks, such as 10.0.0.0/8,fd00::/8, or none",
    nothing=Networks(),
)
HTTP_URL = Kind("URL", _http_url, "a URL such as https://id.example.com/certs")
ISSUER = Kind("URL", _issuer, "the issuer's URL, such as https://id.example.com/realms/robots")
WEBSOCKET_URL = Kind("WebSocket URL", WebSocketUrl.parse, "a URL such as ws://broker:15675/ws or wss://broker/ws")
REDIS_URL = Kind(
    "Redis URL",
    RedisUrl.parse,
    "redis:// or rediss://user:password@host:6379/0, unix:///path, redis+sentinel://host:26379,host:26379/service,"
    " or redis+cluster://host:6379,host:6379",
)
ALGORITHMS = Kind("list", _algorithms, f"a comma-separated list out of {', '.join(jwa.ALGORITHMS)}", nothing=_NO_TEXTS)
ORIGINS = Kind(
    "list of origins",
    _origins,
    "a comma-separated list of https://app.example.com, https://*.example.com, *.example.com or *",
    nothing=_NO_TEXTS,
)
NAME = Kind("name", _token, "a name without spaces, commas or quotes")
NAMES = Kind("list of names", _tokens, "a comma-separated list of names", nothing=_NO_TEXTS)
LIMIT_RULES = Kind(
    "list of rules",
    parse_rules,
    "a list of rules, such as [{role: premium, rate: 100}, {rate_limit_claim: mps, ceiling: 50}]",
    nothing=_NO_RULES,
    nested=True,
)
SECRET = Kind("secret", checked_secret, "16 to 1024 characters without spaces, such as `openssl rand -hex 32` makes")
FILE = Kind("file", _file, "the path of a file that can be read")
TOPIC = Kind("text", _topic, "a topic of MQTT, without + and #")
TEMPLATE = Kind("text", _template, "a text in which {sub} and {preferred_username} stand for the token's claims")
MQTT_CREDENTIALS = Kind(
    "credentials", _credentials, "pass, strip or user:password, with {sub} and {preferred_username} in either"
)
