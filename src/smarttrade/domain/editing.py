"""Edits of an active trade: checked as a whole, then stored as a whole (behaviour section 6)."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from fractions import Fraction

from msgspec.structs import replace

from smarttrade.domain import entry, permissions, stop_loss, take_profit
from smarttrade.domain.draft import Draft
from smarttrade.domain.errors import DenialCode, Denied, Problem
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import HUNDRED, ONE, ZERO
from smarttrade.domain.moves import Cause
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import (
    EntryCondition,
    EntryType,
    Leverage,
    PositionEdit,
    StopPlan,
    TargetPlan,
    TradeEdit,
)
from smarttrade.domain.position import (
    average_price_without_commission,
    enter_price_exact,
    position_price,
    stop_level,
)
from smarttrade.domain.rules import (
    MAX_STEPS,
    VOLUME_TOLERANCE,
    check_entry,
    check_simple,
    check_sizes,
    check_stop,
    check_stop_side,
    check_target_shapes,
    expected_price,
)
from smarttrade.domain.sizing import stop_price, target_price
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import EntryStep, StepStatus, StopStep, TargetStep


def edit(d: Draft, wish: TradeEdit) -> None:
    """Apply `wish` or raise Denied with every problem found; the draft is thrown away then (E-2)."""
    problems: list[Problem] = []
    if wish.position is not None:
        problems += _edit_position(d, wish.position)
    if wish.leverage is not None and d.instrument.is_linear:
        problems += _edit_leverage(d, wish.leverage)
    if d.trade.kind.is_simple:
        problems += check_simple(wish.take_profit_enabled, wish.stop_enabled)
    if wish.take_profit_enabled is not None:
        problems += _edit_targets(d, wish.targets if wish.take_profit_enabled else ())
        d.change(take_profit_enabled=wish.take_profit_enabled)
    if wish.stop_enabled is not None:
        problems += _edit_stop(d, wish.stop if wish.stop_enabled else None)
    if not problems and (wish.take_profit_enabled or wish.stop_enabled):  # the market may have broken it (E-3)
        problems += _check_sides(d)
    if problems:
        raise Denied(*problems)
    if wish.note is not None:
        d.change(note=wish.note)
    if d.trade.error is not None and d.trade.status is TradeStatus.WAITING_TARGETS:
        d.change(error=None)  # the user has seen that no exit was left (M-27)


# --- position ---------------------------------------------------------------------------------------------------


def _edit_position(d: Draft, wish: PositionEdit) -> list[Problem]:
    """6.1: what may change of the entry; what may not may be repeated as it is or as it was asked for (E-10)."""
    trade, step = d.trade, d.trade.position
    problems: list[Problem] = []
    if wish.side is not None and wish.side is not trade.entry_side:
        problems.append(Problem(DenialCode.POSITION_TYPE_FIXED))
    if wish.type is not None and wish.type not in (step.plan.type, step.requested.type):
        problems.append(Problem(DenialCode.ORDER_TYPE_NOT_EDITABLE))
    plan = step.plan
    if wish.units is not None and wish.units not in _shown_units(d):
        units = d.instrument.floor_lot(wish.units)
        if units not in _shown_units(d):
            if not permissions.condition_editable(trade):
                problems.append(Problem(DenialCode.UNITS_NOT_EDITABLE))
            plan = replace(plan, units=units)
    if wish.price is not None and wish.price not in _shown_prices(d):
        if not _price_editable(trade):
            problems.append(Problem(DenialCode.PRICE_NOT_EDITABLE))
        plan = replace(plan, price=wish.price)
    changed = replace(step, plan=plan)
    if wish.condition is not None:
        changed, found = _edit_condition(d, changed, wish.condition)
        problems += found
    if problems or changed == step:
        return problems
    if d.quote is not None:
        problems += check_entry(changed.plan, trade.kind, d.instrument, d.quote)
    d.edit(changed)
    return problems


def _shown_units(d: Draft) -> tuple[Decimal, ...]:
    """Units that mean no change (E-10)."""
    trade = d.trade
    present = trade.position.plan.units
    return (present,) if permissions.condition_editable(trade) else (
        present, trade.position.requested.units, trade.entered.amount,
    )  # fmt: skip


def _shown_prices(d: Draft) -> tuple[Decimal | None, ...]:
    """Prices that mean no change: the present one, and where it may not change every one that was shown (E-10)."""
    trade, step = d.trade, d.trade.position
    entered = trade.entered
    if trade.kind.is_own_funds:
        return step.plan.price, position_price(trade, entered, d.instrument)
    if _price_editable(trade):
        shown = None if step.plan.price is None else d.instrument.order_price(step.plan.price, trade.entry_side)
        return step.plan.price, shown
    return (
        step.plan.price,
        step.requested.price,
        step.price_at_creation,
        *(_entered_prices(trade, d.instrument) if step.status.is_over else ()),
        None if d.quote is None or step.status.is_over else entry_price_now(d),
    )


def _entered_prices(trade: SmartTrade, instrument: Instrument) -> tuple[Decimal | None, ...]:
    """What the price of the position has become (M-11)."""
    entered = trade.entered
    return position_price(trade, entered, instrument), average_price_without_commission(entered, instrument)


def entry_price_now(d: Draft) -> Decimal:
    """The price that a market entry shows before it is filled (M-13)."""
    assert d.quote is not None
    return d.quote.ask if d.trade.is_long else d.quote.bid


def _price_editable(trade: SmartTrade) -> bool:
    """A limit price until the entry is filled or forced; the reference price of own funds always (6.1, E-13)."""
    step = trade.position
    if trade.kind.is_own_funds:
        return True
    if step.status.is_over or step.status in entry.FORCED or step.status is StepStatus.PENDING_CANCELLATION:
        return False
    condition = step.plan.condition
    return step.plan.type is EntryType.LIMIT or (condition is not None and condition.order_type is OrderType.LIMIT)


def _edit_condition(d: Draft, step: EntryStep, wish: EntryCondition) -> tuple[EntryStep, list[Problem]]:
    """Until it fires a condition may change; while it trails, its deviation only (6.1, E-12)."""
    if wish.trailing_percent is not None:
        wish = replace(wish, order_type=OrderType.MARKET)  # V-10
    current = step.plan.condition
    if current is None:
        return step, [Problem(DenialCode.CONDITIONAL_NOT_EDITABLE)]
    if wish == current:
        return step, []
    changed = replace(step, plan=replace(step.plan, condition=wish))
    if permissions.condition_editable(d.trade):
        moved = (wish.trigger_price, wish.price_type) != (current.trigger_price, current.price_type)
        if moved and d.quote is not None:
            followed = d.quote.price(wish.price_type)
            changed = replace(changed, rises=entry.rises(wish.trigger_price, followed))
        return changed, []
    trailing = step.status is StepStatus.TRAILING_ACTIVATED and not step.triggered and step.trail is not None
    if trailing and wish.trailing_percent is not None:
        if replace(wish, trailing_percent=current.trailing_percent) == current:
            assert step.trail is not None
            trail = entry.follow(d, wish.trailing_percent, step.trail.start, step.trail.group)
            return replace(changed, trail=trail), []
    return step, [] if wish == step.requested.condition else [Problem(DenialCode.CONDITIONAL_NOT_EDITABLE)]


def _edit_leverage(d: Draft, wish: Leverage) -> list[Problem]:
    if wish == d.trade.leverage:
        return []
    if not permissions.leverage_editable(d.trade):
        return [Problem(DenialCode.LEVERAGE_NOT_EDITABLE)]
    if not ONE <= wish.value <= d.instrument.max_leverage:
        return [Problem(DenialCode.LEVERAGE_OUT_OF_RANGE, "leverage", d.instrument.max_leverage)]
    # While an older wish is on its way the newer one waits for its answer, so that the last one stands.
    on_its_way = d.trade.leverage_asked and not d.trade.leverage_confirmed
    d.change(leverage=wish, leverage_confirmed=False, leverage_asked=on_its_way)
    return []


# --- targets ----------------------------------------------------------------------------------------------------


def _edit_targets(d: Draft, wishes: Sequence[TargetPlan]) -> list[Problem]:
    """The list is the complete wanted set of unexecuted steps (E-20 to E-28)."""
    executed = {step.id: step for step in d.trade.targets if step.status.is_executed}
    open_steps = {step.id: step for step in _unexecuted(d.trade)}
    given = [wish for wish in wishes if wish.step_id not in executed]
    ordered, problems = _in_order(given)
    problems += check_target_shapes(ordered, d.instrument)
    if len(executed) + len(ordered) > MAX_STEPS:
        problems.append(Problem(DenialCode.TOO_MANY_STEPS))
    shares = _volumes(ordered, executed.values(), take_profit.uncovered_volume(d.trade)) if ordered else ([], True)
    if shares is None:
        problems.append(Problem(DenialCode.EDIT_VOLUMES_INVALID))
    if problems or shares is None:
        return problems
    volumes, keeps_uncovered = shares
    for step in d.trade.targets:
        if step.status is StepStatus.FAILED and not step.dropped:
            step = d.edit(step, dropped=True)
        if step.uncovered and not keeps_uncovered:
            d.edit(step, uncovered=False)
    kept: set[int] = set()
    for number, step in enumerate(sorted(executed.values(), key=lambda step: step.position), start=1):
        if step.position != number:
            d.edit(step, position=number)
    for number, (wish, volume) in enumerate(zip(ordered, volumes, strict=True), start=len(executed) + 1):
        old = open_steps.get(wish.step_id) if wish.step_id is not None else None
        if old is not None and old.id in kept:
            old = None
        kept.add(_take_over(d, wish, volume, number, old, problems))
    for step in open_steps.values():
        if step.id not in kept and _present(d, step.id).status is not StepStatus.PENDING_CANCELLATION:
            d.move(_present(d, step.id), Cause.CANCEL)
    problems += _check_target_sizes(d)
    is_new = any(step.status is StepStatus.IDLE for step in d.trade.active_targets)
    if not is_new and d.trade.status in take_profit.OPEN_STATUSES:
        take_profit.resize(d)  # what the edit leaves as it was, too (E-25); new steps do it when they are armed (E-4)
    return problems


def _present(d: Draft, step_id: int) -> TargetStep:
    step = d.step(step_id)
    assert isinstance(step, TargetStep)
    return step


def _unexecuted(trade: SmartTrade) -> list[TargetStep]:
    return [step for step in trade.active_targets if step.status is not StepStatus.PENDING_CANCELLATION]


def _in_order(given: list[TargetPlan]) -> tuple[list[TargetPlan], list[Problem]]:
    """The order of the list, or of the numbers if the request brings them (E-27)."""
    numbers = [wish.position for wish in given if wish.position is not None]
    if not numbers or len(numbers) != len(given):
        return given, []
    if min(numbers) < 1 or len(set(numbers)) != len(numbers):
        return given, [Problem(DenialCode.STEP_POSITIONS_INVALID)]
    return sorted(given, key=lambda wish: wish.position or 0), []


def _volumes(
    given: Sequence[TargetPlan], executed: Collection[TargetStep], uncovered: Fraction
) -> tuple[list[Decimal], bool] | None:
    """Stored volumes and whether the uncovered volume stays (E-24); None: the sums fit nothing."""
    spent = sum((step.volume for step in executed), ZERO)
    volumes = [wish.volume for wish in given]
    total = sum(volumes, ZERO)
    if abs(Fraction(total + spent - HUNDRED) + uncovered) <= Fraction(VOLUME_TOLERANCE):
        return volumes, True
    if abs(total + spent - HUNDRED) <= VOLUME_TOLERANCE:
        return volumes, False
    if abs(total - HUNDRED) <= VOLUME_TOLERANCE:
        return [volume * (HUNDRED - spent) / HUNDRED for volume in volumes], False
    return None


def _take_over(
    d: Draft, wish: TargetPlan, volume: Decimal, number: int, old: TargetStep | None, problems: list[Problem]
) -> int:
    """An unchanged step stays; a changed one gives way to a new one (E-21, E-22). Returns the id that is kept."""
    if old is not None and _is_same_target(wish, volume, old):
        if old.position != number:
            d.edit(old, position=number)
        return old.id
    step = take_profit.new_target(replace(wish, volume=volume), d.new_id(), number, d.now)
    if old is not None:
        if old.units is not None and old.units > ZERO and volume < old.volume * take_profit.done(old) / old.units:
            problems.append(Problem(DenialCode.EDIT_VOLUMES_INVALID))  # E-26
        step = replace(step, replaces=old.id, carried=take_profit.done(old))
        d.move(old, Cause.CANCEL)
    d.put(step)
    return step.id


def _is_same_target(wish: TargetPlan, volume: Decimal, step: TargetStep) -> bool:
    same_price = wish.percent is not None and step.percent is not None and abs(wish.percent) == abs(step.percent)
    same_price = same_price or (wish.price is not None and wish.price == step.price)
    deviation = None if wish.trailing_percent is None else abs(wish.trailing_percent)
    return same_price and (wish.order_type, wish.price_type, volume, deviation) == (
        step.order_type,
        step.price_type,
        step.volume,
        step.trailing_percent,
    )


def _check_target_sizes(d: Draft) -> list[Problem]:
    """Every unexecuted step must be placeable with what is or will be open (EX-15, M-26)."""
    trade, steps = d.trade, _unexecuted(d.trade)
    if not steps:
        return []
    price = enter_price_exact(trade, d.instrument)
    units = trade.open_amount + sum((take_profit.done(step) for step in steps), ZERO)  # part of their shares (M-24)
    if trade.status is TradeStatus.WAITING_POSITION:
        units = trade.position.plan.units * (ONE - d.instrument.taker_fee)
        expected = None if d.quote is None else expected_price(trade.position.plan, trade.kind, d.quote)
        price = None if expected is None else Fraction(expected)
    if price is None:
        return []
    plans = [_as_plan(step) for step in steps]
    uncovered = take_profit.uncovered_volume(trade)
    carried = [step.carried if step.status is StepStatus.IDLE else ZERO for step in steps]  # others have their order
    return check_sizes(plans, units, price, d.instrument, trade.entry_side, uncovered, carried)


def _as_plan(step: TargetStep) -> TargetPlan:
    return TargetPlan(
        order_type=step.order_type,
        volume=step.volume,
        price_type=step.price_type,
        price=step.price,
        percent=step.percent if step.price is None else None,
    )


# --- stop -------------------------------------------------------------------------------------------------------


def remove_stop(d: Draft, stop: StopStep) -> None:
    """Take a stop that has not fired out of force; it stays in the trades list (SL-12)."""
    stop = d.move(d.move(stop, Cause.CANCEL), Cause.OUT)
    d.change(stop=None, past_stops=(*d.trade.past_stops, stop))


def _edit_stop(d: Draft, wish: StopPlan | None) -> list[Problem]:
    """Any difference makes a new leg; the trailing starts anew only with a new level, price type or trailing (E-30)."""
    current = d.trade.stop if d.trade.stop is not None and not d.trade.stop.status.is_over else None
    if wish is None:
        if current is not None:
            remove_stop(d, current)
        return []
    steps = [step for step in d.trade.targets if step.status.is_executed or step in _unexecuted(d.trade)]
    problems = check_stop(wish, (), len(steps), d.instrument, d.trade.entry_side)
    if problems or (current is not None and _is_same_stop(wish, current, long=d.trade.is_long)):
        return problems
    step = stop_loss.new_stop(wish, d.new_id(), d.now)
    turned_on = wish.breakeven and (current is None or not current.breakeven)
    if current is not None:
        step = _inherit(step, wish, current, long=d.trade.is_long)
        remove_stop(d, current)
    d.put(step)
    if turned_on and any(target.status.is_executed for target in d.trade.targets):  # E-31
        d.change(breakeven_done=False)
        stop_loss.resolve(d, anew=False)
        stop_loss.apply_breakeven(d)
    return problems


def _same_level(wish: StopPlan, stop: StopStep, *, long: bool) -> bool:
    """The level as it was asked for, or as it is shown; a percent by its percent (E-10)."""
    if wish.percent is not None:
        return stop.percent is not None and abs(wish.percent) == abs(stop.percent)
    asked = stop.configured_price if stop.percent is None else None
    return wish.price in (asked, stop_level(stop, long=long))


def _same_trailing(wish: StopPlan, stop: StopStep) -> bool:
    percent = None if wish.trailing_percent is None else abs(wish.trailing_percent)
    return wish.trailing is stop.trailing and percent == stop.trailing_percent


def _same_limit(wish: StopPlan, stop: StopStep) -> bool:
    if wish.limit_percent is not None:
        return stop.limit_percent is not None and abs(wish.limit_percent) == abs(stop.limit_percent)
    if wish.limit_price is None and wish.order_type is OrderType.MARKET:
        return True
    asked = stop.limit_price if stop.limit_percent is None or stop.moved_limit_price is None else None
    return wish.limit_price in (asked, stop.moved_limit_price)


def _is_same_stop(wish: StopPlan, stop: StopStep, *, long: bool) -> bool:
    return (
        _same_level(wish, stop, long=long)
        and _same_trailing(wish, stop)
        and _same_limit(wish, stop)
        and (wish.order_type, wish.price_type, wish.timeout_seconds, wish.breakeven)
        == (stop.order_type, stop.price_type, stop.timeout_seconds, stop.breakeven)
    )


def _inherit(step: StopStep, wish: StopPlan, old: StopStep, *, long: bool) -> StopStep:
    """What a new leg keeps of the old one while its level is the same (TR-53, BE-9, E-31)."""
    if not _same_level(wish, old, long=long):
        return step
    step = replace(step, breakeven_price=old.breakeven_price)
    if wish.percent is not None or old.percent is None:  # else the value takes the percent's place (E-3)
        step = replace(step, configured_price=old.configured_price)
    if wish.order_type is OrderType.LIMIT and _same_limit(wish, old):
        step = replace(step, moved_limit_price=old.moved_limit_price)
        if wish.limit_percent is not None or old.limit_percent is None:
            step = replace(step, limit_price=old.limit_price)
    if _same_trailing(wish, old) and wish.price_type is old.price_type:
        step = replace(step, trail=old.trail, reference_price=old.reference_price)
    return step


def _check_sides(d: Draft) -> list[Problem]:
    """The stop that will be in force against the targets that will be open (TR-74).

    A percent has no price before the position is there (TR-30), whatever is entered so far.
    """
    stop, entered = d.trade.stop, enter_price_exact(d.trade, d.instrument)
    if stop is None or stop.status.is_over:
        return []
    if d.trade.status is TradeStatus.WAITING_POSITION:
        entered = None
    prices: list[Decimal] = []
    for step in _unexecuted(d.trade):
        if step.price is not None:
            prices.append(step.price)
        elif step.percent is not None and entered is not None:
            prices.append(target_price(entered, step.percent, d.instrument, long=d.trade.is_long))
    level = stop_level(stop, long=d.trade.is_long)
    if stop.percent is not None:
        if entered is None:
            return []
        if level is None:
            level = stop_price(entered, stop.percent, d.instrument, long=d.trade.is_long)
    return check_stop_side(level, prices, long=d.trade.is_long)
