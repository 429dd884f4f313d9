"""The position's own leg: how it is entered, and what happens when it is not (behaviour 2.2, 3.2, 3.3)."""

from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from smarttrade.domain.closing import REMAINDER_RETRIES, all_out, end
from smarttrade.domain.draft import Draft
from smarttrade.domain.events import PriceCrossed, WatchRole
from smarttrade.domain.money import HUNDRED, ZERO
from smarttrade.domain.moves import Cause
from smarttrade.domain.order import Order, OrderStatus, OrderType
from smarttrade.domain.plan import EntryType
from smarttrade.domain.quote import Quote
from smarttrade.domain.sizing import entering_price, is_closable, is_placeable
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus, Trail

CANCELLED_OUTSIDE: Final = "Order was cancelled on the exchange"
NOT_EXECUTED: Final = "Order expired unfilled"

FORCED: Final = frozenset({StepStatus.PANIC_SELL_PENDING, StepStatus.PANIC_SELL_ORDER_PLACED})


def rises(trigger_price: Decimal, followed_price: Decimal) -> bool:
    """Direction of a condition, chosen once: above the price fires on >=, below or at it on <= (TR-10)."""
    return trigger_price > followed_price


def rest(step: EntryStep, trade: SmartTrade) -> Decimal:
    """Base that the entry has still to execute."""
    return step.plan.units - step.execution.gross_quantity


def order_wanted(d: Draft) -> tuple[OrderType, Decimal, Decimal | None] | None:
    """The order that the entry should have now: type, quantity, limit price; None: none."""
    trade, step = d.trade, d.trade.position
    if trade.status is not TradeStatus.WAITING_POSITION or trade.failing is not None or trade.ending is not None:
        return None
    if step.status.is_over or step.status is StepStatus.PENDING_CANCELLATION:
        return None
    if trade.leverage is not None and not trade.leverage_confirmed:
        return None  # an edit changed it before the first order (S-3)
    if _awaits_condition(step):
        return None
    quantity = d.instrument.floor_lot(rest(step, trade))
    if quantity <= ZERO:
        return None
    if step.status in FORCED or step.plan.type is EntryType.MARKET:
        return OrderType.MARKET, quantity, None
    condition = step.plan.condition
    if condition is not None and condition.order_type is OrderType.MARKET:
        return OrderType.MARKET, quantity, None
    assert step.plan.price is not None
    return OrderType.LIMIT, quantity, d.instrument.order_price(step.plan.price, trade.entry_side)


def _awaits_condition(step: EntryStep) -> bool:
    waits = step.plan.condition is not None and step.plan.type is not EntryType.MARKET
    return waits and not step.triggered and step.status not in FORCED


def crossed(d: Draft, step: EntryStep, event: PriceCrossed) -> None:
    """The condition is met, or the trailing has turned back (P-4 to P-6, TR-11, TR-12, TR-20 to TR-24)."""
    condition = step.plan.condition
    assert condition is not None
    if event.role is WatchRole.TRAIL or condition.trailing_percent is None:
        trail = step.trail
        if trail is not None and event.extreme is not None:
            trail = replace(trail, start=event.extreme)
        d.edit(step, triggered=True, trail=trail)
        return
    d.move(step, Cause.TRAIL, trail=follow(d, condition.trailing_percent, event.price))


def follow(d: Draft, percent: Decimal, extreme: Decimal, group: int | None = None) -> Trail:
    """A buy fires when the price has risen from its lowest by the deviation, a sell mirrored (TR-21, TR-22)."""
    share = percent if d.trade.is_long else -percent
    return Trail(
        group=d.new_id() if group is None else group,
        start=extreme,
        numerator=HUNDRED + share,
        denominator=HUNDRED,
    )


def force_start(d: Draft) -> None:
    """Enter at market now (P-9). A trade that the worker has not taken yet enters at market anyway or will (F-6)."""
    if d.trade.position.status is StepStatus.TO_PROCESS and d.trade.position.plan.type is EntryType.MARKET:
        if d.trade.status is TradeStatus.CREATED:
            return
    d.move(d.trade.position, Cause.PANIC)


def ended(d: Draft, step: EntryStep, order: Order) -> None:
    """An attempt of the entry is over (S-7 to S-12, P-8 to P-15)."""
    if _is_complete(d, step):
        d.move(step, Cause.FILL)
    elif step.status is StepStatus.PENDING_CANCELLATION or d.trade.failing is not None:
        return
    elif order.status is OrderStatus.REJECTED:
        give_up(d, TradeStatus.FAILED, order.text)
    elif order.cancel_requested_at is not None or order.status is OrderStatus.FILLED:
        _with_a_rest(d, step, order)
    elif order.type is OrderType.LIMIT:
        give_up(d, TradeStatus.CANCELLED, CANCELLED_OUTSIDE)
    elif step.remainders < REMAINDER_RETRIES and _is_orderable(d, step):
        d.edit(step, remainders=step.remainders + 1)  # EX-5
    else:
        give_up(d, TradeStatus.FAILED, order.text or NOT_EXECUTED)


def _is_complete(d: Draft, step: EntryStep) -> bool:
    return rest(step, d.trade) < d.instrument.lot


def _with_a_rest(d: Draft, step: EntryStep, order: Order) -> None:
    """Forced to market (P-12) or split (EX-16) with too little left to order: what was entered is the position."""
    at_market = step.status in FORCED or (order.type is OrderType.MARKET and order.status is OrderStatus.FILLED)
    if at_market and d.trade.entered.amount > ZERO and not _is_orderable(d, step):
        d.move(step, Cause.FILL)


def _is_orderable(d: Draft, step: EntryStep) -> bool:
    """Whether the rest can be ordered at market (EX-15)."""
    return is_placeable(d.instrument, rest(step, d.trade), entering_price(d.trade, d.quote), OrderType.MARKET)


def give_up(d: Draft, status: TradeStatus, error: str) -> None:
    """The entry order is over without us. What was entered becomes the position (S-12), else the trade ends."""
    if is_position(d):
        d.move(d.trade.position, Cause.FILL)
        return
    d.edit(d.trade.position, error=error if status is TradeStatus.FAILED else None)
    d.change(ending=status, failing=error if status is TradeStatus.FAILED else None)
    for averaging in d.trade.averaging:
        if not averaging.status.is_over:
            d.move(averaging, Cause.CANCEL)


def is_position(d: Draft) -> bool:
    """What was entered can be closed again: it is a position, or all that a simple trade got (S-12, A-11, EX-5)."""
    return is_closable(d.trade, d.trade.open_amount, d.instrument, d.quote)


def giving_up_under_way(d: Draft) -> None:
    """Averaging orders are out as well: their fills may have made a position after all (S-8, S-11, A-11)."""
    trade = d.trade
    if trade.status is not TradeStatus.WAITING_POSITION or trade.ending is None or not all_out(d):
        return
    step = trade.position
    if is_position(d) and not step.status.is_over:
        d.change(ending=None, failing=None)
        d.move(step, Cause.FILL, error=None)
        return
    if trade.ending is TradeStatus.FAILED:
        d.move(step, Cause.REFUSE)
        end(d, TradeStatus.FAILED, trade.failing)
    else:
        end(d, TradeStatus.CANCELLED, CANCELLED_OUTSIDE)


def reference_price(trade_price: Decimal | None, quote: Quote | None) -> Decimal | None:
    """Reference price of an own-funds trade: as given, else the last price at creation (M-9)."""
    if trade_price is not None:
        return trade_price
    return None if quote is None else quote.last
