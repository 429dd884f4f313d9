"""The stop loss: its level, arming, trailing, timeout and breakeven (behaviour 2.4, 3.6 to 3.8).

The level is the better of a fixed part and a trailing part. It is compared as an exact fraction and never rounded;
the trailing extreme lives in the trigger book, shared with every trade that has the same one.
"""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from msgspec.structs import replace

from smarttrade.domain.closing import fire_stop
from smarttrade.domain.draft import Draft
from smarttrade.domain.effects import RequestQuote
from smarttrade.domain.events import PriceCrossed, WatchRole
from smarttrade.domain.money import HUNDRED, ZERO
from smarttrade.domain.moves import Cause
from smarttrade.domain.plan import StopPlan
from smarttrade.domain.position import better_level, enter_price_exact, stop_level
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.domain.sizing import stop_price
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus, StopStep, Trail

WATCHED = frozenset({StepStatus.TO_PROCESS, StepStatus.TRAILING_ACTIVATED})


def fixed_level(stop: StopStep, long: bool) -> Decimal | None:
    """The part of the level that does not trail (TR-50, TR-51, BE-5)."""
    if stop.trail is not None and stop.trailing_percent is None:
        return stop.breakeven_price  # the ratio starts at L0, so L0 itself needs no floor
    return stop_level(stop, long=long)


def effective_level(stop: StopStep, long: bool, extreme: Decimal | None) -> Fraction | None:
    """The exact level now; `extreme` is that of the stop's trailing group."""
    fixed = fixed_level(stop, long)
    level = None if fixed is None else Fraction(fixed)
    if stop.trail is None:
        return level
    best = extreme if extreme is not None else stop.trail.start
    trailing = Fraction(best) * Fraction(stop.trail.numerator) / Fraction(stop.trail.denominator)
    if level is None:
        return trailing
    return max(level, trailing) if long else min(level, trailing)


def is_reached(level: Fraction, price: Decimal, long: bool) -> bool:
    """A stop is reached at its level and beyond (TR-3, TR-4)."""
    return Fraction(price) <= level if long else Fraction(price) >= level


def new_stop(plan: StopPlan, step_id: int, now: Instant) -> StopStep:
    """The leg of a requested stop, not armed yet (SL-1)."""
    return StopStep(
        id=step_id,
        status=StepStatus.IDLE,
        created_at=now,
        updated_at=now,
        order_type=plan.order_type,
        price_type=plan.price_type,
        configured_price=plan.price,
        percent=plan.percent,
        limit_price=plan.limit_price,
        limit_percent=plan.limit_percent,
        trailing=plan.trailing,
        trailing_percent=None if plan.trailing_percent is None else abs(plan.trailing_percent),
        timeout_seconds=plan.timeout_seconds,
        breakeven=plan.breakeven,
    )


def resolve(d: Draft, *, anew: bool) -> None:
    """Turn percents into prices at the average entered so far (TR-30, TR-34).

    anew  those that are prices already, too: while the entry goes on (P-18)
    """
    stop = d.trade.stop
    if stop is None or stop.status.is_over or stop.fired:
        return
    entry, long = enter_price_exact(d.trade, d.instrument), d.trade.is_long
    if entry is None:
        return
    price, limit, trail = stop.configured_price, stop.limit_price, stop.trail
    if stop.percent is not None and (anew or price is None):
        price = stop_price(entry, stop.percent, d.instrument, long=long)
        if trail is not None and stop.trailing_percent is None:
            trail = replace(trail, numerator=price)  # R0 and the extreme stay
    if stop.limit_percent is not None and (anew or limit is None):
        limit = stop_price(entry, stop.limit_percent, d.instrument, long=long)
    if (price, limit, trail) != (stop.configured_price, stop.limit_price, stop.trail):
        d.edit(stop, configured_price=price, limit_price=limit, trail=trail)


def resolve_if_idle(d: Draft) -> None:
    """A stop that an edit brought while the position is open takes its percent from the average now.

    The level that it has left as it was stays, as averaging leaves it (TR-31, E-30).
    """
    stop = d.trade.stop
    if stop is not None and stop.status is StepStatus.IDLE:
        resolve(d, anew=False)


def arm(d: Draft) -> None:
    """Begin to watch; trailing stores its reference price, which has to be fresh (SL-2, SL-3, TR-50)."""
    stop = d.trade.stop
    if stop is None or stop.status is not StepStatus.IDLE:
        return
    if not stop.trailing:
        d.move(stop, Cause.ARM)
        return
    if stop.trail is not None:  # an edit that left the trailing alone keeps its extreme (TR-53)
        d.move(stop, Cause.TRAIL)
        return
    if d.quote is None or not d.context.quote_is_fresh:
        if not stop.awaits_price:
            d.edit(stop, awaits_price=True)
            d.emit(RequestQuote(keys=(d.trade.key,)))
        return
    reference = d.quote.price(stop.price_type)
    trail = _trail(d, stop, reference)
    d.move(stop, Cause.TRAIL, trail=trail, reference_price=reference, awaits_price=False)


def _trail(d: Draft, stop: StopStep, reference: Decimal) -> Trail:
    if stop.trailing_percent is None:
        assert stop.configured_price is not None
        return Trail(group=d.new_id(), start=reference, numerator=stop.configured_price, denominator=reference)
    share = -stop.trailing_percent if d.trade.is_long else stop.trailing_percent
    return Trail(group=d.new_id(), start=reference, numerator=HUNDRED + share, denominator=HUNDRED)


def crossed(d: Draft, stop: StopStep, event: PriceCrossed) -> None:
    """The level is reached, or left again while the timeout runs (SL-4 to SL-6, TR-60, TR-61)."""
    if event.role is WatchRole.RECOVERY:
        _left(d, stop, event.price, event.extreme)
    elif stop.timeout_seconds is None:
        _fire(d, stop, event.extreme)
    elif stop.timer_started_at is None:
        d.edit(stop, timer_started_at=d.now, reached_extreme=event.extreme)


def _left(d: Draft, stop: StopStep, price: Decimal, extreme: Decimal | None) -> None:
    """The price is better than the level was; a trail beyond its level from the start (L0 past R0) takes that along."""
    if extreme is not None and _is_beyond(d, stop, price, extreme):
        d.edit(stop, reached_extreme=extreme)
    else:
        d.edit(stop, timer_started_at=None, reached_extreme=None, awaits_price=False)


def _is_beyond(d: Draft, stop: StopStep, price: Decimal, extreme: Decimal | None) -> bool:
    level = effective_level(stop, d.trade.is_long, extreme)
    return level is not None and is_reached(level, price, d.trade.is_long)


def _fire(d: Draft, stop: StopStep, extreme: Decimal | None) -> None:
    if stop.trail is not None and extreme is not None:
        stop = replace(stop, trail=replace(stop.trail, start=extreme))  # what the trades list shows from now on
    fire_stop(d, stop)


def timer_ends_at(stop: StopStep) -> Instant | None:
    if stop.timer_started_at is None or stop.timeout_seconds is None or stop.fired:
        return None
    return stop.timer_started_at + stop.timeout_seconds * SECOND


def time_reached(d: Draft) -> None:
    """At the end of the timeout the newest price decides (SL-7, TR-62, TR-63)."""
    stop = d.trade.stop
    if stop is None or stop.status not in WATCHED:
        return
    ends_at = timer_ends_at(stop)
    if ends_at is None or d.now < ends_at:
        return
    if d.quote is None or not d.context.quote_is_fresh:
        if not stop.awaits_price:
            d.edit(stop, awaits_price=True)
            d.emit(RequestQuote(keys=(d.trade.key,)))
        return
    price = d.quote.price(stop.price_type)
    extreme = stop.reached_extreme
    if extreme is not None:  # first the extreme, then the stop (TR-5)
        extreme = max(extreme, price) if d.trade.is_long else min(extreme, price)
    if _is_beyond(d, stop, price, extreme):
        _fire(d, stop, extreme)
    else:
        d.edit(stop, timer_started_at=None, reached_extreme=None, awaits_price=False)


def fresh_price(d: Draft) -> None:
    """The price that the stop waited for is there."""
    stop = d.trade.stop
    if stop is None or not stop.awaits_price:
        return
    stop = d.edit(stop, awaits_price=False)
    if stop.status is StepStatus.IDLE:
        arm(d)
    else:
        time_reached(d)


def clear_timer(d: Draft) -> None:
    """A timer is not carried over a restart (TR-64)."""
    stop = d.trade.stop
    if stop is not None and stop.timer_started_at is not None and not stop.fired:
        d.edit(stop, timer_started_at=None, reached_extreme=None, awaits_price=False)


def apply_breakeven(d: Draft) -> None:
    """After the first executed target the level moves to the entry price, once (BE-1 to BE-9)."""
    stop, trade = d.trade.stop, d.trade
    if stop is None or stop.status.is_over or stop.fired or not stop.breakeven or trade.breakeven_done:
        return
    entry = breakeven_price(d)
    if entry is None:
        return
    long = trade.is_long
    before = effective_level(stop, long, stop.reached_extreme)
    old = stop_level(stop, long=long)  # an edit may have kept one that was moved before (E-31)
    moved = better_level(old, entry, long=long)
    members: dict[str, object] = {"breakeven_price": moved}
    old_limit = stop.limit_price if stop.moved_limit_price is None else stop.moved_limit_price
    if old_limit is not None and old is not None and moved is not None:
        limit = old_limit * moved / old  # divided last: a whole tick must stay one
        members["moved_limit_price"] = d.instrument.order_price(limit, trade.exit_side)
    after = effective_level(replace(stop, breakeven_price=moved), long, stop.reached_extreme)
    if after != before:  # BE-7
        members |= {"timer_started_at": None, "reached_extreme": None, "awaits_price": False}
    d.edit(stop, **members)
    d.change(breakeven_done=True)


def breakeven_price(d: Draft) -> Decimal | None:
    """The entry price with commission, on the tick in the trader's favour (BE-2, BE-3)."""
    entry = enter_price_exact(d.trade, d.instrument)
    if entry is None:
        return None
    fee = Fraction(d.instrument.taker_fee if d.trade.breakeven_covers_exit_fee else ZERO)
    tick = Fraction(d.instrument.tick)
    ticks = ceil(entry / (1 - fee) / tick) if d.trade.is_long else floor(entry / (1 + fee) / tick)
    return ticks * d.instrument.tick


def limit_price(stop: StopStep, trade: SmartTrade, d: Draft) -> Decimal | None:
    """Order price of a limit stop, on the tick (TR-9, BE-6); None for a market stop."""
    price = stop.moved_limit_price if stop.moved_limit_price is not None else stop.limit_price
    return None if price is None else d.instrument.order_price(price, trade.exit_side)


def is_protecting(trade: SmartTrade) -> bool:
    """Whether a stop is in force or about to be."""
    return trade.stop is not None and not trade.stop.status.is_over


def protects_partial_entry(trade: SmartTrade) -> bool:
    """From the first fill on the stop watches what has been filled (P-18)."""
    return (
        trade.status is TradeStatus.WAITING_POSITION
        and trade.protect_partial_entry
        and trade.stop is not None
        and not trade.kind.is_simple
    )
