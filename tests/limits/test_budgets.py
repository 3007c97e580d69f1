"""`Budgets` gives an identity one budget, and forgets it when it is as good as new."""

import gc
from collections.abc import Hashable
from functools import partial

from trio_ws_gateway.limits.budgets import Budget, Budgets, Kind, Purse
from trio_ws_gateway.limits.purses import Common, in_memory
from trio_ws_gateway.limits.purses import budget as made
from trio_ws_gateway.limits.rates import Direction, Rate, Rates, Spender
from trio_ws_gateway.wire.frames import PING, TEXT, Found, FrameScanner, build_frame


def budget(*, burst: int, rate: float = 1) -> Budget:
    """Of messages, with one a second where nothing else is said."""
    mine = Spender("robot", Direction.FROM_CLIENT, Rates(messages=Rate(rate, burst)))
    return made(Common.of(Rates()), mine, 0.0)


def spender(name: Hashable, burst: int) -> Spender:
    return Spender(name, Direction.FROM_CLIENT, Rates(messages=Rate(1, burst)))


def spend(budget: Budget | None, *, messages: int = 0, extras: int = 0, now: float = 0.0) -> tuple[int, int]:
    """Let as much pass as is asked for and there is; how much that was."""
    scanner = FrameScanner(masked=True)
    assert budget
    budget.open(scanner, now)
    scanner.messages = min(messages, scanner.message_ceiling)
    scanner.extras = min(extras, scanner.extra_ceiling)
    budget.settle(scanner)
    return scanner.messages, scanner.extras


def test_one_budget_an_identity() -> None:
    """All who ask for an identity get the same budget; another identity has its own."""
    budgets = Budgets(partial(made, Common.of(Rates())))
    robot = budgets.of(spender(("issuer", "robot"), 2), 0.0)
    assert robot
    assert budgets.of(spender(("issuer", "robot"), 2), 1.0) is robot
    assert budgets.of(spender(("other issuer", "robot"), 2), 1.0) is not robot


def test_no_limit() -> None:
    """Where nothing is limited there is no budget, unless all clients share one."""
    free = Spender("robot", Direction.FROM_CLIENT, Rates())
    assert Budgets(partial(made, Common.of(Rates()))).of(free, 0.0) is None
    assert Budgets(partial(made, Common.of(Rates(messages=Rate(1, 2))))).of(free, 0.0)


def test_reconnecting_gives_no_new_burst() -> None:
    """A budget that was spent outlives its sessions."""
    budgets = Budgets(partial(made, Common.of(Rates())))
    assert spend(budgets.of(spender("robot", 2), 0.0), messages=2) == (2, 0)
    gc.collect()
    budgets.sweep(1.0)
    assert spend(budgets.of(spender("robot", 2), 1.0), messages=9, now=1.0) == (1, 0)


def test_around_a_scan() -> None:
    """No more passes than there is, of messages and of frames that begin none, and what has passed is spent."""
    mine = budget(burst=2)
    wire = (build_frame(TEXT, b"", masked=True) + 12 * build_frame(PING, b"", masked=True)) * 3
    scanner = FrameScanner(masked=True)
    mine.open(scanner, 0.0)
    passed = scanner.scan(memoryview(wire), len(wire))
    mine.settle(scanner)
    assert (scanner.found, scanner.messages, scanner.extras) == (Found.TOO_MANY_EXTRAS, 2, 20)
    assert spend(mine, messages=1, extras=1) == (0, 0)
    mine.open(scanner, 0.2)
    scanner.scan(memoryview(wire)[passed:], len(wire) - passed)
    mine.settle(scanner)
    assert (scanner.found, scanner.messages, scanner.extras) == (Found.TOO_MANY_EXTRAS, 2, 22)


def test_few_messages_and_all_pings() -> None:
    """However few messages somebody may send, he may answer the pings that he gets, one a second."""
    mine = budget(burst=1, rate=0.001)
    assert spend(mine, extras=100) == (0, 10)
    for second in range(1, 100):
        assert spend(mine, extras=100, now=float(second)) == (0, 1)


def test_is_forgotten_when_full() -> None:
    """A budget that nobody holds is forgotten once it is full again, its frames' too."""
    budgets = Budgets(partial(made, Common.of(Rates())))
    spend(budgets.of(spender("robot", 2), 0.0), messages=2)
    spend(budgets.of(spender("pinger", 2), 0.0), extras=20)
    held = budgets.of(spender("held", 2), 0.0)
    budgets.sweep(1.5)
    gc.collect()
    assert len(budgets) == 3
    budgets.sweep(2.0)
    gc.collect()
    assert len(budgets) == 1
    assert budgets.of(spender("held", 2), 2.0) is held


def test_many_who_come_and_go() -> None:
    """However many come each second, spend and leave, no more are remembered than of some seconds."""
    budgets = Budgets(partial(made, Common.of(Rates())))
    for second in range(15):
        for number in range(2000):
            spend(budgets.of(spender((second, number), 3), float(second)), messages=3, now=float(second))
        budgets.sweep(second + 1.0)
    assert len(budgets) <= 2000 * 3 * 2  # three seconds until each is full, and as many that wait to be looked at


def test_more_than_are_remembered() -> None:
    """There are no more budgets than may be: whoever comes then shares one, and those who are known keep theirs."""
    budgets = Budgets(partial(made, Common.of(Rates())), most=100)
    for address in range(100):
        assert spend(budgets.of(spender(address, 2), 0.0), messages=2) == (2, 0)
    assert [spend(budgets.of(spender(address, 2), 0.0), messages=1)[0] for address in range(100, 1000)] == [
        1,
        1,
    ] + 898 * [0]
    assert len(budgets) == 101
    assert spend(budgets.of(spender(99, 2), 1.0), messages=2, now=1.0) == (1, 0)
    budgets.sweep(10.0)
    gc.collect()
    assert len(budgets) == 0


def test_packets() -> None:
    """Packets have a bucket of their own, in memory and where somebody else makes it."""
    rates, names = Rates(packets=Rate(1, 10)), list[str]()

    def make(what: str, whose: Spender, rate: Rate, now: float) -> Purse:
        names.append(what)
        return in_memory(what, whose, rate, now)

    mine = made(Common.of(Rates()), Spender("robot", Direction.FROM_CLIENT, rates), 0.0, make=make)
    assert (names, mine.counts_packets, mine.counts_bytes, bool(mine)) == (["packets"], True, False, True)
    mine.pay_for_packets(4)
    assert (mine.packets_to_grant(0.0), mine.is_full(0.0)) == (6, False)
    mine.pay_for_packets(6)
    assert mine.empty_purse(Kind.PACKETS, 0.5)
    assert not mine.is_worth_waiting(Kind.PACKETS, 0.5)
    assert (mine.packets_to_grant(2.0), mine.is_full(10.0)) == (2, True)


def test_bytes() -> None:
    """As many bytes are asked for as there are; one more where the next would be refused, and then nothing is taken."""
    for pauses, most in ((True, 10), (False, 11)):
        rates = Rates(bytes=Rate(1, 10, pauses=pauses))
        mine = made(Common.of(Rates()), Spender("robot", Direction.FROM_CLIENT, rates), 0.0)
        assert mine.counts_bytes
        assert mine.bytes_to_ask_for(4, 0.0) == 4
        assert mine.bytes_to_ask_for(100, 0.0) == most
        assert mine.pay_for_bytes(11, 0.0) == 10
        assert mine.pay_for_bytes(1, 0.0) == 0
        assert mine.bytes_to_ask_for(100, 0.0) == most - 10
        assert mine.empty_purse(Kind.BYTES, 0.0)
        assert mine.is_worth_waiting(Kind.BYTES, 0.0) is pauses
        assert not mine.empty_purse(Kind.BYTES, 1.0)
        assert mine.is_worth_waiting(Kind.BYTES, 1.0)
        assert not mine.empty_purse(Kind.MESSAGES, 0.0)
