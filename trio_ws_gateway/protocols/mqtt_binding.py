"""Whose name an MQTT client may bear, and which name and password its broker is shown.

A valid token must not be an anonymous superuser on the broker: the names that a client claims are
bound to its token, and its credentials can be replaced. Settings become values here. Names are
compared exactly, and no error shows a password.
"""

import re
from enum import Enum
from typing import Final, Self

from attrs import evolve, field, frozen

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Cause, Refused
from trio_ws_gateway.wire.mqtt import Connect

CLAIMS: Final = ("sub", "preferred_username")
SEPARATORS: Final = ("-", "_", "/", ":")  # what may follow a client id prefix that ends with a claim

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def claim(identity: Identity | None, name: str) -> str:
    """The claim that ``name`` stands for. Raises ``Refused(FORBIDDEN)`` where there is none, or an empty one."""
    value = None
    if identity is not None:
        value = identity.subject if name == "sub" else identity.preferred_username
    if not value:
        raise Refused(Cause.FORBIDDEN, f"the token has no {name}, which the MQTT settings need")
    return value


@frozen
class Template:
    """Text in which ``{sub}`` and ``{preferred_username}`` stand for claims; a brace without its fellow is itself.

    Prefer ``sub``: many providers let users choose their ``preferred_username``.
    """

    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ``ValueError`` for anything else in braces, without showing it: it may be part of a password."""
        if any(name not in CLAIMS for name in _PLACEHOLDER.findall(text)):
            raise ValueError("has something other than {sub} and {preferred_username} in braces")
        return cls(text)

    @property
    def ends_with_claim(self) -> bool:
        return self.text.endswith(tuple(f"{{{name}}}" for name in CLAIMS))

    def expand(self, identity: Identity | None) -> str:
        """In one pass: what a claim holds is never a placeholder. Raises ``Refused`` for a missing claim."""
        return _PLACEHOLDER.sub(lambda found: claim(identity, found[1]), self.text)


class Mode(Enum):
    """What becomes of a CONNECT's user name and password."""

    PASS = "pass"
    STRIP = "strip"
    REPLACE = "replace"


@frozen(kw_only=True)
class MqttCredentials:
    """``UPSTREAM_MQTT_CREDENTIALS``. The templates count in ``REPLACE`` only, and always together: MQTT 3 has no
    password without a user name."""

    mode: Mode
    username: Template = Template("")
    password: Template = Template("")

    def applied_to(self, connect: Connect, identity: Identity | None) -> Connect:
        """The CONNECT that the broker is shown. Raises ``Refused`` where a claim is missing."""
        if self.mode is Mode.PASS:
            return connect
        if self.mode is Mode.STRIP:
            return evolve(connect, username=None, password=None)
        password = self.password.expand(identity).encode(errors="surrogatepass")  # a password is any bytes
        return evolve(connect, username=self.username.expand(identity), password=password)


def parse_mqtt_credentials(text: str) -> MqttCredentials:
    """``pass``, ``strip``, or ``user:password`` split at the first colon.

    Raises ``ValueError``, worded to follow the setting's name.
    """
    if text in (Mode.PASS.value, Mode.STRIP.value):
        return MqttCredentials(mode=Mode(text))
    username, colon, password = text.partition(":")
    if not colon or not username:
        raise ValueError("is neither `pass` nor `strip` nor `user:password`")
    return MqttCredentials(mode=Mode.REPLACE, username=Template.parse(username), password=Template.parse(password))


@frozen(kw_only=True)
class Binding:
    """Which names a token entitles to.

    ``username_claim``: the claim that a user name, if there is one, must equal. ``client_id_prefix``: what a
    client id must begin with. One that ends with a claim is either the whole client id or is followed by one of
    ``SEPARATORS``; without that, subject ``a`` would be let in as ``ab``. Wherever a client id goes on after a
    claim, what separates them should be something that no subject holds: with ``{sub}-``, subject ``a`` may be
    ``a-b-1``, and so may subject ``a-b``. Subjects of one length, like UUIDs, are safe with any.
    """

    username_claim: str | None = None
    client_id_prefix: Template | None = None

    def check(self, connect: Connect, identity: Identity | None) -> None:
        """Raises ``Refused(FORBIDDEN)`` where the CONNECT claims another one's name."""
        wanted, prefix = self.username_claim, self.client_id_prefix
        if wanted is not None and connect.username is not None and connect.username != claim(identity, wanted):
            raise Refused(Cause.FORBIDDEN, f"the user name is not the token's {wanted}")
        if prefix is not None and not _begins(connect.client_id, prefix, identity):
            raise Refused(Cause.FORBIDDEN, "the client id does not begin as the token's client ids do")


def _begins(client_id: str, prefix: Template, identity: Identity | None) -> bool:
    expanded = prefix.expand(identity)
    if not client_id.startswith(expanded):
        return False
    rest = client_id[len(expanded) :]
    return not prefix.ends_with_claim or not rest or rest.startswith(SEPARATORS)
