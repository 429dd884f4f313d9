"""Which prices a trade waits for, as a pure function of its state (behaviour 3.1 to 3.7).

The engine arms what is here and disarms what is not; a restart arms the same set again (EX-36).
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import TypeGuard

import msgspec

from smarttrade.domain.events import WatchRole
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, Step, StepStatus, StopStep, TargetStep, Trail
from smarttrade.domain.stop_loss import WATCHED, effective_level, fixed_level
from smarttrade.domain.take_profit import OPEN_STATUSES, is_armed, rests_in_book


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """One price that wakes one step: a fixed `level`, or a `trail` behind an extreme."""

    step_id: int
    role: WatchRole
    price_type: PriceType
    level: Decimal | Fraction | None = None
    rises: bool = False  # a level fires at or above (True), or at or below (False)
    strict: bool = False  # above or below, not at
    trail: Trail | None = None
    highest: bool = False  # a trail follows the highest price (True) or the lowest


def watches(trade: SmartTrade) -> tuple[Watch, ...]:
    """All watches of a trade, in the order in which they act on one update: entry, stop, targets (TR-5)."""
    if trade.failing is not None and trade.ending is None:
        return ()
    found: list[Watch] = []
    if trade.status is TradeStatus.WAITING_POSITION and trade.ending is None:
        found.extend(_of_entry(trade, trade.position))
    if is_stop_watched(trade):
        assert trade.stop is not None
        found.extend(_of_stop(trade, trade.stop))
    if trade.status in OPEN_STATUSES and trade.ending is None:
        for step in trade.active_targets:
            found.extend(_of_target(trade, step))
    return tuple(found)


def is_stop_watched(trade: SmartTrade) -> bool:
    """Armed, not fired, and the trade is in a state in which a stop may fire (S-15, P-18)."""
    stop = trade.stop
    if stop is None or stop.fired or stop.status not in WATCHED:
        return False
    return trade.status in OPEN_STATUSES or trade.status is TradeStatus.WAITING_POSITION


def trails(trade: SmartTrade) -> dict[int, Step]:
    """Trailing groups that the trade belongs to now, with the member; a group without members may go."""
    if trade.status.is_final:
        return {}
    candidates: list[EntryStep | TargetStep] = [trade.position, *trade.targets]
    members = [step for step in candidates if step.status is StepStatus.TRAILING_ACTIVATED and not step.triggered]
    found: dict[int, Step] = {step.trail.group: step for step in members if can_fire(step.trail)}
    stop = trade.stop
    if stop is not None and can_fire(stop.trail) and not stop.fired and not stop.status.is_over:
        found[stop.trail.group] = stop
    return found


def can_fire(trail: Trail | None) -> TypeGuard[Trail]:
    """A deviation of 100 % means never (TR-46): there is no price at or below zero."""
    return trail is not None and trail.numerator > 0


def awaits_price(trade: SmartTrade) -> bool:
    """A decision or an arming waits for a fresh price (TR-6, TR-63)."""
    return not trade.status.is_final and trade.stop is not None and trade.stop.awaits_price


def _of_entry(trade: SmartTrade, step: EntryStep) -> Iterator[Watch]:
    condition = step.plan.condition
    if condition is None or step.triggered:
        return
    if step.status is StepStatus.TO_PROCESS:
        yield Watch(
            step_id=step.id,
            role=WatchRole.LEVEL,
            price_type=condition.price_type,
            level=condition.trigger_price,
            rises=bool(step.rises),
        )
    elif step.status is StepStatus.TRAILING_ACTIVATED and can_fire(step.trail):
        yield Watch(
            step_id=step.id,
            role=WatchRole.TRAIL,
            price_type=condition.price_type,
            trail=step.trail,
            highest=not trade.is_long,
        )


def _of_stop(trade: SmartTrade, stop: StopStep) -> Iterator[Watch]:
    long = trade.is_long
    if stop.timer_started_at is not None:
        yield Watch(
            step_id=stop.id,
            role=WatchRole.RECOVERY,
            price_type=stop.price_type,
            level=effective_level(stop, long, stop.reached_extreme),
            rises=long,
            strict=True,
        )
        return
    level = fixed_level(stop, long)
    if level is not None:
        yield Watch(step_id=stop.id, role=WatchRole.LEVEL, price_type=stop.price_type, level=level, rises=not long)
    if can_fire(stop.trail):
        yield Watch(step_id=stop.id, role=WatchRole.TRAIL, price_type=stop.price_type, trail=stop.trail, highest=long)


def _of_target(trade: SmartTrade, step: TargetStep) -> Iterator[Watch]:
    if not is_armed(step) or step.triggered:
        return
    if step.status is StepStatus.TRAILING_ACTIVATED:
        if not can_fire(step.trail):
            return
        yield Watch(
            step_id=step.id,
            role=WatchRole.TRAIL,
            price_type=step.price_type,
            trail=step.trail,
            highest=trade.is_long,
        )
    elif step.status is StepStatus.TO_PROCESS and not rests_in_book(step) and not step.reached:
        yield Watch(
            step_id=step.id,
            role=WatchRole.LEVEL,
            price_type=step.price_type,
            level=step.price,
            rises=trade.is_long,
        )
