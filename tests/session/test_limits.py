"""The limit on messages, from outside: by who a client is, or where it comes from."""

from unittest.mock import patch

import pytest

from tests.house import house
from trio_ws_gateway.limits.budgets import Budget, Budgets
from trio_ws_gateway.limits.rates import Spender
from trio_ws_gateway.wire.frames import BINARY, TEXT
from trio_ws_gateway.wire.mqtt import connack, disconnect

TIGHT = {"RATE_LIMIT_PER_SECOND": "0.001", "RATE_LIMIT_BURST": "2"}


async def test_over_the_limit() -> None:
    """A client over its limit hears 1008, and its violation is counted; what was granted has arrived."""
    async with house(**TIGHT) as home, home.knock(token=home.provider.mint()) as (client, _):
        upstream = await home.upstream.next()
        for _ in range(3):
            await client.say(TEXT, b"m")
        assert await client.hear_close() == (1008, "Rate limit exceeded")
        client.end_stream()
        assert [await upstream.hear() for _ in range(2)] == [(TEXT, True, b"m")] * 2
        assert (await upstream.hear_close())[0] == 1001
        upstream.end_stream()
        assert (await home.last_line("session ended"))["cause"] == "rate_limited"
        assert (await home.samples())["ws_rate_limit_violations_total"] == 1


async def test_sessions_of_one_subject_share_it() -> None:
    """All sessions of one subject draw on one budget, those of another subject on their own; so do anonymous ones by
    their address."""
    async with (
        house(**TIGHT, ALLOW_ANONYMOUS="true") as home,
        home.knock(token=home.provider.mint(sub="one")) as (first, _),
        home.knock(token=home.provider.mint(sub="one")) as (second, _),
        home.knock(token=home.provider.mint(sub="another")) as (other, _),
        home.knock() as (nobody, _),
    ):
        upstreams = [await home.upstream.next() for _ in range(3)]
        for client in (first, second, other):
            await client.say(TEXT, b"m")
        for upstream in upstreams:
            await upstream.hear()
        for _ in range(2):
            await nobody.say(TEXT, b"m")
        of_nobody = await home.upstream.next()
        assert [await of_nobody.hear() for _ in range(2)] == [(TEXT, True, b"m")] * 2
        await second.say(TEXT, b"m")
        assert await second.hear_close() == (1008, "Rate limit exceeded")
        await nobody.say(TEXT, b"m")
        assert await nobody.hear_close() == (1008, "Rate limit exceeded")
        await other.say(TEXT, b"m")
        for peer in (first, second, other, nobody, of_nobody, *upstreams):
            peer.end_stream()


async def test_anonymous_clients_of_one_network_share_it() -> None:
    """Whoever has all addresses of an IPv6 /64 has one budget for them."""
    proxied = {"TRUSTED_PROXIES": "127.0.0.1/32", "ALLOW_ANONYMOUS": "true"}
    async with house(**TIGHT, **proxied) as home:
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            async with home.knock(("X-Forwarded-For", address)) as (client, _):
                for _ in range(2):
                    await client.say(TEXT, b"m")
                upstream = await home.upstream.next()
                if address == "2001:db8::2":
                    assert await client.hear_close() == (1008, "Rate limit exceeded")
                else:
                    assert [await upstream.hear() for _ in range(2)] == [(TEXT, True, b"m")] * 2
                client.end_stream()
                upstream.end_stream()


async def test_the_message_with_the_token_is_free() -> None:
    """A first message that is the token draws on nothing."""
    async with house(**TIGHT) as home, home.knock() as (client, _):
        await client.say(TEXT, home.provider.mint().encode())
        upstream = await home.upstream.next()
        for _ in range(2):
            await client.say(TEXT, b"m")
            assert await upstream.hear() == (TEXT, True, b"m")
        await client.say(TEXT, b"m")
        assert await client.hear_close() == (1008, "Rate limit exceeded")
        client.end_stream()
        upstream.end_stream()


async def test_packets() -> None:
    """Of MQTT packets as many pass as RATE_LIMIT_PACKETS_BURST says, over all sessions of a subject; a raw session has
    none."""
    settings = {"RATE_LIMIT_PACKETS_PER_SECOND": "0.001", "RATE_LIMIT_PACKETS_BURST": "3"}
    pingreq = b"\xc0\x00"
    async with house(**settings) as home:
        async with home.mqtt(home.connect_packet(5)) as (client, broker):
            await client.say(BINARY, pingreq * 2)
            assert await broker.hear() == (BINARY, True, pingreq * 2)
            client.end_stream()
        async with home.mqtt(home.connect_packet(5)) as (client, broker), home.raw() as (raw, backend):
            await client.say(BINARY, pingreq * 1000)
            assert await broker.hear() == (BINARY, True, pingreq)
            assert await client.hear() == (BINARY, True, disconnect(5, 0x96))
            assert await client.hear_close() == (1008, "Rate limit exceeded")
            for _ in range(5):
                await raw.say(TEXT, pingreq)
                assert await backend.hear() == (TEXT, True, pingreq)
            for peer in (client, broker, raw, backend):
                peer.end_stream()


async def test_rules_choose_the_limit() -> None:
    """The first rule that fits sets the limit: by a role of the token, or by the number that a claim carries."""
    rules = "[{role: premium, rate: 0.001, burst: 4}, {rate_limit_claim: mps, ceiling: 0.001, burst: 3}]"
    async with house(**TIGHT, LIMITS=rules) as home:
        for claims, burst in (({}, 2), ({"mps": 1000}, 3), ({"roles": ["premium"], "mps": 1000}, 4)):
            token = home.provider.mint(sub=f"robot-{burst}", **claims)
            async with home.knock(token=token) as (client, _):
                upstream = await home.upstream.next()
                for _ in range(burst + 1):
                    await client.say(TEXT, b"m")
                assert [await upstream.hear() for _ in range(burst)] == [(TEXT, True, b"m")] * burst
                assert await client.hear_close() == (1008, "Rate limit exceeded")
                client.end_stream()
                upstream.end_stream()


async def test_rules_choose_any_limit() -> None:
    """Bytes, what a client is sent, and sessions of a subject as well; where no rule fits there is no limit."""
    short, deaf = "{role: short, bytes: {rate: 0.001, burst: 20}}", "{role: deaf, to_client: {rate: 0.001, burst: 2}}"
    rules = f"[{short}, {deaf}, {{role: lone, sessions: 1}}]"
    terms = {"RATE_LIMIT_BYTES_EXCEEDED": "close", "RATE_LIMIT_TO_CLIENT_EXCEEDED": "close"}
    async with house(**terms, LIMITS=rules) as home:

        def token(role: str) -> str:
            return home.provider.mint(sub=role, roles=[role])

        for role in ("short", "deaf"):
            async with home.knock(token=token(role)) as (client, _):
                upstream = await home.upstream.next()
                for _ in range(3):
                    await (client if role == "short" else upstream).say(TEXT, b"01234")
                if role == "deaf":
                    assert [(await client.hear())[2] for _ in range(2)] == [b"01234"] * 2
                assert await client.hear_close() == (1008, "Rate limit exceeded")
                client.end_stream()
                upstream.end_stream()
        async with home.knock(token=token("lone")), home.knock(token=token("any")), home.knock(token=token("any")):
            answer, _ = await home.refusal(token=token("lone"))
            assert answer.status == 429
        async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as client:
            say = home.connect_packet(password=token("lone").encode()).to_bytes()
            await client.say(BINARY, say)
            await home.upstream.next()
            async with home.open(("Sec-WebSocket-Protocol", "mqtt")) as second:
                await second.say(BINARY, say)
                assert await second.hear() == (BINARY, True, connack(4, 3))


@pytest.mark.parametrize("name", ["RATE_LIMIT_TOTAL", "RATE_LIMIT_TOTAL_TO_CLIENT"])
async def test_all_together(name: str) -> None:
    """What all clients may send, or be sent, anyone of them spends for the others."""
    terms = {f"{name}_PER_SECOND": "0.001", f"{name}_BURST": "3", f"{name}_EXCEEDED": "close"}
    async with house(**terms) as home, home.knock(token=home.provider.mint(sub="one")) as (one, _):
        ends = [one, await home.upstream.next()]
        async with home.knock(token=home.provider.mint(sub="another")) as (another, _):
            others = [another, await home.upstream.next()]
            if name == "RATE_LIMIT_TOTAL_TO_CLIENT":
                ends.reverse()
                others.reverse()
            for _ in range(3):
                await ends[0].say(TEXT, b"m")
                assert (await ends[1].hear())[2] == b"m"
            await others[0].say(TEXT, b"m")
            assert await another.hear_close() == (1008, "Rate limit exceeded")
            for end in others:
                end.end_stream()


async def test_budget_before_the_dial() -> None:
    """What a client may send is found out before its upstream is dialled."""
    dials: list[int] = []
    find = Budgets.of

    async with house(**TIGHT) as home:

        def noting(budgets: Budgets, spender: Spender, now: float) -> Budget | None:
            dials.append(home.upstream.connections)
            return find(budgets, spender, now)

        with patch.object(Budgets, "of", noting):
            async with home.raw():
                assert set(dials) == {0}
                assert home.upstream.connections == 1
