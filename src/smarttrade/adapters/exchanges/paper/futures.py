"""Linear perpetual contracts in one-way mode: one net position per account and pair.

Margin, profit and commission are in the quote currency. Opening reserves |notional| / leverage; reducing gives the
margin back and realises the profit of the part. The maintenance requirement is the instrument's rate times what the
position cost, so an isolated position is due exactly at the price of M-51. The mark is the last price.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

from msgspec.structs import replace

from smarttrade.adapters.exchanges.paper.rows import RATIO_PLACES, PaperLeverage, PaperPosition
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ONE, ZERO, Money, ceil_to
from smarttrade.domain.plan import Leverage, MarginMode
from smarttrade.domain.quote import InstrumentKey
from smarttrade.ports.exchange import FuturesPosition, LeverageRejected

RATIO_STEP = Decimal(1).scaleb(-RATIO_PLACES)


class Futures:
    """Positions and margin of all accounts."""

    def __init__(self, state: State, instrument: Callable[[InstrumentKey], Instrument | None]) -> None:
        self._state = state
        self._instrument = instrument

    # settlement

    def uncovered(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        """What opens or increases a position."""
        return max(ZERO, quantity - self.reducible(account_id, instrument.key, side))

    def given_back(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal) -> Decimal:
        """Margin of the part that closes: an order that turns a position may use it for the other side."""
        closing = min(quantity, self.reducible(account_id, instrument.key, side))
        position = self._state.position(account_id, instrument.key)
        return ZERO if position is None or not closing else part_of(position, closing).margin

    def unit_cost(self, account_id: int, instrument: Instrument, side: Side, price: Decimal, rate: Decimal) -> Money:
        """Initial margin and commission of one unit that opens."""
        margin = self._unit_margin(account_id, instrument, price)
        return Money(instrument.quote, margin + price * max(rate, ZERO))

    def settle(
        self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal, price: Decimal, rate: Decimal
    ) -> Money:
        """Net the execution into the position: first what reduces it, then what opens on the other side."""
        closing = min(quantity, self.reducible(account_id, instrument.key, side))
        position = self._state.position(account_id, instrument.key)
        if position is not None and closing:
            self._reduce(instrument, position, closing, price)
        if quantity > closing:
            self._open(account_id, instrument, side, quantity - closing, price)
        fee = Money(instrument.quote, quantity * price * rate)
        self._state.realise(account_id, instrument.quote, -fee.amount)
        return fee

    def reducible(self, account_id: int, key: InstrumentKey, side: Side) -> Decimal:
        """Base that an order on `side` could take off the position."""
        position = self._state.position(account_id, key)
        return position.size if position is not None and position.closing_side is side else ZERO

    def _unit_margin(self, account_id: int, instrument: Instrument, price: Decimal) -> Decimal:
        return ceil_to(price / self._state.leverage(account_id, instrument.key).value, RATIO_STEP)

    def _open(self, account_id: int, instrument: Instrument, side: Side, quantity: Decimal, price: Decimal) -> None:
        margin = self._unit_margin(account_id, instrument, price) * quantity
        signed = quantity if side is Side.BUY else -quantity
        held = self._state.position(account_id, instrument.key)
        self._state.positions.put(
            PaperPosition(
                account_id=account_id,
                market=instrument.key.market,
                pair=instrument.key.pair,
                quantity=signed if held is None else held.quantity + signed,
                entry_total=quantity * price if held is None else held.entry_total + quantity * price,
                margin=margin if held is None else held.margin + margin,
            )
        )
        self._state.reserve(account_id, instrument.quote, margin)

    def _reduce(self, instrument: Instrument, position: PaperPosition, quantity: Decimal, price: Decimal) -> None:
        """Realise `quantity` (<= size) at `price`."""
        part = part_of(position, quantity)
        self._remove(instrument, position, part)
        self._state.realise(position.account_id, instrument.quote, part.profit_at(price))

    def _remove(self, instrument: Instrument, position: PaperPosition, part: PaperPosition) -> None:
        """Take a part off a position and give its margin back."""
        if part.size == position.size:
            self._state.positions.remove(position.id)
        else:
            self._state.positions.put(
                replace(
                    position,
                    quantity=position.quantity - part.quantity,
                    entry_total=position.entry_total - part.entry_total,
                    margin=position.margin - part.margin,
                )
            )
        self._state.reserve(position.account_id, instrument.quote, -part.margin)

    # leverage

    def set_leverage(self, account_id: int, instrument: Instrument, mode: MarginMode, value: Decimal) -> None:
        """Set mode and leverage (EX-28). Raises LeverageRejected with the exchange's kind of text."""
        if not ONE <= value <= instrument.max_leverage:
            raise LeverageRejected(f"Leverage {value} is not valid")
        if not instrument.is_linear:
            raise LeverageRejected("Leverage is not available for this symbol.")
        now = self._state.leverage(account_id, instrument.key)
        if now == Leverage(mode, value):
            return
        position = self._state.position(account_id, instrument.key)
        if now.mode is not mode:
            if position is not None:
                raise LeverageRejected("Margin type cannot be changed if there exists position.")
            if self._state.open_orders(account_id, instrument.key):
                raise LeverageRejected("Margin type cannot be changed if there exists open orders.")
        elif position is not None:
            self._releverage(instrument, position, mode, now.value, value)
        key = instrument.key
        self._state.leverages.put(
            PaperLeverage(account_id=account_id, market=key.market, pair=key.pair, mode=mode, value=value)
        )

    def _releverage(
        self, instrument: Instrument, position: PaperPosition, mode: MarginMode, old: Decimal, new: Decimal
    ) -> None:
        """Apply a new leverage to an open position: cross margin is computed anew, isolated margin stays with it."""
        if mode is MarginMode.ISOLATED:
            if new < old:
                raise LeverageRejected(
                    "Leverage reduction is not supported in Isolated Margin Mode with open positions."
                )
            return
        more = ceil_to(position.entry_total / new, RATIO_STEP) - position.margin
        if more > self._state.balance(position.account_id, instrument.quote).free:
            raise LeverageRejected("Margin is insufficient.")
        self._state.positions.put(replace(position, margin=position.margin + more))
        self._state.reserve(position.account_id, instrument.quote, more)

    # liquidation

    def liquidate(self, instrument: Instrument, position: PaperPosition, price: Decimal) -> Money:
        """Settle the whole position at `price`; isolated, no more than its margin is lost. Returns the commission."""
        fee = Money(instrument.quote, position.size * price * instrument.taker_fee)
        result = position.profit_at(price) - fee.amount
        if self._is_isolated(position):
            result = max(result, -position.margin)
        self._remove(instrument, position, position)
        self._state.realise(position.account_id, instrument.quote, result)
        return fee

    def next_due(self, key: InstrumentKey) -> PaperPosition | None:
        """The position that a new mark of `key` liquidates next.

        Isolated: when margin and profit are down to its maintenance requirement. Cross: when the account's equity in
        the coin is down to the sum of the requirements of all its cross positions; the one that loses most goes first.
        """
        instrument = self._instrument(key)
        for position in self._state.positions_in(key) if instrument is not None else ():
            if instrument is None or self._slack(position, instrument) > 0:
                continue
            if self._is_isolated(position):
                return position
            pool = [each for each, _ in self._cross_pool(position.account_id, instrument.quote)]
            return min(pool, key=lambda each: (self._profit(each), each.key))
        return None

    def view(self, position: PaperPosition) -> FuturesPosition:
        """What the account's owner sees."""
        leverage = self._state.leverage(position.account_id, position.key)
        return FuturesPosition(
            key=position.key,
            quantity=position.quantity,
            entry_price=position.entry_price,
            mode=leverage.mode,
            leverage=leverage.value,
            margin=position.margin,
            liquidation_price=self._liquidation_price(position),
        )

    def _liquidation_price(self, position: PaperPosition) -> Decimal | None:
        """The mark at which nothing is left of the slack, on the tick; None if no price above zero does that."""
        instrument = self._instrument(position.key)
        if instrument is None:
            return None
        distance = (self._slack(position, instrument) - self._profit(position)) / position.size
        exact = position.entry_total / position.size + (-distance if position.quantity > 0 else distance)
        return instrument.nearest_price(exact) if exact > 0 else None

    def _slack(self, position: PaperPosition, instrument: Instrument) -> Decimal:
        """What can still be lost, in quote, before the position is liquidated."""
        if self._is_isolated(position):
            return position.margin + self._profit(position) - position.entry_total * instrument.maintenance_rate
        pool = self._cross_pool(position.account_id, instrument.quote)
        profit = sum((self._profit(each) for each, _ in pool), ZERO)
        required = sum((each.entry_total * rules.maintenance_rate for each, rules in pool), ZERO)
        return self._cross_wallet(position.account_id, instrument.quote) + profit - required

    def _cross_pool(self, account_id: int, currency: str) -> list[tuple[PaperPosition, Instrument]]:
        """Positions of the account that share the cross margin of a coin."""
        return [pair for pair in self._in_coin(account_id, currency) if not self._is_isolated(pair[0])]

    def _cross_wallet(self, account_id: int, currency: str) -> Decimal:
        """Balance of the coin without what isolated positions keep for themselves."""
        pairs = self._in_coin(account_id, currency)
        apart = sum((position.margin for position, _ in pairs if self._is_isolated(position)), ZERO)
        return self._state.balance(account_id, currency).total - apart

    def _in_coin(self, account_id: int, currency: str) -> list[tuple[PaperPosition, Instrument]]:
        rules = [(position, self._instrument(position.key)) for position in self._state.positions_of(account_id)]
        return [(position, found) for position, found in rules if found is not None and found.quote == currency]

    def _is_isolated(self, position: PaperPosition) -> bool:
        return self._state.leverage(position.account_id, position.key).mode is MarginMode.ISOLATED

    def _profit(self, position: PaperPosition) -> Decimal:
        """Unrealised, at the mark; zero before the first quote."""
        quote = self._state.quotes.get(position.key)
        return ZERO if quote is None else position.profit_at(quote.last)


def part_of(position: PaperPosition, quantity: Decimal) -> PaperPosition:
    """The part of a position that `quantity` (<= its size) closes. Parts add up to the whole exactly."""
    if quantity == position.size:
        return position
    signed = quantity if position.quantity > 0 else -quantity
    return replace(
        position,
        quantity=signed,
        entry_total=(position.entry_total * quantity / position.size).quantize(RATIO_STEP, ROUND_HALF_EVEN),
        margin=(position.margin * quantity / position.size).quantize(RATIO_STEP, ROUND_HALF_EVEN),
    )
