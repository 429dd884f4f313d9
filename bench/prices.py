"""A price source that a benchmark speaks for."""

import asyncio
from collections.abc import Iterable, Mapping

from smarttrade.adapters.market_data.feed import UpdateFeed
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.market_data import DayStatistics, MarketUpdate, UpdateListener


class PriceSource:
    """Implements MarketData for some pairs, with their shipped rules. Nothing comes but what `deliver` is given."""

    standing_quotes_are_fresh = True

    def __init__(self, keys: Iterable[InstrumentKey]) -> None:
        self._instruments = {key: load_rules()[key] for key in keys}
        self._feed = UpdateFeed()

    async def deliver(self, update: MarketUpdate) -> None:
        await self._feed.deliver(update)

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return self._instruments

    def listen(self, listener: UpdateListener) -> None:
        self._feed.listen(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._feed.latest(key)

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        return DayStatistics()

    async def request(self, *keys: InstrumentKey) -> None:
        await self._feed.repeat(*keys)

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()
