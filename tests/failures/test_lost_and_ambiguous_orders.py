"""Lost, duplicated and ambiguous orders: F12 to F23 of the failure catalogue."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driver import Story, limit, market, plan, sl, tp
from harness import Server
from houses import House, breaks, pass_time, play_with
from msgspec.structs import replace
from scenes import FUTURES, SPOT, Scene, begin, buy, stage, stop, targets

from smarttrade.domain.order import OrderIntent, OrderReport, ReportedState
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.runtime import dispatcher

LONG = TradeKind.SMART_TRADE
both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])


@both_kinds
@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after"])
def test_whatever_became_of_an_unanswered_order_there_is_one_of_it_under_one_id(
    server: Server, kind: str, fault: str
) -> None:
    """Faults F12, F13, EX-31: on the way in and on the way out."""
    market, account = stage(server, kind)
    account.fault("submit", fault)
    trade = account.create(market, position=buy(), stop_loss=stop("90"))
    server.advance(60)
    trade.expect({"status.type": "waiting_targets", "data.entered_amount": "10.0"})
    account.fault("submit", fault)
    market.quote(90)
    server.advance(60)

    trade.expect({"status.type": "stop_loss_finished", "data.closed_amount": "10.0"})
    assert [(order["side"], order["status"]) for order in trade.orders()] == [("buy", "filled"), ("sell", "filled")]
    assert Scene(market, account, trade).is_settled()


def test_an_order_that_the_exchange_calls_a_duplicate_is_adopted_with_what_it_has_traded(server: Server) -> None:
    """Fault F14, EX-31: the copy is refused, so the first one is ours; it was executed unheard meanwhile."""
    market, account = stage(server)
    account.fault("submit", "timeout_after")
    account.fault("query", "not_found", times=4)
    account.fault("stream", "drop")
    trade = account.create(market, position=buy(limit="95"), stop_loss=stop("90"))
    account.fill(trade.order(), 4)

    server.advance(60)

    trade.expect({"data.entered_amount": "4.0", "status.type": "waiting_position"})
    assert [order["quantity"] for order in trade.orders()] == ["10.0"]


def test_an_outage_of_the_network_declares_no_order_lost(tmp_path: Path) -> None:
    """Fault F15: every call fails for ten minutes, in whatever way; then the books are as they were."""
    errors: list[Exception] = [ExchangeUnavailable("no route"), OSError("name resolution"), TimeoutError()]

    async def story(home: House) -> None:
        trade_id = await home.open_trade()

        async def unreachable(*_: Any) -> Any:
            errors.append(errors.pop(0))
            raise errors[-1]

        calls = ("submit_order", "cancel_order", "find_order", "search_order", "balances", "positions")
        breaks(home, **dict.fromkeys(calls, unreachable))
        await home.quote(54000)
        await pass_time(home, 600)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_IN_PROGRESS
        breaks(home)
        await pass_time(home, 60)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED
        assert [order.side.value for order in home.system.paper.orders()] == ["buy", "sell"]

    play_with(tmp_path, story)


def test_an_answer_about_another_order_is_not_believed(tmp_path: Path) -> None:
    """Fault F18: the exchange mixes up orders; what it says of another one changes neither, and ours is asked again."""

    async def story(home: House) -> None:
        first = await home.open_trade()
        other = home.system.paper.orders()[0].client_order_id
        real: Any = None

        async def of_another(key: Any, *_: Any) -> Any:
            return await real.find_order(key, other)

        async def mixed_up(intent: OrderIntent) -> Any:
            await real.submit_order(intent)
            return await real.find_order(intent.key, other)

        real = breaks(home, submit_order=mixed_up, find_order=of_another, search_order=of_another)
        before = home.trade(first)
        home.system.paper._listeners[home.account_id].clear()  # nothing is told by the stream either
        second = await home.open_trade()
        await pass_time(home, 120)
        assert home.trade(second).entered.gross_quantity == 0
        assert home.trade(second).status is TradeStatus.WAITING_POSITION
        assert home.trade(first) == before
        breaks(home)
        await pass_time(home, 60)
        assert home.trade(second).entered.gross_quantity == Decimal("0.01")

    play_with(tmp_path, story)


def test_an_order_that_lives_beside_the_one_that_is_over_is_taken_out_and_a_person_told() -> None:
    """Fault F19: one id of ours, two orders of theirs."""
    story = Story(market(), [tp(110, 50), tp(120, 50)], sl(90))
    story.fill("tp1").heard()
    copy = replace(story.report_of("tp1"), venue_order_id="copy", state=ReportedState.OPEN, fills=())
    story.tell(replace(copy, filled_quantity=Decimal(0)))
    assert story.heard() == ["alarm Order turned up after it was written off", "cancel tp1"]
    assert story.legs("tp1", "tp2") == "finished order_placed"


def test_an_order_that_was_written_off_and_lives_is_taken_out_and_a_person_told() -> None:
    """Fault F19, EX-33: the trade is over, its order comes to life."""
    story = Story(start=False)
    story.answers.append("never arrives")
    story.create(plan(LONG, limit(90), [tp(110)])).cancel().wait(30)
    assert story.status == "cancelled"
    story.heard()
    story.tell(story.venue_has("entry"))
    assert story.heard() == ["alarm Order turned up after it was written off", "cancel entry"]


@pytest.mark.parametrize("state", [ReportedState.CANCELED, ReportedState.REJECTED, ReportedState.FILLED])
def test_the_end_of_a_replaced_half_is_not_the_end_of_the_order_that_lives(state: ReportedState) -> None:
    """Fault F20: the end is proven by a query, and nothing is sent in its place before."""
    story = Story(market(), [tp(110)], sl(90))
    story.heard()
    half = replace(story.report_of("tp1"), venue_order_id="the half before", state=state)
    story.tell(half)
    assert story.heard() == ["query tp1"]
    assert story.legs("tp1") == "order_placed"
    assert story.book == {"tp1": "sell 10 @ 110"}
    assert story.wait(600).heard() == []


def test_fills_of_a_replaced_half_count() -> None:
    """Fault F20, EX-1."""
    story = Story(market(), [tp(110)], sl(90))
    story.fill_unheard("tp1", 4)
    report: OrderReport = replace(story.report_of("tp1"), venue_order_id="the half before")
    story.tell(replace(report, state=ReportedState.CANCELED))
    assert story.trade.closed.amount == 4
    assert story.book == {"tp1": "sell 6 @ 110"}


@pytest.mark.parametrize("call", ["submit_order", "cancel_order", "find_order"])
def test_a_call_that_never_returns_counts_as_silence_and_another_call_finds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Fault F21: every call has a deadline; after it the order is looked for, first by a query, then by a search."""
    monkeypatch.setattr(dispatcher, "DEADLINE", 0.001)
    hung: list[object] = []

    async def story(home: House) -> None:
        trade_id = await home.open_trade()

        async def hangs(*_: Any) -> Any:
            hung.append(call)
            await asyncio.get_running_loop().create_future()

        breaks(home, **{call: hangs})
        await home.quote(54000)
        if call == "find_order":
            breaks(home, find_order=hangs, submit_order=hangs)
        await pass_time(home, 30)
        breaks(home)
        await pass_time(home, 60)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED
        assert [order.side.value for order in home.system.paper.orders()] == ["buy", "sell"]

    play_with(tmp_path, story)


@both_kinds
def test_what_is_shown_as_placed_is_what_rests_at_the_exchange_after_every_turn_of_a_story(
    server: Server, kind: str
) -> None:
    """Fault F23: partial fills, repetitions, lost reports, edits: no ghost is shown and nothing real is hidden."""
    scene = begin(server, kind, take_profit=targets(("limit", "110", 50), ("limit", "120", 50)))

    def shown_is_real() -> None:
        placed = [each["id"] for each in scene.trade.trades() if each["status"] == "order_placed"]
        assert sorted(placed) == sorted(order["trade_id"] for order in scene.trade.orders("open"))
        assert scene.is_settled()

    shown_is_real()
    first, _ = scene.trade.orders("open")
    scene.account.fill(first, 2)
    shown_is_real()
    scene.account.fault("stream", "duplicate")
    scene.account.fill(first, 1)
    shown_is_real()
    scene.trade.add_funds(2, price="95")
    shown_is_real()
    scene.account.fault("stream", "drop")
    scene.account.fill(next(order for order in scene.trade.orders("open") if order["side"] == "buy"))
    scene.trade.force_process()
    shown_is_real()
    steps = scene.trade.get()["take_profit"]["steps"]
    scene.trade.cancel_trade(steps[1]["id"])
    shown_is_real()
    scene.market.quote(90)
    shown_is_real()
    scene.trade.expect({"status.type": "stop_loss_finished"})
