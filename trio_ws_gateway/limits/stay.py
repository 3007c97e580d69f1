"""One session among the limits: all that it counts in, from its arrival until it has gone.

The steps are in the order in which things become known: that somebody comes, from where, that it wants a session, and
who it is. Each raises ``Refused`` where there are as many as may be. Knows nothing of sockets, requests and tokens.
"""

from collections.abc import Hashable, Mapping

from attrs import frozen

from trio_ws_gateway.limits.budgets import Budget, Budgets
from trio_ws_gateway.limits.connections import Connections, block_of
from trio_ws_gateway.limits.rates import Direction, Spender, of_one
from trio_ws_gateway.limits.rules import Client, LimitTable
from trio_ws_gateway.limits.session_counts import SessionCounts


@frozen(kw_only=True)
class Limits:
    """Those that all sessions of this process count in. ``addresses``: ``None`` where no other gateway's do.
    ``strangers``: the budgets of those of whom only the address is known, which cost nothing to have."""

    connections: Connections
    subjects: SessionCounts
    addresses: SessionCounts | None
    budgets: Budgets
    strangers: Budgets
    table: LimitTable


class Stay:
    """``address``: where somebody comes from, ``None`` where that is still to be heard. ``leave`` it in any case."""

    __slots__ = ("_block", "_limits", "_subject", "_visit")

    def __init__(self, limits: Limits, address: str | None, now: float) -> None:
        self._limits = limits
        self._visit = limits.connections.admit(address, now)
        self._subject: Hashable = None  # whose session this counts as, once it does
        self._block: Hashable = None  # and from where, in all gateways

    def come_from(self, address: str, now: float) -> None:
        """It has been heard where it comes from."""
        self._visit.come_from(address, now)

    def ask_for_session(self) -> None:
        """It wants to become a session, and not only a page."""
        self._visit.ask_for_session()

    async def enter_from(self, address: str) -> None:
        """Before any crypto: of its address there may be one more in all gateways."""
        connections, addresses = self._limits.connections, self._limits.addresses
        if addresses is None or (block := connections.limited_block(address)) is None:
            return
        await addresses.enter(block, connections.terms.sessions_per_address)
        self._block = block

    async def enter(self, client: Client) -> None:
        """It is known who it is: a session of that subject, where there may be one more."""
        self._visit.verified()
        if client.identity is not None:
            subject = (client.identity.issuer, client.identity.subject)
            await self._limits.subjects.enter(subject, self._limits.table.of(client).sessions)
            self._subject = subject

    def budgets(self, client: Client, now: float) -> Mapping[Direction, Budget | None]:
        """What it may send and be sent: by who it is, or by its address where nobody knows that."""
        identity = client.identity
        budgets = self._limits.strangers if identity is None else self._limits.budgets
        key = (identity.issuer, identity.subject) if identity is not None else block_of(client.address)
        return {
            direction: budgets.of(Spender(key, direction, rates), now)
            for direction, rates in of_one(self._limits.table.of(client).rates).items()
        }

    def leave(self) -> None:
        """It has gone."""
        self._visit.leave()
        if self._subject is not None:
            self._limits.subjects.leave(self._subject)
        if self._limits.addresses is not None and self._block is not None:
            self._limits.addresses.leave(self._block)
