"""The auditor's own books: what the exchange saw of every order, trade and account, and the sums of it.

Nothing here is copied from the server but the names of its fields. Sums follow behaviour 4.1.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any, Final

from smarttrade.simulation.auditor.tables import FINAL, OVER
from smarttrade.simulation.observer import Instant, PairRules, SeenFill, SeenOrder

Row = Mapping[str, Any]
PairKey = tuple[str, str]
"""Market and pair."""

SECOND: Final[Instant] = 1_000_000
ZERO: Final = Decimal(0)
HUNDRED: Final = Decimal(100)
LIVE: Final = frozenset({"intended", "unconfirmed", "backing_off", "working", "pending_cancel"})
"""What the server calls an order that is or may be at the exchange."""


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_CEILING) * step


def half_up_to(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_HALF_UP) * step


def amount(text: str | None) -> Decimal:
    """A stored amount; what is left out is zero."""
    return ZERO if text is None else Decimal(text)


class Sums:
    """Executions added up: base and quote that changed hands, and what counts of them (M-2 to M-4, M-15)."""

    __slots__ = ("amount", "base", "quote", "total")

    def __init__(
        self, base: Decimal = ZERO, quote: Decimal = ZERO, amount: Decimal = ZERO, total: Decimal = ZERO
    ) -> None:
        self.base = base
        self.quote = quote
        self.amount = amount
        self.total = total

    def add(self, other: "Sums") -> None:
        self.base += other.base
        self.quote += other.quote
        self.amount += other.amount
        self.total += other.total

    def take(self, other: "Sums") -> None:
        self.base -= other.base
        self.quote -= other.quote
        self.amount -= other.amount
        self.total -= other.total

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sums) and (self.base, self.quote, self.amount, self.total) == (
            other.base,
            other.quote,
            other.amount,
            other.total,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.base} for {self.quote}, counted {self.amount} for {self.total}"


def stored_sums(execution: Row | None) -> Sums:
    """What the server has stored of an execution."""
    if not execution:
        return Sums()
    return Sums(
        amount(execution.get("gross_quantity")),
        amount(execution.get("gross_total")),
        amount(execution.get("amount")),
        amount(execution.get("total")),
    )


def value_of(fill: SeenFill, side: str, rules: PairRules, *, entry: bool) -> Sums:
    """What one fill adds to the entered or the closed sums."""
    quote = fill.quantity * fill.price
    in_base = fill.fee_asset == rules.base
    if in_base:
        fee = fill.fee * fill.price
    elif fill.fee_asset == rules.quote:
        fee = fill.fee
    else:
        fee = quote * rules.taker_fee  # M-5, M-6
    if entry and side == "buy" and in_base:
        return Sums(fill.quantity, quote, fill.quantity - fill.fee, quote)  # M-2
    return Sums(fill.quantity, quote, fill.quantity, quote + fee if side == "buy" else quote - fee)


class ExchangeOrder:
    """An order as the exchange has it."""

    __slots__ = (
        "alive", "changed_at", "ended_as", "fills", "is_entry", "seen", "step_id", "sums", "taken_at", "trade",
    )  # fmt: skip

    def __init__(self, seen: SeenOrder, trade: "Trade", step_id: int, at: Instant, *, is_entry: bool) -> None:
        self.seen = seen
        self.trade = trade
        self.step_id = step_id
        self.taken_at = at
        self.changed_at = at
        self.is_entry = is_entry
        self.alive = True
        self.ended_as = ""
        self.fills: dict[str, Sums] = {}
        self.sums = Sums()

    @property
    def leaves(self) -> Decimal:
        return self.seen.quantity - self.sums.base


class Leg:
    """A leg as it was committed last, with the figures that are asked for often."""

    __slots__ = ("id", "live", "purpose", "row", "status", "sums")

    def __init__(self, purpose: str, row: Row) -> None:
        self.id: int = row["id"]
        self.purpose = purpose
        self.row = row
        self.status: str = row["status"]
        self.sums = Sums()
        self.live: Row | None = None  # the order that is or may be at the exchange
        for order in row.get("orders", ()):
            execution = order.get("execution")
            if execution:
                self.sums.add(stored_sums(execution))
            if order.get("status", "intended") in LIVE:
                self.live = order

    @property
    def is_entry(self) -> bool:
        return self.purpose in ("position", "averaging")

    @property
    def is_over(self) -> bool:
        return self.status in OVER


def legs_of(row: Row) -> Iterator[tuple[str, Row]]:
    """The legs of a stored trade with their purposes."""
    yield "position", row["position"]
    for purpose, name in _GROUPS:
        for leg in row.get(name, ()):
            yield purpose, leg
    stop, close = row.get("stop"), row.get("market_close")
    if stop is not None:
        yield "stop_loss", stop
    if close is not None:
        yield "market_close", close


_GROUPS: Final = (
    ("averaging", "averaging"),
    ("take_profit", "targets"),
    ("stop_loss", "past_stops"),
    ("reduce_funds", "reductions"),
)


class Trade:
    """A trade: its last committed state, and what the exchange saw of it."""

    def __init__(self, trade_id: int, row: Row) -> None:
        self.id = trade_id
        self.account_id: int = row["account_id"]
        self.key: PairKey = (row["key"]["market"], row["key"]["pair"])
        self.is_long = row["kind"] in ("simple_buy", "smart_trade", "smart_sell")
        self.is_simple = row["kind"] in ("simple_buy", "simple_sell")
        self.is_own_funds = row["kind"] in ("smart_sell", "smart_buy")
        self.row: Row = row
        self.status: str = row["status"]
        self.legs: dict[int, Leg] = {}
        self.intents: dict[str, Row] = {}  # every order that was ever committed, by client order id
        self.orders: dict[str, ExchangeOrder] = {}
        self.entered = Sums()  # by the exchange's fills
        self.closed = Sums()
        self.lost = False  # the exchange took its position (S-32)
        self.committed_at: Instant = 0
        self.accepted = 0  # commands that were answered as accepted

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def entry_side(self) -> str:
        return "buy" if self.is_long else "sell"

    def own_funds(self) -> Decimal:
        """Base that the position begins with (M-9)."""
        return Decimal(self.row["position"]["plan"]["units"]) if self.is_own_funds else ZERO

    def open_amount(self) -> Decimal:
        """O of C-6 by the exchange's fills, whether the server has heard of them or not."""
        return self.own_funds() + self.entered.amount - self.closed.base

    def stored(self, *, entry: bool) -> Sums:
        """What the server has booked as entered or as closed."""
        total = Sums()
        for leg in self.legs.values():
            if leg.is_entry is entry:
                total.add(leg.sums)
        if entry and self.is_own_funds and self.row["position"]["status"] == "smart_sell":
            plan = self.row["position"]["plan"]
            units = Decimal(plan["units"])
            own = units * amount(plan.get("price"))
            total.add(Sums(units, own, units, own))
        if not entry:
            total.add(stored_sums(self.row.get("liquidation")))
        return total

    def stored_open(self) -> Decimal:
        return self.stored(entry=True).amount - self.stored(entry=False).amount

    def alive(self) -> Iterable[ExchangeOrder]:
        return [order for order in self.orders.values() if order.alive]

    def purpose_of(self, order: ExchangeOrder) -> str:
        return self.legs[order.step_id].purpose


class Price:
    """One price that the server was told."""

    __slots__ = ("ask", "at", "bid", "decides", "last", "obliges", "stamp")

    def __init__(self, at: Instant, bid: Decimal, ask: Decimal, last: Decimal, stamp: Instant) -> None:
        self.at = at
        self.bid = bid
        self.ask = ask
        self.last = last
        self.stamp = stamp
        self.decides = True  # it may: it was not surely too old when it came (TR-6)
        self.obliges = True  # the server cannot say that it was too old when it came (TR-6)

    def of(self, price_type: str) -> Decimal:
        return self.bid if price_type == "bid" else self.ask if price_type == "ask" else self.last


class Pair:
    """A pair: its rules and the prices that were told last, newest at the end."""

    def __init__(self, rules: PairRules) -> None:
        self.rules = rules
        self.prices: deque[Price] = deque(maxlen=64)
        self.newest: Price | None = None  # of those that may decide
        self.latest_stamp: Instant = 0  # of all prices that this process was told
        self.filled_at: Instant = 0  # when the server can have heard of our newest fill here

    def told(self, price: Price, max_age: Instant | None, margin: Instant) -> bool:
        """Take a price that is told now; whether it counts: one that is too old to decide does, for extremes (TR-6)."""
        if price.bid > price.ask or price.bid <= ZERO or price.last <= ZERO or price.stamp < self.latest_stamp:
            return False
        self.latest_stamp = price.stamp
        if max_age is not None:
            age = price.at - price.stamp
            price.decides = age <= max_age
            price.obliges = age < max_age - margin and price.stamp >= self.filled_at
        self.prices.append(price)
        if price.decides:
            self.newest = price
        return True

    def forget_prices(self) -> None:
        """Another process knows of no price before its first."""
        self.latest_stamp = self.filled_at = 0
        self.prices.clear()
        self.newest = None

    def clock_went_back(self) -> None:
        """Instants of prices from before belong to another clock: they are old."""
        self.latest_stamp = self.filled_at = 0
        for price in self.prices if self.newest is None else (*self.prices, self.newest):
            price.at = price.stamp = 0

    def closing_price(self, *, long: bool) -> Decimal | None:
        price = self.newest
        return None if price is None else price.bid if long else price.ask

    def is_closable(self, quantity: Decimal, *, long: bool) -> bool:
        """C-6: at least a lot, the smallest order and the smallest total."""
        units = floor_to(quantity, self.rules.lot)
        if units < self.rules.lot or units < self.rules.min_lot:
            return False
        price = self.closing_price(long=long)
        return price is not None and units * price >= self.rules.min_market_total
