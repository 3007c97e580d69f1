"""What is printed to be tried is right for where everything is."""

import pytest

from trio_ws_gateway.config.values import Address
from trio_ws_gateway.demo.try_it import Places, addresses, commands

PLACES = Places(
    gateway=Address("127.0.0.1", 8080),
    path="/ws",
    issuer="http://127.0.0.1:9000",
    mqtt_port=1884,
    python="/home/a user/python",
)
MODERN = Places(gateway=Address("::1", 8080), path="/ws", issuer="http://[::1]:9000", mqtt_port=1884, python="python")


def test_columns() -> None:
    """Nothing but tokens, and addresses with the token in them, is too long for 80 columns."""
    printed = f"{addresses(PLACES)}\n{commands(PLACES, good='GOOD', expired='EXPIRED')}"
    assert [line for line in printed.splitlines() if len(line) > 80] == []


def test_python() -> None:
    """The path of the interpreter is one word to a shell."""
    assert "'/home/a user/python' - <<'END'\n" in commands(PLACES, good="", expired="")


@pytest.mark.parametrize("text", ["ws://[::1]:8080/ws", "http://[::1]:8080/metrics"])
def test_ipv6(text: str) -> None:
    """An IPv6 address stands in brackets in a URL, and without them where it is an argument."""
    printed = addresses(MODERN) + commands(MODERN, good="", expired="")
    assert text in printed
    assert "-h ::1 -p 1884" in printed
    assert 'client.connect("::1", 8080)' in printed
