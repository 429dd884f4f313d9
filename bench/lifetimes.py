"""What a million trades leave behind that were created and came to their end: nothing in memory that adds up (PF-8).

Each is a trade on its own coins with a watched target and a trailing stop, created and ended by commands, with all that
watches, stores and shows it; one in ten ends by an order at the exchange, the others are cancelled, which is quicker.
The price rises and falls on the way, so that trailing groups move and merge. One process does it all, and its memory is
read at several points. The environment variable TRADES asks for another number.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from bench.memory import resident
from bench.population import AT_ONCE, KEY, plan, settings
from bench.table import Goal, Row
from smarttrade import app
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import CancelTrade, CloseAtMarket, CreateTrade, TradeWish

TRADES: Final = int(os.environ.get("TRADES", "1000000"))
POINTS: Final = 10
SETTLED: Final = 3
"""Points by which all that is bounded has reached its bound: caches, pages of the database, the allocator's pools."""


def run() -> list[Row]:
    command = [sys.executable, "-m", "bench.lifetimes"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    points: list[tuple[int, int]] = [json.loads(line) for line in answer.stdout.splitlines()]
    rows = [Row(f"resident, {trades:,} trades made and closed", size / 1e6, "MB") for trades, size in points]
    first, last = points[SETTLED - 1], points[-1]
    left = (last[1] - first[1]) / (last[0] - first[0])
    return [*rows, Row("  left behind by each", left, "bytes", Goal("growth", at_most=16))]


async def _points() -> AsyncIterator[tuple[int, int]]:
    """Trades that are over, and bytes of memory that the process holds."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        system = await app.open_system(settings(directory), open_database(directory))
        first = await app.first_start(system)
        assert first is not None
        await _show(system, 0)
        await system.ensure_instrument(KEY)
        await system.paper.set_balance(first.account_id, "BTC", Decimal("0.01") * TRADES)
        for done in range(0, TRADES, AT_ONCE):
            numbers = range(done, done + AT_ONCE)
            wishes = [CreateTrade(account_id=first.account_id, key=KEY, plan=plan(number)) for number in numbers]
            made = await asyncio.gather(*map(system.runner.execute, wishes))
            await _show(system, done // AT_ONCE)
            await asyncio.gather(*(system.runner.execute(_end(trade.id)) for trade in made))
            await system.runner.settled()
            if (done + AT_ONCE) % (TRADES // POINTS) == 0:
                assert system.view.open_trades() == 0
                yield done + AT_ONCE, resident()
        await system.close()


def _end(trade_id: int) -> TradeWish:
    return CloseAtMarket(trade_id=trade_id) if trade_id % 10 == 0 else CancelTrade(trade_id=trade_id)


async def _show(system: app.System, step: int) -> None:
    """A price that goes up and down between all stops and targets."""
    assert system.services.sandbox is not None
    price = Decimal(60_000 + abs(step % 200 - 100))
    quote = PostedQuote(pair=KEY.pair, market=KEY.market, bid=price, ask=price + 1)
    await system.services.sandbox.post([quote])
    await system.runner.settled()


async def _print_points() -> None:
    async for point in _points():
        print(json.dumps(point), flush=True)


if __name__ == "__main__":
    asyncio.run(_print_points())
