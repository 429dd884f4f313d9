"""Everything that the paper exchange knows: its tables, the ways to find a row, and the arithmetic of balances."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.ledger import Changes, Index, Ledger, RestingOrders, Table, Unique
from smarttrade.adapters.exchanges.paper.rows import (
    PaperAccount,
    PaperBalance,
    PaperClosure,
    PaperDepth,
    PaperFault,
    PaperFill,
    PaperLeverage,
    PaperOrder,
    PaperPosition,
    PaperSequence,
)
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ONE, ZERO
from smarttrade.domain.order import ReportedState
from smarttrade.domain.plan import Leverage, MarginMode
from smarttrade.domain.quote import InstrumentKey, Quote

NO_LEVERAGE = Leverage(MarginMode.CROSS, ONE)
"""What a pair starts with."""


KEPT_ORDERS = 4_096
"""Orders that are over and still kept in memory, with their fills: most questions come right after the end."""


class OldOrders(Protocol):
    """Orders that are over and have left the memory."""

    def order(self, client_order_id: str) -> tuple[PaperOrder, Sequence[PaperFill]] | None:
        """The order that took this client id, with its fills."""


class State(Ledger):
    """The books. Quotes belong to the price source and are only remembered here; everything else is durable."""

    def __init__(self, old: OldOrders | None = None, keep: int = KEPT_ORDERS) -> None:
        """old   reads what has left the memory; None: nothing leaves it
        keep  orders that are over and stay in memory
        """
        super().__init__()
        self._old = old
        self._keep = keep
        self._over: OrderedDict[int, None] = OrderedDict()  # durable orders that are over, by their last use
        self.quotes: dict[InstrumentKey, Quote] = {}
        self.resting = RestingOrders()
        self._ids_taken = Unique[PaperOrder](
            lambda order: None if order.status is ReportedState.REJECTED else order.client_order_id
        )
        self._open = Index[PaperOrder](lambda order: (order.account_id, order.key) if order.is_open else None)
        self._live_of = Index[PaperOrder](lambda order: order.account_id if order.is_open else None)
        self._fills_of = Index[PaperFill](lambda fill: fill.order_sequence)
        self._balances_of = Index[PaperBalance](lambda balance: balance.account_id)
        self._positions_of = Index[PaperPosition](lambda position: position.account_id)
        self._positions_in = Index[PaperPosition](lambda position: position.key)

        self.accounts = Table[PaperAccount]("accounts", self)
        self.orders = Table[PaperOrder](
            "orders", self, self.resting.watch, self._ids_taken.watch, self._open.watch, self._live_of.watch
        )
        self.fills = Table[PaperFill]("fills", self, self._fills_of.watch)
        self.balances = Table[PaperBalance]("balances", self, self._balances_of.watch)
        self.positions = Table[PaperPosition]("positions", self, self._positions_of.watch, self._positions_in.watch)
        self.leverages = Table[PaperLeverage]("leverages", self)
        self.depths = Table[PaperDepth]("depths", self)
        self.closures = Table[PaperClosure]("closures", self)
        self.faults = Table[PaperFault]("faults", self)
        self.sequences = Table[PaperSequence]("sequences", self)

    def next_number(self, sequence: str) -> int:
        """Take the next number: 1, 2, 3 ..., never the same twice."""
        row = self.sequences.get(sequence)
        return self.sequences.put(PaperSequence(name=sequence, last=1 if row is None else row.last + 1)).last

    def forget(self, account_id: int) -> None:
        """Remove an account and all that is its own; what has left the memory goes when this is stored."""
        for order in self.orders:
            for number in self._fills_of.ids(order.sequence) if order.account_id == account_id else ():
                self.fills.remove(number)
        of_accounts: tuple[Table[Any], ...] = (
            self.accounts,
            self.balances,
            self.orders,
            self.positions,
            self.leverages,
            self.closures,
            self.faults,
        )
        for table in of_accounts:
            for row in table:
                if row.account_id == account_id:
                    table.remove(row.id)

    # orders

    def order(self, client_order_id: str) -> PaperOrder | None:
        """The order that took this client id. Refused orders take none: the same id may be sent again."""
        sequence = self._ids_taken.id(client_order_id)
        return self._recall(client_order_id) if sequence is None else self.orders.get(sequence)

    def _recall(self, client_order_id: str) -> PaperOrder | None:
        """An order that had left the memory."""
        found = None if self._old is None else self._old.order(client_order_id)
        if found is None:
            return None
        order, fills = found
        if order.account_id not in self.accounts:  # it is being removed
            return None
        self.orders.load([order])
        self.fills.load(fills)
        self._over[order.sequence] = None
        return order

    def stored(self, changed: Iterable[Changes], pending: Iterable[Changes]) -> None:
        """`changed` is durable and `pending` is not yet: of the orders that are over, let go of the oldest."""
        if self._old is None:
            return
        for changes in changed:
            for name, row_id in changes:
                order = self.orders.get(row_id) if name == "orders" else None
                if order is not None and not order.is_open:
                    self._over[row_id] = None
                    self._over.move_to_end(row_id)
        if len(self._over) <= self._keep:
            return
        held = {row_id for changes in pending for name, row_id in changes if name == "orders"}
        for sequence in list(islice(self._over, len(self._over) - self._keep)):
            if sequence not in held:
                self._drop(sequence)

    def _drop(self, sequence: int) -> None:
        """Forget an order and its fills, here alone."""
        del self._over[sequence]
        for number in self._fills_of.ids(sequence):
            self.fills.restore(number, None)
        self.orders.restore(sequence, None)

    def first_resting(self, key: InstrumentKey, side: Side) -> PaperOrder | None:
        """The resting order that trades first."""
        sequence = self.resting.first(key, side)
        return None if sequence is None else self.orders.get(sequence)

    def open_orders(self, account_id: int, key: InstrumentKey) -> list[PaperOrder]:
        """Live orders of an account on a pair, oldest first."""
        rows = (self.orders.get(sequence) for sequence in self._open.ids((account_id, key)))
        return [row for row in rows if row is not None]

    def live_orders(self, account_id: int) -> list[PaperOrder]:
        """Live orders of an account on all pairs, oldest first."""
        rows = (self.orders.get(sequence) for sequence in self._live_of.ids(account_id))
        return [row for row in rows if row is not None]

    def fills_of(self, order: PaperOrder) -> tuple[Fill, ...]:
        """Every fill of an order, oldest first."""
        rows = (self.fills.get(number) for number in self._fills_of.ids(order.sequence))
        return tuple(row.reported for row in rows if row is not None)

    # positions

    def position(self, account_id: int, key: InstrumentKey) -> PaperPosition | None:
        return self.positions.get((account_id, key.market, key.pair))

    def positions_of(self, account_id: int) -> list[PaperPosition]:
        rows = (self.positions.get(row_id) for row_id in self._positions_of.ids(account_id))
        return [row for row in rows if row is not None]

    def positions_in(self, key: InstrumentKey) -> list[PaperPosition]:
        """Positions of all accounts in one instrument, by account."""
        rows = (self.positions.get(row_id) for row_id in self._positions_in.ids(key))
        return [row for row in rows if row is not None]

    def leverage(self, account_id: int, key: InstrumentKey) -> Leverage:
        row = self.leverages.get((account_id, key.market, key.pair))
        return NO_LEVERAGE if row is None else Leverage(row.mode, row.value)

    # balances

    def balance(self, account_id: int, currency: str) -> PaperBalance:
        row = self.balances.get((account_id, currency))
        return PaperBalance(account_id=account_id, currency=currency) if row is None else row

    def balances_of(self, account_id: int) -> list[PaperBalance]:
        """All currencies that the account has had, by name."""
        rows = (self.balances.get(row_id) for row_id in self._balances_of.ids(account_id))
        return [row for row in rows if row is not None]

    def receive(self, account_id: int, currency: str, amount: Decimal) -> None:
        balance = self.balance(account_id, currency)
        self.balances.put(replace(balance, total=balance.total + amount))

    def pay(self, account_id: int, currency: str, amount: Decimal) -> None:
        """Take from what is free. Only a scripted late fill can ask for more than there is; it then takes the rest."""
        balance = self.balance(account_id, currency)
        self.balances.put(replace(balance, total=max(balance.total - amount, balance.reserved)))

    def realise(self, account_id: int, currency: str, amount: Decimal) -> None:
        """Book a futures profit (or loss, < 0). What the account cannot pay is the exchange's loss."""
        balance = self.balance(account_id, currency)
        self.balances.put(replace(balance, total=max(balance.total + amount, ZERO)))

    def reserve(self, account_id: int, currency: str, amount: Decimal) -> None:
        """Lock an amount, or give it back (< 0)."""
        if amount:
            balance = self.balance(account_id, currency)
            self.balances.put(replace(balance, reserved=balance.reserved + amount))

    # what a quote offers

    def available(self, key: InstrumentKey, side: Side) -> Decimal | None:
        """Base that an order on `side` can still take at the market's price; None: unlimited (EX-5)."""
        quote = self.quotes[key]
        depth = self.depths.get((key.market, key.pair)) or PaperDepth(market=key.market, pair=key.pair)
        size, used = (quote.ask_size, depth.ask_used) if side is Side.BUY else (quote.bid_size, depth.bid_used)
        return None if size is None else max(ZERO, size - used)

    def take(self, key: InstrumentKey, side: Side, quantity: Decimal) -> None:
        """Use up what a quote offers, where it has a size."""
        if not quantity or self.available(key, side) is None:
            return
        depth = self.depths.get((key.market, key.pair)) or PaperDepth(market=key.market, pair=key.pair)
        if side is Side.BUY:
            self.depths.put(replace(depth, ask_used=depth.ask_used + quantity))
        else:
            self.depths.put(replace(depth, bid_used=depth.bid_used + quantity))
