"""Edits of an active trade (behaviour section 6): checked as a whole, stored as a whole."""

from decimal import Decimal
from typing import Any

import pytest
from driver import LINEAR, Story, limit, market, own, plan, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain.commands import EditTrade
from smarttrade.domain.errors import DenialCode
from smarttrade.domain.events import PositionGone
from smarttrade.domain.instrument import FeeAsset, Side
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import (
    EntryCondition,
    EntryType,
    Leverage,
    MarginMode,
    PositionEdit,
    TargetPlan,
    TradeEdit,
    TradeKind,
)
from smarttrade.domain.position import stop_level
from smarttrade.domain.quote import PriceType

D = Decimal
C = DenialCode
ASK = PriceType.ASK


def two_targets() -> Story:
    return Story(market(), [tp(110, 50), tp(120, 50)], sl(90))


def refused(story: Story, **groups: object) -> list[DenialCode]:
    """Why an edit is refused; nothing of the trade may have changed."""
    members: dict[str, object] = {}
    if "targets" in groups:
        targets = tuple(groups["targets"])  # type: ignore[arg-type]
        members |= {"take_profit_enabled": bool(targets), "targets": targets}
    if "stop" in groups:
        members |= {"stop_enabled": groups["stop"] is not None, "stop": groups["stop"]}
    members |= {name: groups[name] for name in ("position", "leverage") if name in groups}
    return story.denied(EditTrade(trade_id=story.trade_id, edit=TradeEdit(**members)))  # type: ignore[arg-type]


def volumes(story: Story) -> list[Decimal]:
    return [step.volume for step in story.trade.active_targets]


# --- when, and as a whole (E-1 to E-4) ------------------------------------------------------------------------


def test_an_edit_is_allowed_while_waiting_and_in_no_other_state() -> None:
    """E-1; every state in test_commands."""
    story = two_targets()
    story.reduce(3, 105)
    assert refused(story, stop=None) == [C.EDIT_NOT_ALLOWED]
    story.cancel_leg("reduce1").edit(stop=None)
    assert story.trade.stop is None


def test_one_bad_group_refuses_the_whole_edit_with_every_reason() -> None:
    """E-2."""
    story = two_targets()
    reasons = refused(
        story,
        position=PositionEdit(units=D(99), price=D(1)),
        targets=[tp(111, 60)],
        stop=sl(95, breakeven=True),
    )
    assert reasons == [C.UNITS_NOT_EDITABLE, C.PRICE_NOT_EDITABLE, C.EDIT_VOLUMES_INVALID]
    assert story.heard()[-1] == "sell tp2 5 @ 120"  # nothing but the creation


def test_an_absent_group_stays_as_it_is() -> None:
    """E-3."""
    story = two_targets()
    before = story.trade
    story.heard()
    story.edit(stop=sl(91))
    assert story.trade.targets == before.targets
    story.edit(targets=[tp(115)])
    assert story.stop.configured_price == 91
    story.edit(note="x")
    assert story.trade.note == "x"
    assert story.heard() == ["cancel tp1", "cancel tp2", "sell tp3 10 @ 115"]


def test_disabling_a_group_removes_its_steps() -> None:
    """E-3, E-33: both may be off."""
    story = two_targets()
    story.heard()
    story.edit(targets=[], stop=None)
    assert story.heard() == ["cancel tp1", "cancel tp2"]
    assert story.legs("tp1", "tp2", "sl") == "cancelled cancelled cancelled"
    assert story.status == "waiting_targets"
    assert not story.trade.take_profit_enabled
    story.quote(1).quote(500)
    assert story.heard() == []
    story.close()
    assert story.status == "panic_sold"


def test_the_answer_shows_changed_steps_idle_with_new_ids_before_the_exchange_has_reacted() -> None:
    """E-4."""
    story = two_targets()
    wish = TradeEdit(take_profit_enabled=True, targets=(story.kept("tp1", price=D(111)), story.kept("tp2")))
    answer = story.engine.handle(EditTrade(trade_id=story.trade_id, edit=wish), story.now)
    assert answer is not None
    first, second = [step for step in answer.active_targets if step.status.value != "pending_cancellation"]
    assert (first.status.value, first.units, first.price) == ("idle", None, 111)
    assert first.id > second.id
    assert second.status.value == "order_placed"


# --- the position (6.1, E-10 to E-14) -------------------------------------------------------------------------


def test_the_price_of_a_live_limit_entry_is_replaced_and_its_units_are_not() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    assert refused(story, position=PositionEdit(units=D(11))) == [C.UNITS_NOT_EDITABLE]
    story.heard()
    story.edit_position(price=D(91))
    assert story.heard() == ["cancel entry", "buy entry 10 @ 91"]


def test_a_partly_filled_limit_entry_is_replaced_for_its_rest() -> None:
    """E-14."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.fill("entry", 4).edit_position(price=D(91))
    assert story.book == {"entry": "buy 6 @ 91"}
    story.fill("entry")
    assert story.trade.entered.total == 4 * 90 + 6 * 91


def test_an_entry_that_fills_before_its_replacement_is_not_bought_twice() -> None:
    """EX-25."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.on_cancel = "hold"
    story.edit_position(price=D(91)).heard()
    story.fill("entry")
    assert story.heard() == ["sell tp1 10 @ 110"]
    assert story.trade.entered.amount == 10


def test_values_that_repeat_what_is_shown_or_was_asked_for_are_accepted() -> None:
    """E-10, E-11: the entry shows its fill price and net units; scripts resend what they asked for."""
    story = Story(limit("100.00", "10.07"), [tp(110)], sl(90), bid=101)
    story.fill("entry", price="99.5").heard()
    before = story.trade.position
    for units, price in (("10.07", "100"), ("10.0", "100.000"), ("10", "99.50"), (None, "99.5")):
        story.edit_position(
            units=None if units is None else D(units), price=D(price), type=EntryType.LIMIT, side=Side.BUY
        )
        assert story.trade.position == before
    assert story.heard() == []
    assert refused(story, position=PositionEdit(units=D(9))) == [C.UNITS_NOT_EDITABLE]
    assert refused(story, position=PositionEdit(price=D(98))) == [C.PRICE_NOT_EDITABLE]


def test_the_average_of_what_averaging_has_bought_is_not_the_price_of_an_entry_that_waits() -> None:
    """E-10, M-11, M-13, A-10: the entry at market shows the market's price until it is over."""
    story = Story(when(90), [tp(110)], sl(80), bid=100, ask=101)
    story.quote(96, 97).add(5).quote(98, 99)
    assert (story.trade.entered.amount, story.trade.entered.total) == (5, 5 * 97)
    before = story.trade.position
    assert refused(story, position=PositionEdit(price=D(97))) == [C.PRICE_NOT_EDITABLE]
    assert story.edit_position(price=D(99)).trade.position == before


def test_type_and_side_never_change() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    assert refused(story, position=PositionEdit(side=Side.SELL)) == [C.POSITION_TYPE_FIXED]
    assert refused(story, position=PositionEdit(type=EntryType.MARKET)) == [C.ORDER_TYPE_NOT_EDITABLE]


def a_condition(trigger: int, by: PriceType = ASK, trailing: str | None = None) -> EntryCondition:
    return EntryCondition(
        trigger_price=D(trigger),
        price_type=by,
        order_type=OrderType.MARKET,
        trailing_percent=None if trailing is None else D(trailing),
    )


def test_a_condition_that_has_not_fired_may_change_with_its_units_and_gets_a_new_direction() -> None:
    """6.1, E-12, TR-10."""
    story = Story(when(90), [tp(150)], sl(50))
    assert story.trade.position.rises is False
    story.edit_position(condition=a_condition(120), units=D("12.34"))
    assert story.trade.position.rises is True
    story.heard()
    story.quote(90)
    assert story.heard() == []
    story.quote(120)
    assert story.heard()[0] == "buy entry 12.3 market"


def test_a_condition_that_stays_keeps_its_direction() -> None:
    """TR-10: not derived again from today's price."""
    story = Story(when(90), [tp(150)], sl(50))
    story.quote(95)
    story.edit_position(condition=a_condition(90), units=D(5))
    assert story.trade.position.rises is False


def test_a_trailing_entry_may_change_its_deviation_only_and_keeps_its_extreme() -> None:
    """6.1."""
    story = Story(when(90, trailing=10), [tp(150)], sl(20))
    story.quote(90).quote(60).heard()
    refusal = refused(story, position=PositionEdit(condition=a_condition(80, trailing="10")))
    assert refusal == [C.CONDITIONAL_NOT_EDITABLE]
    assert refused(story, position=PositionEdit(units=D(5))) == [C.UNITS_NOT_EDITABLE]
    story.edit_position(condition=a_condition(90, trailing="20"))
    story.quote(66).quote("71.99")
    assert story.heard() == []
    story.quote(72)
    assert story.heard()[0] == "buy entry 10 market"


def test_the_position_of_a_forced_entry_cannot_change_but_its_exits_can() -> None:
    """E-13."""
    story = Story(limit(90), [tp(110)], sl(80))
    story.on_cancel = "hold"
    story.force_start()
    assert story.legs("entry") == "panic_sell_pending"
    assert refused(story, position=PositionEdit(price=D(91))) == [C.PRICE_NOT_EDITABLE]
    story.edit(targets=[tp(111)], stop=sl(81))
    story.cancelled("entry")
    assert story.book == {"tp2": "sell 10 @ 111"}


def test_own_funds_may_change_their_reference_price() -> None:
    """6.1: only the price for the profit."""
    story = Story(own(100), [tp(110)], sl(90), kind=TradeKind.SMART_SELL)
    story.heard()
    story.edit_position(price=D(95))
    assert story.trade.entered.total == 950
    assert story.heard() == []
    assert refused(story, position=PositionEdit(units=D(9))) == [C.UNITS_NOT_EDITABLE]


def test_leverage_may_change_until_an_order_was_sent() -> None:
    """6.1, S-3: the exchange is told before the first order."""
    five, ten = Leverage(MarginMode.ISOLATED, D(5)), Leverage(MarginMode.CROSS, D(10))
    story = Story(when(90), [tp(110)], sl(80), on=LINEAR, leverage=five)
    story.heard()
    story.edit(leverage=ten)
    assert story.heard() == ["leverage cross 10"]
    assert refused(story, leverage=Leverage(MarginMode.CROSS, D(21))) == [C.LEVERAGE_OUT_OF_RANGE]
    story.quote(90)
    assert refused(story, leverage=five) == [C.LEVERAGE_NOT_EDITABLE]
    story.edit(leverage=ten)  # repeats the present value (E-10)


def test_no_order_leaves_while_a_changed_leverage_is_not_confirmed() -> None:
    """S-3: averaging waits as well as the entry."""
    story = Story(
        when(90), [tp(110)], sl(80), on=LINEAR, leverage=Leverage(MarginMode.ISOLATED, D(5))
    )  # fmt: skip
    story.on_leverage = "silence"
    story.edit(leverage=Leverage(MarginMode.CROSS, D(10)))
    story.heard()
    story.add(5)
    story.quote(90)
    assert not [what for what in story.heard() if what.startswith("buy")]


# --- targets before the entry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [limit(90), when(90)])
def test_an_edit_before_the_entry_leaves_targets_that_work(entry: object) -> None:
    """6.1: free; a changed step must not end as failed before there is anything to sell."""
    story = Story(entry, [tp(110, 50), tp(120, 50)], sl(80))  # type: ignore[arg-type]
    story.edit(targets=[story.kept("tp1", price=D(111)), story.kept("tp2")])
    assert story.legs("tp1", "tp2", "tp3") == "cancelled idle idle"
    assert story.target("tp3").units is None
    story.edit(targets=[tp(130, 30), tp(140, 70)])
    story.quote(90)
    if story.book.get("entry"):
        story.fill("entry")
    assert story.book == {"tp4": "sell 3 @ 130", "tp5": "sell 7 @ 140"}
    story.assert_replays()


def test_a_partly_filled_entry_keeps_its_idle_targets_through_an_edit() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    story.fill("entry", 4).edit(targets=[story.kept("tp1", price=D(111))])
    assert story.legs("tp2") == "idle"
    story.fill("entry")
    assert story.book == {"tp2": "sell 10 @ 111"}


# --- targets of an open position (E-20 to E-28, R-7) ------------------------------------------------------------


def published() -> Story:
    """The example of 6.2: 14.91 entered, lot 1, steps 50/25/25 with 8, 3, 3 units, the first one executed."""
    story = Story(
        limit(100, 15),
        [tp(110, 50), tp(120, 25), tp(130, 25)],
        sl(50),
        bid=101,
        lot=D(1),
        min_lot=D(1),
        min_total=D(1),
        min_market_total=D(1),
        fee_in=FeeAsset.BASE,
        taker_fee=D("0.006"),
    )
    story.fill("entry")
    assert story.trade.entered.amount == D("14.91")
    assert story.book == {"tp1": "sell 8 @ 110", "tp2": "sell 3 @ 120", "tp3": "sell 3 @ 130"}
    story.fill("tp1")
    story.heard()
    return story


def test_example_unchanged_steps_stay_with_their_orders() -> None:
    """E-21: nothing is sent."""
    story = published()
    before = story.trade.targets
    story.edit(targets=[story.kept("tp2"), story.kept("tp3")])
    assert story.trade.targets == before
    assert story.heard() == []


def test_example_an_executed_step_may_be_repeated_and_a_changed_one_gets_a_new_id() -> None:
    """E-21, E-23."""
    story = published()
    story.edit(targets=[story.kept("tp1"), story.kept("tp2", price=D(125)), story.kept("tp3")])
    assert story.heard() == ["cancel tp2", "sell tp4 3 @ 125"]
    assert story.book == {"tp3": "sell 3 @ 130", "tp4": "sell 3 @ 125"}
    assert story.legs("tp1", "tp2") == "finished cancelled"


def test_example_a_full_set_is_scaled_to_what_is_open() -> None:
    """E-24, third sum."""
    story = published()
    story.edit(targets=[tp(140, 100)])
    assert story.book == {"tp4": "sell 6 @ 140"}
    assert volumes(story) == [50]


def test_example_the_rounding_goes_to_the_first_step() -> None:
    """E-25, M-20."""
    story = published()
    story.edit(targets=[tp(140, 30), tp(150, 20)])
    assert story.book == {"tp4": "sell 4 @ 140", "tp5": "sell 2 @ 150"}


def test_example_a_sum_that_fits_nothing_is_refused() -> None:
    """E-24."""
    story = published()
    assert refused(story, targets=[tp(140, 30), tp(150, 30)]) == [C.EDIT_VOLUMES_INVALID]


def test_a_step_that_is_missing_is_cancelled_and_its_share_goes_to_the_others() -> None:
    """E-20, E-22, E-24, E-25."""
    story = published()
    story.edit(targets=[story.kept("tp2", volume=D(50))])
    assert story.legs("tp2", "tp3") == "cancelled cancelled"
    assert story.book == {"tp4": "sell 6 @ 120"}


def test_uncovered_volume_stays_when_the_sum_says_so_and_is_covered_again_otherwise() -> None:
    """E-24, M-23, X-1: 100 - 30 uncovered."""
    story = Story(market(), [tp(110, 30), tp(120, 35), tp(130, 35)], sl(50))
    story.cancel_leg("tp1")
    story.edit(targets=[story.kept("tp2", price=D(125)), story.kept("tp3")])
    assert story.book == {"tp3": "sell 3.5 @ 130", "tp4": "sell 3.5 @ 125"}
    story.edit(targets=[tp(140, 60), tp(150, 40)])
    assert story.book == {"tp5": "sell 6 @ 140", "tp6": "sell 4 @ 150"}


def test_uncovered_volume_outlives_switching_take_profit_off() -> None:
    """M-23, E-3, E-24: only a list of steps covers it again; the half that nobody cancelled may be asked for alone."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(50))
    story.cancel_leg("tp2")
    story.edit(targets=[])
    story.edit(targets=[tp(130, 50)])
    assert story.book == {"tp3": "sell 5 @ 130"}
    story.edit(targets=[tp(140, 100)])
    assert story.book == {"tp4": "sell 10 @ 140"}


def test_the_units_of_an_edit_stay_while_one_of_its_steps_executes_at_market() -> None:
    """E-25, M-20: 3.1, 1.8, 1.3 and 1, and the lot left over to the first; shared once, whatever is sent meanwhile."""
    steps = [tp(109, 10), tp(108, 20), tp(107, 30), tp(106, 40)]
    story = Story(own(100, "7.3"), steps, sl(50), kind=TradeKind.SMART_SELL)
    reached = story.kept("tp1", volume=D(43), price=D(100), order_type=OrderType.MARKET)
    story.edit(targets=[reached, *(story.kept(leg, volume=D(v)) for leg, v in (("tp2", 25), ("tp3", 18), ("tp4", 14)))])
    assert story.legs("tp5") == "finished"
    assert [story.target(leg).units for leg in ("tp5", "tp6", "tp7", "tp8")] == [D("3.2"), D("1.8"), D("1.3"), 1]


def test_an_unchanged_step_whose_units_change_keeps_its_id() -> None:
    """E-25."""
    story = Story(market(), [tp(110, 30), tp(120, 35), tp(130, 35)], sl(50))
    story.cancel_leg("tp1")
    before = story.target("tp3").id
    story.edit(targets=[story.kept("tp2", volume=D(65)), story.kept("tp3")])
    assert story.target("tp3").id == before
    assert story.book == {"tp3": "sell 3.5 @ 130", "tp4": "sell 6.5 @ 120"}


def test_an_unchanged_step_keeps_its_trailing() -> None:
    """E-21."""
    story = Story(market(), [tp(110, 50), tp(120, 50, trailing=2)], sl(50))
    story.quote(120).quote(130)
    assert story.legs("tp2") == "trailing_activated"
    story.edit(targets=[story.kept("tp1", price=D(500)), story.kept("tp2")])
    story.quote("127.41")
    assert story.legs("tp2") == "trailing_activated"
    story.quote("127.40")
    assert story.legs("tp2") == "finished"


def test_a_partly_filled_step_keeps_what_is_filled_and_leaves_the_others_alone() -> None:
    """E-26, fault F9: the other order does not lose its place in the queue."""
    story = two_targets()
    story.fill("tp1", 2).heard()
    story.edit(targets=[story.kept("tp1", price=D(111)), story.kept("tp2")])
    assert story.heard() == ["cancel tp1", "sell tp3 3 @ 111"]
    story.fill("tp3")
    assert story.legs("tp1", "tp2", "tp3") == "cancelled order_placed finished"
    assert story.open == 5


def test_the_volume_of_a_partly_filled_step_cannot_go_below_its_filled_share() -> None:
    """E-26: 40 of its 50 percent are executed."""
    story = two_targets()
    story.fill("tp1", 4)
    short_of_it = [story.kept("tp1", volume=D(30)), story.kept("tp2", volume=D(70))]
    assert refused(story, targets=short_of_it) == [C.EDIT_VOLUMES_INVALID]
    story.edit(targets=[story.kept("tp1", volume=D(45)), story.kept("tp2", volume=D(55))])
    assert story.book == {"tp3": "sell 0.5 @ 110", "tp4": "sell 5.5 @ 120"}


def test_r7_an_old_order_that_fills_before_its_cancellation_drops_the_new_step() -> None:
    story = two_targets()
    story.on_cancel = "hold"
    story.edit(targets=[story.kept("tp1", price=D(115)), story.kept("tp2")])
    story.heard()
    story.fill("tp1")
    assert story.legs("tp1", "tp2", "tp3") == "finished order_placed cancelled"
    assert story.book == {"tp2": "sell 5 @ 120"}
    assert story.heard() == []
    story.fill("tp2")
    assert story.status == "finished"


def test_r7_a_part_that_fills_before_the_cancellation_is_taken_from_the_new_step() -> None:
    story = two_targets()
    story.on_cancel = "hold"
    story.edit(targets=[story.kept("tp1", price=D(115)), story.kept("tp2")])
    story.fill("tp1", 2).cancelled("tp1")
    assert story.target("tp3").units == 5
    assert story.book["tp3"] == "sell 3 @ 115"


def test_a_new_step_waits_until_the_one_it_replaces_is_out_of_the_book() -> None:
    """EX-25."""
    story = two_targets()
    story.on_cancel = "hold"
    story.edit(targets=[story.kept("tp1", price=D(115)), story.kept("tp2")])
    assert story.book == {"tp1": "sell 5 @ 110", "tp2": "sell 5 @ 120"}
    story.quote(90)  # the stop is watched in between
    story.cancelled("tp1").cancelled("tp2")
    assert story.status == "stop_loss_finished"


def test_two_edits_in_a_row_leave_one_order_per_step() -> None:
    """F-5, fault F27."""
    story = two_targets()
    story.on_cancel = "hold"
    story.edit(targets=[story.kept("tp1", price=D(115)), story.kept("tp2")])
    story.edit(targets=[story.kept("tp3", price=D(116)), story.kept("tp2")])
    story.cancelled("tp1")
    assert story.book == {"tp4": "sell 5 @ 116", "tp2": "sell 5 @ 120"}
    assert story.legs("tp3") == "cancelled"


def test_a_fill_of_the_first_step_while_two_edits_wait_is_not_sold_again() -> None:
    """R-7, fault F32."""
    story = two_targets()
    story.on_cancel = "hold"
    story.edit(targets=[story.kept("tp1", price=D(115)), story.kept("tp2")])
    story.edit(targets=[story.kept("tp3", price=D(116)), story.kept("tp2")])
    story.fill("tp1")
    offered = sum(D(order.split()[1]) for order in story.book.values())
    assert offered == story.open == 5


def test_ids_that_the_trade_does_not_know_make_new_steps() -> None:
    """E-23: 0, or a number from before an earlier edit."""
    story = two_targets()
    story.edit(targets=[replace(story.kept("tp1"), step_id=0), story.kept("tp2")])
    assert story.legs("tp1", "tp3") == "cancelled order_placed"
    gone = story.leg("tp1").id
    story.edit(targets=[replace(story.kept("tp3"), step_id=gone), story.kept("tp2")])
    assert story.legs("tp3", "tp4") == "cancelled order_placed"


def test_the_id_of_another_trade_is_refused() -> None:
    """E-23."""
    story = two_targets()
    foreign = story.target("tp1").id
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)], sl(90)))
    assert refused(story, targets=[replace(tp(111), step_id=foreign)]) == [C.FOREIGN_STEP]


def test_an_id_given_twice_keeps_the_step_once() -> None:
    story = two_targets()
    half: TargetPlan = story.kept("tp1")
    story.edit(targets=[half, half])
    assert story.legs("tp1", "tp2", "tp3") == "order_placed cancelled order_placed"
    assert story.book == {"tp1": "sell 5 @ 110", "tp3": "sell 5 @ 110"}


def test_positions_follow_the_list_or_the_numbers_that_come_with_it() -> None:
    """E-27."""
    story = two_targets()
    story.edit(targets=[tp(130, 50, position=2), tp(125, 50, position=1)])
    assert [(step.price, step.position) for step in story.trade.active_targets] == [(125, 1), (130, 2)]
    assert refused(story, targets=[tp(130, 50, position=1), tp(125, 50, position=1)]) == [C.STEP_POSITIONS_INVALID]
    assert refused(story, targets=[tp(130, 50, position=0), tp(125, 50, position=1)]) == [C.STEP_POSITIONS_INVALID]
    story = published()
    story.edit(targets=[tp(140, 25), tp(150, 25)])
    assert [step.position for step in story.trade.active_targets] == [2, 3]  # executed steps come first


def test_trailing_is_for_the_last_step_and_there_are_at_most_eight() -> None:
    """E-28, TP-15, TP-16."""
    story = two_targets()
    assert refused(story, targets=[tp(130, 50, trailing=1), tp(125, 50)]) == [C.TRAILING_NOT_LAST]
    nine = [tp(130 + n, 10 if n else 20) for n in range(9)]
    assert refused(story, targets=nine) == [C.TOO_MANY_STEPS]
    story = published()
    eight = [tp(130 + n, "12.5") for n in range(8)]
    assert C.TOO_MANY_STEPS in refused(story, targets=eight)  # with the executed one


def test_steps_that_could_not_be_placed_are_refused() -> None:
    """EX-15, M-26."""
    story = Story(market("0.3"), [tp(110)], sl(50))
    assert refused(story, targets=[tp(110, 90), tp(120, 10)]) == [C.STEP_TOO_SMALL]


# --- the stop (E-30 to E-33, TR-74) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        sl(91),
        sl(90, by=ASK),
        sl(90, at=89),
        sl(90, trailing=True),
        sl(90, timeout=5),
        sl(90, breakeven=True),
        sl(percent=10),
    ],
)
def test_any_difference_makes_a_new_stop_and_keeps_the_old_one_in_the_list(changed: object) -> None:
    """E-30, SL-12."""
    story = two_targets()
    before = story.stop.id
    story.edit(stop=changed)
    assert story.trade.stop is not None
    assert story.trade.stop.id > before
    assert [stop.status.value for stop in story.trade.past_stops] == ["cancelled"]
    assert story.legs("sl2") in ("to_process", "trailing_activated")


def test_the_same_stop_stays() -> None:
    """E-11, E-30."""
    story = two_targets()
    before = story.trade.stop
    story.edit(stop=sl("90.00"))
    assert story.trade.stop == before


def test_a_level_that_is_reached_already_fires_at_once() -> None:
    """E-32, AR-3."""
    story = two_targets()
    story.edit(stop=sl(101))
    assert story.status == "stop_loss_finished"


def test_a_stop_that_is_over_stays_in_the_list_when_a_new_one_comes() -> None:
    """SL-12; while a lost position ends its trade, the exits are cancelled and an edit may still come."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "hold"
    story.happens(PositionGone(liquidated=False))
    old = story.stop.id
    story.edit(stop=sl(91))
    assert old in {step.id for step in story.trade.steps}
    story.cancelled("tp1")
    assert story.status == "failed"


def test_there_is_never_a_moment_without_the_old_or_the_new_stop() -> None:
    """Fault F67."""
    story = two_targets()
    story.edit(stop=sl(95))
    story.quote(94)
    assert story.status == "stop_loss_finished"


def test_a_stop_beyond_a_target_is_refused_whichever_group_brings_it() -> None:
    """TR-74."""
    story = two_targets()
    assert refused(story, stop=sl(110)) == [C.STOP_BEYOND_TARGET]
    assert refused(story, targets=[tp(90, 50), tp(120, 50)]) == [C.STOP_BEYOND_TARGET]
    story.edit(targets=[tp(200)], stop=sl(150, timeout=60))  # both at once fit


def test_a_percent_target_has_no_price_for_the_stop_to_lie_beyond_before_the_entry() -> None:
    """TR-74, TR-30: averaging before the entry gives it none (A-10)."""
    story = Story(when(120), [tp(percent=2)], sl(90))
    story.add(5).quote(110)
    assert story.open == 5
    story.edit(stop=sl(105))
    assert story.stop.configured_price == 105


def test_breakeven_needs_two_steps_executed_ones_included() -> None:
    """BE-0."""
    story = Story(market(), [tp(110)], sl(90))
    assert refused(story, stop=sl(90, breakeven=True)) == [C.BREAKEVEN_NEEDS_TWO_STEPS]
    story = two_targets()
    story.quote(105).fill("tp1").edit(stop=sl(90, breakeven=True))
    assert story.stop.breakeven


def test_a_stop_that_an_edit_brings_takes_its_percent_from_the_average_now() -> None:
    """TR-30."""
    story = Story(market(), [tp(200)])
    story.add(10, 80).fill("avg1").edit(stop=sl(percent=10))
    assert story.stop.configured_price == 81


@pytest.mark.parametrize("more", [{"timeout": 60}, {"breakeven": True}, {"at_percent": 12}])
def test_a_repeated_percent_keeps_the_level_that_it_was_resolved_to(more: dict[str, Any]) -> None:
    """TR-31, E-30: averaging moves no stop, and neither does an edit that leaves the level as it was."""
    story = Story(market(), [tp(200, 50), tp(300, 50)], sl(percent=10, at_percent=11))
    story.add(10, 80).fill("avg1")
    story.edit(stop=sl(percent=10, **{"at_percent": 11, **more}))
    assert story.stop.configured_price == 90
    assert story.stop.limit_price == (D("79.20") if "at_percent" in more else 89)


@pytest.mark.parametrize("more", [{"timeout": 60}, {"breakeven": True}])
def test_an_edit_beside_the_level_of_a_percent_leaves_the_ratio_of_its_trail(more: dict[str, Any]) -> None:
    """TR-50, TR-53, TR-54: after averaging at twice the price another ratio would put the level above the market."""
    story = Story(market(), [tp(200, 50), tp(300, 50)], sl(percent=10, trailing=True))
    story.quote(200).fill("tp1").add(10)
    story.edit(stop=sl(percent=10, trailing=True, **more))
    story.quote("180.01").wait(120)
    assert story.status == "waiting_targets"
    story.quote(180).wait(120)
    assert story.status == "stop_loss_finished"


def test_after_breakeven_the_level_that_a_percent_once_meant_is_another_level() -> None:
    """BE-9, E-10, E-30: it is neither the level that is shown nor what was asked for."""
    repeated = sl(percent=10, at_percent=11, breakeven=True, timeout=60)
    for before in ([], [repeated], [sl(100, at="98.89", breakeven=True)]):
        story = Story(market(), [tp(110, 50), tp(120, 50)], sl(percent=10, at_percent=11, breakeven=True))
        story.quote(110).fill("tp1")
        for same in before:
            story.edit(stop=same)
        assert [stop_level(story.stop, long=True), story.stop.moved_limit_price] == [100, D("98.89")]
        story.edit(stop=sl(90, at=89, breakeven=True))
        assert [stop_level(story.stop, long=True), story.stop.limit_price] == [90, 89]
        assert story.stop.moved_limit_price is None


def test_a_trail_goes_on_with_its_ratio_when_an_edit_repeats_the_level_that_breakeven_has_moved() -> None:
    """TR-53, BE-5: the level by percent is the same one as a value, so nothing begins anew."""
    story = Story(market(), [tp(110, 50), tp(130, 50)], sl(percent=10, trailing=True, breakeven=True))
    story.quote(110).fill("tp1")
    story.edit(stop=sl(100, trailing=True, breakeven=True, timeout=60))
    story.edit(stop=sl(100, trailing=True, breakeven=True))
    story.quote(120).quote("108.01")
    assert story.status == "waiting_targets"
    story.quote(108)
    assert story.status == "stop_loss_finished"


def test_a_stop_before_the_entry_is_replaced_without_effect_on_the_exchange() -> None:
    story = Story(limit(90), [tp(110)], sl(80))
    story.heard()
    story.edit(stop=sl(percent=10))
    assert story.heard() == []
    story.fill("entry")
    assert story.stop.configured_price == 81


def test_a_new_stop_over_a_partly_filled_entry_protects_it_at_once() -> None:
    """P-18."""
    story = Story(limit(90), [tp(110)])
    story.fill("entry", 4).edit(stop=sl(85))
    story.quote(85)
    assert story.heard()[-2:] == ["cancel entry", "sell sl 4 market"]
    assert story.status == "stop_loss_finished"


def test_a_stop_in_percent_of_an_open_position_is_held_against_the_targets_too() -> None:
    """TR-74, E-2: its level is known; a target below it would never be reached before it."""
    story = Story(own(100), [tp(98, 50), tp(120, 50)], kind=TradeKind.SMART_SELL)
    assert refused(story, stop=sl(percent=2)) == [C.STOP_BEYOND_TARGET]
    story.edit(stop=sl(percent="2.01"))
    assert story.stop.configured_price == D("97.99")


def test_the_share_of_an_edited_step_leaves_out_what_stays_uncovered() -> None:
    """EX-15, E-24, M-20: 1 % of 14 units is less than a lot, though it is all that has a target."""
    story = Story(market(14), [tp(110, 1), tp(120, 99)], sl(90), lot=D(1), min_lot=D(1))
    story.cancel_leg("tp2")
    assert refused(story, targets=[story.kept("tp1", price=D(111))]) == [C.STEP_TOO_SMALL]


def test_only_an_edit_of_targets_or_stop_holds_one_against_the_other() -> None:
    """E-3, TR-74: the market has brought the stop beyond the target, which no other edit has to mend."""
    story = Story(market(), [tp("98.5")], sl(percent=1))
    assert story.stop.configured_price == 99
    story.edit(note="kept")
    assert story.trade.note == "kept"
    assert refused(story, stop=sl(percent=1, timeout=5)) == [C.STOP_BEYOND_TARGET]
    assert refused(story, targets=[story.kept("tp1", price=D("98.6"))]) == [C.STOP_BEYOND_TARGET]


def test_a_stop_in_percent_of_a_part_of_the_entry_is_not_held_against_the_targets_yet() -> None:
    """TR-30, P-18: it is resolved again when the position is there."""
    story = Story(limit(90), [tp("99.5")], sl(percent=1), bid=101)
    story.add(5)
    assert story.stop.configured_price == D("99.99")
    story.edit(targets=[story.kept("tp1", price=D("99.6"))], stop=sl(percent=1, timeout=5))
    story.fill("entry")
    assert story.stop.configured_price < D("99.6")


def test_what_steps_have_executed_is_part_of_what_an_edit_shares() -> None:
    """EX-15, M-24, E-26: 10 % of ten units is one, though one of the ten is sold already."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90), lot=D(1), min_lot=D(1))
    story.fill("tp1", 1).edit(targets=[story.kept("tp1", volume=D(90)), tp(120, 10)])
    assert story.book == {"tp3": "sell 8 @ 110", "tp4": "sell 1 @ 120"}


def test_a_step_whose_rest_would_be_too_small_for_an_order_of_its_own_cannot_change() -> None:
    """EX-15, E-2, E-26: granted, the edit would leave the position without the target that works in the book."""
    story = Story(market(10), [tp(110)], sl(90), lot=D(1), min_lot=D(1), min_total=D(150))
    story.fill("tp1", 9)
    moved = EditTrade(
        trade_id=story.trade_id, edit=TradeEdit(take_profit_enabled=True, targets=(story.kept("tp1", price=D(111)),))
    )
    assert story.denied(moved) == [DenialCode.STEP_TOO_SMALL]
    story.edit(targets=[story.kept("tp1")])  # as it is, it needs no other order
    assert story.book == {"tp1": "sell 1 @ 110"}
    story.edit(targets=[story.kept("tp1", price=D(160))])
    assert story.book == {"tp2": "sell 1 @ 160"}
