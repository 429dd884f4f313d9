"""More and less: averaging and reducing legs (behaviour 2.5, 2.7)."""

from decimal import Decimal

from smarttrade.domain import take_profit
from smarttrade.domain.closing import REMAINDER_RETRIES, is_dust
from smarttrade.domain.draft import Draft
from smarttrade.domain.money import ZERO
from smarttrade.domain.moves import Cause, TradeCause
from smarttrade.domain.order import Order, OrderStatus, OrderType
from smarttrade.domain.position import max_reduce_amount
from smarttrade.domain.sizing import entering_price, is_closable, is_placeable
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import AveragingStep, ReduceStep, StepStatus


def averaging_wanted(d: Draft, step: AveragingStep) -> tuple[OrderType, Decimal, Decimal | None] | None:
    """The order that an averaging leg should have now (A-2, A-6)."""
    if step.status.is_over or step.status is StepStatus.PENDING_CANCELLATION:
        return None
    if d.trade.status is TradeStatus.CREATED or d.trade.failing is not None or d.trade.ending is not None:
        return None
    if d.trade.leverage_asked and not d.trade.leverage_confirmed:
        return None  # an edit changed it before the first order (S-3)
    quantity = d.instrument.floor_lot(step.units - step.execution.gross_quantity)
    if quantity <= ZERO:
        return None
    if step.market or step.order_type is OrderType.MARKET:
        return OrderType.MARKET, quantity, None
    assert step.price is not None
    return OrderType.LIMIT, quantity, d.instrument.order_price(step.price, d.trade.entry_side)


def averaging_ended(d: Draft, step: AveragingStep, order: Order) -> None:
    """An attempt of an averaging leg is over (A-4 to A-8)."""
    left = step.units - step.execution.gross_quantity
    filled = step.execution.gross_quantity > ZERO
    if left < d.instrument.lot:
        d.move(step, Cause.FILL)
    elif step.status is StepStatus.PENDING_CANCELLATION:
        return  # settled as out, filled part counted
    elif order.status is OrderStatus.REJECTED:
        d.move(step, Cause.REFUSE, error=order.text)
    elif order.status is OrderStatus.FILLED and _is_orderable(d, left):
        return  # one part of a split order
    elif order.cancel_requested_at is not None:
        _averaging_to_market(d, step, left)
        return
    elif order.type is OrderType.MARKET and step.remainders < REMAINDER_RETRIES and _is_orderable(d, left):
        d.edit(step, remainders=step.remainders + 1)
        return
    elif order.type is OrderType.MARKET:
        d.move(step, Cause.FILL if filled else Cause.REFUSE, error=None if filled else order.text)
    else:
        d.move(step, Cause.OUT)
    if filled:
        averaged(d)


def _averaging_to_market(d: Draft, step: AveragingStep, left: Decimal) -> None:
    """Its limit order is out of the book for a market order: too small a rest ends the leg (A-6)."""
    if step.market and not _is_orderable(d, left):
        d.move(step, Cause.FILL)
        averaged(d)


def _is_orderable(d: Draft, left: Decimal) -> bool:
    """Whether the rest of an averaging leg can be ordered at market (EX-15)."""
    return is_placeable(d.instrument, left, entering_price(d.trade, d.quote), OrderType.MARKET)


def averaged(d: Draft) -> None:
    """The position has grown: percent targets follow, exits are resized (A-4, TR-31, M-24); the stop stays."""
    if d.trade.status in take_profit.OPEN_STATUSES and d.trade.ending is None:
        take_profit.resolve(d)
        take_profit.resize(d)


def reduction_under_way(trade: SmartTrade) -> ReduceStep | None:
    """The reduction that is not over; at most one (S-18)."""
    return next((step for step in trade.reductions if not step.status.is_over), None)


def keeps_targets_out(trade: SmartTrade) -> bool:
    """Resting targets leave the book until the reduction's order is placed; for a market order until it is over."""
    step = reduction_under_way(trade)
    if step is None:
        return False
    return step.status is StepStatus.TO_PROCESS or (
        step.status is StepStatus.ORDER_PLACED and step.order_type is OrderType.MARKET
    )


def start_reduction(d: Draft) -> None:
    """The worker takes the reduction (S-19, RF-2)."""
    step = reduction_under_way(d.trade)
    assert step is not None
    d.advance(TradeCause.REDUCE_START)
    d.move(step, Cause.ARM)


def reduction_wanted(d: Draft, step: ReduceStep) -> tuple[OrderType, Decimal, Decimal | None] | None:
    """The order that a reduction should have now (RF-3)."""
    if step.status not in (StepStatus.TO_PROCESS, StepStatus.ORDER_PLACED):
        return None
    if d.trade.status is not TradeStatus.REDUCE_FUNDS_IN_PROGRESS or d.trade.failing is not None:
        return None
    if d.trade.ending is not None:
        return None
    quantity = d.instrument.floor_lot(step.units - step.execution.gross_quantity)
    if quantity <= ZERO:
        return None
    price = d.instrument.order_price(step.price, d.trade.exit_side) if step.order_type is OrderType.LIMIT else None
    return step.order_type, quantity, price


def fit_reduction(d: Draft) -> None:
    """Targets were executed while it waited for them: reduce to what is still allowed (RF-7).

    That is before its first order, as they leave the book, or before a later one, when those at market were faster.
    """
    step = reduction_under_way(d.trade)
    if step is None or step.live_order is not None or not keeps_targets_out(d.trade):
        return
    if any(target.live_order is not None for target in d.trade.targets):
        return
    allowed = d.instrument.floor_lot(max_reduce_amount(d.trade, d.instrument, d.quote))
    done = step.execution.gross_quantity
    if step.units - done <= (d.instrument.floor_lot(d.trade.open_amount) if step.orders else allowed):
        return
    if allowed >= max(d.instrument.lot, d.instrument.min_lot):
        d.edit(step, units=done + allowed)
    else:
        d.move(step, Cause.OUT)


def reduction_placed(d: Draft, step: ReduceStep) -> None:
    """The limit order is in the book: targets return for the rest (RF-4)."""
    if step.order_type is OrderType.LIMIT:
        take_profit.resize(d)


def reduction_ended(d: Draft, step: ReduceStep, order: Order) -> None:
    """An attempt of the reduction is over (RF-5, RF-6, RF-8)."""
    left = step.units - step.execution.gross_quantity
    closable = is_closable(d.trade, left, d.instrument, d.quote)
    if left < d.instrument.lot or (order.status is OrderStatus.FILLED and not closable):
        d.move(step, Cause.FILL)
    elif step.status is StepStatus.PENDING_CANCELLATION or order.status is OrderStatus.FILLED:
        return
    elif order.status is OrderStatus.REJECTED:
        d.move(step, Cause.REFUSE, error=order.text)
    elif order.type is OrderType.MARKET and step.remainders < REMAINDER_RETRIES and closable:
        d.edit(step, remainders=step.remainders + 1)
    else:
        d.move(step, Cause.OUT)  # EX-30; what was filled counts


def end_reduction(d: Draft) -> None:
    """The reduction is over: the trade waits for its targets again, which share what is left (S-20, S-21)."""
    if d.trade.status is not TradeStatus.REDUCE_FUNDS_IN_PROGRESS or reduction_under_way(d.trade) is not None:
        return
    if d.trade.ending is not None:
        return
    if is_dust(d):
        d.change(ending=TradeStatus.FINISHED)
        return
    d.advance(TradeCause.REDUCE_END)
    take_profit.resize(d)
