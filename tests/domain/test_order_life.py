"""The life of one order at an exchange that loses, repeats, delays and refuses (EX-1, EX-7, EX-20 to EX-22, EX-31)."""

from decimal import Decimal

import pytest
from driver import SPOT, START, Story, limit, market, plan, refused, sl, tp
from msgspec.structs import replace

from smarttrade.domain import order_life
from smarttrade.domain.errors import IllegalTransition
from smarttrade.domain.events import CancelRefused, OrderNotFound, QueryUnclear, SubmitUnclear
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Side
from smarttrade.domain.order import (
    Order,
    OrderRefused,
    OrderReport,
    OrderStatus,
    OrderType,
    RefusalKind,
    ReportedState,
)
from smarttrade.domain.order_life import MOVES, Ask, Word
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import SECOND

D = Decimal
S = OrderStatus
K = RefusalKind
LIVE = (S.INTENDED, S.UNCONFIRMED, S.BACKING_OFF, S.WORKING, S.PENDING_CANCEL)
OVER = (S.FILLED, S.CANCELED, S.REJECTED)


def an_order(status: OrderStatus = S.WORKING, order_type: OrderType = OrderType.LIMIT) -> Order:
    return Order(
        client_order_id="sttest1x2x1",
        attempt=1,
        side=Side.SELL,
        type=order_type,
        quantity=D(10),
        price=D(110) if order_type is OrderType.LIMIT else None,
        reduce_only=False,
        status=status,
        created_at=START,
    )


def a_fill(fill_id: str, quantity: int) -> Fill:
    return Fill(fill_id=fill_id, price=D(110), quantity=D(quantity), fee=None, filled_at=START)


def a_report(state: ReportedState, filled: int = 0, *fills: Fill, query: bool = False) -> OrderReport:
    return OrderReport(
        client_order_id="sttest1x2x1",
        venue_order_id="7",
        state=state,
        filled_quantity=D(filled),
        fills=fills,
        answers_query=query,
    )


def told(order: Order, report: OrderReport) -> tuple[Order, Ask]:
    return order_life.reported(order, report, SPOT, is_entry=False, now=START)


# --- the table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", LIVE)
@pytest.mark.parametrize(
    ("word", "after"), [(Word.FILLED, S.FILLED), (Word.CANCELED, S.CANCELED), (Word.REJECTED, S.REJECTED)]
)
def test_the_exchange_may_end_an_order_in_every_live_state(status: OrderStatus, word: Word, after: OrderStatus) -> None:
    assert MOVES[status, word] is after


@pytest.mark.parametrize("status", OVER)
def test_an_order_that_is_over_comes_back_only_as_filled(status: OrderStatus) -> None:
    """EX-1, EX-32: a late fill counts, nothing else moves it."""
    after = {word: target for (before, word), target in MOVES.items() if before is status}
    assert set(after.values()) <= {status, S.FILLED}
    assert after[Word.FILLED] is S.FILLED
    assert Word.RESENT not in after
    assert Word.CANCEL_ASKED not in after


def test_silence_never_ends_an_order() -> None:
    """Faults F15, F25: only the exchange's own word, or proof of absence, ends it."""
    for (before, word), after in MOVES.items():
        if word in (Word.UNCLEAR, Word.PASSING_REFUSAL, Word.OPEN, Word.RESENT, Word.CANCEL_ASKED) and before in LIVE:
            assert after in LIVE, (before, word)


def test_a_move_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(IllegalTransition):
        order_life.cancel_asked(an_order(S.FILLED), START)
    with pytest.raises(IllegalTransition):
        order_life.resent(an_order(S.PENDING_CANCEL))


# --- fills (EX-1) ---------------------------------------------------------------------------------------------


def test_a_fill_that_comes_twice_is_booked_once() -> None:
    once, _ = told(an_order(), a_report(ReportedState.OPEN, 4, a_fill("a", 4)))
    twice, ask = told(once, a_report(ReportedState.OPEN, 4, a_fill("a", 4)))
    assert twice.execution.gross_quantity == 4
    assert twice.fill_ids == ("a",)
    assert ask is Ask.NOTHING


def test_a_lower_cumulative_quantity_is_an_old_report() -> None:
    order, _ = told(an_order(), a_report(ReportedState.OPEN, 7, a_fill("a", 4), a_fill("b", 3)))
    older, ask = told(order, a_report(ReportedState.OPEN, 4, a_fill("a", 4)))
    assert (older.execution, ask) == (order.execution, Ask.NOTHING)


def test_quantities_outvote_words() -> None:
    """Fault F46: all of it executed is filled, whatever the text says."""
    for state in ReportedState:
        order, _ = told(an_order(), a_report(state, 10, a_fill("a", 10)))
        assert order.status is S.FILLED


@pytest.mark.parametrize("state", [ReportedState.FILLED, ReportedState.CANCELED])
def test_an_end_is_not_believed_while_fills_of_it_are_missing(state: ReportedState) -> None:
    order, ask = told(an_order(), a_report(state, 10, a_fill("a", 4)))
    assert not order.status.is_over
    assert ask is Ask.QUERY
    assert order.due_at is not None  # and asked again, should the answer get lost


def test_a_query_that_lacks_fills_is_repeated_after_a_pause_not_at_once() -> None:
    order, ask = told(an_order(), a_report(ReportedState.FILLED, 10, query=True))
    assert ask is Ask.NOTHING
    assert order.due_at is not None
    assert order.due_at > START
    assert not order.status.is_over


def test_an_old_report_does_not_bring_a_cancelled_order_back() -> None:
    """Fault F65: replayed reports are no-ops."""
    order, _ = told(an_order(S.CANCELED), a_report(ReportedState.OPEN, 0))
    assert order.status is S.CANCELED


@pytest.mark.parametrize("status", OVER)
def test_a_fill_after_the_end_still_counts(status: OrderStatus) -> None:
    order, _ = told(an_order(status), a_report(ReportedState.CANCELED, 4, a_fill("late", 4)))
    assert order.execution.gross_quantity == 4


# --- a send without an answer (EX-31) -------------------------------------------------------------------------


def test_a_lost_answer_is_asked_about_and_the_order_adopted() -> None:
    """Faults F12, F13: no new id, no second order."""
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    assert story.heard() == ["buy entry 10 @ 90"]
    assert story.legs("entry") == "to_process"
    story.wait(1)
    assert story.heard() == ["query entry"]
    assert story.legs("entry") == "order_placed"
    assert story.wait(600).heard() == []


def test_an_order_that_never_arrived_is_sent_again_with_its_id_after_three_unknowns_over_ten_seconds() -> None:
    story = Story(start=False)
    story.answers.append("never arrives")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.heard()
    asked = []
    for _ in range(15):
        story.wait(1)
        asked += [f"{story.seconds}: {what}" for what in story.heard()]
    assert asked == [
        "1: query entry",
        "3: query entry",
        "7: query entry",
        "10: query entry",
        "10: buy entry 10 @ 90 again",
    ]
    assert len(story.leg("entry").orders) == 1
    assert story.book == {"entry": "buy 10 @ 90"}


def test_three_unknowns_in_less_than_ten_seconds_prove_nothing() -> None:
    """Fault F17: a query may lag behind the placement."""
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)]))
    for _ in range(9):
        story.tell(OrderNotFound(client_order_id=story.id_of("entry"), safe_to_resend=True))
    assert story.heard() == ["buy entry 10 market"]
    story.wait(3)
    assert story.status == "waiting_position"
    assert story.book == {"entry": "buy 10 market"}


@pytest.mark.parametrize(("safe", "then"), [(True, Ask.SEND), (False, Ask.SEARCH)])
def test_two_unknowns_prove_nothing_however_long_they_take(safe: bool, then: Ask) -> None:
    """EX-31: and the third sends nothing again where the exchange would take a copy."""
    order = replace(an_order(S.UNCONFIRMED), doubted_at=START)
    for seconds in (60, 120):
        order, ask = order_life.not_found(order, START + seconds * SECOND, safe_to_resend=safe, searched=False)
        assert ask is Ask.NOTHING
    _, ask = order_life.not_found(order, START + 121 * SECOND, safe_to_resend=safe, searched=False)
    assert ask is then


def test_an_order_is_sent_again_to_an_exchange_that_would_take_a_copy_only_after_a_search() -> None:
    """EX-31, faults F6, F16: open orders and fills are searched first."""
    story = Story(start=False)
    story.safe_to_resend = False
    story.answers.append("never arrives")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)])).heard()
    story.wait(10)
    assert story.heard()[-2:] == ["search entry", "buy entry 10 @ 90 again"]
    assert story.book == {"entry": "buy 10 @ 90"}


@pytest.mark.parametrize("safe", [True, False])
def test_an_order_that_queries_deny_and_a_search_finds_is_adopted(safe: bool) -> None:
    """Faults F6, F16: it had even been executed."""
    story = Story(start=False)
    story.safe_to_resend = safe
    story.answers.append("answer is lost")
    story.on_query = "unknown"
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)], sl(80)))
    story.fill_unheard("entry").wait(9).cancel().wait(11)
    assert "search entry" in story.heard()
    assert story.trade.entered.amount == 10
    assert len(story.orders) == 1


def test_an_order_being_cancelled_that_queries_deny_is_not_out_before_a_second_source_says_so() -> None:
    """Fault F6, EX-20: a query that lags must not let the stop sell what the target still offers."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel, story.on_query, story.on_search = "silence", "unknown", "silence"
    story.quote(90).wait(300)
    assert story.status == "stop_loss_in_progress"
    assert story.book == {"tp1": "sell 10 @ 110"}
    assert "sell sl 10 market" not in story.heard()
    story.on_cancel = "confirm"
    story.on_search = "tell"  # it rests: the cancellation is repeated, and confirmed
    story.wait(60)
    assert story.status == "stop_loss_finished"


def test_a_search_without_an_answer_is_repeated() -> None:
    """Faults F15, F6."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel, story.on_search = "silence", "silence"
    story.quote(90)
    story.forgotten("tp1").wait(120)
    assert story.status == "stop_loss_in_progress"
    story.on_search = "tell"
    story.wait(30)
    assert story.status == "stop_loss_finished"


def test_a_query_without_an_answer_never_counts_as_unknown() -> None:
    """Fault F15."""
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.wait(600)
    assert not [what for what in story.heard() if what.endswith("again")]
    story.on_query = "tell"
    story.wait(30)
    assert story.legs("entry") == "order_placed"


def test_queries_without_an_answer_are_repeated_after_1_2_4_and_at_most_30_seconds() -> None:
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.heard()
    asked = []
    for _ in range(125):
        story.wait(1)
        asked += [story.seconds for _ in story.heard()]
    assert asked == [1, 3, 7, 15, 31, 61, 91, 121]


def test_a_late_time_out_of_a_send_does_not_doubt_what_the_stream_has_shown() -> None:
    story = Story(limit(90), [tp(110)])
    story.tell(SubmitUnclear(client_order_id=story.id_of("entry")))
    assert story.leg("entry").orders[0].status is S.WORKING
    story.heard()
    assert story.wait(60).heard() == []


def test_an_order_that_is_no_longer_wanted_is_not_sent_again() -> None:
    story = Story(start=False)
    story.answers.append("never arrives")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.cancel().wait(30)
    assert story.status == "cancelled"
    assert len([what for what in story.heard() if what.startswith("buy")]) == 1


def test_an_unconfirmed_order_that_is_to_go_is_asked_about_at_once() -> None:
    """EX-20: the trader's stop does not wait for the next question about a doubtful target."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.edit(targets=[story.kept("tp1", price=D(112))]).wait(40)
    story.on_query = "tell"
    story.heard()
    story.quote(90)
    assert story.heard() == ["query tp2", "cancel tp2", "sell sl 10 market"]
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize(("age", "asked_after"), [(2, 0), (0, 1)])
def test_an_order_whose_send_is_not_answered_for_a_second_is_asked_about_when_it_is_to_go(
    age: int, asked_after: int
) -> None:
    """EX-20, EX-22: on spot the stop waits for it, but not for the call to time out."""
    story = Story(limit(100), [tp(110)], sl(90))
    story.answers.append("answer is late")
    story.fill("entry").wait(age).heard()
    story.quote(90).wait(max(asked_after - 0.1, 0))
    assert story.heard() == ([] if asked_after else ["query tp1", "cancel tp1", "sell sl 10 market"])
    story.wait("0.1")
    assert story.heard() == (["query tp1", "cancel tp1", "sell sl 10 market"] if asked_after else [])
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("safe", [True, False])
def test_an_order_that_is_still_on_its_way_is_not_written_off_by_a_query_that_was_faster(safe: bool) -> None:
    """EX-20, EX-31, faults F6, F17: it may arrive in the next moment, and rest in the book with the stop's coins."""
    story = Story(limit(100), [tp(110)], sl(90))
    story.safe_to_resend = safe
    story.answers.append("silence")
    story.fill("entry").quote(90).wait(9)
    assert story.leg("sl").orders == ()
    story.heard()
    story.tell(story.venue_has("tp1"))
    assert story.heard() == ["cancel tp1", "sell sl 10 market"]
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("safe", [True, False])
def test_an_order_that_is_on_its_way_is_not_sent_a_second_time_because_a_query_was_faster(safe: bool) -> None:
    """EX-31, faults F13, F17."""
    story = Story(start=False)
    story.safe_to_resend = safe
    story.answers.append("silence")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)])).force_process()
    assert story.heard() == ["buy entry 10 @ 90", "query entry", "ask price"]
    story.tell(story.venue_has("entry"))
    assert story.heard() == []
    assert story.legs("entry") == "order_placed"


def test_an_order_that_was_to_go_is_asked_about_again_the_moment_its_call_has_timed_out_or_was_refused() -> None:
    """EX-20: what waits for it does not sleep through a pause that had begun before."""
    story = Story(limit(100), [tp(110)], sl(90))
    story.answers.append("silence")
    story.on_query = "silence"
    story.fill("entry").quote(90).wait(9)
    story.on_query = "tell"
    story.heard()
    story.venue_has("tp1")
    story.tell(SubmitUnclear(client_order_id=story.id_of("tp1")))
    assert story.heard() == ["query tp1", "cancel tp1", "sell sl 10 market"]


def test_an_order_that_was_refused_for_a_moment_on_its_way_out_keeps_the_stop_no_longer() -> None:
    """EX-7, EX-20: it is not there, so nothing is left to wait for."""
    story = Story(limit(100), [tp(110)], sl(90))
    story.answers.append("silence")
    story.on_query = "silence"
    story.fill("entry").quote(90).wait(2)
    story.on_query = "tell"
    story.heard()
    story.tell(OrderRefused(client_order_id=story.id_of("tp1"), kind=K.TRANSIENT, text="busy"))
    assert story.heard() == ["query tp1", "search tp1", "sell sl 10 market"]


def test_an_order_that_a_dead_process_may_have_sent_is_sent_at_once_where_a_copy_is_refused() -> None:
    """EX-31, EX-36: nobody waits for an answer to it any more."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append("silence")
    story.quote(90).heard()
    story.restart()
    assert story.heard() == ["query sl", "sell sl 10 market again"]
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("answer", ["answer is lost", "answer is late"])
def test_an_order_that_is_wanted_again_before_it_was_found_is_not_ours_to_have_cancelled(answer: str) -> None:
    """EX-30: a target was to make room (EX-23), was wanted again, is found, and somebody else takes it out."""
    story = Story(limit(100), [tp(110, 50), tp(120, 50)], sl(90))
    story.answers.extend([answer, "take", refused(K.INSUFFICIENT_FUNDS)])
    story.on_query = "silence"
    story.available = D(0)
    story.fill("entry").close_leg("tp2").wait(1)
    assert story.legs("tp1", "tp2") == "to_process panic_sold"
    story.tell(story.report_of("tp1"))
    assert story.legs("tp1") == "order_placed"
    story.heard()
    story.cancelled("tp1")
    assert story.heard() == []
    assert (story.legs("tp1"), story.status) == ("cancelled", "waiting_targets")


# --- passing refusals (EX-7) ----------------------------------------------------------------------------------


def test_a_passing_refusal_repeats_the_same_order_after_1_2_4_up_to_30_seconds_without_end() -> None:
    story = Story(start=False)
    story.answers.extend([refused(K.TRANSIENT, "busy")] * 9)
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    sent = []
    for _ in range(160):
        sent += [story.seconds for what in story.heard() if what.startswith("buy")]
        story.wait(1)
    assert sent == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151]
    assert len(story.leg("entry").orders) == 1
    assert story.trade.error is None  # EX-13
    assert story.legs("entry") == "order_placed"


def test_a_passing_refusal_of_an_order_that_arrived_all_the_same_is_not_sent_twice() -> None:
    """EX-7: it is asked about before it is sent again."""
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.on_query = "silence"
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.tell(OrderRefused(client_order_id=story.id_of("entry"), kind=K.TRANSIENT, text="502"))
    story.on_query = "tell"
    story.wait(60)
    assert [what for what in story.heard() if what.startswith("buy")] == ["buy entry 10 @ 90"]
    assert story.legs("entry") == "order_placed"


def test_a_duplicate_id_means_adopt_the_order() -> None:
    """Fault F14."""
    story = Story(start=False)
    story.answers.append("answer is lost")
    story.on_query = "unknown"
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.wait(10)  # sent again: the exchange has it and says so
    story.on_query = "tell"
    story.wait(1)
    assert story.legs("entry") == "order_placed"
    assert story.book == {"entry": "buy 10 @ 90"}
    assert len(story.orders) == 1


def test_a_duplicate_id_of_an_order_that_does_not_exist_is_sent_again_only_after_proof() -> None:
    story = Story(start=False)
    story.answers.append(refused(K.DUPLICATE_ID))
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.wait(9)
    assert [what for what in story.heard() if what.startswith("buy")] == ["buy entry 10 @ 90"]
    story.wait(3)
    assert story.book == {"entry": "buy 10 @ 90"}


# --- orders that the exchange loses ---------------------------------------------------------------------------


def test_a_stop_order_that_was_taken_and_then_lost_is_sent_again() -> None:
    """EX-31, fault F26: an acknowledged order may be unknown all the same; the position must not stay open."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = False
    story.quote(90)
    story.forgotten("sl")
    story.fill_at_market = True
    story.wait(15)
    assert story.status == "stop_loss_finished"
    assert story.open == 0


def test_a_resting_target_that_the_exchange_has_lost_is_put_back() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.forgotten("tp1")
    story.force_process().wait(15)
    assert story.book == {"tp1": "sell 10 @ 110"}


def test_a_lost_order_that_was_partly_filled_is_sent_again_for_the_rest_only() -> None:
    """Faults F31, F32."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1", 4)
    story.forgotten("tp1")
    story.force_process().wait(15)
    assert story.book == {"tp1": "sell 6 @ 110"}


def test_an_order_that_vanished_while_being_cancelled_is_out() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "silence"
    story.quote(90)
    story.forgotten("tp1")
    story.wait(60)
    assert story.status == "stop_loss_finished"


def test_a_market_order_that_stays_open_is_asked_about() -> None:
    """Fault F53: a lost report must not leave the trade waiting for ever."""
    story = Story(start=False)
    story.fill_at_market = False
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)], sl(90)))
    story.fill_unheard("entry").wait(1)
    assert story.status == "waiting_targets"


# --- cancellations (EX-20 to EX-22) ---------------------------------------------------------------------------


def test_a_refused_cancellation_is_decided_by_a_query_filled() -> None:
    """EX-21, R-1: the target was executed first."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_unheard("tp1").heard()
    story.quote(90)
    assert story.heard() == ["cancel tp1", "query tp1"]
    assert story.status == "finished"
    assert story.legs("tp1", "sl") == "finished cancelled"


def test_a_refused_cancellation_of_an_open_order_is_repeated_with_pauses() -> None:
    """EX-21, EX-22: the exchange is not asked in a circle."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "refuse"
    story.heard()
    story.quote(90).wait(30)
    asked = story.heard()
    assert 4 <= len(asked) <= 30
    assert "sell sl 10 market" not in asked
    story.on_cancel = "confirm"
    story.wait(40)
    assert story.status == "stop_loss_finished"


def test_a_cancellation_without_an_answer_is_asked_about_after_five_seconds_and_repeated() -> None:
    """EX-22, fault F25."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "silence"
    story.heard()
    story.quote(90)
    assert story.heard() == ["cancel tp1"]
    assert story.wait("4.9").heard() == []
    assert story.wait("0.1").heard() == ["query tp1", "cancel tp1"]
    assert story.wait(5).heard() == ["query tp1", "cancel tp1"]
    story.on_cancel = "confirm"
    story.wait(5)
    assert story.status == "stop_loss_finished"


def test_a_cancellation_refused_before_the_order_is_acknowledged_does_not_lose_the_order() -> None:
    story = Story(start=False)
    story.answers.append("silence")
    story.create(plan(TradeKind.SMART_TRADE, limit(90), [tp(110)]))
    story.cancel()
    assert story.heard() == ["buy entry 10 @ 90"]  # nothing to cancel yet
    story.tell(CancelRefused(client_order_id=story.id_of("entry"), text="unknown"))
    story.tell(a_report_for(story, ReportedState.OPEN))
    assert story.heard() == ["cancel entry", "query entry"]  # acknowledged, and taken out at once


def a_report_for(story: Story, state: ReportedState) -> OrderReport:
    return replace(a_report(state), client_order_id=story.id_of("entry"))


def test_the_answer_to_an_old_query_changes_nothing_of_an_order_that_is_over() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1")
    before = story.trade
    order_id = story.id_of("tp1")
    for word in (
        QueryUnclear(client_order_id=order_id),
        OrderNotFound(client_order_id=order_id),
        CancelRefused(client_order_id=order_id, text="closed"),
        SubmitUnclear(client_order_id=order_id),
        OrderRefused(client_order_id=order_id, kind=K.TRANSIENT, text="busy"),
    ):
        story.tell(word)
    assert story.trade == before


def test_orders_of_others_are_nobodys() -> None:
    """EX-4."""
    story = Story(market(), [tp(110)], sl(90))
    before, mine = story.trade, story.id_of("tp1")
    for foreign in ("web_123", mine.replace("test", "elseq"), "sttest1x999x1", mine[:-1] + "9", "sttest77x1x1"):
        story.tell(replace(a_report(ReportedState.FILLED, 10, a_fill("a", 10)), client_order_id=foreign))
    assert story.trade is before
