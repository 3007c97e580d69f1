"""The data types of MQTT (5.0 1.5, 3.1.1 1.5), read and written, and the errors of what breaks them.

An error names the field and never shows what it held: a field may be a password. This module knows
no packet; the order and the meaning of fields are ``mqtt``'s.
"""

from typing import Final

LONGEST_FIELD: Final = 0xFFFF
LONGEST_PACKET: Final = 0x0FFF_FFFF  # four bytes of seven bits


class MqttError(ValueError):
    """Bytes, or values, that cannot be MQTT."""


class MalformedConnect(MqttError):
    """A CONNECT that breaks a rule; the message names it."""


class EmptyClientId(MalformedConnect):
    """No client id where one is needed: the one malformation with a return code of its own (MQTT 3.1.1 3.1.3.1)."""


class UnsupportedVersion(MqttError):
    """A CONNECT of a protocol ``level`` that is not 3, 4 or 5, or not with that protocol name."""

    def __init__(self, level: int) -> None:
        super().__init__(f"protocol level {level} is not supported")
        self.level = level


def read_variable(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int] | None:
    """The Variable Byte Integer at ``data[at:]`` and the position after it; ``None`` while bytes of it are missing.

    Raises ``MalformedConnect`` as soon as a fifth byte is announced.
    """
    value = 0
    for count, byte in enumerate(data[at : at + 4]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    if len(data) >= at + 4:
        raise MalformedConnect("length has more than four bytes")
    return None


class Reader:
    """Takes fields off the front of ``data``; ``what`` is the field's name in a ``MalformedConnect``."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return len(self._data) - self._at

    def take(self, size: int, what: str) -> bytes:
        if size > self.left:
            raise MalformedConnect(f"{what} is cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def integer(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what))

    def variable(self, what: str) -> int:
        """Minimal, as MQTT 5.0 1.5.5 wants it."""
        found = read_variable(self._data, self._at)
        if found is None:
            raise MalformedConnect(f"{what} is cut short")
        value, end = found
        if end - self._at > 1 and self._data[end - 1] == 0:
            raise MalformedConnect(f"{what} is not encoded in the fewest bytes")
        self._at = end
        return value

    def binary(self, what: str) -> bytes:
        return self.take(self.integer(2, what), what)

    def string(self, what: str) -> str:
        """UTF-8 without surrogates and without NUL (MQTT 5.0 1.5.4); a byte order mark is a character like others."""
        try:
            text = self.binary(what).decode()
        except UnicodeDecodeError:
            raise MalformedConnect(f"{what} is not UTF-8") from None  # the cause would show the bytes
        if "\0" in text:
            raise MalformedConnect(f"{what} holds NUL")
        return text


def integer(value: int, size: int, what: str) -> bytes:
    if not 0 <= value < 1 << 8 * size:
        raise MalformedConnect(f"{what} does not fit {size} bytes")
    return value.to_bytes(size)


def variable(value: int, what: str) -> bytes:
    if value > LONGEST_PACKET:
        raise MalformedConnect(f"{what} is longer than {LONGEST_PACKET} bytes")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def binary(value: bytes, what: str) -> bytes:
    if len(value) > LONGEST_FIELD:
        raise MalformedConnect(f"{what} is longer than {LONGEST_FIELD} bytes")
    return len(value).to_bytes(2) + value


def string(value: str, what: str) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise MalformedConnect(f"{what} is not UTF-8") from None
    if "\0" in value:
        raise MalformedConnect(f"{what} holds NUL")
    return binary(encoded, what)
