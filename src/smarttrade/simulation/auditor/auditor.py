"""The auditor of a simulated world: hears everything, keeps its own books, and says when a rule is broken.

It is told what happens in the order in which it happens (see observer.py). What can be judged at once is judged at
once. What the server may not know yet is looked at again when it had time to learn of it (`GRACE` in known.py).
"""

import decimal
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from smarttrade.simulation.auditor import lifecycle, orders, reviews
from smarttrade.simulation.auditor.books import SECOND, ZERO, Leg, Pair, Price, Trade, legs_of, value_of
from smarttrade.simulation.auditor.funds import Funds
from smarttrade.simulation.auditor.known import Known
from smarttrade.simulation.auditor.stops import MARGIN, Stops
from smarttrade.simulation.observer import Instant, PairRules, SeenFill, SeenOrder

DIGITS: Final = 96
"""Sums and products of stored amounts are exact with so many."""

SETTLED: Final[Instant] = 15 * 60 * SECOND
"""So long after peace every commanded end is reached."""

_STOP_COMMANDS: Final = frozenset({"EditTrade", "CancelStep"})
_CHANGING_COMMANDS: Final = frozenset(
    {"AddFunds", "ReduceFunds", "CloseAtMarket", "CancelTrade", "SetNote", "CancelStep", "CloseStepAtMarket"}
)
"""Commands that change a trade whenever they are granted."""


class Auditor:
    """Implements `Observer`. Every method may raise Violation."""

    def __init__(self, max_price_age: Instant | None = 10 * SECOND) -> None:
        """max_price_age: of the oldest price that may be decided on (TR-6); None: a price stands until the next"""
        context = decimal.getcontext()
        context.prec = max(context.prec, DIGITS)
        self._max_price_age = max_price_age
        self._known = Known()
        self._traffic = orders.Traffic(self._known)
        self._stops = Stops(self._known, max_price_age)
        self._funds = Funds(self._known)
        self._stop_gone: dict[int, int] = {}  # trade -> the stop that left it without its user being answered yet
        self._ends_checked = False
        self.commits = 0

    # --- the world ------------------------------------------------------------------------------------------------

    def pair_listed(self, at: Instant, rules: PairRules) -> None:
        self._tick(at)
        key = (rules.market, rules.pair)
        pair = self._known.pairs.get(key)
        if pair is None:
            self._known.pairs[key] = Pair(rules)
        else:
            pair.rules = rules

    def account_opened(self, at: Instant, account_id: int, market: str, balances: Mapping[str, Decimal]) -> None:
        self._tick(at)
        self._funds.opened(account_id, balances)

    def price_moved(
        self, at: Instant, market: str, pair: str, bid: Decimal, ask: Decimal, last: Decimal, age: Instant = 0
    ) -> None:
        self._tick(at)
        self._known.process_begins()
        price = Price(at, bid, ask, last, at - age)
        if self._known.pairs[market, pair].told(price, self._max_price_age, MARGIN):
            self._stops.moved((market, pair), price)

    def process_died(self, at: Instant) -> None:
        self._tick(at)
        self._known.is_up = False
        self._known.began_at = None
        for pair in self._known.pairs.values():
            pair.forget_prices()
        self._stops.died()
        self._stop_gone.clear()  # whoever asked got no answer

    def process_started(self, at: Instant) -> None:
        self._tick(at)
        self._known.is_up = True
        self._known.process_begins()
        self._known.disturbed()
        self._stops.started()

    def clock_jumped(self, at: Instant, seconds: float) -> None:
        self._known.now = max(at, self._known.now)
        self._known.clock_was_set()
        self._traffic.clock_was_set()
        self._stops.clock_was_set()

    def trouble_began(self, at: Instant, account_id: int | None, what: str) -> None:
        self._tick(at)
        self._known.trouble_began(account_id, what)

    def trouble_ended(self, at: Instant, account_id: int | None, what: str) -> None:
        self._tick(at)
        self._known.trouble_ended(account_id, what)

    def peace(self, at: Instant) -> None:
        self._tick(at)
        self._known.peace_at = at
        for trade in self._known.trades.values():
            self._known.review_later(trade)

    # --- the exchange's side --------------------------------------------------------------------------------------

    def order_taken(self, at: Instant, order: SeenOrder) -> None:
        self._tick(at)
        taken = self._traffic.taken(order)
        self._known.review_later(taken.trade)

    def order_refused(self, at: Instant, order: SeenOrder, kind: str, text: str) -> None:
        self._tick(at)
        self._traffic.refused(order)

    def order_filled(self, at: Instant, fill: SeenFill) -> None:
        self._tick(at)
        order = self._known.orders.get(fill.client_order_id)
        if order is None:
            self._known.violation("EX-4", f"{fill.client_order_id} filled and was never taken")
        trade = order.trade
        rules = self._known.pairs[trade.key].rules
        value = value_of(fill, order.seen.side, rules, entry=order.is_entry)
        order.fills[fill.fill_id] = value
        order.sums.add(value)
        order.changed_at = at
        self._known.pairs[trade.key].filled_at = self._known.now
        (trade.entered if order.is_entry else trade.closed).add(value)
        self._funds.filled(order.seen, fill, rules)
        self._traffic.filled(order)
        self._traffic.reason(trade)
        self._known.review_later(trade)

    def order_ended(self, at: Instant, client_order_id: str, state: str) -> None:
        self._tick(at)
        order = self._known.orders.get(client_order_id)
        if order is not None:
            order.alive = False
            order.ended_as = state
            order.changed_at = at
            self._known.review_later(order.trade)

    def position_taken(
        self, at: Instant, account_id: int, market: str, pair: str, quantity: Decimal, liquidated: bool
    ) -> None:
        self._tick(at)
        key = (market, pair)
        self._funds.position_taken(account_id, key, self._known.pairs[key].rules)
        for trade in self._known.trades.values():
            if trade.is_final or trade.account_id != account_id or trade.key != key:
                continue
            has_something = trade.open_amount() > ZERO or trade.stored_open() > ZERO
            if has_something and trade.is_long is (quantity > ZERO):
                trade.lost = True
                self._known.review_later(trade)

    def balances_read(
        self, at: Instant, account_id: int, totals: Mapping[str, Decimal], positions: Mapping[str, Decimal]
    ) -> None:
        self._tick(at)
        self._funds.read(account_id, totals, positions)

    # --- the server's side ----------------------------------------------------------------------------------------

    def command_answered(self, at: Instant, trade_id: int | None, command: str, denied: str | None) -> None:
        self._tick(at)
        if denied is not None or trade_id is None:
            return
        trade = self._known.trades.get(trade_id)
        if trade is None:
            self._known.violation("C-10", f"{command} of trade {trade_id} was answered, and nothing is committed")
        self._traffic.reason(trade)
        if command in _STOP_COMMANDS:
            self._stop_gone.pop(trade_id, None)
        if command in _CHANGING_COMMANDS:
            trade.accepted += 1
            if trade.row.get("revision", 1) <= trade.accepted:
                self._known.violation("C-10", f"{command} was answered before it was committed", trade)
        if command == "CancelTrade" and trade.status in reviews.UNTOUCHED_BY_CANCEL:
            self._known.violation("S-26", f"a cancellation was granted, and the trade is {trade.status}", trade)
        if command == "CloseAtMarket" and trade.status in reviews.UNTOUCHED_BY_CLOSE:
            self._known.violation("S-22", f"a close was granted, and the trade is {trade.status}", trade)

    def trade_committed(self, at: Instant, trade: Mapping[str, Any]) -> None:
        self._tick(at)
        self.commits += 1
        row, known = trade, self._known
        present = known.trades.get(row["id"])
        is_new = present is None
        if present is None:
            present = known.trades[row["id"]] = Trade(row["id"], row)
        before = None if is_new else present.row
        if before is not None and before == row:
            return
        lifecycle.check_trade(known, present, row, is_new=is_new)
        self._take_legs(present, row)
        if before is None or before["status"] != row["status"]:
            self._traffic.reason(present)
        present.row, present.status, present.committed_at = row, row["status"], at
        lifecycle.check_whole(known, present)
        if present.is_final and before is not None and before["status"] != row["status"]:
            self._check_orders_out(present)
        self._note_stop(present, before)
        self._stops.committed(present, before)
        known.review_later(present)

    def _take_legs(self, trade: Trade, row: Mapping[str, Any]) -> None:
        """Check the legs that have changed and keep them."""
        pair = self._known.pairs[trade.key]
        seen = 0
        for purpose, leg_row in legs_of(row):
            seen += 1
            before = trade.legs.get(leg_row["id"])
            if before is not None and before.row == leg_row and before.purpose == purpose:
                continue
            leg = Leg(purpose, leg_row)
            if before is None or before.sums != leg.sums:
                pair.filled_at = self._known.now
            lifecycle.check_leg(self._known, trade, before, leg)
            if "orders" in leg_row:
                orders.check_orders(self._known, trade, pair, before, leg)
            trade.legs[leg.id] = leg
        if seen != len(trade.legs):
            self._known.violation("ids", "a leg has vanished, or two share an id", trade)

    def _check_orders_out(self, trade: Trade) -> None:
        """S-28, F28: final only when every order is out of the book."""
        for order in trade.alive():
            text = f"{trade.status} while {order.seen.client_order_id} is in the book"
            self._known.violation("S-28", text, trade)

    def _note_stop(self, trade: Trade, before: Mapping[str, Any] | None) -> None:
        """A stop leaves a trade that goes on only because its user wants so (SL-12)."""
        old = None if before is None else before.get("stop")
        new = trade.row.get("stop")
        if old is not None and (new is None or new["id"] != old["id"]) and not trade.is_final:
            self._stop_gone[trade.id] = old["id"]

    def at_rest(self, at: Instant) -> None:
        self._tick(at)
        known = self._known
        if known.is_up:
            self._stops.at_rest()
        for trade in known.due_reviews():
            if trade.id in self._stop_gone and known.is_up:
                known.violation("SL-12", f"stop {self._stop_gone[trade.id]} is gone, and nobody asked for it", trade)
            if reviews.review(known, trade):
                known.review_later(trade)
        known.rested_at = at
        if known.peace_at is not None and not self._ends_checked and at >= known.peace_at + SETTLED and known.is_up:
            self._ends_checked = True
            for trade in known.trades.values():
                reviews.check_end(known, trade)

    def _tick(self, at: Instant) -> None:
        known = self._known
        if at < known.now - SECOND:
            known.now = at
            known.clock_was_set()
            self._traffic.clock_was_set()
            self._stops.died()
            for pair in known.pairs.values():
                pair.clock_went_back()
        known.now = max(at, known.now)
