"""Where prices come from: recorded, scripted, replayed, later live."""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Protocol, runtime_checkable

import msgspec

from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import InstrumentKey, Quote


class BadRecording(Exception):
    """A file cannot be replayed; one line says why and, where it can, names the row (the first data row is 1)."""


class Print(msgspec.Struct, frozen=True, kw_only=True):
    """One trade of the market, with its size: resting paper orders fill when it prints through them."""

    key: InstrumentKey
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool | None = None


class MarketUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the market: the quote after it, and the trades that printed since the one before.

    Its quote is stamped by the server's clock, because its age decides (TR-6): when it was received, or earlier by as
    long as it is known to have been under way. The stamp of an exchange is no such instant: either clock may be wrong.
    """

    quote: Quote
    prints: tuple[Print, ...] = ()


class DayStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the ticker adds to a price; None where the source does not know."""

    quote_volume: Decimal | None = None
    day_change_percent: Decimal | None = None


UpdateListener = Callable[[MarketUpdate], Awaitable[None]]
"""Takes one update to its end before the next is delivered."""


class MarketData(Protocol):
    """A source of prices for many instruments."""

    standing_quotes_are_fresh: bool
    """A quote stays the market until the next one: its age says nothing (demo, sandbox, replay)."""

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        """Everything that can be traded at this source's prices."""

    def listen(self, listener: UpdateListener) -> None:
        """Deliver updates, one after the other."""

    def latest(self, key: InstrumentKey) -> Quote | None:
        """The newest quote, if there is one."""

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        """24-hour figures for display."""

    async def request(self, *keys: InstrumentKey) -> None:
        """Ask for fresh quotes, of all these pairs at once; they arrive through `listen`."""

    async def run(self) -> None:
        """Deliver until cancelled."""


@runtime_checkable
class ScriptedMarketData(MarketData, Protocol):
    """A source that owns the time: it waits for everybody to come to rest before it goes on (sandbox, replay)."""

    def settle_with(self, settle: Callable[[], Awaitable[None]]) -> None:
        """Say how to let the engine finish all that it can do without new prices or time."""
