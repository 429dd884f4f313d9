"""Ways out of a position: targets, stop, market close, reductions, against an exchange that refuses and races."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from driver import FEE_IN_BASE, LINEAR, SPOT, Story, limit, market, own, plan, refused, sl, tp, when

from smarttrade.domain.commands import AddFunds, CancelStep, CloseAtMarket, ReduceFunds
from smarttrade.domain.effects import Effect, SubmitOrder
from smarttrade.domain.errors import DenialCode, Denied
from smarttrade.domain.events import PositionGone
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import Money
from smarttrade.domain.order import OrderStatus, OrderType, RefusalKind
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import PriceType
from smarttrade.engine.inputs import EngineInput, PositionLost

D = Decimal
K = RefusalKind
ASK = PriceType.ASK


def two_targets(**more: object) -> Story:
    return Story(market(), [tp(110, 50), tp(120, 50)], sl(90), **more)  # type: ignore[arg-type]


def short(**more: object) -> Story:
    return Story(
        market(), [tp(90, by=ASK)], sl(110, by=ASK), kind=TradeKind.SMART_COVER, **more  # type: ignore[arg-type]
    )  # fmt: skip


# --- the sequence of EX-20 ------------------------------------------------------------------------------------


def test_a_stop_cancels_everything_waits_for_the_confirmations_and_then_closes() -> None:
    """EX-20, TR-48, S-15, S-16, SL-4, SL-8, TP-12, A-8."""
    story = two_targets()
    story.add(5, 80).heard()
    story.on_cancel = "hold"
    story.quote(90)
    assert story.heard() == ["cancel tp1", "cancel tp2", "cancel avg1"]
    assert story.status == "stop_loss_in_progress"
    assert story.legs("tp1", "tp2", "avg1", "sl") == " ".join(["pending_cancellation"] * 3 + ["to_process"])
    story.cancelled("tp1").cancelled("avg1")
    assert story.heard() == []
    story.cancelled("tp2")
    assert story.heard() == ["sell sl 10 market"]
    assert story.status == "stop_loss_finished"
    assert story.legs("tp1", "tp2", "avg1", "sl") == "cancelled cancelled cancelled finished"
    assert story.wait(600).heard() == []
    story.assert_replays()


def test_a_short_is_stopped_by_buying() -> None:
    """C-2, TR-48."""
    story = short()
    story.heard()
    story.quote(109, "109.99")
    assert story.heard() == []
    story.quote(109, 110)
    assert story.heard() == ["cancel tp1", "buy sl 10 market"]
    assert story.status == "stop_loss_finished"


def test_r1_a_target_that_takes_everything_first_leaves_nothing_to_stop() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.quote(90).fill("tp1")
    assert story.status == "finished"  # S-17
    assert story.legs("tp1", "sl") == "finished cancelled"
    assert "sell sl 10 market" not in story.heard()


def test_r2_a_stop_closes_what_the_target_has_left() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.quote(90).fill("tp1", 4).heard()
    story.cancelled("tp1")
    assert story.heard() == ["sell sl 6 market"]
    assert story.status == "stop_loss_finished"
    assert story.trade.closed.amount == 10


def test_r3_a_market_close_that_finds_nothing_left_stays_empty() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.close().fill("tp1")
    assert story.status == "finished"  # S-24
    assert story.trade.market_close is None


def test_r8_a_cancelled_target_that_fills_first_is_executed() -> None:
    story = two_targets()
    story.on_cancel = "hold"
    story.cancel_leg("tp1").fill("tp1")
    assert story.legs("tp1", "tp2") == "finished order_placed"  # TP-13
    assert story.status == "waiting_targets"


def test_r10_averaging_that_fills_while_the_stop_cancels_it_is_closed_too() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.add(5, 80)
    story.on_cancel = "hold"
    story.quote(90).fill("avg1")
    story.cancelled("tp1")
    assert story.heard()[-1] == "sell sl 15 market"
    assert story.open == 0
    assert story.status == "stop_loss_finished"


def test_r11_a_second_market_close_is_refused() -> None:
    story = two_targets()
    story.on_cancel = "hold"
    story.close()
    assert story.denied(CloseAtMarket(trade_id=story.trade_id)) == [DenialCode.CLOSE_NOT_ALLOWED]


def test_a_recovered_price_does_not_undo_a_stop() -> None:
    """EX-24."""
    story = two_targets()
    story.on_cancel = "hold"
    story.quote(90).quote(130)
    story.cancelled("tp1").cancelled("tp2")
    assert story.status == "stop_loss_finished"


def test_cancelled_targets_do_not_come_back_while_a_limit_stop_rests() -> None:
    """EX-20, TR-49."""
    story = Story(market(), [tp(110)], sl(90, at="89.5"))
    story.heard()
    story.quote(89)
    assert story.heard() == ["cancel tp1", "sell sl 10 @ 89.5"]
    story.quote(200).wait(600)
    assert story.book == {"sl": "sell 10 @ 89.5"}
    assert story.status == "stop_loss_in_progress"


def test_a_resting_limit_stop_gives_way_to_a_market_close() -> None:
    """S-22, TR-49: close_by_market stays possible."""
    story = Story(market(), [tp(110)], sl(90, at="89.5"))
    story.quote(89).fill("sl", 3).heard()
    story.close()
    assert story.heard() == ["cancel sl", "sell close 7 market"]
    assert story.status == "panic_sold"
    assert story.legs("sl", "close") == "cancelled finished"


def test_a_resting_limit_stop_can_be_cancelled_with_the_trade() -> None:
    story = Story(market(), [tp(110)], sl(90, at="89.5"))
    story.quote(89).cancel()
    assert story.status == "cancelled"
    assert story.open == 10
    assert story.book == {}


def test_on_futures_the_stop_does_not_wait_longer_than_five_seconds_for_a_confirmation() -> None:
    """EX-22."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "silence"
    story.quote(90).wait("4.9").heard()
    story.wait("0.1")
    assert "sell sl 10 market reduce-only" in story.heard()
    assert story.open == 0
    assert story.status == "stop_loss_in_progress"  # until the doubtful cancellation is settled
    story.on_cancel = "confirm"
    story.wait(5)
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("long_in_doubt", [False, True])
def test_on_futures_a_target_that_is_in_doubt_keeps_the_stop_no_longer_than_five_seconds(long_in_doubt: bool) -> None:
    """EX-22, EX-31: however long the pause is until the next question about it."""
    story = Story(limit(100), [tp(110)], sl(90), on=LINEAR)
    story.answers.append("never arrives")
    story.on_query = "silence"
    story.fill("entry").wait(100 if long_in_doubt else 0)
    story.quote(90).wait("4.9")
    assert story.open == 10
    story.wait("0.1")
    assert story.open == 0


@pytest.mark.parametrize("arrived", [False, True])
def test_on_futures_a_target_whose_send_is_not_answered_keeps_the_stop_no_longer_than_five_seconds(
    arrived: bool,
) -> None:
    """EX-20, EX-22: the five seconds begin when the target is no longer wanted, not when its call times out."""
    story = Story(limit(100), [tp(110)], sl(90), on=LINEAR)
    story.answers.append("answer is late" if arrived else "silence")
    story.on_query = story.on_cancel = "silence"
    story.fill("entry").quote(90).wait("4.9")
    assert story.open == 10
    story.wait("0.1")
    assert "sell sl 10 market reduce-only" in story.heard()
    assert story.open == 0


def test_on_futures_a_target_that_turns_up_during_the_five_seconds_does_not_make_them_begin_again() -> None:
    """EX-22."""
    story = Story(limit(100), [tp(110)], sl(90), on=LINEAR)
    story.answers.append("silence")
    story.on_query = story.on_cancel = "silence"
    story.fill("entry").quote(90).wait(4)
    story.tell(story.venue_has("tp1")).wait("0.9")
    assert story.open == 10
    story.wait("0.1")
    assert story.open == 0


def test_on_futures_a_cancellation_that_is_refused_keeps_the_stop_no_longer_than_five_seconds() -> None:
    """EX-21, EX-22."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "refuse"
    story.on_query = "silence"
    story.quote(90).wait("4.9")
    assert story.open == 10
    story.wait("0.1")
    assert story.open == 0


def test_on_futures_a_market_close_does_not_wait_longer_than_five_seconds_either() -> None:
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "silence"
    story.close().wait(5)
    assert "sell close 10 market reduce-only" in story.heard()
    story.on_cancel = "confirm"
    story.wait(5)
    assert story.status == "panic_sold"


def test_on_futures_every_exit_is_reduce_only_and_no_entry_is() -> None:
    """EX-26."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.add(5).reduce(3).quote(90)
    for what in story.heard():
        assert what.endswith("reduce-only") == what.startswith("sell"), what


def ways_out(story: Story, act: Callable[[Story], object]) -> set[str]:
    """Legs whose orders go before those of others when too much is to be sent at once."""
    found: set[str] = set()
    carried_out = story._carried_out

    def noting(effect: Effect) -> Iterator[EngineInput]:
        if isinstance(effect, SubmitOrder) and effect.is_way_out:
            found.add(story._name_of_order(effect.intent.client_order_id))
        return carried_out(effect)

    story._carried_out = noting  # type: ignore[method-assign]
    act(story)
    return found


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        pytest.param(lambda story: story.quote(90), {"sl"}, id="stop"),
        pytest.param(lambda story: story.close(), {"close"}, id="market close"),
        pytest.param(lambda story: story.quote(130), {"tp2"}, id="target at market"),
        pytest.param(lambda story: story.reduce(1), {"reduce1"}, id="reduction at market"),
        pytest.param(lambda story: story.add(1).add(1, 99).reduce(1, 105), set(), id="neither entries nor targets"),
        pytest.param(lambda story: story.edit(stop=sl(90, at=89)).quote(90), {"sl"}, id="limit stop"),
    ],
)
def test_stops_and_exits_at_market_are_ways_out(act: Callable[[Story], object], expected: set[str]) -> None:
    """Fault F60: exits first."""
    story = Story(market(), [tp(110, 50), tp(120, 50, at_market=True)], sl(90))
    assert ways_out(story, act) == expected


# --- refused exits (EX-10, EX-12) -----------------------------------------------------------------------------


def attempts(story: Story, leg: str, seconds: int) -> list[int]:
    """When orders of `leg` go out during the next seconds."""
    found: list[int] = []
    begin = story.seconds
    for _ in range(seconds + 1):
        found += [story.seconds - begin for what in story.heard() if what.startswith((f"sell {leg}", f"buy {leg}"))]
        if story.seconds - begin < seconds:
            story.wait(1)
    return found


def test_a_refused_stop_is_tried_ten_times_in_two_minutes_then_blocked_and_never_given_up() -> None:
    """S-31, SL-13, EX-12: at 0, 1, 3, 7, 15, 31, 61, 91, 120 s, then with pauses growing to 60 s."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(K.RECOVERABLE, "Filter failure")] * 40)
    story.quote(90)
    assert attempts(story, "sl", 119) == [0, 1, 3, 7, 15, 31, 61, 91]
    assert story.trade.error is None
    assert story.status == "stop_loss_in_progress"
    story.wait(1)
    assert "alarm Filter failure" in story.log
    assert attempts(story, "sl", 600)[:6] == [0, 60, 120, 180, 240, 300]
    assert story.trade.error == story.stop.error == "Filter failure"
    assert story.legs("sl") == "order_placed" or story.legs("sl") == "to_process"
    assert len([what for what in story.log if what.startswith("alarm")]) == 0  # one alarm, not one per attempt
    story.answers.clear()
    story.wait(60)
    assert story.status == "stop_loss_finished"
    assert story.trade.error is None
    story.assert_replays()


def test_every_new_attempt_after_a_refusal_has_a_new_id() -> None:
    """C-8, EX-12."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(K.RECOVERABLE)] * 3)
    story.quote(90).wait(10)
    assert [order.attempt for order in story.stop.orders] == [1, 2, 3, 4]
    assert len({order.client_order_id for order in story.stop.orders}) == 4


def test_a_permanent_refusal_blocks_at_once_and_goes_on_with_growing_pauses() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(K.PERMANENT, "Account locked")] * 40)
    story.quote(90)
    assert story.trade.error == "Account locked"
    assert "alarm Account locked" in story.log
    assert attempts(story, "sl", 320) == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]
    assert story.status == "stop_loss_in_progress"


def test_the_error_disappears_when_an_attempt_is_accepted() -> None:
    """A market order that is taken may still expire unfilled: its first execution is the proof."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = False
    story.answers.append(refused(K.PERMANENT, "Account locked"))
    story.quote(90).wait(1).fill("sl", 1)
    assert story.trade.error is None
    assert story.stop.error is None
    assert story.status == "stop_loss_in_progress"


def test_force_process_tries_a_blocked_exit_at_once() -> None:
    """EX-12, Q-33."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(K.RECOVERABLE)] * 9)
    story.quote(90).wait(125).heard()
    story.force_process()
    assert "sell sl 10 market" in story.heard()
    assert story.status == "stop_loss_finished"


def test_a_blocked_stop_can_be_closed_by_hand_or_cancelled() -> None:
    for way_out, end in ((Story.close, "panic_sold"), (Story.cancel, "cancelled")):
        story = Story(market(), [tp(110)], sl(90))
        story.answers.extend([refused(K.RECOVERABLE)] * 9)
        story.quote(90).wait(125)
        assert story.trade.error is not None
        way_out(story)
        assert story.status == end
        assert story.trade.error is None


def test_a_refused_market_close_is_never_given_up_either() -> None:
    """S-31, MC-5."""
    story = two_targets()
    story.answers.extend([refused(K.RECOVERABLE, "busy")] * 12)
    story.close()
    assert attempts(story, "close", 200) == [0, 1, 3, 7, 15, 31, 61, 91, 120, 180]
    assert story.status == "panic_sell_in_progress"
    assert story.trade.error == "busy"
    story.wait(200)
    assert story.status == "panic_sold"


def test_a_refused_target_at_market_leaves_the_stop_armed() -> None:
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.answers.extend([refused(K.RECOVERABLE)] * 3)
    story.quote(110).wait("0.5").heard()
    story.answers.clear()
    story.quote(90)
    assert story.heard() == ["sell sl 10 market"]
    assert story.status == "stop_loss_finished"


def test_a_busy_exchange_blocks_a_stop_visibly_after_two_minutes() -> None:
    """EX-12, EX-7: the same order, the same id."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.extend([refused(K.TRANSIENT, "rate limit")] * 40)
    story.quote(90).wait(115)
    assert story.trade.error is None
    story.wait(10)
    assert story.trade.error == "rate limit"
    assert "alarm rate limit" in story.heard()
    assert len(story.stop.orders) == 1


def test_a_silent_exchange_blocks_a_stop_visibly_after_two_minutes() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append("never arrives")
    story.on_query = "silence"
    story.quote(90).wait(125)
    assert "alarm No answer from the exchange" in story.heard()
    assert story.trade.error is not None
    story.on_query = "tell"
    story.wait(60)
    assert story.status == "stop_loss_finished"
    assert story.trade.error is None


def test_a_stop_closes_what_the_account_still_has() -> None:
    """EX-10: the trade ends by its stop although not all of it could be closed."""
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.available = D("7.25")
    story.heard()
    story.quote(90)
    assert story.heard() == ["cancel tp1", "sell sl 10 market", "read funds", "sell sl 7.2 market"]
    assert story.status == "stop_loss_finished"
    assert story.open == D("2.8")


def test_a_short_buys_back_what_the_account_can_pay() -> None:
    story = short()
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.available = D("9.55")
    story.quote(110)
    assert story.heard()[-1] == "buy sl 9.5 market"
    assert story.status == "stop_loss_finished"


def test_an_exit_with_nothing_left_to_close_fails_with_insufficient_funds() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.available = D("0.01")
    story.quote(90)
    assert (story.status, story.trade.error) == ("failed", "Insufficient funds")


def test_a_refusal_for_funds_that_are_there_is_tried_again_in_full() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.quote(90).wait(1)
    assert story.heard()[-1] == "sell sl 10 market"
    assert story.open == 0


def test_a_target_at_market_closes_what_the_account_has_and_ends_the_trade() -> None:
    """EX-10: `finished`, the status of the exit that ran."""
    story = Story(market(), [tp(110, at_market=True)], sl(90))
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.available = D(7)
    story.heard()
    story.quote(110)
    assert story.heard() == ["sell tp1 10 market", "read funds", "sell tp1 7 market"]
    assert story.status == "finished"
    assert story.open == 3


def test_on_futures_a_position_that_is_smaller_is_closed_as_far_as_it_goes() -> None:
    """EX-27."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.answers.append(refused(K.REDUCE_ONLY))
    story.available = D(4)
    story.quote(90)
    assert story.heard()[-1] == "sell sl 4 market reduce-only"
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize(("available", "end"), [(4, "stop_loss_finished"), (0, "failed")])
def test_whatever_the_exchange_says_a_refused_exit_looks_at_what_is_left(available: int, end: str) -> None:
    """EX-12: orders, balance and position are re-read after every rejection."""
    for words in (refused(K.RECOVERABLE, "Filter failure"), refused(K.PRICE_BAND)):
        story = Story(market(), [tp(110)], sl(90), on=LINEAR)
        story.answers.append(words)
        story.available = D(available)
        story.quote(90)
        assert story.status == end


def test_on_futures_a_position_that_is_gone_fails_the_trade() -> None:
    """S-32, fault F35."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.answers.append(refused(K.REDUCE_ONLY))
    story.available = D(0)
    story.quote(90)
    assert (story.status, story.trade.error) == ("failed", "Position was closed outside of this trade")


# --- sizes: splits, remainders, dust (EX-2, EX-5, EX-14, EX-16, EX-18) ------------------------------------------


def test_a_close_larger_than_the_market_maximum_is_split() -> None:
    """EX-16."""
    story = Story(market(), [tp(110)], sl(90), max_market_lot=D(4))
    assert [w for w in story.heard() if w.startswith("buy")] == [f"buy entry {n} market" for n in (4, 4, 2)]
    story.quote(90)
    assert [w for w in story.heard() if w.startswith("sell sl")] == [f"sell sl {n} market" for n in (4, 4, 2)]
    assert story.status == "stop_loss_finished"
    assert story.open == 0


def test_a_target_at_market_is_split_too() -> None:
    story = Story(market(), [tp(110, at_market=True)], sl(90), max_market_lot=D(4))
    story.heard()
    story.quote(110)
    assert story.heard() == [f"sell tp1 {n} market" for n in (4, 4, 2)]
    assert story.status == "finished"


@pytest.mark.parametrize("smallest", [{"min_lot": D("0.5")}, {"min_market_total": D(45)}])
def test_no_part_of_a_split_close_is_too_small_to_order(smallest: dict[str, Decimal]) -> None:
    """EX-16, EX-18: 4.9 and 4.9 would leave 0.2 that nobody can close, and that the splitting has made."""
    story = Story(own(), [tp(110)], sl(90), kind=TradeKind.SMART_SELL, max_market_lot=D("4.9"), **smallest)
    story.heard()
    story.quote(90)
    assert [w for w in story.heard() if w.startswith("sell")] == [f"sell sl {n} market" for n in ("4.9", "2.5", "2.6")]
    assert (story.status, story.open) == ("stop_loss_finished", 0)


def test_what_is_left_of_an_expired_closing_order_is_sent_again_three_times_at_once_then_with_pauses() -> None:
    """EX-5, then EX-12."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = False
    story.quote(90)
    for left in (9, 8, 7):
        story.fill("sl", 1).cancelled("sl")
        assert story.book == {"sl": f"sell {left} market"}
    story.fill("sl", 1).cancelled("sl", "expired")
    assert story.book == {}
    story.wait(1)
    assert story.book == {"sl": "sell 6 market"}
    story.fill("sl")
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("ended_by", ["expired", "split"])
def test_the_rest_of_more_or_less_that_is_too_small_to_order_is_not_sent(ended_by: str) -> None:
    """EX-5, EX-15, EX-16: averaging and reducing at market count what was filled."""
    split = {"max_market_lot": D("4.9")} if ended_by == "split" else {}
    story = Story(market(), [tp(110, at_market=True)], min_lot=D(3), **split)
    story.heard()
    story.fill_at_market = ended_by == "split"
    for leg, ask in (("avg1", story.add), ("reduce1", story.reduce)):
        ask(5)
        if ended_by == "expired":
            story.fill(leg, D("4.9")).cancelled(leg)
    verbs = ["buy avg1", "sell reduce1"]
    assert story.heard() == [f"{verb} {'4.9' if ended_by == 'split' else '5'} market" for verb in verbs]
    assert story.status == "waiting_targets"
    assert story.legs("avg1") == "finished"
    assert story.legs("reduce1") == ("finished" if ended_by == "split" else "cancelled")


def test_a_sequence_that_finds_only_dust_ends_as_if_closed() -> None:
    """EX-18."""
    story = Story(market("0.9"), [tp(110, at_market=True)], sl(50, at="49"))
    story.quote("5.5")  # what is open is worth less than the smallest order
    assert story.status == "stop_loss_finished"
    assert story.legs("sl") == "finished"


def test_a_market_close_of_dust_fails_as_too_small_when_nothing_was_closed() -> None:
    """MC-6."""
    story = Story(market("0.9"), [tp(110, at_market=True)])
    story.quote("5.5").close()
    assert (story.status, story.trade.error) == ("failed", "Too small")


def test_a_target_is_finished_when_less_than_a_lot_is_left() -> None:
    """EX-2, S-14: the rest stays as dust."""
    story = Story(market(), [tp(110)], sl(90), **FEE_IN_BASE)
    assert story.open == D("9.99")
    assert story.book == {"tp1": "sell 9.9 @ 110"}
    story.fill("tp1")
    assert story.status == "finished"
    assert story.open == D("0.09")


def test_the_stop_closes_less_with_every_fill_of_a_target() -> None:
    """EX-3."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1", 3).fill("tp1", 2)
    assert story.trade.closed.amount == 5
    assert story.legs("tp1") == "order_placed"
    story.quote(90)
    assert story.heard()[-1] == "sell sl 5 market"


def test_a_step_that_is_too_small_at_arming_fails_and_the_stop_still_closes_its_units() -> None:
    """M-27."""
    story = Story(when(90), [tp(110, 95), tp(120, 5)], sl(1, at="0.5"))
    story.rules(min_total=D(100))
    story.quote(90)
    assert story.legs("tp1", "tp2", "sl") == "order_placed failed to_process"
    assert story.leg("tp2").error == "Too small"
    assert story.trade.error is None
    assert story.book == {"tp1": "sell 9.5 @ 110"}
    story.quote(1)
    assert story.book == {"sl": "sell 10 @ 0.5"}


def test_without_any_exit_left_the_trade_waits_with_an_alarm_for_its_user() -> None:
    """M-27."""
    story = Story(when(90), [tp(110)])
    story.rules(min_total=D(2000))
    story.quote(90)
    assert (story.status, story.trade.error) == ("waiting_targets", "Too small")
    assert "alarm Too small" in story.heard()
    story.edit(targets=[tp(250)])
    assert story.trade.error is None
    assert story.book == {"tp2": "sell 10 @ 250"}
    story.close()
    assert story.status == "panic_sold"


def test_creation_refuses_a_step_that_could_not_be_placed() -> None:
    """M-26: with the units less one commission."""
    story = Story(market(2), [tp(110, 50), tp(120, 50)], min_total=D(108), **FEE_IN_BASE)  # 1 and 0.9
    assert story.book == {"tp1": "sell 1 @ 110", "tp2": "sell 0.9 @ 120"}
    with pytest.raises(Denied, match="step_too_small"):
        Story(market(2), [tp(110, 50), tp(120, 50)], min_total=D("108.01"), **FEE_IN_BASE)


def test_what_a_target_at_market_could_not_close_is_shared_by_the_others() -> None:
    """M-24, faults F32: 0.2 of it is too little to be ordered again (EX-5, TP-10) and must not be without a target."""
    story = Story(own(), [tp(110, 50), tp(120, 50)], sl(50), kind=TradeKind.SMART_SELL, min_market_total=D(45))
    story.fill_at_market = False
    story.close_leg("tp2")
    story.fill("tp2", D("4.8")).cancelled("tp2", "expired")
    assert story.legs("tp1", "tp2") == "order_placed panic_sold"
    assert story.book == {"tp1": "sell 5.2 @ 110"}
    assert story.open == D("5.2")


@pytest.mark.parametrize("leaves_late", [False, True])
def test_averaging_leaves_a_market_order_that_is_on_its_way_as_it_is(leaves_late: bool) -> None:
    """M-24, faults F32: as if the order had been first; the others share the rest, so that all is covered after it."""
    story = Story(own(), [tp(110, 40), tp(120, 40), tp(130, 20)], sl(50), kind=TradeKind.SMART_SELL)
    story.fill_at_market = False
    story.on_cancel = "hold" if leaves_late else "confirm"
    story.add(6, 95).close_leg("tp1")
    story.on_cancel = "confirm"
    story.fill("avg1")
    if leaves_late:  # the limit order that the one at market follows
        story.cancelled("tp1")
    assert story.book == {"tp1": "sell 4 market", "tp2": "sell 8 @ 120", "tp3": "sell 4 @ 130"}
    story.fill("tp1", 1).fill("tp1")
    assert story.legs("tp1") == "panic_sold"
    assert story.book == {"tp2": "sell 8 @ 120", "tp3": "sell 4 @ 130"}
    assert story.open == 12


# --- targets (EX-11, EX-23, EX-30, X-1 to X-5) ------------------------------------------------------------------


def test_a_refused_target_is_tried_once_more_and_then_fails_alone() -> None:
    """EX-11, TP-14."""
    story = Story(start=False)
    story.answers.extend(["take", refused(K.RECOVERABLE, "Filter"), "take", refused(K.RECOVERABLE, "Filter")])
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110, 50), tp(120, 50)], sl(90)))
    story.wait(60)
    assert "read limits" in story.heard()
    assert story.legs("tp1", "tp2", "sl") == "failed order_placed to_process"
    assert story.leg("tp1").error == "Filter"
    assert story.trade.error is None
    assert story.book == {"tp2": "sell 5 @ 120"}  # its share does not grow (M-23)


def test_the_last_exit_that_fails_raises_the_alarm_and_keeps_the_trade() -> None:
    story = Story(start=False)
    story.answers.extend(["take", refused(K.PERMANENT, "not tradable")])
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)]))
    assert (story.status, story.trade.error) == ("waiting_targets", "not tradable")
    assert "alarm not tradable" in story.heard()


def test_a_target_without_room_waits_and_goes_out_when_there_is_room() -> None:
    story = Story(start=False)
    story.answers.extend(["take", refused(K.TOO_MANY_ORDERS)])
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110, 50), tp(120, 50)], sl(90)))
    assert story.legs("tp1", "tp2") == "to_process order_placed"
    story.wait(60)
    assert story.book == {"tp1": "sell 5 @ 110", "tp2": "sell 5 @ 120"}


def test_a_target_without_room_goes_out_at_the_latest_when_it_is_reached() -> None:
    story = Story(start=False)
    story.answers.extend(["take", refused(K.PRICE_BAND)])
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)], sl(90)))
    story.heard()
    story.quote("109.99")
    assert story.heard() == []
    story.quote(110)
    assert story.heard() == ["sell tp1 10 @ 110"]


def test_a_step_at_market_takes_nothing_out_of_the_book_while_free_units_suffice() -> None:
    """EX-23."""
    story = Story(market(), [tp(110, 50), tp(120, 50, at_market=True)], sl(90))
    story.heard()
    story.close_leg("tp2")
    assert story.heard() == ["sell tp2 5 market"]
    assert story.legs("tp1", "tp2") == "order_placed panic_sold"


def test_resting_targets_make_room_for_a_step_at_market_and_return() -> None:
    """EX-23."""
    story = two_targets()
    story.available = D(0)  # all of it is locked by the other target
    story.answers.append(refused(K.INSUFFICIENT_FUNDS))
    story.heard()
    story.close_leg("tp2")
    assert story.heard() == [
        "cancel tp2", "sell tp2 5 market", "read funds", "cancel tp1", "sell tp2 5 market", "sell tp1 5 @ 110",
    ]  # fmt: skip
    assert story.legs("tp1", "tp2") == "order_placed panic_sold"


SALES = pytest.mark.parametrize(
    ("on", "sale"),
    [
        pytest.param(SPOT, "sell tp2 5 market", id="spot"),
        pytest.param(LINEAR, "sell tp2 5 market reduce-only", id="futures"),
    ],
)


@SALES
def test_a_step_at_market_that_waits_for_room_is_tried_with_pauses_and_at_once_when_there_is_room(
    on: Instrument, sale: str
) -> None:
    """EX-23, EX-12: a cancellation takes longer than a refusal, and nobody asks as fast as the exchange refuses."""
    story = Story(market(), [tp(110, 50), tp(120, 50, at_market=True)], sl(90), on=on)
    story.available = D(0)
    story.answers.extend([refused(K.INSUFFICIENT_FUNDS)] * 50)
    story.on_cancel = "silence"
    story.heard()
    story.close_leg("tp2")
    assert story.heard() == [sale, "read funds", "cancel tp1"]
    story.wait("2.9")
    assert story.heard().count(sale) == 1  # after a second; the next after two more
    story.answers.clear()
    story.on_cancel = "confirm"
    story.cancelled("tp1")
    assert sale in story.heard()
    assert story.legs("tp1", "tp2") == "order_placed panic_sold"


@SALES
def test_a_step_at_market_is_tried_with_pauses_while_another_at_market_is_in_doubt(on: Instrument, sale: str) -> None:
    """EX-12, EX-23: that one rests nowhere, so there is no room to be made."""
    story = Story(market(), [tp(110, 50, at_market=True), tp(120, 50, at_market=True)], sl(90), on=on)
    story.available = D(0)
    story.on_query = "silence"
    story.answers.append(refused(K.TRANSIENT))
    story.close_leg("tp1").heard()
    story.answers.extend([refused(K.REDUCE_ONLY)] * 50)
    story.close_leg("tp2")
    story.wait("2.9")
    assert story.heard().count(sale) == 2
    assert story.status == "waiting_targets"


def test_room_that_is_no_longer_needed_is_given_back() -> None:
    """EX-23, fault F67: a step that made room and was then cancelled must not keep the others out of the book."""
    story = two_targets()
    story.available = D(0)
    story.answers.extend([refused(K.INSUFFICIENT_FUNDS), refused(K.PERMANENT)])
    story.close_leg("tp2")
    assert story.book == {}
    story.cancel_leg("tp2")
    assert story.book == {"tp1": "sell 5 @ 110"}


def test_a_target_cancelled_by_somebody_else_is_not_put_back() -> None:
    """EX-30."""
    story = two_targets()
    story.fill("tp1", 2).cancelled("tp1")
    assert story.legs("tp1", "tp2") == "cancelled order_placed"
    assert story.book == {"tp2": "sell 5 @ 120"}
    assert story.trade.closed.amount == 2
    story.fill("tp2")
    assert story.status == "waiting_targets"  # the uncovered units are the stop's
    story.quote(90)
    assert story.heard()[-1] == "sell sl 3 market"


def test_the_last_exit_cancelled_by_somebody_else_cancels_the_trade() -> None:
    """EX-30, S-30."""
    story = Story(market(), [tp(110)])
    story.cancelled("tp1")
    assert story.status == "cancelled"
    assert story.open == 10


def test_a_triggered_stop_cancelled_by_somebody_else_is_sent_again() -> None:
    """EX-30: a triggered stop is a promise."""
    story = Story(market(), [tp(110)], sl(90, at="89.5"))
    story.quote(89).fill("sl", 3).cancelled("sl")
    assert story.book == {"sl": "sell 7 @ 89.5"}


def test_averaging_and_reduction_cancelled_by_somebody_else_stay_cancelled() -> None:
    """EX-30."""
    story = two_targets()
    story.add(5, 80).fill("avg1", 2).cancelled("avg1")
    assert story.legs("avg1") == "cancelled"
    assert story.trade.entered.amount == 12
    assert story.book == {"tp1": "sell 6 @ 110", "tp2": "sell 6 @ 120"}
    story.reduce(3, 105).cancelled("reduce1")
    assert story.legs("reduce1") == "cancelled"
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 6 @ 110", "tp2": "sell 6 @ 120"}


def test_x1_the_volume_of_a_cancelled_step_stays_uncovered() -> None:
    """M-25: the published example: 20 by 30, 35, 35; after cancelling the 30 the others keep 7 each."""
    story = Story(own(units=20), [tp(110, 30), tp(120, 35), tp(130, 35)], kind=TradeKind.SMART_SELL)
    assert story.book == {"tp1": "sell 6 @ 110", "tp2": "sell 7 @ 120", "tp3": "sell 7 @ 130"}
    story.cancel_leg("tp1")
    assert story.book == {"tp2": "sell 7 @ 120", "tp3": "sell 7 @ 130"}
    story.fill("tp2")
    assert story.book == {"tp3": "sell 7 @ 130"}
    story.fill("tp3")
    assert story.status == "finished"  # S-14: neither a step nor a stop remains
    assert story.open == 6


def test_x2_cancelling_the_last_exit_cancels_the_trade() -> None:
    story = Story(market(), [tp(110)])
    story.cancel_leg("tp1")
    assert story.status == "cancelled"
    story = Story(market(), (), sl(90))
    story.cancel_leg("sl")
    assert story.status == "cancelled"


def test_x3_cancelling_the_last_target_keeps_the_trade_while_a_stop_is_on() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.cancel_leg("tp1")
    assert story.status == "waiting_targets"
    assert not story.trade.take_profit_enabled
    story.cancel_leg("sl")
    assert story.status == "cancelled"


def test_x4_the_position_cannot_be_cancelled_by_itself() -> None:
    for story in (Story(limit(90), [tp(110)]), Story(market(), [tp(110)])):
        wish = CancelStep(trade_id=story.trade_id, step_id=story.trade.position.id)
        assert story.denied(wish) == [DenialCode.STEP_CANCEL_NOT_ALLOWED]


def test_x5_a_fired_stop_cannot_be_cancelled_nor_any_stop_closed_by_hand() -> None:
    story = Story(market(), [tp(110)], sl(90, at="89.5"))
    stop = story.stop.id
    with pytest.raises(Denied, match="step_close_not_allowed"):
        story.close_leg("sl")
    story.quote(89)
    assert story.denied(CancelStep(trade_id=story.trade_id, step_id=stop)) == [DenialCode.STEP_CANCEL_NOT_ALLOWED]


def test_the_last_target_that_finishes_while_another_is_being_cancelled_ends_the_trade() -> None:
    """S-14: a step on its way out is no exit."""
    story = Story(market(), [tp(110, 50), tp(120, 50)])
    story.on_cancel = "hold"
    story.cancel_leg("tp1").fill("tp2")
    story.cancelled("tp1")
    assert story.status == "finished"


def test_the_last_target_cancelled_outside_while_another_is_being_cancelled_cancels_the_trade() -> None:
    story = Story(market(), [tp(110, 50), tp(120, 50)])
    story.on_cancel = "hold"
    story.cancel_leg("tp1").cancelled("tp2")
    story.cancelled("tp1")
    assert story.status == "cancelled"


def test_a_step_that_is_closed_by_hand_before_its_order_is_known_is_executed_once() -> None:
    """TP-9 to TP-11: the acknowledgement of the old order is not that of the new one."""
    story = Story(start=False)
    story.answers.extend(["take", "silence"])
    story.create(plan(TradeKind.SMART_TRADE, market(), [tp(110)], sl(90)))
    story.close_leg("tp1")
    story.tell(story.venue_has("tp1"))
    assert story.heard()[-2:] == ["cancel tp1", "sell tp1 10 market"]
    assert story.status == "finished"
    assert story.legs("tp1") == "panic_sold"


def test_a_target_that_is_panicked_and_fills_at_its_price_first_is_finished() -> None:
    """TP-9: the resting order won."""
    story = two_targets()
    story.on_cancel = "hold"
    story.close_leg("tp1").fill("tp1")
    assert story.legs("tp1") == "finished"
    assert story.book == {"tp2": "sell 5 @ 120"}


def test_simultaneous_stop_and_target_is_a_stop() -> None:
    """TR-73, R-9: possible with different price types."""
    story = Story(market(), [tp(105, at_market=True, by=ASK)], sl(95))
    story.heard()
    story.quote(95, 105)
    assert story.heard() == ["sell sl 10 market"]
    assert story.legs("tp1", "sl") == "cancelled finished"


@pytest.mark.parametrize(
    ("kind", "target", "price", "total"),
    [(TradeKind.SMART_TRADE, 110, 130, 1300), (TradeKind.SMART_COVER, 90, 70, 700)],
)
def test_a_gap_over_a_watched_target_brings_the_better_price(
    kind: TradeKind, target: int, price: int, total: int
) -> None:
    """TR-70."""
    story = Story(market(), [tp(target, at_market=True)], kind=kind)
    story.quote(price)
    assert (story.status, story.trade.closed.total) == ("finished", total)


def test_a_trailing_step_sells_its_own_share_only() -> None:
    """TR-47."""
    story = Story(market(), [tp(150, 60), tp(110, 40, trailing=1)], sl(90))
    story.heard()
    story.quote(110).quote(108)
    assert story.heard() == ["sell tp2 4 market"]
    assert story.book == {"tp1": "sell 6 @ 150"}


# --- reductions (RF-*) ------------------------------------------------------------------------------------------


def test_a_market_reduction_takes_the_targets_out_and_puts_them_back_smaller() -> None:
    """RF-1 to RF-5, S-18 to S-20."""
    story = two_targets()
    story.heard()
    story.reduce(4)
    assert story.heard() == [
        "cancel tp1", "cancel tp2", "sell reduce1 4 market", "sell tp1 3 @ 110", "sell tp2 3 @ 120",
    ]  # fmt: skip
    assert story.status == "waiting_targets"
    assert story.legs("reduce1", "tp1", "tp2") == "finished order_placed order_placed"
    story.assert_replays()


def test_a_reduction_waits_until_the_targets_are_out_and_keeps_the_stop_watched() -> None:
    """RF-2, RF-9."""
    story = two_targets()
    story.on_cancel = "hold"
    story.reduce(4).cancelled("tp1")
    assert story.status == "reduce_funds_in_progress"
    assert "sell reduce1 4 market" not in story.heard()
    story.quote(90)
    assert story.status == "stop_loss_in_progress"
    story.cancelled("tp2")
    assert story.heard()[-1] == "sell sl 10 market"
    assert story.legs("reduce1") == "cancelled"


def test_a_limit_reduction_rests_beside_smaller_targets() -> None:
    """RF-4."""
    story = two_targets()
    story.reduce(4, 105)
    assert story.book == {"reduce1": "sell 4 @ 105", "tp1": "sell 3 @ 110", "tp2": "sell 3 @ 120"}
    assert story.status == "reduce_funds_in_progress"
    story.fill("tp1")
    story.fill("reduce1")
    assert story.status == "waiting_targets"
    assert story.book == {"tp2": "sell 3 @ 120"}
    assert story.open == 3


def test_a_cancelled_limit_reduction_gives_its_units_back() -> None:
    """RF-6."""
    story = two_targets()
    story.reduce(4, 105).fill("reduce1", 1).cancel_leg("reduce1")
    assert story.legs("reduce1") == "cancelled"
    assert story.status == "waiting_targets"
    assert story.open == 9
    assert story.book == {"tp1": "sell 4.5 @ 110", "tp2": "sell 4.5 @ 120"}


def test_a_reduction_shrinks_to_what_the_targets_have_left() -> None:
    """RF-7."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90))
    story.on_cancel = "hold"
    story.reduce(8).fill("tp1").cancelled("tp2")
    reductions = [what for what in story.heard() if "reduce1" in what]
    assert reductions == ["sell reduce1 4.9 market"]  # 5 less what must stay closable at 90
    assert story.open == D("0.1")


def test_a_reduction_with_nothing_left_to_reduce_is_cancelled() -> None:
    """RF-7, S-21."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.reduce(8).fill("tp1")
    assert story.status == "finished"
    assert story.legs("reduce1", "tp1") == "cancelled finished"


@pytest.mark.parametrize(
    ("smallest", "reduced", "left"),
    [pytest.param(5, 4, 1, id="less is allowed"), pytest.param(200, 2, 3, id="nothing is allowed")],
)
def test_a_reduction_shrinks_to_what_targets_at_market_have_left_before_its_next_order(
    smallest: int, reduced: int, left: int
) -> None:
    """RF-7, EX-5: one that asks for more than is open would keep the other targets out of the book for ever."""
    targets = [tp(110, 50, at_market=True), tp(112, 25, at_market=True), tp(130, 25)]
    story = Story(market(20), targets, sl(90), lot=D(1), min_lot=D(1), min_market_total=D(smallest))
    story.fill_at_market = False
    story.reduce(10).quote(110)
    story.fill("reduce1", 2).cancelled("reduce1", text="expired").quote(112)  # its rest waits for the first target
    story.fill_at_market = True
    story.fill("tp1").fill("tp2")
    assert story.leg("reduce1").execution.gross_quantity == reduced
    assert story.status == "waiting_targets"
    assert story.book == {"tp3": f"sell {left} @ 130"}
    story.assert_replays()


def test_a_refused_reduction_fails_alone_and_the_targets_return() -> None:
    """RF-8."""
    story = two_targets()
    story.answers.append(refused(K.RECOVERABLE, "no"))
    story.reduce(4)
    assert story.legs("reduce1") == "failed"
    assert story.leg("reduce1").error == "no"
    assert story.status == "waiting_targets"
    assert story.book == {"tp1": "sell 5 @ 110", "tp2": "sell 5 @ 120"}


def test_a_reduction_must_leave_something_that_the_stop_can_close() -> None:
    """M-30, M-32: 10 less 5 / 90."""
    story = two_targets()
    order = {"trade_id": story.trade_id, "order_type": OrderType.MARKET}
    assert story.denied(ReduceFunds(units=D("9.95"), **order)) == [DenialCode.REDUCE_REST_TOO_SMALL]
    assert story.denied(ReduceFunds(units=D("0.01"), **order)) == [
        DenialCode.UNITS_TOO_SMALL, DenialCode.TOTAL_TOO_SMALL,
    ]  # fmt: skip
    story.reduce("9.9")
    assert story.open == D("0.1")


def test_a_reduction_of_a_short_buys() -> None:
    story = short()
    story.heard()
    story.reduce(4)
    assert story.heard() == ["cancel tp1", "buy reduce1 4 market", "buy tp1 6 @ 90"]


def test_closing_during_a_reduction_closes_everything_once() -> None:
    story = two_targets()
    story.reduce(4, 105)
    story.heard()
    story.close()
    assert story.heard() == ["cancel tp1", "cancel tp2", "cancel reduce1", "sell close 10 market"]
    assert story.status == "panic_sold"


# --- the end (EX-29, EX-32, EX-33, S-14, S-34) ------------------------------------------------------------------


def test_a_late_fill_of_an_exit_corrects_the_amounts_and_sends_nothing() -> None:
    """EX-33, M-45."""
    story = Story(market(), [tp(110)], audit=False)
    story.cancel()
    assert story.trade.profit is not None
    assert story.trade.profit.volume is None
    story.heard()
    story.late_fill("tp1", 4, 110)
    assert (story.status, story.trade.error) == ("cancelled", None)
    assert story.trade.closed.amount == 4
    assert story.trade.profit.volume == 40
    assert story.heard() == []
    story.tell(story.report_of("tp1"))  # the same word again
    assert story.trade.closed.amount == 4
    story.assert_replays()


def test_a_late_fill_of_an_entry_is_noted_and_raises_an_alarm() -> None:
    """EX-33."""
    story = Story(limit(90), [tp(110)], sl(80), audit=False)
    story.cancel().heard()
    story.late_fill("entry", 4, 90)
    assert story.status == "cancelled"
    assert story.trade.error == "Position was filled after cancellation"
    assert story.trade.entered.amount == 4
    assert story.heard() == ["alarm Position was filled after cancellation"]
    assert story.wait(600).heard() == []


def test_a_late_fill_that_was_only_counted_is_asked_for() -> None:
    """EX-1, EX-33: the exchange counts more than it has told."""
    story = Story(market(), [tp(110)], audit=False)
    story.cancel().heard()
    story.late_fill("tp1", 4, 110, told=False)
    assert story.heard() == ["query tp1"]
    assert story.trade.closed.amount == 4


def test_a_late_fill_of_a_leg_that_is_over_is_booked_while_the_trade_goes_on() -> None:
    """EX-32, fault F32: and the other targets shrink, so that no more is offered than is open."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90), audit=False)
    story.cancel_leg("tp1")
    story.late_fill("tp1", 5, 110)
    assert story.open == 5
    story.late_fill("tp1", 2, 110)
    assert story.open == 3
    assert story.book == {"tp2": "sell 3 @ 120"}


def test_a_liquidated_position_fails_the_trade_and_books_the_fills() -> None:
    """S-32, EX-29."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.heard()
    fill = Fill(fill_id="liq", price=D(70), quantity=D(10), fee=Money("USDT", D(1)), filled_at=story.now)
    story.happens(PositionGone(liquidated=True, fills=(fill,)))
    assert story.heard() == ["cancel tp1"]
    assert (story.status, story.trade.error) == ("failed", "Position was liquidated on the exchange")
    assert story.trade.closed.amount == 10
    assert story.trade.closed.total == 699


def test_a_position_that_is_gone_stops_the_stop() -> None:
    """S-32, fault F28: no order for a position that is not there."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "hold"
    story.heard()
    story.tell(PositionLost(account_id=1, key=LINEAR.key, liquidated=False, quantity=D(10)))
    story.quote(80).wait(60)
    assert not [what for what in story.heard() if what.startswith("sell")]
    story.cancelled("tp1")
    assert (story.status, story.trade.error) == ("failed", "Position was closed outside of this trade")


def test_a_position_that_is_lost_while_a_failed_entry_takes_its_averaging_out_fails_the_trade() -> None:
    """S-32, S-8: two ends at once."""
    story = Story(when(95), [tp(110)], sl(80), on=LINEAR)
    story.add(5, 94)
    story.on_cancel = "hold"
    story.answers.append(refused(K.PERMANENT, "no"))
    story.quote(95).fill("avg1", "0.1")
    story.happens(PositionGone(liquidated=True))
    story.cancelled("avg1")
    assert (story.status, story.trade.error) == ("failed", "Position was liquidated on the exchange")


def test_a_position_that_is_lost_while_the_trade_finishes_fails_it() -> None:
    """S-32."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], on=LINEAR)
    story.cancel_leg("tp1").add(5, 80)
    story.on_cancel = "hold"
    story.fill("tp2")
    story.happens(PositionGone(liquidated=True))
    story.cancelled("avg1")
    assert (story.status, story.trade.error) == ("failed", "Position was liquidated on the exchange")


def test_a_position_that_our_own_target_has_closed_is_finished_not_lost() -> None:
    """S-32: the news of the position was faster than the report of the order."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.on_cancel = "hold"
    story.happens(PositionGone(liquidated=False))
    story.fill("tp1")
    assert (story.status, story.trade.error) == ("finished", None)


def test_a_lost_position_ends_the_trade_whatever_is_commanded_meanwhile() -> None:
    """S-32: a target that fills a part, a close and a reduction do not keep it from its end."""
    for meanwhile in (Story.close, Story.cancel, lambda story: story.reduce(1), lambda story: story.add(1)):
        story = Story(market(), [tp(110, 50), tp(120, 50)], on=LINEAR)
        story.on_cancel = "hold"
        story.happens(PositionGone(liquidated=False))
        story.fill("tp1")
        meanwhile(story)
        story.restart()
        story.cancelled("tp2").wait(600)
        assert story.status in ("failed", "cancelled")
        assert story.book == {}
        story.assert_replays()


def test_the_last_cause_names_the_end() -> None:
    """S-34."""
    story = two_targets()
    story.fill("tp1").quote(90)
    assert story.status == "stop_loss_finished"
    story = two_targets()
    story.fill("tp1").close()
    assert story.status == "panic_sold"
    story = two_targets()
    story.fill("tp1").close_leg("tp2")
    assert story.status == "finished"


def test_s29_a_cancelled_trade_whose_last_target_fills_is_finished() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "hold"
    story.cancel()
    assert story.status == "cancellation_in_progress"
    story.fill("tp1")
    assert story.status == "finished"


def test_averaging_is_cancelled_with_the_last_target_and_its_late_units_keep_their_stop() -> None:
    """A-8, S-14: coins that arrive at the last moment are not left without protection."""
    story = Story(market(), [tp(110)], sl(90))
    story.add(5, 80)
    story.on_cancel = "hold"
    story.fill("tp1")
    assert story.legs("tp1", "avg1") == "finished pending_cancellation"
    story.fill("avg1")
    assert story.status == "waiting_targets"
    assert story.open == 5
    story.quote(80)
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("then", [lambda story: story.quote(90), lambda story: story.cancel()])
def test_the_end_is_named_after_the_target_that_took_all_whatever_comes_while_averaging_leaves(
    then: Callable[[Story], object],
) -> None:
    """S-14, S-34, S-29: a stop that finds nothing, or a cancel, is not what closed the trade."""
    story = Story(market(), [tp(110)], sl(90))
    story.add(5, 80)
    story.on_cancel = "hold"
    story.fill("tp1")
    then(story)
    story.cancelled("avg1")
    assert story.status == "finished"
    assert story.legs("tp1", "avg1", "sl") == "finished cancelled cancelled"


def test_a_final_trade_takes_no_funds_and_no_order_ever_leaves_it() -> None:
    story = Story(market(), [tp(110)], sl(90))
    story.fill("tp1").heard()
    wish = AddFunds(trade_id=story.trade_id, order_type=OrderType.MARKET, units=D(1))
    assert story.denied(wish) == [DenialCode.ADD_FUNDS_NOT_ALLOWED]
    story.quote(1).quote(500).wait(3600)
    assert story.heard() == []
    assert story.leg("tp1").orders[-1].status is OrderStatus.FILLED


def test_a_stop_that_an_edit_brings_while_the_trade_is_ending_protects_at_once() -> None:
    """Fault F67: averaging that cannot be taken out keeps the trade open, and its units need their stop."""
    story = Story(market(), [tp(110, 50), tp(120, 50)])
    story.cancel_leg("tp1")
    story.add(2, 95)
    story.on_cancel = "silence"
    story.fill("tp2")
    assert story.status == "waiting_targets"  # no exit is left, but averaging may still be executed
    story.edit(stop=sl(90))
    assert story.legs("sl") == "to_process"
    story.fill("avg1", 1)
    story.on_cancel = "confirm"
    story.quote(90).wait(30)
    assert story.status == "stop_loss_finished"
    assert story.open == 0


def test_a_target_whose_order_was_filled_is_executed_though_its_share_had_grown_meanwhile() -> None:
    """EX-2, S-14: when the others take what is left first, nothing of its share is open any more."""
    story = Story(market(15), [tp(110, 33), tp(120, 33), tp(130, 34)], sl(90), lot=D(1), min_lot=D(1))
    story.reduce(9, 105).fill("tp1")
    story.fill_unheard("tp2").fill_unheard("tp3").fill("reduce1")  # which gives a lot of tp3's to tp2
    assert story.status == "finished"
    assert story.legs("tp1", "tp2", "tp3", "sl") == "finished finished finished cancelled"
    assert (story.target("tp2").units, story.target("tp3").units) == (1, 2)
    assert story.trade.closed.amount == 15


def test_a_target_at_market_waits_for_the_units_that_leave_the_book_if_it_would_lose_a_rest() -> None:
    """EX-23: it takes them all at once; a rest too little to be ordered would have no target any more."""
    story = Story(
        market(8),
        [tp(110, 33), tp(120, 33), tp(130, 34, at_market=True)],
        sl(90),
        lot=D(1), min_lot=D(1), min_market_total=D(150),
    )  # fmt: skip
    story.cancel_leg("tp2")
    story.on_cancel = "hold"
    story.heard()
    story.edit(targets=[story.kept("tp3", volume=D(67), price=D(99))])  # 5 of 8, and 4 still in the book
    assert story.heard() == ["cancel tp1"]
    story.cancelled("tp1")
    assert story.heard() == ["sell tp4 5 market"]
    assert (story.legs("tp4"), story.open) == ("finished", 3)


@pytest.mark.parametrize("at_market", [False, True])
def test_what_a_market_reduction_leaves_is_shared_once_and_its_last_lot_keeps_a_target(at_market: bool) -> None:
    """RF-5, M-20, M-24, M-27: of the one unit that is left the first target gets the lot that the rounding leaves."""
    story = Story(market(), [tp(110, 50), tp(120, 50, at_market=at_market)], sl(90), lot=D(1), min_lot=D(1))
    story.reduce(9)
    assert story.legs("tp1", "tp2") == "order_placed failed"
    assert story.book == {"tp1": "sell 1 @ 110"}


def test_what_a_market_reduction_leaves_that_finds_too_little_is_shared_once_too() -> None:
    """EX-5, RF-5, M-27: it is shared when the reduction is over, not with each of its fills."""
    story = Story(market(7), [tp(110, 10), tp(120, 30), tp(130, 30), tp(140, 30)], sl(90), lot=D(1), min_lot=D(1))
    story.fill_at_market = False
    story.reduce(5)
    assert story.book == {"reduce1": "sell 5 market"}
    story.fill("reduce1", 4)
    assert story.legs("tp1", "tp2", "tp3", "tp4") == "to_process to_process to_process to_process"
    for _ in range(4):
        story.cancelled("reduce1", text="expired")
    assert story.legs("reduce1", "tp1", "tp2") == "cancelled order_placed failed"
    assert story.book == {"tp1": "sell 3 @ 110"}


def test_a_target_whose_share_shrinks_to_nothing_fails_once_its_order_is_out() -> None:
    """M-27, RF-5, M-20: the steps that failed for the reduction leave it 10 % of one unit; nobody waits for nothing."""
    story = Story(market(), [tp(110, 10), tp(120, 20), tp(130, 30), tp(140, 40)], sl(90), lot=D(1), min_lot=D(1))
    story.reduce(9, 105)
    assert story.book == {"reduce1": "sell 9 @ 105", "tp1": "sell 1 @ 110"}
    story.on_cancel = "hold"
    story.fill("reduce1")
    assert story.legs("tp1", "tp2", "tp3", "tp4") == "order_placed failed failed failed"
    story.cancelled("tp1")
    assert story.legs("tp1", "tp2", "tp3", "tp4", "sl") == "failed failed failed failed to_process"
    story.assert_replays()


def test_a_target_whose_share_becomes_too_small_in_the_book_fails_without_another_order() -> None:
    """M-27, RF-5: the steps that failed for the reduction leave it 40 % of five units, less than the exchange takes."""
    targets = [tp(140, 40), tp(110, 10), tp(120, 20), tp(130, 30)]
    story = Story(market(30), targets, sl(90), lot=D(1), min_lot=D(1), min_total=D(300))
    story.reduce(25, 105)
    assert story.book == {"reduce1": "sell 25 @ 105", "tp1": "sell 3 @ 140"}
    story.heard()
    story.fill("reduce1")
    assert story.heard() == ["cancel tp1"]
    assert story.legs("tp1", "sl") == "failed to_process"
    assert story.leg("tp1").error == "Too small"
    story.assert_replays()


def test_a_refused_target_at_market_whose_share_becomes_too_small_fails_like_any_other() -> None:
    """M-24, M-27, EX-12: with the units it had it would wait without an order for what the others offer."""
    smallest = {"lot": D(1), "min_lot": D(1), "min_market_total": D(150)}
    story = Story(market(40), [tp(105, 10, at_market=True), tp(120, 90)], sl(90), **smallest)
    story.answers.append(refused(RefusalKind.RECOVERABLE))
    story.quote(105)
    assert (story.legs("tp1"), story.target("tp1").units) == ("to_process", 4)
    story.reduce(30)
    assert story.legs("tp1", "tp2", "sl") == "failed order_placed to_process"
    assert story.leg("tp1").error == "Too small"
    story.wait(60)
    assert story.book == {"tp2": "sell 9 @ 120"}
    story.assert_replays()


def test_what_a_replaced_step_executed_is_not_asked_of_the_funds_again() -> None:
    """E-26, EX-23: the four that are left are free, so the other target stays in the book."""
    story = two_targets()
    story.fill("tp2", 1).edit(targets=[story.kept("tp1"), story.kept("tp2", price=D(121))])
    story.fill_at_market, story.available = False, D(4)
    story.close_leg("tp3")
    for _ in range(4):
        assert story.book == {"tp1": "sell 5 @ 110", "tp3": "sell 4 market"}
        story.cancelled("tp3", text="expired")
    assert story.book == {"tp1": "sell 5 @ 110"}
