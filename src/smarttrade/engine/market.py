"""One instrument as the engine sees it: rules, newest quote, the trigger book, and who waits for a price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import Instant, InstrumentKey, Quote, QuoteText
from smarttrade.engine.trigger_book import TriggerBook

PRICE_DECIMALS: Final = 18
"""The grid of every trigger book: finer than any market's tick, so that a changed tick never changes the book."""

USD_LIKE: Final = frozenset({"USD", "USDT", "USDC", "BUSD", "TUSD", "FDUSD", "USDP", "DAI"})
"""Quote currencies that count as one dollar (M-42)."""


class Market:
    """Mutable: belongs to the engine."""

    __slots__ = ("_newest", "_read", "asked", "at", "awaiting", "book", "filled_at", "instrument", "version")

    def __init__(self, instrument: Instrument, version: int) -> None:
        self.instrument = instrument
        self.version = version
        self.book = TriggerBook(PRICE_DECIMALS)
        self._newest: Quote | QuoteText | None = None
        self._read: Quote | None = None  # the newest one that was looked at, for one that turns out to be none
        self.at: Instant | None = None  # of the newest quote
        self.awaiting: set[int] = set()  # trades that wait for a fresh price
        self.asked = False  # the last quote came too late, and a new one was asked for
        self.filled_at: Instant = 0  # of our newest execution here; not after we heard of it

    @property
    def quote(self) -> Quote | None:
        """The newest one. What cannot be read, or is finer than every grid, is none (TR-6)."""
        newest = self._newest
        if newest is not self._read:  # it has passed by, and nobody has looked at it since
            try:
                quote = newest.read(self.instrument.key) if isinstance(newest, QuoteText) else newest
            except ValueError:
                quote = None
            if quote is not None and is_on_grid(quote):
                self._read = quote
            self._newest = self._read
        return self._read

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits for a price of this pair."""
        return bool(self.awaiting) or len(self.book) > 0

    def stands_at(self, quote: Quote, at: Instant | None = None) -> None:
        """Make `quote` the newest; it counts as made at `at`, if not at its own stamp (see `counts_as_of`)."""
        self._newest = self._read = quote
        self.at = quote.at if at is None else at

    def takes(self, quote: Quote) -> bool:
        """Whether a quote may be used: sane, and not older than the one used last (TR-6)."""
        return quote.is_usable and (self.at is None or quote.at >= self.at)

    def passes_by(self, quote: Quote | QuoteText, now: Instant, max_age: Instant | None) -> bool:
        """Whether this price surely moves no trigger, and nobody waits for it; then it is the newest now.

        Prices are compared as floats here, which rule out and never decide: rounding keeps the order of numbers, so a
        price whose float lies strictly between two others lies strictly between the exact prices too.
        """
        at = quote.at
        if self.awaiting or (self.at is not None and at < self.at):
            return False
        try:
            bid, ask, last = float(quote.bid), float(quote.ask), float(quote.last)
        except ValueError:
            return False
        if not (0.0 < bid < ask and last > 0.0 and self.book.is_quiet(bid, ask, last)):
            return False
        if max_age is not None and (self.is_late(at, now, max_age) or at > now + max_age):
            return False
        self.asked = False
        self.at = at
        self._newest = quote
        return True

    def is_late(self, at: Instant, now: Instant, max_age: Instant | None) -> bool:
        """Whether a quote of `at` is too old for a decision when it arrives (TR-6).

        One from before our newest execution is, too: it has not seen what moved the levels (faults F39).
        """
        return max_age is not None and (now - at > max_age or at < self.filled_at)

    def is_fresh(self, now: Instant, max_age: Instant | None) -> bool:
        """Whether the newest quote is young enough for a decision; `max_age` None: it stands until the next one."""
        quote = self.quote
        if quote is None or self.at is None:
            return False
        return not self.is_late(min(quote.at, self.at), now, max_age)


def counts_as_of(stamp: Instant, now: Instant, max_age: Instant | None) -> Instant:
    """When a quote that arrives now counts as made: a stamp further ahead of our clock than prices may be old is wrong.

    Every later price would be older than it, and ignored until that instant (TR-6).
    """
    return now if max_age is not None and stamp > now + max_age else stamp


def is_on_grid(quote: Quote) -> bool:
    """Whether no price of `quote` is finer than the trigger book's steps."""
    return all(price == round(price, PRICE_DECIMALS) for price in (quote.bid, quote.ask, quote.last))


class Rates:
    """Values of currencies on one market, from the newest quotes."""

    __slots__ = ("_elsewhere", "_markets")

    def __init__(self, markets: Mapping[InstrumentKey, Market]) -> None:
        """markets  the pairs whose quotes the engine keeps anyway"""
        self._markets = markets
        self._elsewhere: dict[InstrumentKey, Decimal] = {}

    def note(self, quote: Quote) -> bool:
        """The price of a pair that nobody trades, unless it is none (TR-6); whether it is one."""
        if quote.is_usable:
            self._elsewhere[quote.key] = quote.last
        return quote.is_usable

    def usd(self, market: str, currency: str) -> Decimal | None:
        """Price of `currency` in USD (M-42); None when nothing says it."""
        if currency in USD_LIKE:
            return Decimal(1)
        return self._last(InstrumentKey(market, f"USDT_{currency}"))

    def between(self, market: str, asset: str, quote: str) -> Decimal | None:
        """Price of a third fee coin in the quote asset, at the last prices (M-5)."""
        direct = self._last(InstrumentKey(market, f"{quote}_{asset}"))
        if direct is not None:
            return direct
        value, unit = self.usd(market, asset), self.usd(market, quote)
        return None if value is None or unit is None else value / unit

    def _last(self, key: InstrumentKey) -> Decimal | None:
        market = self._markets.get(key)
        quote = None if market is None else market.quote
        return self._elsewhere.get(key) if quote is None else quote.last
