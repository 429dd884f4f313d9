"""Trouble around the engine leaves no stop unwatched: storage, listeners, price sources, our own mistakes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from smarttrade import app
from smarttrade.adapters.exchanges.paper.exchange import PaperMarket
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import AddFunds, CreateTrade, SetNote
from smarttrade.domain.events import TimeReached
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.engine.inputs import TimePassed, TradeHappened
from smarttrade.ports.exchange import ExchangeUnavailable
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.ports.storage import Batch, StorageUnavailable
from smarttrade.runtime.inbox import MAX_WAITING_PRICES
from smarttrade.runtime.runner import MAX_BATCH, EngineFault
from smarttrade.settings import Settings

KEY = InstrumentKey("binance", "USDT_BTC")

STOP = StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(55000))
PLAN = SmartTradePlan(
    kind=TradeKind.SMART_TRADE, entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01")), stop=STOP
)


class House:
    """A system on the sandbox's market, with one paper account."""

    def __init__(self, system: app.System, account_id: int) -> None:
        self.system = system
        self.account_id = account_id

    async def quote(self, price: int) -> None:
        assert self.system.services.sandbox is not None
        await self.system.services.sandbox.post(
            [PostedQuote(market=KEY.market, pair=KEY.pair, bid=Decimal(price), ask=Decimal(price))]
        )

    async def open_trade(self, plan: SmartTradePlan = PLAN) -> int:
        trade = await self.system.runner.execute(CreateTrade(account_id=self.account_id, key=KEY, plan=plan))
        await self.system.runner.settled()
        return trade.id

    def trade(self, trade_id: int) -> SmartTrade:
        found = self.system.view.trade(trade_id)
        assert found is not None
        return found


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[House]:
    system = await app.open_system(Settings(data_dir=directory, market=app.SANDBOX), open_database(directory))
    first = await app.first_start(system)
    account_id = system.directory.all_accounts()[0].id if first is None else first.account_id
    await system.ensure_instrument(KEY)
    try:
        yield House(system, account_id)
    finally:
        await system.close()


def play(directory: Path, story: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with house(directory) as open_house:
            await open_house.quote(60000)
            await story(open_house)

    asyncio.run(whole())


def test_a_trailing_stop_of_a_hundred_percent_never_fires_and_harms_nobody(tmp_path: Path) -> None:
    """TR-46, TR-51."""
    never = replace(PLAN, stop=replace(STOP, trailing=True, trailing_percent=Decimal(100)))

    async def story(home: House) -> None:
        odd, other = await home.open_trade(never), await home.open_trade()
        await home.quote(70000)
        await home.quote(54000)
        assert home.trade(odd).status is TradeStatus.STOP_LOSS_FINISHED  # at its own level, not by trailing
        assert home.trade(other).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, story)


def test_a_broken_rule_leaves_memory_and_disk_alike_and_the_stop_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(home: House) -> None:
        trade_id = await home.open_trade()
        before = home.trade(trade_id)
        with monkeypatch.context() as broken:

            def fail(*_: object) -> None:
                raise RuntimeError("a mistake of ours")

            broken.setattr(home.system.engine, "_sync_triggers", fail)
            with pytest.raises(EngineFault):
                await home.system.runner.execute(SetNote(trade_id=trade_id, note="x"))
        assert home.trade(trade_id) == before == home.system.store.trade(trade_id)
        await home.system.runner.execute(SetNote(trade_id=trade_id, note="y"))  # the journal has no number twice
        await home.quote(54000)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, story)


def test_an_event_lost_to_a_broken_rule_is_found_out_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F8: a stop whose timeout ran out at that moment still fires."""
    waiting = replace(PLAN, stop=replace(STOP, timeout_seconds=30))

    async def story(home: House) -> None:
        trade_id = await home.open_trade(waiting)
        await home.quote(54000)
        assert home.system.services.sandbox is not None
        with monkeypatch.context() as broken:

            def fail(*_: object) -> None:
                raise RuntimeError("a mistake of ours")

            broken.setattr("smarttrade.domain.stop_loss.time_reached", fail)
            await home.system.services.sandbox.advance(30 * SECOND)
        assert home.trade(trade_id).status is TradeStatus.WAITING_TARGETS
        await home.system.services.sandbox.advance(60 * SECOND)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, story)


def test_nothing_is_answered_while_nothing_can_be_stored_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(home: House) -> None:
        commit, refused = home.system.store.commit, [StorageUnavailable("disk full")] * 3

        async def failing(batch: Batch) -> None:
            if refused:
                raise refused.pop()
            await commit(batch)

        monkeypatch.setattr(home.system.store, "commit", failing)
        trade_id = await home.open_trade()
        assert refused == []
        assert home.trade(trade_id).status is TradeStatus.WAITING_TARGETS
        assert home.system.runner.healthy

    play(tmp_path, story)


def test_an_engine_that_cannot_go_on_says_so_and_a_new_start_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down() -> None:
        async with house(tmp_path) as home:
            await home.quote(60000)
            await home.open_trade()

            async def broken(_: Batch) -> None:
                raise RuntimeError("a mistake of ours")

            monkeypatch.setattr(home.system.store, "commit", broken)
            with pytest.raises(EngineFault):
                await home.system.runner.execute(
                    AddFunds(trade_id=1, order_type=OrderType.MARKET, units=Decimal("0.01"))
                )
            await home.system.broken.wait()
            with pytest.raises(EngineFault):
                await home.system.runner.execute(SetNote(trade_id=1, note="too late"))

    async def come_back() -> None:
        async with house(tmp_path) as home:
            await home.quote(54000)
            assert home.trade(1).status is TradeStatus.STOP_LOSS_FINISHED

    asyncio.run(break_down())
    monkeypatch.undo()
    asyncio.run(come_back())


@pytest.mark.parametrize(
    ("owner", "method", "error"),
    [
        (PaperMarket, "add_account", ExchangeUnavailable("disk full")),
        (PaperMarket, "resume", ExchangeUnavailable("disk full")),
        (app.System, "ensure_instrument", StorageUnavailable("disk full")),
    ],
)
def test_a_start_waits_for_room_on_the_disk_and_then_watches_every_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: Exception
) -> None:
    """EX-36: otherwise the process would be gone at the first full disk, and no stop watched."""

    async def before(home: House) -> None:
        await home.open_trade()

    async def after() -> None:
        async with house(tmp_path) as home:
            assert refused == []
            await home.quote(54000)
            assert home.trade(1).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, before)
    real, refused = getattr(owner, method), [error] * 2

    async def failing(*args: Any) -> Any:
        if refused:
            raise refused.pop()
        return await real(*args)

    monkeypatch.setattr(owner, method, failing)
    asyncio.run(after())


def test_callers_who_wait_when_the_engine_stops_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(home: House) -> None:
        trade_id = await home.open_trade()
        at_disk, disk = asyncio.Event(), asyncio.Event()

        async def broken(_: Batch) -> None:
            at_disk.set()
            await disk.wait()
            raise RuntimeError("a mistake of ours")

        monkeypatch.setattr(home.system.store, "commit", broken)
        notes = [SetNote(trade_id=trade_id, note=text) for text in ("at the disk", "behind it")]
        first = asyncio.create_task(home.system.runner.execute(notes[0]))
        await at_disk.wait()
        second = asyncio.create_task(home.system.runner.execute(notes[1]))
        await asyncio.sleep(0)
        disk.set()
        for _ in range(50):  # everything that is ready has had its turn
            await asyncio.sleep(0)
        assert (first.done(), second.done()) == (True, True)
        assert [type(each.exception()) for each in (first, second)] == [EngineFault, EngineFault]
        monkeypatch.undo()

    play(tmp_path, story)


def test_a_listener_that_breaks_stops_nothing(tmp_path: Path) -> None:
    async def story(home: House) -> None:
        def broken(_: object) -> None:
            raise RuntimeError("a mistake of ours")

        home.system.runner.listen(broken)
        trade_id = await home.open_trade()
        await home.quote(54000)
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, story)


def test_a_price_that_the_paper_exchange_could_not_store_still_fires_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EX-34."""

    async def story(home: House) -> None:
        trade_id = await home.open_trade()

        async def failing(_: object) -> None:
            raise ExchangeUnavailable("disk full")

        with monkeypatch.context() as broken:
            broken.setattr(home.system.paper, "apply", failing)
            await home.quote(54000)
        assert home.trade(trade_id).status in (TradeStatus.STOP_LOSS_IN_PROGRESS, TradeStatus.STOP_LOSS_FINISHED)

    play(tmp_path, story)


def test_after_a_restart_a_trade_that_is_over_still_takes_a_note(tmp_path: Path) -> None:
    async def finish() -> None:
        async with house(tmp_path) as home:
            await home.quote(60000)
            await home.open_trade()
            await home.quote(54000)

    async def annotate() -> None:
        async with house(tmp_path) as home:
            trade = await home.system.runner.execute(SetNote(trade_id=1, note="learned"))
            assert (trade.status, trade.note) == (TradeStatus.STOP_LOSS_FINISHED, "learned")

    asyncio.run(finish())
    asyncio.run(annotate())


def test_a_new_extreme_that_waits_for_a_commit_survives_an_orderly_end(tmp_path: Path) -> None:
    trailing = replace(PLAN, stop=replace(STOP, trailing=True))

    async def rise() -> None:
        async with house(tmp_path) as home:
            home.system.runner._extremes_delay = SECOND  # as with live prices
            await home.quote(60000)
            await home.open_trade(trailing)
            await home.quote(66000)
            await home.quote(65000)

    async def look() -> None:
        async with house(tmp_path) as home:
            trail = home.trade(1).stop
            assert trail is not None
            assert trail.trail is not None
            extreme = home.system.view.extreme_of(trail.trail.group)
            assert extreme is not None
            assert extreme[0] == Decimal(66000)

    asyncio.run(rise())
    asyncio.run(look())


def test_a_price_source_that_never_waits_leaves_callers_their_turn(tmp_path: Path) -> None:
    """Fault F68: thousands of prices in one go, from a source that has them all already."""

    async def story(home: House) -> None:
        trade_id = await home.open_trade()
        now = home.system.clock.now()

        async def storm() -> int:
            for number in range(300 * MAX_BATCH):
                if number > 3 * MAX_BATCH and noted.done():
                    break  # a commit takes as long as the disk wants; until then prices go on coming
                price = Decimal(60000 + number % 10)
                await home.system._on_update(
                    MarketUpdate(quote=Quote(key=KEY, bid=price, ask=price, last=price, at=now))
                )
            return home.system.runner.pending

        noted = asyncio.create_task(home.system.runner.execute(SetNote(trade_id=trade_id, note="in between")))
        assert await asyncio.create_task(storm()) <= 2 * MAX_WAITING_PRICES + 2  # with their notices
        assert noted.done()
        await home.system.runner.settled()

    play(tmp_path, story)


def test_prices_at_which_nothing_happens_pass_the_queue_by_and_are_known(tmp_path: Path) -> None:
    """TR-6, TR-74: what comes next is decided, sized and filled by the newest of them."""

    async def story(home: House) -> None:
        trade_id = await home.open_trade()
        system = home.system

        async def deliver(price: int) -> int:
            quote = Quote(key=KEY, bid=Decimal(price), ask=Decimal(price), last=Decimal(price), at=system.clock.now())
            quote = replace(quote, ask=quote.ask + Decimal("0.01"))
            await system._on_update(MarketUpdate(quote=quote))
            return system.runner.pending

        assert await deliver(61000) == 0
        market = system.engine.markets[KEY]
        assert market.quote is not None
        assert market.quote.bid == 61000
        await home.open_trade()  # at market: filled by the books of the exchange
        bought = system.paper.orders(account_id=home.account_id)[-1]
        assert bought.filled_total == Decimal("0.01") * Decimal("61000.01")
        system.runner.tell(TimePassed())
        assert await deliver(61001) > 1  # nothing overtakes what waits
        await system.runner.settled()
        assert await deliver(54000) > 0  # the stop
        await system.runner.settled()
        assert home.trade(trade_id).status is TradeStatus.STOP_LOSS_FINISHED

    play(tmp_path, story)


def test_an_event_of_a_trade_that_nobody_knows_changes_nothing(tmp_path: Path) -> None:
    async def story(home: House) -> None:
        home.system.runner.tell(TradeHappened(999, TimeReached()))
        trade_id = await home.open_trade()
        assert home.trade(trade_id).status is TradeStatus.WAITING_TARGETS

    play(tmp_path, story)


def test_nothing_is_answered_and_no_order_goes_out_before_the_commit_that_holds_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-9, C-10."""

    async def story(home: House) -> None:
        commit, may_commit, waiting = home.system.store.commit, asyncio.Event(), asyncio.Event()

        async def slow(batch: Batch) -> None:
            waiting.set()
            await may_commit.wait()
            await commit(batch)

        with monkeypatch.context() as patched:
            patched.setattr(home.system.store, "commit", slow)
            asked = asyncio.create_task(home.open_trade())
            await waiting.wait()
            for _ in range(20):  # everything that is ready has had its turn
                await asyncio.sleep(0)
            assert not asked.done()
            assert home.system.view.open_trades() == 0
            assert home.system.dispatcher.pending == 0
            assert home.system.paper.orders() == []
            may_commit.set()
            trade_id = await asked
        assert home.trade(trade_id).status is TradeStatus.WAITING_TARGETS

    play(tmp_path, story)
