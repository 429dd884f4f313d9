"""Figures over a SmartTrade: averages, profit, margin, limits (behaviour section 4). Pure arithmetic, nothing decided.

Prices are quote asset per unit of base. Everything is exact unless a rule cuts it; quotients without an end are
carried at the precision of `money` and cut where they are shown.
"""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from smarttrade.domain.fill import Execution
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import HUNDRED, ONE, ZERO, half_up
from smarttrade.domain.quote import Quote
from smarttrade.domain.smart_trade import Profit, SmartTrade
from smarttrade.domain.steps import StepStatus, StopStep, Trail

TOTAL_PLACES: Final = 8
"""A shown position total is cut to this many decimals (M-11)."""
PERCENT_PLACES: Final = 2
LEVEL_PLACES: Final = 10
"""A shown trailing level has at most this many decimals (TR-50)."""
QUOTIENT_PLACES: Final = 36
"""Decimals kept of a quotient without an end: average prices of legs (M-14), profit of a closed part (M-45)."""
REDUCE_PLACES: Final = 27


class Sums(msgspec.Struct, frozen=True):
    """What a trade has entered and closed, added up once for all figures of it."""

    entered: Execution
    closed: Execution

    @classmethod
    def of(cls, trade: SmartTrade) -> "Sums":
        return cls(trade.entered, trade.closed)

    @property
    def open_amount(self) -> Decimal:
        """O of behaviour C-6, base."""
        return self.entered.amount - self.closed.amount


class Margin(msgspec.Struct, frozen=True):
    """Futures only (M-50): base over leverage, and quote over leverage."""

    amount: Decimal
    total: Decimal


class Realised(msgspec.Struct, frozen=True, kw_only=True):
    """What a leg has executed, as the trades list shows it (M-14)."""

    amount: Decimal  # base, net
    total: Decimal | None  # quote, commission included; None until something is filled
    average_price: Decimal | None  # total / amount, 36 decimals
    price: Decimal | None  # the same, cut to the tick
    percent: Decimal  # of the ordered quantity


# --- averages ---------------------------------------------------------------------------------------------------


def average_price(execution: Execution, instrument: Instrument) -> Decimal | None:
    """Average with commission, cut to the tick; None when nothing was filled (M-10, M-16)."""
    if execution.amount == 0:
        return None
    return instrument.truncate_price(execution.total / execution.amount)


def average_price_without_commission(execution: Execution, instrument: Instrument) -> Decimal | None:
    """Average fill price, cut to the tick; None when nothing was filled (M-10, M-16)."""
    if execution.gross_quantity == 0:
        return None
    return instrument.truncate_price(execution.gross_total / execution.gross_quantity)


def position_price(trade: SmartTrade, entered: Execution, instrument: Instrument) -> Decimal | None:
    """`position.price.value` after the entry (M-11); None before it.

    Own funds show the given price as it is, until averaging has changed it (M-9).
    """
    plan = trade.position.plan
    own_only = trade.position.status is StepStatus.OWN_FUNDS and entered.gross_quantity == plan.units
    return plan.price if own_only else average_price(entered, instrument)


def enter_price_exact(trade: SmartTrade, instrument: Instrument) -> Fraction | None:
    """E, the base of percent targets and breakeven: with commission and uncut (TR-30, BE-2); None before the entry.

    Own funds use the position price as it is shown (TR-35).
    """
    entered = trade.entered
    if trade.position.status is StepStatus.OWN_FUNDS:
        price = position_price(trade, entered, instrument)
        return None if price is None else Fraction(price)
    return None if entered.amount == 0 else Fraction(entered.total) / Fraction(entered.amount)


def position_total_without_commission(entered: Execution) -> Decimal | None:
    """Q x A_in / G, shown after averaging, at most 8 decimals (M-12); None before the entry."""
    if entered.gross_quantity == 0:
        return None
    return half_up(entered.gross_total * entered.amount / entered.gross_quantity, TOTAL_PLACES)


def realised(execution: Execution, ordered: Decimal, instrument: Instrument) -> Realised:
    """The figures of one leg (M-14). `ordered`: base that the leg was to execute, > 0 once something is filled."""
    if execution.amount == 0:
        return Realised(amount=ZERO, total=None, average_price=None, price=None, percent=ZERO)
    average = execution.total / execution.amount
    filled = HUNDRED if ordered == 0 else execution.gross_quantity / ordered * HUNDRED
    return Realised(
        amount=execution.amount,
        total=execution.total,
        average_price=_cut(average),
        price=instrument.truncate_price(average),
        percent=half_up(filled, PERCENT_PLACES),
    )


# --- profit -----------------------------------------------------------------------------------------------------


def open_profit(
    trade: SmartTrade, sums: Sums, instrument: Instrument, quote: Quote | None, usd_rate: Decimal | None
) -> Profit:
    """Profit of a trade that has not ended, at the price at which it could be closed now (M-40 to M-44, M-47, M-48).

    `usd_rate`: USD per unit of quote asset; None when unknown, then the profit in USD is unknown too.
    """
    entered = sums.entered
    if trade.kind.is_simple or entered.amount == 0 or quote is None:
        return no_profit(instrument)
    if trade.is_long:
        value = sums.open_amount * quote.bid * (ONE - instrument.taker_fee)
        volume = sums.closed.total + value - entered.total
    else:
        cost = sums.open_amount * quote.ask * (ONE + instrument.taker_fee)
        volume = entered.total - sums.closed.total - cost
    return _profit(trade, instrument, volume, _percent(volume, entered.total), usd_rate)


def final_profit(trade: SmartTrade, instrument: Instrument, usd_rate: Decimal | None) -> Profit:
    """Profit of a trade that has ended: on the part that was closed, at what that part had cost (M-45 to M-47)."""
    sums = Sums.of(trade)
    entered, closed = sums.entered, sums.closed
    if trade.kind.is_simple or closed.amount == 0 or entered.amount == 0:
        return no_profit(instrument)
    cost = entered.total * closed.amount  # of what was closed, times `entered.amount`: a product has an end
    gain = closed.total * entered.amount - cost
    gain = gain if trade.is_long else -gain
    return _profit(trade, instrument, gain / entered.amount, _percent(gain, cost), usd_rate)


def no_profit(instrument: Instrument) -> Profit:
    """What is shown when there is nothing to count (M-43, M-44, M-46, M-47)."""
    return Profit(roe=ZERO if instrument.is_linear else None)


def _percent(part: Decimal, whole: Decimal) -> Decimal:
    """Exact figures only: divided once, and last (M-41)."""
    return ZERO if whole == 0 else half_up(part * HUNDRED / whole, PERCENT_PLACES)


def _profit(
    trade: SmartTrade, instrument: Instrument, volume: Decimal, percent: Decimal, usd_rate: Decimal | None
) -> Profit:
    volume = _cut(volume)
    return Profit(
        volume=volume,
        usd=None if usd_rate is None else volume * usd_rate,
        percent=percent,
        roe=percent * leverage_value(trade) if instrument.is_linear else None,
    )


# --- futures ----------------------------------------------------------------------------------------------------


def leverage_value(trade: SmartTrade) -> Decimal:
    """L: what the trade was told, else 1."""
    return ONE if trade.leverage is None else trade.leverage.value


def margin(trade: SmartTrade, sums: Sums, instrument: Instrument) -> Margin | None:
    """Margin of the open amount; None on spot and before the entry (M-50)."""
    price = average_price(sums.entered, instrument) if instrument.is_linear else None
    if price is None:
        return None
    leverage = leverage_value(trade)
    return Margin(_cut(sums.open_amount / leverage), _cut(sums.open_amount * price / leverage))


def liquidation_estimate(trade: SmartTrade, entered: Execution, instrument: Instrument) -> Decimal | None:
    """For display only, where isolated margin has no reported price; None before the entry (M-51, M-52)."""
    if entered.gross_quantity == 0:
        return None
    price = Fraction(entered.gross_total) / Fraction(entered.gross_quantity)
    distance = 1 / Fraction(leverage_value(trade)) - Fraction(instrument.maintenance_rate)
    return instrument.nearest_price(price * (1 - distance if trade.is_long else 1 + distance))


# --- stop levels ------------------------------------------------------------------------------------------------


def better_level(first: Decimal | None, second: Decimal | None, *, long: bool) -> Decimal | None:
    """The one of two stop levels that keeps more: the higher for a long, the lower for a short (BE-4)."""
    if first is None or second is None:
        return second if first is None else first
    return max(first, second) if long else min(first, second)


def stop_level(stop: StopStep, *, long: bool) -> Decimal | None:
    """The level that the entity shows: configured, or breakeven once that is better (BE-9, TR-52). None: unresolved."""
    return better_level(stop.configured_price, stop.breakeven_price, long=long)


def trail_level(trail: Trail, extreme: Decimal) -> Decimal:
    """Where a trail fires, cut for display (TR-50); decisions never use it."""
    return half_up(extreme * trail.numerator / trail.denominator, LEVEL_PLACES)


def trail_percent(trail: Trail) -> Decimal:
    """Distance from extreme to level in percent of the extreme, as magnitude, cut for display (TR-52)."""
    return half_up(abs(ONE - trail.numerator / trail.denominator) * HUNDRED, LEVEL_PLACES)


# --- limits -----------------------------------------------------------------------------------------------------


def max_reduce_amount(trade: SmartTrade, instrument: Instrument, quote: Quote | None) -> Decimal:
    """The largest amount that leaves a rest which the exits can still close, base, 27 decimals (M-30, M-31).

    Zero when no price is known to value the rest at.
    """
    price = _reduce_price(trade, quote)
    if price is None:
        return ZERO
    most = trade.open_amount - instrument.min_market_total / price
    return half_up(max(most, ZERO), REDUCE_PLACES)


def _reduce_price(trade: SmartTrade, quote: Quote | None) -> Decimal | None:
    """P of M-30: the stop's trigger, else the lowest target, else the price at which the trade could be closed."""
    stop = trade.stop
    if stop is not None and not stop.status.is_over:
        level = stop_level(stop, long=trade.is_long)
        if level is not None:
            return level
    targets = [step.price for step in trade.active_targets if step.price is not None]
    if targets:
        return min(targets)
    if quote is None:
        return None
    return quote.bid if trade.is_long else quote.ask


def missing_funds(trades: Iterable[SmartTrade], balance: Decimal) -> Decimal:
    """How much of a coin the account lacks to close all `trades` that need it (M-56). `balance`: free and locked."""
    return max(sum((trade.open_amount for trade in trades), ZERO) - balance, ZERO)


def _cut(value: Decimal) -> Decimal:
    """`value` as it is, or half up at 36 decimals when it is a quotient with more."""
    exponent = value.as_tuple().exponent
    return half_up(value, QUOTIENT_PLACES) if isinstance(exponent, int) and exponent < -QUOTIENT_PLACES else value
