"""What is to be tried: where to, as whom, with which token carried how, and how many messages.

Values, and the requests that follow from them. Pure: nothing here connects, and nothing decides what an answer means.
"""

from enum import Enum
from ssl import SSLContext
from urllib.parse import quote

from attrs import field, frozen

from trio_ws_gateway.config.values import WebSocketUrl
from trio_ws_gateway.wire.handshake import BEARER
from trio_ws_gateway.wire.mqtt import Connect

SHORTEST_KEEP_ALIVE_SECONDS = 60
LONGEST_KEEP_ALIVE_SECONDS = 0xFFFF
SHORTEST_SECRET = 6  # characters of a header's value; cutting out shorter ones would leave no text readable


class Carry(Enum):
    """What the token travels in; the value is the word of the command line."""

    HEADER = "header"
    SUBPROTOCOL = "subprotocol"
    QUERY = "query"
    COOKIE = "cookie"
    PASSWORD = "password"
    FIRST_MESSAGE = "first-message"


@frozen(kw_only=True)
class Mqtt:
    """An MQTT session. ``level``: 3 (MQTT 3.1), 4 (3.1.1) or 5. ``qos``: of every message, 0 or 1."""

    level: int
    client_id: str
    username: str | None = None
    topic: str
    qos: int = 0

    @property
    def version(self) -> str:
        return {3: "3.1", 4: "3.1.1", 5: "5"}[self.level]

    @property
    def subprotocol(self) -> str:
        return "mqttv3.1" if self.level == 3 else "mqtt"


@frozen(kw_only=True)
class Attempt:
    """One session to be. ``mqtt``: ``None`` for a raw one. ``tls``: ``None`` for ``ws://``.

    ``carry_name``: of the query parameter or cookie. ``headers``: more of them, in their order. ``timeout_seconds``: of
    every single wait. ``count`` messages of ``size`` bytes, ``interval_seconds`` apart.
    """

    url: WebSocketUrl
    mqtt: Mqtt | None = None
    token: str | None = field(default=None, repr=False)
    carry: Carry = Carry.HEADER
    carry_name: str = "token"
    origin: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls: SSLContext | None = None
    verifies: bool = True
    timeout_seconds: float = 10.0
    count: int = 10
    size: int = 32
    interval_seconds: float = 0.0

    @property
    def host(self) -> str:
        """What the Host header says."""
        return next((value for name, value in self.headers if name.lower() == "host"), self.url.authority)

    @property
    def target(self) -> str:
        """Path and query of the request."""
        if self.token is None or self.carry is not Carry.QUERY:
            return self.url.target
        joint = "&" if "?" in self.url.target else "?"
        return f"{self.url.target}{joint}{quote(self.carry_name, safe='')}={quote(self.token, safe='')}"

    @property
    def subprotocols(self) -> tuple[str, ...]:
        names = () if self.mqtt is None else (self.mqtt.subprotocol,)
        carried = (BEARER, self.token) if self.token is not None and self.carry is Carry.SUBPROTOCOL else ()
        return (*names, *carried)

    @property
    def request_headers(self) -> tuple[tuple[str, str], ...]:
        """Those beside the handshake's own."""
        mine = [("Origin", self.origin)] if self.origin is not None else []
        if self.token is not None and self.carry is Carry.HEADER:
            mine.append(("Authorization", f"Bearer {self.token}"))
        if self.token is not None and self.carry is Carry.COOKIE:
            mine.append(("Cookie", f"{self.carry_name}={self.token}"))
        return (*mine, *(each for each in self.headers if each[0].lower() != "host"))

    def connect(self, mqtt: Mqtt) -> Connect:
        """The CONNECT of an MQTT session. Raises ``MqttError`` for a name or token that no CONNECT can hold."""
        password = self.token.encode() if self.token is not None and self.carry is Carry.PASSWORD else None
        keep_alive = max(SHORTEST_KEEP_ALIVE_SECONDS, round(2 * self.interval_seconds))
        return Connect(
            level=mqtt.level,
            client_id=mqtt.client_id,
            username=mqtt.username,
            password=password,
            keep_alive=min(LONGEST_KEEP_ALIVE_SECONDS, keep_alive),
        )

    @property
    def most_message_bytes(self) -> int:
        """What is taken in one message or packet: an echo with many words around it, or a greeting."""
        return (1 << 20) + 2 * self.size

    def message(self, number: int) -> bytes:
        """The message of that number, and of the size that was asked for."""
        return f"probe {number} ".encode().ljust(self.size, b".")[: self.size]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, in each spelling that a server may give it back in; the longest first."""
        found = {value for name, value in self.headers if name.lower() != "host" and len(value) >= SHORTEST_SECRET}
        found.add(self.url.target.partition("?")[2])
        if self.token is not None:
            found |= {self.token, quote(self.token, safe="")}
        return tuple(sorted(filter(None, found), key=len, reverse=True))

    @property
    def shown_url(self) -> str:
        """Without the query, which may hold a token."""
        return self.url.text.partition("?")[0]
