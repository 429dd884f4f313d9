"""Cancels, stops and targets: F24 to F42, and F69, of the failure catalogue."""

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from driver import FEE_IN_BASE, LINEAR, D, Story, limit, market, own, plan, refused, sl, tp
from harness import Server
from msgspec.structs import replace
from scenes import FUTURES, SPOT, STOPPED, begin, buy, stage, stop, targets

from smarttrade.domain.fill import Fill
from smarttrade.domain.money import Money
from smarttrade.domain.order import RefusalKind, ReportedState
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import SECOND
from smarttrade.engine.inputs import TimePassed

K = RefusalKind
both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])


def orders_asked_for(words: list[str]) -> list[str]:
    """What changes anything at the exchange: no questions, no alarms."""
    return [word for word in words if word.startswith(("buy", "sell", "cancel"))]


@both_kinds
def test_what_an_entry_bought_before_its_cancel_arrived_is_guarded_like_any_position(server: Server, kind: str) -> None:
    """Fault F24, EX-20, P-18: the exchange says cancelled, and had traded; the stop knows before and after."""
    market, account = stage(server, kind)
    trade = account.create(
        market, position=buy(limit="95"), take_profit=targets(("limit", "110", 100)), stop_loss=stop("90")
    )
    account.fault("stream", "drop")
    account.fill(trade.order(), 4)

    account.cancel_outside(trade.order())

    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "4.0", "stop_loss.units.value": "4.0"})
    assert [(order["side"], order["quantity"]) for order in trade.orders("open")] == [("sell", "4.0")]
    market.quote(90)
    trade.expect(STOPPED | {"data.closed_amount": "4.0"})


@both_kinds
def test_a_cancel_without_an_answer_is_pending_until_the_exchange_says_where_the_order_ended(
    server: Server, kind: str
) -> None:
    """Faults F25, F26, EX-22: an hour of silence ends no order."""
    scene = begin(server, kind)
    scene.account.fault("cancel", "timeout_before", times=10_000)
    scene.trade.cancel()

    server.advance(3600)

    scene.trade.expect({"status.type": "cancellation_in_progress"})
    assert scene.resting() == [("sell", "10.0", "110.0")]
    scene.account.clear_faults()
    server.advance(10)
    scene.trade.expect({"status.type": "cancelled"})
    assert scene.resting() == []


def test_a_cancel_that_is_not_confirmed_for_two_minutes_calls_a_person_once() -> None:
    """Faults F8, F25, EX-22: on spot the stop waits for it, so somebody has to know."""
    story = Story(market(), [tp(110)], sl(90))
    story.on_cancel = "silence"
    story.quote(90).wait("119.9")
    assert not [word for word in story.heard() if word.startswith("alarm")]
    story.wait(3600)
    assert [word for word in story.heard() if word.startswith("alarm")] == [
        "alarm The exchange does not confirm a cancellation"
    ]
    assert story.status == "stop_loss_in_progress"
    story.on_cancel = "confirm"
    story.wait(10)
    assert story.status == "stop_loss_finished"


def test_a_cancel_that_was_confirmed_is_proven_by_what_the_exchange_shows(server: Server) -> None:
    """Fault F26: an edit, a sub-trade cancel and the end of the trade each leave nothing behind in the book."""
    scene = begin(server, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    first, second = scene.trade.get()["take_profit"]["steps"]
    scene.trade.cancel_trade(second["id"])
    assert scene.resting() == [("sell", "5.0", "110.0")]
    moved = {**first, "price": {"type": "bid", "value": "112"}, "volume": 50}
    scene.trade.edit(take_profit={"enabled": True, "steps": [moved]})
    assert scene.resting() == [("sell", "5.0", "112.0")]
    scene.trade.cancel()
    assert scene.resting() == []
    scene.trade.expect({"status.type": "cancelled"})


def test_however_often_a_cancel_fails_there_is_one_stop_and_one_closing_order() -> None:
    """Fault F27, EX-21, EX-22: refused as unknown, silent, held, in turn, while new stops are asked for."""
    story = Story(market(), [tp(110)], sl(80))
    for number, mode in enumerate(("refuse", "silence", "hold", "refuse", "silence")):
        story.on_cancel = mode
        story.edit(stop=sl(85 + number)).wait(7)
        assert [step.status.value for step in story.trade.steps].count("to_process") == 1
    story.on_cancel = "refuse"
    story.quote(89).wait(60)
    assert story.book == {"tp1": "sell 10 @ 110"}
    story.on_cancel = "confirm"
    story.heard()
    story.wait(60)
    assert orders_asked_for(story.heard()) == ["cancel tp1", "sell sl 10 market"]
    assert story.status == "stop_loss_finished"


def test_a_cancel_of_an_order_that_the_exchange_does_not_know_is_looked_into_and_comes_to_an_end() -> None:
    """Fault F27, EX-21: no endless cancelling of what is not there."""
    story = Story(market(), [tp(110)], sl(90))
    story.forgotten("tp1").heard()
    story.quote(90).wait(60)
    assert story.status == "stop_loss_finished"
    assert len(orders_asked_for(story.heard())) <= 3
    assert story.wait(3600).heard() == []


@pytest.mark.parametrize("end", ["target", "stop", "close", "cancel"])
@both_kinds
def test_nothing_is_sent_for_a_trade_that_is_over_whatever_the_price_does(server: Server, kind: str, end: str) -> None:
    """Fault F28, S-33: other coins on the account are nobody's business."""
    scene = begin(server, kind)
    if kind == SPOT:
        scene.account.set_balance(scene.market.base, 50)
    if end == "target":
        scene.market.quote(110)
    elif end == "stop":
        scene.market.quote(90)
    elif end == "close":
        scene.trade.close_by_market()
    else:
        scene.trade.cancel()
    before = scene.trade.orders()
    held = scene.account.balances()

    for price in (50, 200, 89, 111, 100):
        scene.market.quote(price)
        server.advance(600)

    assert scene.trade.orders() == before
    if end != "cancel" or kind == SPOT:  # a position that was left behind gains and loses
        assert scene.account.balances() == held


@pytest.mark.parametrize("end", ["target", "stop", "close", "cancel"])
def test_on_contracts_every_exit_only_reduces_and_none_outlives_its_trade(server: Server, end: str) -> None:
    """Fault F29, EX-26: though the first cancellations get lost."""
    scene = begin(server, FUTURES, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))
    scene.trade.add_funds(1, price="95")
    scene.account.fault("cancel", "timeout_before", times=2)
    if end == "target":
        scene.market.quote(110)
        scene.market.quote(120)
    elif end == "stop":
        scene.market.quote("95.01")
        scene.market.quote(90)
    elif end == "close":
        scene.trade.close_by_market()
    else:
        scene.trade.cancel()

    server.advance(60)

    entity = scene.trade.get()
    assert entity["status"]["type"] in ("finished", "stop_loss_finished", "panic_sold", "cancelled")
    assert scene.resting() == []
    assert all(order["reduce_only"] for order in scene.trade.orders() if order["side"] == "sell")
    assert not any(order["reduce_only"] for order in scene.trade.orders() if order["side"] == "buy")
    left = Decimal(entity["data"]["entered_amount"]) - Decimal(entity["data"]["closed_amount"])
    assert [Decimal(each["quantity"]) for each in scene.account.positions()] == ([left] if left else [])


def test_a_stop_that_follows_the_price_for_hours_beside_a_resting_target_sends_nothing() -> None:
    """Fault F30, SL-15: levels move in the server; the exchange hears of a stop when it fires."""
    story = Story(market(), [tp(150)], sl(90, trailing=True))
    story.heard()
    chance, price, highest = random.Random(30), D(100), D(100)
    for _ in range(2000):
        price = min(D(149), price + D(chance.randint(-100, 110)) / 100)
        highest = max(highest, price)
        price = max(price, highest * D("0.905"))
        story.quote(price).wait(1)
    assert highest > 140
    assert story.heard() == []
    assert story.book == {"tp1": "sell 10 @ 150"}


def test_a_partly_filled_exit_is_replaced_for_what_is_left_of_it_only() -> None:
    """Faults F31, F32: a limit stop, a target and a market close, each after a part."""
    story = Story(market(), [tp(110)], sl(90, at=89))
    story.quote(90, 95)
    assert story.book == {"sl": "sell 10 @ 89"}
    story.fill("sl", 4).cancelled("sl")
    assert story.book == {"sl": "sell 6 @ 89"}
    story.fill("sl", 1).forgotten("sl").force_process().wait(20)
    assert story.book == {"sl": "sell 5 @ 89"}
    story.close()
    assert (story.status, story.trade.closed.amount) == ("panic_sold", 10)


def test_resting_exits_offer_what_is_open_after_every_turn_of_a_story(server: Server) -> None:
    """Fault F32: nothing is offered twice, nothing is left without a target, except for what is on its way."""
    market, account = stage(server, lot="0.1")
    trade = account.create(
        market,
        position=buy("11.7"),
        take_profit=targets(("limit", "110", 30), ("limit", "120", 30), ("limit", "130", 40)),
        stop_loss=stop("80"),
    )

    def covered() -> None:
        figures = trade.get()["data"]
        left = Decimal(figures["entered_amount"]) - Decimal(figures["closed_amount"])
        offered = [
            Decimal(order["quantity"]) - Decimal(order["filled_quantity"])
            for order in trade.orders("open")
            if order["side"] == "sell"
        ]
        assert sum(offered) == left

    covered()
    account.fill(trade.orders("open")[0], "1.1")
    covered()
    trade.add_funds("3.3")
    covered()
    trade.reduce_funds("2.2")
    covered()
    account.fill(trade.orders("open")[0])
    covered()
    trade.reduce_funds("1.4", price="140")
    covered()
    account.fill(next(order for order in trade.orders("open") if order["price"] == "140.0"))
    covered()
    steps = trade.get()["take_profit"]["steps"][-2:]
    for step in steps:
        step["price"] = {"type": "bid", "value": "125"}
    account.fault("cancel", "timeout_after", times=2)
    trade.edit(take_profit={"enabled": True, "steps": steps})
    account.server.advance(10)
    covered()


def test_a_commission_in_the_coin_is_no_drift_that_anybody_corrects() -> None:
    """Fault F33, M-22: 9.99 are held, 9.9 are offered, and that is what there is to offer."""
    story = Story(market(), [tp(110)], sl(90), **FEE_IN_BASE)
    assert (story.open, story.book) == (D("9.99"), {"tp1": "sell 9.9 @ 110"})
    story.heard()
    story.quote(101).wait(3600).quote(102).restart().wait(3600)
    assert orders_asked_for(story.heard()) == []
    story.fill("tp1")
    assert (story.status, story.open) == ("finished", D("0.09"))


def test_a_stop_fires_once_whoever_sees_it_first() -> None:
    """Fault F34, C-9: price, timer, repeated price and a person, all at the same instant."""
    story = Story(market(), [tp(110), tp(85, at_market=True)][:1], sl(90, timeout=30))
    story.quote(89).wait("29.999")
    story.now += SECOND // 1000
    for _ in range(2):
        story.quote(88)
        story.tell(TimePassed())  # type: ignore[arg-type]
        story.quote(88)
    sold = [word for word in story.heard() if word.startswith("sell sl")]
    assert sold == ["sell sl 10 market"]
    assert (story.status, story.held) == ("stop_loss_finished", 0)


@both_kinds
def test_targets_and_stop_satisfied_by_one_price_send_one_exit(server: Server, kind: str) -> None:
    """Fault F34, TR-73: a last price over the target and a bid under the stop."""
    scene = begin(
        server,
        kind,
        take_profit={
            "enabled": True,
            "steps": [{"order_type": "market", "volume": 100, "price": {"type": "last", "value": "110"}}],
        },
    )

    scene.market.quote(90, 91, last=115)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]


def test_a_position_that_is_gone_settles_the_trade_at_the_first_refusal_and_tells_its_user_once() -> None:
    """Fault F35, S-32: no weeks of refused orders."""
    story = Story(market(), [tp(110)], sl(90), on=LINEAR)
    story.answers.extend([refused(K.REDUCE_ONLY, "would not reduce")] * 99)
    story.available = D(0)
    story.heard()
    story.quote(90).wait(3600).quote(80)
    assert (story.status, story.trade.error) == ("failed", "Position was closed outside of this trade")
    assert story.heard() == ["cancel tp1", "sell sl 10 market reduce-only", "read funds"]


@both_kinds
def test_a_limit_stop_that_the_price_jumped_over_stays_visible_and_can_be_closed_at_market(
    server: Server, kind: str
) -> None:
    """Fault F36, TR-49: documented to rest until filled, so nothing escalates by itself; a person can, at once."""
    scene = begin(server, kind, stop_loss=stop("90", "89.5"))

    scene.market.quote(85)
    server.advance(3600)

    scene.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "absent"})
    assert scene.resting() == [("sell", "10.0", "89.5")]
    scene.trade.close_by_market()
    scene.trade.expect({"status.type": "panic_sold", "data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["10.0"]


@both_kinds
def test_however_far_the_price_falls_during_a_timeout_the_timer_ends_when_it_was_said_to(
    server: Server, kind: str
) -> None:
    """Fault F37, TR-60 to TR-66: a deeper price does not begin it anew, and a person may close meanwhile."""
    slow = begin(server, kind, stop_loss=stop("90", timeout={"enabled": True, "value": 60}))
    impatient = begin(server, kind, stop_loss=stop("90", timeout={"enabled": True, "value": 60}))
    for scene in (slow, impatient):
        scene.market.quote(89)
    for price in (80, 70, 60):
        server.advance(10)
        slow.market.quote(price)
        impatient.market.quote(price)
    impatient.trade.close_by_market()
    impatient.trade.expect({"status.type": "panic_sold"})
    slow.trade.expect({"status.type": "waiting_targets"})
    server.advance("29.999")
    slow.trade.expect({"status.type": "waiting_targets"})
    server.advance("0.001")

    slow.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


def test_a_trailing_target_closes_at_its_line_even_below_the_target_and_the_entry() -> None:
    """Fault F38, TR-44: a wick armed it; it is neither undone nor armed anew, and it closes once."""
    story = Story(market(), [tp(105, trailing=10)], sl(80))
    story.heard()
    story.quote(105)
    assert story.legs("tp1") == "trailing_activated"
    story.quote(96).wait(3600)
    assert story.legs("tp1") == "trailing_activated"
    assert story.heard() == []
    story.quote("94.5")
    assert story.heard() == ["sell tp1 10 market"]
    assert (story.status, story.legs("sl")) == ("finished", "cancelled")


@pytest.mark.parametrize("seed", range(20))
def test_a_trailing_stop_fires_at_the_first_price_that_reaches_its_line_and_at_no_other(seed: int) -> None:
    """Fault F40, TR-50: the computed level is the level in force, at every price, over restarts and edits of others."""
    chance = random.Random(seed)
    story = Story(market(), [tp(500, 50), tp(600, 50)], sl(90, trailing=True))
    extreme = price = D(100)
    for _ in range(300):
        price = max(D(1), price + D(chance.randint(-300, 310)) / 100)
        extreme = max(extreme, price)
        story.quote(price)
        due = Fraction(price) * 100 <= Fraction(extreme) * 90
        assert story.stop.fired is due
        if due:
            break
        happening = chance.random()
        if happening < 0.05:
            story.restart().quote(price)
        elif happening < 0.1:
            story.edit(targets=[story.kept("tp1"), story.kept("tp2")])
    else:
        story.quote(extreme * D("0.9"))
    assert story.status == "stop_loss_finished"


def test_what_has_fired_is_not_watched_any_more_in_the_same_commit() -> None:
    """Fault F41: the state that says fired and the trigger that is gone are one step; a repeated price does nothing."""
    story = Story(market(), [tp(105, 50, at_market=True), tp(110, 50, at_market=True)], sl(90, trailing=True))
    story.fill_at_market = False
    story.quote(105)
    watched = {(step_id, role.value) for step_id, role in story._market.book.watches()}
    assert story.leg("tp1").id not in {step_id for step_id, _ in watched}
    story.heard()
    story.quote(105).quote(106)
    assert story.heard() == []
    story.fill("tp1")
    story.fill_at_market = True
    story.quote(90)
    assert len(story._market.book) == 0
    assert story.groups == {}


def test_thresholds_of_many_trades_on_one_pair_fire_for_their_own_trade_only() -> None:
    """Fault F42: every price wakes exactly the trades whose own levels it reaches."""
    story = Story()
    chance = random.Random(42)
    levels: dict[int, tuple[Decimal, Decimal]] = {}
    for _ in range(60):
        low, high = D(chance.randint(700, 990)) / 10, D(chance.randint(1010, 1300)) / 10
        kind = chance.choice([TradeKind.SMART_TRADE, TradeKind.SMART_SELL])
        entry = market(1) if kind is TradeKind.SMART_TRADE else own(100, 1)
        story.create(plan(kind, entry, [tp(high, at_market=True)], sl(low)))
        levels[story.trade_id] = low, high
    assert len(levels) == 60
    for price in (D(chance.randint(650, 1350)) / 10 for _ in range(40)):
        story.quote(price)
        for trade_id, (low, high) in list(levels.items()):
            status = story.look(trade_id).status.value
            expected = "stop_loss_finished" if price <= low else "finished" if price >= high else "waiting_targets"
            assert status == expected, (trade_id, price, low, high)
            if expected != "waiting_targets":
                del levels[trade_id]


@pytest.mark.parametrize("trouble", ["refused", "silent", "unfilled", "lost"])
def test_an_open_position_is_never_given_up_however_long_its_closing_order_comes_to_nothing(trouble: str) -> None:
    """Fault F69, EX-12, EX-5: hours of refusals, silence, orders that nobody takes or that get lost."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_at_market = trouble != "unfilled"
    if trouble == "refused":
        story.answers.extend([refused(K.PERMANENT, "Account locked")] * 5_000)
    elif trouble == "silent":
        story.answers.extend(["never arrives"] * 5_000)
        story.on_query = "silence"
    elif trouble == "lost":
        story.answers.extend(["never arrives"] * 5_000)
    story.quote(90)
    for _ in range(4):
        story.wait(1800)
        assert story.status == "stop_loss_in_progress"
        if trouble == "unfilled":
            assert story.book == {"sl": "sell 10 market"}
    words = story.heard()
    if trouble != "unfilled":
        assert len([word for word in words if word.startswith("alarm")]) == 1
    story.answers.clear()
    story.on_query = "tell"
    if trouble == "unfilled":
        story.fill("sl")
    story.wait(90)
    assert (story.status, story.held, story.trade.error) == ("stop_loss_finished", 0, None)


def test_a_price_from_before_our_newest_execution_arms_and_fires_nothing() -> None:
    """Fault F39, TR-6: averaging moved the target below prices that are still on their way."""
    story = Story(market(), [tp(percent=5, trailing=1)], sl(50), max_quote_age=10)
    story.quote(90).wait(2)
    story.on_quote = "silence"
    story.add(10).heard()  # the average falls to 95, the target to 99.75
    story.quote(104, age=1)  # stamped between the two: it has not seen the second purchase
    assert story.legs("tp1") == "to_process"
    assert story.heard() == ["ask price"]
    story.quote(90)
    assert story.legs("tp1") == "to_process"
    story.quote(104)
    assert story.legs("tp1") == "trailing_activated"


def test_the_price_that_stood_before_an_execution_is_asked_for_anew_before_it_decides() -> None:
    """Fault F39, AR-3: a level that was just armed is tested by a price that has seen the execution."""
    story = Story(limit(100), (), sl(95), bid=94, ask=101, max_quote_age=10)
    story.wait(5)
    story.on_quote = "silence"
    story.fill("entry")
    assert not story.stop.fired
    assert story.heard()[-1] == "ask price"
    story.quote(96)
    assert story.status == "waiting_targets"
    story.quote(95)
    assert story.status == "stop_loss_finished"


def test_an_exchange_whose_clock_is_ahead_does_not_put_a_stop_to_sleep() -> None:
    """Fault F39, TR-3: executions are stamped by the exchange's clock, prices by ours; only ours says what is old."""
    story = Story(limit(100), (), sl(95), bid=100, ask=101, max_quote_age=10)
    report = story.report_of("entry")
    fill = Fill(
        fill_id="ahead", price=D(100), quantity=D(10), fee=Money("USDT", D(0)), filled_at=story.now + 3600 * SECOND
    )
    story.orders[report.client_order_id].fills.append(fill)
    story.tell(replace(report, state=ReportedState.FILLED, filled_quantity=D(10), fills=(fill,)))
    story.wait(1).quote(95)
    assert story.status == "stop_loss_finished"
