"""Entering a position: orders, conditions, trailing, forced starts, averaging, failures (2.2, 2.5, 3.2, 3.3)."""

from decimal import Decimal
from typing import Any

import pytest
from driver import FEE_IN_BASE, LINEAR, Story, limit, market, own, plan, refused, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain.errors import Denied
from smarttrade.domain.money import Money
from smarttrade.domain.order import RefusalKind, ReportedState
from smarttrade.domain.plan import EntryPlan, EntryType, Leverage, MarginMode, SmartTradePlan, TradeKind
from smarttrade.domain.quote import PriceType

D = Decimal
K = RefusalKind
BID = PriceType.BID
KIND = TradeKind.SMART_TRADE


def unprotected(story: Story) -> Story:
    """Turn the setting *protect partial entry* off for the trade to come."""
    story.engine.settings = replace(story.engine.settings, protect_partial_entry=False)
    return story


# --- kinds (1.1, 1.2) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "entry", "first", "end"),
    [
        (TradeKind.SIMPLE_BUY, market(), ["buy entry 10 market"], "finished"),
        (TradeKind.SIMPLE_SELL, market(), ["sell entry 10 market"], "finished"),
        (TradeKind.SMART_TRADE, market(), ["buy entry 10 market"], "waiting_targets"),
        (TradeKind.SMART_COVER, market(), ["sell entry 10 market"], "waiting_targets"),
        (TradeKind.SMART_SELL, own(), [], "waiting_targets"),
        (TradeKind.SMART_BUY, own(), [], "waiting_targets"),
    ],
)
def test_each_kind_enters_on_its_side(kind: TradeKind, entry: EntryPlan, first: list[str], end: str) -> None:
    """S-2, S-6, S-9, P-1."""
    story = Story(entry, kind=kind)
    assert story.heard() == first
    assert story.status == end
    assert story.legs("entry") == ("smart_sell" if kind.is_own_funds else "finished")
    story.assert_replays()


@pytest.mark.parametrize(("kind", "exit_side"), [(TradeKind.SMART_SELL, "sell"), (TradeKind.SMART_BUY, "buy")])
def test_own_funds_are_left_by_the_opposite_side(kind: TradeKind, exit_side: str) -> None:
    """C-2, V-1."""
    story = Story(own(), [tp(100)], kind=kind)
    assert story.book == {"tp1": f"{exit_side} 10 @ 100"}


def test_own_funds_without_a_price_are_valued_at_the_last_price() -> None:
    """M-9."""
    story = Story(start=False)
    story.quote(100, 102, "101.5")
    story.create(plan(TradeKind.SMART_SELL, own(None), [tp(110)]))
    assert story.trade.entered.total == 1015


def test_exits_are_armed_stop_first_then_targets_by_position() -> None:
    """AR-1, AR-2: limit steps rest, others are watched."""
    story = Story(limit(99), [tp(110, 40), tp(120, 30, at_market=True), tp(130, 30, trailing=1)], sl(90), ask=101)
    story.heard()
    story.fill("entry")
    assert story.heard() == ["sell tp1 4 @ 110"]
    assert story.legs("sl", "tp1", "tp2", "tp3") == "to_process order_placed to_process to_process"


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (TradeKind.SMART_SELL, own()),
        (TradeKind.SMART_BUY, own()),
        (TradeKind.SMART_TRADE, market()),
        (TradeKind.SMART_COVER, market()),
    ],
)
def test_a_trade_without_exits_waits_until_a_person_acts(kind: TradeKind, entry: EntryPlan) -> None:
    """V-4, V-5."""
    story = Story(entry, kind=kind)
    story.heard()
    story.quote(1).quote(10000).wait(86400)
    assert (story.status, story.heard()) == ("waiting_targets", [])
    story.close()
    assert story.status == "panic_sold"


@pytest.mark.parametrize(
    ("entry", "then"),
    [
        (market(), []),
        (limit(100), ["fill"]),
        (when(100), []),
        (when(99, price=100), [99, "fill"]),
        (when(90, trailing=10), [90, "99", 100]),
    ],
    ids=["market", "limit", "conditional", "conditional limit", "trailing"],
)
def test_percent_targets_go_with_every_entry(entry: EntryPlan, then: list[Any]) -> None:
    """TR-33."""
    story = Story(entry, [tp(percent=10)], sl(percent=10))
    for move in then:
        story.fill("entry") if move == "fill" else story.quote(move)
    entered = story.trade.entered.total / story.trade.entered.amount
    assert (story.leg("tp1").price, story.stop.configured_price) == (entered * D("1.1"), entered * D("0.9"))  # type: ignore[union-attr]


# --- conditions (TR-10 to TR-12) ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "by", "now", "trigger", "waits", "fires"),
    [
        (TradeKind.SMART_TRADE, PriceType.ASK, 105, 100, ["102", "100.01"], "100.00"),
        (TradeKind.SMART_TRADE, PriceType.ASK, 105, 110, ["109.99"], "110.00"),
        (TradeKind.SMART_TRADE, PriceType.ASK, 105, 110, ["108"], "113"),
        (TradeKind.SMART_COVER, BID, 105, 110, ["109.9"], "110.2"),
        (TradeKind.SMART_COVER, BID, 105, 100, ["100.5"], "99.8"),
    ],
)
def test_the_table_of_conditional_entries(
    kind: TradeKind, by: PriceType, now: int, trigger: int, waits: list[str], fires: str
) -> None:
    """S-5, P-4, TR-3, TR-10: the direction is chosen from the price at creation."""
    story = Story(when(trigger, by=by), kind=kind, bid=now)
    for price in waits:
        story.quote(price)
    assert story.heard() == []
    story.quote(fires)
    assert len(story.heard()) == 1
    assert story.status == "waiting_targets"


def test_a_trigger_that_equals_the_price_fires_at_once() -> None:
    """TR-10."""
    assert Story(when(100)).status == "waiting_targets"


def test_the_direction_survives_a_restart_on_the_other_side() -> None:
    """TR-10, EX-36: stored, not derived again."""
    story = Story(when(90), bid=100)
    story.restart().quote(95)
    assert story.heard() == []
    story.quote(80)
    assert story.heard() == ["buy entry 10 market"]


def test_a_conditional_limit_order_is_sent_at_the_trigger_and_stays_after_it() -> None:
    """P-4, TR-11, TR-12."""
    story = Story(when(110, price=108), bid=105)
    story.quote("109.99")
    assert story.heard() == []
    story.quote(110)
    assert story.heard() == ["buy entry 10 @ 108"]
    story.quote(100)
    assert story.book == {"entry": "buy 10 @ 108"}


# --- trailing entries (TR-20 to TR-24) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "by", "now", "trigger", "percent", "waits", "fires"),
    [
        (TradeKind.SMART_TRADE, PriceType.ASK, 420, 400, 10, ["401", "400", "370", "350", "384.99"], "385"),
        (TradeKind.SMART_TRADE, PriceType.ASK, 34800, 34360, 1, ["34360", "33500", "33834.99"], "33835"),
        (TradeKind.SMART_COVER, BID, 380, 400, 10, ["400", "450", "405.01"], "405"),
        (TradeKind.SMART_COVER, BID, 380, 400, 10, ["400"], "355"),
    ],
)
def test_the_table_of_trailing_entries(
    kind: TradeKind, by: PriceType, now: int, trigger: int, percent: int, waits: list[str], fires: str
) -> None:
    """P-5, P-6, TR-20 to TR-22."""
    story = Story(when(trigger, trailing=percent, by=by), kind=kind, bid=now)
    for price in waits:
        story.quote(price)
    assert story.heard() == []
    assert story.legs("entry") == "trailing_activated"
    story.quote(fires)
    assert len(story.heard()) == 1
    assert story.status == "waiting_targets"


def test_a_deviation_of_zero_fires_at_activation() -> None:
    """TR-23."""
    story = Story(when(95, trailing=0))
    story.quote(95)
    assert story.status == "waiting_targets"


def test_a_trailing_entry_keeps_its_extreme_over_a_restart() -> None:
    """EX-36."""
    story = Story(when(400, trailing=10), bid=420)
    story.quote(400).quote(350).quote(360).restart()
    story.quote("384.99")
    assert story.heard() == []
    story.quote(385)
    assert story.heard() == ["buy entry 10 market"]


def test_a_trailing_entry_that_has_fired_is_sent_whatever_the_price_does_next() -> None:
    """TR-24, TR-12: the exchange is too busy for the first attempts."""
    story = Story(when(90, trailing=10))
    story.answers.extend([refused(K.TRANSIENT, "busy")] * 2)
    story.quote(90).quote(99).quote(80).quote(70)
    assert story.status == "waiting_position"
    story.wait(10)
    assert (story.status, story.trade.entered.amount) == ("waiting_targets", 10)


def test_a_trailing_entry_waits_for_years() -> None:
    """TR-25."""
    story = Story(when(90, trailing=10))
    story.quote(90).wait(5 * 365 * 86400).quote("98.99")
    assert (story.heard(), story.legs("entry")) == ([], "trailing_activated")
    story.quote(99)
    assert story.heard() == ["buy entry 10 market"]


# --- forced starts (P-9 to P-13) ------------------------------------------------------------------------------


def test_a_forced_limit_entry_leaves_the_book_and_is_executed_at_market() -> None:
    """P-9, P-10, P-13."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.fill("entry", 3).heard()
    story.force_start()
    assert story.heard() == ["cancel entry", "buy entry 7 market", "sell tp1 10 @ 110"]
    assert story.legs("entry") == "finished"


@pytest.mark.parametrize("entry", [when(90), when(90, price=89), when(90, trailing=5)])
def test_a_forced_condition_is_executed_at_market(entry: EntryPlan) -> None:
    """P-9, P-10."""
    story = Story(entry, [tp(110)], sl(80))
    story.force_start()
    assert story.heard() == ["buy entry 10 market", "sell tp1 10 @ 110"]


def test_r6_a_forced_entry_that_fills_at_its_limit_first_is_bought_once() -> None:
    """P-11."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.on_cancel = "hold"
    story.force_start().heard()
    story.fill("entry")
    assert story.heard() == ["sell tp1 10 @ 110"]
    assert story.trade.entered.amount == 10


def test_a_rest_below_the_minimum_ends_a_forced_entry() -> None:
    """P-12."""
    story = Story(limit(90, 1), [tp(110)], sl(50), min_market_total=D(20))
    story.fill("entry", "0.9").heard()
    story.force_start()
    assert story.heard() == ["cancel entry", "sell tp1 0.9 @ 110"]
    assert story.status == "waiting_targets"


def test_forcing_a_market_entry_has_no_extra_effect() -> None:
    """F-6."""
    story = Story(start=False)
    story.fill_at_market = False
    story.create(plan(KIND, market(), [tp(110)])).force_start()
    assert story.heard() == ["buy entry 10 market"]
    story.fill("entry")
    assert story.trade.entered.amount == 10


def test_a_forced_entry_whose_first_order_was_not_acknowledged_yet_is_bought_once() -> None:
    story = Story(start=False)
    story.answers.append("silence")
    story.create(plan(KIND, limit(90), [tp(110)])).force_start()
    assert story.heard() == ["buy entry 10 @ 90"]
    story.tell(story.venue_has("entry"))
    assert story.heard() == ["cancel entry", "buy entry 10 market", "sell tp1 10 @ 110"]


# --- entries that fail (S-8, S-11, S-12, EX-5, EX-8) ------------------------------------------------------------


@pytest.mark.parametrize("kind", [K.RECOVERABLE, K.INSUFFICIENT_FUNDS, K.PERMANENT, K.PRICE_BAND])
def test_a_refused_entry_fails_the_trade_with_the_exchanges_words(kind: RefusalKind) -> None:
    """P-15, S-8, EX-8."""
    story = Story(start=False)
    story.answers.append(refused(kind, "Account has insufficient balance"))
    story.create(plan(KIND, limit(90), [tp(110)], sl(80)))
    assert (story.status, story.trade.error) == ("failed", "Account has insufficient balance")
    assert story.leg("entry").error == "Account has insufficient balance"
    assert story.legs("entry", "tp1", "sl") == "failed cancelled cancelled"
    assert story.trade.closed_at == story.now
    story.assert_replays()


def test_averaging_is_cancelled_when_the_entry_fails() -> None:
    """S-8."""
    story = Story(when(95), [tp(110)], sl(80))
    story.add(5, 90)
    story.answers.append(refused(K.RECOVERABLE, "no"))
    story.quote(95)
    assert story.status == "failed"
    assert story.book == {}
    assert story.legs("avg1") == "cancelled"


def test_averaging_that_was_executed_is_a_position_when_the_entry_fails() -> None:
    """A-11, S-12: what was bought gets its exits."""
    story = Story(when(95), [tp(110)], sl(80))
    story.add(5)
    story.answers.append(refused(K.RECOVERABLE, "no"))
    story.quote(95)
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 5 @ 110"}


def test_averaging_that_fills_while_a_failing_entry_cancels_it_is_a_position() -> None:
    """A-11: coins that arrive at the last moment are not abandoned."""
    story = Story(limit(95), [tp(110)], sl(80))
    story.add(5, 90)
    story.on_cancel = "hold"
    story.cancelled("entry")
    assert story.status == "waiting_position"
    story.fill("avg1")
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 5 @ 110"}
    assert story.trade.error is None
    story.quote(80)
    assert story.open == 5  # until the target is out
    story.cancelled("tp1")
    assert story.status == "stop_loss_finished"


def test_an_entry_cancelled_by_somebody_else_ends_the_trade() -> None:
    """S-11."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.add(5, 85)
    story.cancelled("entry")
    assert (story.status, story.trade.error) == ("cancelled", "Order was cancelled on the exchange")
    assert story.book == {}


def test_an_entry_cancelled_by_somebody_else_leaves_what_it_has_bought_as_the_position() -> None:
    """S-12, fault F24."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.fill("entry", 4).cancelled("entry")
    assert story.status == "waiting_targets"
    assert story.legs("entry") == "finished"
    assert story.book == {"tp1": "sell 4 @ 110"}


def test_a_rest_of_dust_does_not_make_a_position() -> None:
    """S-11, C-6."""
    story = Story(limit(90), [tp(110)], sl(80), min_market_total=D(50))
    story.fill("entry", "0.1").cancelled("entry")
    assert story.status == "cancelled"
    assert story.trade.entered.amount == D("0.1")


def test_the_rest_of_an_expired_market_entry_is_sent_three_times_and_what_came_is_the_position() -> None:
    """EX-5."""
    story = Story(start=False)
    story.fill_at_market = False
    story.create(plan(KIND, market(), [tp(110)], sl(80)))
    for left in (9, 8, 7):
        story.fill("entry", 1).cancelled("entry")
        assert story.book == {"entry": f"buy {left} market"}
    story.fill("entry", 1).cancelled("entry")
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 4 @ 110"}


def test_a_rest_that_is_too_small_to_order_is_not_sent_again() -> None:
    """EX-5, EX-15: what was filled is the position."""
    story = Story(start=False, min_lot=D("0.5"))
    story.fill_at_market = False
    story.create(plan(KIND, market(), [tp(110)], sl(80)))
    story.fill("entry", D("9.7"))
    story.heard()
    story.cancelled("entry")
    assert story.status == "waiting_targets"
    assert story.heard() == ["sell tp1 9.7 @ 110"]


def test_the_last_part_of_a_split_entry_that_is_too_small_to_order_is_not_sent() -> None:
    """EX-16, EX-15."""
    story = Story(start=False, max_market_lot=D("4.9"), min_lot=D(3))
    story.create(plan(KIND, market(), [tp(110)], sl(80)))
    assert story.status == "waiting_targets"
    assert story.heard() == ["buy entry 4.9 market", "buy entry 4.9 market", "sell tp1 9.8 @ 110"]


def test_an_entry_is_split_so_that_its_last_part_can_be_ordered() -> None:
    """EX-16, EX-15."""
    story = Story(start=False, max_market_lot=D("4.9"), min_lot=D("0.5"))
    story.create(plan(KIND, market(), [tp(110)], sl(80)))
    assert story.heard() == [*(f"buy entry {n} market" for n in ("4.9", "2.5", "2.6")), "sell tp1 10 @ 110"]


def test_a_market_entry_that_expires_unfilled_fails_in_the_end() -> None:
    """EX-5, S-8."""
    story = Story(start=False)
    story.fill_at_market = False
    story.create(plan(KIND, market(), [tp(110)], sl(80)))
    for _ in range(4):
        story.cancelled("entry", "expired")
    assert (story.status, story.trade.error) == ("failed", "expired")


def test_an_entry_that_is_taken_and_then_rejected_by_the_matching_engine_fails() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    story.orders[story.id_of("entry")].state = ReportedState.REJECTED
    story.tell(replace(story.report_of("entry"), text="Order would immediately match"))
    assert (story.status, story.trade.error) == ("failed", "Order would immediately match")


def test_a_simple_trade_that_is_cancelled_outside_ends_with_what_it_has() -> None:
    """S-12 and S-9; S-11 when there is nothing."""
    story = Story(limit(90), kind=TradeKind.SIMPLE_BUY)
    story.fill("entry", 4).cancelled("entry")
    assert story.status == "finished"
    assert story.trade.entered.amount == 4
    story = Story(limit(90), kind=TradeKind.SIMPLE_BUY)
    story.cancelled("entry")
    assert story.status == "cancelled"


@pytest.mark.parametrize(("filled", "leg"), [(4, "cancelled"), (10, "finished")])
def test_r4_r5_a_cancelled_trade_keeps_what_its_entry_has_bought_and_places_no_exits(filled: int, leg: str) -> None:
    """P-14, S-27, S-28."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.on_cancel = "hold"
    story.cancel().fill("entry", filled)
    if filled < 10:
        assert story.status == "cancellation_in_progress"
        story.cancelled("entry")
    assert story.status == "cancelled"
    assert story.legs("entry") == leg
    assert story.trade.entered.amount == filled
    assert not [what for what in story.heard() if what.startswith("sell")]


# --- a partly filled entry (P-16, P-18) -----------------------------------------------------------------------


def test_the_stop_protects_what_is_filled_before_the_entry_is_complete() -> None:
    """P-16, P-18."""
    story = Story(limit(100), [tp(110)], sl(90), bid=101)
    assert story.legs("sl") == "idle"
    story.fill("entry", 4)
    assert (story.status, story.legs("tp1", "sl")) == ("waiting_position", "idle to_process")
    story.add(2, 95).heard()
    story.quote(90)
    assert story.heard() == ["cancel entry", "cancel avg1", "sell sl 4 market"]
    assert story.status == "stop_loss_finished"
    assert story.legs("entry", "avg1", "tp1") == "cancelled cancelled cancelled"


def test_what_fills_while_the_stop_takes_the_entry_out_is_closed_too() -> None:
    """P-18, R-10."""
    story = Story(limit(100), [tp(110)], sl(90), bid=101)
    story.fill("entry", 4)
    story.on_cancel = "hold"
    story.quote(90).fill("entry")
    assert story.heard()[-1] == "sell sl 10 market"
    assert story.status == "stop_loss_finished"


def test_a_percent_stop_follows_the_average_of_what_is_filled_so_far() -> None:
    """P-18: resolved from the first part, and again when the entry completes."""
    story = Story(limit(100), [tp(110)], sl(percent=10), bid=101)
    story.fill("entry", 5, 98)
    assert story.stop.configured_price == D("88.20")
    story.fill("entry", 5, 100)
    assert story.stop.configured_price == D("89.10")


def test_trailing_starts_at_the_first_fill_and_keeps_its_reference_and_extreme() -> None:
    """P-18."""
    story = Story(limit(100), [tp(200)], sl(percent=10, trailing=True), bid=100, ask=101)
    story.fill("entry", 5, 98)
    story.quote(110, 111).fill("entry", 5, 100)
    assert story.stop.reference_price == 100
    assert story.stop.configured_price == D("89.10")
    story.quote("98.02")  # 110 x 89.10 / 100 = 98.01
    assert not story.stop.fired
    story.quote("98.01")
    assert story.status == "stop_loss_finished"


def test_the_setting_turns_the_protection_of_a_part_off() -> None:
    """P-18: strict imitation."""
    story = unprotected(Story(start=False))
    story.create(plan(KIND, limit(100), [tp(110)], sl(90))).fill("entry", 4)
    assert story.legs("sl") == "idle"
    story.quote(80)
    assert story.status == "waiting_position"
    story.fill("entry")
    assert story.status == "stop_loss_finished"  # armed below its level (AR-3)
    story.assert_replays()


def test_a_partly_filled_simple_trade_has_nothing_to_protect() -> None:
    story = Story(limit(100), kind=TradeKind.SIMPLE_BUY, bid=101)
    story.fill("entry", 4).quote(1)
    assert story.status == "waiting_position"


# --- averaging (A-1 to A-11, TR-31) -----------------------------------------------------------------------------


def test_averaging_grows_the_position_and_percent_targets_follow_while_the_stop_stays() -> None:
    """A-4, TR-31, M-24."""
    story = Story(market(), [tp(percent=5)], sl(80))
    story.heard()
    story.quote(90).add(10)
    assert story.heard() == ["buy avg1 10 market", "cancel tp1", "sell tp1 20 @ 99.75"]
    assert story.stop.configured_price == 80


def test_a_price_target_stays_and_is_resized() -> None:
    """TR-31."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(80))
    story.add(5, 90).fill("avg1")
    assert story.book == {"tp1": "sell 7.5 @ 110", "tp2": "sell 7.5 @ 120"}


def test_averaging_before_the_entry_leaves_the_decision_to_the_base_order() -> None:
    """A-2, A-10: targets stay idle."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.heard()
    story.add(5)
    assert story.heard() == ["buy avg1 5 market"]
    assert (story.status, story.legs("tp1")) == ("waiting_position", "idle")
    story.fill("entry")
    assert story.book == {"tp1": "sell 15 @ 110"}


def test_an_entry_cancelled_outside_leaves_the_averaged_amount_as_the_position() -> None:
    """A-11."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.add(5).cancelled("entry")
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 5 @ 110"}


def test_several_averaging_orders_may_be_open_and_end_on_their_own() -> None:
    """A-9, A-5, A-6, A-7."""
    story = Story(market(), [tp(110)], sl(50))
    story.add(1, 95).add(2, 94).add(3, 93).heard()
    story.close_leg("avg1")
    assert story.heard()[:2] == ["cancel avg1", "buy avg1 1 market"]
    story.cancel_leg("avg2")
    story.answers.append(refused(K.PERMANENT, "no"))
    story.add(4)
    assert story.legs("avg1", "avg2", "avg3", "avg4") == "finished cancelled order_placed failed"
    assert (story.status, story.trade.error) == ("waiting_targets", None)
    assert story.open == 11
    assert story.book == {"tp1": "sell 11 @ 110", "avg3": "buy 3 @ 93"}


def test_averaging_closed_by_hand_after_a_part_buys_the_rest_once() -> None:
    """A-6."""
    story = Story(market(), [tp(110)], sl(50))
    story.add(5, 95).fill("avg1", 2).close_leg("avg1")
    assert story.trade.entered.amount == 15
    assert story.legs("avg1") == "finished"


def test_averaging_own_funds_uses_the_entry_side() -> None:
    """F-4."""
    story = Story(own(), [tp(110)], kind=TradeKind.SMART_SELL)
    story.heard()
    story.add(5)
    assert story.heard()[0] == "buy avg1 5 market"
    assert story.book == {"tp1": "sell 15 @ 110"}


# --- futures (S-3, EX-28) -------------------------------------------------------------------------------------


def futures(story: Story, entry: EntryPlan) -> SmartTradePlan:
    return plan(KIND, entry, [tp(110)], sl(80), Leverage(MarginMode.ISOLATED, D(5)))


def test_leverage_is_set_before_the_first_order() -> None:
    """S-3."""
    story = Story(on=LINEAR)
    story.create(futures(story, market()))
    assert story.heard()[:2] == ["leverage isolated 5", "buy entry 10 market"]


def test_no_order_is_sent_until_the_leverage_is_confirmed() -> None:
    """S-3."""
    story = Story(on=LINEAR)
    story.on_leverage = "silence"
    story.create(futures(story, market())).quote(50).wait(60)
    assert story.heard() == ["leverage isolated 5"]
    assert story.status == "created"
    story.on_leverage = "take"
    story.restart()
    assert story.heard()[0] == "leverage isolated 5"
    assert story.trade.entered.amount == 10


def test_a_refused_leverage_fails_the_trade_before_any_order() -> None:
    """EX-28."""
    story = Story(on=LINEAR)
    story.on_leverage = "Margin type cannot be changed with open positions"
    story.create(futures(story, market()))
    assert story.status == "failed"
    assert story.trade.error == "Margin type cannot be changed with open positions"
    assert story.heard() == ["leverage isolated 5"]


def test_leverage_on_spot_is_ignored() -> None:
    """M-55."""
    story = Story(start=False)
    story.create(futures(story, market()))
    assert story.trade.leverage is None
    assert story.status == "waiting_targets"


def test_futures_own_funds_need_the_position_that_they_leave() -> None:
    """V-7."""
    for kind, held, refusal in (
        (TradeKind.SMART_SELL, 9, "no_long_position"),
        (TradeKind.SMART_BUY, -9, "no_short_position"),
        (TradeKind.SMART_BUY, 10, "no_short_position"),
    ):
        with pytest.raises(Denied, match=refusal):
            Story(on=LINEAR).create(plan(kind, own()), held=held)
    assert Story(on=LINEAR).create(plan(TradeKind.SMART_SELL, own()), held=10).status == "waiting_targets"


@pytest.mark.parametrize(("kind", "side"), [(TradeKind.SIMPLE_BUY, "buy"), (TradeKind.SIMPLE_SELL, "sell")])
def test_a_simple_order_on_futures_may_open_as_well_as_reduce(kind: TradeKind, side: str) -> None:
    """V-8: it changes the net position of the pair, whatever that is."""
    story = Story(market(), kind=kind, on=LINEAR)
    assert (story.heard(), story.status) == ([f"{side} entry 10 market"], "finished")


# --- money of an entry (M-2 to M-6, V-10) -----------------------------------------------------------------------


def test_a_commission_in_base_is_taken_from_what_was_bought() -> None:
    """M-2, fault F48: never more is offered than is there."""
    story = Story(market(), [tp(110)], sl(90), **FEE_IN_BASE)
    assert (story.trade.entered.amount, story.trade.entered.total) == (D("9.990"), 1000)
    assert story.book == {"tp1": "sell 9.9 @ 110"}


def test_a_conditional_limit_entry_with_trailing_is_a_market_order() -> None:
    """V-10."""
    wanted = when(95, price=94, trailing=1)
    story = Story(wanted)
    story.quote(95).quote("95.95")
    assert story.heard() == ["buy entry 10 market"]


def test_an_exchange_that_reports_no_commission_is_assumed_to_take_the_takers() -> None:
    """M-6."""
    story = Story(limit(90), [tp(110)], taker_fee=D("0.001"))
    order = story.orders[story.id_of("entry")]
    fill = replace(story._new_fill(order, D(10), D(90)), fee=None)
    order.fills.append(fill)
    order.state = ReportedState.FILLED
    story.tell(order.report(fill))
    assert (story.trade.entered.amount, story.trade.entered.total) == (10, D("900.9"))


def test_a_commission_in_a_third_coin_without_a_price_is_valued_as_the_takers() -> None:
    """M-5."""
    story = Story(limit(90), [tp(110)], taker_fee=D("0.001"))
    order = story.orders[story.id_of("entry")]
    fill = replace(story._new_fill(order, D(10), D(90)), fee=Money("BNB", D("0.5")))
    order.fills.append(fill)
    order.state = ReportedState.FILLED
    story.tell(order.report(fill))
    assert (story.trade.entered.amount, story.trade.entered.total) == (10, D("900.9"))


def test_a_plan_type_limit_is_what_is_sent() -> None:
    """TR-9: a buy is rounded down to the tick, a sell up."""
    assert limit("99.999").type is EntryType.LIMIT
    assert Story(limit("99.999")).book == {"entry": "buy 10 @ 99.99"}
    assert Story(limit("100.001"), kind=TradeKind.SMART_COVER).book == {"entry": "sell 10 @ 100.01"}
