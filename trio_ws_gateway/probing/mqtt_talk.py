"""An MQTT session: CONNECT, SUBSCRIBE to a topic of one's own, and messages published to it.

Packets and messages have nothing to do with each other (MQTT 5.0 6): packets are taken out of whatever they came in.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define, evolve, field

from trio_ws_gateway.causes import Cause
from trio_ws_gateway.probing import after_101, packets
from trio_ws_gateway.probing.attempt import Mqtt
from trio_ws_gateway.probing.codes import connack_words
from trio_ws_gateway.probing.open_socket import OpenSocket
from trio_ws_gateway.probing.packets import REFUSAL, Kind, Packet, PacketReader
from trio_ws_gateway.probing.refusal import Failed, timed_out
from trio_ws_gateway.wire.mqtt import disconnect
from trio_ws_gateway.wire.mqtt_fields import MqttError

LAST_PACKET_ID = 0xFFFF
NO_CONNACK = (
    "The broker took the WebSocket and did not answer the CONNECT: is UPSTREAM_WS_URL a broker's WebSocket listener?"
)
SILENCE = "The broker, or the gateway before it, is silent: is UPSTREAM_WS_URL the WebSocket listener of a broker?"


@define
class MqttTalk:
    socket: OpenSocket
    mqtt: Mqtt
    _reader: PacketReader = field(init=False)
    _waiting: deque[Packet] = field(factory=deque, init=False)
    _packet_id: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = PacketReader(self.socket.attempt.most_message_bytes)

    async def begin(self) -> None:
        with self._step("CONNACK", "The CONNECT was not answered"):
            await self.socket.say(self.socket.attempt.connect(self.mqtt).to_bytes(), "while the CONNECT was sent")
            try:
                packet = await self._next("before the CONNACK")
            except Failed as failed:
                if Cause.IDLE in failed.refusal.causes:
                    raise Failed(evolve(failed.refusal, look_at=(NO_CONNACK,))) from None
                raise
            if packet.kind != Kind.CONNACK:
                raise MqttError(f"{packet.name} in place of a CONNACK")
            code = packets.connack_code(packet)
        if code:
            closing = await self.socket.last_words()
            raise Failed(after_101.connack_refused(self.socket.attempt, self.mqtt, code, closing, self.socket.now()))
        self.socket.course.passed(connack_words(self.mqtt.level, code))
        if self.socket.attempt.count:
            await self._subscribe()

    async def round_trip(self, number: int) -> float:
        """At QoS 1 the broker acknowledges it too, and hears that it came back."""
        attempt, level = self.socket.attempt, self.mqtt.level
        message = attempt.message(number)
        packet_id = self._next_id() if self.mqtt.qos else None
        unacknowledged = {packet_id} - {None}
        seconds: float | None = None
        others = 0
        self.socket.course.begins(f"message {number}")
        began_at = trio.current_time()
        with trio.move_on_after(attempt.timeout_seconds), self._understood():
            await self.socket.say(
                packets.publish(level, self.mqtt.topic, message, packet_id), f"while message {number} was sent"
            )
            while seconds is None or unacknowledged:
                packet = await self._next(f"before message {number} came back")
                if packet.kind == Kind.PUBACK:
                    acknowledged, code = packets.puback_code(packet)
                    if code >= REFUSAL:
                        raise Failed(after_101.not_permitted(self.mqtt, "PUBLISH", code))
                    unacknowledged.discard(acknowledged)
                elif packet.kind == Kind.PUBLISH:
                    published = packets.published(level, packet)
                    if published.packet_id is not None:
                        await self.socket.say(packets.puback(published.packet_id), "while a PUBACK was sent")
                    if (published.topic, published.payload) == (self.mqtt.topic, message):
                        seconds = trio.current_time() - began_at
                    else:
                        others += 1
            return seconds
        if seconds is not None:
            look_at = "It came back all the same: the broker's log says more."
            raise Failed(timed_out(attempt, f"Message {number} was not acknowledged", look_at))
        raise Failed(after_101.nothing_came_back(attempt, number, others))

    async def end(self) -> None:
        await self.socket.say(disconnect(self.mqtt.level), "while the DISCONNECT was sent")

    async def _subscribe(self) -> None:
        packet_id = self._next_id()
        with self._step("SUBACK", "The SUBSCRIBE was not answered"):
            await self.socket.say(
                packets.subscribe(self.mqtt.level, packet_id, self.mqtt.topic, self.mqtt.qos),
                "while the SUBSCRIBE was sent",
            )
            while (packet := await self._next("before the SUBACK")).kind != Kind.SUBACK:
                pass  # a message, of a session that the broker has kept
            answered, code = packets.suback_code(self.mqtt.level, packet)
            if answered != packet_id:
                raise MqttError("a SUBACK for another SUBSCRIBE")
        if code >= REFUSAL:
            raise Failed(after_101.not_permitted(self.mqtt, "SUBSCRIBE", code))
        self.socket.course.passed(f"QoS {code}, {self.mqtt.topic}")

    async def _next(self, meanwhile: str) -> Packet:
        """The next packet that does not end the session."""
        while not self._waiting:
            message = await self.socket.hear(meanwhile)
            if isinstance(message, str):
                raise MqttError("a text message")
            self._waiting.extend(self._reader.feed(message))
        packet = self._waiting.popleft()
        if packet.kind == Kind.DISCONNECT:
            code = packets.disconnect_code(packet)
            closing = await self.socket.last_words()
            raise Failed(after_101.mqtt_ended(self.socket.attempt, code, closing, self.socket.now()))
        return packet

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % LAST_PACKET_ID + 1
        return self._packet_id

    @contextmanager
    def _step(self, name: str, silence: str) -> Iterator[None]:
        self.socket.course.begins(name)
        try:
            with trio.fail_after(self.socket.attempt.timeout_seconds), self._understood():
                yield
        except trio.TooSlowError:
            raise Failed(timed_out(self.socket.attempt, silence, SILENCE)) from None

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except MqttError as error:
            raise Failed(after_101.not_mqtt(self.socket.attempt, str(error))) from None
