"""Take-profit steps: arming, sizes, triggers, refusals (behaviour 2.3, 3.5, 4.3)."""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec.structs import replace

from smarttrade.domain import stop_loss
from smarttrade.domain.closing import TOO_SMALL, is_dust, is_spent, refused_exit, remainder
from smarttrade.domain.draft import Draft
from smarttrade.domain.effects import ReadLimits
from smarttrade.domain.events import PriceCrossed, WatchRole
from smarttrade.domain.money import HUNDRED, ZERO
from smarttrade.domain.moves import Cause, TradeCause
from smarttrade.domain.order import Order, OrderStatus, OrderType, RefusalKind
from smarttrade.domain.order_life import pause
from smarttrade.domain.plan import TargetPlan
from smarttrade.domain.position import enter_price_exact
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.sizing import allocate, is_closable, is_placeable, target_price
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus, TargetStep, Trail

ROOM_PAUSE: Final[Instant] = 60 * SECOND
"""How long a target that the exchange had no room for waits before it is offered again (EX-11)."""

OPEN_STATUSES: Final = frozenset(
    {TradeStatus.WAITING_TARGETS, TradeStatus.PENDING_REDUCE_FUNDS, TradeStatus.REDUCE_FUNDS_IN_PROGRESS}
)
"""The position is there and its exits work."""


def new_target(plan: TargetPlan, step_id: int, position: int, now: Instant) -> TargetStep:
    """The leg of a requested step, not armed yet (TP-1)."""
    return TargetStep(
        id=step_id,
        status=StepStatus.IDLE,
        created_at=now,
        updated_at=now,
        order_type=plan.order_type,
        volume=plan.volume,
        price_type=plan.price_type,
        price=plan.price,
        percent=plan.percent,
        trailing_percent=None if plan.trailing_percent is None else abs(plan.trailing_percent),
        position=position,
    )


def rests_in_book(step: TargetStep) -> bool:
    """A limit step works as a resting order; market, trailing and refused ones are watched (AR-2, EX-11)."""
    return step.order_type is OrderType.LIMIT and step.trailing_percent is None and not step.watched


def is_armed(step: TargetStep) -> bool:
    """Armed and not on its way out."""
    return step.units is not None and not step.status.is_over and step.status is not StepStatus.PENDING_CANCELLATION


def done(step: TargetStep) -> Decimal:
    """Units of the step's share that are executed, by it or by the steps it replaces (E-26)."""
    return step.carried + step.execution.gross_quantity


def rest(step: TargetStep) -> Decimal:
    """Units that the step has still to execute."""
    return max((step.units or ZERO) - done(step), ZERO)


def _is_decided(step: TargetStep) -> bool:
    """Its market order is at the exchange, or follows the limit order that leaves the book: with the units it has."""
    return step.triggered and step.live_order is not None


def resolve(d: Draft) -> None:
    """Turn the percents of unexecuted steps into prices (TR-30, TR-31)."""
    _resolve(d, d.trade.active_targets)


def _resolve(d: Draft, steps: Iterable[TargetStep]) -> None:
    entry = enter_price_exact(d.trade, d.instrument)
    if entry is None:
        return
    for step in steps:
        if step.percent is None or step.status is StepStatus.TRAILING_ACTIVATED or step.triggered:
            continue
        price = target_price(entry, step.percent, d.instrument, long=d.trade.is_long)
        if price != step.price:
            d.edit(step, price=price)


def arm(d: Draft) -> None:
    """Arm all steps that are idle, by position, and share the open amount among all (AR-1, M-20, E-25)."""
    _resolve(d, (step for step in d.trade.active_targets if step.status is StepStatus.IDLE))
    resize(d)
    for step in d.trade.active_targets:
        if step.status is StepStatus.IDLE:
            d.move(step, Cause.ARM)


def uncovered_volume(trade: SmartTrade) -> Fraction:
    """Volume without a target (X-1, M-23); one that was executed in part may leave a share without end."""
    return sum((_uncovered_share(step) for step in trade.targets if step.uncovered), Fraction())


def _uncovered_share(step: TargetStep) -> Fraction:
    if step.units is None or step.units == ZERO:
        return Fraction(step.volume)
    return Fraction(step.volume) * Fraction(rest(step)) / Fraction(step.units)


def resize(d: Draft) -> None:
    """Share what is open over the steps not yet executed (M-20, M-24).

    What steps have executed themselves is part of their share, so that the shares of all steps and the uncovered
    volume always add up to what is open. A limit reduction keeps its own units (RF-4), and so does a step whose market
    order is on its way: as if that order had been first.
    """
    steps = [step for step in d.trade.active_targets if step.status is not StepStatus.PENDING_CANCELLATION]
    for step, units in _shares(d, steps):
        _resize_step(d, step, units)


def _shares(d: Draft, steps: list[TargetStep]) -> list[tuple[TargetStep, Decimal]]:
    """Units of each step that is not decided. One that has executed more than its share keeps that; others share on."""
    uncovered = uncovered_volume(d.trade)
    decided = [step for step in steps if _is_decided(step)]
    to_offer = d.trade.open_amount - reserved(d.trade) - sum((rest(step) for step in decided), ZERO)
    steps = [step for step in steps if step not in decided]
    full: list[TargetStep] = []
    while True:
        pool = [step for step in steps if step not in full]
        whole = to_offer + sum((done(step) for step in pool), ZERO)
        shares = allocate(max(whole, ZERO), [step.volume for step in pool], uncovered, d.instrument)
        over = [step for step, units in zip(pool, shares, strict=True) if done(step) > ZERO and units < done(step)]
        if not over:
            return [*((step, done(step)) for step in full), *zip(pool, shares, strict=True)]
        full += over


def fit(d: Draft) -> None:
    """Never offer more than is open: late fills and outside closes shrink the targets (faults F32)."""
    armed = [step for step in d.trade.active_targets if is_armed(step)]
    offered = sum((rest(step) for step in armed), ZERO)
    if offered > d.instrument.floor_lot(max(d.trade.open_amount - reserved(d.trade), ZERO)):
        resize(d)


def reserved(trade: SmartTrade) -> Decimal:
    """Units that a limit reduction in the book will take (RF-4); targets share what any other leaves (RF-5)."""
    placed = (StepStatus.ORDER_PLACED, StepStatus.PENDING_CANCELLATION)
    resting = (step for step in trade.reductions if step.order_type is OrderType.LIMIT and step.status in placed)
    return sum((step.units - step.execution.gross_quantity for step in resting), ZERO)


def _resize_step(d: Draft, step: TargetStep, units: Decimal) -> None:
    left = units - done(step)
    if step.triggered:
        share = max(units, done(step))  # it waits to try again (EX-12), for what is its share now
        if done(step) == ZERO and not is_closable(d.trade, share, d.instrument, d.quote):
            fail_step(d, step, TOO_SMALL)
        elif share != step.units:
            d.edit(step, units=share)
        return
    price = step.price
    if is_placeable(d.instrument, left, price, step.order_type):
        if units != step.units:
            d.edit(step, units=units)
    elif done(step) > ZERO and left < d.instrument.lot:
        if step.units != done(step):
            d.edit(step, units=done(step))  # all of its new share is executed already; see `finish_shrunk`
    elif step.status is StepStatus.IDLE or step.live_order is None:
        fail_step(d, step, TOO_SMALL)
    elif max(units, done(step)) != step.units:
        d.edit(step, units=max(units, done(step)))


def fail_step(d: Draft, step: TargetStep, text: str) -> None:
    """A step that cannot be executed: its volume is uncovered, the others go on (TP-14, M-27)."""
    d.move(step, Cause.REFUSE, error=text, uncovered=True)
    if not has_exit(d.trade):
        d.change(error=text)
        d.alarm(text)


def has_exit(trade: SmartTrade) -> bool:
    """Whether a target or a stop is left; a target that is on its way out is none."""
    left = any(step.status is not StepStatus.PENDING_CANCELLATION for step in trade.active_targets)
    return left or stop_loss.is_protecting(trade)


def crossed(d: Draft, step: TargetStep, event: PriceCrossed) -> None:
    """The target or the follow line is reached (TP-4 to TP-6, TR-41, TR-42)."""
    if event.role is WatchRole.TRAIL:
        trail = step.trail
        if trail is not None and event.extreme is not None:
            trail = replace(trail, start=event.extreme)
        d.edit(step, triggered=True, trail=trail)
    elif step.watched:  # a refused limit order goes out at the latest when its target is reached (EX-11)
        d.edit(step, watched=False, reached=True, retry_at=None)
    elif step.trailing_percent is None:
        d.edit(step, triggered=True)
    else:
        share = -step.trailing_percent if d.trade.is_long else step.trailing_percent
        trail = Trail(group=d.new_id(), start=event.price, numerator=HUNDRED + share, denominator=HUNDRED)
        d.move(step, Cause.TRAIL, trail=trail)


def close_at_market(d: Draft, step: TargetStep) -> None:
    """The sub-trade command close_by_market (TP-9)."""
    d.move(step, Cause.PANIC, triggered=True, watched=False, retry_at=None)


def cancel(d: Draft, step: TargetStep) -> None:
    """The sub-trade command cancel: its volume stays uncovered (TP-12, X-1)."""
    d.move(step, Cause.CANCEL, uncovered=True)


def ended(d: Draft, step: TargetStep, order: Order) -> None:
    """An attempt of the step is over."""
    _try_in_new_room(d, step)
    step = _known(d, step)
    if _is_executed(d, step):
        executed(d, step)
    elif order.status is OrderStatus.REJECTED:
        _refused(d, step, order)
    elif step.status is StepStatus.PENDING_CANCELLATION or order.status is OrderStatus.FILLED:
        return  # the leg ends, or its units have grown meanwhile: placement goes on
    elif order.cancel_requested_at is not None:
        if step.status is StepStatus.ORDER_PLACED:
            d.move(step, Cause.PULL)
    elif step.triggered:
        remainder(d, step, order)
    else:
        _cancelled_outside(d, step)


def _try_in_new_room(d: Draft, left: TargetStep) -> None:
    """The last order that held the coins of a refused step at market is out: that one need not pause now (EX-23)."""
    if d.trade.room_for in (None, left.id) or any(step.live_order is not None for step in d.trade.targets):
        return
    for step in d.trade.active_targets:
        if step.id == d.trade.room_for and step.retry_at is not None:
            d.edit(step, retry_at=None)


def finish_shrunk(d: Draft) -> None:
    """A step whose share has shrunk to what it has executed is over, once its order is out of the book.

    It is done, or has failed if that is nothing (M-27).
    """
    for one in d.trade.active_targets:
        step = _known(d, one)  # the end of another may have given it more
        if not is_armed(step) or step.live_order is not None:
            continue
        if _is_executed(d, step):
            executed(d, step)
        elif step.units == ZERO:
            fail_step(d, step, TOO_SMALL)


def fail_too_small(d: Draft) -> None:
    """A step whose order has left the book, because its share has become too small for one, has failed (M-27)."""
    if needs_room(d.trade):
        return
    for step in d.trade.active_targets:
        if not is_armed(step) or step.live_order is not None or not step.orders:
            continue
        left = rest(step)
        if step.triggered or not rests_in_book(step) or left < d.instrument.lot:
            continue
        if not is_placeable(d.instrument, left, step.price, step.order_type):
            fail_step(d, step, TOO_SMALL)


def replaced_out(d: Draft, old: TargetStep) -> None:
    """A step that an edit changed is out: its successor takes over what is left, or is dropped (R-7, E-26)."""
    successor = next((step for step in d.trade.active_targets if step.replaces == old.id), None)
    if successor is None:
        return
    if old.status.is_executed:
        d.move(successor, Cause.CANCEL)
    elif done(old) > successor.carried:
        d.edit(successor, carried=done(old))
    else:
        return  # the edit has shared what is open already (E-25)
    if d.trade.status in OPEN_STATUSES:  # before the position is there, steps have no units (TP-1)
        resize(d)


def needs_room(trade: SmartTrade) -> bool:
    """A step at market lacks what the resting targets lock (EX-23)."""
    return any(step.id == trade.room_for and is_armed(step) for step in trade.targets)


def waits_for_replaced(trade: SmartTrade, step: TargetStep) -> bool:
    """The step that this one replaces may still be in the book (EX-25)."""
    return step.replaces is not None and any(
        old.id == step.replaces and not old.status.is_over for old in trade.targets
    )


def _known(d: Draft, step: TargetStep) -> TargetStep:
    present = d.step(step.id)
    assert isinstance(present, TargetStep)
    return present


def _is_executed(d: Draft, step: TargetStep) -> bool:
    """Filled completely, but for less than a lot; at market also but for what cannot be closed (EX-2, TP-10)."""
    left = rest(step)
    if done(step) <= ZERO:
        return False
    if left < d.instrument.lot or is_spent(step):
        return True
    return step.triggered and not is_closable(d.trade, left, d.instrument, d.quote)


def executed(d: Draft, step: TargetStep) -> None:
    """The step is done: breakeven, and perhaps the end of the trade (S-13, S-14, BE-1).

    What it could not close, because that is too little to be ordered, goes to the others (faults F32). What it has
    executed beyond its share, while that shrank, it keeps.
    """
    units = max(step.units or ZERO, done(step))
    replaced_out(d, d.move(step, Cause.FILL, uncovered=False, units=units))
    if d.trade.room_for == step.id:
        d.change(room_for=None)
    if d.trade.status not in OPEN_STATUSES:
        return  # a sequence is under way and looks for itself (S-17, S-24, S-29)
    stop_loss.apply_breakeven(d)
    reduces = any(not other.status.is_over for other in d.trade.reductions)  # it lasts until it is over itself (S-21)
    if is_dust(d) or is_spent(step) or not (has_exit(d.trade) or reduces):
        d.change(ending=TradeStatus.FINISHED)
        for other in (*d.trade.averaging, *d.trade.reductions):  # A-8, S-21
            if not other.status.is_over:
                d.move(other, Cause.CANCEL)
    elif rest(step) >= d.instrument.lot:
        resize(d)


def _refused(d: Draft, step: TargetStep, order: Order) -> None:
    kind = order.refusal or RefusalKind.PERMANENT
    if step.status is StepStatus.PENDING_CANCELLATION:
        return
    if step.triggered:
        refused_exit(d, step, kind, order.text)
    elif kind in (RefusalKind.TOO_MANY_ORDERS, RefusalKind.PRICE_BAND):
        if step.status is StepStatus.ORDER_PLACED:
            step = d.move(step, Cause.PULL)
        # Once its target is reached it is offered in short pauses; the price says nothing new.
        wait = pause(step.refusals) if step.reached else ROOM_PAUSE
        d.edit(step, watched=True, retry_at=d.now + wait, refusals=step.refusals + int(step.reached))
    elif kind is not RefusalKind.PERMANENT and not step.retried:
        d.emit(ReadLimits(account_id=d.trade.account_id, key=d.trade.key))
        d.edit(step, retried=True)
    else:
        fail_step(d, step, order.text)


def room_time(d: Draft) -> None:
    """A target that the exchange had no room for is offered again (EX-11)."""
    for step in d.trade.active_targets:
        if step.watched and step.retry_at is not None and d.now >= step.retry_at:
            d.edit(step, watched=False, retry_at=None)


def _cancelled_outside(d: Draft, step: TargetStep) -> None:
    """Somebody took the order out of the book: not placed again (EX-30)."""
    d.move(step, Cause.OUT, uncovered=True)
    if not has_exit(d.trade) and d.trade.status in OPEN_STATUSES:
        d.advance(TradeCause.CANCEL, closed_before=d.trade.closed.amount)  # S-30
        d.proceeds = True
