"""What a reader sees at each turn of a trade's life (behaviour 2.1 to 2.8, the columns "Fields")."""

from decimal import Decimal
from typing import Any

import pytest
from driver import FEE_IN_BASE, LINEAR, Story, limit, market, own, plan, refused, sl, tp, when
from published import account, published

from smarttrade.api.entities import STEP_TITLES, TRADE_TITLES, Surroundings, live_members, smart_trade_entity
from smarttrade.api.sub_trade_entities import sub_trade_entities
from smarttrade.domain.order import RefusalKind
from smarttrade.domain.plan import EntryPlan, Leverage, MarginMode, TradeKind
from smarttrade.domain.position import Sums
from smarttrade.domain.quote import PriceType
from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.domain.steps import StepStatus

D = Decimal
ASK = PriceType.ASK
ACCOUNT = account(published("waiting_position"))
FLAGS = ("panic_sell", "add_funds", "reduce_funds", "force_start", "force_process", "cancel")


def seen(story: Story) -> dict[str, Any]:
    """The entity of the story's trade now."""
    trade, sums = story.trade, Sums.of(story.trade)
    surroundings = Surroundings(story.context().quote, None, D(1), D(0), None)
    return smart_trade_entity(
        trade, sums, ACCOUNT, story.instrument, live_members(trade, sums, story.instrument, surroundings)
    )


def flags(entity: dict[str, Any]) -> set[str]:
    """The commands that the entity offers."""
    data = entity["data"]
    return {flag for flag in FLAGS if data[f"{flag}_available"]} | ({"edit"} if data["editable"] else set())


def steps(entity: dict[str, Any], *members: str) -> list[tuple[Any, ...]]:
    """Members of each shown target; those with a value by it."""
    return [
        tuple(step[name]["value"] if name in ("units", "price") else step[name] for name in members)
        for step in entity["take_profit"]["steps"]
    ]


def held_back(story: Story) -> Story:
    """The exchange confirms no cancellation."""
    story.on_cancel = "hold"
    return story


# --- before and at the entry --------------------------------------------------------------------------------------


def test_a_new_trade_shows_an_armed_entry_and_idle_exits_without_figures() -> None:
    """S-1, P-2, TP-1, SL-1."""
    story = Story(on=LINEAR)
    story.on_leverage = "silence"  # it stays `created`
    leverage = Leverage(MarginMode.ISOLATED, D(2))
    story.create(plan(TradeKind.SMART_TRADE, limit(95), [tp(110)], sl(90), leverage))
    entity = seen(story)
    assert entity["status"]["type"] == "created"
    assert entity["position"]["status"]["type"] == "to_process"
    assert (entity["is_position_not_filled"], entity["data"]["base_position_step_finished"]) == (True, False)
    assert (entity["data"]["entered_amount"], entity["data"]["entered_total"]) == ("0.0", "0.0")
    assert steps(entity, "units", "total") == [(None, None)]
    step = entity["take_profit"]["steps"][0]
    assert (step["status"]["type"], step["data"]) == ("idle", {"cancelable": True, "panic_sell_available": False})
    stop = entity["stop_loss"]
    assert (stop["status"]["type"], stop["price"]["value"]) == ("idle", None)
    assert flags(entity) == {"force_start", "force_process"}


def test_a_limit_stop_shows_its_price_from_the_beginning() -> None:
    """SL-1."""
    assert seen(Story(limit(95), [tp(110)], sl(90, at=89)))["stop_loss"]["price"]["value"] == "89.0"


def test_an_acknowledged_limit_entry_is_placed() -> None:
    """P-3, S-4."""
    story = Story(start=False)
    story.answers.append("silence")
    story.create(plan(TradeKind.SMART_TRADE, limit(95)))
    assert (story.status, story.legs("entry")) == ("waiting_position", "to_process")
    story.tell(story.venue_has("entry"))
    assert (story.status, story.legs("entry")) == ("waiting_position", "order_placed")


def test_a_part_of_the_entry_is_counted_and_nothing_else_changes() -> None:
    """P-7, P-16."""
    story = Story(limit(95), [tp(110)], bid=100)
    story.fill("entry", 4)
    entity = seen(story)
    assert (entity["data"]["entered_amount"], entity["data"]["entered_total"]) == ("4.0", "380.0")
    assert (entity["status"]["type"], story.legs("entry", "tp1")) == ("waiting_position", "order_placed idle")


def test_a_finished_entry_shows_what_was_really_bought_and_arms_the_exits() -> None:
    """S-7, P-8, TP-2, TP-3, SL-2, M-11, M-22."""
    targets = [tp(110, 50), tp(120, 30, at_market=True), tp(130, 20, trailing=1)]
    story = Story(limit(100), targets, sl(90), bid=101, **FEE_IN_BASE)
    story.fill("entry", price=99)
    entity = seen(story)
    position = entity["position"]
    assert [position[name]["value"] for name in ("units", "price", "total")] == ["9.99", "99.09", "990.0"]
    assert [position["editable"], *(position[name]["editable"] for name in ("units", "price"))] == [False] * 3
    assert (entity["status"]["type"], position["status"]["type"]) == ("waiting_targets", "finished")
    assert (entity["is_position_not_filled"], entity["data"]["base_position_step_finished"]) == (False, True)
    assert (entity["data"]["entered_amount"], entity["data"]["average_enter_price"]) == ("9.99", "99.09")
    assert steps(entity, "units") == [("5.1",), ("2.9",), ("1.9",)]  # 0.09 is less than a lot: nobody's
    assert [step["status"]["type"] for step in entity["take_profit"]["steps"]] == [
        "order_placed", "to_process", "to_process",
    ]  # fmt: skip
    assert {tuple(step["data"].values()) for step in entity["take_profit"]["steps"]} == {(True, True)}
    assert entity["stop_loss"]["status"]["type"] == "to_process"
    assert entity["stop_loss"]["units"]["value"] == "9.9"
    assert flags(entity) == {"edit", "panic_sell", "add_funds", "reduce_funds", "force_process", "cancel"}


def test_totals_of_targets_are_units_times_price_unrounded() -> None:
    """M-21: 8 x 0.5, 3 x 0.6, 3 x 0.55 of 14.91."""
    figures = {"lot": D(1), "min_lot": D(1), "min_total": D("0.1"), "min_market_total": D("0.1")}
    targets = [tp("0.5", 50), tp("0.6", 25), tp("0.55", 25)]
    story = Story(own("0.10768", "14.91"), targets, kind=TradeKind.SMART_SELL, bid="0.1", tick=D("0.00001"), **figures)
    assert steps(seen(story), "units", "total") == [("8.0", "4.0"), ("3.0", "1.8"), ("3.0", "1.65")]


def test_own_funds_show_a_position_that_was_never_ordered() -> None:
    """P-1, S-2, M-9."""
    entity = seen(Story(own(), [tp(110)], sl(90), kind=TradeKind.SMART_SELL))
    position = entity["position"]
    assert (position["status"]["type"], position["status"]["title"]) == ("smart_sell", "Own funds")
    assert position["price"] == {"value": "100.0", "value_without_commission": None, "editable": True}
    assert (position["editable"], position["units"]["editable"]) == (True, False)
    assert (entity["is_position_not_filled"], entity["status"]["type"]) == (False, "waiting_targets")
    assert {name: value for name, value in entity["data"].items() if name.startswith("average_enter")} == {
        "average_enter_price": None, "average_enter_price_without_commission": None,
    }  # fmt: skip


def test_a_failed_entry_shows_the_exchanges_words_and_offers_nothing() -> None:
    """S-8, P-15, TP-19, M-46."""
    story = Story(start=False)
    story.answers.append(refused(RefusalKind.PERMANENT, "Balance insufficient!"))
    story.create(plan(TradeKind.SMART_TRADE, limit(95), [tp(110)], sl(90)))
    entity = seen(story)
    assert entity["status"] == {**entity["status"], "type": "failed", "error": "Balance insufficient!"}
    assert entity["position"]["status"]["error"] == "Balance insufficient!"
    assert (entity["take_profit"]["enabled"], entity["take_profit"]["steps"]) == (True, [])
    assert (entity["data"]["base_position_step_finished"], entity["is_position_not_filled"]) == (True, True)
    assert ("closed_at" in entity["data"], entity["data"]["finished"]) == (True, False)
    assert (entity["profit"]["volume"], entity["profit"]["percent"]) == (None, "0.0")
    assert flags(entity) == set()


@pytest.mark.parametrize(
    ("entry", "editable"),
    [(limit(95), [False, False, True]), (when(95), [True, True, True]), (when(95, price=94), [True, True, True])],
    ids=["limit", "conditional", "conditional limit"],
)
def test_what_of_a_waiting_entry_may_be_edited(entry: EntryPlan, editable: list[bool]) -> None:
    """P-17."""
    position = seen(Story(entry))["position"]
    assert [position["editable"], position["units"]["editable"], position["price"]["editable"]] == editable
    assert position.get("conditional", {"editable": True})["editable"]


def test_a_fired_condition_cannot_be_edited() -> None:
    """P-4, P-17."""
    story = Story(when(95, price=94))
    story.quote(95)
    position = seen(story)["position"]
    assert story.book == {"entry": "buy 10 @ 94"}
    assert (position["conditional"]["editable"], position["units"]["editable"]) == (False, False)


def test_a_trailing_entry_shows_that_it_trails() -> None:
    """P-5, P-6."""
    story = Story(when(95, trailing=2))
    story.quote(95)
    assert seen(story)["position"]["status"] == {
        "type": "trailing_activated", "basic_type": "trailing_activated", "title": "Trailing Activated",
    }  # fmt: skip
    assert story.book == {}
    story.quote("96.90")
    assert seen(story)["position"]["status"]["type"] == "finished"


def test_a_forced_entry_is_panicked_until_its_order_is_out_and_then_finished() -> None:
    """P-9, P-10, P-13."""
    story = held_back(Story(limit(95), [tp(110)]))
    story.fill_at_market = False
    story.force_start()
    entity = seen(story)
    assert (entity["position"]["status"]["type"], entity["position"]["status"]["title"]) == (
        "panic_sell_pending", "Panic closing",
    )  # fmt: skip
    assert (entity["status"]["type"], entity["data"]["force_start_available"]) == ("waiting_position", False)
    story.cancelled("entry")
    assert story.legs("entry") == "panic_sell_order_placed"
    story.fill("entry")
    assert story.legs("entry") == "finished"


@pytest.mark.parametrize("kind", [TradeKind.SIMPLE_BUY, TradeKind.SIMPLE_SELL])
def test_a_simple_trade_is_finished_with_its_entry(kind: TradeKind) -> None:
    """S-9, M-47."""
    entity = seen(Story(market(), kind=kind))
    assert (entity["status"]["type"], entity["data"]["finished"], "closed_at" in entity["data"]) == (
        "finished", True, True,
    )  # fmt: skip
    assert (entity["profit"]["volume"], entity["profit"]["usd"], entity["profit"]["percent"]) == (None, None, "0.0")


@pytest.mark.parametrize(
    ("kind", "follows"), [(TradeKind.SMART_TRADE, "ask"), (TradeKind.SMART_COVER, "bid")], ids=["long", "short"]
)
def test_an_entry_without_a_condition_follows_the_price_at_which_it_trades(kind: TradeKind, follows: str) -> None:
    """TR-2."""
    story = Story(market(), kind=kind)
    (leg,) = sub_trade_entities(story.trade, instrument=story.instrument, extreme_of=lambda group: None)
    assert leg["follow_price_type"] == follows


# --- targets ------------------------------------------------------------------------------------------------------


def test_a_market_target_waits_for_its_price_and_is_then_ordered() -> None:
    """TP-3, TP-4, TR-41."""
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.fill_at_market = False
    assert story.book == {}
    story.quote("109.99")
    assert (story.legs("tp1"), story.book) == ("to_process", {})
    story.quote(110)
    assert (story.legs("tp1"), story.book) == ("order_placed", {"tp1": "sell 10 market"})


def test_a_trailing_target_is_activated_follows_and_fires_at_a_ratio_of_its_highest_price() -> None:
    """TP-5, TP-6, TR-42, TR-43: 1 % of 107, not one point of the profit; published table of 3.5."""
    story = Story(market(), [tp(105, trailing=1)], sl(90))
    story.quote(105)
    assert seen(story)["take_profit"]["steps"][0]["status"]["type"] == "trailing_activated"
    assert story.book == {}
    story.quote(107).quote("105.94")
    assert story.legs("tp1") == "trailing_activated"
    story.quote("105.93")
    assert (story.legs("tp1"), story.status) == ("finished", "finished")


def test_a_part_of_a_target_is_counted_and_shrinks_what_the_stop_would_close() -> None:
    """TP-7, EX-3, SL-14."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1", 4)
    entity = seen(story)
    assert (entity["data"]["closed_amount"], entity["data"]["closed_total"]) == ("4.0", "440.0")
    assert story.legs("tp1") == "order_placed"
    assert (entity["stop_loss"]["units"]["value"], entity["stop_loss"]["total"]["value"]) == ("6.0", "540.0")


def test_a_finished_target_leaves_the_trade_open_for_the_others() -> None:
    """S-13, TP-8, BE-1, S-36."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90, breakeven=True))
    story.quote(105).wait(5)
    story.fill("tp1")
    entity = seen(story)
    first, second = entity["take_profit"]["steps"]
    assert (entity["status"]["type"], "closed_at" in entity["data"]) == ("waiting_targets", False)
    assert (first["status"]["type"], second["status"]["type"]) == ("finished", "order_placed")
    assert (first["closed_at"] is None, second["closed_at"]) == (False, None)
    assert first["data"] == {"cancelable": False, "panic_sell_available": False}
    assert (first["editable"], first["filled"]["units"]) == (False, "5.0")
    assert (entity["data"]["closed_amount"], entity["data"]["average_close_price"]) == ("5.0", "110.0")
    assert entity["stop_loss"]["units"]["value"] == "5.0"
    assert entity["stop_loss"]["conditional"]["price"]["value"] == "100.0"


def test_the_last_target_finishes_the_trade_and_freezes_its_profit() -> None:
    """S-14, S-35, S-36, M-45."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1")
    entity = seen(story)
    assert (entity["status"]["type"], entity["data"]["finished"], "closed_at" in entity["data"]) == (
        "finished", True, True,
    )  # fmt: skip
    assert story.legs("sl") == "cancelled"
    assert entity["profit"]["volume"] == "100.0"
    story.quote(50)
    assert seen(story)["profit"] == entity["profit"]
    assert flags(entity) == set()


def test_a_target_closed_by_hand_is_on_its_way_then_sold_and_the_trade_is_finished() -> None:
    """TP-9 to TP-11, S-34."""
    story = held_back(Story(market(), [tp(110)], sl(90)))
    story.fill_at_market = False
    story.close_leg("tp1")
    step = seen(story)["take_profit"]["steps"][0]
    assert (step["status"]["type"], step["data"]) == (
        "panic_sell_pending", {"cancelable": True, "panic_sell_available": False},
    )  # fmt: skip
    story.cancelled("tp1")
    step = seen(story)["take_profit"]["steps"][0]
    assert (step["status"]["type"], step["data"]["cancelable"]) == ("panic_sell_order_placed", False)
    story.fill("tp1")
    entity = seen(story)
    step = entity["take_profit"]["steps"][0]
    assert (entity["status"]["type"], step["status"]["type"]) == ("finished", "panic_sold")
    assert step["closed_at"] is not None


def test_a_cancelled_target_disappears_and_comes_back_if_it_was_executed_after_all() -> None:
    """TP-12, TP-13, R-8."""
    story = held_back(Story(market(), [tp(110, 50), tp(120, 50)], sl(90)))
    story.cancel_leg("tp1")
    assert story.legs("tp1") == "pending_cancellation"
    assert steps(seen(story), "price") == [("120.0",)]
    story.fill("tp1")
    assert steps(seen(story), "price") == [("110.0",), ("120.0",)]


# --- stop ---------------------------------------------------------------------------------------------------------


def test_a_fired_stop_cannot_be_edited_and_shows_its_part_and_its_end() -> None:
    """S-15, S-16, SL-4, SL-8, SL-10."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = False
    story.quote(90)
    entity = seen(story)
    assert (entity["status"]["type"], entity["stop_loss"]["status"]["type"]) == (
        "stop_loss_in_progress", "order_placed",
    )  # fmt: skip
    assert flags(entity) == {"panic_sell", "force_process", "cancel"}
    story.fill("sl", 4)
    entity = seen(story)
    assert (entity["data"]["closed_amount"], entity["stop_loss"]["status"]["type"]) == ("4.0", "order_placed")
    assert entity["stop_loss"]["closed_at"] is None
    story.fill("sl")
    entity = seen(story)
    assert (entity["status"]["type"], entity["data"]["finished"]) == ("stop_loss_finished", True)
    assert entity["stop_loss"]["closed_at"] is not None
    assert entity["stop_loss"]["filled"]["units"] == "10.0"


def test_a_blocked_stop_says_why_and_keeps_its_statuses() -> None:
    """S-31, SL-13, EX-12, EX-13: silent while it is tried quickly, then visible until an attempt is accepted."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(RefusalKind.RECOVERABLE, "Filter failure")] * 20)
    story.quote(90).wait(60)
    entity = seen(story)
    assert "error" not in entity["status"]
    assert "error" not in entity["stop_loss"]["status"]
    story.wait(61)
    entity = seen(story)
    assert (entity["status"]["type"], entity["status"]["error"]) == ("stop_loss_in_progress", "Filter failure")
    assert entity["stop_loss"]["status"]["error"] == "Filter failure"
    assert flags(entity) == {"panic_sell", "force_process", "cancel"}


def test_a_removed_stop_is_off() -> None:
    """SL-12."""
    for remove in (lambda story: story.cancel_leg("sl"), lambda story: story.edit(stop=None)):
        story = Story(market(), [tp(110)], sl(90))
        remove(story)
        assert seen(story)["stop_loss"] == {"enabled": False}
        assert story.legs("sl1") == "cancelled"


# --- averaging, reduction, close, cancel --------------------------------------------------------------------------


def test_averaging_is_counted_as_it_fills_and_resizes_when_it_is_done() -> None:
    """A-3, A-4, M-24, P-8."""
    story = Story(market(), [tp(110)], sl(90))
    story.add(10, 95).fill("avg1", 4)
    entity = seen(story)
    assert (entity["data"]["entered_amount"], entity["data"]["entered_total"]) == ("14.0", "1380.0")
    assert entity["data"]["average_enter_price"] == "98.57"
    assert story.legs("avg1") == "order_placed"
    story.fill("avg1")
    entity = seen(story)
    assert [entity["position"][name]["value"] for name in ("units", "price", "total")] == ["20.0", "97.5", "1950.0"]
    assert steps(entity, "units") == [("20.0",)]


def test_a_reduction_shows_its_price_and_shuts_the_trade_until_it_is_over() -> None:
    """RF-1 to RF-5, S-18 to S-20, M-33: 3.19 in lots of 0.1; the total at the bid."""
    story = held_back(Story(market(), [tp(110)], sl(90), bid=100, ask=101))
    story.reduce("3.19")
    entity = seen(story)
    (step,) = entity["reduce_funds"]["steps"]
    assert (step["type"], step["units"]["value"], step["total"]["value"]) == ("market", "3.1", "310.0")
    assert step["price"] == {"value": "100.0", "value_without_commission": "100.0"}
    assert step["data"] == {"cancelable": False, "panic_sell_available": False}
    assert (entity["status"]["type"], step["status"]["type"]) == ("reduce_funds_in_progress", "to_process")
    assert flags(entity) == {"panic_sell", "force_process", "cancel"}
    story.cancelled("tp1")
    entity = seen(story)
    (step,) = entity["reduce_funds"]["steps"]
    assert (entity["status"]["type"], step["status"]["type"]) == ("waiting_targets", "finished")
    assert (step["filled"]["units"], step["closed_at"] is None) == ("3.1", False)
    assert steps(entity, "units") == [("6.9",)]
    assert "reduce_funds" in flags(entity)


def test_a_reduction_of_a_short_is_shown_at_the_ask() -> None:
    """RF-1."""
    story = held_back(Story(market(), [tp(90, by=ASK)], kind=TradeKind.SMART_COVER, bid=100, ask=101))
    story.reduce(3)
    assert seen(story)["reduce_funds"]["steps"][0]["price"]["value"] == "101.0"


def test_a_limit_reduction_keeps_its_type_and_its_price() -> None:
    """RF-10, RF-3, RF-4."""
    story = Story(market(), [tp(110)], sl(90))
    story.reduce(3, 105)
    entity = seen(story)
    (step,) = entity["reduce_funds"]["steps"]
    assert (step["type"], step["price"]["value"], step["data"]["cancelable"]) == ("limit", "105.0", True)
    assert steps(entity, "units") == [("7.0",)]


def test_a_market_close_waits_for_the_orders_then_shows_its_own() -> None:
    """S-22, S-23, S-25, MC-1 to MC-4."""
    story = held_back(Story(market(), [tp(110, 50), tp(120, 50)], sl(90)))
    story.fill_at_market = False
    story.add(2, 80).heard()
    story.close()
    entity = seen(story)
    assert (entity["status"]["type"], entity["market_close"], flags(entity)) == (
        "panic_sell_pending", {}, {"force_process"},
    )  # fmt: skip
    assert story.heard() == ["cancel tp1", "cancel tp2", "cancel avg1"]
    story.cancelled("tp1").cancelled("tp2")
    assert story.heard() == []
    story.cancelled("avg1")
    assert story.heard() == ["sell close 10 market"]
    entity = seen(story)
    close = entity["market_close"]
    assert (entity["status"]["type"], close["status"]["type"], close["type"]) == (
        "panic_sell_in_progress", "order_placed", "market",
    )  # fmt: skip
    assert [close[name]["value"] for name in ("units", "price", "total")] == ["10.0", "100.0", "1000.0"]
    story.fill("close", 4, 99)
    entity = seen(story)
    assert (entity["data"]["closed_amount"], entity["market_close"]["filled"]["units"]) == ("4.0", "4.0")
    assert entity["market_close"]["status"]["type"] == "order_placed"
    story.fill("close", price=98)
    entity = seen(story)
    assert (entity["status"]["type"], entity["market_close"]["status"]["type"]) == ("panic_sold", "finished")
    assert (entity["data"]["finished"], entity["data"]["closed_total"]) == (True, "984.0")
    assert "closed_at" in entity["data"]


def test_the_rest_of_a_market_close_that_ends_too_early_is_sent_again() -> None:
    """MC-3, EX-5."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = False
    story.close().fill("close", 4).heard()
    story.cancelled("close", "expired")
    assert story.heard() == ["sell close 6 market"]


def test_a_market_close_on_futures_only_reduces() -> None:
    """MC-2, EX-26."""
    story = Story(market(), [tp(110)], on=LINEAR)
    story.heard()
    story.close()
    assert story.heard() == ["cancel tp1", "sell close 10 market reduce-only"]


def test_a_cancelled_trade_keeps_the_coins_and_shows_no_targets() -> None:
    """S-26 to S-28, TP-19, S-35, M-46."""
    story = held_back(Story(market(), [tp(110, 50), tp(120, 50)], sl(90)))
    story.fill("tp1").cancel()
    entity = seen(story)
    assert (entity["status"]["type"], flags(entity)) == ("cancellation_in_progress", {"force_process"})
    story.cancelled("tp2")
    entity = seen(story)
    assert (entity["status"]["type"], entity["data"]["finished"], "closed_at" in entity["data"]) == (
        "cancelled", False, True,
    )  # fmt: skip
    assert (entity["take_profit"]["enabled"], entity["take_profit"]["steps"]) == (True, [])
    assert (story.legs("entry", "sl"), story.open) == ("finished cancelled", 5)
    assert entity["profit"]["volume"] == "50.0"  # of the five that were sold
    assert flags(entity) == set()


def test_a_final_trade_stays_as_it_is() -> None:
    """S-33."""
    story = Story(market(), [tp(110)], sl(90))
    story.close()
    before = story.trade
    story.quote(50).quote(200).wait(86400).restart()
    assert story.trade is before
    assert (story.status, story.book) == ("panic_sold", {})


# --- words and figures of every status ----------------------------------------------------------------------------


def test_statuses_have_the_published_names_and_titles() -> None:
    """Q-20, V-11: titles are for people, and names that other clients know but nobody explains never appear."""
    assert {status.value: title for status, title in TRADE_TITLES.items()} == {
        "created": "Pending",
        "waiting_position": "Pending Position Opened",
        "waiting_targets": "Waiting Targets",
        "pending_reduce_funds": "Pending reduce funds",
        "reduce_funds_in_progress": "Reducing funds",
        "stop_loss_in_progress": "Stop Loss in progress",
        "stop_loss_finished": "Stop Loss finished",
        "panic_sell_pending": "Closing at Market Price",
        "panic_sell_in_progress": "Closing at Market Price",
        "panic_sold": "Closed at Market Price",
        "cancellation_pending": "Cancelling",
        "cancellation_in_progress": "Cancelling",
        "cancelled": "Cancelled",
        "finished": "Finished",
        "failed": "Failed",
    }
    assert {status.value: title for status, title in STEP_TITLES.items()} == {
        "idle": "Pending",
        "to_process": "Pending",
        "order_placed": "Placed",
        "trailing_activated": "Trailing Activated",
        "panic_sell_pending": "Panic closing",
        "panic_sell_order_placed": "Panic closing",
        "panic_sold": "Panic closed",
        "pending_cancellation": "Cancelling",
        "cancelled": "Cancelled",
        "finished": "Finished",
        "failed": "Failed",
        "smart_sell": "Own funds",
    }
    never = {"async_order_placement", "inactive", "need_reset", "suspended"}
    assert not never & ({status.value for status in TradeStatus} | {status.value for status in StepStatus})


@pytest.mark.parametrize("act", [lambda story: None, Story.close, Story.cancel, lambda story: story.fill("tp1")])
def test_the_base_order_counts_as_finished_whatever_happens(act: Any) -> None:
    """S-37."""
    assert seen(Story(limit(90)))["data"]["base_order_finished"] is True
    story = Story(market(), [tp(110)], sl(90))
    act(story)
    assert seen(story)["data"]["base_order_finished"] is True


@pytest.mark.parametrize(
    ("kind", "by", "target", "volume"),
    [(TradeKind.SMART_TRADE, PriceType.LAST, 200, "-10.0"), (TradeKind.SMART_COVER, PriceType.LAST, 50, "-30.0")],
    ids=["long", "short"],
)
def test_profit_is_what_closing_now_would_bring(kind: TradeKind, by: PriceType, target: int, volume: str) -> None:
    """M-48: the bid of a long, the ask of a short, whatever price the exits follow."""
    story = Story(market(), [tp(target, by=by)], kind=kind)
    story.quote(99, 103, 120)
    assert seen(story)["profit"]["volume"] == volume


def test_the_profit_of_a_spot_cover_is_in_quote() -> None:
    """V-6: own coins sold at 100 and bought back at 90, the same number."""
    story = Story(market(), [tp(90, by=ASK)], kind=TradeKind.SMART_COVER)
    assert story.heard() == ["sell entry 10 market", "buy tp1 10 @ 90"]
    story.fill("tp1")
    entity = seen(story)
    assert (entity["data"]["closed_amount"], entity["profit"]["volume"]) == ("10.0", "100.0")
