"""What answers in place of a 101."""

import pytest

from trio_ws_gateway.diagnosis.answers import Speech, advice_on, speech_of, wants_tls


@pytest.mark.parametrize(
    ("heard", "speech"),
    [
        (b"", Speech.NOTHING),
        (b"HTTP/1.1 101 Swit", Speech.HTTP),
        (b"\x15\x03\x03\x00\x02\x02\x46", Speech.TLS),
        (b"\x16\x03\x01", Speech.TLS),
        (b"\x15\x02", Speech.OTHER),
        (b"AMQP\x00\x00\x09\x01", Speech.AMQP),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", Speech.OTHER),
    ],
)
def test_first_bytes(heard: bytes, speech: Speech) -> None:
    """The first bytes tell what is spoken there."""
    assert speech_of(heard) is speech


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<title>400 The plain HTTP request was sent to HTTPS port</title>", True),
        (b"Client sent an HTTP request to an HTTPS server.\n", True),
        (b"HTTPS is for later", False),
    ],
)
def test_port_of_tls(body: bytes, expected: bool) -> None:
    """nginx and Go servers say in HTTP that they want TLS."""
    assert wants_tls(body) is expected


def test_statuses() -> None:
    """Of every status it is known what to look at, but for those that only mean something to who asked."""
    silent = [status for status in range(200, 600) if not advice_on(status)]
    assert {200, 426, 502, 599}.isdisjoint(silent)
    assert {301, 401, 404, 418} <= set(silent)
