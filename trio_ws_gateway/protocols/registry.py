"""Which protocol a client speaks: the adapters, asked in order.

A subprotocol that the client offered settles it; else the first adapter that takes the client's
first words. ``Registry`` knows adapters by their interface only; ``standard_registry`` lists them.
"""

from collections.abc import Iterable, Sequence

from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.protocols.base import Adapter, Greeting, Opening, Verdict
from trio_ws_gateway.protocols.mqtt import MqttAdapter, parse_mqtt_credentials
from trio_ws_gateway.protocols.raw import RawAdapter


class Registry:
    """``adapters``: the order in which they are asked; one that takes everything comes last."""

    def __init__(self, adapters: Iterable[Adapter]) -> None:
        self.adapters = tuple(adapters)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The names of all adapters."""
        return tuple(adapter.name for adapter in self.adapters)

    def adapter_for(self, offered: Sequence[str]) -> Adapter | None:
        """The adapter of the first offered subprotocol that belongs to one."""
        for name in offered:
            for adapter in self.adapters:
                if name in adapter.subprotocols:
                    return adapter
        return None

    def recognise(self, opening: Opening) -> Greeting | None:
        """The greeting that the opening is; ``None`` while it takes more to say.

        An adapter that needs more holds the question open for those behind it. Raises ``Refused``: an adapter's own,
        or ``BAD_FIRST_MESSAGE`` where none takes it.
        """
        surely = self.adapter_for(opening.offered)
        for adapter in self.adapters if surely is None else (surely,):
            answer = adapter.recognise(opening)
            if answer is Verdict.MORE:
                return None
            if not isinstance(answer, Verdict):
                return answer
        raise Refused(Cause.BAD_FIRST_MESSAGE, "no protocol takes these first words")


def standard_registry(settings: Settings) -> Registry:
    """The protocols of this gateway; a further one is a line here, before raw, which takes everything."""
    offered = settings.upstream_mqtt_subprotocol
    return Registry(
        [
            MqttAdapter(
                credentials=parse_mqtt_credentials(settings.upstream_mqtt_credentials),
                username_claim=settings.mqtt_username_claim,
                client_id_prefix=settings.mqtt_client_id_prefix,
                max_connect_bytes=settings.ws_first_message_max_bytes,
                subprotocol=None if offered == "auto" else offered,
                keeps_wills=settings.mqtt_will_on_drain == "suppress",
                auth_method=settings.mqtt_auth_method if settings.verifies_tokens else None,
                renew_topic=settings.mqtt_renew_topic if settings.verifies_tokens else None,
            ),
            RawAdapter(renewal_type=settings.renewal_type),
        ]
    )
