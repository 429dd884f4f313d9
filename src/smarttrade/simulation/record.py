"""What the exchange knows for certain: read from the rows that it has made durable, told to an observer at once.

A fault may delay or lose every word about it on the way to the server; this record is never wrong.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import Instant, InstrumentKey
from smarttrade.simulation.observer import Observer, SeenFill, SeenOrder
from smarttrade.simulation.storage import Written

Row = Mapping[str, Any]

OVER = {"filled": "filled", "canceled": "canceled"}


class KnownOrder(msgspec.Struct):
    """An order that the exchange has taken."""

    client_order_id: str
    account_id: int
    key: InstrumentKey
    is_open: bool = True
    taken_ns: int = 0


class ExchangeRecord:
    """Orders, balances and positions of all accounts, as last committed by the exchange."""

    def __init__(self, observer: Observer, now: Callable[[], Instant], time_ns: Callable[[], int]) -> None:
        self.orders: dict[int, KnownOrder] = {}  # by the exchange's own number
        self.balances: dict[int, dict[str, Decimal]] = {}
        self.positions: dict[int, dict[InstrumentKey, Decimal]] = {}
        self.touched: dict[int, None] = {}  # accounts whose balances or positions have changed since they were told
        self._numbers: dict[str, int] = {}
        self._observer = observer
        self._now = now
        self._time_ns = time_ns

    def take(self, written: Sequence[Written]) -> None:
        """Hear what a commit of the exchange has made durable."""
        puts = {part.table: part.rows for part in written if not part.removed}
        removals = {part.table: part.rows for part in written if part.removed}
        changed = sorted(puts.get("paper_orders", ()), key=lambda row: int(row["sequence"]))
        for row in changed:
            self._note_order(row)
        for row in sorted(puts.get("paper_fills", ()), key=lambda row: int(row["number"])):
            self._note_fill(row)
        for row in puts.get("paper_closures", ()):
            self._note_closure(row["report"])
        for row in changed:
            self._note_end(row)
        self._note_funds(puts, removals)

    def order(self, client_order_id: str) -> KnownOrder | None:
        """The order that took this client id."""
        number = self._numbers.get(client_order_id)
        return None if number is None else self.orders[number]

    def open_orders(self) -> Iterable[KnownOrder]:
        """Live orders of all accounts, oldest first."""
        return [order for order in self.orders.values() if order.is_open]

    def position(self, account_id: int, key: InstrumentKey) -> Decimal:
        return self.positions.get(account_id, {}).get(key, ZERO)

    def tell_funds(self) -> None:
        """Say what every account has that has changed."""
        for account_id in sorted(self.touched):
            totals = dict(self.balances.get(account_id, {}))
            net = {key.pair: quantity for key, quantity in self.positions.get(account_id, {}).items()}
            self._observer.balances_read(self._now(), account_id, totals, net)
        self.touched.clear()

    def _note_order(self, row: Row) -> None:
        number = int(row["sequence"])
        if number in self.orders or row["status"] == "rejected":
            return
        key = InstrumentKey(row["market"], row["pair"])
        order = KnownOrder(row["client_order_id"], row["account_id"], key, taken_ns=self._time_ns())
        self.orders[number] = order
        self._numbers[order.client_order_id] = number
        seen = SeenOrder(
            account_id=order.account_id,
            market=key.market,
            pair=key.pair,
            client_order_id=order.client_order_id,
            side=row["side"],
            type=row["type"],
            quantity=Decimal(row["quantity"]),
            price=None if row["price"] is None else Decimal(row["price"]),
            reduce_only=bool(row["reduce_only"]),
        )
        self._observer.order_taken(self._now(), seen)

    def _note_fill(self, row: Row) -> None:
        order = self.orders[int(row["order_sequence"])]
        fill = SeenFill(
            client_order_id=order.client_order_id,
            fill_id=f"F{row['number']}",
            price=Decimal(row["price"]),
            quantity=Decimal(row["quantity"]),
            fee=Decimal(row["fee_amount"]),
            fee_asset=row["fee_asset"],
        )
        self._observer.order_filled(self._now(), fill)

    def _note_end(self, row: Row) -> None:
        order = self.orders.get(int(row["sequence"]))
        state = OVER.get(row["status"])
        if order is None or state is None or not order.is_open:
            return
        order.is_open = False
        self._observer.order_ended(self._now(), order.client_order_id, state)

    def _note_closure(self, report: Row) -> None:
        key = report["key"]
        quantity, liquidated = Decimal(report["quantity"]), bool(report["liquidated"])
        self._observer.position_taken(
            self._now(), report["account_id"], key["market"], key["pair"], quantity, liquidated
        )

    def _note_funds(self, puts: Mapping[str, Sequence[Row]], removals: Mapping[str, Sequence[Row]]) -> None:
        for row in puts.get("paper_balances", ()):
            self.balances.setdefault(row["account_id"], {})[row["currency"]] = Decimal(row["total"])
            self.touched[row["account_id"]] = None
        for row in puts.get("paper_positions", ()):
            key = InstrumentKey(row["market"], row["pair"])
            self.positions.setdefault(row["account_id"], {})[key] = Decimal(row["quantity"])
            self.touched[row["account_id"]] = None
        for row in removals.get("paper_positions", ()):
            key = InstrumentKey(row["key_market"], row["key_pair"])
            self.positions.get(row["key_account_id"], {}).pop(key, None)
            self.touched[row["key_account_id"]] = None
