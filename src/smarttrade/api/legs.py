"""What the entities of a trade and of its legs have in common: the order behind a leg, and the forms of a value."""

from decimal import Decimal

from smarttrade.api.notation import decimal_text, timestamp
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import Instant
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import EntryStep, StopStep, TargetStep


def text(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)


def magnitude(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(abs(value))


def instant_text(value: Instant | None) -> str | None:
    return None if value is None else timestamp(value)


def executed_as(order_type: OrderType, *, trailed: bool) -> OrderType:
    """Trailing forces a market order, whatever was asked for (V-10)."""
    return OrderType.MARKET if trailed else order_type


def given_price(trade: SmartTrade, instrument: Instrument) -> Decimal | None:
    """The limit price, on the tick (TR-9), or the price given for own funds; None when the market gives the price."""
    plan = trade.position.plan
    if trade.kind.is_own_funds or plan.price is None:
        return plan.price
    is_limit = entry_order_type(trade.position) is OrderType.LIMIT
    return instrument.order_price(plan.price, trade.entry_side) if is_limit else None


def entry_order_type(step: EntryStep) -> OrderType:
    """Type of the order that the entry sends."""
    condition = step.plan.condition
    if step.plan.type is EntryType.CONDITIONAL and condition is not None:
        return executed_as(condition.order_type, trailed=condition.trailing_percent is not None)
    return OrderType.LIMIT if step.plan.type is EntryType.LIMIT else OrderType.MARKET


def target_order_type(step: TargetStep) -> OrderType:
    return executed_as(step.order_type, trailed=step.trailing_percent is not None)  # TP-18


def target_price(step: TargetStep, instrument: Instrument, exit_side: Side) -> Decimal | None:
    """A limit on the tick (TR-9), a watched target as given (TR-8)."""
    if step.price is not None and target_order_type(step) is OrderType.LIMIT:
        return instrument.order_price(step.price, exit_side)
    return step.price


def stop_order_type(stop: StopStep) -> OrderType:
    return executed_as(stop.order_type, trailed=stop.trailing)  # V-10


def stop_limit_price(stop: StopStep) -> Decimal | None:
    if stop_order_type(stop) is OrderType.MARKET:
        return None
    return stop.limit_price if stop.moved_limit_price is None else stop.moved_limit_price  # BE-6


def stop_units(stop: StopStep, sums: Sums, instrument: Instrument) -> Decimal:
    """What the stop has closed and, until it is over, what it would close (SL-14)."""
    closed = stop.execution.gross_quantity
    return closed if stop.status.is_over else closed + instrument.floor_lot(max(sums.open_amount, ZERO))
