"""From a stored directory to exits armed again (PF-9), by the number of open trades."""

import asyncio
import gc
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Final

from bench.table import Goal, Row
from smarttrade import app
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.instrument import Side
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TargetPlan, TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.settings import Settings

SIZES: Final = (1_000, 10_000, 100_000)
KEY: Final = InstrumentKey("binance", "USDT_BTC")
AT_ONCE: Final = 1_000


def run() -> list[Row]:
    """Trades that hold coins, each with a watched target and a trailing stop."""
    rows: list[Row] = []
    for size in SIZES:
        goal = Goal("PF-9", at_most=1.0) if size == SIZES[-1] else None
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(_fill(Path(directory), size))
            seconds, armed = asyncio.run(_restart(Path(directory)))
        rows += [
            Row(f"restart, {size:,} open trades", seconds, "s", goal),
            Row("  triggers armed", armed, ""),
        ]
    return rows


def _settings(directory: Path) -> Settings:
    return Settings(data_dir=directory, market=app.SANDBOX)


async def _fill(directory: Path, size: int) -> None:
    """Open `size` trades on their own coins."""
    system = await app.open_system(_settings(directory), open_database(directory))
    first = await app.first_start(system)
    assert first is not None
    assert system.services.sandbox is not None
    await system.services.sandbox.post(
        [PostedQuote(pair=KEY.pair, market=KEY.market, bid=Decimal(60000), ask=Decimal(60001))]
    )
    await system.ensure_instrument(KEY)
    wishes = [CreateTrade(account_id=first.account_id, key=KEY, plan=_plan(number)) for number in range(size)]
    for start in range(0, size, AT_ONCE):
        await asyncio.gather(*(system.runner.execute(wish) for wish in wishes[start : start + AT_ONCE]))
    await system.runner.settled()
    await system.close()


def _plan(number: int) -> SmartTradePlan:
    assert TradeKind.SMART_SELL.entry_side is Side.BUY
    return SmartTradePlan(
        kind=TradeKind.SMART_SELL,
        entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01"), price=Decimal(59000)),
        take_profit_enabled=True,
        targets=(
            TargetPlan(
                order_type=OrderType.MARKET,
                volume=Decimal(100),
                price_type=PriceType.BID,
                price=Decimal(61000 + number % 5000),
            ),
        ),
        stop=StopPlan(
            order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(50000 - number % 5000), trailing=True
        ),
    )


async def _restart(directory: Path) -> tuple[float, int]:
    """Seconds until every exit is watched again and commands are taken, and how many triggers that are."""
    gc.collect()
    started = time.perf_counter()
    system = await app.open_system(_settings(directory), open_database(directory))
    seconds = time.perf_counter() - started
    armed = len(system.engine.markets[KEY].book)
    await system.close()
    return seconds, armed
