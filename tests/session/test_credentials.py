"""Where a client's token may be, which one decides, and what the upstream learns of it."""

import itertools
import json

import pytest

from tests.house import House, house
from tests.oidc_provider import OidcProvider
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.mqtt import Connect, connack

PROTOCOL = "Sec-WebSocket-Protocol"
ORIGINS = "https://app.example"  # with a list of origins, a cookie counts
EARLY = ("header", "subprotocol", "query", "cookie")  # in the order in which they decide


def carried(**tokens: str) -> tuple[list[tuple[str, str]], str]:
    """The headers and the target of a request that carries a token in each of these carriers."""
    headers = []
    target = "/ws"
    for carrier, token in tokens.items():
        match carrier:
            case "header":
                headers.append(("Authorization", f"Bearer {token}"))
            case "subprotocol":
                headers.append((PROTOCOL, f"bearer, {token}"))
            case "query":
                target = f"/ws?token={token}"
            case "cookie":
                headers.append(("Cookie", f"theme=dark; session={token}; lang=de"))
    return headers, target


def forged(provider: OidcProvider, **claims: str) -> str:
    """A token of the provider's whose signature is another's."""
    head, payload, _ = provider.mint(**claims).split(".")
    return f"{head}.{payload}.{provider.mint(sub='somebody-else').split('.')[2]}"


async def let_in_as(home: House) -> str | None:
    """Whom the upstream of the only session is told."""
    await home.upstream.next()
    (request,) = home.upstream.requests
    return request.headers.get("x-user-id")


# Early credentials


@pytest.mark.parametrize("carrier", EARLY)
async def test_early_credential(carrier: str) -> None:
    """A token in any early carrier lets in; the upstream gets it as Authorization and nowhere else."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        token = home.provider.mint(sub="robot-9")
        headers, target = carried(**{carrier: token})
        async with home.knock(*headers, target=target) as (_, answer):
            assert answer.status == 101
            assert await let_in_as(home) == "robot-9"
            request = home.upstream.requests[0]
            holding = [name for name, value in request.headers if token in value]
            assert holding == ["Authorization"]
            assert request.headers.get("authorization") == f"Bearer {token}"
            assert token not in request.target
            assert not any(token in value for _, value in answer.headers)


@pytest.mark.parametrize("carrier", EARLY)
async def test_bad_early_credential(carrier: str) -> None:
    """A bad token in any early carrier is a 401 with a JSON problem body, and no upstream is dialled."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        headers, target = carried(**{carrier: forged(home.provider)})
        answer, problem = await home.refusal(*headers, target=target)
        assert answer.status == 401
        assert answer.headers.get("content-type") == "application/problem+json"
        assert answer.headers.get("www-authenticate") == 'Bearer error="invalid_token"'
        assert answer.headers.get("connection") == "close"
        assert problem == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "cause": "invalid_token",
            "detail": "JWT invalid or expired",
        }
        assert home.upstream.connections == 0


@pytest.mark.parametrize(("first", "later"), [*itertools.combinations(EARLY, 2)])
async def test_order_of_early_credentials(first: str, later: str) -> None:
    """Header, subprotocol, query, cookie: the first that is there decides, and a later one is never looked at."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        good, bad = home.provider.mint(sub="robot-9"), forged(home.provider)
        headers, target = carried(**{first: bad, later: good})
        answer, _ = await home.refusal(*headers, target=target)
        assert answer.status == 401
        headers, target = carried(**{first: good, later: bad})
        async with home.open(*headers, target=target):
            assert await let_in_as(home) == "robot-9"


@pytest.mark.parametrize(
    ("token", "cause"),
    [("", "malformed_token"), ("nonsense", "malformed_token"), ("a.b.c", "malformed_token"), (None, "invalid_token")],
)
async def test_malformed_and_expired_tokens(token: str | None, cause: str) -> None:
    """What is no JWT is called malformed, and one that has expired invalid; both are 401."""
    async with house() as home:
        answer, problem = await home.refusal(token=home.provider.mint(exp=1) if token is None else token)
        assert (answer.status, problem["cause"]) == (401, cause)


async def test_two_authorization_headers() -> None:
    """Two Authorization headers are a 400: nobody can say which one the next reader would take."""
    async with house() as home:
        token = home.provider.mint()
        answer, _ = await home.refusal(("Authorization", f"Bearer {token}"), token=token)
        assert answer.status == 400


async def test_another_scheme_is_no_credential() -> None:
    """Basic in Authorization is no credential of the gateway's: the next carrier decides, and it never passes."""
    async with (
        house() as home,
        home.open(("Authorization", "Basic eDp5"), target=f"/ws?token={home.provider.mint(sub='robot-9')}"),
    ):
        assert await let_in_as(home) == "robot-9"
        (authorization,) = home.upstream.requests[0].headers.all("authorization")
        assert authorization.startswith("Bearer ")


# Query and cookie


@pytest.mark.parametrize("value", ["", "nonsense", "12.34", "a%20b.c.d"])
async def test_query_that_is_no_jwt(value: str) -> None:
    """A query value that has not the shape of a JWT is no credential; it does not reach the upstream either."""
    async with house() as home, home.open(target=f"/ws?a=1&token={value}&b=2") as client:
        await client.say(TEXT, home.provider.mint(sub="robot-9").encode())
        assert await let_in_as(home) == "robot-9"
        assert home.upstream.requests[0].target == "/raw?a=1&b=2"


async def test_names_of_query_parameters() -> None:
    """JWT_QUERY_PARAMETER names the parameters that may carry the token, however their names are encoded."""
    async with house(JWT_QUERY_PARAMETER="jwt,access_token") as home:
        token = home.provider.mint(sub="robot-9")
        async with home.open(target=f"/ws?token=kept&access%5Ftoken={token}"):
            assert await let_in_as(home) == "robot-9"
            assert home.upstream.requests[0].target == "/raw?token=kept"


async def test_cookie_that_is_no_jwt() -> None:
    """A cookie that has not the shape of a JWT is no credential."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        headers, _ = carried(cookie="0123456789abcdef")
        async with home.open(*headers) as client:
            await client.say(TEXT, home.provider.mint(sub="robot-9").encode())
            assert await let_in_as(home) == "robot-9"


@pytest.mark.parametrize("origins", ["", "*"])
async def test_cookie_without_a_list_of_origins(origins: str) -> None:
    """Without a list of origins a cookie is no credential: any page could send it."""
    async with house(WS_ALLOWED_ORIGINS=origins) as home:
        headers, _ = carried(cookie=home.provider.mint())
        async with home.open(*headers) as client:
            await client.say(TEXT, b"hello")
            assert await client.hear_close() == (1008, "Token missing")


async def test_cookie_of_the_token_is_removed() -> None:
    """The upstream gets the client's other cookies, whichever carrier decided, and never the one of the token."""
    async with (
        house(JWT_COOKIE_NAME="jwt") as home,
        home.raw(("Cookie", "theme=dark; jwt=abc; lang=de"), ("Cookie", "jwt=def")),
    ):
        assert home.upstream.requests[0].headers.all("cookie") == ("theme=dark; lang=de",)


# Credentials that come with the first words


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", None])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_raw_first_message(name: str | None, opcode: int) -> None:
    """A first message that is a bare JWT, or JSON that holds one, is consumed: the upstream hears the second."""
    async with house() as home, home.open() as client:
        token = home.provider.mint(sub="robot-9")
        await client.say(opcode, (token if name is None else json.dumps({name: token, "more": 1})).encode())
        await client.say(TEXT, b"second")
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b"second")
        assert home.upstream.requests[0].headers.get("x-user-id") == "robot-9"
        assert home.upstream.requests[0].headers.get("authorization") == f"Bearer {token}"


async def test_raw_first_message_in_fragments() -> None:
    """A token that comes in fragments, with pings between them, counts like a whole one."""
    async with house() as home, home.open() as client:
        token = home.provider.mint().encode()
        await client.say(TEXT, token[:1], fin=False)
        await client.say(9, b"1")
        await client.say(0, token[1:9], fin=False)
        await client.say(0, token[9:])
        await client.say(TEXT, b"second")
        assert await client.hear() == (10, True, b"1")
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b"second")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("hello", "Token missing"),
        ('{"user": "me"}', "Token missing"),
        ('{"token": 7}', "Token missing"),
        ('{"token": "nonsense"}', "Malformed JWT"),
        ("a.b.c", "Malformed JWT"),
        ("{forged}", "JWT invalid or expired"),
        ('{"token": "{forged}"}', "JWT invalid or expired"),
    ],
)
async def test_raw_first_message_without_a_good_token(message: str, reason: str) -> None:
    """A raw client whose first message holds no good token is closed with 1008 and why, and nothing is dialled."""
    async with house() as home, home.open() as client:
        await client.say(TEXT, message.replace("{forged}", forged(home.provider)).encode())
        assert await client.hear_close() == (1008, reason)
        assert await client.read_to_end() == b""
        assert home.upstream.connections == 0


async def test_first_message_after_an_early_token_is_data() -> None:
    """Where the token came early, a first message that is a token itself is forwarded like any other."""
    async with house() as home, home.raw() as (client, upstream):
        message = home.provider.mint(sub="somebody-else").encode()
        await client.say(TEXT, message)
        assert await upstream.hear() == (TEXT, True, message)


@pytest.mark.parametrize("level", [3, 4, 5])
async def test_mqtt_password(level: int) -> None:
    """The password of a CONNECT is a credential."""
    async with house() as home, home.mqtt(home.connect_packet(level)):
        samples = await home.samples()
        assert samples['ws_auth_success_total{preferred_username="",sub="robot-7"}'] == 1


@pytest.mark.parametrize(
    ("password", "code3", "code5", "reason"),
    [
        (None, 0x05, 0x87, "Token missing"),
        (b"", 0x05, 0x87, "Token missing"),
        (b"secret", 0x04, 0x86, "Malformed JWT"),
        (b"\xff\xfe", 0x04, 0x86, "Malformed JWT"),
        (b"{forged}", 0x05, 0x87, "JWT invalid or expired"),
    ],
)
@pytest.mark.parametrize("level", [3, 4, 5])
async def test_mqtt_password_that_is_no_good_token(
    level: int, password: bytes | None, code3: int, code5: int, reason: str
) -> None:
    """An MQTT client without a good token gets a CONNACK that says so, then 1008, and nothing is dialled."""
    async with house() as home, home.open((PROTOCOL, "mqtt")) as client:
        if password == b"{forged}":
            password = forged(home.provider).encode()
        await client.say(BINARY, home.connect_packet(level, password=password).to_bytes())
        assert await client.hear() == (BINARY, True, connack(level, code5 if level == 5 else code3))
        assert await client.hear_close() == (1008, reason)
        assert home.upstream.connections == 0


@pytest.mark.parametrize("carrier", ["header", "query"])
async def test_early_token_goes_before_the_mqtt_password(carrier: str) -> None:
    """A client that offers MQTT and has an early token is let in whatever its password is, or refused."""
    async with house() as home:
        headers, target = carried(**{carrier: home.provider.mint(sub="robot-9")})
        async with home.open(*headers, (PROTOCOL, "mqtt"), target=target) as client:
            packet = home.connect_packet(password=b"the broker's own").to_bytes()
            await client.say(BINARY, packet)
            broker = await home.upstream.next()
            assert await broker.hear() == (BINARY, True, packet)
        headers, target = carried(**{carrier: forged(home.provider)})
        answer, _ = await home.refusal(*headers, (PROTOCOL, "mqtt"), target=target)
        assert answer.status == 401


async def test_subprotocol_pair_beside_mqtt() -> None:
    """A token in the subprotocols beside ``mqtt`` lets in, and the answer names ``mqtt`` only."""
    async with house() as home:
        offer = f"bearer, {home.provider.mint()}, mqtt"
        async with home.knock((PROTOCOL, offer)) as (client, answer):
            assert answer.headers.all(PROTOCOL) == ("mqtt",)
            await client.say(BINARY, Connect(level=4, client_id="c-1").to_bytes())
            await home.upstream.next()
            assert home.upstream.requests[0].headers.all(PROTOCOL) == ("mqtt",)


@pytest.mark.parametrize(("password", "good"), [(None, True), (b"secret", False)])
async def test_cookie_comes_last_for_mqtt(password: bytes | None, *, good: bool) -> None:
    """The cookie of a client that offers MQTT counts only if its CONNECT has no password."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        headers, _ = carried(cookie=home.provider.mint())
        async with home.open(*headers, (PROTOCOL, "mqtt")) as client:
            await client.say(BINARY, home.connect_packet(password=password).to_bytes())
            if good:
                broker = await home.upstream.next()
                await broker.say(BINARY, connack(4, 0))
            assert await client.hear() == (BINARY, True, connack(4, 0 if good else 0x04))


async def test_bad_cookie_behind_a_good_password() -> None:
    """A bad cookie does no harm to a client that offers MQTT and has a good password."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        headers, _ = carried(cookie=forged(home.provider))
        async with home.open(*headers, (PROTOCOL, "mqtt")) as client:
            await client.say(BINARY, home.connect_packet().to_bytes())
            await home.upstream.next()


# What the upstream learns


async def test_raw_upstream_is_told_who_the_client_is() -> None:
    """A raw upstream gets X-User-Id, X-User-Roles and the token."""
    async with house() as home:
        token = home.provider.mint(sub="robot-9", realm_access={"roles": ["mover", "shaker"]})
        async with home.open(token=token):
            await home.upstream.next()
            headers = home.upstream.requests[0].headers
            assert headers.all("x-user-id") == ("robot-9",)
            assert headers.all("x-user-roles") == ("mover,shaker",)
            assert headers.all("authorization") == (f"Bearer {token}",)


async def test_token_that_is_not_forwarded() -> None:
    """With RAW_FORWARD_TOKEN=false a raw upstream gets the identity headers only."""
    async with house(RAW_FORWARD_TOKEN="false") as home, home.raw():
        headers = home.upstream.requests[0].headers
        assert headers.all("x-user-id") == ("robot-7",)
        assert headers.all("authorization") == ()


@pytest.mark.parametrize("name", ["X-User-Id", "X-User-Roles", "x_user_id", "X_USER_ROLES", "x-user_roles"])
async def test_identity_headers_of_a_client(name: str) -> None:
    """What a client itself sends under the name of an identity header, in any spelling, never reaches the upstream."""
    async with house() as home, home.raw((name, "admin")):
        assert not any("admin" in value for _, value in home.upstream.requests[0].headers)


async def test_broker_is_told_nothing() -> None:
    """An MQTT upstream gets no identity headers: neither the gateway's nor a client's."""
    async with (
        house() as home,
        home.open((PROTOCOL, "mqtt"), ("X-User-Id", "admin"), token=home.provider.mint()) as client,
    ):
        await client.say(BINARY, home.connect_packet().to_bytes())
        await home.upstream.next()
        headers = home.upstream.requests[0].headers
        assert headers.all("x-user-id") + headers.all("x-user-roles") + headers.all("authorization") == ()


# Nobody asked


async def test_anonymous_client() -> None:
    """With ALLOW_ANONYMOUS a client without a token is let in, and its first message passes as it came."""
    async with house(ALLOW_ANONYMOUS="true") as home, home.open() as client:
        await client.say(TEXT, b'{"user": "me"}')
        upstream = await home.upstream.next()
        assert await upstream.hear() == (TEXT, True, b'{"user": "me"}')
        headers = home.upstream.requests[0].headers
        assert headers.all("x-user-id") + headers.all("authorization") == ()


async def test_gateway_without_keys() -> None:
    """Without a key source nobody's token is checked, and nobody is named to the upstream."""
    async with house(ALLOW_ANONYMOUS="true", JWKS_URL="") as home, home.open(token="nonsense"):
        await home.upstream.next()
        headers = home.upstream.requests[0].headers
        assert headers.all("x-user-id") + headers.all("authorization") == ()


async def test_bad_token_of_somebody_who_needs_none() -> None:
    """Where the anonymous are let in, a bad token is refused all the same."""
    async with house(ALLOW_ANONYMOUS="true") as home:
        answer, _ = await home.refusal(token=forged(home.provider))
        assert answer.status == 401
        async with home.open() as client:
            await client.say(TEXT, forged(home.provider).encode())
            assert await client.hear_close() == (1008, "JWT invalid or expired")


# Admission


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example", 101),
        ("https://eu.robots.example", 101),
        ("https://app.example.evil.example", 403),
        ("http://app.example", 403),
        ("null", 403),
    ],
)
async def test_origins(origin: str, status: int) -> None:
    """With WS_ALLOWED_ORIGINS another origin is a 403."""
    async with (
        house(WS_ALLOWED_ORIGINS="https://app.example, https://*.robots.example") as home,
        home.knock(("Origin", origin), token=home.provider.mint()) as (_, answer),
    ):
        assert answer.status == status


async def test_cheap_refusals_come_first() -> None:
    """A foreign origin is refused before its token is looked at: no key is fetched for it."""
    async with house(WS_ALLOWED_ORIGINS=ORIGINS) as home:
        fetched = home.provider.count(home.provider.jwks_path)
        token = home.provider.mint({"kid": "unknown"})
        answer, problem = await home.refusal(("Origin", "https://evil.example"), token=token)
        assert (answer.status, problem["cause"]) == (403, "forbidden")
        assert home.provider.count(home.provider.jwks_path) == fetched
