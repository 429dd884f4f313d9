"""Memory per open trade after a start (PF-8), and what trades that are over leave behind: nothing that adds up.

Each figure is taken in a process of its own: `python -m bench.memory open DIRECTORY`, `... finished TRADES`.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Final

from bench.population import AT_ONCE, KEY, populate, settings
from bench.table import Goal, Row, held_bytes
from smarttrade import app
from smarttrade.adapters.market_data.sandbox import PostedQuote
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.domain.commands import CloseAtMarket, CreateTrade
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, TradeKind

SIZES: Final = (10_000, 100_000, 1_000_000)
FINISHED: Final = (10_000, 20_000, 40_000)
PAGE: Final = 4096


def run() -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            populate(Path(name) / "many", open_trades=size - 1)
            populate(Path(name) / "none", open_trades=1)
            none, many = (_in_a_process("open", str(Path(name) / each)) for each in ("none", "many"))
        rows += [
            Row(f"in all, per trade, {size:,} open", (many["resident"] - none["resident"]) / size, "bytes",
                Goal("PF-8", at_most=3_000)),
            Row("  in the trigger book", (many["book"] - many["ids"]) / size, "bytes", Goal("PF-8", at_most=250)),
            Row("  ids of steps, which loaded trades share with it", many["ids"] / size, "bytes"),
        ]  # fmt: skip
    few, some, most = (_in_a_process("finished", str(trades))["resident"] for trades in FINISHED)
    rows += [
        Row(f"resident, {FINISHED[0]:,} trades made and closed", few / 1e6, "MB"),
        Row(f"  {FINISHED[1]:,} trades", some / 1e6, "MB"),
        Row(f"  {FINISHED[2]:,} trades", most / 1e6, "MB"),
        Row("  left behind by each", (most - some) / (FINISHED[2] - FINISHED[1]), "bytes",
            Goal("growth", at_most=50)),
    ]  # fmt: skip
    return rows


def _in_a_process(*arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", "bench.memory", *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, int] = json.loads(answer.stdout.splitlines()[-1])  # above it may stand what the server logs
    return found


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def _open(directory: Path) -> dict[str, int]:
    """A server that has started, and has looked into everything that its start has put off."""
    system = await app.open_system(settings(directory), open_database(directory))
    while system.engine.look_further():
        await asyncio.sleep(0)
    found = {"resident": resident()}
    book = system.engine.markets[KEY].book
    ids = [step_id for step_id, _ in book.watches()]
    found |= {"book": held_bytes(book), "ids": held_bytes(book) - held_bytes(book, ids)}
    await system.close()
    return found


async def _finished(trades: int) -> dict[str, int]:
    """A server that has carried out so many trades to their end, each with two orders."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        system = await app.open_system(settings(directory), open_database(directory))
        first = await app.first_start(system)
        assert first is not None
        assert system.services.sandbox is not None
        quote = PostedQuote(pair=KEY.pair, market=KEY.market, bid=Decimal(60_000), ask=Decimal(60_000))
        await system.services.sandbox.post([quote])
        await system.ensure_instrument(KEY)
        await system.paper.set_balance(first.account_id, "USDT", Decimal(10**9))
        plan = SmartTradePlan(kind=TradeKind.SMART_TRADE, entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01")))
        for _ in range(trades // AT_ONCE):
            wish = CreateTrade(account_id=first.account_id, key=KEY, plan=plan)
            made = await asyncio.gather(*(system.runner.execute(wish) for _ in range(AT_ONCE)))
            await system.runner.settled()
            await asyncio.gather(*(system.runner.execute(CloseAtMarket(trade_id=trade.id)) for trade in made))
            await system.runner.settled()
        assert system.view.open_trades() == 0
        found = {"resident": resident()}
        await system.close()
    return found


if __name__ == "__main__":
    kind, argument = sys.argv[1:]
    print(json.dumps(asyncio.run(_open(Path(argument)) if kind == "open" else _finished(int(argument)))))
