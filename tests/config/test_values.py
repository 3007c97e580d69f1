"""The values that settings are made of."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.config.values import Address, Networks, WebSocketUrl, checked_origin, origin_allowed


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        ("[::]:8080", "::", 8080),
        ("[2001:DB8:0:0::1]:1", "2001:db8::1", 1),
        ("localhost:0", "localhost", 0),
        (":65535", "0.0.0.0", 65535),
    ],
)
def test_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    """An address is a name or IP address and a port; without a host it is every IPv4 address."""
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "[::1]:8080", "gateway.example.com:0"])
def test_address_is_written_as_it_is_read(text: str) -> None:
    """An address prints as it would be set, IPv6 in brackets."""
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("8080", "has no port"),
        ("localhost", "has no port"),
        ("[::]", "has no port"),
        ("localhost:", "has no valid port"),
        ("localhost:65536", "has no valid port"),
        ("localhost:+80", "has no valid port"),
        ("localhost:٨٠", "has no valid port"),
        ("::1:80", "has an IPv6 address without brackets"),
        ("[fe80::1%eth0]:80", "has no valid IPv6 address in its brackets"),
        ("[::1::]:80", "has no valid IPv6 address in its brackets"),
        ("[::1]x:80", "has no valid IPv6 address in its brackets"),
        ("256.0.0.1:80", "has no valid IPv4 address"),
        ("a b:80", "has no valid host name"),
        ("-a:80", "has no valid host name"),
        ("a..b:80", "has no valid host name"),
        ("a." * 130 + "a:80", "has no valid host name"),
    ],
)
def test_address_says_what_is_wrong(text: str, wrong: str) -> None:
    """A text that is no address is refused with the reason."""
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("listened", "found"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("192.0.2.7:1", "192.0.2.7:1"),
        ("localhost:1", "localhost:1"),
    ],
)
def test_address_is_found_from_this_machine(listened: str, found: str) -> None:
    """Who listens everywhere is found at the loopback, of the same family."""
    assert str(Address.parse(listened).reachable()) == found


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://rabbitmq:15675/ws", WebSocketUrl(False, "rabbitmq", 15675, "/ws")),
        ("wss://broker.example.com", WebSocketUrl(True, "broker.example.com", 443, "/")),
        ("ws://broker", WebSocketUrl(False, "broker", 80, "/")),
        ("ws://broker?a=b", WebSocketUrl(False, "broker", 80, "/?a=b")),
        ("ws://broker/a%20b?c=%2F&d=?e", WebSocketUrl(False, "broker", 80, "/a%20b?c=%2F&d=?e")),
        ("ws://broker/a?", WebSocketUrl(False, "broker", 80, "/a?")),
        ("WS://Broker:80/A", WebSocketUrl(False, "broker", 80, "/A")),
        ("ws://[::1]:9001/mqtt", WebSocketUrl(False, "::1", 9001, "/mqtt")),
        ("wss://[2001:db8::2]", WebSocketUrl(True, "2001:db8::2", 443, "/")),
        ("ws://bücher.example/", WebSocketUrl(False, "xn--bcher-kva.example", 80, "/")),
    ],
)
def test_url_is_cut_into_what_a_dial_needs(text: str, url: WebSocketUrl) -> None:
    """A WebSocket URL gives security, host, port and the request target as sent."""
    assert WebSocketUrl.parse(text) == url


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "does not begin with ws:// or wss://"),
        ("http://broker/ws", "does not begin with ws:// or wss://"),
        ("ws:/broker", "does not begin with ws:// or wss://"),
        ("broker:15675/ws", "does not begin with ws:// or wss://"),
        ("ws://user:secret@broker/ws", "holds a user name or password"),
        ("ws://@broker/ws", "holds a user name or password"),
        ("ws://broker/ws#", r"has a fragment \(#...\), which RFC 6455 forbids"),
        ("ws://broker/a b", "has a character that must be percent-encoded"),
        ("ws://broker/a\r\nHost: other", "has a character that must be percent-encoded"),
        ("ws://broker/ä", "has a character that must be percent-encoded"),
        ("ws://broker:0/", "has port 0, where nobody listens"),
        ("ws://broker:99999/", "has no valid port"),
        ("ws:///ws", "has no valid host name"),
        ("ws://[::1/ws", "is not a URL"),
        ("ws://::1/ws", "has an IPv6 address without brackets|has no valid port"),
        ("ws://ex\u2100ample/", "is not a URL"),
        ("ws://" + "ü" * 70 + "/", "has a host name that IDNA does not allow"),
    ],
)
def test_url_says_what_is_wrong(text: str, wrong: str) -> None:
    """A text that is no WebSocket URL is refused with the reason."""
    with pytest.raises(ValueError, match=f"^({wrong})$"):
        WebSocketUrl.parse(text)


@pytest.mark.parametrize(
    ("url", "authority", "text"),
    [
        (WebSocketUrl(False, "broker", 80, "/"), "broker", "ws://broker/"),
        (WebSocketUrl(True, "broker", 443, "/a?b"), "broker", "wss://broker/a?b"),
        (WebSocketUrl(True, "broker", 80, "/"), "broker:80", "wss://broker:80/"),
        (WebSocketUrl(False, "::1", 9001, "/"), "[::1]:9001", "ws://[::1]:9001/"),
    ],
)
def test_url_names_its_port_only_where_it_is_not_the_schemes_own(url: WebSocketUrl, authority: str, text: str) -> None:
    """The authority, which the Host header repeats, has a port only where it is not the default."""
    assert url.authority == authority
    assert str(url) == text


@given(st.text())
def test_url_is_read_or_refused(text: str) -> None:
    """Any text is a URL that reads the same once printed, or a `ValueError`."""
    for scheme in ("", "ws://", "wss://h/", "wss://h:1"):
        try:
            url = WebSocketUrl.parse(scheme + text)
        except ValueError:
            continue
        assert WebSocketUrl.parse(url.text) == url
        assert url.text.isascii()


@pytest.mark.parametrize("address", ["10.1.2.3", "192.0.2.7", "fd00::1", "::ffff:10.1.2.3"])
def test_networks_hold_their_addresses(address: str) -> None:
    """Addresses of both families are found, also IPv4 ones that a dual-stack listener wraps into IPv6."""
    networks = Networks.parse(("10.0.0.0/8", "192.0.2.7", "fd00::/8"))
    assert address in networks
    assert ip_address(address) in networks


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.8", "fe80::1", "::ffff:11.0.0.1", "gateway", ""])
def test_networks_hold_nothing_else(address: str) -> None:
    """Other addresses are outside, and so is what is no address."""
    assert address not in Networks.parse(("10.0.0.0/8", "192.0.2.7", "fd00::/8"))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("10.0.0.1/8", "has bits beyond its mask"),
        ("10.0.0.0/33", "is no address or CIDR"),
        ("proxy", "is no address or CIDR"),
    ],
)
def test_networks_say_what_is_wrong(text: str, wrong: str) -> None:
    """A text that is no network is refused with the reason."""
    with pytest.raises(ValueError, match=wrong):
        Networks.parse((text,))


def test_networks_print_as_they_are_set() -> None:
    """A set of networks prints as a comma-separated list; an empty one is false."""
    assert str(Networks.parse(("10.0.0.0/8", "fd00::/8"))) == "10.0.0.0/8,fd00::/8"
    assert Networks.parse(("::1",))
    assert not Networks()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("*", "*"),
        ("*.Example.com", "*.example.com"),
        ("HTTPS://App.example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_origin_pattern_is_what_browsers_send(text: str, pattern: str) -> None:
    """A pattern is kept as browsers write origins: lower case, A-labels, no default port (RFC 6454 6.2)."""
    assert checked_origin(text) == pattern


@pytest.mark.parametrize(
    "text",
    [
        *("app.example.com", "null", "ws://app.example.com", "https://", "https://a/b", "https://*", "*."),
        *("https://*.[::1]", "https://*.*.com", "https://a:b", "://a", "https://a.*.com"),
    ],
)
def test_origin_pattern_that_matches_nothing_is_refused(text: str) -> None:
    """What no browser sends, and a star elsewhere than in front, is an error and not a list that refuses everybody."""
    with pytest.raises(ValueError, match=r"^has "):
        checked_origin(text)


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("https://anything", "*"),
        ("https://app.example.com", "https://app.example.com"),
        ("https://APP.example.com", "https://app.example.com"),
        ("https://app.example.com", "https://*.example.com"),
        ("https://a.b.example.com", "https://*.example.com"),
        ("http://app.example.com", "*.example.com"),
        ("https://app.example.com:8443", "*.example.com:8443"),
    ],
)
def test_origin_is_allowed(origin: str, pattern: str) -> None:
    """An origin is allowed where it equals a pattern, a star standing for labels."""
    assert origin_allowed(origin, ("https://other.example", pattern))


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("http://app.example.com", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com"),
        ("https://app.example.com.evil.org", "https://app.example.com"),
        ("https://example.com", "https://*.example.com"),
        ("https://.example.com", "https://*.example.com"),
        ("https://evilexample.com", "https://*.example.com"),
        ("https://evil.org/.example.com", "https://*.example.com"),
        ("https://app.example.com.evil.org", "*.example.com"),
        ("https://app.example.com\n", "*.example.com"),
        ("https://app-example.com", "*.example.com"),
        ("https://app.exampleXcom", "*.example.com"),
        ("ftp://app.example.com", "*.example.com"),
        ("https://app.example.com:8443", "*.example.com"),
        ("null", "*.example.com"),
        ("", "https://app.example.com"),
    ],
)
def test_origin_is_not_allowed(origin: str, pattern: str) -> None:
    """Another scheme, another port, a suffix that is no label, and tricks with suffixes are refused."""
    assert not origin_allowed(origin, (pattern,))
