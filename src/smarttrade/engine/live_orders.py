"""Our live orders by account, to be compared with what the exchange lists as open (faults F53, F55).

A stream may be up and still say nothing: a report that never comes is found by asking, not by waiting for the stream to
break. Data only: nothing here knows a clock.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from smarttrade.domain.order_ids import parse
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.smart_trade import SmartTrade

PERIOD: Final[Instant] = 60 * SECOND
"""Between two looks at the lists of open orders: one call for each account that has some."""


class LiveOrders:
    """Client order id -> executed, base, of every order that is or may be alive, by account."""

    __slots__ = ("_by_account", "_for_the_last_time", "_strange", "due")

    def __init__(self) -> None:
        self._by_account: dict[int, dict[str, Decimal]] = {}  # of every account that is to be listed
        self._for_the_last_time: set[int] = set()  # accounts that had no order when their list was asked for
        self._strange: dict[int, frozenset[str]] = {}  # orders that no trade knows, when their account was listed last
        self.due: Instant | None = None

    def watch(self, account_id: int, now: Instant) -> None:
        """List the account, once if it has no order: there may be one that nobody knows of (fault F19)."""
        self._by_account.setdefault(account_id, {})
        if self.due is None:
            self.due = now + PERIOD

    def forget(self, account_id: int) -> None:
        """Do not list the account any more."""
        self._by_account.pop(account_id, None)
        self._for_the_last_time.discard(account_id)
        if not self._by_account:
            self.due = None

    def replace(self, before: SmartTrade | None, after: SmartTrade, now: Instant) -> None:
        """The trade has changed."""
        live = {} if after.status.is_final else _live(after)
        was_live = {} if before is None else _live(before)
        if not live and not was_live:
            return
        self.watch(after.account_id, now)
        self._for_the_last_time.discard(after.account_id)  # a list that is on its way does not know of this
        orders = self._by_account[after.account_id]
        for client_order_id in was_live:
            if client_order_id not in live:
                orders.pop(client_order_id, None)
        orders.update(live)

    def trades(self, account_id: int) -> list[int]:
        """Trades of the account with a live order, in the order of their ids."""
        return sorted({_trade_of(client_order_id) for client_order_id in self._by_account.get(account_id, ())})

    def accounts_to_ask(self, now: Instant) -> list[int]:
        """Accounts whose list of open orders is wanted now; after their last order until one has come (fault F19)."""
        if self.due is None or now < self.due:
            return []
        self.due = now + PERIOD
        self._for_the_last_time = {account_id for account_id, orders in self._by_account.items() if not orders}
        return sorted(self._by_account)

    def answered(self, account_id: int) -> None:
        """The list of the account has come, and nothing lives there that is over for us."""
        if account_id in self._for_the_last_time and not self._by_account[account_id]:
            self.forget(account_id)

    def differing(self, account_id: int, listed: Mapping[str, Decimal]) -> list[str]:
        """Orders that only one side has, or that have executed more or less there than here."""
        ours = self._by_account.get(account_id, {})
        return sorted({client_order_id for client_order_id, _ in ours.items() ^ listed.items()})

    def note_strange(self, account_id: int, strange: Iterable[str]) -> list[str]:
        """Of the listed orders that no trade knows, those that were not among them the last time."""
        known = self._strange.pop(account_id, frozenset())
        present = frozenset(strange)
        if present:
            self._strange[account_id] = present
        return sorted(present - known)


def _live(trade: SmartTrade) -> dict[str, Decimal]:
    orders = (step.live_order for step in trade.legs)
    return {order.client_order_id: order.execution.gross_quantity for order in orders if order is not None}


def _trade_of(client_order_id: str) -> int:
    ref = parse(client_order_id)
    assert ref is not None
    return ref.trade_id
