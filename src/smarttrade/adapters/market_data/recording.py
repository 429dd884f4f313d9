"""The shipped recording of real markets: whole numbers in columns, turned into quotes and prints when they are due.

The layout of the file is documented in `smarttrade/data/README.md`; `tools/build_demo_recording.py` writes it.
"""

import gzip
import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from importlib import resources
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Final

import msgspec

from smarttrade.domain.money import HUNDRED, half_up
from smarttrade.domain.quote import Instant, InstrumentKey, Quote
from smarttrade.ports.market_data import DayStatistics, MarketUpdate, Print

RECORDING_FILE: Final = "demo_recording.json.gz"

MILLISECOND: Final[Instant] = 1000

PERCENT_PLACES: Final = 2


class QuoteColumns(msgspec.Struct, frozen=True):
    """Best bids and asks. Times and bids are differences to the row before, the rest is as it stands."""

    at_ms: list[int]
    bid: list[int]
    spread: list[int]
    bid_size: list[int]
    ask_size: list[int]


class PrintColumns(msgspec.Struct, frozen=True):
    """Trades. Times and prices are differences to the row before; a negative quantity: the buyer was the maker."""

    at_ms: list[int]
    price: list[int]
    quantity: list[int]


class RecordedColumns(msgspec.Struct, frozen=True):
    """One instrument in the file; prices are in `price_step`, quantities in `quantity_step`."""

    market: str
    pair: str
    price_step: Decimal
    quantity_step: Decimal
    last: int  # price of the last trade before the recording
    quotes: QuoteColumns
    prints: PrintColumns


class RecordingFile(msgspec.Struct, frozen=True):
    recorded_from_ms: int
    length_ms: int
    instruments: list[RecordedColumns]


class RecordedInstrument:
    """The quotes and prints of one instrument, by row. Offsets are milliseconds from the start of the recording."""

    def __init__(self, columns: RecordedColumns) -> None:
        self.key: Final = InstrumentKey(columns.market, columns.pair)
        self._columns: Final = columns
        self.quote_offsets: Final = list(accumulate(columns.quotes.at_ms))
        self.print_offsets: Final = list(accumulate(columns.prints.at_ms))
        self._bids: Final = list(accumulate(columns.quotes.bid))
        self._prices: Final = list(accumulate(columns.prints.price))

    def quote(self, row: int, prints_before: int, at: Instant) -> Quote:
        """The quote of `row`, with the last price after that many prints."""
        columns, step = self._columns.quotes, self._columns.price_step
        bid, lot = self._bids[row], self._columns.quantity_step
        last = self._prices[prints_before - 1] if prints_before else self._columns.last
        return Quote(
            key=self.key,
            bid=bid * step,
            ask=(bid + columns.spread[row]) * step,
            last=last * step,
            at=at,
            bid_size=columns.bid_size[row] * lot,
            ask_size=columns.ask_size[row] * lot,
        )

    def print(self, row: int) -> Print:
        quantity = self._columns.prints.quantity[row]
        return Print(
            key=self.key,
            price=self._prices[row] * self._columns.price_step,
            quantity=abs(quantity) * self._columns.quantity_step,
            buyer_is_maker=quantity < 0,
        )

    def standing(self, offset: int, at: Instant) -> Quote:
        """What had been quoted and traded up to `offset`."""
        row = bisect_right(self.quote_offsets, offset) - 1
        return self.quote(row, bisect_right(self.print_offsets, offset), at)

    def updates(self, offset: int, start: Instant) -> Iterator[tuple[Instant, MarketUpdate]]:
        """From `offset` on: when each update is due and what it is; `start` is the instant of offset zero.

        Within a millisecond quotes come before prints: the recorder received them 3 to 10 ms apart anyway.
        """
        quote_row, print_row = bisect_left(self.quote_offsets, offset), bisect_left(self.print_offsets, offset)
        steps = heapq.merge(
            ((at_ms, 0) for at_ms in self.quote_offsets[quote_row:]),
            ((at_ms, 1) for at_ms in self.print_offsets[print_row:]),
        )
        for at_ms, is_print in steps:
            at = start + at_ms * MILLISECOND
            prints: tuple[Print, ...] = ()
            if is_print:
                prints = (self.print(print_row),)
                print_row += 1
            else:
                quote_row += 1
            yield at, MarketUpdate(quote=self.quote(quote_row - 1, print_row, at), prints=prints)

    @cached_property
    def quote_volume(self) -> Decimal:
        """What was traded in the whole recording, in the quote currency."""
        columns = self._columns
        total = sum(
            price * abs(quantity) for price, quantity in zip(self._prices, columns.prints.quantity, strict=True)
        )
        return total * columns.price_step * columns.quantity_step

    def statistics(self, last: Decimal) -> DayStatistics:
        """Volume of the whole recording, and how far `last` is from the price at its start."""
        opening = self._columns.last * self._columns.price_step
        change = (last - opening) / opening * HUNDRED
        return DayStatistics(quote_volume=self.quote_volume, day_change_percent=half_up(change, PERCENT_PLACES))


class Recording:
    """Some minutes of several instruments on one time line."""

    def __init__(self, file: RecordingFile) -> None:
        self.length: Final[Instant] = file.length_ms * MILLISECOND
        self.instruments: Final[Mapping[InstrumentKey, RecordedInstrument]] = {
            recorded.key: recorded for recorded in map(RecordedInstrument, file.instruments)
        }

    @classmethod
    def read(cls, path: Path) -> "Recording":
        return cls(msgspec.json.decode(gzip.decompress(path.read_bytes()), type=RecordingFile))

    @classmethod
    def shipped(cls) -> "Recording":
        """The recording inside the package; about 50 ms."""
        with resources.as_file(resources.files("smarttrade.data").joinpath(RECORDING_FILE)) as path:
            return cls.read(path)

    def standing(self, position: Instant, at: Instant) -> Iterator[Quote]:
        """Each instrument's quote at `position` (microseconds from the start), stamped `at`."""
        for instrument in self.instruments.values():
            yield instrument.standing(position // MILLISECOND, at)

    def updates(self, position: Instant, start: Instant) -> Iterator[tuple[Instant, MarketUpdate]]:
        """Everything after `position`, in order, and when it is due; `start` is the instant of the beginning."""
        offset = position // MILLISECOND + 1 if position else 0
        streams = [instrument.updates(offset, start) for instrument in self.instruments.values()]
        return heapq.merge(*streams, key=itemgetter(0))
