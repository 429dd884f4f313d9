"""From a requested plan to a trade (behaviour 1.1, S-1, TR-10, M-9)."""

from typing import Final

from msgspec.structs import replace

from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.draft import Context
from smarttrade.domain.entry import reference_price, rises
from smarttrade.domain.errors import DenialCode, Denied, deny
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, SmartTradePlan
from smarttrade.domain.quote import Quote
from smarttrade.domain.rules import check_plan, expected_price
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus
from smarttrade.domain.stop_loss import new_stop
from smarttrade.domain.take_profit import new_target

FIRST_POSITION: Final = 1


def create(command: CreateTrade, context: Context, trade_id: int) -> tuple[SmartTrade, int]:
    """A new trade in `created`, and the next free step id. Raises Denied."""
    quote = context.quote
    if quote is None:
        raise deny(DenialCode.NO_MARKET_DATA, command.key.pair)
    plan = _normalised(command.plan, context, quote)
    problems = check_plan(plan, context.instrument, quote, command.held_position)
    if problems:
        raise Denied(*problems)
    now, next_id = context.now, context.first_id
    position = _entry_step(plan, next_id, context, quote)
    targets = tuple(
        new_target(target, next_id + 1 + index, FIRST_POSITION + index, now)
        for index, target in enumerate(plan.targets if plan.take_profit_enabled else ())
    )
    next_id += 1 + len(targets)
    stop = None
    if plan.stop is not None:
        stop = new_stop(plan.stop, next_id, now)
        next_id += 1
    trade = SmartTrade(
        id=trade_id,
        account_id=command.account_id,
        key=command.key,
        kind=plan.kind,
        status=TradeStatus.CREATED,
        leverage=plan.leverage,
        note=plan.note,
        position=position,
        take_profit_enabled=plan.take_profit_enabled,
        targets=targets,
        stop=stop,
        protect_partial_entry=context.protect_partial_entry,
        breakeven_covers_exit_fee=context.breakeven_covers_exit_fee,
        created_at=now,
        updated_at=now,
    )
    return trade, next_id


def _normalised(plan: SmartTradePlan, context: Context, quote: Quote) -> SmartTradePlan:
    """Units on the lot, trailing at market (V-10), own funds with a price (M-9), no leverage on spot (M-55)."""
    entry = replace(plan.entry, units=context.instrument.floor_lot(plan.entry.units))
    if plan.kind.is_own_funds:
        entry = replace(entry, price=reference_price(entry.price, quote))
    condition = entry.condition
    if condition is not None and condition.trailing_percent is not None:
        entry = replace(entry, condition=replace(condition, order_type=OrderType.MARKET))
    leverage = plan.leverage if context.instrument.is_linear else None
    return replace(plan, entry=entry, leverage=leverage)


def _entry_step(plan: SmartTradePlan, step_id: int, context: Context, quote: Quote) -> EntryStep:
    entry: EntryPlan = plan.entry
    condition = entry.condition
    return EntryStep(
        id=step_id,
        status=StepStatus.IDLE if plan.kind.is_own_funds else StepStatus.TO_PROCESS,  # P-1, P-2
        created_at=context.now,
        updated_at=context.now,
        plan=entry,
        requested=entry,
        rises=None if condition is None else rises(condition.trigger_price, quote.price(condition.price_type)),
        price_at_creation=expected_price(entry, plan.kind, quote),
    )
