"""The kinds of settings: how a text becomes a value, and what is said of a wrong one."""

from pathlib import Path
from typing import Any

import pytest

from trio_ws_gateway.config import kinds
from trio_ws_gateway.config.kinds import Kind, choice
from trio_ws_gateway.config.redis_url import RedisUrl
from trio_ws_gateway.config.values import Networks
from trio_ws_gateway.wire import jwa


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kinds.SECONDS, "0", 0.0),
        (kinds.SECONDS, "0.5", 0.5),
        (kinds.SECONDS, ".5", 0.5),
        (kinds.POSITIVE_MINUTES, "10", 10.0),
        (kinds.COUNT, "0", 0),
        (kinds.POSITIVE_COUNT, "010", 10),
        (kinds.BYTES, "67108864", 2**26),
        (kinds.BOOLEAN, "TRUE", True),
        (kinds.BOOLEAN, "on", True),
        (kinds.BOOLEAN, "0", False),
        (kinds.BOOLEAN, "No", False),
        (kinds.TEXTS, " a ,b,, c d,", ("a", "b", "c d")),
        (kinds.ALGORITHMS, ",".join(jwa.ALGORITHMS), jwa.ALGORITHMS),
        (kinds.ORIGINS, "https://A.example, *.b.example", ("https://a.example", "*.b.example")),
        (kinds.NETWORKS, "10.0.0.0/8, ::1", Networks.parse(("10.0.0.0/8", "::1"))),
        (kinds.NETWORKS, "none", Networks()),
        (kinds.HTTP_URL, "http://[::1]:8080/certs?a=b", "http://[::1]:8080/certs?a=b"),
        (kinds.ISSUER, "https://id.example.com/", "https://id.example.com/"),
        (kinds.REDIS_URL, "rediss://user:pass@redis:6379/0", RedisUrl.parse("rediss://user:pass@redis:6379/0")),
        (kinds.PATH, "/", "/"),
        (kinds.PATH, "/a/b-c%20d", "/a/b-c%20d"),
        (kinds.NAME, "__Host-session", "__Host-session"),
        (kinds.NAMES, "token, access_token", ("token", "access_token")),
        (kinds.TEMPLATE, "{sub}-}{a", "{sub}-}{a"),
        (kinds.MQTT_CREDENTIALS, "pass", "pass"),
        (kinds.MQTT_CREDENTIALS, "{sub}:secret:", "{sub}:secret:"),
        (kinds.MQTT_CREDENTIALS, "a{:}", "a{:}"),
    ],
)
def test_value_is_read(kind: Kind[Any], text: str, value: object) -> None:
    """A text of the kind becomes its value."""
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        (kinds.SECONDS, "-1", "is not a plain number"),
        (kinds.SECONDS, "60s", "is not a plain number"),
        (kinds.SECONDS, "1e3", "is not a plain number"),
        (kinds.SECONDS, "inf", "is not a plain number"),
        (kinds.SECONDS, "nan", "is not a plain number"),
        (kinds.SECONDS, "1_0", "is not a plain number"),
        (kinds.SECONDS, "٦٠", "is not a plain number"),
        (kinds.SECONDS, "9" * 400, "is too big"),
        (kinds.RATE, "1000000000.1", "is too big"),
        (kinds.POSITIVE_SECONDS, "0.0", "is zero"),
        (kinds.COUNT, "1.5", "is not a whole number"),
        (kinds.COUNT, "9" * 5000, "is not a whole number"),
        (kinds.COUNT, "1000000001", "is too big"),
        (kinds.POSITIVE_COUNT, "0", "is too small"),
        (kinds.POSITIVE_BYTES, "64KiB", "is not a whole number"),
        (kinds.BOOLEAN, "maybe", "is neither true nor false"),
        (kinds.TEXTS, ",", "has nothing between its commas"),
        (kinds.ORIGINS, " , ", "has nothing between its commas"),
        (kinds.NAMES, ",", "has nothing between its commas"),
        (kinds.ALGORITHMS, "RS256,None", "allows `none`"),
        (kinds.ALGORITHMS, "HS256", "allows an HMAC algorithm"),
        (kinds.ALGORITHMS, "rs256", "names an unknown algorithm"),
        (kinds.HTTP_URL, "id.example.com/certs", "does not begin with https://"),
        (kinds.HTTP_URL, "https:///certs", "does not begin with https://"),
        (kinds.HTTP_URL, "file:///certs", "does not begin with https://"),
        (kinds.HTTP_URL, "https://id.example.com/a b", "has white space in it"),
        (kinds.HTTP_URL, "https://id.example.com:x/", "is not a URL"),
        (kinds.HTTP_URL, "https://[::1/", "is not a URL"),
        (kinds.HTTP_URL, "https://id.example.com:0/", "has port 0"),
        (kinds.HTTP_URL, "https://a:b@id.example.com/", "holds a user name"),
        (kinds.HTTP_URL, "https://id.example.com/#certs", "has a fragment"),
        (kinds.HTTP_URL, "https://[v1.a]/", "has no valid IPv6 address"),
        (kinds.HTTP_URL, "https://id..example.com/", "has no valid host name"),
        (kinds.HTTP_URL, "https://256.1.1.1/", "has no valid IPv4 address"),
        (kinds.HTTP_URL, f"https://{'ä' * 64}.example/", "has a host name that IDNA does not allow"),
        (kinds.ISSUER, "https://[v1.a]/", "has no valid IPv6 address"),
        (kinds.ISSUER, "https://id.example.com/?realm=a", "has a query"),
        (kinds.REDIS_URL, "redis", "is not a Redis URL"),
        (kinds.REDIS_URL, "redis://a b", "has white space in it"),
        (kinds.PATH, "ws", "is not the path of a URL"),
        (kinds.PATH, "/ws?a", "is not the path of a URL"),
        (kinds.PATH, "/ws/ä", "is not the path of a URL"),
        (kinds.PATH, "/metrics", "is the path of a page of the gateway's own"),
        (kinds.NAME, "a b", "has a character that no such name has"),
        (kinds.NAMES, "a;b", "has a character that no such name has"),
        (kinds.FILE, "/nowhere/ca.pem", "is not there, or is no file"),
        (kinds.TEMPLATE, "{name}", "has a placeholder other than"),
        (kinds.TEMPLATE, "{sub }", "has a placeholder other than"),
        (kinds.TEMPLATE, "{}", "has a placeholder other than"),
        (kinds.MQTT_CREDENTIALS, ":secret", "is neither pass nor strip"),
        (kinds.MQTT_CREDENTIALS, "{sub}:{token}", "has a placeholder other than"),
        (kinds.MQTT_CREDENTIALS, "none", "is neither pass nor strip"),
    ],
)
def test_wrong_value_is_named(kind: Kind[Any], text: str, wrong: str) -> None:
    """A text that is not of the kind is refused with the reason, which does not repeat the text."""
    with pytest.raises(ValueError, match=f"^{wrong}") as caught:
        kind.parse(text)
    assert len(text) < 10 or text not in str(caught.value)


def test_choice_takes_any_case_and_other_names() -> None:
    """A choice is one of its words, in any case, or another name for one."""
    level = choice("info", "warning", aliases={"warn": "warning"})
    assert [level.parse(text) for text in ("info", "WARNING", "warn")] == ["info", "warning", "warning"]
    assert (level.name, level.right) == ("`info` \\| `warning`", "info or warning")
    with pytest.raises(ValueError, match=r"^is not one of the choices$"):
        level.parse("loud")


def test_file_is_there(tmp_path: Path) -> None:
    """A file must exist when the gateway starts, and be no directory."""
    path = tmp_path / "ca.pem"
    path.touch()
    assert kinds.FILE.parse(str(path)) == path
    with pytest.raises(ValueError, match=r"^is not there, or is no file$"):
        kinds.FILE.parse(str(tmp_path))
