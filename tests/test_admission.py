"""Who may knock, and from where."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_ws_gateway.admission import client_address, origin_allowed
from trio_ws_gateway.config.values import Networks

PROXIES = Networks.parse(("10.0.0.0/8", "2001:db8::/32"))


@pytest.mark.parametrize("allowed", [(), ("*",), ("https://app.example.com",)])
def test_client_without_origin_is_no_browser(allowed: tuple[str, ...]) -> None:
    """A client that sends no Origin may connect under any list."""
    assert origin_allowed(None, allowed)


@pytest.mark.parametrize("origin", ["https://anything.example", "null", "", "garbage"])
@pytest.mark.parametrize("allowed", [(), ("*",), ("https://app.example.com", "*")])
def test_every_origin_is_allowed_without_a_list(origin: str, allowed: tuple[str, ...]) -> None:
    """No list, or a star in it, allows every origin."""
    assert origin_allowed(origin, allowed)


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("HTTPS://APP.example.com", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://a.b.example.com", "https://*.example.com"),
        ("https://a.example.com:443", "https://*.example.com"),
        ("null", "null"),
    ],
)
def test_listed_origin_is_allowed(origin: str, pattern: str) -> None:
    """An origin of the same scheme, host and port is allowed, or one below a listed suffix; so is a listed ``null``."""
    assert origin_allowed(origin, ("https://other.example", pattern))


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil-example.com", "https://evilexample.com", "https://example.com", "https://.example.com"),
        *("https://app.example.com.evil.org", "http://app.example.com", "https://app.example.com:8443"),
        *("https://evil.org/.example.com", "https://evil.org?.example.com", "https://evil.org#.example.com"),
        *("https://evil.org@app.example.com", "https://*.example.com", "app.example.com", "null", "", "*"),
        *("https://app.example.com, https://evil.org", "https://app.example.com/", "https://app.example.com\n"),
    ],
)
def test_other_origins_are_not(origin: str) -> None:
    """Neighbours, the bare suffix, other schemes and ports, ``null`` and tricks with suffixes are refused."""
    assert not origin_allowed(origin, ("https://*.example.com",))


def test_list_is_exact() -> None:
    """A host without a star allows neither what is below nor what is above it."""
    assert not origin_allowed("https://a.app.example.com", ("https://app.example.com",))
    assert not origin_allowed("https://example.com", ("https://app.example.com",))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        pytest.param("203.0.113.7", (), "203.0.113.7", id="no proxy"),
        pytest.param("203.0.113.7", ("192.0.2.1",), "203.0.113.7", id="a client that lies"),
        pytest.param("10.0.0.1", (), "10.0.0.1", id="a proxy on its own behalf"),
        pytest.param("10.0.0.1", ("192.0.2.1",), "192.0.2.1", id="behind one proxy"),
        pytest.param("10.0.0.1", ("192.0.2.1, 10.0.0.2",), "192.0.2.1", id="behind two"),
        pytest.param("10.0.0.1", ("192.0.2.1", "10.0.0.2"), "192.0.2.1", id="over two lines"),
        pytest.param("10.0.0.1", ("192.0.2.1, 198.51.100.9",), "198.51.100.9", id="a client that lies to a proxy"),
        pytest.param("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3", id="only proxies"),
        pytest.param("10.0.0.1", ("192.0.2.1, unknown, 10.0.0.2",), "10.0.0.2", id="garbage ends the walk"),
        pytest.param("10.0.0.1", ("192.0.2.1, ",), "10.0.0.1", id="so does nothing"),
        pytest.param("10.0.0.1", ("fe80::1%\x22,",), "10.0.0.1", id="so does a zone"),
        pytest.param("10.0.0.1", ("fe80::1%x",), "10.0.0.1", id="so does a zone at the right"),
        pytest.param("10.0.0.1", ("010.0.0.2",), "10.0.0.1", id="octal or decimal"),
        pytest.param("10.0.0.1", ("192.0.2.1:4711",), "192.0.2.1", id="with a port"),
        pytest.param("10.0.0.1", ("[2001:DB8:0::5]:4711",), "2001:db8::5", id="IPv6 with a port"),
        pytest.param("10.0.0.1", ("[2a00::5]",), "2a00::5", id="IPv6 in brackets"),
        pytest.param("2001:db8::1", ("2a00:0:0::5",), "2a00::5", id="IPv6"),
        pytest.param("::ffff:10.0.0.1", ("::ffff:192.0.2.1",), "192.0.2.1", id="mapped IPv4"),
        pytest.param("::ffff:192.0.2.1", (), "192.0.2.1", id="mapped peer"),
        pytest.param("unix:", ("192.0.2.1",), "unix:", id="no IP at all"),
    ],
)
def test_client_address(peer: str, forwarded_for: tuple[str, ...], address: str) -> None:
    """The address is the right-most that no trusted proxy has, as far as trusted proxies vouch for it."""
    assert client_address(peer, forwarded_for, PROXIES) == address


@given(forged=st.text(st.characters(max_codepoint=255), max_size=40))
@settings(max_examples=50)
def test_forged_part_changes_nothing(forged: str) -> None:
    """Whatever a client puts before what the proxy appended, its address is the same."""
    assert client_address("10.0.0.1", (forged, "198.51.100.9"), PROXIES) == "198.51.100.9"
    assert client_address("198.51.100.9", (forged,), PROXIES) == "198.51.100.9"
