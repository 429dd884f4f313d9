"""The door of the domain: one trade, one input, the trade after it and what must be done outside.

`handle` is a pure function. Whatever came before, it first books what has happened, then lets the tables move as far
as they go, then brings the orders at the exchange towards what the state wants. Raises Denied for a command that is
refused (nothing changed) and IllegalTransition for a mistake of ours.
"""

from typing import Any, Final

import msgspec

from smarttrade.domain import closing, entry, funds, order_life, stop_loss, take_profit, wishes
from smarttrade.domain.commands import Command, CreateTrade
from smarttrade.domain.creation import create
from smarttrade.domain.draft import Context, Draft, with_order
from smarttrade.domain.effects import Effect
from smarttrade.domain.events import (
    CancelRefused,
    FreshPrice,
    FundsRead,
    LeverageRefused,
    LeverageSet,
    OrderNotFound,
    PositionGone,
    PriceCrossed,
    Proceed,
    QueryUnclear,
    Recovered,
    SubmitUnclear,
    TimeReached,
    TradeEvent,
)
from smarttrade.domain.fill import closing as closing_value
from smarttrade.domain.money import ZERO
from smarttrade.domain.moves import Cause, TradeCause
from smarttrade.domain.order import Order, OrderRefused, OrderReport, OrderStatus, OrderType
from smarttrade.domain.order_ids import parse
from smarttrade.domain.order_life import Ask
from smarttrade.domain.placement import set_leverage, wanted, work
from smarttrade.domain.position import final_profit
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
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

LEVERAGE_RETRY: Final[Instant] = 2 * SECOND

FILLED_AFTER_CANCEL: Final = "Position was filled after cancellation"


class Outcome(msgspec.Struct, frozen=True):
    """What one input leads to."""

    trade: SmartTrade
    effects: tuple[Effect, ...]
    next_id: int


def handle(trade: SmartTrade | None, given: Command | TradeEvent, context: Context, trade_id: int = 0) -> Outcome:
    """Work `given` into `trade`; a CreateTrade makes a new one with `trade_id`."""
    if isinstance(given, CreateTrade):
        created, next_id = create(given, context, trade_id)
        return Outcome(created, (), next_id)
    assert trade is not None
    d = Draft(trade, context)
    if isinstance(given, TradeEvent):
        _happened(d, given)
    else:
        wishes.grant(d, given)
    if d.trade is not trade:
        d.change(updated_at=context.now, revision=trade.revision + 1)
    return Outcome(d.trade, tuple(d.effects), d.next_id)


def next_deadline(trade: SmartTrade) -> Instant | None:
    """When the trade wants to be woken, if nothing happens before."""
    if trade.status.is_final:
        return None
    deadlines: list[Instant] = []
    for step in trade.legs:
        if step.retry_at is not None and not step.status.is_over:
            deadlines.append(step.retry_at)
        order = step.live_order
        if order is None:
            continue
        if order.due_at is not None:
            deadlines.append(order.due_at)
        silence_ends = _silence_ends_at(step)
        if silence_ends is not None:
            deadlines.append(silence_ends)
    stop = trade.stop
    if stop is not None and not stop.awaits_price and not stop.status.is_over:
        ends_at = stop_loss.timer_ends_at(stop)
        if ends_at is not None:
            deadlines.append(ends_at)
    return min(deadlines, default=None)


def _happened(d: Draft, event: TradeEvent) -> None:
    if d.trade.status.is_final:
        _late(d, event)
        return
    match event:
        case Proceed():
            d.proceeds = True
        case PriceCrossed():
            _price_crossed(d, event)
        case FreshPrice():
            stop_loss.fresh_price(d)
        case TimeReached():
            _time_reached(d)
        case FundsRead():
            closing.funds_read(d, event.available, event.total)
        case LeverageSet():
            is_newest = event.leverage == d.trade.leverage
            d.change(leverage_confirmed=is_newest, leverage_asked=is_newest)
        case LeverageRefused():
            _leverage_refused(d, event)
        case PositionGone():
            _position_gone(d, event)
        case Recovered():
            _recovered(d)
        case _:
            _order_event(d, event)
    settle(d)


# --- orders -----------------------------------------------------------------------------------------------------

OrderEvent = OrderReport | OrderRefused | SubmitUnclear | QueryUnclear | OrderNotFound | CancelRefused


def _find(d: Draft, client_order_id: str) -> tuple[Step, Order] | None:
    """The leg and the attempt that a client order id names (EX-4)."""
    ref = parse(client_order_id)
    step = None if ref is None else d.step(ref.step_id)
    if step is None:
        return None
    order = next((order for order in step.orders if order.client_order_id == client_order_id), None)
    return None if order is None else (step, order)


def _order_event(d: Draft, event: OrderEvent) -> None:
    """Fold the exchange's word into its order, ask what must be asked, and tell the leg when an attempt is over."""
    found = _find(d, event.client_order_id)
    if found is None:
        return
    step, order = found
    changed, ask = _folded(d, order, step, event)
    if order_life.is_long_uncancelled(order, changed):
        d.alarm(order_life.UNCANCELLED)
    if changed != order:
        orders = with_order(step, changed)
        step = d.edit(step, orders=orders)
    changed = _asked(d, step, changed, ask, searched=isinstance(event, OrderNotFound) and event.searched)
    _tell_leg(d, step.id, order, changed)


def _folded(d: Draft, order: Order, step: Step, event: OrderEvent) -> tuple[Order, Ask]:
    match event:
        case OrderReport():
            is_entry = isinstance(step, EntryStep | AveragingStep)
            changed, ask = order_life.reported(order, event, d.instrument, is_entry=is_entry, now=d.now)
            is_whole = event.filled_quantity <= changed.execution.gross_quantity
            if ask is Ask.NOTHING and event.answers_query and is_whole:
                return order_life.answered_to_query(changed, d.now)
            return changed, ask
        case OrderRefused():
            return order_life.refused(order, event, d.now)
        case SubmitUnclear():
            return order_life.unclear(order, d.now)
        case QueryUnclear():
            return order_life.query_unclear(order, d.now), Ask.NOTHING
        case OrderNotFound():
            return order_life.not_found(order, d.now, safe_to_resend=event.safe_to_resend, searched=event.searched)
        case CancelRefused():
            return order_life.cancel_refused(order, d.now)


def _asked(d: Draft, step: Step, order: Order, ask: Ask, *, searched: bool) -> Order:
    """Carry out what the order's table asks for.

    An order that never arrived is sent again only while wanted. One that is not wanted counts as out of the book only
    after a second source has been `searched` too (faults F6): what waits for it may sell the same coins.
    """
    if ask is Ask.QUERY:
        d.query(order)
    elif ask is Ask.SEARCH:
        d.search(order)
    elif ask is Ask.CANCEL:
        if order.status.is_over:
            d.alarm(order.text)
        d.ask_cancel(order)
    elif ask is Ask.SEND:
        want = wanted(d, step)
        matches = want is not None and (want.type, want.price) == (order.type, order.price)
        matches = matches and want is not None and want.quantity >= order.quantity
        matches = matches and order.status is not OrderStatus.PENDING_CANCEL  # it is out, as we asked
        if not matches and not searched:
            d.search(order)
            return order
        changed = order_life.resent(order) if matches else order_life.gone(order, d.now)
        if matches:
            d.send(step, changed)
        elif order.status is OrderStatus.UNCONFIRMED:
            d.ask_cancel(changed)  # costs nothing if it is not there, and frees its coins if it is (faults F6, F14)
        d.edit(step, orders=with_order(step, changed))
        return changed
    return order


_UNKNOWN: Final = (OrderStatus.INTENDED, OrderStatus.UNCONFIRMED, OrderStatus.BACKING_OFF)


def _tell_leg(d: Draft, step_id: int, before: Order, after: Order) -> None:
    """An attempt was acknowledged, or is over: the leg moves."""
    step = d.step(step_id)
    assert step is not None
    taken = after.status in (OrderStatus.WORKING, OrderStatus.FILLED, OrderStatus.CANCELED)
    if before.status in _UNKNOWN and taken and after.venue_order_id:
        step = _acknowledged(d, step, after)
    if after.execution != before.execution and not step.status.is_over:
        step = closing.accepted(d, step, after)
    if before.status.is_over or not after.status.is_over:
        if after.execution != before.execution:
            _partly_filled(d, step)
        return
    match step:
        case EntryStep():
            entry.ended(d, step, after)
        case AveragingStep():
            funds.averaging_ended(d, step, after)
        case TargetStep():
            take_profit.ended(d, step, after)
        case StopStep() | CloseStep():
            closing.ended_closing(d, step, after)
        case ReduceStep():
            funds.reduction_ended(d, step, after)


def _acknowledged(d: Draft, step: Step, order: Order) -> Step:
    """The exchange has the order (P-3, TP-2, RF-4, MC-2)."""
    if step.status.is_over or (step.status is StepStatus.PANIC_SELL_PENDING and order.type is OrderType.LIMIT):
        return step  # the order that leaves the book for the one at market
    step = d.move(step, Cause.PLACE)
    if isinstance(step, ReduceStep):
        funds.reduction_placed(d, step)
    return closing.accepted(d, step, order)


def _partly_filled(d: Draft, step: Step) -> None:
    """A fill that does not end the order, or comes after its end (EX-2, EX-3, EX-32)."""
    if isinstance(step, EntryStep) and d.trade.status is TradeStatus.WAITING_POSITION and not step.status.is_over:
        return  # P-18 looks at what is entered in `settle`
    if isinstance(step, AveragingStep) and step.status.is_over:
        funds.averaged(d)


# --- other events -----------------------------------------------------------------------------------------------


def _price_crossed(d: Draft, event: PriceCrossed) -> None:
    step = d.step(event.step_id)
    match step:
        case EntryStep():
            entry.crossed(d, step, event)
        case StopStep():
            stop_loss.crossed(d, step, event)
        case TargetStep():
            take_profit.crossed(d, step, event)


def _time_reached(d: Draft) -> None:
    """Every deadline of the trade that is due."""
    for step in d.trade.steps:
        silence_ends, order = _silence_ends_at(step), step.live_order
        if order is not None and silence_ends is not None and d.now >= silence_ends:
            step = closing.block(d, step, order.text or closing.NO_ANSWER)
        if order is None or order.due_at is None or d.now < order.due_at:
            continue
        changed, ask = order_life.due(order, d.now)
        d.edit(step, orders=(*step.orders[:-1], changed))
        if ask is Ask.QUERY:
            d.query(changed)
        if order_life.is_long_uncancelled(order, changed):
            d.alarm(order_life.UNCANCELLED)
    take_profit.room_time(d)
    stop_loss.time_reached(d)
    for step in d.trade.steps:
        if step.retry_at is not None and d.now >= step.retry_at:
            d.edit(step, retry_at=None)


def _closes_now(step: Step) -> bool:
    """An exit that must not wait: stop, market close, target at market (EX-12)."""
    return isinstance(step, StopStep | CloseStep) or (isinstance(step, TargetStep) and step.triggered)


def _silence_ends_at(step: Step) -> Instant | None:
    """When a passing refusal, or no answer at all, has lasted so long that an exit counts as blocked (EX-12)."""
    order = step.live_order
    since = None if order is None else order_life.silent_since(order)
    if order is None or since is None or step.error is not None:
        return None
    doubtful = order_life.is_doubtful(order) and _closes_now(step)
    return since + closing.QUICK_SPAN if doubtful else None


def _leverage_refused(d: Draft, event: LeverageRefused) -> None:
    """A lasting refusal fails the trade before any order (EX-28); a passing one is asked again."""
    if event.leverage != d.trade.leverage:  # an edit has changed the wish meanwhile
        d.change(leverage_asked=False)
        return
    if event.transient:
        d.change(leverage_asked=False)
        d.edit(d.trade.position, retry_at=d.now + LEVERAGE_RETRY)
        return
    d.edit(d.trade.position, error=event.text)
    d.move(d.trade.position, Cause.REFUSE)
    closing.end(d, TradeStatus.FAILED, event.text)


def _position_gone(d: Draft, event: PositionGone) -> None:
    """Liquidated, or closed by somebody else: nothing is left to close (S-32, EX-29)."""
    total = d.trade.liquidation
    for fill in event.fills:
        total = total + closing_value(fill, d.trade.exit_side, d.instrument)
    d.change(liquidation=total)
    closing.position_gone(d, event.liquidated)


def _recovered(d: Draft) -> None:
    """After a start: ask about every order that may be alive, begin stop timers anew (EX-36, TR-64)."""
    stop_loss.clear_timer(d)
    if d.trade.leverage_asked and not d.trade.leverage_confirmed:
        d.change(leverage_asked=False)
    d.proceeds = True
    for step in d.trade.steps:
        step = _in_present(d, step)
        if step.live_order is not None:
            d.edit(step, orders=(*step.orders[:-1], order_life.left_behind(step.live_order, d.now)))
            d.query(step.live_order)


def _in_present(d: Draft, step: Step) -> Step:
    """`step` without instants that a clock left ahead which was set back since: nobody may wait for those."""
    changes: dict[str, Any] = {}
    if step.retry_at is not None and step.retry_at > d.now + closing.LONGEST_BLOCKED_PAUSE:
        changes["retry_at"] = d.now
    if step.refused_since is not None and step.refused_since > d.now:
        changes["refused_since"] = d.now
    order = step.live_order
    if order is not None and (present := order_life.in_present(order, d.now)) is not order:
        changes["orders"] = (*step.orders[:-1], present)
    return d.edit(step, **changes) if changes else step


def _late(d: Draft, event: TradeEvent) -> None:
    """The trade is over: only fills may still change its amounts; no order is sent (EX-32, EX-33)."""
    if not isinstance(event, OrderReport):
        return
    found = _find(d, event.client_order_id)
    if found is None:
        return
    step, order = found
    is_entry = isinstance(step, EntryStep | AveragingStep)
    changed, ask = order_life.reported(order, event, d.instrument, is_entry=is_entry, now=d.now)
    if ask is Ask.CANCEL:
        d.alarm(changed.text)
        d.ask_cancel(changed)
    if ask is Ask.QUERY:
        d.query(changed)  # the exchange counts more than it has told
    if changed.execution == order.execution:
        return
    d.edit(step, orders=with_order(step, changed))
    if is_entry:
        d.change(error=FILLED_AFTER_CANCEL)
        d.alarm(FILLED_AFTER_CANCEL)
    d.change(profit=final_profit(d.trade, d.instrument, d.context.usd_rate))


# --- settling ---------------------------------------------------------------------------------------------------

MAX_ROUNDS: Final = 40
"""Rounds until nothing changes; each makes at least one move of a table, and a trade has few legs."""


def settle(d: Draft) -> None:
    """Let the tables move as far as they go, bringing orders towards the state in every round."""
    worked: SmartTrade | None = None  # a state in which every order is as it should be
    for _ in range(MAX_ROUNDS):
        before, proceeds = d.trade, d.proceeds
        _advance(d)
        if d.trade is not worked and not d.trade.status.is_final:
            worked = d.trade
            work(d)
            _legs_out(d)
        if d.trade is before and d.proceeds is proceeds:  # with no leg to cancel, to proceed changes nothing by itself
            return
    raise AssertionError(f"trade {d.trade.id} does not settle")


def _legs_out(d: Draft) -> None:
    """Legs that are to end and have no order left at the exchange are over (TP-12, P-14, A-5, RF-6, SL-12)."""
    for step in d.trade.steps:
        if step.status is not StepStatus.PENDING_CANCELLATION or step.live_order is not None:
            continue
        ended = d.move(step, Cause.OUT)
        if isinstance(ended, AveragingStep) and ended.execution.gross_quantity > ZERO:
            funds.averaged(d)
        if isinstance(ended, TargetStep):
            take_profit.replaced_out(d, ended)


def _advance(d: Draft) -> None:
    """One look at the whole trade."""
    if d.trade.failing is not None and d.trade.ending is not TradeStatus.FAILED:
        closing.failure_under_way(d)  # an entry that failed looks for itself
        return
    match d.trade.status:
        case TradeStatus.CREATED:
            _take(d)
        case TradeStatus.WAITING_POSITION:
            _await_position(d)
        case TradeStatus.STOP_LOSS_IN_PROGRESS:
            closing.stop_under_way(d)
        case TradeStatus.PANIC_SELL_PENDING | TradeStatus.CANCELLATION_PENDING if d.proceeds:
            d.proceeds = False
            closing.cancel_legs(d)
        case TradeStatus.PANIC_SELL_PENDING | TradeStatus.PANIC_SELL_IN_PROGRESS:
            if d.trade.status is TradeStatus.PANIC_SELL_IN_PROGRESS or not any(
                closing.is_alive(step) and step.status is not StepStatus.PENDING_CANCELLATION for step in d.trade.steps
            ):
                closing.close_under_way(d)
        case TradeStatus.CANCELLATION_PENDING | TradeStatus.CANCELLATION_IN_PROGRESS:
            closing.cancel_under_way(d)
        case _:
            _await_exits(d)


def _take(d: Draft) -> None:
    """The worker takes a new trade (S-2 to S-6)."""
    trade = d.trade
    if trade.kind.is_own_funds:
        d.move(trade.position, Cause.OWNED)
        _enter_targets(d)
    elif trade.leverage is None or trade.leverage_confirmed:
        d.advance(TradeCause.TAKE)
    elif _needs_leverage(trade):
        set_leverage(d)


def _needs_leverage(trade: SmartTrade) -> bool:
    """The exchange has to be told, and is not being told, and no pause after a passing refusal runs."""
    asked = trade.leverage is None or trade.leverage_confirmed or trade.leverage_asked
    return not asked and trade.position.retry_at is None and trade.ending is None


def _await_position(d: Draft) -> None:
    """The entry works: S-7 to S-12, and the stop over what is filled so far (P-18)."""
    trade = d.trade
    if trade.position.status is StepStatus.FINISHED:
        if trade.kind.is_simple:
            closing.end(d, TradeStatus.FINISHED)
        else:
            _enter_targets(d)
        return
    entry.giving_up_under_way(d)
    if _needs_leverage(trade):
        set_leverage(d)
    if stop_loss.protects_partial_entry(d.trade) and d.trade.entered.amount > ZERO:
        stop_loss.resolve(d, anew=True)
        stop_loss.arm(d)


def _enter_targets(d: Draft) -> None:
    """The position is there: percents become prices, exits are armed, the stop first (S-2, S-7, AR-1)."""
    d.advance(TradeCause.ENTER)
    stop_loss.resolve(d, anew=True)
    stop_loss.arm(d)
    take_profit.arm(d)


def _await_exits(d: Draft) -> None:
    """WAITING_TARGETS and the reduce states: S-13, S-14, S-18 to S-21."""
    if d.trade.status is TradeStatus.PENDING_REDUCE_FUNDS and d.proceeds:
        d.proceeds = False
        funds.start_reduction(d)
    stop_loss.resolve_if_idle(d)
    stop_loss.arm(d)
    if d.trade.ending is None:
        _arm_targets(d)
        funds.fit_reduction(d)
        funds.end_reduction(d)
        if not funds.keeps_targets_out(d.trade):  # what a reduction leaves is shared once, when it is over (RF-5)
            take_profit.fit(d)
            take_profit.fail_too_small(d)
        take_profit.finish_shrunk(d)
    if d.trade.ending is TradeStatus.FINISHED and closing.all_out(d):
        _finish_or_go_on(d)


def _arm_targets(d: Draft) -> None:
    if any(step.status is StepStatus.IDLE for step in d.trade.targets):
        take_profit.arm(d)


def _finish_or_go_on(d: Draft) -> None:
    """The last target is executed and every order is out (S-14); averaging that filled meanwhile keeps its stop."""
    is_spent = any(closing.is_spent(step) for step in d.trade.targets)  # the account had no more than that (EX-10)
    if closing.is_dust(d) or is_spent or not take_profit.has_exit(d.trade):
        closing.end(d, TradeStatus.FINISHED)
        return
    d.change(ending=None)
    funds.averaged(d)
