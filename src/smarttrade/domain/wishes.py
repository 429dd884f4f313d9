"""Commands to a trade: refused as a whole, or begun (behaviour 2.9). Their work follows with the next `Proceed`.

The answer to a command shows the trade as it is right here: `…_pending`, new legs not armed (C-10).
"""

from decimal import Decimal

from smarttrade.domain import closing, editing, entry, permissions, take_profit
from smarttrade.domain.commands import (
    AddFunds,
    CancelStep,
    CancelTrade,
    CloseAtMarket,
    CloseStepAtMarket,
    Command,
    EditTrade,
    ForceProcess,
    ForceStart,
    ReduceFunds,
    SetNote,
)
from smarttrade.domain.draft import Draft
from smarttrade.domain.effects import RequestQuote
from smarttrade.domain.errors import DenialCode, Denied, Problem, deny
from smarttrade.domain.money import ZERO
from smarttrade.domain.moves import Cause, TradeCause
from smarttrade.domain.order import OrderType
from smarttrade.domain.position import max_reduce_amount
from smarttrade.domain.rules import MAX_FUNDS_STEPS, MAX_NOTE, check_order
from smarttrade.domain.sizing import closing_price, entering_price
from smarttrade.domain.steps import AveragingStep, ReduceStep, StepStatus, StopStep, TargetStep


def grant(d: Draft, command: Command) -> None:
    """Begin what `command` asks for. Raises Denied."""
    match command:
        case EditTrade():
            _require(permissions.editable(d.trade), DenialCode.EDIT_NOT_ALLOWED)
            editing.edit(d, command.edit)
        case AddFunds():
            _require(permissions.add_funds_available(d.trade), DenialCode.ADD_FUNDS_NOT_ALLOWED)
            _add_funds(d, command)
        case ReduceFunds():
            _require(permissions.reduce_funds_available(d.trade), DenialCode.REDUCE_FUNDS_NOT_ALLOWED)
            _reduce_funds(d, command)
        case CloseAtMarket():
            _require(permissions.close_available(d.trade), DenialCode.CLOSE_NOT_ALLOWED)
            closing.begin_end(d, TradeCause.CLOSE)
        case CancelTrade():
            _require(permissions.cancel_available(d.trade), DenialCode.CANCEL_NOT_ALLOWED)
            closing.begin_end(d, TradeCause.CANCEL)
        case ForceStart():
            _require(permissions.force_start_available(d.trade), DenialCode.FORCE_START_NOT_ALLOWED)
            entry.force_start(d)
        case ForceProcess():
            _require(permissions.force_process_available(d.trade), DenialCode.FORCE_PROCESS_NOT_ALLOWED)
            _refresh(d)
        case SetNote():
            if len(command.note) > MAX_NOTE:
                raise deny(DenialCode.NOTE_TOO_LONG)
            d.change(note=command.note)
        case CloseStepAtMarket():
            _close_step(d, command.step_id)
        case CancelStep():
            _cancel_step(d, command.step_id)


def _require(allowed: bool, code: DenialCode) -> None:
    if not allowed:
        raise deny(code)


def _add_funds(d: Draft, command: AddFunds) -> None:
    """A new averaging leg (A-1, F-1 to F-4)."""
    if len(d.trade.averaging) >= MAX_FUNDS_STEPS:
        raise deny(DenialCode.TOO_MANY_FUNDS_STEPS, "add_funds", Decimal(MAX_FUNDS_STEPS))
    units = d.instrument.floor_lot(command.units)
    market = entering_price(d.trade, d.quote)
    price = market
    if command.order_type is OrderType.LIMIT:
        assert command.price is not None
        price = d.instrument.order_price(command.price, d.trade.entry_side)
    problems = check_order(d.instrument, units, price, command.order_type, "add_funds")
    if problems:
        raise Denied(*problems)
    d.put(
        AveragingStep(
            id=d.new_id(),
            status=StepStatus.TO_PROCESS,
            created_at=d.now,
            updated_at=d.now,
            order_type=command.order_type,
            units=units,
            price=price if command.order_type is OrderType.LIMIT else None,
            price_at_creation=price if price is not None else ZERO,
        )
    )


def _reduce_funds(d: Draft, command: ReduceFunds) -> None:
    """A new reduction (RF-1, M-30 to M-33)."""
    if len(d.trade.reductions) >= MAX_FUNDS_STEPS:
        raise deny(DenialCode.TOO_MANY_FUNDS_STEPS, "reduce_funds", Decimal(MAX_FUNDS_STEPS))
    units = d.instrument.floor_lot(command.units)
    price = closing_price(d.trade, d.quote)
    if command.order_type is OrderType.LIMIT:
        assert command.price is not None
        price = d.instrument.order_price(command.price, d.trade.exit_side)
    problems = check_order(d.instrument, units, price, command.order_type, "reduce_funds")
    if command.units > max_reduce_amount(d.trade, d.instrument, d.quote):
        problems.append(Problem(DenialCode.REDUCE_REST_TOO_SMALL))
    if problems:
        raise Denied(*problems)
    d.put(
        ReduceStep(
            id=d.new_id(),
            status=StepStatus.IDLE,
            created_at=d.now,
            updated_at=d.now,
            order_type=command.order_type,
            units=units,
            price=price if price is not None else ZERO,
        )
    )
    d.advance(TradeCause.REDUCE)


def _close_step(d: Draft, step_id: int) -> None:
    """Execute one target or averaging leg at market now (TP-9, A-6)."""
    step = d.step(step_id)
    if step is None:
        raise deny(DenialCode.STEP_NOT_FOUND)
    _require(permissions.step_closable(d.trade, step), DenialCode.STEP_CLOSE_NOT_ALLOWED)
    if isinstance(step, TargetStep):
        take_profit.close_at_market(d, step)
    elif isinstance(step, AveragingStep):
        d.move(step, Cause.PANIC, market=True)


def _cancel_step(d: Draft, step_id: int) -> None:
    """Take one leg out; removing the last exit cancels the trade (TP-12, SL-12, X-1 to X-4, S-30)."""
    step = d.step(step_id)
    if step is None:
        raise deny(DenialCode.STEP_NOT_FOUND)
    _require(permissions.step_cancelable(d.trade, step), DenialCode.STEP_CANCEL_NOT_ALLOWED)
    if isinstance(step, StopStep):
        editing.remove_stop(d, step)
    elif isinstance(step, TargetStep):
        take_profit.cancel(d, step)
        if not _working_targets(d):
            d.change(take_profit_enabled=False)
    else:
        d.move(step, Cause.CANCEL)
        return
    if not _working_targets(d) and d.trade.stop is None:
        _require(permissions.cancel_available(d.trade), DenialCode.STEP_CANCEL_NOT_ALLOWED)  # F-7
        closing.begin_end(d, TradeCause.CANCEL)


def _working_targets(d: Draft) -> list[TargetStep]:
    return [step for step in d.trade.active_targets if step.status is not StepStatus.PENDING_CANCELLATION]


def _refresh(d: Draft) -> None:
    """Ask about every order now and clear waiting back-offs; decides nothing by itself (2.9, Q-33)."""
    for step in d.trade.steps:
        if step.live_order is not None:
            d.query(step.live_order)
        if isinstance(step, TargetStep) and step.watched:  # it waits for room (EX-11)
            d.edit(step, watched=False, retry_at=None)
        elif step.retry_at is not None:
            d.edit(step, retry_at=None)
    d.emit(RequestQuote(keys=(d.trade.key,)))
