"""The stop loss: level, trailing as an exact fraction, timeout, breakeven (behaviour 2.4, 3.6 to 3.9)."""

from decimal import Decimal
from fractions import Fraction

import pytest
from driver import FEE, FEE_IN_BASE, LINEAR, Story, limit, market, own, plan, refused, sl, tp
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.events import WatchRole
from smarttrade.domain.order import RefusalKind
from smarttrade.domain.plan import Leverage, MarginMode, StopPlan, TradeKind
from smarttrade.domain.quote import SECOND, PriceType
from smarttrade.domain.stop_loss import effective_level
from smarttrade.domain.watches import watches

D = Decimal
ASK = PriceType.ASK


def long(stop: StopPlan, **more: object) -> Story:
    return Story(market(), [tp(200, 50), tp(300, 50)], stop, **more)  # type: ignore[arg-type]


def short(stop: StopPlan, **more: object) -> Story:
    targets = [tp(50, 50, by=ASK), tp(40, 50, by=ASK)]
    return Story(market(), targets, stop, kind=TradeKind.SMART_COVER, **more)  # type: ignore[arg-type]


def level(story: Story) -> Fraction | None:
    """The exact level now."""
    stop = story.stop
    extreme = None if stop.trail is None else story.engine.extreme_of(story.trade.key, stop.trail.group)
    return effective_level(stop, story.trade.is_long, extreme)


def survives(story: Story, *prices: object) -> None:
    for price in prices:
        story.quote(price)  # type: ignore[arg-type]
        assert not story.stop.fired, price


def fires(story: Story, price: object) -> None:
    story.quote(price)  # type: ignore[arg-type]
    assert story.status == "stop_loss_finished", price


# --- level (TR-3, TR-4, TR-8, TR-48, TR-49, TR-71) ------------------------------------------------------------


def test_a_stop_fires_at_its_level_and_not_before() -> None:
    """TR-3, SL-4, SL-8, S-16."""
    story = long(sl(90))
    survives(story, 91, "90.01")
    fires(story, 90)
    story = short(sl(110, by=ASK))
    survives(story, 109, "109.99")
    fires(story, 110)


def test_a_level_between_two_ticks_is_compared_as_given() -> None:
    """TR-8."""
    story = long(sl("90.0034754"))
    survives(story, "90.01")
    fires(story, "90.00")


def test_a_gap_through_the_stop_closes_at_the_worse_price() -> None:
    """TR-71."""
    story = long(sl(90))
    fires(story, 70)
    assert story.trade.closed.total == 700


def test_each_price_type_is_followed_on_its_own() -> None:
    """C-3, TR-1."""
    story = long(sl(90, by=PriceType.LAST))
    story.quote(80, 81, 95)
    assert not story.stop.fired
    story.quote(95, 96, 90)
    assert story.status == "stop_loss_finished"


def test_a_limit_stop_that_the_market_has_passed_rests_at_its_price() -> None:
    """TR-49."""
    story = long(sl(90, at="89.5"))
    story.quote(89)
    assert story.book == {"sl": "sell 10 @ 89.5"}
    story = short(sl(110, at="110.5", by=ASK))
    story.quote(111)
    assert story.book == {"sl": "buy 10 @ 110.5"}


def test_a_limit_price_is_rounded_to_the_tick_away_from_the_counterparty() -> None:
    """TR-9: a sell up, a buy down."""
    story = long(sl(90, at="89.501"))
    story.quote(89)
    assert story.book == {"sl": "sell 10 @ 89.51"}
    story = short(sl(110, at="110.509", by=ASK))
    story.quote(111)
    assert story.book == {"sl": "buy 10 @ 110.5"}


def test_a_stop_that_is_reached_already_fires_when_it_is_armed() -> None:
    """AR-3, TR-4: against the newest price, after all limit steps are sent."""
    story = Story(limit(100), [tp(200)], sl(95), bid=94)
    story.heard()
    story.fill("entry")
    assert story.heard() == ["sell tp1 10 @ 200", "cancel tp1", "sell sl 10 market"]
    assert story.status == "stop_loss_finished"


def test_one_price_beyond_the_level_is_enough() -> None:
    """TR-7: no filter holds back what looks like a spike."""
    story = long(sl(90))
    survives(story, 100, 100)
    fires(story, 1)


def test_the_stop_never_rests_at_the_exchange() -> None:
    """SL-15, SL-2: market, limit or trailing, armed or beside a resting target."""
    for stop in (sl(90), sl(90, at=89), sl(90, trailing=True), sl(90, timeout=60)):
        story = long(stop)
        survives(story, 95, 110, 100)
        assert set(story.book) == {"tp1", "tp2"}


def test_the_estimate_of_the_liquidation_price_fires_nothing() -> None:
    """M-52: with leverage 10 it lies near 90; only the exchange liquidates."""
    story = Story(on=LINEAR)
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(200)], None, Leverage(MarginMode.ISOLATED, D(10))))
    story.heard()
    story.quote(50)
    assert (story.status, story.heard()) == ("waiting_targets", [])


@pytest.mark.parametrize(
    ("kind", "percent", "price"),
    [(TradeKind.SMART_TRADE, 6, "94.00"), (TradeKind.SMART_COVER, 6, "106.00"), (TradeKind.SMART_TRADE, -6, "94.00")],
)
def test_a_percent_is_taken_from_the_entry_price_whatever_its_sign(kind: TradeKind, percent: int, price: str) -> None:
    """TR-30."""
    story = Story(market(), (), sl(percent=percent), kind=kind)
    assert story.stop.configured_price == D(price)


def test_a_percent_uses_the_entry_price_with_commission() -> None:
    """TR-30: 385.385 by 6 % is 362.2619, half up 362.26."""
    fee = {"maker_fee": D("0.001"), "taker_fee": D("0.001")}
    story = Story(market(), (), sl(percent=6), bid=385, **fee)
    assert story.stop.configured_price == D("362.26")
    story = Story(market(), (), sl(percent=6), kind=TradeKind.SMART_COVER, bid=405, **fee)
    assert story.stop.configured_price == D("428.87")


def test_a_limit_stop_by_percent_resolves_both_prices() -> None:
    """TR-34."""
    story = Story(market(), (), sl(percent=6, at_percent=7))
    assert (story.stop.configured_price, story.stop.limit_price) == (94, 93)


# --- trailing (TR-50 to TR-54) --------------------------------------------------------------------------------


def test_the_published_table_of_a_long_reproduces_exactly() -> None:
    """TR-50, SL-3."""
    story = long(sl(90, trailing=True))
    assert story.legs("sl") == "trailing_activated"
    table = {100: "90", 102: "91.8", 105: "94.5", 101: "94.5", 108: "97.2", 112: "100.8"}
    for bid, expected in table.items():
        survives(story, bid)
        assert level(story) == Fraction(expected), bid
    survives(story, 108, "100.81")
    fires(story, "100.80")


def test_the_mirrored_table_of_a_short_reproduces_exactly() -> None:
    """TR-50."""
    story = short(sl(110, trailing=True, by=ASK))
    table = {100: "110", 98: "107.8", 95: "104.5", 99: "104.5", 90: "99"}
    for ask, expected in table.items():
        survives(story, ask)
        assert level(story) == Fraction(expected), ask
    survives(story, "98.99")
    fires(story, "99.00")


def test_a_ratio_without_an_end_is_never_rounded() -> None:
    """TR-50: level 1/3 of the reference; at 100.01 it lies at 33.3366..., between two ticks."""
    story = Story(market(), (), sl(1, trailing=True), bid=3)
    survives(story, "100.01")
    assert level(story) == Fraction(10001, 300)
    survives(story, "33.34")
    fires(story, "33.33")


def test_before_any_move_the_level_is_exactly_the_configured_one() -> None:
    """TR-50: 7 x (90 / 7) is not 90 in decimals."""
    story = Story(market(), (), sl("2.99", trailing=True), bid=7)
    survives(story, "3")
    fires(story, "2.99")


def test_a_given_percent_may_tighten_the_stop_but_not_loosen_it() -> None:
    """TR-51."""
    story = long(sl(90, trailing=True, trailing_percent=5))
    assert level(story) == 95
    survives(story, 110)
    assert level(story) == Fraction("104.5")
    story = long(sl(90, trailing=True, trailing_percent=20))
    assert level(story) == 90
    survives(story, 115)
    assert level(story) == 92
    story = short(sl(110, trailing=True, trailing_percent=5, by=ASK))
    assert level(story) == 105


def test_averaging_and_reducing_touch_neither_extreme_nor_ratio() -> None:
    """TR-54."""
    story = long(sl(90, trailing=True))
    survives(story, 120)
    story.add(5).reduce(3)
    assert level(story) == 108
    fires(story, 108)


def test_the_extreme_and_the_level_survive_a_restart() -> None:
    """EX-36 (4), EX-37: what the price did meanwhile is not known."""
    story = long(sl(90, trailing=True))
    survives(story, 120, 115)
    story.restart()
    assert level(story) == 108
    survives(story, "108.01")
    fires(story, 108)


def test_an_edit_of_the_level_starts_the_trailing_anew_and_another_edit_does_not() -> None:
    """TR-53, E-30."""
    story = long(sl(90, trailing=True))
    survives(story, 120)
    story.edit(stop=sl(90, trailing=True, timeout=5))
    assert level(story) == 108
    story.edit(stop=sl(100, trailing=True, timeout=5))
    assert story.stop.reference_price == 120
    assert level(story) == 100
    story.edit(stop=sl(100, trailing=True, by=ASK))
    assert story.stop.reference_price == 120


def test_trailing_waits_for_a_fresh_reference_price() -> None:
    """TR-6, TR-50, fault F39: the ratio is not taken from an old price."""
    story = Story(limit(100), (), sl(90, trailing=True), bid=105, max_quote_age=10)
    story.on_quote = "silence"
    story.wait(60).fill("entry")
    assert story.legs("sl") == "idle"
    assert "ask price" in story.heard()
    story.quote(101)
    assert story.legs("sl") == "trailing_activated"
    assert story.stop.reference_price == 101


@settings(max_examples=60, deadline=None)
@given(
    start=st.decimals("1", "500", places=2),
    distance=st.decimals("0.01", "0.9", places=4),
    moves=st.lists(st.decimals("-0.05", "0.08", places=3), max_size=12),
    is_long=st.booleans(),
)
def test_a_trailing_level_never_moves_against_the_trade_and_fires_exactly_when_it_is_reached(
    start: Decimal, distance: Decimal, moves: list[Decimal], is_long: bool
) -> None:
    """TR-50 against fractions worked out by hand."""
    configured = (start * (1 - distance if is_long else 1 + distance)).quantize(D("0.01"))
    if configured <= 0 or (configured == start):
        return
    kind = TradeKind.SMART_TRADE if is_long else TradeKind.SMART_COVER
    stop = sl(configured, trailing=True, by=PriceType.BID)
    story = Story(market(100), (), stop, kind=kind, bid=start, min_total=D("0.01"), min_market_total=D("0.01"))
    extreme = price = start
    for move in moves:
        price = max((price * (1 + move)).quantize(D("0.01")), D("0.01"))
        extreme = max(extreme, price) if is_long else min(extreme, price)
        line = Fraction(extreme) * Fraction(configured) / Fraction(start)
        story.quote(price)
        assert story.stop.fired == (price <= line if is_long else price >= line)
        if story.stop.fired:
            return


# --- timeout (TR-60 to TR-67) ---------------------------------------------------------------------------------


def test_the_table_of_the_timeout_of_a_long() -> None:
    """TR-60 to TR-62, SL-5 to SL-7."""
    story = long(sl(90, timeout=60))
    begin = story.now
    for second, bid, started in (
        (0, "90.00", 0), (30, "89.50", 0), (45, "90.01", None), (50, "89.90", 50), (80, "88.00", 50),
    ):  # fmt: skip
        story.wait(second - story.seconds).quote(bid)
        timer = story.stop.timer_started_at
        assert timer == (None if started is None else begin + started * SECOND), second
        assert not story.stop.fired
    story.wait(109 - story.seconds).quote(89)
    assert not story.stop.fired
    story.wait(1)
    assert story.status == "stop_loss_finished"
    assert story.trade.closed.total == 890


def test_a_price_that_has_recovered_at_the_end_clears_the_timer() -> None:
    """TR-62, TR-5a: of a timer and an update at the same instant, the update comes first."""
    story = short(sl(110, timeout=60, by=ASK))
    story.quote(110).wait(59).quote(111)
    story.wait("0.999").quote("109.99")
    story.wait("0.001")
    assert not story.stop.fired
    assert story.stop.timer_started_at is None


def test_only_a_price_strictly_beyond_the_level_clears_the_timer() -> None:
    """TR-61."""
    story = long(sl(90, timeout=60))
    story.quote(89).wait(30).quote(90).wait(30)
    assert story.status == "stop_loss_finished"


def test_without_a_fresh_price_at_its_end_the_timer_asks_and_decides_with_the_answer() -> None:
    """TR-63."""
    for answer, end in ((89, "stop_loss_finished"), (91, "waiting_targets")):
        story = long(sl(90, timeout=60), max_quote_age=10)
        story.on_quote = "silence"
        story.quote(89).wait(45).quote(89).wait("14.9").heard()
        story.wait("0.1")
        assert story.heard() == ["ask price"]
        assert not story.stop.fired
        story.wait(7).quote(answer)
        assert story.status == end


def test_the_timer_begins_anew_after_a_restart() -> None:
    """TR-64: N seconds that the server has seen."""
    story = long(sl(90, timeout=60))
    story.quote(89).wait(50)
    story.restart().quote(89).wait(59)
    assert not story.stop.fired
    story.wait(1)
    assert story.status == "stop_loss_finished"


def test_an_edit_of_the_stop_clears_the_timer() -> None:
    """TR-65."""
    story = long(sl(90, timeout=60))
    story.quote(89).wait(50).edit(stop=sl(90, timeout=61))
    story.wait(60)
    assert not story.stop.fired
    story.wait(1)
    assert story.stop.fired


def test_targets_stay_active_while_the_timer_runs() -> None:
    """TR-66."""
    story = long(sl(90, timeout=60))
    story.quote(89).fill("tp1").wait(60)
    assert story.heard()[-1] == "sell sl 5 market"


def test_the_timeout_applies_to_the_trailing_level() -> None:
    """TR-67."""
    story = long(sl(90, timeout=60, trailing=True))
    survives(story, 120, 108)
    assert story.stop.timer_started_at is not None
    survives(story, "108.01")
    assert story.stop.timer_started_at is None
    survives(story, 107)
    story.wait(60)
    assert story.status == "stop_loss_finished"


def test_the_extreme_cannot_move_while_the_timer_runs_unless_the_price_recovers() -> None:
    story = long(sl(90, timeout=60, trailing=True))
    survives(story, 110, 99, 98)
    assert level(story) == 99
    survives(story, 111)
    assert level(story) == Fraction("99.9")


def test_a_better_price_moves_the_extreme_before_the_level_is_tested_while_the_timer_runs() -> None:
    """TR-5, TR-62: a trail that was armed beyond its level stays beyond it, whatever the price does."""
    for bid, better in ((90, (91, 92, 120)), (88, ("88.5", "90.5", 120, 95))):
        story = long(sl(90, timeout=60, trailing=True), bid=bid, ask=100)
        begin = story.now
        for price in better:
            survives(story.wait(10), price)
            assert story.stop.timer_started_at == begin
        story.wait(60 - story.seconds)
        assert story.status == "stop_loss_finished"
    story = short(sl(110, timeout=60, trailing=True, by=ASK), bid=100, ask=110)
    survives(story, 109, 105)
    story.wait(60)
    assert story.status == "stop_loss_finished"


# --- breakeven (BE-*) -----------------------------------------------------------------------------------------


def test_the_first_executed_target_moves_the_stop_to_the_entry_price_once() -> None:
    """SL-11, BE-1, BE-2, BE-9: 1000 / 9.99 up to the tick."""
    story = Story(limit(100), [tp(110, 50), tp(120, 50)], sl(90, breakeven=True), bid=101, **FEE_IN_BASE)
    story.fill("entry").quote(105).fill("tp1")
    assert level(story) == Fraction("100.11")
    story.add(1, 104).fill("avg1")
    assert level(story) == Fraction("100.11")
    survives(story, "100.12")
    fires(story, "100.11")


def test_a_short_breaks_even_a_tick_in_its_favour() -> None:
    """BE-2: down for a short; 999 / 10."""
    fee = {"maker_fee": D("0.001"), "taker_fee": D("0.001"), "tick": D("0.1")}
    story = short(sl(110, breakeven=True, by=ASK), **fee)
    story.fill("tp1")
    assert level(story) == Fraction("99.9")
    story = short(sl(110, breakeven=True, by=ASK), **{**fee, "tick": D("0.25")})
    story.fill("tp1")
    assert level(story) == Fraction("99.75")


@pytest.mark.parametrize(
    ("kind", "covered", "plain"),
    [(TradeKind.SMART_TRADE, "100.21", "100.10"), (TradeKind.SMART_COVER, "99.80", "99.90")],
)
def test_breakeven_covers_the_commission_of_the_exit_where_the_setting_says_so(
    kind: TradeKind, covered: str, plain: str
) -> None:
    """BE-3: 100.1 / 0.999 = 100.2002..., 99.9 / 1.001 = 99.8001...; there the profit is nothing (M-40)."""
    targets = [tp(200, 50), tp(300, 50)] if kind is TradeKind.SMART_TRADE else [tp(50, 50), tp(40, 50)]
    stop = sl(90 if kind is TradeKind.SMART_TRADE else 110, breakeven=True)
    for covers, level_now in ((True, covered), (False, plain)):
        story = Story(start=False, **FEE)
        story.engine.settings = replace(story.engine.settings, breakeven_covers_exit_fee=covers)
        story.create(plan(kind, market(), targets, stop))
        story.quote(105 if kind is TradeKind.SMART_TRADE else 95).fill("tp1")
        assert level(story) == Fraction(level_now)


def test_a_step_executed_by_hand_counts_and_a_partial_fill_does_not() -> None:
    """BE-1."""
    story = long(sl(90, breakeven=True))
    story.fill("tp1", 4)
    assert level(story) == 90
    story.close_leg("tp2")
    assert level(story) == 100


def test_own_funds_break_even_at_the_price_that_was_given() -> None:
    """TR-35: 100, though the market stood at 105 when the trade was made."""
    targets = [tp(110, 50), tp(120, 50)]
    story = Story(own(100), targets, sl(90, breakeven=True), kind=TradeKind.SMART_SELL, bid=105)
    story.fill("tp1")
    assert level(story) == 100


def test_the_level_never_gets_worse() -> None:
    """BE-4: a stop above the entry stays where it is."""
    story = Story(limit(100), [tp(200, 50), tp(300, 50)], sl(105, breakeven=True), bid=120)
    story.fill("entry", price=100).fill("tp1")
    assert level(story) == 105


def test_with_trailing_the_better_of_the_two_levels_counts() -> None:
    """BE-5: floor at the entry, until 0.9 x extreme exceeds it."""
    story = long(sl(90, trailing=True, breakeven=True))
    survives(story, 105)
    story.fill("tp1")
    assert level(story) == 100
    survives(story, 111)
    assert level(story) == 100
    survives(story, 112)
    assert level(story) == Fraction("100.8")
    survives(story, "100.81")
    fires(story, "100.80")


def test_a_breakeven_floor_fires_although_the_trailing_level_is_lower() -> None:
    story = long(sl(90, trailing=True, breakeven=True))
    survives(story, 105)
    story.fill("tp1")
    survives(story, "100.01")
    fires(story, 100)


def test_the_price_of_a_limit_stop_moves_by_the_same_ratio() -> None:
    """BE-6: 89.5 x 100 / 90 = 99.444..., a sell up to the tick."""
    story = Story(limit(100), [tp(200, 50), tp(300, 50)], sl(90, at="89.5", breakeven=True), bid=105)
    story.fill("entry").fill("tp1").quote(99)
    assert story.book == {"sl": "sell 5 @ 99.45"}


def test_the_move_clears_the_timer_and_a_level_that_stays_lets_it_run() -> None:
    """BE-7."""
    story = long(sl(90, timeout=60, breakeven=True))
    story.quote(89).wait(30).fill("tp1")
    assert story.stop.timer_started_at == story.now  # cleared, and reached again at the new level (BE-8)
    story = Story(limit(100), [tp(200, 50), tp(300, 50)], sl(105, timeout=60, breakeven=True), bid=120)
    story.fill("entry", price=100).quote(104)
    begin = story.now
    story.wait(30).fill("tp1")
    assert story.stop.timer_started_at == begin
    story.wait(30)
    assert story.status == "stop_loss_finished"


def test_a_market_beyond_the_new_level_fires_at_once() -> None:
    """BE-8."""
    story = long(sl(90, breakeven=True))
    story.quote(95)
    assert not story.stop.fired
    story.fill("tp1")
    assert story.status == "stop_loss_finished"


def test_turning_breakeven_on_after_the_first_target_applies_it_at_once() -> None:
    """E-31."""
    story = long(sl(90))
    story.quote(105).fill("tp1").edit(stop=sl(90, breakeven=True))
    assert level(story) == 100


def test_turning_it_off_leaves_the_moved_level_and_another_level_overrides_it() -> None:
    """E-31, BE-9."""
    story = long(sl(90, breakeven=True))
    story.quote(105).fill("tp1").edit(stop=sl(100))
    assert level(story) == 100
    story.edit(stop=sl(95))
    assert level(story) == 95
    story = long(sl(90, breakeven=True))
    story.quote(105).fill("tp1").edit(stop=sl(95, breakeven=True))
    assert level(story) == 95  # it happens once


def moved_and_turned_off(stop: StopPlan, entry_price: Decimal) -> Story:
    """Own coins of 100 each whose stop has moved from 90 to breakeven; `stop` replaces it, then their price changes."""
    targets = [tp(110, 50), tp(300, 50)]
    story = Story(own(100), targets, sl(90, at="89.5", breakeven=True), kind=TradeKind.SMART_SELL)
    story.quote(120).fill("tp1")
    assert [story.legs("tp1"), level(story)] == ["finished", 100]
    return story.edit(stop=stop).edit_position(price=entry_price)


def test_turning_breakeven_off_and_on_never_loosens_the_level() -> None:
    """BE-4, E-31: the entry price has become a worse level than the one that was moved."""
    story = moved_and_turned_off(sl(100), D(95))
    story.edit(stop=sl(100, breakeven=True))
    assert level(story) == 100


def test_a_limit_that_was_given_to_a_moved_level_moves_from_there() -> None:
    """BE-6, E-31: 99 x 104 / 100; from the level of 90 it would rest at 114.40, where nobody buys while prices fall."""
    story = moved_and_turned_off(sl(100, at=99), D(104))
    story.edit(stop=sl(100, at=99, breakeven=True))
    assert level(story) == 104
    story.quote(103)
    assert story.book == {"sl": "sell 5 @ 102.96"}


def test_breakeven_with_a_percent_stop_starts_from_the_resolved_level() -> None:
    story = long(sl(percent=8, breakeven=True))
    assert level(story) == 92
    story.quote(105).fill("tp1")
    assert level(story) == 100


# --- order of things (TR-5, TR-45, TR-72) ---------------------------------------------------------------------


def test_the_stop_stays_armed_while_a_target_trails() -> None:
    """TR-45."""
    story = Story(market(), [tp(105, trailing=10)], sl(97))
    story.quote(105)
    assert story.legs("tp1") == "trailing_activated"
    fires(story, 97)


def test_of_an_outage_only_what_the_exchange_reports_and_the_first_price_count() -> None:
    """TR-72: meanwhile the price went over the targets and then under the stop."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1").quote(80)  # the resting target was executed: reports come first
    assert (story.status, story.legs("sl")) == ("finished", "cancelled")
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.restart().quote(80)  # the watched one saw nothing
    assert story.status == "stop_loss_finished"
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.restart().quote(100)
    assert story.status == "waiting_targets"


def test_a_refused_target_does_not_disarm_the_stop() -> None:
    """EX-12, TR-45."""
    story = Story(market(), [tp(105, at_market=True)], sl(97))
    story.answers.extend([refused(RefusalKind.PERMANENT, "no")] * 20)
    story.quote(105).wait(300)
    assert story.trade.error == "no"
    assert {watch.role for watch in watches(story.trade)} == {WatchRole.LEVEL}
    story.answers.clear()
    story.restart()
    fires(story, 97)
