"""The URL of a Redis: one server, a master that Sentinels know, or a cluster.

A frozen value and the way from text to it. What holds for every server (TLS, user, password, database, options in
the query) stays one URL of the kind that redis-py reads; here are only the hosts of the two forms that it has none for.
"""

import re
from enum import Enum
from typing import Self
from urllib.parse import parse_qsl, urlencode

from attrs import field, frozen

from trio_ws_gateway.config.values import bracketed, checked_host, host_and_port

_URL = re.compile(r"(redis|rediss)(\+sentinel|\+cluster)?://(?:([^/?#]*)@)?([^/?#@]*)([^?#]*)(?:\?([^#]*))?")
_SENTINELS_OWN = {"sentinel_username": "username", "sentinel_password": "password"}


class Form(Enum):
    """What answers at a URL."""

    SERVER = ""
    SENTINEL = "+sentinel"
    CLUSTER = "+cluster"


@frozen
class RedisUrl:
    """``plain``: for redis-py's ``from_url``, of the first of ``nodes``. It holds the password, so it is never shown.

    ``nodes``: host and port, of Sentinels where the form is that. ``service``: what they call the master.
    ``sentinel_login``: ``username`` and ``password`` for the Sentinels, as far as they want one.
    """

    form: Form
    plain: str = field(repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_login: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``redis://user:password@host:port/db``, ``rediss://`` the same under TLS, ``unix:///path``,
        ``redis+sentinel://host:port,host:port/service/db``, ``redis+cluster://host:port,host:port``."""
        if re.search(r"[\x00-\x20\x7f]", text):
            raise ValueError("has white space in it")
        if text.startswith("unix://"):
            if not text.startswith("unix:///"):
                raise ValueError("has no absolute path of a socket")
            return cls(Form.SERVER, text)
        if not (found := _URL.fullmatch(text)):
            raise ValueError("is not a Redis URL")
        scheme, suffix, login, hosts, path, query = found.groups(default="")
        form = Form(suffix)
        nodes = tuple(_node(each, 26379 if form is Form.SENTINEL else 6379) for each in hosts.split(","))
        if form is Form.SERVER and len(nodes) > 1:
            raise ValueError("names several hosts: redis+sentinel:// or redis+cluster:// does that")
        service = ""
        if form is Form.SENTINEL:
            service, _, path = path.lstrip("/").partition("/")
            if not service:
                raise ValueError("does not name the service: redis+sentinel://host:port/service")
        if not re.fullmatch(r"/?[0-9]{0,4}", path):
            raise ValueError("has a path that is no number of a database")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if form is Form.CLUSTER:
            if (path + options.pop("db", "")).strip("/0"):
                raise ValueError("names a database, and a cluster has only 0")
            path = ""
        sentinel_login = tuple((_SENTINELS_OWN[name], options.pop(name)) for name in _SENTINELS_OWN if name in options)
        host, port = nodes[0]
        plain = f"{scheme}://{login}{'@' * bool(login)}{bracketed(host)}:{port}/{path.strip('/')}"
        return cls(form, plain + f"?{urlencode(options)}" * bool(options), nodes, service, sentinel_login)

    @property
    def where(self) -> str:
        """Fit to be shown: hosts and what is asked for there, no password."""
        return ",".join(f"{bracketed(host)}:{port}" for host, port in self.nodes) or self.plain.partition("?")[0][7:]


def _node(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = host_and_port(text)
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError("has no valid port")
    return checked_host(host or "localhost"), int(port or default_port)
