"""From the environment and a YAML file to settings, or to everything that is wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_ws_gateway.config.loading import BadSettings, Problem, load, over_env_file, parse_env_file, read_value
from trio_ws_gateway.config.settings import Settings
from trio_ws_gateway.config.values import Address, Networks, WebSocketUrl

HERE = Path(__file__).parent
KEYS = {"JWKS_URL": "https://id.example.com/certs"}


def problems(environ: dict[str, str], yaml_text: str | None = None) -> list[str]:
    """What is wrong with settings that have a source of keys beside ``environ``."""
    with pytest.raises(BadSettings) as caught:
        load(KEYS | environ, yaml_text)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return str(caught.value).splitlines()


def settings(environ: dict[str, str], yaml_text: str | None = None) -> Settings:
    return load(KEYS | environ, yaml_text).settings


def test_env_file_of_the_go_gateway_is_taken_unchanged() -> None:
    """Inline comments are cut, empty values are unset, names without meaning and features to come are warned of."""
    loaded = load(parse_env_file((HERE / "go_gateway.env").read_text(encoding="utf-8")))
    assert loaded.settings == Settings(
        ws_allowed_origins=("*.example.com",),
        ws_idle_timeout_seconds=90.0,
        rate_limit_per_second=10.0,
        rate_limit_burst=30,
        jwks_url="https://id.example.com/realms/robots/protocol/openid-connect/certs",
        jwt_expected_issuer="https://id.example.com/realms/robots",
        jwt_expected_audience=("broker",),
    )
    assert [warning.partition(" ")[0] for warning in loaded.warnings if "accepted but means" in warning] == [
        "INGRESS_HOST",
        "SHUTDOWN_HARD_LIMIT",
        "JWT_CACHE_STORE=postgres",
    ]


def test_env_file_passed_through_by_a_container_engine_is_taken_too() -> None:
    """Docker's --env-file keeps inline comments and trailing spaces in the values: they are cut here as well."""
    lines = (HERE / "go_gateway.env").read_text(encoding="utf-8").splitlines()
    environ = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environ["JWT_VALID_ALGORITHMS"] == "RS256              # Comma-separated string"
    assert load(environ) == load(parse_env_file("\n".join(lines)))


def test_example_env_file_is_valid() -> None:
    """``.env.example`` starts a gateway, and with every line switched on it still does."""
    text = (HERE.parents[1] / ".env.example").read_text(encoding="utf-8")
    assert load(parse_env_file(text)).warnings == ()
    everything = parse_env_file(re.sub(r"(?m)^# (?=[A-Z_]+=)", "", text))
    assert everything.keys() > parse_env_file(text).keys()
    assert load(everything).settings.mqtt_client_id_prefix == "{sub}-"


def test_nothing_but_a_key_source_is_needed() -> None:
    """Every other setting has a default."""
    assert settings({}) == Settings(jwks_url=KEYS["JWKS_URL"])


def test_what_was_given_can_be_told_from_defaults() -> None:
    """A name counts as given wherever it stands, and also where its value is the default's; an empty one does not."""
    loaded = load(KEYS | {"WS_PATH": "/ws", "LISTEN": ""}, "log_level: info")
    assert loaded.given == {"JWKS_URL", "WS_PATH", "LOG_LEVEL"}


def test_without_a_key_source_there_is_no_start() -> None:
    """The error names both ways to a key source, and the one to do without."""
    with pytest.raises(BadSettings, match=r"^JWKS_URL is unset.*OIDC_ISSUER.*ALLOW_ANONYMOUS=true"):
        load({})
    assert load({"ALLOW_ANONYMOUS": "true"}).settings.allow_anonymous
    assert load({"OIDC_ISSUER": "https://id.example.com/"}).settings.oidc_issuer == "https://id.example.com/"


@pytest.mark.parametrize("text", ["", "  ", "# 60", "\t# 60", " "])
def test_empty_value_is_unset(text: str) -> None:
    """An empty value means the default, and so does one that is only a comment."""
    assert settings({"WS_IDLE_TIMEOUT_SECONDS": text}).ws_idle_timeout_seconds == 60


def test_comment_needs_white_space_before_it() -> None:
    """A hash within a value belongs to it."""
    assert settings({"JWT_EXPECTED_ISSUER": "urn:a#b # c # d"}).jwt_expected_issuer == "urn:a#b"


def test_environment_wins_over_the_file() -> None:
    """A name in both has the environment's value, unless that is empty."""
    yaml_text = "ws_path: /file\nWS_IDLE_TIMEOUT_SECONDS: 7\nlog_level: debug"
    both = settings({"WS_PATH": "/environment", "WS_IDLE_TIMEOUT_SECONDS": ""}, yaml_text)
    assert (both.ws_path, both.ws_idle_timeout_seconds, both.log_level) == ("/environment", 7, "debug")


def test_yaml_lists_are_lists() -> None:
    """Where a value is a list the file may have one, or the text that the environment would have."""
    file = settings(
        {}, "trusted_proxies: [10.0.0.0/8, '::1']\njwt_expected_audience: a, b\njwt_valid_algorithms:\n- ES256"
    )
    assert file.trusted_proxies == Networks.parse(("10.0.0.0/8", "::1"))
    assert file.jwt_expected_audience == ("a", "b")
    assert file.jwt_valid_algorithms == ("ES256",)


def test_yaml_words_that_yaml_takes_for_booleans_are_words() -> None:
    """``off`` is a choice here, and ``~`` or nothing is unset."""
    file = settings({}, "ws_compression: off\nallow_anonymous: no\nearly_dial: False\nlog_level: ~\nws_path:\n")
    assert (file.ws_compression, file.allow_anonymous, file.early_dial) == ("off", False, False)
    assert (file.log_level, file.ws_path) == ("info", "/ws")


@pytest.mark.parametrize("yaml_text", ["", "# nothing", "~", "{}"])
def test_empty_yaml_is_fine(yaml_text: str) -> None:
    """A file without settings sets none."""
    assert settings({}, yaml_text) == settings({})


@pytest.mark.parametrize(
    ("yaml_text", "problem"),
    [
        ("[a", "the YAML file cannot be read: line 1, column 3: expected ',' or ']', but got '<stream end>'"),
        ("- a", "the YAML file holds no mapping; it must be lines such as `WS_PATH: /ws`"),
        ("theme: dark", "THEME is no setting"),
        ("ws_pat: /ws", "WS_PAT is no setting; did you mean WS_PATH?"),
        ("ws_path: /a\nWS_PATH: /b", "WS_PATH is there twice, in upper and in lower case"),
        ("ws_path: [/a]", "WS_PATH is a list; it must be one value"),
        ("ws_path: {a: b}", "WS_PATH is a mapping; it must be one value"),
        ("trusted_proxies: {a: b}", "TRUSTED_PROXIES is a mapping; it must be one value or a list"),
        (
            "ws_allowed_origins: []",
            "WS_ALLOWED_ORIGINS is an empty list; it must be a list with something in it, or left out",
        ),
        (
            "jwt_expected_audience: ['a,b']",
            "JWT_EXPECTED_AUDIENCE has an item that is no plain text; it must be a list of texts without commas",
        ),
        (
            "jwt_expected_audience: [[a]]",
            "JWT_EXPECTED_AUDIENCE has an item that is no plain text; it must be a list of texts without commas",
        ),
    ],
)
def test_yaml_problems_are_named(yaml_text: str, problem: str) -> None:
    """The file's form, unknown names and values of a wrong form are errors of their own."""
    assert problems({}, yaml_text) == [problem]


def test_all_problems_are_reported_at_once() -> None:
    """Each wrong setting has its line: name, value, what is wrong, what would be right."""
    environ = {"WS_IDEL_TIMEOUT_SECONDS": "3", "LOG_FORMAT": "xml", "RATE_LIMIT_BURST": "5", "JWKS_URL": "certs"}
    assert problems(environ, "ws_pth: /ws\nworkers: none") == [
        "WS_PTH is no setting; did you mean WS_PATH?",
        "WS_IDEL_TIMEOUT_SECONDS is no setting; did you mean WS_IDLE_TIMEOUT_SECONDS?",
        "WORKERS=none is not a whole number; it must be a whole number, 1 or more, or auto",
        "JWKS_URL=certs does not begin with https:// (or http://) and a host;"
        " it must be a URL such as https://id.example.com/certs",
        "LOG_FORMAT=xml is not one of the choices; it must be json or console",
        "RATE_LIMIT_BURST is set, but RATE_LIMIT_PER_SECOND is not: nothing would refill the bucket;"
        " it must be set together with RATE_LIMIT_PER_SECOND, or not at all",
    ]


def test_what_follows_from_a_wrong_value_is_not_reported() -> None:
    """A contradiction is only named where the values in it are known."""
    assert len(problems({"JWKS_URL": "", "OIDC_ISSUER": "id"})) == 1
    assert len(problems({"RATE_LIMIT_BURST": "5", "RATE_LIMIT_PER_SECOND": "many"})) == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"REDIS_URL": "http://:hunter2@redis"},
        {"UPSTREAM_MQTT_CREDENTIALS": "hunter2"},
        {"UPSTREAM_WS_URL": "ws://user:hunter2@broker"},
        {"UPSTREAM_STOMP_URL": "http://broker?key=hunter2"},
        {"JWKS_URL": "https://user:hunter2@id.example.com/certs"},
        {"WS_PATH": "hunter2" * 40},
    ],
)
def test_no_problem_repeats_a_secret(environ: dict[str, str]) -> None:
    """The value of a secret, and anything with a user info or a query, is left out of the error."""
    assert "hunter2" not in problems(environ)[0]


def test_repr_of_settings_holds_no_secret() -> None:
    """Settings can be logged: secret values are not in their repr."""
    shown = repr(settings({"REDIS_URL": "redis://:hunter2@redis", "UPSTREAM_MQTT_CREDENTIALS": "gateway:hunter2"}))
    assert "hunter2" not in shown


@pytest.mark.parametrize("name", ["WS_TIMEOUT", "WS_PORT", "JWT_SECRET", "RATE_LIMIT", "CB_TIMEOUT"])
def test_unknown_name_with_a_prefix_of_ours_is_an_error(name: str) -> None:
    """A name that begins with WS_, JWT_, RATE_ or CB_ and is no setting is a mistake."""
    assert problems({name: "1"})[0].startswith(f"{name} is no setting")


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "MQTT_HOST", "UPSTREAM_HOST", "LISTEN_PID", "ws_timeout"),
        *("WS_SERVICE_HOST", "WS_SERVICE_PORT", "WS_SERVICE_PORT_HTTP", "WS_GATEWAY_PORT"),
        *("WS_GATEWAY_PORT_80_TCP", "WS_GATEWAY_PORT_80_TCP_ADDR", "JWT_ISSUER_PORT_80_TCP_PROTO"),
    ],
)
def test_names_of_others_are_ignored(name: str) -> None:
    """Other programs' variables, and those that Kubernetes sets for each service, are nobody's mistake."""
    assert load(KEYS | {name: "tcp://10.0.0.1:80"}) == load(KEYS)


@pytest.mark.parametrize(("name", "near"), [("UPSTREAM_WS_URI", "UPSTREAM_WS_URL"), ("JWKS_URLS", "JWKS_URL")])
def test_near_miss_of_a_name_is_a_warning(name: str, near: str) -> None:
    """A variable that is almost a setting, but has no prefix of ours, is ignored and named."""
    warnings = set(load(KEYS | {name: "x"}).warnings) - set(load(KEYS).warnings)
    assert warnings == {f"{name} is no setting and is ignored; did you mean {near}?"}


def test_further_protocols_have_their_upstreams() -> None:
    """``UPSTREAM_<PROTOCOL>_URL`` is where the sessions of that adapter go, from the environment or the file."""
    further = settings({"UPSTREAM_STOMP_URL": "wss://[::1]/ws"}, "upstream_mqtt_sn_url: ws://broker")
    assert further.upstream_urls == {
        "stomp": WebSocketUrl(True, "::1", 443, "/ws"),
        "mqtt_sn": WebSocketUrl(False, "broker", 80, "/"),
    }
    assert problems({"UPSTREAM_STOMP_URL": "stomp"}) == [
        "UPSTREAM_STOMP_URL=stomp does not begin with ws:// or wss://;"
        " it must be a URL such as ws://broker:15675/ws or wss://broker/ws"
    ]


@given(st.text())
def test_any_value_is_read_or_refused(text: str) -> None:
    """Whatever a setting is set to, the answer is settings or `BadSettings`."""
    for name in (
        "LISTEN",
        "WS_PATH",
        "WS_ALLOWED_ORIGINS",
        "JWKS_URL",
        "OIDC_ISSUER",
        "REDIS_URL",
        "WS_MAX_MESSAGE_BYTES",
    ):
        try:
            load(KEYS | {name: text})
        except BadSettings as error:
            assert [problem.name for problem in error.problems] == [name]  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("A=b", "A", "b"),
        ("  export A=b", "A", "b"),
        ("A = b c ", "A", "b c"),
        ("A=", "A", ""),
        ("A= # nothing", "A", ""),
        ("A=b#c", "A", "b#c"),
        ("A=b\t# c", "A", "b"),
        ("A='b # \"c\"'  # d", "A", 'b # "c"'),
        ('A="b # \\"c\\" \\\\ \\$ \\n"', "A", 'b # "c" \\ $ \\n'),
        ('A=""', "A", ""),
        ("A=b=c", "A", "b=c"),
        ("A=it's", "A", "it's"),
        ("a_1=b", "a_1", "b"),
        ("\ufeffA=b", "A", "b"),
        ("A=b\r", "A", "b"),
        ("A=1\nA=2", "A", "2"),
    ],
)
def test_env_file_line(line: str, name: str, value: str) -> None:
    """A line sets a name; quotes keep what is between them; the last of two lines counts."""
    given = parse_env_file(f"{line}\n\n# comment\r\n   \n")
    assert {name: read_value(text) for name, text in given.items()} == {name: value}


def test_env_file_names_the_lines_that_it_cannot_read() -> None:
    """Every malformed line is a problem with its number, and nothing of its text."""
    with pytest.raises(BadSettings) as caught:
        parse_env_file("A=1\nhunter2\n1A=2\nB='hunter2\nC=\"x\"y\nD='x'#\n=x\nE F=1")
    assert caught.value.problems == tuple(
        Problem(f"line {number} of the env file", "cannot be read", "NAME=value") for number in (2, 3, 4, 5, 6, 7, 8)
    )


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True), st.text("abc #='\"\\$ \t", max_size=20)))
def test_env_file_gives_back_what_was_quoted(values: dict[str, str]) -> None:
    """Any value without a line break survives double quotes with escapes."""
    lines = [
        name + '="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
        for name, value in values.items()
    ]
    assert {name: read_value(text) for name, text in parse_env_file("\r\n".join(lines)).items()} == values


@pytest.mark.parametrize("value", ["gateway", "'gateway'", '"gateway"', ' "gateway" # mine', "gateway # 'mine'"])
def test_quotes_mean_the_same_everywhere(value: str) -> None:
    """Quotes around a value are no part of it, be the env file read here or passed on by an engine as it stands."""
    name = "JWT_EXPECTED_AUDIENCE"
    assert settings({name: value}).jwt_expected_audience == ("gateway",)
    assert settings(over_env_file({}, f"{name}={value}")).jwt_expected_audience == ("gateway",)


def test_quotes_are_taken_off_once() -> None:
    """What is between quotes stays as it is, a hash and other quotes too."""
    assert settings({"JWT_EXPECTED_ISSUER": "'\"a # b\"'"}).jwt_expected_issuer == '"a # b"'
    assert settings(over_env_file({}, "JWT_EXPECTED_ISSUER='\"a # b\"'")).jwt_expected_issuer == '"a # b"'
    assert settings(over_env_file({"JWT_EXPECTED_ISSUER": "''"}, "JWT_EXPECTED_ISSUER=a")).jwt_expected_issuer == "a"


def test_half_a_quote() -> None:
    """A quote that is not closed, or followed by more, is named as what is wrong; of the value nothing is shown."""
    assert problems({"JWT_EXPECTED_ISSUER": '"a', "MQTT_CLIENT_ID_PREFIX": "'{sub}'-"}) == [
        f"{name} begins with a quote that does not end it; it must be in two quotes, or in none"
        for name in ("JWT_EXPECTED_ISSUER", "MQTT_CLIENT_ID_PREFIX")
    ]


def test_listening_address_is_a_value() -> None:
    """Settings hold values, not texts."""
    assert settings({"LISTEN": "[::1]:0"}).listen == Address("::1", 0)
