"""What the standards call the codes that a client hears: close codes, CONNACK and MQTT 5 reason codes.

The words are the standards' own. What the gateway means by a code is in ``causes``, and nothing of that is here.
"""

from typing import Final

CLOSE_CODES: Final = {  # RFC 6455 7.4.1, and IANA's registry
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "a Close without a code",
    1006: "the connection broke off without a Close",
    1007: "invalid text",
    1008: "policy violation",
    1009: "message too big",
    1010: "an extension is missing",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}

CONNACK_CODES: Final = {  # MQTT 3.1.1 3.2.2.3
    0: "accepted",
    1: "unacceptable protocol version",
    2: "client id rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}

REASON_CODES: Final = {  # MQTT 5.0 2.4
    0x00: "success",
    0x04: "disconnect with will",
    0x10: "no matching subscribers",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client id not valid",
    0x86: "bad user name or password",
    0x87: "not authorised",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}


def close_words(code: int) -> str:
    """``1008, policy violation``."""
    if code in (1005, 1006):  # never on the wire, so they are no codes to whoever reads this
        return CLOSE_CODES[code]
    return f"{code}, {CLOSE_CODES.get(code, 'of the application' if code >= 4000 else 'no standard code')}"


def connack_words(level: int, code: int) -> str:
    """``0x05, not authorised``, by the version's own table."""
    if is_of_mqtt_3(level, code):
        return f"0x{code:02x}, in MQTT 3.1.1: {CONNACK_CODES[code]}"
    table = REASON_CODES if level == 5 else CONNACK_CODES
    return f"0x{code:02x}, {table.get(code, 'no standard code')}"


def is_of_mqtt_3(level: int, code: int) -> bool:
    """Whether a CONNACK's code answers MQTT 5 in the words of MQTT 3.1.1, as a broker does that knows no other."""
    return level == 5 and 0 < code < 0x80 and code in CONNACK_CODES


def reason_words(code: int) -> str:
    return f"0x{code:02x}, {REASON_CODES.get(code, 'no standard code')}"
