"""What the market says: best bid, best ask, last trade, and which of them a step follows (behaviour C-3, TR-1)."""

import enum
from decimal import Decimal, InvalidOperation

import msgspec

Instant = int
"""Microseconds since 1970-01-01T00:00:00 UTC. Comes from outside; the rules never read a clock."""

SECOND: Instant = 1_000_000


class PriceType(enum.StrEnum):
    """Which price of the market a watched step follows."""

    BID = "bid"
    ASK = "ask"
    LAST = "last"


class InstrumentKey(msgspec.Struct, frozen=True, order=True):
    """A pair on one market, e.g. `binance` and `USDT_BTC` (QUOTE_BASE, behaviour V-9)."""

    market: str
    pair: str

    def __str__(self) -> str:
        return f"{self.market}:{self.pair}"


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The market of one instrument at one instant. Prices are quote asset per unit of base."""

    key: InstrumentKey
    bid: Decimal
    ask: Decimal
    last: Decimal
    at: Instant
    bid_size: Decimal | None = None  # base that can be sold at `bid`; None: unlimited
    ask_size: Decimal | None = None  # base that can be bought at `ask`; None: unlimited

    def price(self, price_type: PriceType) -> Decimal:
        """The price that a step with this price type follows."""
        if price_type is PriceType.BID:
            return self.bid
        return self.ask if price_type is PriceType.ASK else self.last

    @property
    def is_usable(self) -> bool:
        """False for a price that is zero or negative, or a crossed book (behaviour TR-6)."""
        return 0 < self.bid <= self.ask and self.last > 0


class QuoteText(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A quote as a feed sends it: decoded, its figures not read yet. Few of them are ever needed as exact numbers."""

    bid: str
    ask: str
    last: str
    at: Instant
    bid_size: str | None = None
    ask_size: str | None = None

    def read(self, key: InstrumentKey) -> Quote:
        """The exact quote. Raises ValueError where a figure is no number."""
        return Quote(
            key=key,
            bid=_figure(self.bid),
            ask=_figure(self.ask),
            last=_figure(self.last),
            at=self.at,
            bid_size=None if self.bid_size is None else _figure(self.bid_size),
            ask_size=None if self.ask_size is None else _figure(self.ask_size),
        )


def _figure(text: str) -> Decimal:
    try:
        figure = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if not figure.is_finite():
        raise ValueError(f"{text!r} is no number of a market")
    return figure
