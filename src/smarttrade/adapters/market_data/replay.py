"""Prices from a file: trades and quotes in Parquet or CSV, replayed with the file's own time (docs/market-data.md).

The whole file is checked before the first price is delivered, so a trade is never left standing in the middle of a
recording that turns out to be broken.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from smarttrade.adapters.clock import ManualClock, SystemClock
from smarttrade.adapters.market_data.feed import Settle, UpdateFeed
from smarttrade.adapters.market_data.replay_file import (
    Book,
    RecordedPair,
    RecordedRow,
    RecordingFile,
)
from smarttrade.adapters.market_data.rules import load_rules, middle_price, undescribed
from smarttrade.adapters.market_data.scripted_time import ScriptedTime
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ONE
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote
from smarttrade.ports.clock import Clock
from smarttrade.ports.market_data import BadRecording, DayStatistics, MarketUpdate, UpdateListener

__all__ = ["BadRecording", "ReplayMarket"]

LONGEST_PAUSE: Final[Instant] = SECOND // 10
"""Between two movements of the clock while the file is silent (only with a speed)."""


class ReplayMarket:
    """Implements MarketData. Owns the time: its `clock` shows the instant of the row being delivered."""

    standing_quotes_are_fresh = True

    def __init__(
        self,
        path: Path,
        *,
        speed: float = 1.0,
        pace: Clock | None = None,
        rules: Mapping[InstrumentKey, Instrument] | None = None,
    ) -> None:
        """Check the file. Raises BadRecording, or ValueError for the speed.

        speed  seconds of the file per second; 0: as fast as it goes
        pace   the clock to keep that speed by; None: the machine's
        rules  trading rules; None: the shipped ones. A pair that they lack gets rules without limits, and the tick
               and lot that its figures in the file need
        """
        if not (math.isfinite(speed) and speed >= 0):
            raise ValueError(f"speed {speed} is neither zero nor a positive number")
        self._speed = speed
        self._pace = SystemClock() if pace is None else pace
        self._file = RecordingFile(path)
        known = load_rules() if rules is None else rules
        self._instruments = {pair.key: known.get(pair.key) or _derived(pair) for pair in self._file.pairs}
        self.clock: Final = ManualClock(self._file.begin)
        self._time = ScriptedTime(self.clock)
        self._feed = UpdateFeed()
        self._books: dict[InstrumentKey, Book] = {}

    def settle_with(self, settle: Settle) -> None:
        """Say how to let the engine finish all that it can do without new prices or time."""
        self._time.settle = settle

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        """The pairs that occur in the file."""
        return self._instruments

    def listen(self, listener: UpdateListener) -> None:
        self._feed.listen(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._feed.latest(key)

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        """Unknown: the day before is not in the file."""
        return DayStatistics()

    async def request(self, *keys: InstrumentKey) -> None:
        await self._feed.repeat(*keys)

    async def run(self) -> None:
        """Deliver every row, in order, skipping none; returns at the end of the file, where the clock stays.

        Raises BadRecording when the file has become unreadable.
        """
        started = self._pace.now()
        for row in self._file.rows():
            if self._speed:
                await self._pass_time(row.at, started)
            await self._time.pass_deadlines(row.at - 1)  # strictly before: instants are whole microseconds
            await self._deliver(self._update(row))

    async def _deliver(self, update: MarketUpdate) -> None:
        await self._time.apply(update.quote.at, lambda: self._feed.deliver(update))

    async def _pass_time(self, at: Instant, started: Instant) -> None:
        """Return when the pace has come to `at`; until then the clock goes along."""
        begin = self._file.begin
        due = started + round((at - begin) / self._speed)
        while (present := self._pace.now()) < due:
            await self._pace.sleep_until(min(due, present + LONGEST_PAUSE))
            shown = begin + int((self._pace.now() - started) * self._speed)
            await self._time.move_to(max(min(shown, at - 1), self.clock.now()))

    def _update(self, row: RecordedRow) -> MarketUpdate:
        if row.book is not None:
            self._books[row.key] = row.book
        book = self._books.get(row.key)
        last = row.last if row.last is not None else self._last(row, book)
        if book is None:  # the trade is all that is known of the market
            book = Book(last, last, None, None)
        quote = Quote(
            key=row.key,
            bid=book.bid,
            ask=book.ask,
            last=last,
            at=row.at,
            bid_size=book.bid_size,
            ask_size=book.ask_size,
        )
        return MarketUpdate(quote=quote, prints=() if row.trade is None else (row.trade,))

    def _last(self, row: RecordedRow, book: Book | None) -> Decimal:
        """The last price where the row states none: its trade's, else the one before, else the middle."""
        if row.trade is not None:
            return row.trade.price
        present = self._feed.latest(row.key)
        if present is not None:
            return present.last
        assert book is not None  # RecordingFile lets no row through that has neither trade nor book
        return middle_price(book.bid, book.ask, self._instruments[row.key].tick)


def _derived(pair: RecordedPair) -> Instrument:
    """Rules for a pair that has none, with steps as fine as its figures."""
    lot = ONE.scaleb(-pair.quantity_places)
    return msgspec.structs.replace(undescribed(pair.key), tick=ONE.scaleb(-pair.price_places), lot=lot, min_lot=lot)
