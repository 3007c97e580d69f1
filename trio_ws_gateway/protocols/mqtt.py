"""MQTT 3.1, 3.1.1 and 5 over WebSocket: recognised by its CONNECT, whose password may be the token.

Packets are not aligned with messages: a CONNECT may come a byte at a time, and more may follow it in
the same message. Knows what a CONNECT says to the gateway; its format is ``wire.mqtt``'s, and whose
names it may claim is ``mqtt_binding``'s.
"""

from typing import Final

from attrs import evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.protocols.base import Opening, Unchanged, Verdict
from trio_ws_gateway.protocols.mqtt_binding import Binding, MqttCredentials, Template, parse_mqtt_credentials
from trio_ws_gateway.protocols.mqtt_renewal import RenewalWatch, WelcomeWatch
from trio_ws_gateway.wire.handshake import Offer
from trio_ws_gateway.wire.mqtt import (
    Connect,
    EmptyClientId,
    MalformedConnect,
    UnsupportedVersion,
    connack,
    connect_head,
    disconnect,
    packet_length,
    parse_connect,
)
from trio_ws_gateway.wire.mqtt_reframing import Reframer
from trio_ws_gateway.wire.mqtt_stream import PacketWalker

__all__ = ["Binding", "MqttAdapter", "MqttCredentials", "MqttGreeting", "parse_mqtt_credentials"]

NAME: Final = "mqtt"
SUBPROTOCOLS: Final = ("mqtt", "mqttv3.1")
VERSIONS: Final = {3: "3.1", 4: "3.1.1", 5: "5"}
IDENTIFIER_REJECTED: Final = 0x02  # MQTT 3.1.1 3.2.2.3
LOGGED_CLIENT_ID: Final = 64  # characters


def _connack(level: int, cause: Cause) -> bytes:
    code = cause.row.connack5 if level >= 5 else cause.row.connack3
    return b"" if code is None else connack(level, code)


@frozen(kw_only=True)
class MqttGreeting:
    """A CONNECT, and the ``rest`` of the payload that it came in.

    ``subprotocol``: the one that the broker is offered, whatever the client has. ``keeps_will``: a will does not fire
    where the cause of the end says that it need not. ``auth_method``: the CONNECT names ours, so the client may show a
    newer token by AUTH; ``renew_topic``: and by a PUBLISH to this topic.
    """

    connect: Connect
    rest: bytes = field(default=b"", repr=False)
    credentials: MqttCredentials
    binding: Binding
    subprotocol: str | None = None
    keeps_will: bool = True
    auth_method: str | None = None
    renew_topic: str | None = None

    @property
    def protocol(self) -> str:
        return NAME

    @property
    def credential(self) -> str | None:
        """The authentication data where the method is ours, or else the password, if it is not empty.

        Bytes that are not ASCII are written as ``\\xNN``, which no token is.
        """
        data = self.connect.auth_data if self.auth_method is not None else None
        token = data or self.connect.password
        return token.decode("ascii", "backslashreplace") if token else None

    @property
    def describes(self) -> dict[str, str]:
        return {
            "client_id": self.connect.client_id[:LOGGED_CLIENT_ID],
            "mqtt_version": VERSIONS[self.connect.level],
        }

    @property
    def names_the_client(self) -> bool:
        """No: a broker reads no headers, and what it reads of the CONNECT is configured."""
        return False

    @property
    def upstream_may_end_first(self) -> bool:
        """Yes: Mosquitto does, after a DISCONNECT and after a CONNACK that refuses."""
        return True

    @property
    def has_will(self) -> bool:
        return self.connect.will is not None

    def offer(self, answered: str | None) -> Offer:
        """Exactly one: the configured one, the client's, or that of its version. A broker that names none speaks no
        MQTT (MQTT 3.1.1 6)."""
        name = self.subprotocol or answered or ("mqttv3.1" if self.connect.level == 3 else "mqtt")
        return Offer(subprotocols=(name,), must_choose=True)

    def for_upstream(self, identity: Identity | None, token: str | None) -> bytes | Unchanged:
        """The CONNECT with the credentials that the broker is meant to see, and what followed it.

        The opening goes as it came where nothing in it changes. Raises ``Refused(FORBIDDEN)`` for another one's
        name, and for claims that make no legal user name or password.
        """
        self.binding.check(self.connect, identity)
        connect = self.credentials.applied_to(self.connect, identity)
        if self.auth_method is not None:
            connect = connect.without_auth()
        if connect == self.connect:
            return Unchanged.AS_IT_CAME
        try:
            return connect.to_bytes() + self.rest
        except MalformedConnect as error:  # a claim may hold NUL, or more than a field does
            raise Refused(Cause.FORBIDDEN, f"the token makes no legal CONNECT: {error}") from None

    def without_secrets(self) -> "MqttGreeting":
        username = self.connect.username if self.binding.username_claim is not None else None  # a claim, and no secret
        return evolve(self, connect=evolve(self.connect, username=username, password=None, properties=()), rest=b"")

    def walkers(self) -> tuple[PacketWalker | None, PacketWalker | None]:
        leaves = self.has_will and self.keeps_will
        answers = self.connect.level == 5 or self.renew_topic is not None
        return PacketWalker() if leaves else None, PacketWalker() if answers else None

    def inspectors(self, *, counted: bool) -> tuple[Reframer | None, Reframer | None]:
        to_upstream = to_client = None
        if self.auth_method is not None or self.renew_topic is not None or counted:
            to_upstream = Reframer(masked=True, watch=self._watch())
        if self.auth_method is not None:
            to_client = Reframer(masked=False, watch=WelcomeWatch(self.auth_method))
        return to_upstream, to_client

    def _watch(self) -> RenewalWatch | None:
        level = self.connect.level
        foreign = self.auth_method is None and self.connect.auth_method is not None
        if self.renew_topic is None and (level < 5 or foreign):
            return None
        return RenewalWatch(level=level, method=self.auth_method, topic=self.renew_topic, foreign=foreign)

    @property
    def overhears(self) -> None:
        return None

    def authorise_anew(self, told: Identity, now: Identity) -> None:
        """Its names must be the newer token's as well, and its broker knows it by the user that it was told of."""
        self.binding.check(self.connect, now)
        if self.credentials.applied_to(self.connect, told) != self.credentials.applied_to(self.connect, now):
            raise Refused(Cause.FORBIDDEN, "the newer token makes another user of the broker's")

    def farewell(self, cause: Cause, *, welcomed: bool) -> bytes:
        """CONNACK to a client that waits for one; afterwards DISCONNECT, which a server has since MQTT 5."""
        level = self.connect.level
        if not welcomed:
            return _connack(level, cause)
        code = cause.row.disconnect5
        return disconnect(level, code) if level == 5 and code is not None else b""

    def leave(self, cause: Cause) -> bytes:
        keeps = self.has_will and self.keeps_will and not cause.row.fires_will
        return disconnect(self.connect.level) if keeps else b""


class MqttAdapter:
    """Recognises MQTT.

    A client that offers one of the subprotocols is an MQTT client for sure, and what is wrong with its CONNECT is
    said; another one is from its protocol name on. ``username_claim``: ``sub`` or ``preferred_username``.
    ``client_id_prefix``: may hold the same two in braces; see ``Binding``. ``max_connect_bytes``: of the whole packet.
    ``subprotocol``: what brokers are offered, ``None`` for what the client has. ``keeps_wills``: no will fires because
    the gateway drains. ``auth_method``, ``renew_topic``: by which newer tokens may come, ``None`` for none.
    """

    name = NAME
    subprotocols = SUBPROTOCOLS

    def __init__(
        self,
        *,
        credentials: MqttCredentials,
        username_claim: str | None = None,
        client_id_prefix: str | None = None,
        max_connect_bytes: int,
        subprotocol: str | None = None,
        keeps_wills: bool = True,
        auth_method: str | None = None,
        renew_topic: str | None = None,
    ) -> None:
        """Raises ``ValueError`` for a prefix with an unknown placeholder."""
        self._credentials = credentials
        self._binding = Binding(
            username_claim=username_claim,
            client_id_prefix=Template.parse(client_id_prefix) if client_id_prefix else None,
        )
        self._max_connect_bytes = max_connect_bytes
        self._subprotocol = subprotocol
        self._keeps_wills = keeps_wills
        self._auth_method = auth_method
        self._renew_topic = renew_topic

    def recognise(self, opening: Opening) -> MqttGreeting | Verdict:
        """``MORE`` while the payload is the beginning of a CONNECT, be it one byte; a raw client that says no more than
        that beginning is waited for until the deadline of the first message. An empty message begins none."""
        sure = any(name in SUBPROTOCOLS for name in opening.offered)
        if opening.text:  # MQTT 5.0 6
            if sure:
                raise Refused(Cause.BAD_FIRST_MESSAGE, "MQTT in a text message")
            return Verdict.NOT_MINE
        payload = opening.payload
        if not payload and opening.complete and not sure:
            return Verdict.NOT_MINE
        try:
            head = connect_head(payload)
            length = packet_length(payload)
        except UnsupportedVersion as error:
            words = _connack(5 if error.level > 5 else 4, Cause.UNSUPPORTED_VERSION)
            raise Refused(Cause.UNSUPPORTED_VERSION, str(error), last_words=words) from None
        except MalformedConnect as error:
            if sure:
                raise Refused(Cause.BAD_FIRST_MESSAGE, str(error)) from None
            return Verdict.NOT_MINE
        if length is not None and length > self._max_connect_bytes and (sure or head is not None):
            raise Refused(Cause.MESSAGE_TOO_BIG, f"a CONNECT of {length} bytes")
        if head is None or len(payload) < head.length:
            return Verdict.MORE
        try:
            connect = parse_connect(payload[: head.length])
        except MalformedConnect as error:
            words = _connack(head.level, Cause.BAD_FIRST_MESSAGE)
            if isinstance(error, EmptyClientId):
                words = connack(head.level, IDENTIFIER_REJECTED)
            raise Refused(Cause.BAD_FIRST_MESSAGE, str(error), last_words=words) from None
        return MqttGreeting(
            connect=connect,
            rest=payload[head.length :],
            credentials=self._credentials,
            binding=self._binding,
            subprotocol=self._subprotocol,
            keeps_will=self._keeps_wills,
            auth_method=self._auth_method if connect.auth_method == self._auth_method else None,
            renew_topic=self._renew_topic,
        )
