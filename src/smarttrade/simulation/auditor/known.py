"""All that the auditor has been told: trades, orders, pairs, and when the server could not know better."""

import re
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple, NoReturn

from smarttrade.simulation.auditor.books import SECOND, ExchangeOrder, Pair, PairKey, Trade
from smarttrade.simulation.observer import Instant, Violation

GRACE: Final[Instant] = 90 * SECOND
"""Without trouble for so long, the server knows all that happened at the exchange: its longest pause between two
questions about an order is 30 s (EX-7, EX-31), between two attempts of a blocked exit 60 s (EX-12)."""

_CLIENT_ORDER_ID: Final = re.compile(r"st[a-z]{4}(\d+)x(\d+)x(\d+)")


class OrderName(NamedTuple):
    """What a client order id names (C-8)."""

    trade_id: int
    step_id: int
    attempt: int


def order_name(client_order_id: str) -> OrderName | None:
    match = _CLIENT_ORDER_ID.fullmatch(client_order_id)
    return None if match is None else OrderName(int(match[1]), int(match[2]), int(match[3]))


class Known:
    """The auditor's memory, shared by its checks."""

    def __init__(self) -> None:
        self.now: Instant = 0
        self.trades: dict[int, Trade] = {}
        self.orders: dict[str, ExchangeOrder] = {}
        self.pairs: dict[PairKey, Pair] = {}
        self.owner_of_step: dict[int, tuple[int, str]] = {}  # trade and purpose
        self.is_up = True
        self.rested_at: Instant = 0
        self.began_at: Instant | None = None  # the process that is up or starting, not later than its first price
        self.peace_at: Instant | None = None
        self._troubles: dict[tuple[int | None, str], int] = {}
        self._trouble_ended: dict[tuple[int | None, str], Instant] = {}
        self._disturbed_at: Instant = 0
        self._reviews: list[tuple[Instant, int]] = []  # when, trade
        self._review_due: dict[int, Instant] = {}

    def violation(self, rule: str, text: str, trade: Trade | None = None) -> NoReturn:
        raise Violation(rule, text, at=self.now, trade_id=None if trade is None else trade.id)

    # --- what the server cannot know ------------------------------------------------------------------------------

    def disturbed(self) -> None:
        """Something upset everybody: a start, or a clock that was set."""
        self._disturbed_at = self.now

    def process_begins(self) -> None:
        """There is a process; nothing happens if that is known."""
        if self.began_at is None:
            self.began_at = self.now

    def trouble_began(self, account_id: int | None, what: str) -> None:
        key = (account_id, what)
        self._troubles[key] = self._troubles.get(key, 0) + 1

    def trouble_ended(self, account_id: int | None, what: str) -> None:
        key = (account_id, what)
        count = self._troubles.get(key, 0) - 1
        if count > 0:
            self._troubles[key] = count
        else:
            self._troubles.pop(key, None)
        self._trouble_ended[key] = self.now

    def is_calm(self, account_id: int, span: Instant = GRACE) -> bool:
        """The server has been up and has heard everything about the account for `span`."""
        if self.now < self._disturbed_at + span:
            return False
        return self.hears(account_id, span)

    def hears(self, account_id: int, span: Instant) -> bool:
        """The server, up now, has been in touch with the account's exchange for `span`; prices are another matter."""
        if not self.is_up or any(_concerns(key, account_id) for key in self._troubles):
            return False
        return all(self.now >= ended + span for key, ended in self._trouble_ended.items() if _concerns(key, account_id))

    # --- looks at a trade once it had time to settle --------------------------------------------------------------

    def review_later(self, trade: Trade, pause: Instant = GRACE) -> None:
        """Have a look at `trade` when `pause` has gone by; a look that comes sooner stands."""
        if trade.id in self._review_due:
            return
        due = self.now + pause
        self._review_due[trade.id] = due
        heappush(self._reviews, (due, trade.id))

    def due_reviews(self) -> list[Trade]:
        found: list[Trade] = []
        while self._reviews and self._reviews[0][0] <= self.now:
            _, trade_id = heappop(self._reviews)
            del self._review_due[trade_id]
            found.append(self.trades[trade_id])
        return found

    def clock_was_set(self) -> None:
        """Instants from before mean nothing now: everything waits anew."""
        self.disturbed()
        self.began_at = None if self.began_at is None else min(self.began_at, self.now)
        self._trouble_ended = dict.fromkeys(self._trouble_ended, self.now)
        self._reviews = [(self.now + GRACE, trade_id) for trade_id in self._review_due]
        self._review_due = {trade_id: due for due, trade_id in self._reviews}
        heapify(self._reviews)
        for order in self.orders.values():
            order.changed_at = min(order.changed_at, self.now)
        for trade in self.trades.values():
            trade.committed_at = min(trade.committed_at, self.now)


def _concerns(key: tuple[int | None, str], account_id: int) -> bool:
    """Whether a trouble keeps news of the account's orders from the server."""
    who, what = key
    return what != "prices" and (who is None or who == account_id)
