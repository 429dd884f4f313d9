"""Orders follow from state: what each leg should have at the exchange now, and the steps towards it.

Called at the end of every input, so an interrupted sequence goes on from wherever it stood (EX-20, EX-25, EX-36).
Two rules hold at every moment: a leg has at most one order alive, and exits never offer more than is open.
"""

from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from smarttrade.domain import entry, funds, order_life, take_profit
from smarttrade.domain.closing import closing_quantity, may_close
from smarttrade.domain.draft import Draft
from smarttrade.domain.effects import SetLeverage
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import Order, OrderStatus, OrderType
from smarttrade.domain.sizing import closing_price, entering_price, is_closable, market_part
from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.domain.steps import (
    AveragingStep,
    CloseStep,
    EntryStep,
    ReduceStep,
    Step,
    StepStatus,
    StopStep,
    TargetStep,
)
from smarttrade.domain.stop_loss import limit_price


class Wanted(NamedTuple):
    """The order that a leg should have."""

    type: OrderType
    quantity: Decimal
    price: Decimal | None


def wanted(d: Draft, step: Step) -> Wanted | None:
    """The order that `step` should have at the exchange now; None: none."""
    found: tuple[OrderType, Decimal, Decimal | None] | None = None
    match step:
        case EntryStep():
            found = entry.order_wanted(d)
        case AveragingStep():
            found = funds.averaging_wanted(d, step)
        case TargetStep():
            found = _target_wanted(d, step)
        case StopStep():
            found = _stop_wanted(d, step)
        case ReduceStep():
            found = funds.reduction_wanted(d, step)
        case CloseStep():
            found = _close_wanted(d, step)
    return None if found is None else Wanted(*found)


def _target_wanted(d: Draft, step: TargetStep) -> tuple[OrderType, Decimal, Decimal | None] | None:
    trade = d.trade
    if trade.status not in take_profit.OPEN_STATUSES or trade.failing is not None or trade.ending is not None:
        return None
    if not take_profit.is_armed(step) or step.status is StepStatus.IDLE:
        return None
    quantity = take_profit.rest(step)
    if step.cap is not None:
        quantity = min(quantity, step.cap - step.execution.gross_quantity)  # EX-10
    quantity = d.instrument.floor_lot(quantity)
    if quantity <= ZERO or take_profit.waits_for_replaced(trade, step):
        return None
    if step.triggered:
        return OrderType.MARKET, quantity, None
    if not take_profit.rests_in_book(step) or step.price is None:
        return None
    if funds.keeps_targets_out(trade) or take_profit.needs_room(trade):
        return None
    return OrderType.LIMIT, quantity, d.instrument.order_price(step.price, trade.exit_side)


def _stop_wanted(d: Draft, step: StopStep) -> tuple[OrderType, Decimal, Decimal | None] | None:
    if d.trade.status is not TradeStatus.STOP_LOSS_IN_PROGRESS or d.trade.failing is not None:
        return None
    if step.status.is_over or step.status is StepStatus.PENDING_CANCELLATION:
        return None
    quantity = closing_quantity(d, step)
    if quantity <= ZERO:
        return None
    price = limit_price(step, d.trade, d)
    return (OrderType.MARKET if price is None else OrderType.LIMIT), quantity, price


def _close_wanted(d: Draft, step: CloseStep) -> tuple[OrderType, Decimal, Decimal | None] | None:
    if d.trade.status is not TradeStatus.PANIC_SELL_IN_PROGRESS or d.trade.failing is not None:
        return None
    quantity = closing_quantity(d, step)
    if step.status.is_over or quantity <= ZERO:
        return None
    return OrderType.MARKET, quantity, None


def work(d: Draft) -> None:
    """Take unwanted orders out of the book and send the wanted ones, as far as each may go now."""
    if d.trade.status is TradeStatus.CREATED:
        return
    for step in d.trade.steps:
        live = step.live_order
        if live is None or live.status is OrderStatus.PENDING_CANCEL:
            continue
        want = wanted(d, step)
        if live.status is OrderStatus.WORKING and _is_unwanted(live, want):
            _cancel(d, step, live)
        elif want is None and order_life.is_unheard_of(live) and live.cancel_requested_at is None:
            _let_go(d, step, live)
        elif want is not None and live.cancel_requested_at is not None:
            _put(d, step, order_life.wanted_again(live))
    for step in _in_order_of_need(d):
        if step.live_order is None and not step.status.is_over:
            want = wanted(d, step)
            if want is not None:
                _place(d, step, want)
    if d.instrument.is_linear:
        _wake_in_time(d)


def _wake_in_time(d: Draft) -> None:
    """Look again when the closing order waits no longer, however long the pause to the next question (EX-22)."""
    for step in d.trade.steps:
        live = step.live_order
        if live is None or live.cancel_requested_at is None or live.due_at is None:
            continue
        waits_until = live.cancel_requested_at + order_life.CANCEL_TIMEOUT
        if d.now < waits_until < live.due_at:
            _put(d, step, replace(live, due_at=waits_until))


def _in_order_of_need(d: Draft) -> list[Step]:
    """Ways out first, targets at market before resting ones (AR-1, AR-2)."""
    trade = d.trade
    closing: list[Step] = [step for step in (trade.stop, trade.market_close) if step is not None]
    targets = sorted(trade.active_targets, key=lambda step: not step.triggered)
    return [*closing, trade.position, *trade.averaging, *trade.reductions, *targets]


def _is_unwanted(live: Order, want: Wanted | None) -> bool:
    """Whether a working order has to leave the book. A market order ends by itself and is left alone."""
    if want is None:
        return True
    if live.type is OrderType.MARKET:
        return False
    return (live.type, live.price, live.leaves_quantity) != (want.type, want.price, want.quantity)


def _cancel(d: Draft, step: Step, live: Order) -> None:
    _put(d, step, order_life.cancel_asked(live, d.now))
    d.ask_cancel(live)


def _let_go(d: Draft, step: Step, live: Order) -> None:
    """What waits for an unwanted order must not wait for its next question (EX-20, EX-31)."""
    changed, ask = order_life.to_go(live, d.now)
    _put(d, step, changed)
    if ask is order_life.Ask.QUERY:
        d.query(changed)


def _put(d: Draft, step: Step, live: Order) -> None:
    """`live` in the place of the leg's last attempt."""
    d.edit(step, orders=(*step.orders[:-1], live))


def _place(d: Draft, step: Step, want: Wanted) -> None:
    if step.retry_at is not None and d.now < step.retry_at:
        return
    is_exit = not isinstance(step, EntryStep | AveragingStep)
    if isinstance(step, StopStep | CloseStep):
        if not may_close(d, step):
            return
    elif is_exit:
        free = _free_to_offer(d, step)
        if isinstance(step, TargetStep) and step.triggered and _is_enough(d, want.quantity, free):
            want = want._replace(quantity=min(want.quantity, free))  # what a limit reduction leaves (TR-24, RF-4)
        if want.quantity > free:
            return
    if isinstance(step, ReduceStep) and any(target.live_order is not None for target in d.trade.targets):
        return  # RF-3; once its own order is placed it has no second one
    side: Side = d.trade.exit_side if is_exit else d.trade.entry_side
    quantity = want.quantity
    if want.type is OrderType.MARKET:
        price = closing_price(d.trade, d.quote) if is_exit else entering_price(d.trade, d.quote)
        quantity = market_part(d.instrument, quantity, price)
    d.submit(replace(step, retry_at=None), side, want.type, quantity, want.price)


def _is_enough(d: Draft, wanted: Decimal, free: Decimal) -> bool:
    """Whether a target at market begins with `free`: not if that leaves a rest that is too little to be ordered, and
    other orders are leaving the book (EX-23)."""
    if not is_closable(d.trade, free, d.instrument, d.quote):
        return False
    lacks = wanted - free
    lives = [step.live_order for step in d.trade.exits if step.live_order is not None]
    gains = any(order.cancel_requested_at is not None for order in lives)
    return lacks <= ZERO or not gains or is_closable(d.trade, lacks, d.instrument, d.quote)


def _free_to_offer(d: Draft, step: Step) -> Decimal:
    """Open units that no other order offers already (faults F32)."""
    offered = sum(
        (
            other.live_order.leaves_quantity
            for other in d.trade.exits
            if other.id != step.id and other.live_order is not None
        ),
        ZERO,
    )
    return d.instrument.floor_lot(d.trade.open_amount) - offered


def set_leverage(d: Draft) -> None:
    """Tell the exchange margin mode and leverage before the first order (S-3)."""
    leverage = d.trade.leverage
    assert leverage is not None
    d.change(leverage_asked=True)
    d.emit(
        SetLeverage(
            account_id=d.trade.account_id,
            trade_id=d.trade.id,
            key=d.trade.key,
            mode=leverage.mode,
            value=leverage.value,
        )
    )
