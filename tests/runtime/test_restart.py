"""A restart is quick because it puts work off; the work is done before anybody waits for it."""

import asyncio
from decimal import Decimal
from pathlib import Path
from unittest import mock

from smarttrade import app
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import TradeStatus
from smarttrade.engine import trigger_book
from smarttrade.engine.engine import Engine
from smarttrade.engine.records import RECORD_BYTES
from smarttrade.settings import Settings

KEY = InstrumentKey("binance", "USDT_BTC")
STOPS = [55_000 + 100 * number for number in range(8)]


def plan(stop: int) -> SmartTradePlan:
    return SmartTradePlan(
        kind=TradeKind.SMART_SELL,
        entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01"), price=Decimal(60_000)),
        stop=StopPlan(
            order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(stop), trailing=stop % 200 == 0
        ),
    )


async def open_system(directory: Path) -> app.System:
    settings = Settings(data_dir=directory, market=app.SANDBOX, rate_limit=False)
    with mock.patch.object(trigger_book, "SEGMENT_BYTES", 2 * RECORD_BYTES):
        return await app.open_system(settings, open_database(directory))


async def quote(system: app.System, price: int) -> None:
    assert system.services.sandbox is not None
    posted = PostedQuote(market=KEY.market, pair=KEY.pair, bid=Decimal(price), ask=Decimal(price + 1))
    await system.services.sandbox.post([posted])
    await system.runner.settled()


async def populated(directory: Path) -> list[int]:
    """Ids of trades, one for each stop."""
    system = await open_system(directory)
    first = await app.first_start(system)
    assert first is not None
    await quote(system, 60_000)
    await system.ensure_instrument(KEY)
    await system.paper.set_balance(first.account_id, "BTC", Decimal(1))
    wishes = [CreateTrade(account_id=first.account_id, key=KEY, plan=plan(stop)) for stop in STOPS]
    made = [await system.runner.execute(wish) for wish in wishes]
    await system.runner.settled()
    await system.close()
    return [trade.id for trade in made]


def test_a_price_right_after_a_restart_fires_what_it_reaches_and_nothing_else(tmp_path: Path) -> None:
    """EX-36 (4): armed means armed, also while the records have not been looked into."""

    async def story() -> None:
        trades = await populated(tmp_path)
        with mock.patch.object(Engine, "look_further", return_value=False):
            system = await open_system(tmp_path)
            book = system.engine.markets[KEY].book
            await quote(system, 58_000)
            assert book._sealed.watches == len(STOPS)  # not looked into: nothing is near
            await quote(system, 55_350)
        found = {trade_id: system.view.trade(trade_id) for trade_id in trades}
        over = {trade_id for trade_id, trade in found.items() if trade is not None and trade.status.is_final}
        assert over == {trade_id for trade_id, stop in zip(trades, STOPS, strict=True) if stop >= 55_350}
        assert {found[each].status for each in over} == {TradeStatus.STOP_LOSS_FINISHED}  # type: ignore[union-attr]
        await system.close()

    asyncio.run(story())


def test_what_a_restart_has_put_off_is_done_while_nothing_else_is(tmp_path: Path) -> None:
    """PF-9, PF-3: a crash some time after a start finds a book that needs nothing more."""

    async def story() -> None:
        await populated(tmp_path)
        system = await open_system(tmp_path)
        book = system.engine.markets[KEY].book
        for _ in range(100):
            await asyncio.sleep(0)
        assert (book._sealed.watches, len(book)) == (0, len(STOPS))
        await system.close()

    asyncio.run(story())
