"""The auditor complains when a rule is broken, and keeps silent in the races that the rules allow.

Each test lets a real trade get to a point, and then the server does something wrong, or sleeps. All stories of the
domain's own tests pass with an auditor listening; the races here are those that look wrong and are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from driver import FEE, FEE_IN_BASE, LINEAR, D, Number, limit, market, own, refused, sl, tp
from listening import OPENING, ListeningStory

from smarttrade.domain.order import OrderType, RefusalKind
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import SECOND
from smarttrade.simulation.auditor import Auditor
from smarttrade.simulation.auditor.known import GRACE
from smarttrade.simulation.observer import Violation

MINUTE = 60
LONG_ENOUGH = 2 * GRACE // SECOND


@contextmanager
def violation(rule: str, words: str = "") -> Iterator[None]:
    with pytest.raises(Violation, match=words or None) as caught:
        yield
    assert caught.value.rule == rule, str(caught.value)


def long(stop: Any = None, targets: Any = (), entry: Any = None, **members: Any) -> ListeningStory:
    """A long position of 10 at 100, with its exits."""
    members.setdefault("max_quote_age", 10)
    story = ListeningStory(entry or limit(100), targets, stop, bid=100, ask="100.5", **members)
    return story.fill("entry")


# --- rule 1: no position without its stop ------------------------------------------------------------------------


def test_a_stop_that_sleeps_through_its_level_is_noticed_at_rest():
    """TR-3: at the level and beyond it."""
    story = long(sl(90))
    story.market_alone("90.01")
    story.rests()
    story.market_alone(90)
    with violation("TR-3", "has not fired"):
        story.rests()


def test_a_stop_fires_at_a_price_that_others_follow_until_a_slow_disk_has_stored_it():
    """TR-3, AR-3: armed and fired at once, at the price that stood when the entry was filled."""

    def slow(row: dict[str, Any]) -> None:
        if row["stop"].get("fired"):
            story.market_alone(96)

    story = ListeningStory(limit(95), [], sl(90), bid=100)
    story.quote(89)
    story.rests()
    story.spoils = slow
    story.fill("entry")
    assert story.row["stop"]["fired"]


def test_a_short_stop_that_sleeps_is_noticed():
    story = long(sl(110), kind=TradeKind.SMART_COVER)
    story.market_alone("109.99")
    story.rests()
    story.market_alone(110)
    with violation("TR-3"):
        story.rests()


def test_a_price_that_is_no_price_obliges_nobody():
    """TR-6: zero, crossed, negative."""
    story = long(sl(90))
    story.market_alone(0, 90)
    story.market_alone(80, 70)
    story.market_alone(80, 90, -1)
    story.rests()


def test_a_price_that_comes_too_late_obliges_nobody_and_one_in_time_does():
    """TR-6: older than 10 s, older than one used already, or from before our last fill (faults F39)."""
    story = long(sl(90))
    key, now = story.auditor._known.trades[1].key, story.now
    for age in (11, 5, 0):
        story.auditor.price_moved(now, *key, D(80), D(81), D(80), age * SECOND)
        if age == 0:
            with violation("TR-3"):
                story.rests()
        else:
            story.rests()


def test_a_stop_owes_nothing_while_the_order_stream_is_lost():
    """EX-35: nor before its orders are known again."""
    story = long(sl(90))
    story.auditor.trouble_began(story.now, 1, "stream")
    story.market_alone(80)
    story.rests()
    story.auditor.trouble_ended(story.now, 1, "stream")
    story.market_alone(80)
    story.rests()
    story.now += 61 * SECOND
    story.market_alone(80)
    with violation("TR-3"):
        story.rests()


def test_a_trailing_stop_is_followed_with_an_extreme_of_the_auditors_own():
    """TR-50: 90 of 100 is a ratio of 0.9, so that 112 carries the level to 100.8."""
    story = long(sl(90, trailing=True))
    story.market_alone(112)
    story.market_alone("100.81")
    story.rests()
    story.market_alone("100.80")
    with violation("TR-3", "100.80 is at or beyond the stop's level 100.8"):
        story.rests()


def test_a_trailing_stop_follows_a_price_that_comes_too_late():
    """TR-6, TR-50: it decides nothing itself."""
    story = long(sl(90, trailing=True))
    story.now += 60 * SECOND
    story.market_alone(112, age=20)
    story.market_alone(80, age=15)
    story.rests()
    story.market_alone("100.81")
    story.rests()
    story.market_alone("100.80")
    with violation("TR-3", "100.80 is at or beyond the stop's level 100.8"):
        story.rests()


def test_a_trailing_stop_may_but_need_not_follow_a_price_from_before_the_start():
    """EX-37."""
    story = long(sl(90, trailing=True))
    story.now += 60 * SECOND
    story.auditor.process_died(story.now)
    story.auditor.process_started(story.now)
    story.market_alone(112, age=20)
    story.market_alone(100)
    story.rests()
    row = story.row
    row["stop"]["fired"] = True
    row["revision"] += 1
    story.stores(row)


def test_a_trailing_percent_never_loosens_the_level():
    """TR-51."""
    story = long(sl(90, trailing=True, trailing_percent=20))
    story.market_alone(112)
    story.market_alone("90.01")
    story.rests()
    story.market_alone(90)
    with violation("TR-3"):
        story.rests()


def test_an_extreme_of_the_last_moments_may_die_with_the_process():
    """EX-37: it may not have been stored yet; an older one must be known again."""
    story = long(sl(90, trailing=True))
    story.now += 60 * SECOND
    story.market_alone(110)
    story.rests(60)
    story.market_alone(112)
    story.auditor.process_died(story.now)
    story.auditor.process_started(story.now)
    story.market_alone(100)
    story.rests()
    story.market_alone(99)
    with violation("TR-3", "level 99"):
        story.rests()


def test_an_extreme_that_waits_for_the_disk_may_die_with_the_process():
    """EX-37: the server has had no rest since it was told."""
    story = long(sl(90, trailing=True))
    story.now += 60 * SECOND
    story.market_alone(110)
    story.rests(60)
    story.market_alone(112)
    story.now += 30 * SECOND
    story.market_alone(113)
    story.auditor.process_died(story.now)
    story.auditor.process_started(story.now)
    story.market_alone(100)
    story.rests()
    story.market_alone(99)
    with violation("TR-3", "level 99"):
        story.rests()


def test_the_timeout_is_waited_for_and_not_a_moment_longer():
    """TR-60, TR-62."""
    story = long(sl(90, timeout=60))
    story.quote(90)
    story.rests(30)
    story.market_alone(89)
    story.rests(29)
    story.now += 5 * SECOND
    story.market_alone("89.5")
    with violation("TR-62"):
        story.rests()


def test_a_timeout_without_a_timer_is_noticed():
    """TR-60: the start time is stored."""
    story = long(sl(90, timeout=60))
    story.market_alone(90)
    with violation("TR-60"):
        story.rests()


def test_a_price_that_recovers_begins_the_timeout_anew():
    """TR-61."""
    story = long(sl(90, timeout=60))
    story.quote(90).wait(50)
    story.quote("90.01").wait(5)
    story.quote(89).wait(30)
    story.rests(20)


def test_a_timeout_goes_on_while_fills_of_the_entry_move_a_percent_stop():
    """P-18, TR-65: 10 % below 100, then below 98; TR-61: 86 is better than 10 % below 95."""
    for then, level, ends in ((96, "88.20", True), (90, "85.50", False)):
        story = ListeningStory(limit(100), (), sl(percent=10, timeout=60), bid=95)
        story.fill("entry", 4, 100).quote(87).wait(30).quote(86)
        story.fill("entry", 4, then)
        assert story.stop.configured_price == D(level)
        story.wait(29)
        assert not story.stop.fired
        story.wait(1)
        assert story.stop.fired is ends
        if not ends:
            row = story.row
            row["status"] = "stop_loss_in_progress"
            row["stop"] |= {"fired": True}
            with violation("TR-3"):
                story.stores(row)


def test_a_timeout_that_fills_of_the_entry_do_not_end_is_over_in_time():
    """P-18, TR-62."""
    story = ListeningStory(limit(100), (), sl(percent=10, timeout=60), bid=95, max_quote_age=10)
    story.fill("entry", 4, 100).quote(87).wait(30)
    story.quote(87).fill("entry", 4, 96)
    story.now += 33 * SECOND
    story.market_alone(87)
    with violation("TR-62", "has not fired"):
        story.rests()


def test_a_death_begins_the_timeout_anew():
    """TR-64."""
    story = long(sl(90, timeout=60))
    story.quote(89).wait(50)
    story.restart().quote(89).wait(50)
    assert story.status == "waiting_targets"


def test_prices_from_before_a_restart_oblige_nobody():
    """EX-36: another process knows of no price before its first; then it has to decide (TR-3)."""
    story = long(sl(90), [tp(110)])
    story.restart()
    row = story.row
    row["stop"]["configured_price"] = "101"
    story.stores(row)
    story.auditor.at_rest(story.now)
    story.auditor.price_moved(story.now, *story.pair, D(100), D(101), D(100), 0)
    with violation("TR-3"):
        story.auditor.at_rest(story.now)


def test_a_timeout_begins_no_sooner_than_the_start_is_over():
    """EX-36, TR-64: the first price is decided on when the orders are known again."""
    story = long(sl(90, timeout=60))
    story.auditor.process_died(story.now)
    story.market_alone(89)
    story.now += 5 * SECOND
    story.auditor.process_started(story.now)
    row = story.row
    row["stop"]["timer_started_at"] = story.now
    story.stores(row)
    story.rests(1)
    story.now += 58 * SECOND
    story.market_alone(89)
    story.rests()
    story.now += 4 * SECOND
    story.market_alone(89)
    with violation("TR-62", "has not fired"):
        story.rests()


def test_a_price_told_during_a_start_decides_nothing_after_a_fill_that_is_younger():
    """EX-36, fault F39: at the start's end it has not seen what was executed meanwhile."""
    story = long(sl(90), [tp(110, 50), tp(120, 50)])
    story.auditor.process_died(story.now)
    story.market_alone(89)
    story.now += SECOND
    story.fills_unseen_by_server("tp1", 1, 110)
    story.auditor.process_started(story.now)
    story.rests()
    story.market_alone(89)
    with violation("TR-3"):
        story.rests()


def test_a_stop_that_fires_at_no_price_is_noticed():
    """TR-3."""
    story = long(sl(90))
    row = story.row
    row["status"] = "stop_loss_in_progress"
    row["stop"]["fired"] = True
    with violation("TR-3", "no price was at its level 90"):
        story.stores(row)


def test_a_stop_that_fires_before_its_timeout_is_over_is_noticed():
    """TR-62."""
    story = long(sl(90, timeout=60))
    story.quote(89).wait(30)
    row = story.row
    row["status"] = "stop_loss_in_progress"
    row["stop"] |= {"fired": True}
    with violation("TR-62"):
        story.stores(row)


def test_the_stop_of_a_trade_that_lost_nothing_with_a_position_is_watched_as_ever():
    """S-32: the exchange took what was there before the trade had anything, or the other side's position."""
    for filled_before, quantity in ((False, 5), (True, -5)):
        story = ListeningStory(limit(100), (), sl(90), bid=101, max_quote_age=10, on=LINEAR)
        if filled_before:
            story.fill("entry")
        story.auditor.position_taken(story.now, 1, *story.pair, D(quantity), False)
        if not filled_before:
            story.fill("entry")
        story.market_alone(90)
        with violation("TR-3"):
            story.rests()


def test_the_stop_of_a_lost_position_owes_nothing_and_fires_only_at_its_level():
    """S-32, TR-3: the server may not have heard of it yet."""
    story = long(sl(90), on=LINEAR)
    story.auditor.position_taken(story.now, 1, *story.pair, D(10), True)
    story.market_alone(90)
    story.rests()
    story.quote(91)
    story = long(sl(90), on=LINEAR)
    story.auditor.position_taken(story.now, 1, *story.pair, D(10), True)
    row = story.row
    row["status"] = "stop_loss_in_progress"
    row["stop"]["fired"] = True
    with violation("TR-3", "no price was at its level"):
        story.stores(row)


def test_a_position_whose_stop_is_not_armed_is_noticed():
    """SL-2, AR-1."""
    story = ListeningStory(limit(100), (), sl(90), bid=100, max_quote_age=10)
    story.spoils = lambda row: row["stop"].update(status="idle")
    with violation("SL-2", "is idle"):
        story.fill("entry").market_alone(100)
        story.rests()


def test_a_part_that_is_filled_is_protected_unless_the_setting_is_off():
    """P-18."""
    story = ListeningStory(limit(100), (), sl(90), bid=101, max_quote_age=10)
    story.fill("entry", 4)
    story.market_alone(90)
    with violation("TR-3"):
        story.rests()
    story = ListeningStory(limit(100), (), sl(90), bid=101, max_quote_age=10)
    story.fill("entry", 4)
    row = story.row
    row["protect_partial_entry"] = False
    story.stores(row)
    story.market_alone(90)
    story.rests()


def test_breakeven_must_follow_the_first_executed_target():
    """BE-1."""
    story = long(sl(90, breakeven=True), [tp(110, 50), tp(120, 50)])
    story.quote(105)
    story.spoils = lambda row: (row.pop("breakeven_done", None), row["stop"].pop("breakeven_price", None))
    with violation("BE-1"):
        story.fill("tp1")


def test_breakeven_is_the_entry_price_with_commission_on_the_tick():
    """BE-2: 1001 / 10 = 100.10."""
    story = long(sl(90, breakeven=True), [tp(110, 50), tp(120, 50)], **FEE)
    story.quote(105)
    story.spoils = lambda row: row["stop"].update(breakeven_price="100.00")
    with violation("BE-2", "100.1"):
        story.fill("tp1")


@pytest.mark.parametrize(("level", "allowed"), [("100", True), ("97.5", True), ("99", False)])
def test_breakeven_may_be_reckoned_before_averaging_that_is_stored_at_once(level: str, allowed: bool):
    """BE-2, BE-9, C-9: words of the exchange are worked in as they arrive, a start's answers in any order."""
    story = long(sl(90, breakeven=True), [tp(110, 50, at_market=True), tp(120, 50, at_market=True)]).add(10, 95)
    stored: list[dict[str, Any]] = []
    store = story.auditor.trade_committed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            story.auditor,
            "trade_committed",
            lambda at, row: stored.append(row) if row["stop"].get("breakeven_price") else store(at, row),
        )
        story.quote(110).fill("avg1")
    last = stored[-1]
    assert D(last["stop"]["breakeven_price"]) == 100
    last = {**last, "stop": {**last["stop"], "breakeven_price": level}}
    with nullcontext() if allowed else violation("BE-2", "is 97.5"):
        story.stores(last)


def test_breakeven_ends_the_timer_of_a_trail_that_began_beyond_its_level():
    """TR-67, BE-7: the extreme stays at 100 while the timer runs, so breakeven moves the level, from 105 to 107."""
    stop = sl(105, trailing=True, timeout=60, breakeven=True)
    plan = own(107), [tp(110, 50), tp(120, 50)], stop
    story = ListeningStory(*plan, kind=TradeKind.SMART_SELL, bid=100, ask="100.5", max_quote_age=10)
    began = story.stop.timer_started_at
    story.wait(30).quote(103).fill("tp1")
    assert began is not None
    assert story.stop.timer_started_at == began + 30 * SECOND
    story.rests(50)
    story.market_alone(103)
    story.rests()
    story.rests(15)
    story.market_alone(103)
    with violation("TR-62", "has not fired"):
        story.rests()


def test_a_percent_stop_is_resolved_at_the_average_with_commission():
    """TR-30."""
    story = ListeningStory(limit(100), (), sl(percent=6), bid=100, max_quote_age=10, **FEE)
    story.spoils = lambda row: row["stop"].get("configured_price") and row["stop"].update(configured_price="94.00")
    with violation("TR-30", "94.09"):
        story.fill("entry")


@pytest.mark.parametrize(("order", "level"), [(("entry", "avg1"), "94"), (("avg1", "entry"), "91.65")])
def test_averaging_after_the_entry_moves_no_percent_stop_though_both_are_stored_at_once(
    order: tuple[str, str], level: str
):
    """TR-31, P-18."""
    story = ListeningStory(limit(100), (), sl(percent=6), bid=101)
    story.add(10, 95)
    stored: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story.auditor, "trade_committed", lambda _, row: stored.append(row))
        for leg in order:
            story.fill(leg)
    assert D(stored[-1]["stop"]["configured_price"]) == D(level)
    story.auditor.trade_committed(story.now, stored[-1])
    other = {**stored[-1], "revision": stored[-1]["revision"] + 1}
    other["stop"] = {**other["stop"], "configured_price": "93"}
    with violation("TR-30"):
        story.stores(other)


def test_a_stop_that_vanishes_by_itself_is_noticed_and_one_that_its_user_removes_is_not():
    """SL-12."""
    story = long(sl(90), [tp(110)])
    story.edit(stop=None)
    story.rests(LONG_ENOUGH)
    story = long(sl(90), [tp(110)])
    row = story.row
    row["past_stops"] = [{**row.pop("stop"), "status": "cancelled"}]
    story.stores(row)
    with violation("SL-12"):
        story.rests(LONG_ENOUGH)


def test_a_stop_that_has_fired_goes_on_until_nothing_is_open():
    """EX-20: no order, no retry, no alarm, and 10 open."""
    story = long(sl(90))
    story.answers.append(refused(RefusalKind.RECOVERABLE))
    story.quote(90)
    assert story.stop.retry_at is not None
    row = story.row
    del row["stop"]["retry_at"]
    story.stores(row)
    with violation("EX-20", "nothing closes it"):
        story.rests(LONG_ENOUGH)
        story.rests(LONG_ENOUGH)


def test_a_refused_exit_that_is_retried_with_pauses_is_in_order():
    """EX-12, S-31: blocked for ten minutes, and then taken."""
    story = long(sl(90))
    story.answers.extend([refused(RefusalKind.RECOVERABLE)] * 20)
    story.quote(90)
    for _ in range(100):
        story.quote(89).wait(20)
    assert story.status == "stop_loss_finished"


# --- rule 2: exits cover what is open, and no more ---------------------------------------------------------------


def test_an_exit_beyond_what_is_open_is_noticed():
    """Faults F32: a second target over units that the first one offers already."""
    story = long(sl(90), [tp(110, 50), tp(120, 50)])
    row = story.row
    row["targets"][0]["orders"].append(_next_attempt(row["targets"][0]["orders"][0]))
    row["targets"][0]["orders"][0]["status"] = "canceled"
    story.stores(row)
    story.auditor.order_ended(story.now, story.id_of("tp1"), "canceled")
    name = story.id_of("tp1").rpartition("x")[0]
    story.sends("tp1", 5, 110, client_order_id=f"{name}x2")
    row["targets"][1]["orders"].append({**_next_attempt(row["targets"][1]["orders"][0]), "quantity": "5.1"})
    row["targets"][1]["orders"][0]["status"] = "canceled"
    story.stores(row | {"revision": row["revision"] + 1})
    story.auditor.order_ended(story.now, story.id_of("tp2"), "canceled")
    with violation("faults F32", "offer 10.1 of 10"):
        story.sends("tp2", "5.1", 120, client_order_id=f"{story.id_of('tp2').rpartition('x')[0]}x2")


def test_targets_that_cover_too_little_are_noticed():
    """M-24."""
    story = long(sl(90), [tp(110, 50), tp(120, 50)])
    story.rests(LONG_ENOUGH)
    row = story.row
    row["targets"][1]["units"] = "4"
    story.stores(row)
    with violation("M-24"):
        story.rests(LONG_ENOUGH)


def test_a_target_without_its_order_is_noticed():
    """TP-2."""
    story = long(sl(90), [tp(110)])
    row = story.row
    row["targets"][0]["orders"][0]["status"] = "canceled"
    story.stores(row)
    story.auditor.order_ended(story.now, story.id_of("tp1"), "canceled")
    with violation("TP-2"):
        story.rests(LONG_ENOUGH)


def test_shares_are_those_of_the_volumes():
    """M-20: 9.9 by 50/50 on a lot of 0.1 is 5 and 4.9."""
    story = long(sl(90), [tp(110, 50), tp(120, 50)], **FEE_IN_BASE)
    story.rests(LONG_ENOUGH)
    row = story.row
    assert [target["units"] for target in row["targets"]] == ["5.0", "4.9"]


def test_a_target_at_another_price_than_its_own_is_noticed():
    """TR-9, E-21."""
    story = long(sl(90), [tp(110)])
    row = story.row
    row["targets"][0]["price"] = "111"
    story.stores(row)
    with violation("TR-9", "rests at 110"):
        story.rests(LONG_ENOUGH)


def test_an_exit_on_futures_that_could_open_is_noticed():
    """EX-26."""
    story = long(sl(90), [tp(110)], on=LINEAR)
    row = story.row
    row["targets"][0]["orders"].append({**_next_attempt(row["targets"][0]["orders"][0]), "reduce_only": False})
    row["targets"][0]["orders"][0]["status"] = "canceled"
    with violation("EX-26"):
        story.stores(row)


def test_a_closing_order_on_futures_may_join_a_cancellation_that_is_in_doubt_after_5_s():
    """EX-22; on spot it may not."""
    story = long(sl(90), [tp(110)], on=LINEAR)
    story.on_cancel = "hold"
    story.quote(90).wait(6)
    assert story.stop.orders
    story = long(sl(90), [tp(110)])
    story.on_cancel = "hold"
    story.quote(90).wait(6)
    row = story.row
    row["stop"]["orders"] = [_close_of(story)]
    story.stores(row)
    with violation("EX-20"):
        story.sends("sl", 10)


def test_a_closing_order_on_futures_waits_5_s_for_the_cancellation():
    """EX-22."""
    story = long(sl(90), [tp(110)], on=LINEAR)
    story.on_cancel = "hold"
    story.quote(90)
    row = story.row
    row["stop"]["orders"] = [{**_close_of(story), "reduce_only": True}]
    story.stores(row)
    with violation("EX-22"):
        story.sends("sl", 10)


def doubtful_target() -> ListeningStory:
    """The stop has fired; the target's cancellation is held, and the target is filled without a word."""
    story = long(sl(90), [tp(110)], on=LINEAR)
    story.on_cancel = "hold"
    return story.quote(90).fill_unheard("tp1", 4)


def test_a_closing_order_on_futures_may_count_on_what_a_doubtful_order_has_just_filled():
    """EX-22, faults F32: it is reduce-only, and nobody has told the server."""
    story = doubtful_target()
    row = story.row
    asked = row["targets"][0]["orders"][0]["cancel_requested_at"]
    row["stop"]["orders"] = [{**_close_of(story), "reduce_only": True}]
    story.stores(row)
    story.now = asked + 6 * SECOND
    story.sends("sl", 10)


def test_what_the_server_was_told_of_is_no_longer_open():
    """Faults F32."""
    story = doubtful_target()
    row = story.row
    order = row["targets"][0]["orders"][0]
    row["stop"]["orders"] = [{**_close_of(story), "reduce_only": True}]
    order["execution"] = dict.fromkeys(("gross_quantity", "amount"), "4") | dict.fromkeys(
        ("gross_total", "total"), "440"
    )
    story.stores(row)
    story.now = order["cancel_requested_at"] + 6 * SECOND
    with violation("faults F32", "offer 10 of 6"):
        story.sends("sl", 10)


def late_target(**members: Any) -> ListeningStory:
    """The order of a target is lost on its way; the stop fires, and closes with a limit order."""
    story = ListeningStory(limit(100), [tp(110)], sl(90, at="89"), bid=100, ask="100.5", **members)
    story.answers.append("never arrives")
    story.fill("entry")
    return story.quote(90)


def test_an_order_that_arrives_after_its_trade_was_closed_without_it_is_allowed_on_futures():
    """EX-22, EX-31, faults F32: reduce-only, and its cancellation had been asked for."""
    story = late_target(on=LINEAR)
    story.wait(6)
    assert story.book == {"sl": "sell 10 @ 89"}
    story.sends("tp1", 10, 110, client_order_id=story.id_of("tp1"))
    story = late_target(on=LINEAR)
    story.wait(6).fill("sl", 8)
    story.sends("tp1", 10, 110, client_order_id=story.id_of("tp1"))
    story = late_target(on=LINEAR)
    story.wait(6)
    row = story.row
    row["targets"][0]["orders"][0].pop("cancel_requested_at")
    story.stores(row | {"revision": row["revision"] + 1})
    with violation("faults F32", "offer 20 of 10"):
        story.sends("tp1", 10, 110, client_order_id=story.id_of("tp1"))


@pytest.mark.parametrize(("members", "rule"), [({}, "EX-20"), ({"on": LINEAR}, "EX-22")])
def test_a_closing_order_waits_for_an_order_that_may_still_arrive(members: dict[str, Any], rule: str):
    """EX-20, EX-22, EX-31."""
    story = late_target(**members)
    row = story.row
    row["stop"]["orders"] = [{**_close_of(story), "price": "89", "type": "limit", "reduce_only": rule == "EX-22"}]
    story.stores(row)
    with violation(rule):
        story.sends("sl", 10, 89)


# --- rules 3 and 4: which orders reach the exchange --------------------------------------------------------------


def test_a_second_order_of_a_leg_is_noticed():
    """C-8, faults F13."""
    story = long(None, [tp(110)])
    row = story.row
    row["targets"][0]["orders"][0]["status"] = "canceled"
    row["targets"][0]["orders"].append(_next_attempt(row["targets"][0]["orders"][0]))
    story.stores(row)
    with violation("faults F13"):
        story.sends("tp1", 10, 110)


def test_an_order_that_was_not_committed_is_noticed():
    """C-9."""
    story = long(None, [tp(110)])
    story.auditor.order_ended(story.now, story.id_of("tp1"), "canceled")
    with violation("C-9", "before it was committed"):
        story.sends("tp1", 10, 110)


def test_an_order_that_differs_from_what_was_committed_is_noticed():
    story = ListeningStory(limit(100), bid=101)
    story.auditor._known.orders.clear()
    story.auditor._known.trades[1].orders.clear()
    with violation("C-9", "sent as"):
        story.sends("entry", 10, 101, client_order_id=story.id_of("entry"))


def test_an_order_that_nobody_owns_is_noticed():
    """EX-4, faults F29."""
    story = ListeningStory(limit(100), bid=101)
    with violation("EX-4"):
        story.sends("entry", 10, 100, client_order_id="sttest99x1x1")
    with violation("EX-4"):
        story.sends("entry", 10, 100, client_order_id="someone else's")


def test_a_client_order_id_never_names_two_orders():
    """C-8; an order that is over is no excuse."""
    story = ListeningStory(limit(100), bid=101)
    story.cancelled("entry")
    story = ListeningStory(limit(100), bid=101)
    story.auditor.order_ended(story.now, story.id_of("entry"), "canceled")
    with violation("C-8"):
        story.sends("entry", 10, 100, client_order_id=story.id_of("entry"))


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("C-2", {"side": "sell"}),
        ("EX-14", {"quantity": "9.95"}),
        ("EX-14", {"quantity": "0"}),
        ("TR-9", {"price": "100.001"}),
        ("TR-9", {"price": "0"}),
        ("EX-26", {"reduce_only": True}),
        ("C-8", {"attempt": 3}),
        ("P-8", {"quantity": "10.1"}),
    ],
)
def test_an_order_that_is_not_fit_to_be_sent_is_noticed_when_it_is_meant(rule: str, changes: dict[str, Any]):
    story = ListeningStory(limit(100), bid=101)
    row = story.row
    row["position"]["orders"][0]["status"] = "canceled"
    row["position"]["orders"].append({**_next_attempt(row["position"]["orders"][0]), **changes})
    with violation(rule):
        story.stores(row)


def test_a_market_order_above_the_exchanges_maximum_is_noticed():
    """EX-16; the server splits it."""
    story = long(sl(90), entry=limit(100), max_market_lot=D(4))
    story.quote(90)
    assert [order.quantity for order in story.stop.orders] == [4, 4, 2]
    story = long(sl(90), entry=limit(100), max_market_lot=D(4))
    row = story.row
    row["stop"]["orders"] = [_close_of(story)]
    with violation("EX-16"):
        story.stores(row)


def test_an_entry_for_more_than_was_planned_is_noticed():
    """Faults F13: 4 are entered, and all 10 are ordered again."""
    story = ListeningStory(limit(100), bid=101)
    story.fill("entry", 4)
    row = story.row
    row["position"]["orders"][0]["status"] = "canceled"
    row["position"]["orders"].append(_next_attempt(row["position"]["orders"][0]))
    with violation("P-8", "4 of 10"):
        story.stores(row)


def test_a_command_that_is_answered_before_it_is_stored_is_noticed():
    """C-10, S-26, S-22, promise 1."""
    story = long(sl(90))
    with violation("S-26"):
        story.auditor.command_answered(story.now, 1, "CancelTrade", None)
    story = long(sl(90))
    with violation("S-22"):
        story.auditor.command_answered(story.now, 1, "CloseAtMarket", None)
    story = long(sl(90))
    with violation("C-10"):
        story.auditor.command_answered(story.now, 7, "CreateTrade", None)
    story = ListeningStory(own(), kind=TradeKind.SMART_SELL)
    for _ in range(story.trade.revision - 1):
        story.auditor.command_answered(story.now, 1, "SetNote", None)
    with violation("C-10"):
        story.auditor.command_answered(story.now, 1, "SetNote", None)


def test_a_denied_command_needs_no_commit():
    story = long(sl(90))
    for _ in range(50):
        story.auditor.command_answered(story.now, 1, "CancelTrade", "cancel_not_allowed")
    story.auditor.command_answered(story.now, None, "CreateTrade", "units_too_small")


# --- rule 5: fills are counted once ------------------------------------------------------------------------------


def test_a_fill_that_is_counted_twice_is_noticed():
    """EX-1."""
    story = ListeningStory(limit(100), bid=101)
    story.fill("entry", 4)
    row = story.row
    order = row["position"]["orders"][0]
    order["fill_ids"] = order["fill_ids"] * 2
    order["execution"] = dict.fromkeys(("gross_quantity", "amount"), "8") | dict.fromkeys(
        ("gross_total", "total"), "800"
    )
    with violation("EX-1", "twice"):
        story.stores(row)


def test_a_fill_that_never_happened_is_noticed():
    story = ListeningStory(limit(100), bid=101)
    story.fill("entry", 4)
    row = story.row
    row["position"]["orders"][0]["fill_ids"].append("f99")
    with violation("EX-1", "never happened"):
        story.stores(row)


@pytest.mark.parametrize("name", ["gross_quantity", "gross_total", "amount", "total"])
def test_sums_are_right_to_the_last_digit(name: str):
    """M-2: fee in base."""
    story = ListeningStory(limit("100.01"), bid=101, **FEE_IN_BASE)
    story.fill("entry", "3.3")
    row = story.row
    execution = row["position"]["orders"][0]["execution"]
    execution[name] = str(D(execution[name]) + D("1e-20"))
    row["position"]["orders"][0]["fill_ids"] = list(row["position"]["orders"][0]["fill_ids"])
    row["revision"] += 1
    story.auditor._known.trades[1].legs.clear()
    story.auditor._known.owner_of_step.clear()
    with violation("M-2"):
        story.stores(row)


@pytest.mark.parametrize("kind", [TradeKind.SMART_TRADE, TradeKind.SMART_COVER])
@pytest.mark.parametrize("fees", [FEE, FEE_IN_BASE, {}])
def test_whole_trades_add_up(kind: TradeKind, fees: dict[str, Any]):
    """M-2 to M-4, M-15, and the account's own balances."""
    up = kind is TradeKind.SMART_TRADE
    story = long(sl(90 if up else 110), [tp(110 if up else 90, 50), tp(120 if up else 80, 50)], kind=kind, **fees)
    story.add(3, 99 if up else 101).fill("avg1", 1).fill("avg1").fill("tp1", 2).reduce(2)
    story.close()
    assert story.status == "panic_sold"
    story.rests(LONG_ENOUGH)
    funds = story.auditor._funds._accounts[1].balances
    story.auditor.balances_read(story.now, 1, dict(funds), {})
    moved = sum((fill.quantity * (1 if o.intent.side.value == "buy" else -1)
                 - (fill.fee.amount if fill.fee is not None and fill.fee.asset == "XYZ" else 0)
                 for o in story.orders.values() for fill in o.fills), D(0))  # fmt: skip
    assert funds["XYZ"] == OPENING["XYZ"] + moved


def test_a_fill_that_is_never_booked_is_noticed_once_the_server_could_know():
    """EX-35; not before."""
    story = ListeningStory(limit(100), bid=101)
    story.fills_unseen_by_server("entry", 4, 100)
    story.rests(10)
    with violation("EX-1", "booked is 0"):
        story.rests(LONG_ENOUGH)


def test_a_fill_may_stay_unknown_while_the_stream_is_lost():
    story = ListeningStory(limit(100), bid=101)
    story.auditor.trouble_began(story.now, 1, "stream")
    story.fills_unseen_by_server("entry", 4, 100)
    story.rests(10 * LONG_ENOUGH)
    story.auditor.trouble_ended(story.now, 1, "stream")
    story.rests(10)
    with violation("EX-1"):
        story.rests(LONG_ENOUGH)
        story.rests(LONG_ENOUGH)


def test_balances_that_do_not_add_up_are_noticed():
    story = long(None)
    right = {"USDT": OPENING["USDT"] - 1000, "XYZ": OPENING["XYZ"] + 10}
    story.auditor.balances_read(story.now, 1, right, {})
    with violation("M-balances"):
        story.auditor.balances_read(story.now, 1, right | {"XYZ": OPENING["XYZ"] + 9}, {})


def test_positions_that_do_not_add_up_are_noticed():
    """Faults F52; a position that was taken is gone."""
    story = long(None, on=LINEAR)
    story.auditor.balances_read(story.now, 1, OPENING, {"USDT_XYZUSDT": D(10)})
    with violation("faults F52"):
        story.auditor.balances_read(story.now, 1, OPENING, {"USDT_XYZUSDT": D(9)})
    story.auditor.position_taken(story.now, 1, *story.auditor._known.trades[1].key, D(10), True)
    story.auditor.balances_read(story.now, 1, OPENING | {"USDT": D(5)}, {})


def test_profit_of_contracts_is_settled_in_quote():
    story = long(sl(90), on=LINEAR)
    story.quote(90)
    assert story.status == "stop_loss_finished"
    balances = {"USDT": OPENING["USDT"] - 100, "XYZ": OPENING["XYZ"]}
    story.auditor.balances_read(story.now, 1, balances, {})
    with violation("M-balances"):
        story.auditor.balances_read(story.now, 1, balances | {"USDT": OPENING["USDT"]}, {})


# --- rule 6: tables ----------------------------------------------------------------------------------------------


def _fresh(status: str = "waiting_targets") -> tuple[ListeningStory, dict[str, Any]]:
    story = long(sl(90), [tp(110)])
    row = story.row
    row["revision"] += 1
    row["status"] = status
    return story, row


@pytest.mark.parametrize("status", ["created", "waiting_position"])
def test_a_trade_never_goes_back(status: str):
    """Behaviour 2.1."""
    story, row = _fresh(status)
    with violation("S-table"):
        story.stores(row)


def test_a_leg_never_comes_back():
    """Behaviour 2.3: cancelled is the end."""
    story = long(sl(90), [tp(110, 50), tp(120, 50)])
    story.cancel_leg("tp1")
    row = story.row
    row["targets"][0]["status"] = "to_process"
    with violation("take_profit-table"):
        story.stores(row)


def test_moves_of_one_commit_may_be_many():
    """A trade may be created, entered, stopped and over before it is seen a second time."""
    auditor = Auditor(None)
    story = ListeningStory(market(), (), sl(90), bid=100)
    created = story.rows[1]
    story.quote(80)
    assert created["status"] != story.status == "stop_loss_finished"
    assert auditor.commits == 0


def test_an_older_state_over_a_newer_one_is_noticed():
    story, row = _fresh()
    row["revision"] -= 2
    with violation("C-9", "older"):
        story.stores(row)


def test_closed_at_belongs_to_the_end():
    """S-36."""
    story, row = _fresh()
    row["closed_at"] = story.now
    with violation("S-36"):
        story.stores(row)


@pytest.mark.parametrize("change", [{"status": "finished"}, {"closed_at": 1}, {"failing": "x"}])
def test_nothing_changes_after_the_end(change: dict[str, Any]):
    """S-33."""
    story = long(sl(90))
    story.quote(90)
    with violation("S-33"):
        story.stores(story.row | change)


def test_a_note_and_a_late_fill_change_what_is_over():
    """EX-33."""
    story = ListeningStory(limit(100), bid=101)
    story.cancel()
    story.note("a word afterwards")
    story.late_fill("entry", 4)
    assert story.trade.error is not None
    assert story.status == "cancelled"
    story.rests(LONG_ENOUGH)


def test_ids_are_used_once_and_fit_31_bits():
    story, row = _fresh()
    row["targets"][0]["id"] = 2**31
    with violation("ids"):
        story.stores(row)
    story, row = _fresh()
    row["id"] = 2**31
    with violation("ids"):
        story.stores(row)
    story, row = _fresh()
    row["id"] = 2
    with violation("ids", "belonged to trade 1"):
        story.stores(row)


def test_a_leg_that_vanishes_is_noticed():
    story, row = _fresh()
    row["targets"] = []
    with violation("ids", "vanished"):
        story.stores(row)


def test_an_end_is_named_after_what_ended_it():
    """S-34."""
    story = long(sl(90))
    story.quote(90)
    row = story.row
    story.auditor._known.trades[1].legs.clear()
    story.auditor._known.owner_of_step.clear()
    story.auditor._known.trades[1].status = "stop_loss_in_progress"
    row["stop"]["status"] = "cancelled"
    with violation("S-34"):
        story.stores(row)


# --- rule 7: every commanded end is reached ----------------------------------------------------------------------


def test_an_end_with_an_order_in_the_book_is_noticed():
    """S-28, faults F28."""
    story = ListeningStory(limit(100), bid=101)
    story.on_cancel = "hold"
    story.cancel()
    row = story.row
    row |= {"status": "cancelled", "closed_at": story.now}
    row["position"] |= {"status": "cancelled"}
    row["position"]["orders"][0]["status"] = "canceled"
    with violation("S-28"):
        story.stores(row)


def test_an_order_that_is_alive_and_written_off_is_noticed():
    """Faults F26."""
    story = ListeningStory(limit(100), bid=101)
    row = story.row
    row["position"]["orders"][0]["status"] = "canceled"
    story.stores(row)
    with violation("faults F26"):
        story.rests(LONG_ENOUGH)


def test_an_order_that_is_over_and_counted_on_is_noticed():
    """Faults F53."""
    story = ListeningStory(limit(100), bid=101)
    story.auditor.order_ended(story.now, story.id_of("entry"), "canceled")
    with violation("EX-35"):
        story.rests(LONG_ENOUGH)


def test_an_order_that_is_meant_and_never_sent_is_noticed():
    """EX-36: a start sends what an earlier run has left."""
    story = ListeningStory(limit(100), bid=101)
    story.cancelled("entry")
    story = ListeningStory(limit(100), bid=101)
    story.fill("entry", 4)
    row = story.row
    row["position"]["orders"][0]["status"] = "canceled"
    row["position"]["orders"].append(_next_attempt(row["position"]["orders"][0], quantity="6"))
    story.auditor.order_ended(story.now, story.id_of("entry"), "canceled")
    story.stores(row)
    with violation("EX-31", "nobody sees to it"):
        story.rests(LONG_ENOUGH)
        story.rests(LONG_ENOUGH)


def test_a_cancellation_that_has_nothing_to_wait_for_and_waits_is_noticed():
    """S-28."""
    story = ListeningStory(limit(100), bid=101)
    story.on_cancel = "hold"
    story.cancel()
    row = story.row
    row["position"]["orders"][0]["status"] = "canceled"
    story.auditor.order_ended(story.now, story.id_of("entry"), "canceled")
    story.stores(row)
    with violation("S-28"):
        story.rests(LONG_ENOUGH)


def test_peace_ends_what_was_commanded():
    """Rule 7: a held cancellation may last until then, not after."""
    story = ListeningStory(limit(100), bid=101)
    story.on_cancel = "hold"
    story.cancel().wait(3600)
    story.auditor.peace(story.now)
    story.wait(14 * MINUTE)
    with violation("rule 7"):
        story.wait(2 * MINUTE)


# --- rule 8: no thrashing ----------------------------------------------------------------------------------------


def test_an_order_that_is_put_back_unchanged_again_and_again_is_noticed():
    """Faults F30."""
    story = long(None, [tp(110)])
    story.rests(LONG_ENOUGH)
    with violation("faults F30"):
        for _ in range(9):
            _put_back(story, cancelled_by_us=True)


def test_an_order_is_put_back_as_often_as_somebody_else_cancels_it():
    """EX-30."""
    story = long(None, [tp(110)])
    story.rests(LONG_ENOUGH)
    for _ in range(9):
        _put_back(story, cancelled_by_us=False)


def _put_back(story: ListeningStory, *, cancelled_by_us: bool) -> None:
    """The order of the target leaves the book, and the same comes back."""
    row = story.row
    order = row["targets"][0]["orders"][-1]
    story.auditor.order_ended(story.now, order["client_order_id"], "canceled")
    order["status"] = "canceled"
    if cancelled_by_us:
        order["cancel_requested_at"] = story.now
    again = _next_attempt(order, cancel_requested_at=None)
    row["targets"][0]["orders"].append(again)
    story.stores({**row, "revision": row["revision"] + 1})
    story.sends("tp1", 10, 110, client_order_id=again["client_order_id"])


def test_orders_that_come_and_go_with_their_users_wishes_are_in_order():
    """RF-2, RF-5: a reduction that is cancelled puts the targets back as they were."""
    story = long(sl(90), [tp(110)])
    story.rests(LONG_ENOUGH)
    for number in range(1, 8):
        story.reduce(2, 105).cancel_leg(f"reduce{number}")
    assert story.book == {"tp1": "sell 10 @ 110"}


def test_refusals_without_a_pause_are_noticed():
    """EX-12."""
    story = long(None, [tp(110)])
    order = story.auditor._known.orders[story.id_of("tp1")].seen
    with violation("EX-12"):
        for _ in range(40):
            story.auditor.order_refused(story.now, order, "recoverable", "no")


def _refuses(story: ListeningStory, times: int) -> None:
    order = story.auditor._known.orders[story.id_of("tp1")].seen
    for _ in range(times):
        story.auditor.order_refused(story.now, order, "recoverable", "no")


def test_refusals_of_other_parts_of_a_split_exit_are_in_order():
    """EX-12, EX-16: the pauses begin anew with every attempt that is accepted."""
    story = long(None, [tp(110)])
    for _ in range(5):
        _refuses(story, 15)
        story.fill("tp1", 1)
    with violation("EX-12"):
        _refuses(story, 21)


def test_refusals_on_both_sides_of_a_clock_that_is_set_are_in_order():
    """EX-12: how far they are apart is not known."""
    story = long(None, [tp(110)])
    _refuses(story, 15)
    story.auditor.clock_jumped(story.now, -0.9)
    _refuses(story, 15)
    story.now -= 60 * MINUTE * SECOND
    _refuses(story, 15)
    with violation("EX-12"):
        _refuses(story, 21)


# --- rows of their own -------------------------------------------------------------------------------------------


def _next_attempt(order: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Another attempt like `order`."""
    attempt = order["attempt"] + 1
    name = order["client_order_id"].rpartition("x")[0]
    fresh = {key: value for key, value in order.items() if key not in ("execution", "fill_ids", "status")}
    return fresh | {"attempt": attempt, "client_order_id": f"{name}x{attempt}", "status": "working"} | changes


def _close_of(story: ListeningStory, quantity: Number = 10) -> dict[str, Any]:
    """A closing order of the stop."""
    stop = story.stop
    return {
        "client_order_id": f"sttest{story.trade_id}x{stop.id}x1",
        "attempt": 1,
        "side": story.trade.exit_side.value,
        "type": OrderType.MARKET.value,
        "quantity": str(quantity),
        "price": None,
        "reduce_only": False,
        "created_at": story.now,
    }
