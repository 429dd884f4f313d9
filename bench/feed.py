"""From the bytes of a price message to the decision that nothing happens (PF-2), by the number of open trades.

What is measured, in one thread and one process, each with the same messages (154 bytes of JSON as this product writes
quotes: three prices, both sizes, the time):

* `bytes to decision`: decoded with its figures as text, then asked of the engine, which knows it from then on: its age,
  who waits for a price, the trigger book on all three prices. That is the decision, and the way of nearly all prices.
* `through the whole server`: decoded into exact decimals, as today's price sources deliver, then all that a running
  server does with it: the source's listeners, the paper exchange's books, the engine.
* `worked in`: the way of a price at which something may happen, here taken by prices at which nothing does: exact
  decimals, the queue left out.

The trades are those of the trigger book's benchmark: a fixed and a trailing trigger each, none of which is reached.
"""

import asyncio
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import msgspec

from bench.population import KEY
from bench.prices import PriceSource
from bench.table import Goal, Row, median_seconds
from bench.trigger_book import SCALE, SWING, Trades
from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.app import System
from smarttrade.domain.quote import Instant, InstrumentKey, Quote, QuoteText
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import InstrumentChanged, QuoteReceived
from smarttrade.engine.trigger_book import TriggerBook
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.settings import Settings

SIZES: Final = (100, 10_000, 1_000_000)
MESSAGES: Final = 1_000  # different ones, sent in turn
UPDATES: Final = 50_000  # messages in one round
ROUNDS: Final = 5
SENT_AT: Final[Instant] = time.time_ns() // 1000  # of all of them: an older one than the last would be left out
GOAL: Final = Goal("PF-2", at_least=1_000_000)


class NothingStored:
    """Where the engine would read trades; nothing fires, so it reads none."""

    def trade(self, trade_id: int) -> SmartTrade | None:
        return None

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> Sequence[int]:
        return ()


def run() -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        trades = Trades(size)
        book = trades.armed_book()
        gc.collect()
        gc.freeze()  # as a server does after its start
        quotes = [_quote(bid) for bid in _quiet_bids(book, trades)]
        engine = _engine(book)
        goal = GOAL if size == SIZES[-1] else None
        rows += [
            Row(f"bytes to decision, {size:,} open trades", _rate(_passing(engine, quotes)), "/s", goal),
            Row("  through the whole server", asyncio.run(_server_rate(book, quotes)), "/s"),
            Row("  worked in", _rate(_worked_in(engine, quotes)), "/s"),
        ]
        gc.unfreeze()
    rows += [
        Row("decoding alone, figures as text", _rate(_decoding(QuoteText, quotes)), "/s"),
        Row("  into exact decimals", _rate(_decoding(Quote, quotes)), "/s"),
    ]
    return rows


def _in_turn(messages: Sequence[bytes]) -> "islice[bytes]":
    return islice(cycle(messages), UPDATES)


def _rate(work: Callable[[], object]) -> float:
    """Messages per second."""
    return UPDATES / median_seconds(work, ROUNDS)


def _quiet_bids(book: TriggerBook, trades: Trades) -> list[int]:
    """Bids, in hundredths, around which the book has been: no trigger is reached and no extreme moved."""
    end, chance = trades.starts[-1], random.Random(1)
    for price in (end + SWING, end - SWING):
        book.update_scaled(price * SCALE, (price + 1) * SCALE, price * SCALE)
    return [end + chance.randint(-SWING // 2, SWING // 2) for _ in range(MESSAGES)]


def _quote(bid: int) -> bytes:
    price, size = Decimal(bid).scaleb(-2), Decimal("1.25")
    ask = price + Decimal("0.01")
    return msgspec.json.encode(Quote(key=KEY, bid=price, ask=ask, last=price, at=SENT_AT, bid_size=size, ask_size=size))


def _engine(book: TriggerBook) -> Engine:
    """One whose market of BTC has this book."""
    engine = Engine(EngineSettings(instance="abcd"), NothingStored())
    engine.handle(InstrumentChanged(load_rules()[KEY], 1), 0)
    engine.markets[KEY].book = book
    return engine


def _passing(engine: Engine, messages: Sequence[bytes]) -> Callable[[], None]:
    decode = msgspec.json.Decoder(QuoteText).decode

    def work() -> None:
        passes_by = engine.passes_by
        for message in _in_turn(messages):
            if not passes_by(KEY, decode(message), SENT_AT):
                raise AssertionError("a price of this benchmark does something")

    return work


def _worked_in(engine: Engine, messages: Sequence[bytes]) -> Callable[[], None]:
    decode = msgspec.json.Decoder(Quote).decode

    def work() -> None:
        handle = engine.handle
        for message in _in_turn(messages):
            handle(QuoteReceived(decode(message)), SENT_AT)

    return work


def _decoding(what: type[msgspec.Struct], messages: Sequence[bytes]) -> Callable[[], None]:
    decode: Callable[[bytes], object] = msgspec.json.Decoder(what).decode

    def work() -> None:
        for message in _in_turn(messages):
            decode(message)

    return work


async def _server_rate(book: TriggerBook, messages: Sequence[bytes]) -> float:
    """Messages per second into a system as it runs, until the last has been decided."""
    with tempfile.TemporaryDirectory() as name:
        source = PriceSource([KEY])
        system = System(Settings(data_dir=Path(name)), open_database(Path(name)), source, SystemClock())
        await system.start()
        await system.ensure_instrument(KEY)
        await system.runner.settled()
        system.engine.markets[KEY].book = book
        decode = msgspec.json.Decoder(Quote).decode
        took: list[float] = []
        for _ in range(ROUNDS):
            gc.collect()
            started = time.perf_counter()
            for message in _in_turn(messages):
                await source.deliver(MarketUpdate(quote=decode(message)))
            await system.runner.settled()
            took.append(time.perf_counter() - started)
        await system.close()
    return UPDATES / statistics.median(took)
