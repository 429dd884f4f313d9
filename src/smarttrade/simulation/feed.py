"""Prices as the server gets them: what the world's markets do, unless they cannot be heard."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from smarttrade.adapters.market_data.feed import UpdateFeed
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import InstrumentKey, Quote
from smarttrade.ports.market_data import DayStatistics, MarketUpdate, UpdateListener


class FeedBroken(Exception):
    """The source of prices breaks, as a connection does."""


class PriceFeed:
    """Implements MarketData for one process."""

    def __init__(
        self,
        instruments: Mapping[InstrumentKey, Instrument],
        standing: Mapping[InstrumentKey, Quote],
        *,
        standing_quotes_are_fresh: bool,
        told: Callable[[Quote], None],
        asked: Callable[[Sequence[InstrumentKey]], None],
    ) -> None:
        """standing  newest quotes at the start
        told      hears of every quote when the server does
        asked     hears of every request for fresh quotes; the answer comes by `push`
        """
        self.standing_quotes_are_fresh = standing_quotes_are_fresh
        self._instruments = instruments
        self._told = told
        self._asked = asked
        self._feed = UpdateFeed()
        self._coming: deque[MarketUpdate] = deque()
        self._arrived = asyncio.Event()
        self._broken = False
        self._busy = False
        for quote in standing.values():
            self._feed.stand(quote)

    # the world's side

    def push(self, update: MarketUpdate) -> None:
        """An update arrives."""
        self._coming.append(update)
        self._arrived.set()

    def breaks(self) -> None:
        """The source breaks; what it had not handed out is lost."""
        self._broken = True
        self._coming.clear()
        self._arrived.set()

    @property
    def pending(self) -> int:
        """Updates that are not handed out yet."""
        return len(self._coming) + self._busy

    # the server's side

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return self._instruments

    def listen(self, listener: UpdateListener) -> None:
        self._feed.listen(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._feed.latest(key)

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        return DayStatistics()

    async def request(self, *keys: InstrumentKey) -> None:
        self._asked(keys)

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._broken:
                self._broken = False
                raise FeedBroken("connection reset by peer")
            while self._coming:
                await self._hand_out(self._coming.popleft())

    async def _hand_out(self, update: MarketUpdate) -> None:
        self._busy = True
        try:
            self._told(update.quote)
            await self._feed.deliver(update)
        finally:
            self._busy = False


def stamped(update: MarketUpdate, at: int) -> MarketUpdate:
    """The update as it is received at this instant of the server's clock."""
    return replace(update, quote=replace(update.quote, at=at))
