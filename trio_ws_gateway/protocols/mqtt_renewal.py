"""How an MQTT client shows a newer token in mid-session: by AUTH (MQTT 5.0 4.12.1), or by a PUBLISH to a topic.

Two watches over the packets of a session. Both take out what is the gateway's and say what it is; what comes of it
others decide. A broker sees neither the token nor, where a client was authenticated by our method, that method.
"""

from typing import Final

from trio_ws_gateway.wire.asking import Asked
from trio_ws_gateway.wire.mqtt_fields import MqttError, string
from trio_ws_gateway.wire.mqtt_packets import (
    AUTH,
    CONNACK,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    RE_AUTHENTICATE,
    acknowledged,
    acknowledgement,
    auth_success,
    parse_auth,
    parse_publish,
    with_auth_method,
)

UNRELEASED_MAX: Final = 16  # tokens at QoS 2 of which the client has not said that it has heard so


def _flags(*firsts: int) -> bytes:
    return bytes(first in firsts for first in range(256))


BY_AUTH: Final = _flags(AUTH)
BY_TOPIC: Final = _flags(*range(PUBLISH, PUBLISH + 16), PUBREL)
BY_EITHER: Final = _flags(AUTH, *range(PUBLISH, PUBLISH + 16), PUBREL)


class RenewalWatch:
    """Of a client's packets: AUTH where it was authenticated by ``method``, and what it publishes to ``topic``.

    ``level``: of the protocol. ``None`` for one of the two ways that is not open to this client. ``foreign``: its
    CONNECT names a method of the broker's, and so does its AUTH. Who named none must not send any (MQTT 5.0 4.12), and
    its token is not for the broker.
    """

    def __init__(self, *, level: int, method: str | None, topic: str | None, foreign: bool = False) -> None:
        self._level = level
        self._method = method
        self._topic = b"" if topic is None else string(topic, "renewal topic")
        self._unreleased: set[int] = set()
        reads_auth = level >= 5 and not foreign
        self.firsts = (BY_EITHER if topic is not None else BY_AUTH) if reads_auth else BY_TOPIC

    def concerns(self, data: bytes | bytearray, at: int, body: int, end: int) -> bool | None:
        first = data[at]
        if first == AUTH:
            return True
        if first == PUBREL:
            return int.from_bytes(data[body : body + 2]) in self._unreleased if body + 2 <= end else None
        named = data[body : min(body + len(self._topic), end)]
        return named == self._topic or (None if self._topic.startswith(named) else False)

    def judge(self, packet: bytes) -> Asked:
        if packet[0] == AUTH:
            return self._re_authenticate(packet)
        if packet[0] == PUBREL:
            return self._release(packet)
        return self._take_published(packet)

    def _re_authenticate(self, packet: bytes) -> Asked:
        auth = parse_auth(packet)
        if self._method is None or auth.method != self._method:
            raise MqttError("AUTH without the method of the CONNECT")
        if auth.reason != RE_AUTHENTICATE:
            raise MqttError("AUTH that is no re-authentication")
        return Asked(token=_text(auth.data or b""), reply=auth_success(self._method))

    def _take_published(self, packet: bytes) -> Asked:
        publish = parse_publish(packet, self._level)
        if publish.aliased:  # threat: what is published by the alias alone, later, would go to whatever it meant before
            raise MqttError("a topic alias for the renewal topic")
        token = _text(publish.payload)
        if publish.qos == 0:
            return Asked(token=token)
        if publish.qos == 1:
            return Asked(token=token, reply=acknowledgement(PUBACK, publish.packet_id))
        if len(self._unreleased) >= UNRELEASED_MAX:
            raise MqttError("too many tokens at QoS 2 that are not released")
        self._unreleased.add(publish.packet_id)
        return Asked(token=token, reply=acknowledgement(PUBREC, publish.packet_id))

    def _release(self, packet: bytes) -> Asked:
        packet_id = acknowledged(packet)
        self._unreleased.discard(packet_id)
        return Asked(reply=acknowledgement(PUBCOMP, packet_id))


class WelcomeWatch:
    """Of a broker's packets: its CONNACK says ``method``, by which the client was authenticated."""

    firsts = _flags(CONNACK)

    def __init__(self, method: str) -> None:
        self._method = method

    def concerns(self, _data: bytes | bytearray, _at: int, _body: int, _end: int) -> bool:
        return True

    def judge(self, packet: bytes) -> bytes:
        return with_auth_method(packet, self._method)


def _text(token: bytes) -> str:
    """Bytes that are not ASCII are written as ``\\xNN``, which no token is."""
    return token.decode("ascii", "backslashreplace")
