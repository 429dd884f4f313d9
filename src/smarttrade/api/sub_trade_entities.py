"""Trade entities: the legs of a SmartTrade as its trades list shows them (entities.md 2, behaviour M-14, TR-52)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from smarttrade.api.legs import (
    entry_order_type,
    given_price,
    stop_limit_price,
    stop_order_type,
    stop_units,
    target_order_type,
    target_price,
    text,
)
from smarttrade.api.notation import decimal_text, timestamp
from smarttrade.domain import permissions
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import HUNDRED, ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryType
from smarttrade.domain.position import Sums, better_level, realised, stop_level, trail_level, trail_percent
from smarttrade.domain.quote import SECOND, Instant, PriceType
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import (
    AveragingStep,
    CloseStep,
    EntryStep,
    ReduceStep,
    Step,
    StepPurpose,
    StepStatus,
    StopStep,
    TargetStep,
    Trail,
)

Entity = dict[str, Any]
ExtremeOf = Callable[[int], tuple[Decimal, Instant] | None]
"""Extreme of a trailing group and when it was reached."""


class _Leg(msgspec.Struct, kw_only=True):
    """What the trades list shows of a step and its kind decides."""

    purpose: StepPurpose
    side: Side
    follows: PriceType
    order_type: OrderType
    order_price: Decimal | None = None  # limit price of the order that is or will be placed
    amount: Decimal  # base, at creation
    price: Decimal | None  # at creation: limit or trigger; None while only a percent is known
    share: Decimal | None = None  # percent of the position
    target_percent: Decimal | None = None
    is_watched: bool = False
    rises: bool | None = None  # watched: fires at or above (True) or at or below (False) the trigger
    trigger: Decimal | None = None
    trigger_percent: Decimal | None = None
    trailing: bool = False
    trailing_percent: Decimal | None = None
    trail: Trail | None = None
    held_extreme: Decimal | None = None  # while a timeout runs: the extreme cannot move (TR-67)


def sub_trade_entities(trade: SmartTrade, *, instrument: Instrument, extreme_of: ExtremeOf) -> list[Entity]:
    """The Trade entities of a SmartTrade (entities.md 2), in the order in which they were made."""
    sums = Sums.of(trade)
    return [
        _sub_trade(step, _leg(trade, step, sums, instrument), trade, instrument, extreme_of) for step in trade.steps
    ]


def _leg(trade: SmartTrade, step: Step, sums: Sums, instrument: Instrument) -> _Leg:
    match step:
        case EntryStep():
            return _entry_leg(trade, step, instrument)
        case TargetStep():
            return _target_leg(trade, step, instrument)
        case StopStep():
            return _stop_leg(trade, step, sums, instrument)
        case AveragingStep():
            return _Leg(
                purpose=StepPurpose.POSITION,
                side=trade.entry_side,
                follows=_crossing_price(trade.entry_side),
                order_type=step.order_type,
                order_price=step.price if step.order_type is OrderType.LIMIT else None,
                amount=step.units,
                price=step.price_at_creation if step.price is None else step.price,
            )
        case ReduceStep():
            limit = step.price if step.order_type is OrderType.LIMIT else None
            return _closing_leg(trade, StepPurpose.REDUCE_FUNDS, step.units, step.price, limit)
        case CloseStep():
            return _closing_leg(trade, StepPurpose.MARKET_CLOSE, step.units, step.price, None)
        case _:
            raise AssertionError(f"no such kind of step: {step!r}")


def _entry_leg(trade: SmartTrade, step: EntryStep, instrument: Instrument) -> _Leg:
    given = given_price(trade, instrument)
    order_type = entry_order_type(step)
    leg = _Leg(
        purpose=StepPurpose.POSITION,
        side=trade.entry_side,
        follows=_crossing_price(trade.entry_side),
        order_type=order_type,
        order_price=given if order_type is OrderType.LIMIT else None,
        amount=step.plan.units,
        price=step.price_at_creation if given is None else given,
    )
    condition = step.plan.condition
    if condition is not None and step.plan.type is EntryType.CONDITIONAL:
        leg.follows = condition.price_type
        leg.is_watched = True
        leg.rises = step.rises
        leg.trigger = condition.trigger_price
        leg.trailing = condition.trailing_percent is not None
        leg.trailing_percent = condition.trailing_percent
        leg.trail = step.trail
    return leg


def _target_leg(trade: SmartTrade, step: TargetStep, instrument: Instrument) -> _Leg:
    order_type = target_order_type(step)
    price = target_price(step, instrument, trade.exit_side)
    is_watched = order_type is OrderType.MARKET or step.watched
    units = step.units
    if units is None:  # not armed: its share of what was asked for
        units = instrument.floor_lot(trade.position.plan.units * step.volume / HUNDRED)
    else:
        units = max(units - step.carried, ZERO)  # what an edited step had executed belongs to its own leg (E-26)
    return _Leg(
        purpose=StepPurpose.TAKE_PROFIT,
        side=trade.exit_side,
        follows=step.price_type,
        order_type=order_type,
        order_price=price if order_type is OrderType.LIMIT else None,
        amount=units,
        price=price,
        share=step.volume,
        target_percent=step.percent,
        is_watched=is_watched,
        rises=trade.is_long if is_watched else None,
        trigger=price if is_watched else None,
        trailing=step.trailing_percent is not None,
        trailing_percent=step.trailing_percent,
        trail=step.trail,
    )


def _stop_leg(trade: SmartTrade, stop: StopStep, sums: Sums, instrument: Instrument) -> _Leg:
    idle = stop.status is StepStatus.IDLE
    return _Leg(
        purpose=StepPurpose.STOP_LOSS,
        side=trade.exit_side,
        follows=stop.price_type,
        order_type=stop_order_type(stop),
        order_price=stop_limit_price(stop),
        amount=instrument.floor_lot(trade.position.plan.units) if idle else stop_units(stop, sums, instrument),
        price=stop.configured_price,
        share=HUNDRED,
        is_watched=True,
        rises=not trade.is_long,
        trigger=stop_level(stop, long=trade.is_long),
        trigger_percent=stop.percent,
        trailing=stop.trailing,
        trailing_percent=stop.trailing_percent,
        trail=stop.trail,
        held_extreme=stop.reached_extreme,
    )


def _closing_leg(
    trade: SmartTrade, purpose: StepPurpose, units: Decimal, price: Decimal, limit: Decimal | None
) -> _Leg:
    return _Leg(
        purpose=purpose,
        side=trade.exit_side,
        follows=_crossing_price(trade.exit_side),
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        order_price=limit,
        amount=units,
        price=price,
    )


def _sub_trade(step: Step, leg: _Leg, trade: SmartTrade, instrument: Instrument, extreme_of: ExtremeOf) -> Entity:
    figures = realised(step.execution, leg.amount, instrument)
    trigger, last_price, last_at, distance, percent = _trail_figures(leg, step, trade, extreme_of)
    order_type, order_price = leg.order_type, leg.order_price
    if step.orders:  # a forced entry or a target closed by hand was sent at market
        order_type, order_price = step.orders[-1].type, step.orders[-1].price
    return {
        "id": step.id,
        "average_price": text(figures.average_price),
        "follow_price_type": leg.follows.value,
        "initial_amount": decimal_text(leg.amount),
        "initial_total": None if leg.price is None else decimal_text(leg.amount * leg.price),
        "order_price": text(order_price),
        "order_side": leg.side.value,
        "order_type": order_type.value,
        "pair": trade.key.pair,
        "position_percentage": text(leg.share),
        "realised_amount": decimal_text(figures.amount),
        "realised_total": text(figures.total),
        "status": step.status.value,
        "take_profit_percentage": text(leg.target_percent),
        "trade_purpose": leg.purpose.value,
        "trail_percentage": text(percent),
        "trail_value": text(distance),
        "trailing_enabled": leg.trailing,
        "trailing_last_price": text(last_price),
        "trailing_last_price_updated_at": None if last_at is None else last_at // SECOND,
        "trigger_condition": None if leg.rises is None else ("greater_or_equal" if leg.rises else "less_or_equal"),
        "trigger_price": text(trigger),
        "trigger_price_percentage": text(leg.trigger_percent),
        "trigger_type": "conditional" if leg.is_watched else "none",
        "created_at": timestamp(step.created_at),
        "updated_at": timestamp(step.updated_at),
        "realised_percentage": decimal_text(figures.percent),
        "initial_price": text(leg.price),
        "realised_price": text(figures.price),
        "cancelable": permissions.shows_cancelable(step),
        "force_processable": permissions.shows_force_processable(step),
    }


def _trail_figures(
    leg: _Leg, step: Step, trade: SmartTrade, extreme_of: ExtremeOf
) -> tuple[Decimal | None, Decimal | None, Instant | None, Decimal | None, Decimal | None]:
    """Current level, extreme and its time, distance between them absolute and in percent (TR-52).

    A stop's level is the better of the trailing and the fixed one (BE-5, TR-51); elsewhere the trail has replaced the
    target.
    """
    if leg.trail is None:
        return leg.trigger, None, None, None, None if leg.trailing_percent is None else abs(leg.trailing_percent)
    extreme, at = _extreme(leg.trail, leg.held_extreme, step, extreme_of)
    level = trail_level(leg.trail, extreme)
    if leg.purpose is StepPurpose.STOP_LOSS:
        level = better_level(level, leg.trigger, long=trade.is_long) or level
    return level, extreme, at, abs(extreme - level), trail_percent(leg.trail)


def _extreme(trail: Trail, held: Decimal | None, step: Step, extreme_of: ExtremeOf) -> tuple[Decimal, Instant | None]:
    """The group's extreme while the step belongs to it; the one it fired at afterwards, which has no time."""
    known = extreme_of(trail.group) if step.status is StepStatus.TRAILING_ACTIVATED else None
    extreme, at = (trail.start, None) if known is None else known
    return (extreme if held is None else held), at


def _crossing_price(side: Side) -> PriceType:
    """The price at which an order on this side would be executed at once (TR-2)."""
    return PriceType.ASK if side is Side.BUY else PriceType.BID
