"""`Stay`: where a session counts, step by step, and that nothing of it is left when it has gone."""

from functools import partial

import pytest

from trio_ws_gateway.auth.identity import Identity
from trio_ws_gateway.causes import Refused
from trio_ws_gateway.config.limit_rules import RateLimit
from trio_ws_gateway.limits.budgets import Budgets
from trio_ws_gateway.limits.connections import Connections, ConnectionTerms
from trio_ws_gateway.limits.purses import Common, budget
from trio_ws_gateway.limits.rates import Direction, Rate, Rates
from trio_ws_gateway.limits.rules import Allowance, Client, LimitTable
from trio_ws_gateway.limits.session_counts import SessionCounts
from trio_ws_gateway.limits.stay import Limits, Stay

HERE, THERE = "203.0.113.7", "203.0.113.8"


def client(subject: str | None, address: str = HERE) -> Client:
    identity = None if subject is None else Identity(issuer="issuer", subject=subject, expires_at=1.0)
    return Client(identity=identity, protocol="raw", address=address)


def limits(*, of_one_address: float = 9, of_one_subject: float = 9) -> Limits:
    return Limits(
        connections=Connections(ConnectionTerms(sessions_per_address=of_one_address)),
        subjects=SessionCounts("subject"),
        addresses=SessionCounts("address"),
        budgets=Budgets(partial(budget, Common.of(Rates()))),
        strangers=Budgets(partial(budget, Common.of(Rates())), most=1),
        table=LimitTable((), Allowance({RateLimit.MESSAGES: Rate(1, 3)}, of_one_subject), frozenset()),
    )


def counted(of: Limits) -> tuple[int, int, int, int]:
    assert of.addresses is not None
    return of.connections.handshakes, of.connections.sessions, len(of.subjects), len(of.addresses)


async def entered(of: Limits, subject: str | None, address: str = HERE) -> Stay:
    stay = Stay(of, address, 0.0)
    try:
        stay.ask_for_session()
        await stay.enter_from(address)
        await stay.enter(client(subject, address))
    except Refused:
        stay.leave()
        raise
    return stay


async def test_counts_until_it_leaves() -> None:
    """A session counts with its address and its subject, one of nobody's only with its address, until it leaves."""
    all_of_them = limits()
    robot, nobody = await entered(all_of_them, "robot"), await entered(all_of_them, None, THERE)
    assert counted(all_of_them) == (0, 2, 1, 2)
    robot.leave()
    assert counted(all_of_them) == (0, 1, 0, 1)
    nobody.leave()
    assert counted(all_of_them) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("most", "second", "detail"),
    [
        ({"of_one_address": 1}, ("another", HERE), "connections of one address"),
        ({"of_one_subject": 1}, ("robot", THERE), "sessions of one subject"),
    ],
)
async def test_refused_on_the_way(most: dict[str, float], second: tuple[str, str], detail: str) -> None:
    """Whoever is refused at any step has taken nothing when he leaves, and who is there stays."""
    all_of_them = limits(**most)
    first = await entered(all_of_them, "robot")
    with pytest.raises(Refused) as caught:
        await entered(all_of_them, *second)
    assert caught.value.detail == detail
    assert counted(all_of_them) == (0, 1, 1, 1)
    first.leave()
    (await entered(all_of_them, *second)).leave()


async def test_refused_in_all_gateways() -> None:
    """An address that other gateways have filled is refused before anybody asks who it is."""
    all_of_them = limits(of_one_address=1)
    assert all_of_them.addresses is not None
    await all_of_them.addresses.enter(HERE, 1)
    stay = Stay(all_of_them, HERE, 0.0)
    with pytest.raises(Refused, match="sessions of one address"):
        await stay.enter_from(HERE)
    stay.leave()
    assert counted(all_of_them) == (0, 0, 0, 1)


def test_budgets() -> None:
    """Sessions of one subject have one budget, from whatever address; those of nobody's have one for theirs."""
    all_of_them = limits()

    def found(subject: str | None, address: str) -> object:
        budgets = Stay(all_of_them, address, 0.0).budgets(client(subject, address), 0.0)
        assert budgets[Direction.TO_CLIENT] is None
        return budgets[Direction.FROM_CLIENT]

    assert found("robot", HERE) is found("robot", THERE) is not None
    assert found("robot", HERE) is not found(None, HERE)
    assert found(None, HERE) is not found(None, THERE)
    assert found(None, "198.51.100.99") is found(None, THERE)  # of which there are more than are remembered
    assert found("another", HERE) is not found("robot", HERE)
