"""The engine: which trades an input concerns, in which order, and what outlives a restart or a broken rule."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from driver import LINEAR, SPOT, START, Story, limit, market, plan, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain import machine
from smarttrade.domain.events import PriceCrossed, Proceed, TimeReached
from smarttrade.domain.fill import Fill
from smarttrade.domain.money import Money
from smarttrade.domain.order import OrderReport, ReportedState
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType, Quote
from smarttrade.engine import engine as engine_module
from smarttrade.engine.inputs import MarketMoved, PositionLost, QuoteReceived, StreamRestored
from smarttrade.engine.market import Market, Rates
from smarttrade.engine.replay import digest, digest_of_all, replay
from smarttrade.engine.timers import Timers
from smarttrade.engine.trigger_book import TriggerBook

D = Decimal
LONG = TradeKind.SMART_TRADE
ASK = PriceType.ASK


def a_quote(bid: Any, ask: Any = None, last: Any = None, at: int = START, key: InstrumentKey = SPOT.key) -> Quote:
    bid = D(bid)
    ask = bid if ask is None else D(ask)
    return Quote(key=key, bid=bid, ask=ask, last=bid if last is None else D(last), at=at)


# --- order of one update (TR-5, AR-3) -------------------------------------------------------------------------


def test_an_entry_decides_before_the_exits_it_arms() -> None:
    """TR-5: one price fires the entry, whose target is then reached by the same price."""
    story = Story(when(105, by=PriceType.BID), [tp(104, at_market=True)], sl(50), bid=100)
    story.quote(105)
    assert story.heard() == ["buy entry 10 market", "sell tp1 10 market"]
    assert story.status == "finished"


def test_targets_reached_by_one_update_go_out_by_position() -> None:
    """TR-5 (5)."""
    story = Story(market(), [tp(120, 30, at_market=True), tp(110, 70, at_market=True)], sl(50))
    story.heard()
    story.quote(130)
    assert story.heard() == ["sell tp1 3 market", "sell tp2 7 market"]


def test_a_stop_that_fires_leaves_the_targets_of_the_same_update_alone() -> None:
    """TR-5, TR-73."""
    story = Story(market(), [tp(105, 50, at_market=True, by=ASK), tp(106, 50, at_market=True, by=ASK)], sl(95))
    story.heard()
    story.quote(95, 200)
    assert story.heard() == ["sell sl 10 market"]


def test_a_trailing_level_moves_before_the_stop_is_tested() -> None:
    """TR-5 (3), (4)."""
    story = Story(market(), (), sl(90, trailing=True))
    story.quote(200).quote("180.01")
    assert not story.stop.fired
    story.quote(180)
    assert story.status == "stop_loss_finished"


def test_what_one_trade_does_leaves_the_others_triggers_alone() -> None:
    """Fault F42: thresholds are isolated per trade."""
    story = Story(market(), [tp(110)], sl(90))
    first = story.trade_id
    story.create(plan(LONG, market(), [tp(110)], sl(80)))
    story.quote(90)
    assert story.look(first).status.value == "stop_loss_finished"
    assert story.status == "waiting_targets"
    story.quote(80)
    assert story.status == "stop_loss_finished"


def test_a_level_that_holds_when_it_is_armed_is_tested_after_the_limit_steps_are_sent() -> None:
    """AR-3."""
    story = Story(limit(100), [tp(110, 50), tp(94, 50, at_market=True)], sl(93), bid=94)
    story.heard()
    story.fill("entry")
    assert story.heard() == ["sell tp1 5 @ 110", "sell tp2 5 market"]


def test_a_price_that_fills_an_order_is_the_price_that_arms_its_exits() -> None:
    """TR-5, TR-50: the exchange speaks first, and by then the price is known."""
    story = Story(limit(100), (), sl(90, trailing=True), bid=105)
    moved = a_quote(99, at=story.now)
    story.engine.handle(MarketMoved(moved), story.now)
    story.fill("entry")
    assert story.stop.reference_price == 99
    story.engine.handle(QuoteReceived(moved), story.now)
    assert story.stop.reference_price == 99


# --- which prices count (TR-6) --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bid", "ask", "last"),
    [(0, 1, 1), (-5, 1, 1), (80, 79, 80), (80, 80, 0), (80, 80, -1), ("80.0000000000000000001", 81, 81)],
)
def test_a_price_that_cannot_be_one_is_ignored(bid: Any, ask: Any, last: Any) -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.heard()
    story.engine.handle(QuoteReceived(a_quote(bid, ask, last, story.now)), story.now)
    assert not story.stop.fired
    assert story._market.quote.bid == 100
    story.quote(90)
    assert story.stop.fired


def test_an_update_that_is_older_than_the_one_before_is_ignored() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.wait(5).quote(100)
    story.quote(80, age=1)
    assert not story.stop.fired
    story.quote(80)
    assert story.stop.fired


def test_nothing_is_decided_by_a_price_that_is_older_than_the_limit() -> None:
    """TR-6: the engine asks for a new one, once."""
    story = Story(market(), [tp(110)], sl(90), max_quote_age=10)
    story.on_quote = "silence"
    story.wait(60).heard()
    story.quote(80, age=11).quote(79, age=11)
    assert not story.stop.fired
    assert story.heard() == ["ask price"]
    story.quote(91)
    assert not story.stop.fired
    story.wait(60).quote(80, age=10)
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize(
    ("story", "leg", "best", "beyond"),
    [
        (lambda: Story(market(), [tp(900)], sl(90, trailing=True), max_quote_age=10), "sl", 120, 108),
        (lambda: Story(market(), [tp(105, trailing=1)], sl(50), max_quote_age=10).quote(105), "tp1", 120, 118),
        (lambda: Story(when(90, trailing=10), max_quote_age=10).quote(90), "entry", 50, 55),
    ],
    ids=["stop", "target", "entry"],
)
def test_an_extreme_follows_prices_that_came_too_late_and_nothing_fires_by_them(
    story: Callable[[], Story], leg: str, best: int, beyond: int
) -> None:
    """TR-6, TR-50: the age limit is for decisions; what the price has reached since stays true when we hear it late."""
    told = story()
    told.on_quote = "silence"
    told.wait(60).quote(best, age=20).quote(beyond, age=15)
    trail = told.leg(leg).trail
    assert told.engine.extreme_of(told.trade.key, trail.group) == best
    assert told.legs(leg) == "trailing_activated"
    assert [state.extreme for _, state in told.groups.values()] == [best]
    told.quote(beyond)
    assert told.legs(leg) != "trailing_activated"


def test_a_price_from_before_the_start_moves_no_extreme() -> None:
    """EX-37: it may be from before the trail began, too, which nobody knows any more."""
    story = Story(market(), [tp(900)], sl(90, trailing=True), max_quote_age=10)
    story.on_quote = "silence"
    story.wait(60).restart().wait(30)
    group = story.stop.trail.group
    story.quote(120, age=31)
    assert story.engine.extreme_of(story.trade.key, group) == 100
    story.quote(115, age=30)
    assert story.engine.extreme_of(story.trade.key, group) == 115


def test_what_is_armed_without_a_fresh_price_asks_for_one_and_is_tested_by_it() -> None:
    """AR-3, TR-6."""
    story = Story(limit(100), (), sl(95), bid=94, max_quote_age=10)
    story.on_quote = "silence"
    story.wait(60).fill("entry")
    assert story.legs("sl") == "to_process"
    assert story.heard()[-1] == "ask price"
    story.quote(94)
    assert story.status == "stop_loss_finished"


def test_without_an_age_limit_a_quote_stands_until_the_next() -> None:
    story = Story(limit(100), (), sl(95), bid=94)
    story.wait(10_000).fill("entry")
    assert story.status == "stop_loss_finished"


def test_a_quote_of_an_unknown_pair_is_nobodys() -> None:
    story = Story(market(), [tp(110)], sl(90))
    before = story.trade
    other = InstrumentKey("binance", "USDT_OTHER")
    story.engine.handle(QuoteReceived(a_quote(1, at=story.now, key=other)), story.now)
    assert story.trade is before


def test_a_market_takes_equal_stamps_and_no_older_ones() -> None:
    kept = Market(SPOT, 1)
    assert not kept.is_fresh(START, None)
    kept.stands_at(a_quote(100, at=START))
    assert kept.takes(a_quote(101, at=START))
    assert not kept.takes(a_quote(101, at=START - 1))
    assert kept.is_fresh(START + 10 * SECOND, 10 * SECOND)
    assert not kept.is_fresh(START + 10 * SECOND + 1, 10 * SECOND)


# --- restart (EX-36, EX-37) -----------------------------------------------------------------------------------


def test_trailing_groups_that_were_shared_and_merged_survive_a_restart() -> None:
    story = Story(market(), (), sl(90, trailing=True))
    first = story.trade_id
    story.create(plan(LONG, market(), (), sl(80, trailing=True)))  # starts at the same extreme
    second = story.trade_id
    story.quote(95)
    story.create(plan(LONG, market(), (), sl(85, trailing=True)))  # starts lower, joins them at the next high
    third = story.trade_id
    story.quote(120).restart().restart()
    story.quote("108.01")
    assert not any(story.look(trade_id).status.is_final for trade_id in (first, second, third))
    story.quote(108)
    assert story.look(first).status.value == "stop_loss_finished"
    story.restart()
    story.quote("107.37")  # 120 x 85 / 95 = 107.368...
    assert not story.look(third).status.is_final
    story.quote("107.36")
    assert story.look(third).status.is_final
    story.quote("96.01")
    assert not story.look(second).status.is_final
    story.quote(96)
    assert story.look(second).status.value == "stop_loss_finished"
    assert story.groups == {}  # nothing is stored that nobody needs


@pytest.mark.parametrize("end", [Story.close, Story.cancel, lambda story: story.edit(stop=None)])
def test_a_trailing_group_ends_with_the_last_trade_that_needs_it(end: Any) -> None:
    """Otherwise every closed or cancelled trade would leave one behind, in the book and in the store."""
    story = Story(market(), [tp(110, 50), tp(300, 50, trailing=1)], sl(90, trailing=True))
    assert len(story.groups) == 1
    end(story)
    assert story.groups == {}
    story = Story(when(95, trailing=1))
    story.quote(95)
    assert len(story.groups) == 1
    story.cancel()
    assert story.groups == {}
    assert len(story._market.book) == 0


def test_recovery_is_idempotent() -> None:
    """Faults F3, F4: any number of restarts gives the same trades, the same orders, and no new one."""
    story = Story(limit(99), [tp(110, 50), tp(120, 50, trailing=1)], sl(90, trailing=True), ask=101)
    story.fill("entry", 4).heard()
    before, book = digest(story.trade), story.book
    for _ in range(3):
        story.restart()
        assert story.book == book
    assert digest(story.trade) == before
    assert set(story.heard()) <= {"query entry", "ask price"}
    story.assert_replays()


def test_a_restart_finishes_a_sequence_that_was_interrupted() -> None:
    """EX-36 (3): the stop has fired, its order is not sent."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.quote(90).heard()
    order = story._alive("tp1")
    order.state = ReportedState.CANCELED  # confirmed while nobody listened
    story.restart()
    assert story.heard() == ["query tp1", "sell sl 10 market"]
    assert story.status == "stop_loss_finished"


def test_an_order_that_was_intended_but_never_left_is_sent_after_a_restart() -> None:
    """C-9, EX-36: stored before it was sent."""
    story = Story(start=False)
    story.answers.append("silence")
    story.create(plan(LONG, market(), [tp(110)], sl(90))).heard()
    story.restart()
    assert story.heard()[:2] == ["query entry", "buy entry 10 market again"]
    assert story.status == "waiting_targets"


def test_an_order_that_was_intended_and_did_leave_is_not_sent_twice_after_a_restart() -> None:
    story = Story(start=False)
    story.safe_to_resend = False
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.create(plan(LONG, market(), [tp(110)], sl(90)))
    story.on_query = "lag"
    story.restart().wait(12)
    assert story.status == "waiting_position"
    assert story.book == {"entry": "buy 10 market"}
    story.fill("entry")
    assert story.trade.entered.amount == 10


def test_nothing_is_decided_after_a_restart_before_the_first_price() -> None:
    """EX-36 (5)."""
    story = Story(market(), [tp(110)], sl(90))
    story.restart()
    assert not story.stop.fired
    story.quote(89)
    assert story.status == "stop_loss_finished"


def test_a_late_fill_finds_its_trade_after_a_restart() -> None:
    """EX-33: trades that are over are read from the archive."""
    story = Story(market(), [tp(110)], sl(90), audit=False)
    story.cancel().restart()
    story.late_fill("tp1", 4, 110)
    assert story.trade.closed.amount == 4
    assert story.status == "cancelled"


def test_ids_go_on_after_a_restart() -> None:
    """C-8: an id that was given out never comes back."""
    story = Story(market(), [tp(110)], sl(90))
    used = {step.id for step in story.trade.steps}
    story.restart().quote(100)
    story.create(plan(LONG, market(), [tp(110)], sl(90)))
    assert story.trade_id == 2
    assert not used & {step.id for step in story.trade.steps}


# --- streams (EX-35) ------------------------------------------------------------------------------------------


def test_after_a_lost_stream_orders_are_asked_about_before_the_next_decision() -> None:
    """EX-35: the target was executed unheard, so there is nothing to stop."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_unheard("tp1").heard()
    story.on_query = "silence"
    story.tell(StreamRestored(account_id=1))
    story.quote(90)
    assert not story.stop.fired
    story.on_query = "tell"
    story.wait(5)
    assert story.status == "finished"
    assert "sell sl 10 market" not in story.heard()


def test_the_end_of_a_timeout_waits_for_news_of_the_orders_after_a_lost_stream() -> None:
    """EX-35, TR-62: a timer decides by the price, too, once the orders are known again, and by one that is fresh."""
    for executed, max_age in ((True, None), (False, None), (False, 10)):
        story = Story(market(), [tp(110)], sl(90, timeout=60), max_quote_age=max_age)
        story.quote(89).wait(30)
        if executed:
            story.fill_unheard("tp1")
        story.on_query = "silence"
        story.tell(StreamRestored(account_id=1))
        story.heard()
        story.wait(30).quote(88).quote("88.5")
        assert not story.stop.fired
        assert set(story.heard()) <= {"query tp1", "ask price"}
        story.on_query = "tell"
        story.wait(30)
        assert story.status == ("finished" if executed else "stop_loss_finished")
        assert ("sell sl 10 market" in story.heard()) is not executed


def test_a_trail_begins_while_the_orders_are_asked_about_after_a_lost_stream() -> None:
    """EX-35, TR-50: to follow a price decides nothing."""
    story = Story(limit(100), [tp(110)], sl(90, trailing=True), bid=100, max_quote_age=10)
    story.on_quote = story.on_query = "silence"
    story.wait(11).fill("entry")
    assert story.stop.awaits_price
    story.tell(StreamRestored(account_id=1)).quote(105).quote(108)
    assert story.stop.trail is not None
    assert story.engine.extreme_of(story.trade.key, story.stop.trail.group) == 108


def test_a_lost_stream_of_another_account_holds_nothing_up() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.heard()
    story.on_query = "silence"
    story.tell(StreamRestored(account_id=2))
    story.quote(90)
    assert story.heard() == ["cancel tp1", "sell sl 10 market"]


# --- timers ---------------------------------------------------------------------------------------------------


def test_timers_wake_the_earliest_first_and_a_new_deadline_replaces_the_old() -> None:
    timers = Timers()
    timers.set(1, 30)
    timers.set(2, 10)
    timers.set(3, 20)
    timers.set(1, 5)
    timers.set(3, None)
    assert timers.next() == 5
    assert timers.pop_due(9) == [1]
    assert timers.pop_due(10) == [2]
    assert timers.next() is None
    assert timers.pop_due(1000) == []


def test_timers_that_are_often_replaced_stay_small() -> None:
    timers = Timers()
    for instant in range(10_000):
        timers.set(1, 20_000 - instant)
    assert len(timers._heap) < 200
    assert timers.pop_due(20_000) == [1]


def test_a_trade_that_is_over_is_not_woken_any_more() -> None:
    story = Story(market(), [tp(110)], sl(90, timeout=60))
    story.quote(89)
    assert story.engine.next_deadline == story.now + 60 * SECOND
    story.fill("tp1").wait(60)
    assert story.engine.next_deadline is None


def test_time_never_runs_backwards() -> None:
    story = Story(market(), [tp(110)], sl(90, timeout=60))
    story.engine.handle(QuoteReceived(a_quote(89, at=story.now)), story.now - 5 * SECOND)
    assert story.stop.timer_started_at == story.now


# --- a broken rule (faults F8, F61) -----------------------------------------------------------------------------


def breaks(monkeypatch: pytest.MonkeyPatch, story: Story, trade_id: int, event: type, times: int) -> None:
    """Let the rules of one trade break on a kind of event, a number of times."""
    left = [times]

    def broken(trade: Any, given: Any, *rest: Any) -> machine.Outcome:
        if trade is not None and trade.id == trade_id and isinstance(given, event) and left[0] > 0:
            left[0] -= 1
            raise AssertionError("a rule is broken")
        return machine.handle(trade, given, *rest)

    story.faults_expected = True
    monkeypatch.setattr(engine_module, "handle", broken)


def test_a_rule_that_breaks_on_one_trade_leaves_it_unchanged_and_watched_and_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story(market(), [tp(110)], sl(90))
    first, before = story.trade_id, story.trade
    story.create(plan(LONG, market(), [tp(110)], sl(90)))
    breaks(monkeypatch, story, first, PriceCrossed, times=1)
    story.quote(90)
    assert story.look(first) is before
    assert [str(fault) for fault in story.faults] == ["a rule is broken"]
    assert story.status == "stop_loss_finished"
    story.quote("89.99")
    assert story.look(first).status.value == "stop_loss_finished"


def test_a_rule_that_goes_on_breaking_does_not_stop_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(market(), [tp(110)], sl(90))
    breaks(monkeypatch, story, story.trade_id, PriceCrossed, times=5)
    for bid in (90, 89, 88, 87, 86):
        story.quote(bid)
        assert not story.stop.fired
    story.quote(85)
    assert story.status == "stop_loss_finished"


def test_a_rule_that_breaks_on_a_timer_does_not_lose_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F8: the timeout of a stop must still end."""
    story = Story(market(), [tp(110)], sl(90, timeout=60))
    story.quote(89)
    breaks(monkeypatch, story, story.trade_id, TimeReached, times=3)
    story.wait(120)
    assert len(story.faults) == 3
    assert story.status == "stop_loss_finished"


def test_a_report_that_breaks_a_rule_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F8: what the lost report said is found out anew."""
    story = Story(limit(99), [tp(110)], sl(90), ask=101)
    breaks(monkeypatch, story, story.trade_id, OrderReport, times=1)
    story.fill("entry")
    story.wait(60)
    assert story.status == "waiting_targets"
    assert story.trade.entered.amount == 10


def test_a_command_that_breaks_a_rule_raises_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(market(), [tp(110)], sl(90))
    before = story.trade

    def broken(*_: Any) -> machine.Outcome:
        raise AssertionError("a rule is broken")

    monkeypatch.setattr(engine_module, "handle", broken)
    with pytest.raises(AssertionError, match="a rule is broken"):
        story.close()
    assert story.trade is before
    monkeypatch.undo()
    story.quote(90)
    assert story.status == "stop_loss_finished"


def test_a_granted_command_stands_where_it_left_its_trade_when_the_work_it_begins_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault F8: the answer has been promised, so the trade is there, and its work is tried again (C-10, S-4)."""
    story = Story(market(), [tp(110)], sl(90))
    created = story.trade_id + 1
    breaks(monkeypatch, story, created, Proceed, times=1)
    story.create(plan(LONG, when(90), [tp(110)], sl(80)))
    assert [str(fault) for fault in story.faults] == ["a rule is broken"]
    assert story.look(created).status.value == "created"
    story.wait(60)
    assert story.look(created).status.value == "waiting_position"
    story.quote(89)
    assert story.look(created).status.value == "waiting_targets"


def test_a_state_that_cannot_be_watched_is_left_for_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F8: the level of a granted trade that the book refuses must not cost the trade, nor what is armed."""
    story = Story(market(), [tp(110)], sl(90))
    created = story.trade_id + 1

    def refuses(*_: Any) -> None:
        raise AssertionError("cannot be watched")

    story.faults_expected = True
    with monkeypatch.context() as broken:
        broken.setattr(TriggerBook, "watch_level", refuses)
        story.create(plan(LONG, when(90), [tp(110)], sl(80)))
    assert [str(fault) for fault in story.faults] == ["cannot be watched"]
    assert story.look(created).status.value == "created"
    story.wait(60)
    assert story.look(created).status.value == "waiting_position"


# --- shared positions (S-32, EX-27, EX-29) ----------------------------------------------------------------------


def a_fill(fill_id: str, quantity: int, story: Story) -> Fill:
    fee = Money("USDT", D(quantity) / 10)
    return Fill(fill_id=fill_id, price=D(50), quantity=D(quantity), fee=fee, filled_at=story.now)


def test_a_liquidation_is_split_over_the_trades_that_shared_the_position() -> None:
    """EX-29, faults F51, F52: each books its own part, with its part of the commission."""
    story = Story(market(10), [tp(110)], sl(40), on=LINEAR)
    first = story.trade_id
    story.create(plan(LONG, market(4), [tp(110)], sl(40)))
    second = story.trade_id
    story.create(plan(TradeKind.SMART_COVER, market(3), [tp(30, by=ASK)]))
    short = story.trade_id
    fills = (a_fill("a", 6, story), a_fill("b", 8, story))
    story.tell(
        PositionLost(account_id=1, key=LINEAR.key, liquidated=True, quantity=D(14), fills=fills)
    )  # fmt: skip
    for trade_id, amount in ((first, 10), (second, 4)):
        trade = story.look(trade_id)
        assert trade.status.value == "failed"
        assert trade.closed.amount == amount
        assert trade.closed.total == amount * 50 - D(amount) / 10
    assert story.look(short).status.value == "waiting_targets"


def test_the_loss_of_another_accounts_position_touches_nothing() -> None:
    story = Story(market(10), [tp(110)], sl(40), on=LINEAR)
    story.tell(PositionLost(account_id=2, key=LINEAR.key, liquidated=True, quantity=D(10)))
    story.tell(PositionLost(account_id=1, key=LINEAR.key, liquidated=True, quantity=D(-10)))
    assert story.status == "waiting_targets"


# --- words about orders (EX-4, M-5) -----------------------------------------------------------------------------


def test_orders_that_are_not_ours_are_nobodys() -> None:
    """EX-4: another program, another installation, a trade or leg or attempt that was never made."""
    story = Story(market(), [tp(110)], sl(90))
    before, mine = story.trade, story.id_of("tp1")
    for foreign in ("x", "", mine.upper(), mine.replace("test", "best"), mine.replace("1x2x1", "9x2x1"), mine + "1"):
        report = OrderReport(
            client_order_id=foreign, venue_order_id="1", state=ReportedState.FILLED, filled_quantity=D(10)
        )
        story.tell(report)
    assert story.trade is before


def third_coin(story: Story, coin: str, amount: str) -> None:
    order = story.orders[story.id_of("entry")]
    fill = replace(story._new_fill(order, D(10), D(90)), fee=Money(coin, D(amount)))
    order.fills.append(fill)
    order.state = ReportedState.FILLED
    story.tell(order.report(fill))


def test_a_commission_in_a_third_coin_is_valued_at_its_last_price_at_that_time() -> None:
    """M-5: 0.01 x 600 in quote; what the coin costs later changes nothing, nor does a replay."""
    story = Story(limit(90), [tp(110)])
    coin = InstrumentKey("binance", "USDT_BNB")
    story.engine.handle(QuoteReceived(a_quote(599, 601, 600, story.now, coin)), story.now)
    third_coin(story, "BNB", "0.01")
    assert (story.trade.entered.amount, story.trade.entered.total) == (10, 906)
    story.engine.handle(QuoteReceived(a_quote(1, at=story.now, key=coin)), story.now)
    assert story.trade.entered.total == 906
    story.assert_replays()


def test_rates_come_from_the_pair_itself_or_over_the_dollar() -> None:
    rates = Rates({})
    market_code = "binance"
    assert rates.usd(market_code, "USDC") == 1
    assert rates.usd(market_code, "BTC") is None
    rates.note(a_quote(50_000, key=InstrumentKey(market_code, "USDT_BTC")))
    rates.note(a_quote(600, key=InstrumentKey(market_code, "USDT_BNB")))
    assert rates.usd(market_code, "BTC") == 50_000
    assert rates.usd("other", "BTC") is None
    assert rates.between(market_code, "BNB", "USDT") == 600
    assert rates.between(market_code, "BNB", "BTC") == D("0.012")
    rates.note(a_quote("0.0119", key=InstrumentKey(market_code, "BTC_BNB")))
    assert rates.between(market_code, "BNB", "BTC") == D("0.0119")
    assert rates.between(market_code, "XRP", "BTC") is None


# --- rules that change, replay ----------------------------------------------------------------------------------


def test_changed_rules_apply_to_the_next_order_and_replay_knows_which_rules_held_when() -> None:
    """EX-17."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90))
    story.rules(lot=D(1), min_lot=D(1))
    story.fill("tp1", "4.5")
    story.quote(90)
    assert story.heard()[-1] == "sell sl 5 market"
    story.assert_replays()


def test_the_digest_forgets_how_many_inputs_it_took_and_nothing_else() -> None:
    story = Story(market(), [tp(110)], sl(90))
    assert digest(replace(story.trade, revision=99)) == digest(story.trade)
    assert digest(replace(story.trade, note="x")) != digest(story.trade)


def test_the_digest_of_all_is_that_of_the_set() -> None:
    story = Story(market(), [tp(110)], sl(90))
    one = story.trade
    story.create(plan(LONG, market(), [tp(110)], sl(90)))
    assert digest_of_all([one, story.trade]) == digest_of_all([story.trade, one])
    assert digest_of_all([one]) != digest_of_all([one, story.trade])


def test_no_inputs_give_no_trade() -> None:
    assert replay([], lambda _: SPOT, "test") is None


def test_an_input_that_changes_nothing_is_not_journalled() -> None:
    story = Story(market(), [tp(110)], sl(90))
    before = len(story.journal)
    story.quote(101).quote(102).force_process().tell(story.report_of("tp1"))
    assert len(story.journal) == before
    assert [given.number for given in story.journal] == list(range(1, before + 1))
