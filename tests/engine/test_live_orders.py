"""The exchange's list of open orders is compared with ours every minute: no report is missed for ever (F53, F55)."""

import pytest
from driver import FEE, D, Story, limit, market, plan, sl, tp
from msgspec.structs import replace

from smarttrade.domain.order import ReportedState
from smarttrade.domain.plan import TradeKind
from smarttrade.engine.inputs import AccountConnected, AccountRemoved, OrdersListed


def protected(**more: object) -> Story:
    """A position of 10 at 100 with two resting targets and a stop."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90), **{**FEE, **more})  # type: ignore[arg-type]
    story.heard()
    return story


@pytest.mark.parametrize("quantity", [2, None], ids=["in part", "whole"])
def test_an_execution_that_nobody_reported_is_found_within_a_minute(quantity: int | None) -> None:
    """Faults F53, F55: the stream is up and says nothing."""
    story = protected()
    told, unheard = protected(), story.fill_unheard("tp1", quantity)
    told.fill("tp1", quantity)

    unheard.wait("59.9")
    assert unheard.heard() == []
    unheard.wait("0.1")

    assert unheard.heard()[0] == "query tp1"
    assert unheard.trade.closed.amount == told.trade.closed.amount > 0
    assert unheard.status == told.status


def test_a_cancellation_that_nobody_reported_is_found_within_a_minute() -> None:
    """Fault F53, EX-30: a target that somebody took out of the book does not look protected for ever."""
    story = protected()
    story.orders[story.id_of("tp2")].state = ReportedState.CANCELED
    story.wait(60)
    assert story.leg("tp2").status == "cancelled"


def test_where_both_lists_agree_nothing_is_asked_however_long_it_lasts() -> None:
    """Performance: one call a minute for an account, none for an order."""
    story = protected()
    story.fill("tp1", 2).heard()
    story.wait(3600)
    assert story.heard() == []


def test_the_list_is_asked_for_again_after_no_answer() -> None:
    """EX-7: a list that never comes is missed by nobody but the minute after."""
    story = protected()
    story.on_list = "silence"
    story.fill_unheard("tp1").wait(300)
    assert story.heard() == []
    story.on_list = "tell"
    story.wait(60)
    assert story.heard()[0] == "query tp1"


def test_no_list_is_asked_for_when_nothing_is_at_the_exchange() -> None:
    """A server without orders leaves its exchange alone."""
    story = Story(market(), [], sl(90))
    story.wait(120)
    assert story.engine.next_deadline is None


def test_a_list_from_before_an_order_was_placed_changes_nothing() -> None:
    """EX-31: the answer may be old when it comes; a question is asked, and its answer counts."""
    story = protected()
    before = story.trade
    story.tell(OrdersListed(account_id=1, orders={}))
    assert sorted(story.heard()) == ["query tp1", "query tp2"]
    assert story.trade == before


def in_doubt() -> Story:
    story = Story(start=False)
    story.answers.append("never arrives")
    return story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))


def test_an_order_in_doubt_is_asked_about_by_its_own_pauses_only() -> None:
    """EX-31: 1, 2, 4 ... seconds; the list adds nothing to them."""
    story = in_doubt()
    story.heard()
    story.tell(OrdersListed(account_id=1, orders={}))
    assert story.heard() == []


def test_an_order_that_was_written_off_and_lives_is_found_and_taken_out() -> None:
    """Fault F19: its trade is over and nothing else is at the exchange; a person is told."""
    story = in_doubt().cancel().wait(30)
    assert story.status == "cancelled"
    story.heard()
    story.venue_has("entry")
    story.wait(30)
    assert story.heard() == [
        "query entry",
        "alarm Order turned up after it was written off",
        "cancel entry",
    ]
    assert story.book == {}


FOUND_ENTRY = ["query entry", "alarm Order turned up after it was written off", "cancel entry"]


def test_an_order_that_was_written_off_is_found_when_its_exchange_can_be_listed_again() -> None:
    """Fault F19: no answer, however often, is not the answer that nothing is there."""
    story = in_doubt().cancel().wait(30)
    story.heard()
    story.venue_has("entry")
    story.on_list = "silence"
    assert story.wait(600).heard() == []
    story.on_list = "tell"
    assert story.wait(60).heard() == FOUND_ENTRY
    assert story.book == {}
    assert story.wait(120).engine.next_deadline is None


def test_an_order_that_was_written_off_in_another_life_is_found() -> None:
    """Faults F19, F3: a start lists every account once, whatever it thinks is there."""
    story = in_doubt().cancel().wait(120)
    assert story.engine.next_deadline is None
    story.heard()
    story.venue_has("entry")
    story.restart()
    assert story.heard() == []
    assert story.wait(60).heard() == FOUND_ENTRY
    assert story.wait(120).engine.next_deadline is None


def test_an_account_that_was_removed_is_not_listed() -> None:
    story = Story(market(), [], sl(90))
    story.tell(AccountConnected(7))
    story.tell(AccountRemoved(7))
    assert story.wait(120).engine.next_deadline is None


def forgotten_and_back() -> Story:
    """A target that the exchange had acknowledged, denied for so long that it was written off, and has after all."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90), audit=False, **FEE)  # type: ignore[arg-type]
    story.safe_to_resend = False
    order_id = story.id_of("tp1")
    order = story.orders.pop(order_id)
    story.wait(120)
    assert story.leg("tp1").status == "cancelled"
    story.heard()
    story.orders[order_id] = order
    return story


FOUND = ["query tp1", "alarm Order turned up after it was written off", "cancel tp1"]


def test_an_order_that_was_known_then_written_off_and_lives_is_taken_out_too() -> None:
    """Fault F19: it would sell beside the stop what the stop sells."""
    story = forgotten_and_back()
    story.wait(60)
    assert story.heard() == FOUND
    assert list(story.book) == ["tp2"]
    assert story.wait(3600).heard() == []


def test_a_lost_cancellation_of_an_order_that_turned_up_is_repeated_as_long_as_it_lives() -> None:
    """Faults F19, F8: one attempt a minute, and a person is told each time that it has failed."""
    story = forgotten_and_back()
    story.on_cancel = "silence"
    story.wait(180)
    assert story.heard() == 3 * FOUND
    story.on_cancel = "confirm"
    assert story.wait(60).heard() == FOUND
    assert story.wait(3600).heard() == []


def test_a_lost_cancellation_of_the_only_order_that_turned_up_is_repeated_too() -> None:
    """Faults F19, F8: nothing else keeps its account listed."""
    story = in_doubt().cancel().wait(30)
    story.heard()
    story.venue_has("entry")
    story.on_cancel = "silence"
    story.wait(180)
    assert story.heard() == 3 * FOUND_ENTRY
    story.on_cancel = "confirm"
    assert story.wait(60).heard() == FOUND_ENTRY
    assert story.wait(120).engine.next_deadline is None


def test_a_list_from_before_the_last_order_is_not_the_last_one() -> None:
    """Fault F19: an order that came and was written off while a list was on its way is not in that list."""
    story = Story(start=False)
    story.on_list = "silence"
    story.tell(AccountConnected(1)).wait(60)
    story.answers.append("never arrives")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)])).cancel().wait(30)
    story.tell(OrdersListed(account_id=1, orders={})).heard()
    story.on_list = "tell"
    story.venue_has("entry")
    assert story.wait(60).heard() == FOUND_ENTRY
    assert story.book == {}


def test_an_order_whose_cancellation_got_lost_with_it_and_that_lives_is_taken_out_too() -> None:
    """Faults F19, F8: we wanted it out, the exchange denied it for long, and it has it after all."""
    story = protected(audit=False)
    story.on_cancel = "silence"
    story.cancel_leg("tp1")
    order_id = story.id_of("tp1")
    order = story.orders.pop(order_id)
    story.wait(120)
    assert story.leg("tp1").status == "cancelled"
    story.heard()
    story.on_cancel = "confirm"
    story.orders[order_id] = order
    story.wait(60)
    assert story.heard() == FOUND
    assert list(story.book) == ["tp2"]
    assert story.wait(3600).heard() == []


def test_an_order_that_lives_under_the_name_of_one_that_is_over_is_taken_out() -> None:
    """Fault F19: two orders under one id; the stream has said nothing of the second, a question finds it."""
    story = protected(audit=False)
    story.fill("tp1").heard()
    copy = story.orders[story.id_of("tp1")]
    word = replace(copy.report(), venue_order_id="another", state=ReportedState.OPEN, answers_query=True)
    story.tell(word)
    assert story.heard() == FOUND[1:]
    assert story.leg("tp1").status == "finished"


@pytest.mark.parametrize("order_id", ["x1", "stzzzz1x1x1", ""])
def test_orders_of_others_are_nobodys_business(order_id: str) -> None:
    """EX-4: a person, another program, or another installation trades on the same account."""
    story = protected()
    story.orders.clear()
    listed = {each.live_order.client_order_id: D(0) for each in story.trade.legs if each.live_order is not None}
    story.tell(OrdersListed(account_id=1, orders={**listed, order_id: D(1)}))
    assert story.heard() == []


def test_an_order_under_our_name_that_no_trade_knows_calls_a_person() -> None:
    """EX-4, fault F29: whatever it executes would be a position that nobody watches."""
    story = protected()
    instance = story.id_of("tp1")[2:6]
    listed = {each.live_order.client_order_id: D(0) for each in story.trade.legs if each.live_order is not None}
    for strange in (f"st{instance}{story.trade_id}x999x1", f"st{instance}777x1x1"):
        story.tell(OrdersListed(account_id=1, orders={**listed, strange: D(0)}))
        assert [word for word in story.heard() if strange in word and word.startswith("alarm")]


def test_a_person_is_called_once_as_long_as_such_an_order_is_there() -> None:
    """EX-4: a call a minute for days would drown all others."""
    story = protected()
    strange = f"st{story.id_of('tp1')[2:6]}777x1x1"
    ours = {each.live_order.client_order_id: D(0) for each in story.trade.legs if each.live_order is not None}
    calls = []
    for listed in ({strange: D(0)}, {strange: D(1)}, {}, {strange: D(1)}):
        story.tell(OrdersListed(account_id=1, orders={**ours, **listed}))
        calls.append(len([word for word in story.heard() if word.startswith("alarm")]))
    assert calls == [1, 0, 0, 1]
