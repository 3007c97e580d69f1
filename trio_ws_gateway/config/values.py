"""What settings are made of: an address to listen on, the URL of an upstream, a set of networks.

Frozen values and the way from text to them. Each ``parse`` raises ``ValueError`` with half a sentence
that says what is wrong ("has no port"); it never repeats the text, which may hold a password.
Nothing here resolves a name or opens anything.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from attrs import evolve, frozen

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\x7f\\<>\"^`{|}]")


@frozen
class Address:
    """Where to listen: a host name or IP address (IPv6 without brackets), and a port; 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``0.0.0.0:8080``, ``[::]:8080``, ``localhost:0``; ``:8080`` is every IPv4 address, as ``0.0.0.0:8080``."""
        host, colon, port = text.rpartition(":")
        if not colon or host.count("[") != host.count("]"):
            raise ValueError("has no port")
        return cls(checked_host(host) if host else "0.0.0.0", _port(port))

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can come. A name other than ``localhost`` may mean anything."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def reachable(self) -> Self:
        """Where somebody on this machine finds who listens there: every address is the loopback too."""
        return evolve(self, host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))


@frozen
class WebSocketUrl:
    """The URL of an upstream, cut into what a dial needs.

    ``host``: a name in ASCII or an IP address without brackets. ``target``: path and query as sent in
    the request line. No user info: credentials belong to the protocol, not into a URL that is logged.
    """

    secure: bool
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """RFC 6455 3: ``ws://`` or ``wss://``, never a fragment. International host names become A-labels (IDNA)."""
        if _NOT_IN_A_URL.search(text):
            raise ValueError("has a character that must be percent-encoded")
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in ("ws", "wss") or not text[len(parts.scheme) :].startswith("://"):
            raise ValueError("does not begin with ws:// or wss://")
        if "@" in parts.netloc:
            raise ValueError("holds a user name or password")
        if "#" in text:
            raise ValueError("has a fragment (#...), which RFC 6455 forbids")
        host, _, port = host_and_port(parts.netloc)
        target = (parts.path or "/") + (f"?{parts.query}" if "?" in text else "")
        if not target.isascii():
            raise ValueError("has a character that must be percent-encoded")
        secure = parts.scheme == "wss"
        number = _port(port) if port else _default_port(secure)
        if number == 0:
            raise ValueError("has port 0, where nobody listens")
        return cls(secure, checked_host(host).lower(), number, target)

    @property
    def authority(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own (RFC 9110 7.2)."""
        host = bracketed(self.host)
        return host if self.port == _default_port(self.secure) else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.target}"

    def __str__(self) -> str:
        return self.text


class SeveralWrong(ValueError):
    """One value, and several things that are wrong with it: ``problems``, each by itself as the text of an error is."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@frozen
class Networks:
    """A set of IP networks; ``address in networks`` asks for membership."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """CIDRs; a bare address is a network of one."""
        return cls(tuple(map(_network, texts)))

    def __contains__(self, address: str | IPv4Address | IPv6Address) -> bool:
        """What is no address is in no network. An IPv4 address mapped into IPv6 counts as itself: that is how a
        dual-stack listener sees IPv4 peers."""
        if not self.networks:
            return False
        try:
            address = ip_address(address)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __str__(self) -> str:
        return ",".join(map(str, self.networks))


def checked_origin(text: str) -> str:
    """A pattern of origins as ``origin_allowed`` reads it, in lower case and without the scheme's own port.

    ``*``, ``https://app.example.com``, ``https://*.example.com``, or ``*.example.com`` for either scheme.
    """
    if text == "*":
        return text
    scheme, separator, authority = text.lower().rpartition("://")
    if scheme not in ("http", "https") and (separator or not authority.startswith("*.")):
        raise ValueError("has an origin that begins with neither http:// nor https://")
    star = "*." if authority.startswith("*.") else ""
    host, colon, port = host_and_port(authority.removeprefix("*."))
    if star and host.startswith("["):
        raise ValueError("has a wildcard before an IP address")
    host = bracketed(checked_host(host))
    number = _port(port) if colon else None
    suffix = "" if number in (None, {"http": 80, "https": 443}.get(scheme)) else f":{number}"
    return f"{scheme}{separator}{star}{host}{suffix}"


def origin_allowed(origin: str, allowed: tuple[str, ...]) -> bool:
    """Whether an Origin header (RFC 6454 7) is one of ``allowed``, which ``checked_origin`` made.

    Scheme, host and port must be equal; a star stands for one label or more, so that neither
    ``evil-example.com`` nor ``example.com.evil.org`` is within ``*.example.com``.
    """
    origin = origin.lower()
    for pattern in allowed:
        if pattern in ("*", origin):
            return True
        before, star, after = pattern.partition("*")
        labels = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*"
        if star and re.fullmatch((re.escape(before) or "https?://") + labels + re.escape(after), origin):
            return True
    return False


def checked_host(text: str) -> str:
    """A host name as A-labels, or an IP address, without brackets. Raises ``ValueError``."""
    if text.startswith("["):
        if not text.endswith("]") or "%" in text:
            raise ValueError("has no valid IPv6 address in its brackets")
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("has no valid IPv6 address in its brackets") from None
    if ":" in text:
        raise ValueError("has an IPv6 address without brackets")
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("has a host name that IDNA does not allow") from None
    if len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise ValueError("has no valid host name")
    if re.fullmatch(r"[0-9.]+", name):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise ValueError("has no valid IPv4 address") from None
    return name


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def host_and_port(netloc: str) -> tuple[str, str, str]:
    """``host:port`` cut at the colon that is not inside brackets."""
    head, bracket, tail = netloc.rpartition("]")
    host, colon, port = tail.partition(":")
    return head + bracket + host, colon, port


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or int(text) > 65535:
        raise ValueError("has no valid port")
    return int(text)


def _default_port(secure: bool) -> int:
    return 443 if secure else 80


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError("has bits beyond its mask" if "host bits" in str(error) else "is no address or CIDR") from None
