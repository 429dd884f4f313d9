"""Histories that nobody wrote down: random markets, users and faults, and what must hold in all of them.

An example is a list of small happenings; whatever does not apply at its moment is skipped. The exchange refuses, loses
answers and reports, executes unheard, cancels by itself, holds cancellations, and the process dies in between.
"""

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

from driver import FEE_IN_BASE, LINEAR, Story, limit, market, own, plan, refused, sl, tp, when
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.errors import Denied
from smarttrade.domain.money import ZERO
from smarttrade.domain.order import RefusalKind, ReportedState
from smarttrade.domain.plan import Leverage, MarginMode, SmartTradePlan, TradeKind
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.stop_loss import effective_level, is_reached
from smarttrade.domain.take_profit import OPEN_STATUSES
from smarttrade.domain.watches import is_stop_watched
from smarttrade.engine.inputs import PositionLost

D = Decimal
ASK = PriceType.ASK
PASSING = [RefusalKind.TRANSIENT, RefusalKind.RECOVERABLE, RefusalKind.DUPLICATE_ID, RefusalKind.TOO_MANY_ORDERS]
FINAL_QUIET = 400  # seconds after which a trade that is left in peace has done what it was told

LONG = (
    [tp(110, 50), tp(120, 50)],
    [tp(110, 40), tp(115, 30, at_market=True), tp(percent=20, volume=30, trailing=2)],
    [tp(percent=10)],
    [],
)
LONG_STOPS = (None, sl(90), sl(90, trailing=True), sl(percent=8, timeout=20), sl(90, at="89.5"))
SHORT = ([tp(90, 50, by=ASK), tp(80, 50, by=ASK)], [tp(85, at_market=True, by=ASK)], [])
SHORT_STOPS = (None, sl(110, by=ASK), sl(110, trailing=True, by=ASK), sl(percent=8, timeout=20, by=ASK))


@st.composite
def plans(draw: Any) -> tuple[SmartTradePlan, dict[str, Any]]:
    """A plan and the market on which it runs."""
    kind = draw(st.sampled_from([TradeKind.SMART_TRADE, TradeKind.SMART_TRADE, *TradeKind]))
    if kind.is_simple:
        return plan(kind, draw(st.sampled_from([market(), limit(98)]))), {}
    long = kind in (TradeKind.SMART_TRADE, TradeKind.SMART_SELL)
    targets, stops = (LONG, LONG_STOPS) if long else (SHORT, SHORT_STOPS)
    entries = [market(), limit(98 if long else 102), when(97), when(95, trailing=1), when(103, price=102)]
    entry = own() if kind.is_own_funds else draw(st.sampled_from(entries))
    rules = draw(st.sampled_from([{}, FEE_IN_BASE, {"max_market_lot": D(4)}]))
    leverage = None
    if draw(st.booleans()) and not kind.is_own_funds:
        rules, leverage = {"on": LINEAR}, Leverage(MarginMode.ISOLATED, D(5))
    steps, stop = draw(st.sampled_from(targets)), draw(st.sampled_from(stops))
    if stop is not None and len(steps) > 1:
        stop = replace(stop, breakeven=draw(st.booleans()))
    return plan(kind, entry, steps, stop, leverage), rules


def alive(story: Story, number: int) -> str | None:
    names = sorted(story.book)
    return names[number % len(names)] if names else None


def with_order(act: Callable[[Story, str, Decimal], object]) -> Callable[[Story, int], object]:
    """Something that happens to one of the orders that are alive, to a part of it."""

    def happen(story: Story, number: int) -> object:
        leg = alive(story, number)
        if leg is None:
            return None
        order = story._alive(leg)
        share = order.leaves * (1 + number // 8 % 4) / 4
        return act(story, leg, max(story.instrument.floor_lot(share), min(order.leaves, D("0.1"))))

    return happen


def with_leg(act: Callable[[Story, str], object]) -> Callable[[Story, int], object]:
    def happen(story: Story, number: int) -> object:
        steps = story.trade.steps
        return act(story, story.name_of(steps[number % len(steps)].id))

    return happen


def change_targets(story: Story, number: int) -> object:
    """Another price for one step, one step less, or another set."""
    present = [story.name_of(step.id) for step in story.trade.active_targets]
    long = story.trade.is_long
    if not present or number % 3 == 0:
        return story.edit(targets=[tp(112 if long else 88, 30, by=ASK), tp(118 if long else 82, 70, by=ASK)])
    kept = [story.kept(name) for name in present]
    if number % 3 == 1:
        kept[0] = story.kept(present[0], price=D(108 if long else 92) + number % 5, percent=None)
    else:
        kept.pop()
    return story.edit(targets=kept)


def change_stop(story: Story, number: int) -> object:
    level = D(86 + number % 8) if story.trade.is_long else D(106 + number % 8)
    by = PriceType.BID if story.trade.is_long else ASK
    return story.edit(stop=[sl(level, by=by), sl(level, trailing=True, by=by), None][number % 3])


def set_mode(name: str, *values: object) -> Callable[[Story, int], object]:
    return lambda story, number: setattr(story, name, values[number % len(values)])


def repeat(story: Story, number: int) -> object:
    orders = list(story.orders.values())
    if orders:
        order = orders[number % len(orders)]
        story.tell(order.report(*order.fills))
    return None


def lose_position(story: Story, number: int) -> object:
    """Futures: the exchange says that the position of one side is gone."""
    if not story.instrument.is_linear or number % 4:
        return None
    key, quantity = story.instrument.key, D(5) if number % 8 else D(-5)
    return story.tell(PositionLost(account_id=1, key=key, liquidated=number % 3 == 0, quantity=quantity))


HAPPENINGS: dict[str, Callable[[Story, int], object]] = {
    "quote": lambda story, number: story.quote(D(80) + D(number % 50), D(80) + D(number % 50) + D(number % 3) / 10),
    "wait": lambda story, number: story.wait([D("0.5"), 1, 3, 6, 20, 130][number % 6]),
    "fill": with_order(lambda story, leg, part: story.fill(leg, part)),
    "fill unheard": with_order(lambda story, leg, part: story.fill_unheard(leg, part)),
    "cancelled outside": with_order(lambda story, leg, _: story.cancelled(leg)),
    "repeat": repeat,
    "answer": lambda story, number: story.answers.append(
        ["never arrives", "answer is lost", *(refused(kind, kind.value) for kind in PASSING)][number % 6]
    ),
    "insufficient": lambda story, _: story.answers.append(refused(RefusalKind.INSUFFICIENT_FUNDS, "funds")),
    "cancels": set_mode("on_cancel", "confirm", "hold", "refuse", "silence"),
    "queries": set_mode("on_query", "tell", "silence", "lag"),
    "at market": set_mode("fill_at_market", True, False),
    "restart": lambda story, _: story.restart(),
    "close": lambda story, _: story.close(),
    "cancel": lambda story, _: story.cancel(),
    "force start": lambda story, _: story.force_start(),
    "force process": lambda story, _: story.force_process(),
    "add": lambda story, number: story.add(1 + number % 4, None if number % 2 else 94 + number % 12),
    "reduce": lambda story, number: story.reduce(1 + number % 4, None if number % 2 else 96 + number % 12),
    "close leg": with_leg(lambda story, leg: story.close_leg(leg)),
    "cancel leg": with_leg(lambda story, leg: story.cancel_leg(leg)),
    "targets": change_targets,
    "stop": change_stop,
    "lost": lose_position,
    "rules": lambda story, number: story.rules(lot=[D("0.1"), D("0.5"), D(1)][number % 3]),
}
MANY = ["quote", "quote", "quote", "wait", "wait", "fill", "fill"]
HISTORIES = st.lists(st.tuples(st.sampled_from(MANY + list(HAPPENINGS)), st.integers(0, 97)), min_size=5, max_size=40)


def happen(story: Story, name: str, number: int) -> None:
    with suppress(Denied):
        HAPPENINGS[name](story, number)


def check_final(story: Story, before: SmartTrade) -> None:
    """S-33: nothing leads out of an end, or changes it; no order is left behind; every execution is known (EX-1)."""
    if before.status.is_final:
        assert story.trade == before
    if story.trade.status.is_final:
        assert story.book == {}
        check_sums(story)


def check_sums(story: Story) -> None:
    """What the trade has entered and closed is what the exchange has executed, once each."""
    trade = story.trade
    by_side = dict.fromkeys((trade.entry_side, trade.exit_side), ZERO)
    for order in story.orders.values():
        by_side[order.intent.side] += order.filled
    own_units = trade.position.plan.units if trade.kind.is_own_funds else ZERO
    assert trade.entered.gross_quantity == by_side[trade.entry_side] + own_units
    assert trade.closed.gross_quantity == by_side[trade.exit_side]
    assert trade.open_amount == story.held


def check_stop(story: Story) -> None:
    """A stop that is in force and reached has fired (TR-4, AR-3); an open position keeps the stop that it has."""
    trade, stop = story.trade, story.trade.stop
    if stop is None or trade.status.is_final or trade.failing is not None:
        return
    if trade.status in OPEN_STATUSES:
        assert is_stop_watched(trade), stop.status
    if not is_stop_watched(trade) or stop.timeout_seconds is not None:
        return
    extreme = None if stop.trail is None else story.engine.extreme_of(trade.key, stop.trail.group)
    level = effective_level(stop, trade.is_long, extreme)
    assert level is not None
    assert not is_reached(level, story.bid if trade.is_long else story.ask, trade.is_long), (level, stop)


def leave_in_peace(story: Story) -> None:
    """The exchange is sound again."""
    story.answers.clear()
    story.on_cancel, story.on_query, story.fill_at_market = "confirm", "tell", True
    for name in [name for name, order in story.book.items() if order.endswith("market")]:
        if name in story.book:
            story.fill(name)
    for order in list(story.orders.values()):  # what was held is done now
        if order.state is ReportedState.OPEN and story.cancel_is_held(order):
            order.state = ReportedState.CANCELED
            story.tell(order.report(*order.fills))


@settings(max_examples=400, deadline=None)
@given(start=plans(), history=HISTORIES, by_close=st.booleans(), safe=st.booleans())
def test_every_history_is_sound_and_comes_to_its_end(
    start: tuple[SmartTradePlan, dict[str, Any]], history: list[tuple[str, int]], by_close: bool, safe: bool
) -> None:
    """At most one order of a leg is ever alive, exits never offer more than is there, a stop that is reached fires,
    every execution counts once, what is over stays over, and the journal proves all of it."""
    wanted, rules = start
    story = Story(**rules)
    story.safe_to_resend = safe
    story.create(wanted)
    for name, number in history:
        before = story.trade
        happen(story, name, number)
        check_final(story, before)
        check_stop(story)
    leave_in_peace(story)
    for wish in (story.close, story.cancel) if by_close else (story.cancel, story.close):
        with suppress(Denied):
            wish()
    story.wait(FINAL_QUIET)
    assert story.trade.status.is_final, story.trade
    check_final(story, story.trade)
    story.assert_replays()


@settings(max_examples=150, deadline=None)
@given(
    starts=st.lists(plans(), min_size=2, max_size=3),
    history=st.lists(
        st.tuples(st.sampled_from(MANY + list(HAPPENINGS)), st.integers(0, 97), st.integers(0, 2)), max_size=50
    ),
)
def test_many_trades_end_and_leave_nothing_behind(
    starts: list[tuple[SmartTradePlan, dict[str, Any]]], history: list[tuple[str, int, int]]
) -> None:
    """No watch, no trailing group, no timer, no index entry outlives the trades (fault F41)."""
    story = Story(**starts[0][1])
    trades: list[int] = []
    for wanted, _ in starts:
        with suppress(Denied):
            trades.append(story.create(wanted).trade_id)
    for name, number, which in history:
        story.trade_id = trades[which % len(trades)]
        happen(story, name, number)
        for story.trade_id in trades:
            check_stop(story)
    for story.trade_id in trades:
        leave_in_peace(story)
        for wish in (story.close, story.cancel):
            with suppress(Denied):
                wish()
    story.wait(FINAL_QUIET)
    for story.trade_id in trades:
        assert story.trade.status.is_final, story.trade
        story.assert_replays()
    engine = story.engine
    assert (story.groups, engine.tallies.open_trades, len(engine._owners), engine.next_deadline) == ({}, 0, 0, None)
    assert not any(len(market.book) or market.awaiting for market in engine.markets.values())


def late(story: Story, number: int) -> object:
    """An order that is over was executed after all, for a part of what it had left."""
    over = [order for order in story.mine() if order.state is ReportedState.CANCELED]
    if not over:
        return None
    order = over[number % len(over)]
    rest = order.intent.quantity - order.filled
    if order.intent.reduce_only or rest < story.instrument.lot:
        return None
    fill = story._new_fill(order, story.instrument.lot, order.intent.price or story.bid)
    order.fills.append(fill)
    told = number % 2 == 0 or story.on_query != "tell"
    return story.tell(order.report(fill) if told else order.report())


@settings(max_examples=150, deadline=None)
@given(start=plans(), history=HISTORIES, lates=st.lists(st.integers(0, 97), min_size=1, max_size=6))
def test_executions_that_come_too_late_are_booked_and_start_nothing(
    start: tuple[SmartTradePlan, dict[str, Any]], history: list[tuple[str, int]], lates: list[int]
) -> None:
    """EX-32, EX-33: the exchange breaks its word, so it may have sold too much; the trade must still know it all."""
    wanted, rules = start
    story = Story(audit=False, **rules)
    story.create(wanted)
    for position, (name, number) in enumerate(history):
        happen(story, name, number)
        if position % 5 == 4 and lates:
            late(story, lates.pop())
    leave_in_peace(story)
    for wish in (story.close, story.cancel):
        with suppress(Denied):
            wish()
    story.wait(FINAL_QUIET)
    final = story.trade
    assert final.status.is_final, final
    story.heard()
    for number in lates:
        late(story, number)
    assert story.trade.status is final.status
    assert not [what for what in story.heard() if what.startswith(("buy", "sell", "cancel"))]
    check_sums(story)
    story.assert_replays()
