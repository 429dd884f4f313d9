"""Ways out: cancel first, then close (EX-20), refused exits (EX-12), and the ends of a trade (S-14 to S-32).

An exit is never given up: while there is something to close and the exchange has it, attempts go on.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, TypeGuard

from smarttrade.domain.draft import AnyStep, Draft
from smarttrade.domain.effects import ReadFunds, ReadLimits
from smarttrade.domain.money import ZERO
from smarttrade.domain.moves import Cause, TradeCause
from smarttrade.domain.order import Order, OrderStatus, RefusalKind
from smarttrade.domain.order_life import CANCEL_TIMEOUT, pause
from smarttrade.domain.position import final_profit
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.sizing import closing_price, is_closable
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import CloseStep, EntryStep, Step, StepStatus, StopStep, TargetStep

QUICK_ATTEMPTS: Final = 10
QUICK_SPAN: Final[Instant] = 120 * SECOND
LONGEST_BLOCKED_PAUSE: Final[Instant] = 60 * SECOND
REMAINDER_RETRIES: Final = 3

INSUFFICIENT_FUNDS: Final = "Insufficient funds"
TOO_SMALL: Final = "Too small"
NO_ANSWER: Final = "No answer from the exchange"
LIQUIDATED: Final = "Position was liquidated on the exchange"
CLOSED_OUTSIDE: Final = "Position was closed outside of this trade"

ENDS: Final[Mapping[TradeStatus, TradeCause]] = {
    TradeStatus.FINISHED: TradeCause.DONE,
    TradeStatus.STOP_LOSS_FINISHED: TradeCause.STOPPED,
    TradeStatus.PANIC_SOLD: TradeCause.SOLD,
    TradeStatus.CANCELLED: TradeCause.OUT,
    TradeStatus.FAILED: TradeCause.FAIL,
}


def is_dust(d: Draft) -> bool:
    """Nothing left that could be closed (C-6)."""
    return not is_closable(d.trade, d.trade.open_amount, d.instrument, d.quote)


def is_alive(step: Step) -> bool:
    return not step.status.is_over


def all_out(d: Draft, besides: Step | None = None) -> bool:
    """No order of any other leg is or may be alive at the exchange."""
    return all(step.live_order is None for step in d.trade.steps if besides is None or step.id != besides.id)


def may_close(d: Draft, step: Step) -> bool:
    """Step 6 of EX-20: every other order is out; on futures 5 s after its cancellation was asked for (EX-22)."""
    others = [other.live_order for other in d.trade.steps if other.id != step.id]
    live = [order for order in others if order is not None]
    if not live:
        return True
    return d.instrument.is_linear and all(
        order.cancel_requested_at is not None and d.now >= order.cancel_requested_at + CANCEL_TIMEOUT for order in live
    )


def cancel_legs(d: Draft, keep: Step | None = None) -> None:
    """Every leg that is not over is to end (step 2 of EX-20)."""
    for step in d.legs(is_alive):
        if keep is None or step.id != keep.id:
            d.move(step, Cause.CANCEL)


def fire_stop(d: Draft, stop: StopStep) -> None:
    """The stop loss fires (S-15, P-18): cancel everything else, then close."""
    d.edit(stop, fired=True, timer_started_at=None, awaits_price=False)
    closed = _closed_before(d.trade)
    d.advance(TradeCause.STOP, closed_before=closed, room_for=None, ending=None, failing=None)
    cancel_legs(d, keep=stop)


def begin_end(d: Draft, cause: TradeCause) -> None:
    """close_by_market or cancel is accepted; its work begins with the next `Proceed` (S-22, S-26)."""
    d.advance(cause, closed_before=_closed_before(d.trade), room_for=None)


def _closed_before(trade: SmartTrade) -> Decimal:
    """Closed amount when a sequence begins; none if the rest is taken already, for that names the end (S-14, S-34)."""
    return ZERO if trade.ending is TradeStatus.FINISHED else trade.closed.amount


def fail(d: Draft, text: str) -> None:
    """There is proof that nothing is left to do; final once every order is out (S-8, S-32, EX-10)."""
    d.change(failing=text, ending=None)  # whatever end it was on its way to
    cancel_legs(d)


def end(d: Draft, status: TradeStatus, error: str | None = None) -> None:
    """The trade is over: freeze its profit, close its legs (S-33)."""
    for step in d.legs(is_alive):
        if status is TradeStatus.FINISHED and _was_filled(step):
            d.move(step, Cause.FILL, units=step.carried + step.execution.gross_quantity)
            continue
        if step.status is not StepStatus.PENDING_CANCELLATION:
            step = d.move(step, Cause.CANCEL)
        d.move(step, Cause.OUT)
    d.advance(
        ENDS[status], closed_at=d.now, error=error, ending=None, failing=None, room_for=None,
    )  # fmt: skip
    d.change(profit=final_profit(d.trade, d.instrument, d.context.usd_rate))


def _was_filled(step: Step) -> TypeGuard[TargetStep]:
    """A target whose order was filled is executed (EX-2); others were faster with what its share had grown by."""
    if not isinstance(step, TargetStep) or step.status is StepStatus.PENDING_CANCELLATION:
        return False
    return bool(step.orders) and step.orders[-1].status is OrderStatus.FILLED


# Sequences under way: called until nothing changes.


def stop_under_way(d: Draft) -> None:
    """STOP_LOSS_IN_PROGRESS: S-16, S-17, EX-18."""
    stop = d.trade.stop
    assert stop is not None
    if not all_out(d) or not (is_dust(d) or is_spent(stop)):
        return
    closed = d.trade.closed.amount
    if closed > d.trade.closed_before and stop.execution.gross_quantity == ZERO:
        end(d, TradeStatus.FINISHED)  # a target took the rest while it was being cancelled
        return
    d.move(stop, Cause.FILL)
    end(d, TradeStatus.STOP_LOSS_FINISHED)


def close_under_way(d: Draft) -> None:
    """PANIC_SELL_PENDING and PANIC_SELL_IN_PROGRESS: S-23 to S-25, MC-2, MC-6."""
    if not all_out(d):
        if d.trade.status is TradeStatus.PANIC_SELL_PENDING and d.trade.market_close is None:
            _close_early(d)
        return
    step = d.trade.market_close
    if step is None:
        if not is_dust(d):
            _open_market_close(d)
        elif d.trade.stop is not None and d.trade.stop.status is StepStatus.FINISHED:
            end(d, TradeStatus.STOP_LOSS_FINISHED)
        elif d.trade.closed.amount > ZERO:
            end(d, TradeStatus.FINISHED)
        else:
            end(d, TradeStatus.FAILED, TOO_SMALL)
    elif is_dust(d) or is_spent(step):
        d.move(step, Cause.FILL)
        end(d, TradeStatus.PANIC_SOLD)


def _close_early(d: Draft) -> None:
    """Futures: the closing order need not wait for a doubtful cancellation (EX-22)."""
    if not is_dust(d) and d.instrument.is_linear and may_close(d, d.trade.position):
        _open_market_close(d)


def _open_market_close(d: Draft) -> None:
    step = CloseStep(
        id=d.new_id(),
        status=StepStatus.TO_PROCESS,
        units=d.instrument.floor_lot(d.trade.open_amount),
        price=closing_price(d.trade, d.quote) or ZERO,
        created_at=d.now,
        updated_at=d.now,
    )
    d.put(step)
    d.advance(TradeCause.CLOSE_START)


def cancel_under_way(d: Draft) -> None:
    """CANCELLATION_PENDING and CANCELLATION_IN_PROGRESS: S-27 to S-29."""
    if not all_out(d):
        asked = any(
            step.live_order is not None and step.live_order.status is OrderStatus.PENDING_CANCEL
            for step in d.trade.steps
        )
        if asked and d.trade.status is TradeStatus.CANCELLATION_PENDING:
            d.advance(TradeCause.CANCEL_START)
        return
    closed_meanwhile = d.trade.closed.amount > d.trade.closed_before
    end(d, TradeStatus.FINISHED if closed_meanwhile and is_dust(d) else TradeStatus.CANCELLED)


def failure_under_way(d: Draft) -> None:
    """A trade that will end as failed waits for its orders to be out of the book.

    When a target turns out to have taken the last units, it was our own order that closed the position (S-32).
    """
    if d.trade.failing is None or not all_out(d):
        return
    if d.trade.ending is TradeStatus.FINISHED and is_dust(d):
        end(d, TradeStatus.FINISHED)
    else:
        end(d, TradeStatus.FAILED, d.trade.failing)


# Refused exits


def closing_quantity(d: Draft, step: Step) -> Decimal:
    """What a stop or market close still has to close: all that is open, or all that the account has (EX-10)."""
    quantity = d.trade.open_amount
    if step.cap is not None:
        quantity = min(quantity, step.cap - step.execution.gross_quantity)
    return d.instrument.floor_lot(max(quantity, ZERO))


def is_spent(step: Step) -> bool:
    """The account had less than the open amount, and all of that is closed (EX-10)."""
    return step.cap is not None and step.execution.gross_quantity >= step.cap


def accepted(d: Draft, step: AnyStep, order: Order) -> AnyStep:
    """An attempt is taken: whatever blocked the exit, or one that this stop or close replaces, is over (EX-12).

    A market order that is taken only to expire unfilled has closed nothing: it counts once it is filled.
    """
    if order.price is None and order.execution.gross_quantity == ZERO:
        return step
    if d.trade.error is not None and (isinstance(step, StopStep | CloseStep) or d.trade.error == step.error):
        d.change(error=None)
    if step.refusals == 0 and step.error is None:
        return step
    return d.edit(step, refusals=0, refused_since=None, retry_at=None, error=None)


def refused_exit(d: Draft, step: Step, kind: RefusalKind, text: str) -> None:
    """A stop, market close or target at market was refused: retry, then block with an alarm, never give up (EX-12)."""
    since = step.refused_since if step.refused_since is not None else d.now
    refusals = step.refusals + 1
    blocked = kind is RefusalKind.PERMANENT or refusals > QUICK_ATTEMPTS or d.now >= since + QUICK_SPAN
    wait = pause(refusals - 1, LONGEST_BLOCKED_PAUSE if blocked else 30 * SECOND)
    if not blocked:  # the attempt that decides comes when the span ends, not later
        wait = min(wait, since + QUICK_SPAN - d.now)
    step = d.edit(step, refusals=refusals, refused_since=since, retry_at=d.now + wait, cap=None)
    if blocked:
        block(d, step, text)
    if kind is RefusalKind.PERMANENT:
        return
    read_funds(d)
    if kind not in (RefusalKind.INSUFFICIENT_FUNDS, RefusalKind.REDUCE_ONLY):
        d.emit(ReadLimits(account_id=d.trade.account_id, key=d.trade.key))


def block(d: Draft, step: AnyStep, text: str) -> AnyStep:
    """Show that an exit is blocked, and call a person the first time (S-31)."""
    if step.error is None:
        d.alarm(text)
    d.change(error=text)
    return d.edit(step, error=text)


def read_funds(d: Draft) -> None:
    d.emit(ReadFunds(account_id=d.trade.account_id, trade_id=d.trade.id, key=d.trade.key, long=d.trade.is_long))


def funds_read(d: Draft, available: Decimal, total: Decimal) -> None:
    """The account's coins or position were re-read after a refusal: close what there is (EX-10, EX-27)."""
    step = _refused_step(d)
    if step is None:
        return
    wanted = closing_quantity(d, step) if not isinstance(step, TargetStep) else _rest(d, step)
    if available >= wanted:
        return  # the money is there: the refusal passes, the retry stands
    if isinstance(step, TargetStep) and _others_rest(d, step):
        d.change(room_for=step.id)  # our own resting targets hold the coins (EX-23); see `take_profit.ended`
        return
    if is_closable(d.trade, available, d.instrument, d.quote):
        cap = step.execution.gross_quantity + d.instrument.floor_lot(available)
        # At once the first time; an exchange that goes on refusing what it shows as free is asked with pauses.
        d.edit(step, cap=cap, retry_at=None if step.refusals == 1 else step.retry_at)
        return
    if d.instrument.is_linear and step.execution.gross_quantity > ZERO:
        d.edit(step, cap=step.execution.gross_quantity)  # the position was smaller, and this exit took it all (EX-27)
        return
    if is_closable(d.trade, total, d.instrument, d.quote):
        return  # the coins are there, held by some other order: no proof that nothing is left (EX-12)
    fail(d, CLOSED_OUTSIDE if d.instrument.is_linear else INSUFFICIENT_FUNDS)


def _refused_step(d: Draft) -> Step | None:
    """The exit whose refusal asked for the funds."""
    waiting = d.legs(lambda step: is_alive(step) and step.refusals > 0 and not isinstance(step, EntryStep))
    return waiting[0] if waiting else None


def _rest(d: Draft, step: TargetStep) -> Decimal:
    return d.instrument.floor_lot((step.units or ZERO) - step.carried - step.execution.gross_quantity)


def _others_rest(d: Draft, step: TargetStep) -> bool:
    return any(other.id != step.id and other.live_order is not None for other in d.trade.targets)


def ended_closing(d: Draft, step: Step, order: Order) -> None:
    """An attempt of the stop or of the market close is over."""
    if step.status is StepStatus.PENDING_CANCELLATION:
        if order.execution.gross_quantity > ZERO and is_dust(d):
            d.move(step, Cause.FILL)  # the stop was faster than what was to replace it (S-34)
        return
    if order.status is OrderStatus.REJECTED:
        refused_exit(d, step, order.refusal or RefusalKind.PERMANENT, order.text)
    elif order.status is OrderStatus.CANCELED and order.cancel_requested_at is None and order.price is None:
        remainder(d, step, order)
    # A limit stop that somebody cancelled is sent again: a triggered stop is a promise (EX-30).


def remainder(d: Draft, step: Step, order: Order) -> None:
    """A market order ended partly filled: the rest is sent again, at most three times at once (EX-5)."""
    if step.remainders < REMAINDER_RETRIES:
        d.edit(step, remainders=step.remainders + 1)
    else:
        refused_exit(d, step, RefusalKind.RECOVERABLE, order.text or "Order expired unfilled")


def position_gone(d: Draft, liquidated: bool) -> None:
    """The exchange has no position any more (S-32)."""
    fail(d, LIQUIDATED if liquidated else CLOSED_OUTSIDE)
