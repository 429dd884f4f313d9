"""Orders of all paper accounts against the market's quotes and trades: pure matching, in memory.

Fill rules, the same in every mode. A market order trades at the opposite quote. A limit order that is marketable on
arrival trades at once at the market's price, as taker; the rest of it waits. A waiting order trades at its own price,
as maker, when the opposite quote reaches it, and when trades of a known size print through it, up to that size. A size
that came with a quote is used up until the next quote (EX-5). Better prices trade first, then older orders.

What became of orders is collected in `news`, in order, to be told once it is durable.
"""

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.futures import Futures
from smarttrade.adapters.exchanges.paper.rows import PaperClosure, PaperFill, PaperOrder, PaperPosition, fill_id
from smarttrade.adapters.exchanges.paper.settlement import Settlement, Spot
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, OrderType, RefusalKind, ReportedState
from smarttrade.domain.quote import Instant, InstrumentKey, Quote
from smarttrade.ports.exchange import PositionClosed
from smarttrade.ports.market_data import MarketUpdate, Print

Report = OrderReport | PositionClosed

EXPIRED = "Order expired: nothing more to trade at this price."
NOT_REDUCING = "ReduceOnly Order is rejected."
NO_FUNDS = "Account has insufficient balance for requested action."


class Books:
    """Takes orders, quotes and trades; changes the rows of `state`; collects `news`."""

    def __init__(
        self, state: State, instrument: Callable[[InstrumentKey], Instrument | None], now: Callable[[], Instant]
    ) -> None:
        self._state = state
        self._instrument = instrument
        self._now = now
        self._spot = Spot(state)
        self.futures = Futures(state, instrument)
        self.news: list[tuple[int, Report]] = []  # (account, what its owner is told)

    # arrival

    def submit(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        """Take an order or refuse it. The answer only acknowledges; what it traded at once is news."""
        if self._state.order(intent.client_order_id) is not None:
            return OrderRefused(
                client_order_id=intent.client_order_id, kind=RefusalKind.DUPLICATE_ID, text="Duplicate order sent."
            )
        account = self._state.accounts.get(intent.account_id)
        instrument = self._instrument(intent.key)
        if account is None:
            return self.refuse(intent, RefusalKind.PERMANENT, "This account is not available.")
        if instrument is None or intent.key.market != account.market:
            return self.refuse(intent, RefusalKind.PERMANENT, "Invalid symbol.")
        objection = self._broken_filter(intent, instrument) or self._missing(intent, instrument)
        if objection is not None:
            return self.refuse(intent, *objection)
        self._state.closures.remove((intent.account_id, intent.key.market, intent.key.pair))
        order = self._record(intent, ReportedState.OPEN)
        acknowledged = self._report(order)
        self._arrive(order, instrument)
        return acknowledged

    def refuse(self, intent: OrderIntent, kind: RefusalKind, text: str) -> OrderRefused:
        """Note the refused order (it is listed, but takes no client id) and say no."""
        self._record(intent, ReportedState.REJECTED, text)
        return OrderRefused(client_order_id=intent.client_order_id, kind=kind, text=text)

    def _record(self, intent: OrderIntent, status: ReportedState, text: str = "") -> PaperOrder:
        now = self._now()
        return self._state.orders.put(
            PaperOrder(
                sequence=self._state.next_number("order"),
                client_order_id=intent.client_order_id,
                account_id=intent.account_id,
                market=intent.key.market,
                pair=intent.key.pair,
                side=intent.side,
                type=intent.type,
                price=intent.price,
                quantity=intent.quantity,
                reduce_only=intent.reduce_only,
                status=status,
                text=text,
                created_at=now,
                updated_at=now,
            )
        )

    def _broken_filter(self, intent: OrderIntent, rules: Instrument) -> tuple[RefusalKind, str] | None:
        """The first trading rule that the order breaks (C-4, EX-16)."""
        recoverable = RefusalKind.RECOVERABLE
        quantity, price = intent.quantity, intent.price
        if quantity < rules.min_lot or quantity <= 0 or quantity % rules.lot or exceeds(quantity, rules.max_lot):
            return recoverable, "Filter failure: LOT_SIZE"
        if price is None:
            if exceeds(quantity, rules.max_market_lot):
                return recoverable, "Filter failure: MARKET_LOT_SIZE"
            if intent.key not in self._state.quotes:
                return recoverable, "No market price"
            price, smallest = self._market_price(intent.key, intent.side), rules.min_market_total
        else:
            smallest = rules.min_total
            below = price <= 0 or (rules.min_price is not None and price < rules.min_price)
            if below or price % rules.tick or exceeds(price, rules.max_price):
                return recoverable, "Filter failure: PRICE_FILTER"
        if quantity * price < smallest or exceeds(quantity * price, rules.max_total):
            return recoverable, "Filter failure: NOTIONAL"
        return None

    def _missing(self, intent: OrderIntent, rules: Instrument) -> tuple[RefusalKind, str] | None:
        """Whether the account lacks the position or the funds that the order needs."""
        if intent.reduce_only:
            reducible = self.futures.reducible(intent.account_id, intent.key, intent.side)
            return None if reducible else (RefusalKind.REDUCE_ONLY, NOT_REDUCING)
        settlement = self._settlement(rules)
        at_once = intent.quantity if intent.price is None else self._takes_at_once(intent.key, intent.side, intent)
        opens_at_once = settlement.uncovered(intent.account_id, rules, intent.side, at_once)
        opens = settlement.uncovered(intent.account_id, rules, intent.side, intent.quantity)
        needed, asset = ZERO, rules.base
        if opens_at_once:
            price = self._market_price(intent.key, intent.side)
            cost = settlement.unit_cost(intent.account_id, rules, intent.side, price, rules.taker_fee)
            needed, asset = cost.amount * opens_at_once, cost.asset
        if intent.price is not None and opens > opens_at_once:
            cost = settlement.unit_cost(intent.account_id, rules, intent.side, intent.price, rules.maker_fee)
            needed, asset = needed + cost.amount * (opens - opens_at_once), cost.asset
        given_back = settlement.given_back(intent.account_id, rules, intent.side, at_once)
        if needed > self._state.balance(intent.account_id, asset).free + given_back:
            return RefusalKind.INSUFFICIENT_FUNDS, NO_FUNDS
        return None

    def _arrive(self, order: PaperOrder, instrument: Instrument) -> None:
        """Trade what can be traded at once; a limit order waits with the rest, a market order ends."""
        quantity = self._reducing(order, self._takes_at_once(order.key, order.side, order))
        market = order.type is OrderType.MARKET
        if quantity:
            price = self._market_price(order.key, order.side)
            self._state.take(order.key, order.side, quantity)
            self._trade(order, instrument, quantity, price, instrument.taker_fee, ends=market)
        elif market:
            self._end(order, EXPIRED)
        self._wait(order.sequence, instrument)

    def _wait(self, sequence: int, instrument: Instrument) -> None:
        """Reserve what the rest of an order needs while it waits."""
        order = self._state.orders.get(sequence)
        if order is None or not order.is_open or order.price is None or order.reduce_only:
            return
        settlement = self._settlement(instrument)
        cost = settlement.unit_cost(order.account_id, instrument, order.side, order.price, instrument.maker_fee)
        locked = cost.amount * settlement.uncovered(order.account_id, instrument, order.side, order.leaves_quantity)
        self._state.reserve(order.account_id, cost.asset, locked)
        self._state.orders.put(replace(order, lock_asset=cost.asset, lock_unit=cost.amount, locked=locked))

    # the market moves

    def apply(self, update: MarketUpdate) -> None:
        """Take one step of the market: the trades that printed, then the quote, then who is liquidated by it.

        A quote without a usable price (TR-6) is not a market: only its trades count.
        """
        key, quote = update.quote.key, update.quote
        instrument = self._instrument(key)
        if instrument is not None:
            for each in update.prints:
                self._match_print(instrument, each)
        if not quote.is_usable:
            return
        self._state.quotes[key] = quote
        self._state.depths.remove((key.market, key.pair))
        if instrument is not None:
            self._match_quote(instrument, quote)
            self._liquidate(key)

    def passes_by(self, update: MarketUpdate) -> bool:
        """Whether a step fills and liquidates nothing, as nearly all; then it is known now, else `apply` it."""
        key, quote = update.quote.key, update.quote
        if not quote.is_usable or (key.market, key.pair) in self._state.depths:
            return False
        for side, price in ((Side.BUY, quote.ask), (Side.SELL, quote.bid)):
            order = self._state.first_resting(key, side)
            if order is None:
                continue
            if order.price == price or beats(side, order.price, price):
                return False
            if any(beats(side, order.price, printed.price) for printed in update.prints):
                return False
        self._state.quotes[key] = quote
        return self.futures.next_due(key) is None

    def resume(self, quote: Quote) -> None:
        """The market as it stood before a restart. What the process died before matching is matched now; what orders
        had taken of the quote's sizes stays taken, so resuming twice changes nothing."""
        if not quote.is_usable:
            return
        self._state.quotes[quote.key] = quote
        instrument = self._instrument(quote.key)
        if instrument is not None:
            self._match_quote(instrument, quote)
            self._liquidate(quote.key)

    def _match_print(self, instrument: Instrument, printed: Print) -> None:
        left = printed.quantity
        for side in Side:
            while left > 0 and (order := self._state.first_resting(printed.key, side)) is not None:
                if not beats(side, order.price, printed.price):
                    break
                left -= self._trade_waiting(order, instrument, left)

    def _match_quote(self, instrument: Instrument, quote: Quote) -> None:
        for side in Side:
            price = self._market_price(quote.key, side)
            while (order := self._state.first_resting(quote.key, side)) is not None:
                offered = self._state.available(quote.key, side)
                if offered == 0 or not (order.price == price or beats(side, order.price, price)):
                    break
                self._state.take(quote.key, side, self._trade_waiting(order, instrument, offered))

    def _trade_waiting(self, order: PaperOrder, instrument: Instrument, most: Decimal | None) -> Decimal:
        """Trade a waiting order at its own price; returns how much. One that cannot be paid for any more ends."""
        if order.price is None:
            raise AssertionError(f"{order.exchange_order_id} waits without a price")
        quantity = self._reducing(order, order.leaves_quantity if most is None else min(most, order.leaves_quantity))
        if not quantity or not self._affordable(order, instrument, quantity, order.price):
            self._end(order, NO_FUNDS if quantity else NOT_REDUCING)
            return ZERO
        self._trade(order, instrument, quantity, order.price, instrument.maker_fee)
        return quantity

    def _affordable(self, order: PaperOrder, instrument: Instrument, quantity: Decimal, price: Decimal) -> bool:
        """Rules, leverage or the position may have changed since the order's funds were reserved."""
        settlement = self._settlement(instrument)
        opens = settlement.uncovered(order.account_id, instrument, order.side, quantity)
        cost = settlement.unit_cost(order.account_id, instrument, order.side, price, instrument.maker_fee)
        balance = self._state.balance(order.account_id, cost.asset)
        released = order.locked - lock_after(order, quantity)
        released += settlement.given_back(order.account_id, instrument, order.side, quantity)
        return not opens or cost.amount * opens <= balance.total - balance.reserved + released

    # executions and ends

    def _trade(
        self,
        order: PaperOrder,
        instrument: Instrument,
        quantity: Decimal,
        price: Decimal,
        rate: Decimal,
        *,
        ends: bool = False,
    ) -> None:
        """Book one execution and tell about it; `ends`: what is left of the order expires."""
        locked = lock_after(order, quantity)
        self._state.reserve(order.account_id, order.lock_asset, locked - order.locked)
        settlement = self._settlement(instrument)
        fee = settlement.settle(order.account_id, instrument, order.side, quantity, price, rate)
        fill = self._state.fills.put(
            PaperFill(
                number=self._state.next_number("fill"),
                order_sequence=order.sequence,
                price=price,
                quantity=quantity,
                fee_asset=fee.asset,
                fee_amount=fee.amount,
                filled_at=self._now(),
            )
        )
        order = self._state.orders.put(
            replace(
                order,
                filled_quantity=order.filled_quantity + quantity,
                filled_total=order.filled_total + quantity * price,
                locked=locked,
                updated_at=self._now(),
            )
        )
        if order.leaves_quantity <= 0:
            order = self._close_order(order, ReportedState.FILLED)
        elif ends:
            order = self._close_order(order, ReportedState.CANCELED, EXPIRED)
        self._tell(order, fill.reported)
        if instrument.is_linear:
            self._end_useless(order.account_id, order.key)

    def _close_order(self, order: PaperOrder, status: ReportedState, text: str = "") -> PaperOrder:
        self._state.reserve(order.account_id, order.lock_asset, -order.locked)
        return self._state.orders.put(
            replace(order, status=status, text=text or order.text, locked=ZERO, held=None, updated_at=self._now())
        )

    def _end(self, order: PaperOrder, text: str) -> None:
        """Take a live order out of the book, and tell about it."""
        self._tell(self._close_order(order, ReportedState.CANCELED, text))

    def _end_useless(self, account_id: int, key: InstrumentKey) -> None:
        """Waiting reduce-only orders end when there is nothing left for them to reduce."""
        for order in self._state.open_orders(account_id, key):
            if order.reduce_only and not self._reducing(order, order.leaves_quantity):
                self._end(order, NOT_REDUCING)

    # what the owner may ask

    def live_order(self, account_id: int, client_order_id: str) -> PaperOrder | None:
        order = self._state.order(client_order_id)
        return order if order is not None and order.account_id == account_id and order.is_open else None

    def cancel(self, order: PaperOrder) -> OrderReport:
        """Take a live order out of the book at its owner's wish; the answer carries every fill."""
        order = self._close_order(order, ReportedState.CANCELED)
        return self._report(order, self._state.fills_of(order))

    def find(self, account_id: int, client_order_id: str) -> OrderReport | None:
        """All that is known of an order. A refused order never existed."""
        order = self._state.order(client_order_id)
        if order is None or order.account_id != account_id:
            return None
        return self._report(order, self._state.fills_of(order))

    # what others do (sandbox)

    def cancel_outside(self, order: PaperOrder) -> None:
        """Somebody else cancels a live order (EX-30)."""
        self._end(order, "Order was cancelled on the exchange")

    def release(self, order: PaperOrder) -> None:
        """Let a held cancel proceed; nobody waits for its answer any more, so the stream tells."""
        self._tell(self._close_order(order, ReportedState.CANCELED))

    def fill(self, order: PaperOrder, instrument: Instrument, quantity: Decimal, price: Decimal) -> None:
        """Somebody trades with a waiting order. Raises ValueError if the account cannot settle that."""
        if order.reduce_only and self._reducing(order, quantity) < quantity:
            raise ValueError("the position is smaller than this fill")
        if not self._affordable(order, instrument, quantity, price):
            raise ValueError("the account cannot pay for this fill")
        self._trade(order, instrument, quantity, price, instrument.maker_fee)

    def fill_late(self, order: PaperOrder, instrument: Instrument, quantity: Decimal, price: Decimal) -> None:
        """An order that is over reports a further execution (EX-33); complete with it, it counts as filled."""
        self._trade(order, instrument, quantity, price, instrument.maker_fee)

    def close_position(self, position: PaperPosition, *, liquidated: bool) -> None:
        """Take a whole position away at the market's price (S-32, EX-29).

        The news comes before the ends of the orders that go with it: all of the pair at a liquidation, otherwise those
        that could only reduce. Sizes of the quote do not bound it.
        """
        instrument = self._instrument(position.key)
        if instrument is None:
            raise ValueError(f"no trading rules for {position.key}")
        quote = self._state.quotes.get(position.key)
        price = self._market_price(position.key, position.closing_side) if quote else position.entry_price
        fee = self.futures.liquidate(instrument, position, price)
        fill = Fill(
            fill_id=fill_id(self._state.next_number("fill")),
            price=price,
            quantity=position.size,
            fee=fee,
            filled_at=self._now(),
        )
        closed = PositionClosed(
            account_id=position.account_id,
            key=position.key,
            liquidated=liquidated,
            quantity=position.quantity,
            fills=(fill,) if liquidated else (),
        )
        self._state.closures.put(
            PaperClosure(account_id=position.account_id, market=position.market, pair=position.pair, report=closed)
        )
        self.news.append((position.account_id, closed))
        for order in self._state.open_orders(position.account_id, position.key):
            if liquidated or order.reduce_only:
                self._end(order, "Order was cancelled with its position")

    def _liquidate(self, key: InstrumentKey) -> None:
        while (position := self.futures.next_due(key)) is not None:
            self.close_position(position, liquidated=True)

    # small words

    def _settlement(self, instrument: Instrument) -> Settlement:
        return self.futures if instrument.is_linear else self._spot

    def _market_price(self, key: InstrumentKey, side: Side) -> Decimal:
        quote = self._state.quotes[key]
        return quote.ask if side is Side.BUY else quote.bid

    def _takes_at_once(self, key: InstrumentKey, side: Side, order: OrderIntent | PaperOrder) -> Decimal:
        """What a newly arrived order finds at the market's price."""
        if key not in self._state.quotes:
            return ZERO
        market = self._market_price(key, side)
        if order.price is not None and order.price != market and not beats(side, order.price, market):
            return ZERO
        offered = self._state.available(key, side)
        return order.quantity if offered is None else min(order.quantity, offered)

    def _reducing(self, order: PaperOrder, quantity: Decimal) -> Decimal:
        """`quantity`, cut to the position if the order may only reduce."""
        if not order.reduce_only:
            return quantity
        return min(quantity, self.futures.reducible(order.account_id, order.key, order.side))

    def _tell(self, order: PaperOrder, *fills: Fill) -> None:
        self.news.append((order.account_id, self._report(order, fills)))

    @staticmethod
    def _report(order: PaperOrder, fills: tuple[Fill, ...] = ()) -> OrderReport:
        return OrderReport(
            client_order_id=order.client_order_id,
            venue_order_id=order.exchange_order_id,
            state=order.status,
            filled_quantity=order.filled_quantity,
            fills=fills,
            text=order.text,
        )


def exceeds(value: Decimal, limit: Decimal | None) -> bool:
    """Whether a limit exists and is passed."""
    return limit is not None and value > limit


def beats(side: Side, order_price: Decimal | None, price: Decimal) -> bool:
    """Whether an order's price is strictly better for the other side than `price`."""
    if order_price is None:
        return True
    return order_price > price if side is Side.BUY else order_price < price


def lock_after(order: PaperOrder, quantity: Decimal) -> Decimal:
    """What stays reserved after `quantity` more was traded: the part that opens is traded last."""
    return min(order.locked, order.lock_unit * max(ZERO, order.leaves_quantity - quantity))
