"""Who may knock: a browser's origin, and whose address a connection behind proxies really has.

Pure and cheap: asked before any crypto. What a client says is believed only as far as somebody
trusted vouches for it.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from trio_ws_gateway.config.values import Networks, checked_origin
from trio_ws_gateway.config.values import origin_allowed as _is_listed

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def origin_allowed(origin: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether a client with that ``Origin`` (RFC 6455 10.2) may connect.

    One without is no browser and may; so may every one where no list is set, or ``*`` is in it. Otherwise
    the list decides (patterns as ``checked_origin`` makes them), and ``null`` is an origin like others.
    """
    if origin is None or not allowed or "*" in allowed:
        return True
    try:
        normal = checked_origin(origin)
    except ValueError:
        return origin in allowed
    return "*" not in normal and _is_listed(normal, allowed)


def client_address(peer: str, forwarded_for: tuple[str, ...], trusted: Networks) -> str:
    """The address of the client that is behind the proxies, or the peer's own.

    ``forwarded_for``: the values of all ``X-Forwarded-For`` headers in order. Each proxy appended whom it
    heard from, so the list is read from the right, and no further than trusted proxies vouch for it: what is left
    of that, anybody may have written. What is no address ends the walk.
    """
    if not trusted and ":" not in peer:
        return peer  # nobody to believe, and nothing to make normal
    address = _parsed(peer)
    if address is None:
        return peer  # a Unix socket
    for hop in reversed(",".join(forwarded_for).split(",")):
        if address not in trusted or (before := _parsed(hop.strip(" \t"))) is None:
            break
        address = before
    return str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, or one with a port behind it as some proxies write it. IPv4 mapped into IPv6 is IPv4."""
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    if "%" in text:  # what stands behind it may be anything, and would end up in logs
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
