"""Rules that a plan must keep before it becomes a trade, or before it changes one (EX-15, M-26, TP-15, TR-74 ...).

Every check returns the problems it finds, so that one answer names them all. Whether parameters are there and have
the right type is the business of whoever reads the request.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from smarttrade.domain.errors import DenialCode, Problem
from smarttrade.domain.instrument import Instrument, Side
from smarttrade.domain.money import HUNDRED, ONE, ZERO
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, Leverage, SmartTradePlan, StopPlan, TargetPlan, TradeKind
from smarttrade.domain.quote import Quote
from smarttrade.domain.sizing import allocate, is_placeable, target_price

MAX_STEPS: Final = 8
MAX_NOTE: Final = 300
VOLUME_TOLERANCE: Final = Decimal("0.01")
STEPS_FOR_BREAKEVEN: Final = 2  # the one that moves the stop, and one that the moved stop protects
MAX_FUNDS_STEPS: Final = 200
"""Averaging and reducing legs of one trade: a trade stays one value that is read and written whole."""


def check_order(
    instrument: Instrument, units: Decimal, price: Decimal | None, order_type: OrderType, subject: str
) -> list[Problem]:
    """Limits of the market for one order (EX-14, EX-15). `units` are on the lot already."""
    problems: list[Problem] = []

    def found(code: DenialCode, limit: Decimal | None) -> None:
        problems.append(Problem(code, subject, limit))

    smallest = max(instrument.min_lot, instrument.lot)
    if units < smallest:
        found(DenialCode.UNITS_TOO_SMALL, smallest)
    if instrument.max_lot is not None and units > instrument.max_lot:
        found(DenialCode.UNITS_TOO_LARGE, instrument.max_lot)
    if price is None:
        return problems
    minimum = instrument.min_total if order_type is OrderType.LIMIT else instrument.min_market_total
    if units * price < minimum:
        found(DenialCode.TOTAL_TOO_SMALL, minimum)
    if instrument.max_total is not None and units * price > instrument.max_total:
        found(DenialCode.TOTAL_TOO_LARGE, instrument.max_total)
    if order_type is OrderType.LIMIT:
        problems.extend(check_price(instrument, price, subject))
    return problems


def check_price(instrument: Instrument, price: Decimal, subject: str) -> list[Problem]:
    """A limit price within the market's bounds."""
    lowest = instrument.tick if instrument.min_price is None else max(instrument.min_price, instrument.tick)
    if price < lowest:
        return [Problem(DenialCode.PRICE_TOO_SMALL, subject, lowest)]
    if instrument.max_price is not None and price > instrument.max_price:
        return [Problem(DenialCode.PRICE_TOO_LARGE, subject, instrument.max_price)]
    return []


def check_plan(
    plan: SmartTradePlan, instrument: Instrument, quote: Quote, held_position: Decimal | None
) -> list[Problem]:
    """All rules of a new trade. Units of the plan are floored to the lot already."""
    side, problems = plan.kind.entry_side, []
    problems.extend(check_entry(plan.entry, plan.kind, instrument, quote))
    problems.extend(_check_leverage(plan.leverage, instrument))
    if plan.kind.is_simple:
        return problems + check_simple(plan.take_profit_enabled, plan.stop is not None)
    if plan.take_profit_enabled:
        problems.extend(check_targets(plan.targets, instrument))
        if not problems:
            entry_price = expected_price(plan.entry, plan.kind, quote)
            units = plan.entry.units if plan.kind.is_own_funds else plan.entry.units * (ONE - instrument.taker_fee)
            problems.extend(check_sizes(plan.targets, units, Fraction(entry_price), instrument, side))
    if plan.stop is not None:
        targets = plan.targets if plan.take_profit_enabled else ()
        prices = [step.price for step in targets if step.price is not None]
        problems.extend(check_stop(plan.stop, prices, len(targets), instrument, side))
    if len(plan.note) > MAX_NOTE:
        problems.append(Problem(DenialCode.NOTE_TOO_LONG))
    problems.extend(_check_held(plan, instrument, held_position))
    return problems


def check_simple(take_profit: bool | None, stop: bool | None) -> list[Problem]:
    """A simple trade has nothing after its one order (V-3)."""
    problems = []
    if take_profit:
        problems.append(Problem(DenialCode.SIMPLE_WITH_TAKE_PROFIT))
    if stop:
        problems.append(Problem(DenialCode.SIMPLE_WITH_STOP_LOSS))
    return problems


def is_limit(entry: EntryPlan) -> bool:
    """Whether the entry order, when it goes out, is a limit order."""
    condition = entry.condition
    return entry.type is EntryType.LIMIT or (condition is not None and condition.order_type is OrderType.LIMIT)


def expected_price(entry: EntryPlan, kind: TradeKind, quote: Quote) -> Decimal:
    """Price at which a plan is valued before its entry (F-1, M-13): its limit price, else the market's.

    A market entry may carry a price that a client echoes; it means nothing. Own funds have a reference price (M-9).
    """
    if entry.price is not None and (kind.is_own_funds or is_limit(entry)):
        return entry.price
    return quote.ask if kind.entry_side is Side.BUY else quote.bid


def check_entry(entry: EntryPlan, kind: TradeKind, instrument: Instrument, quote: Quote) -> list[Problem]:
    """Limits of the market for the entry order (EX-15)."""
    price = expected_price(entry, kind, quote)
    if is_limit(entry) and entry.price is None:
        return [Problem(DenialCode.PRICE_TOO_SMALL, "position", instrument.tick)]
    if kind.is_own_funds or not is_limit(entry):
        return check_order(instrument, entry.units, price, OrderType.MARKET, "position")
    return check_order(
        instrument, entry.units, instrument.order_price(price, kind.entry_side), OrderType.LIMIT, "position"
    )


def _check_leverage(leverage: Leverage | None, instrument: Instrument) -> list[Problem]:
    """Within what the exchange allows for the pair (M-55); spot accounts ignore the group."""
    if leverage is None or not instrument.is_linear:
        return []
    if ONE <= leverage.value <= instrument.max_leverage:
        return []
    return [Problem(DenialCode.LEVERAGE_OUT_OF_RANGE, "leverage", instrument.max_leverage)]


def _check_held(plan: SmartTradePlan, instrument: Instrument, held: Decimal | None) -> list[Problem]:
    """Own-funds trades on futures need the position they sell or buy back (V-7)."""
    if not instrument.is_linear or not plan.kind.is_own_funds:
        return []
    held = ZERO if held is None else held
    if plan.kind is TradeKind.SMART_SELL and held < plan.entry.units:
        return [Problem(DenialCode.NO_LONG_POSITION)]
    if plan.kind is TradeKind.SMART_BUY and -held < plan.entry.units:
        return [Problem(DenialCode.NO_SHORT_POSITION)]
    return []


def check_targets(targets: Sequence[TargetPlan], instrument: Instrument) -> list[Problem]:
    """Number, sum, trailing and prices of take-profit steps (TP-15, TP-16)."""
    problems: list[Problem] = []
    if len(targets) > MAX_STEPS:
        problems.append(Problem(DenialCode.TOO_MANY_STEPS))
    if abs(sum((step.volume for step in targets), ZERO) - HUNDRED) > VOLUME_TOLERANCE:
        problems.append(Problem(DenialCode.VOLUMES_NOT_100))
    problems.extend(check_target_shapes(targets, instrument))
    return problems


def check_target_shapes(targets: Sequence[TargetPlan], instrument: Instrument) -> list[Problem]:
    """What holds for a list of steps whatever their sum: trailing last, limit prices within bounds."""
    problems: list[Problem] = []
    if any(step.trailing_percent is not None for step in targets[:-1]):
        problems.append(Problem(DenialCode.TRAILING_NOT_LAST))
    for step in targets:
        if step.order_type is OrderType.LIMIT and step.price is not None:
            problems.extend(check_price(instrument, step.price, "take_profit"))
    return problems


def check_sizes(
    targets: Sequence[TargetPlan],
    units: Decimal,
    entry_price: Fraction,
    instrument: Instrument,
    side: Side,
    uncovered: Decimal | Fraction = ZERO,
    carried: Sequence[Decimal] | None = None,
) -> list[Problem]:
    """Every step must be placeable with the requested units less one taker commission (M-26).

    uncovered  volume that an edit leaves without a target (E-24)
    carried    units of each step that are executed already, so that its order will be for the rest (E-26)
    """
    shares = allocate(units, [step.volume for step in targets], uncovered, instrument)
    for step, share, done in zip(targets, shares, carried or [ZERO] * len(targets), strict=True):
        price = step.price
        if price is None:
            assert step.percent is not None
            price = target_price(entry_price, step.percent, instrument, long=side is Side.BUY)
        if price <= ZERO or _leaves_no_price(step.percent, falls=side is Side.SELL):
            return [Problem(DenialCode.PRICE_TOO_SMALL, "take_profit", instrument.tick)]
        is_executed = done > ZERO and share - done < instrument.lot
        if not is_executed and not is_placeable(instrument, share - done, price, step.order_type):
            return [Problem(DenialCode.STEP_TOO_SMALL)]
    return []


def check_stop(
    stop: StopPlan, target_prices: Sequence[Decimal], steps: int, instrument: Instrument, side: Side
) -> list[Problem]:
    """Breakeven, prices, and the stop on the losing side of every target (BE-0, TR-74).

    `target_prices` are those known before the entry; `steps` counts all take-profit steps.
    """
    problems: list[Problem] = []
    if stop.breakeven and steps < STEPS_FOR_BREAKEVEN:
        problems.append(Problem(DenialCode.BREAKEVEN_NEEDS_TWO_STEPS))
    if stop.limit_price is not None:
        problems.extend(check_price(instrument, stop.limit_price, "stop_loss"))
    long = side is Side.BUY
    if any(_leaves_no_price(percent, falls=long) for percent in (stop.percent, stop.limit_percent)):
        problems.append(Problem(DenialCode.PRICE_TOO_SMALL, "stop_loss", instrument.tick))
    problems.extend(check_stop_side(stop.price, target_prices, long=long))
    return problems


def _leaves_no_price(percent: Decimal | None, *, falls: bool) -> bool:
    """All of the entry price, or more, below it."""
    return falls and percent is not None and abs(percent) >= HUNDRED


def check_stop_side(level: Decimal | None, target_prices: Sequence[Decimal], *, long: bool) -> list[Problem]:
    """A long's stop lies below every target, a short's above (TR-74)."""
    if level is None or not target_prices:
        return []
    wrong = level >= min(target_prices) if long else level <= max(target_prices)
    return [Problem(DenialCode.STOP_BEYOND_TARGET)] if wrong else []
