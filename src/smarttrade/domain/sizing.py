"""How much: what can be closed, what each target gets, what a percent means (C-6, M-20 to M-27, TR-30)."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.quote import Quote
from smarttrade.domain.smart_trade import SmartTrade


def closing_price(trade: SmartTrade, quote: Quote | None) -> Decimal | None:
    """Price at which the position could be closed now: bid for a long, ask for a short."""
    if quote is None:
        return None
    return quote.bid if trade.is_long else quote.ask


def entering_price(trade: SmartTrade, quote: Quote | None) -> Decimal | None:
    """Price at which more could be entered now: ask for a long, bid for a short."""
    if quote is None:
        return None
    return quote.ask if trade.is_long else quote.bid


def is_placeable(instrument: Instrument, quantity: Decimal, price: Decimal | None, order_type: OrderType) -> bool:
    """Whether an order of this size reaches the exchange's minimums. Without a price only the lot counts."""
    units = instrument.floor_lot(quantity)
    if units < instrument.lot or units < instrument.min_lot:
        return False
    if price is None:
        return True
    minimum = instrument.min_total if order_type is OrderType.LIMIT else instrument.min_market_total
    return units * price >= minimum


def is_closable(trade: SmartTrade, amount: Decimal, instrument: Instrument, quote: Quote | None) -> bool:
    """Whether `amount` of base can be closed at market; otherwise it is dust (C-6, EX-18)."""
    return is_placeable(instrument, amount, closing_price(trade, quote), OrderType.MARKET)


def market_part(instrument: Instrument, quantity: Decimal, price: Decimal | None) -> Decimal:
    """What the next order closes or enters of `quantity`, base, where market orders have a maximum (EX-16).

    Never so much that the rest would be too little to be ordered, if that can be helped: 5 with a maximum of 4.9 is
    2.5 and 2.5.
    """
    if instrument.max_market_lot is None:
        return quantity
    most = instrument.floor_lot(instrument.max_market_lot)
    if quantity <= most:
        return quantity
    half = instrument.floor_lot(quantity / 2)
    if not is_placeable(instrument, quantity - most, price, OrderType.MARKET) and is_placeable(
        instrument, half, price, OrderType.MARKET
    ):
        return half
    return most


def allocate(
    whole: Decimal, volumes: Sequence[Decimal], uncovered: Decimal | Fraction, instrument: Instrument
) -> list[Decimal]:
    """Share `whole` (base) over steps by volume percent; lots left over by rounding go to the first (M-20).

    `uncovered` is volume without a target: its share stays out. 14 by 50/25/25 on a lot of 1 gives 8, 3, 3.
    """
    covered = sum(volumes, ZERO)
    numerator, denominator = uncovered.as_integer_ratio()
    weight = covered * denominator + numerator  # whole shares times `denominator`: divided once, and last
    if not volumes or weight <= 0:
        return [ZERO for _ in volumes]
    lots = instrument.floor_lot(whole) * denominator
    units = [instrument.floor_lot(lots * volume / weight) for volume in volumes]
    rest = instrument.floor_lot(lots * covered / weight) - sum(units, ZERO)
    units[0] += rest
    return units


def target_price(entry_price: Fraction, percent: Decimal, instrument: Instrument, *, long: bool) -> Decimal:
    """A take-profit percent as a price, half up to the tick (TR-30); the sign of `percent` is ignored."""
    share = Fraction(abs(percent)) / 100
    price = instrument.nearest_price(entry_price * (1 + share if long else 1 - share))
    return max(price, instrument.tick)  # there is no price below the smallest one


def stop_price(entry_price: Fraction, percent: Decimal, instrument: Instrument, *, long: bool) -> Decimal:
    """A stop-loss percent as a price, half up to the tick (TR-30, TR-34); the sign of `percent` is ignored."""
    return target_price(entry_price, percent, instrument, long=not long)
