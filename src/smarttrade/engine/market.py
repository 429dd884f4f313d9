"""One instrument as the engine sees it: rules, newest quote, the trigger book, and who waits for a price."""

from decimal import Decimal
from typing import Final

from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import Instant, Quote
from smarttrade.engine.trigger_book import TriggerBook

PRICE_DECIMALS: Final = 18
"""The grid of every trigger book: finer than any market's tick, so that a changed tick never changes the book."""

USD_LIKE: Final = frozenset({"USD", "USDT", "USDC", "BUSD", "TUSD", "FDUSD", "USDP", "DAI"})
"""Quote currencies that count as one dollar (M-42)."""


class Market:
    """Mutable: belongs to the engine."""

    __slots__ = ("asked", "awaiting", "book", "filled_at", "instrument", "quote", "version")

    def __init__(self, instrument: Instrument, version: int) -> None:
        self.instrument = instrument
        self.version = version
        self.book = TriggerBook(PRICE_DECIMALS)
        self.quote: Quote | None = None
        self.awaiting: set[int] = set()  # trades that wait for a fresh price
        self.asked = False  # the last quote came too late, and a new one was asked for
        self.filled_at: Instant = 0  # of our newest execution here; not after we heard of it

    def takes(self, quote: Quote) -> bool:
        """Whether a quote may be used: sane, and not older than the one used last (TR-6)."""
        return quote.is_usable and (self.quote is None or quote.at >= self.quote.at)

    def is_on_grid(self, quote: Quote) -> bool:
        """Whether no price of `quote` is finer than the trigger book's steps."""
        return all(price == round(price, PRICE_DECIMALS) for price in (quote.bid, quote.ask, quote.last))

    def is_late(self, quote: Quote, now: Instant, max_age: Instant | None) -> bool:
        """Whether a quote is too old for a decision when it arrives (TR-6).

        One from before our newest execution is, too: it has not seen what moved the levels (faults F39).
        """
        return max_age is not None and (now - quote.at > max_age or quote.at < self.filled_at)

    def is_fresh(self, now: Instant, max_age: Instant | None) -> bool:
        """Whether the newest quote is young enough for a decision; `max_age` None: it stands until the next one."""
        return self.quote is not None and not self.is_late(self.quote, now, max_age)


class Rates:
    """Values of currencies on one market, from the newest quotes."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Decimal] = {}

    def note(self, quote: Quote) -> None:
        self._last[quote.key.market, quote.key.pair] = quote.last

    def usd(self, market: str, currency: str) -> Decimal | None:
        """Price of `currency` in USD (M-42); None when nothing says it."""
        if currency in USD_LIKE:
            return Decimal(1)
        return self._last.get((market, f"USDT_{currency}"))

    def between(self, market: str, asset: str, quote: str) -> Decimal | None:
        """Price of a third fee coin in the quote asset, at the last prices (M-5)."""
        direct = self._last.get((market, f"{quote}_{asset}"))
        if direct is not None:
            return direct
        value, unit = self.usd(market, asset), self.usd(market, quote)
        return None if value is None or unit is None else value / unit
