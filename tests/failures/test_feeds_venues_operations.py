"""Feeds, venues, operations: F53 to F68 of the failure catalogue."""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from driver import FEE, LINEAR, D, Story, limit, refused, sl, tp
from driver import SPOT as COINS
from harness import Server
from houses import KEY, PLAN, STOP, House, breaks, pass_time, play_with
from msgspec.structs import replace
from scenes import FUTURES, SPOT, STOPPED, begin, buy, stage, stop, targets

from smarttrade.api.services import Health
from smarttrade.cli import server as cli
from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.errors import Denied
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderType, RefusalKind
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.watches import is_stop_watched
from smarttrade.engine.engine import Engine
from smarttrade.engine.inputs import InstrumentChanged
from smarttrade.ports.storage import Batch, StorageUnavailable

WELL = Health(stores=True, hears_prices=True, pairs_without_price=0)

both_kinds = pytest.mark.parametrize("kind", [SPOT, FUTURES])


@both_kinds
def test_what_a_silent_stream_kept_back_is_found_before_anything_is_sold_twice(server: Server, kind: str) -> None:
    """Faults F53, F55: the target was executed, nobody said so; the stop looks before it sells."""
    scene = begin(server, kind)
    scene.account.fault("stream", "drop", times=1000)
    scene.account.fill(scene.trade.order(), 4)
    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "0.0"})

    scene.market.quote(90)
    server.advance(60)

    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})
    assert scene.sold_at_market() == ["6.0"]
    assert scene.is_settled()
    scene.account.clear_faults()


@both_kinds
def test_a_stream_that_is_up_and_silent_for_hours_hides_no_fill_longer_than_a_minute(server: Server, kind: str) -> None:
    """Faults F53, F55: the exchange's list of open orders is compared with ours, whatever the stream says or not."""
    scene = begin(server, kind)
    scene.account.fault("stream", "drop", times=1000)
    scene.account.fill(scene.trade.order(), 4)
    server.advance(60)
    scene.trade.expect({"status.type": "waiting_targets", "data.closed_amount": "4.0"})

    server.advance(4 * 3600)
    scene.account.fill(scene.trade.order())
    server.advance(60)

    scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})
    assert scene.is_settled()


def test_a_fill_that_the_stream_missed_is_found_by_a_refresh_by_its_return_and_by_a_restart(tmp_path: Path) -> None:
    """Fault F55, EX-35, EX-36: no bot waits for a person to restart it by luck."""
    with Server(tmp_path) as server:
        for way in ("refresh", "stream", "restart"):
            scene = begin(server)
            scene.account.fault("stream", "drop", times=1000)
            scene.account.fill(scene.trade.order())
            scene.trade.expect({"status.type": "waiting_targets"})
            if way == "refresh":
                scene.trade.force_process()
            elif way == "stream":
                scene.account.clear_faults()
            else:
                server.restart()
            scene.trade.expect({"status.type": "finished", "data.closed_amount": "10.0"})


def test_a_quiet_pair_is_served_in_its_turn_among_thousands_of_prices_of_a_busy_one(server: Server) -> None:
    """Fault F57: one price of its own, in the middle of the storm, is enough, and is not late."""
    quiet, busy = begin(server), begin(server)
    storm = [
        {"market": busy.market.code, "pair": busy.market.pair, "bid": str(100 + n % 5), "ask": "106"}
        for n in range(1000)
    ]
    once = {"market": quiet.market.code, "pair": quiet.market.pair, "bid": "90", "ask": "90"}
    last = {"market": busy.market.code, "pair": busy.market.pair, "bid": "90", "ask": "90"}

    server.quotes(*storm[:500], once, *storm[500:], last)

    quiet.trade.expect(STOPPED | {"data.closed_total": "899.1"})  # at its own price
    busy.trade.expect(STOPPED)
    first, second = quiet.trade.orders()[-1], busy.trade.orders()[-1]
    assert first["sequence"] < second["sequence"]


@both_kinds
def test_no_stop_rests_at_the_exchange_so_none_can_be_lost_there(server: Server, kind: str) -> None:
    """Fault F59, SL-15: whatever the stop is made of, the exchange only ever sees market and limit orders."""
    kinds = (
        stop("90"),
        stop("90", "89.5"),
        stop("90", timeout={"enabled": True, "value": 5}),
        {**stop("90"), "conditional": {"price": {"type": "bid", "value": "90"}, "trailing": {"enabled": True}}},
    )
    for group in kinds:
        scene = begin(server, kind, take_profit={"enabled": False}, stop_loss=group)
        assert scene.resting() == []
        scene.market.quote(90)
        server.advance(5)
        scene.trade.expect(STOPPED)
        assert {order["type"] for order in scene.trade.orders()} <= {"market", "limit"}


def test_a_rate_limit_is_met_with_pauses_and_never_with_a_storm(tmp_path: Path) -> None:
    """Fault F60, EX-7, EX-12: ten minutes of "too many requests"; exits are asked for first and all of them arrive."""

    async def story(home: House) -> None:
        trades = [await home.open_trade() for _ in range(5)]
        calls: Counter[str] = Counter()
        attempts: list[str] = []
        real: Any = None

        async def limited(intent: OrderIntent) -> OrderRefused:
            calls["submit"] += 1
            attempts.append(intent.side.value)
            return OrderRefused(client_order_id=intent.client_order_id, kind=RefusalKind.TRANSIENT, text="429")

        async def counted(*asked: Any) -> Any:
            calls["query"] += 1
            return await real.find_order(*asked)

        real = breaks(home, submit_order=limited, find_order=counted)
        await home.quote(54000)
        await pass_time(home, 600)
        minutes = 10
        assert all(home.trade(trade_id).status is TradeStatus.STOP_LOSS_IN_PROGRESS for trade_id in trades)
        assert calls["submit"] <= len(trades) * (5 + 2 * minutes)
        assert calls["query"] <= len(trades) * (5 + 2 * minutes)
        breaks(home)
        await pass_time(home, 60)
        assert all(home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED for trade_id in trades)

    play_with(tmp_path, story)


def test_ways_out_are_sent_before_targets_that_can_wait() -> None:
    """Fault F60, AR-1, AR-2: what one price asks for goes out in the order of need."""
    story = Story(limit(100), [tp(110, 50), tp(120, 50)], sl(90), ask=101)
    story.fill("entry").add(4, 95)
    story.fill_at_market = False
    story.close_leg("tp2").heard()
    story.fill("avg1")  # the first target grows with it, the second is on its way out
    sent = [word for word in story.heard() if word.startswith("sell")]
    assert sent == sorted(sent, key=lambda word: "market" not in word)


def test_a_book_without_bids_proves_nothing_about_the_funds_of_a_refused_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TR-6, EX-10, EX-12: at its lonely ask the account could buy nothing back, and the trade would count as failed."""
    cover = replace(
        PLAN, kind=TradeKind.SMART_COVER, stop=replace(STOP, price_type=PriceType.ASK, price=Decimal(65000))
    )

    async def story(home: House) -> None:
        trade_id, latest = await home.open_trade(cover), home.system.market.latest
        asked = []

        async def refusing(intent: OrderIntent) -> OrderRefused:
            asked.append(intent)
            kind = RefusalKind.INSUFFICIENT_FUNDS
            return OrderRefused(client_order_id=intent.client_order_id, kind=kind, text="no money")

        def without_bids(key: InstrumentKey) -> Quote:
            standing = latest(key)
            assert standing is not None
            return replace(standing, bid=Decimal(0), ask=Decimal(10**9))

        breaks(home, submit_order=refusing)
        with monkeypatch.context() as odd:
            odd.setattr(home.system.market, "latest", without_bids)
            await home.quote(66000)
        assert len(asked) == 1
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_IN_PROGRESS
        breaks(home)
        await pass_time(home, 1)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED

    play_with(tmp_path, story)


@pytest.mark.parametrize("error", [RuntimeError("429"), KeyError("code"), OSError("reset"), ValueError("not JSON")])
def test_an_exchange_that_breaks_in_its_adapter_harms_its_own_account_only(tmp_path: Path, error: Exception) -> None:
    """Fault F61: what it does not catch counts as silence; the other account trades on, and so does this one later."""

    async def story(home: House) -> None:
        other = await home.system.open_paper_account(1, "other", KEY.market, {"USDT": Decimal(10_000)})
        plan = SmartTradePlan(
            kind=TradeKind.SMART_TRADE,
            entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01")),
            stop=StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(55000)),
        )
        ours = await home.open_trade()
        theirs = await home.system.runner.execute(CreateTrade(account_id=other.id, key=KEY, plan=plan))
        await home.system.runner.settled()

        async def broken(*_: Any) -> Any:
            raise error

        breaks(home, submit_order=broken, find_order=broken, cancel_order=broken, search_order=broken)
        await home.quote(54000)
        await pass_time(home, 300)
        assert home.trade(theirs.id).status is TradeStatus.STOP_LOSS_FINISHED
        assert home.trade(ours).status is TradeStatus.STOP_LOSS_IN_PROGRESS
        assert home.system.runner.healthy
        assert not home.system.broken.is_set()
        breaks(home)
        await pass_time(home, 60)
        assert home.trade(ours).status is TradeStatus.STOP_LOSS_FINISHED

    play_with(tmp_path, story)


@both_kinds
def test_revoked_keys_suspend_a_trade_visibly_and_never_fail_it(server: Server, kind: str) -> None:
    """Fault F62, EX-38, EX-12: for a day every call is refused; then the keys work again."""
    scene = begin(server, kind)
    scene.refuse("submit", "Invalid API-key, IP, or permissions for action.", "permanent", times=100_000)

    scene.market.quote(90)
    server.advance(24 * 3600)

    scene.trade.expect(
        {
            "status.type": "stop_loss_in_progress",
            "status.error": "Invalid API-key, IP, or permissions for action.",
            "data.closed_amount": "0.0",
        }
    )
    scene.account.clear_faults()
    server.advance(60)
    scene.trade.expect(STOPPED | {"data.closed_amount": "10.0"})


def test_a_pair_that_is_delisted_suspends_its_trade_with_the_reason_and_the_rest_runs(server: Server) -> None:
    """Fault F64, EX-12: attempts have pauses, the loop stays free, another pair of another account is served."""
    gone, other = begin(server), begin(server)
    gone.refuse("submit", "Invalid symbol.", "permanent", times=100_000)
    gone.market.quote(90)
    server.advance(3600)

    gone.trade.expect({"status.type": "stop_loss_in_progress", "status.error": "Invalid symbol."})
    tries = [order for order in gone.trade.orders() if order["status"] == "rejected"]
    assert len(tries) <= 70
    other.market.quote(90)
    other.trade.expect(STOPPED)
    gone.account.set_balance(gone.market.base, 0)  # its owner has taken the coins elsewhere
    gone.account.clear_faults()
    gone.refuse("submit", "Insufficient balance", "recoverable")
    server.advance(60)
    gone.trade.expect({"status.type": "failed", "status.error": "Insufficient funds"})


def test_a_replay_of_all_that_was_ever_reported_changes_nothing_and_asks_for_nothing() -> None:
    """Fault F65, EX-1: in any order, before and after the end."""
    story = Story(limit(99), [tp(110, 50), tp(120, 50)], sl(90), ask=101, **FEE)
    told: list[Any] = []

    def note() -> None:
        told.extend(order.report(*order.fills) for order in story.orders.values())

    for step in (
        lambda: story.fill("entry", 4),
        lambda: story.fill("entry"),
        lambda: story.fill("tp1", 2),
        lambda: story.add(3),
        lambda: story.edit(targets=[story.kept("tp1"), story.kept("tp2", price=D(125))]),
        lambda: story.fill("tp1"),
        lambda: story.quote(90),
    ):
        step()
        note()
        before, book = story.trade, story.book
        story.heard()
        for report in (*told, *reversed(told)):
            story.tell(report)
        assert story.trade.entered == before.entered
        assert story.trade.closed == before.closed
        assert story.trade.status is before.status
        assert story.book == book
        assert [word for word in story.heard() if not word.startswith("query")] == []
    assert story.status == "stop_loss_finished"


@both_kinds
def test_a_gap_through_the_stop_sells_at_the_price_after_the_gap(server: Server, kind: str) -> None:
    """Fault F66, TR-71: the worse of level and market, never the level that nobody paid."""
    scene = begin(server, kind)

    scene.market.quote(70, 71)

    scene.trade.expect(STOPPED | {"data.closed_total": "699.3"})


@both_kinds
def test_an_entry_filled_by_a_gap_below_its_stop_leaves_at_once(server: Server, kind: str) -> None:
    """Fault F66, AR-3, TR-4: the price that filled it has passed its stop already; it does not stay without an exit."""
    market, account = stage(server, kind)
    trade = account.create(
        market, position=buy(limit="95"), take_profit=targets(("limit", "110", 100)), stop_loss=stop("90")
    )

    market.quote(80)

    trade.expect(STOPPED | {"data.entered_total": "950.95", "data.closed_total": "799.2"})


def test_an_entry_filled_by_a_gap_above_its_target_leaves_by_the_target(server: Server) -> None:
    """Fault F66, TR-70, TR-40."""
    market, account = stage(server)
    trade = account.create(
        market,
        position={
            "type": "buy", "order_type": "conditional", "units": {"value": "10"},
            "conditional": {"price": {"type": "ask", "value": "105"}, "order_type": "market"},
        },
        take_profit=targets(("limit", "110", 100)), stop_loss=stop("90"),
    )  # fmt: skip

    market.quote(120)

    trade.expect({"status.type": "finished", "data.entered_total": "1201.2", "data.closed_total": "1198.8"})


Happening = Callable[[Story], object]

PROTECTED_TURNS: list[Happening] = [
    lambda story: story.quote(D(95)),
    lambda story: story.quote(D(104)),
    lambda story: story.fill(sorted(story.book)[0], D("0.5")) if story.book else None,
    lambda story: story.add(1),
    lambda story: story.add(1, 93),
    lambda story: story.reduce(1) if story.status == "waiting_targets" else None,
    lambda story: story.edit(stop=sl(85)) if story.status == "waiting_targets" else None,
    lambda story: story.edit(stop=sl(88, trailing=True)) if story.status == "waiting_targets" else None,
    lambda story: story.edit(targets=[tp(112, 50), tp(125, 50)]) if story.status == "waiting_targets" else None,
    lambda story: story.restart(),
    lambda story: setattr(story, "on_cancel", "silence"),
    lambda story: setattr(story, "on_cancel", "confirm"),
    lambda story: story.answers.append(refused(RefusalKind.TRANSIENT)),
    lambda story: story.answers.append("answer is lost"),
    lambda story: story.wait(7),
]


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_an_open_position_has_its_stop_after_every_single_input(
    seed: int, linear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F67, SL-15, EX-25: the gap without protection is measured in inputs, and it is zero.

    Targets rest on the same coins all the while: the stop needs none of them before it fires.
    """
    chance = random.Random(seed)
    story = Story(limit(100), [tp(110, 50), tp(120, 50)], sl(90), ask=101, on=LINEAR if linear else COINS)
    guarded: list[bool] = []
    handle = Engine.handle

    def measured(engine: Engine, given: Any, now: int) -> Any:
        answer = handle(engine, given, now)
        trade = engine.trades.get(story.trade_id)
        is_starting = isinstance(given, InstrumentChanged)  # rules are read before trades: no price has come yet
        if trade is not None and trade.open_amount > 0 and not is_starting:
            guarded.append(is_guarded(story, trade))
        return answer

    monkeypatch.setattr(Engine, "handle", measured)
    story.fill("entry", 3)
    story.fill("entry")
    for _ in range(60):
        if not story.trade.status.is_final:
            with suppress(Denied):
                chance.choice(PROTECTED_TURNS)(story)
    assert len(guarded) > 30
    assert guarded.count(False) == 0


def is_guarded(story: Story, trade: SmartTrade) -> bool:
    """Its stop is armed, or will be by the first price there is, or has fired and closes until nothing is left (EX-12).

    A trailing stop that an edit brings before the first price after a start needs one to follow (TR-53): there is no
    price yet that could fire any stop.
    """
    if trade.status is TradeStatus.STOP_LOSS_IN_PROGRESS:
        return trade.stop is not None and trade.stop.fired
    if trade.stop is not None and trade.stop.awaits_price:
        return story._market.quote is None and trade.id in story._market.awaiting
    armed = {step_id for step_id, _ in story._market.book.watches()}
    return is_stop_watched(trade) and trade.stop is not None and trade.stop.id in armed


def test_everything_fires_at_once_in_a_hundredfold_storm_of_prices_and_each_exit_goes_out_once(server: Server) -> None:
    """Fault F68: 200 positions on ten pairs, a crash within 1000 prices, a command in between; counted, not timed."""
    chance = random.Random(68)
    pairs = [server.market() for _ in range(10)]
    account = server.account(pairs[0], USDT=100_000_000)
    for pair in pairs:
        pair.quote(100)
    trades = []
    for number in range(200):
        exits = {"take_profit": targets(("limit", "130", 50), ("market", "140", 50))} if number % 2 else {}
        trades.append(
            account.create(pairs[number % 10], position=buy(str(1 + number % 7)), stop_loss=stop("90"), **exits)
        )
    calm = [
        {"market": "binance", "pair": chance.choice(pairs).pair, "bid": str(price), "ask": str(price + 1)}
        for price in (chance.randint(91, 128) for _ in range(900))
    ]
    crash = [{"market": "binance", "pair": pair.pair, "bid": "85", "ask": "86"} for pair in pairs]

    server.quotes(*calm[:450])
    trades[0].close_by_market()
    server.quotes(*calm[450:], *crash, *crash)

    assert Counter(trade.status for trade in trades) == {"stop_loss_finished": 199, "panic_sold": 1}
    sold: Counter[int] = Counter()
    traded = {"buy": Decimal(0), "sell": Decimal(0)}
    for order in account.orders():
        traded[order["side"]] += Decimal(order["filled_quantity"])
        if (order["side"], order["type"]) == ("sell", "market"):
            sold[order["smart_trade_id"]] += 1
    assert sold == {trade.id: 1 for trade in trades}
    assert traded["buy"] == traded["sell"]
    assert account.orders("open") == []


def test_a_pair_without_any_price_is_refused_by_name_instead_of_waiting_for_ever(server: Server) -> None:
    """Fault F58: nobody is left with an order that no price will ever fill; with the first price it is taken."""
    market = server.market()
    account = server.account(market, USDT=10_000)
    for position in (buy(), buy(limit="95")):
        answer = account.request(market, position=position, take_profit={"enabled": False}, stop_loss=stop("90"))
        assert answer.status == 422
        assert answer.body["error_attributes"] == {"pair": [f"No market data for this pair: {market.pair}"]}
    assert account.orders() == []

    market.quote(100)
    account.create(market, position=buy(), stop_loss=stop("90")).expect({"status.type": "waiting_targets"})


def test_a_stop_without_a_price_shows_in_the_health_of_the_server(tmp_path: Path) -> None:
    """Faults F58, F7: that a pair is not listed any more, and its stop cannot fire, is not only to be read in a log."""
    with Server(tmp_path) as server:
        scene = begin(server)
        assert called(server) is None
        server.kill()
        with sqlite3.connect(tmp_path / "smarttrade.db") as database:
            database.execute("DELETE FROM sandbox_instruments WHERE pair = ?", [scene.market.pair])
        database.close()
        server.start()
        reason = "prices are missing for 1 of the watched pairs: stops cannot fire there"
        assert called(server) == f"The server cannot watch every stop: {reason}"
        scene.trade.cancel()
        assert called(server) is None


def called(server: Server) -> str | None:
    """What whoever looks after the server is told."""
    return cli.Server(server.url).health()


def test_a_disk_without_room_shows_in_the_health_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F68: nothing that a stop decides can leave."""

    async def story(home: House) -> None:
        seen = []

        async def full(_: Batch) -> None:
            monkeypatch.undo()
            raise StorageUnavailable("disk full")

        monkeypatch.setattr(home.system.store, "commit", full)
        opening = asyncio.create_task(home.open_trade())
        while not opening.done():
            seen.append(home.system.health())
            await asyncio.sleep(0)
        assert set(seen) == {WELL, replace(WELL, stores=False)}
        assert home.system.health() == WELL

    play_with(tmp_path, story)


def test_a_price_source_that_breaks_is_started_again_and_the_stop_fires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault F58, EX-34: prices do not end with the first exception of whoever brings them, and meanwhile it shows."""

    async def story(home: House) -> None:
        trade_id = await home.open_trade()
        run, starts, again = home.system.market.run, [0], asyncio.Event()

        async def broken() -> None:
            starts[0] += 1
            if starts[0] <= 3:
                raise RuntimeError("the feed is broken")
            again.set()
            await run()

        unheard = []

        async def at_once(_: float) -> None:
            unheard.append(home.system.health().hears_prices)

        monkeypatch.setattr(home.system.market, "run", broken)
        with monkeypatch.context() as patched:
            patched.setattr("smarttrade.app.asyncio.sleep", at_once)
            running = asyncio.create_task(home.system._run_market())
            await again.wait()
        assert starts == [4]
        assert unheard == [False] * 3
        assert home.system.health() == WELL
        await home.quote(54000)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED
        running.cancel()

    play_with(tmp_path, story)
