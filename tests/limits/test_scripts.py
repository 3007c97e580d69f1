"""The scripts, run by a real Redis, grant what the buckets in memory would.

A script's clock is put into its arguments here, so that any time can be tried; the last tests leave it alone.
"""

import math
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.redis import Redis
from trio_ws_gateway.limits.bucket import TokenBucket
from trio_ws_gateway.limits.scripts import FIXED_WINDOW, SESSIONS, TOKEN_BUCKET, key_of

pytestmark = pytest.mark.integration

AT_TIME = TOKEN_BUCKET.replace("redis.call('TIME')", "{ARGV[5], ARGV[6]}")
assert AT_TIME != TOKEN_BUCKET
BEGAN_AT = 1_795_000_000_000_000  # microseconds

RATES = st.floats(0.01, 10_000)
CAPACITIES = st.integers(1, 10_000)
WANTED = st.integers(0, 500)
STEPS = st.lists(st.tuples(st.integers(0, 30_000_000), WANTED), min_size=1, max_size=40)
ANY_STEPS = st.lists(st.tuples(st.integers(-30_000_000, 30_000_000), WANTED), min_size=1, max_size=40)
QUICK = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator["redis.Redis"]:
    server = Redis.start(tmp_path_factory.mktemp("redis"))
    with server.client() as client:
        yield client
    server.kill()


def ask(target: Any, now: int, *, rate: float, capacity: int, wanted: int, back: int = 0) -> Any:  # noqa: ANN401
    return target.eval(AT_TIME, 1, "k", rate, capacity, back, wanted, now // 10**6, now % 10**6)


def asked(client: "redis.Redis", now: int, **arguments: float) -> Any:  # noqa: ANN401
    """The same, of a key that outlives what the real clock says."""
    pipeline = client.pipeline()
    ask(pipeline, now, **arguments)  # type: ignore[arg-type]
    pipeline.persist("k")
    return pipeline.execute()[0]


def granted(
    client: "redis.Redis", rate: float, capacity: int, steps: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """What each step was granted, with its time; steps are (microseconds to wait, tokens wanted)."""
    now = BEGAN_AT
    times = []
    pipeline = client.pipeline(transaction=False)
    pipeline.delete("k")
    for pause, wanted in steps:
        now += pause
        times.append(now)
        ask(pipeline, now, rate=rate, capacity=capacity, wanted=wanted)
        pipeline.persist("k")  # whatever the real clock says
    return [(at, reply[0]) for at, reply in zip(times, pipeline.execute()[1::2], strict=True)]


@QUICK
@given(RATES, CAPACITIES, STEPS)
def test_like_the_bucket_in_memory(
    client: "redis.Redis", rate: float, capacity: int, steps: list[tuple[int, int]]
) -> None:
    """Step by step it grants what the bucket in memory does, give or take the one token that is not whole."""
    model = TokenBucket(rate=rate, capacity=capacity, now=0.0)
    for (at, tokens), (_, wanted) in zip(granted(client, rate, capacity, steps), steps, strict=True):
        available = model.available((at - BEGAN_AT) / 10**6)
        assert abs(tokens - min(wanted, available)) <= 1
        model.spend(tokens)


@QUICK
@given(RATES, CAPACITIES, STEPS)
def test_never_more(client: "redis.Redis", rate: float, capacity: int, steps: list[tuple[int, int]]) -> None:
    """Over any stretch no more is granted than capacity + rate x elapsed."""
    grants = granted(client, rate, capacity, steps)
    for first in range(len(grants)):
        total = 0
        for at, tokens in grants[first:]:
            total += tokens
            elapsed = Fraction(at - grants[first][0], 10**6)
            assert total <= capacity + Fraction(rate) * elapsed + Fraction(1, 10**6)


@QUICK
@given(RATES, CAPACITIES, ANY_STEPS)
def test_any_clock(client: "redis.Redis", rate: float, capacity: int, steps: list[tuple[int, int]]) -> None:
    """However the clock jumps, what is granted is within the capacity and what forward jumps have earned; and a step
    back keeps nobody waiting for longer than a token takes."""
    grants = granted(client, rate, capacity, steps)
    forward = sum(max(0, pause) for pause, _ in steps)
    assert sum(tokens for _, tokens in grants) <= capacity + Fraction(rate) * Fraction(forward, 10**6) + Fraction(
        1, 10**6
    )
    reply = asked(client, grants[-1][0] - 3600 * 10**6, rate=rate, capacity=capacity, wanted=0)
    assert reply[2] <= 10**6 / rate + 2
    later = grants[-1][0] - 3600 * 10**6 + max(reply[2], 1)
    assert asked(client, later, rate=rate, capacity=capacity, wanted=1)[0] == 1


@QUICK
@given(RATES, CAPACITIES, WANTED, st.integers(0, 5_000_000))
def test_says_when_to_come_again(client: "redis.Redis", rate: float, capacity: int, wanted: int, pause: int) -> None:
    """Who took all there was is told when the next token comes, give or take microseconds; who left some, at once."""
    client.delete("k")
    asked(client, BEGAN_AT, rate=rate, capacity=capacity, wanted=capacity)
    now = BEGAN_AT + pause
    tokens, valid, again = asked(client, now, rate=rate, capacity=capacity, wanted=wanted)
    assert valid == 1000
    if again:
        if again > 3:
            assert asked(client, now + again - 3, rate=rate, capacity=capacity, wanted=1)[0] == 0
        assert asked(client, now + again, rate=rate, capacity=capacity, wanted=1)[0] == 1
    else:
        assert tokens == wanted
        assert asked(client, now, rate=rate, capacity=capacity, wanted=1)[0] == 1


@QUICK
@given(RATES, CAPACITIES, st.lists(st.tuples(WANTED, st.booleans()), max_size=20))
def test_giving_back(client: "redis.Redis", rate: float, capacity: int, takes: list[tuple[int, bool]]) -> None:
    """What is given back can be taken again; nobody gets more by it than if he had never taken it."""
    client.delete("k")
    held = 0
    for wanted, gives_back in takes:
        back = held if gives_back else 0
        tokens = asked(client, BEGAN_AT, rate=rate, capacity=capacity, wanted=wanted, back=back)[0]
        held += tokens - back
        assert 0 <= held <= capacity
    everything = asked(client, BEGAN_AT, rate=rate, capacity=capacity, wanted=capacity, back=held)[0]
    assert everything in (capacity, capacity - 1)  # floats


@pytest.mark.parametrize(("rate", "seconds"), [(10.0, 0.5), (0.001, 5000.0), (1e-9, 1e9), (1e9, 0.001)])
def test_lives_no_longer_than_it_says_anything(client: "redis.Redis", rate: float, seconds: float) -> None:
    """A key lives until its bucket is full again, whatever the rate; a full bucket has none."""
    client.delete("k")
    ask(client, BEGAN_AT, rate=rate, capacity=10, wanted=5)
    assert client.pttl("k") <= math.ceil(seconds * 1000)
    assert client.pttl("k") > seconds * 1000 - 50 or rate == 1e9
    ask(client, BEGAN_AT, rate=rate, capacity=10, wanted=0, back=5)
    assert client.exists("k") == 0


def _put(client: "redis.Redis", what: object) -> None:
    client.delete("k")
    match what:
        case dict():
            client.hset("k", mapping=what)
        case bytes():
            client.set("k", what)
        case _:
            client.rpush("k", "x")


@pytest.mark.parametrize("debt", [b"nan", b"-nan", b"-1e300", b"\x00\xff", b"", b"-5"])
def test_debts_that_are_none(client: "redis.Redis", debt: bytes) -> None:
    """A debt that the script has not written is none, and what it writes then is right again."""
    _put(client, {"debt": debt, "at": BEGAN_AT})
    assert ask(client, BEGAN_AT, rate=1, capacity=10, wanted=6)[0] == 6
    assert ask(client, BEGAN_AT, rate=1, capacity=10, wanted=6)[0] == 4


@pytest.mark.parametrize("debt", [b"inf", b"1e300", b"11"])
def test_debts_that_are_too_big(client: "redis.Redis", debt: bytes) -> None:
    """A debt is never more than an empty bucket's, however long the key would have lived."""
    _put(client, {"debt": debt, "at": BEGAN_AT})
    assert ask(client, BEGAN_AT, rate=1, capacity=10, wanted=5) == [0, 1000, 1_000_001]
    assert client.pttl("k") <= 10_000
    assert ask(client, BEGAN_AT + 10**6, rate=1, capacity=10, wanted=5)[0] == 1


@pytest.mark.parametrize("at", [b"1e300", b"nan", b"inf", b"-1", b"soon"])
def test_times_that_are_none(client: "redis.Redis", at: bytes) -> None:
    """A debt of no time counts from now."""
    _put(client, {"debt": "10", "at": at})
    assert ask(client, BEGAN_AT, rate=1, capacity=10, wanted=5)[0] == 0
    assert ask(client, BEGAN_AT + 10**6, rate=1, capacity=10, wanted=5)[0] == 1


@pytest.mark.parametrize(("script", "foreign"), [(TOKEN_BUCKET, b"x"), (TOKEN_BUCKET, []), (FIXED_WINDOW, {"a": "b"})])
def test_keys_of_another_kind(client: "redis.Redis", script: str, foreign: object) -> None:
    """A key of another kind is begun anew, and is no error of Redis."""
    _put(client, foreign)
    assert client.eval(script, 1, "k", 1, 10, 0, 6)[0] == 6
    assert client.eval(script, 1, "k", 1, 10, 0, 6)[0] == 4


@pytest.mark.parametrize("used", [b"nan", b"-5", b"x", b"inf"])
def test_windows_that_are_none(client: "redis.Redis", used: bytes) -> None:
    """What is in a window that the script has not written counts for a second at the most."""
    client.set("k", used)
    assert client.eval(FIXED_WINDOW, 1, "k", 1, 10, 0, 6)[0] == 6
    client.set("k", used, px=100_000)
    assert client.eval(FIXED_WINDOW, 1, "k", 1, 10, 0, 6)[0] == 6
    assert client.pttl("k") <= 1000


@pytest.mark.parametrize("noted", [b"garbage", b"", b"9 nan", b"9 99999999999999", b"9" * 400 + b" 1"])
def test_sessions_that_are_none(client: "redis.Redis", noted: bytes) -> None:
    """What no gateway can have noted does not count, and goes."""
    _put(client, {"evil": noted})
    assert client.eval(SESSIONS, 1, "k", "gateway", 1, 3, 30_000) == [1, 0]
    assert client.hkeys("k") == [b"gateway"]
    _put(client, b"x")
    assert client.eval(SESSIONS, 1, "k", "gateway", 1, 3, 30_000) == [1, 0]
    assert client.eval(SESSIONS, 1, "k", "another", 3, 3, 30_000) == [0, 1]


def test_on_the_clock_of_redis(client: "redis.Redis") -> None:
    """The script as it is: a burst, then the rate, and nothing left of it in Redis when it is full."""
    client.delete("k")
    began_at = time.monotonic()
    tokens = 0
    while (elapsed := time.monotonic() - began_at) < 0.3:
        tokens += client.eval(TOKEN_BUCKET, 1, "k", 100, 10, 0, 3)[0]
    assert 10 + 100 * 0.25 <= tokens <= 10 + 100 * elapsed
    time.sleep(0.12)
    assert client.exists("k") == 0


def test_fixed_window(client: "redis.Redis") -> None:
    """A window grants its capacity, to all together, and the next one begins when it has ended."""
    client.delete("k")

    def take(wanted: int) -> list[int]:
        reply: list[int] = client.eval(FIXED_WINDOW, 1, "k", 0.001, 10, 0, wanted)
        return reply

    assert take(4) == [4, 1000, 0]
    tokens, left, again = take(8)
    assert (tokens, again) == (6, left * 1000)
    assert 900 < left <= 1000
    assert take(1)[0] == 0
    client.pexpire("k", 1)
    time.sleep(0.005)
    assert take(1) == [1, 1000, 0]
    assert client.pttl("k") > 900


def test_keys() -> None:
    """A key shows no name, is the same everywhere, and all of an identity are in one slot of a cluster."""
    messages = key_of("ws:", "messages", ("https://issuer", "robot-7"))
    assert messages == "ws:messages:{45e88aae777817eaf0c113eaeb1eab4c}"
    assert key_of("ws:", "messages", ("https://issuer", "robot-8")) != messages
    assert key_of("ws:", "bytes", ("https://issuer", "robot-7")).partition("{")[2] == messages.partition("{")[2]
    assert key_of("ws:", "messages", ("\ud800", ""))
