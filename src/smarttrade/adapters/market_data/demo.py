"""Prices of the demo: the shipped recording, replayed at its real pace and over and over.

The position follows from the clock alone, so a restart goes on where the market would be by then. At the join of two
rounds the prices jump from the last quote of the recording to its first.
"""

from collections.abc import Mapping
from typing import Final

from smarttrade.adapters.market_data.feed import UpdateFeed
from smarttrade.adapters.market_data.recording import Recording
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey, Quote
from smarttrade.ports.clock import Clock
from smarttrade.ports.market_data import DayStatistics, MarketUpdate, UpdateListener

FIRST_ROUND: Final[Instant] = 1_735_689_600 * SECOND
"""2025-01-01T00:00:00Z: a round started then, and every `recording.length` since."""

LONGEST_DELAY: Final[Instant] = SECOND
"""When delivery is later than this (a suspended machine, a blocked process), the missed part is skipped."""


class DemoMarket:
    """Implements MarketData with the instruments of the recording. The rules of other pairs are in `load_rules`."""

    standing_quotes_are_fresh = True

    def __init__(self, clock: Clock, recording: Recording | None = None) -> None:
        self._clock = clock
        self._recording = recording if recording is not None else Recording.shipped()
        self._feed = UpdateFeed()
        self._statistics: dict[InstrumentKey, tuple[Quote, DayStatistics]] = {}  # of the quote that they belong to
        rules = load_rules()
        self._instruments = {key: rules[key] for key in self._recording.instruments}
        for quote in self._recording.standing(self._position(clock.now()), clock.now()):
            self._feed.stand(quote)

    def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return self._instruments

    def listen(self, listener: UpdateListener) -> None:
        self._feed.listen(listener)

    def latest(self, key: InstrumentKey) -> Quote | None:
        return self._feed.latest(key)

    def statistics(self, key: InstrumentKey) -> DayStatistics:
        """Volume and change over the recording: a day is not recorded."""
        quote = self._feed.latest(key)
        if quote is None:
            return DayStatistics()
        known = self._statistics.get(key)
        if known is None or known[0] is not quote:
            known = self._statistics[key] = (quote, self._recording.instruments[key].statistics(quote.last))
        return known[1]

    async def request(self, *keys: InstrumentKey) -> None:
        await self._feed.repeat(*keys)

    async def run(self) -> None:
        delivered = await self._skip_to_present()
        while True:
            delivered = await self._play_round(delivered)

    def _position(self, instant: Instant) -> Instant:
        return (instant - FIRST_ROUND) % self._recording.length

    async def _play_round(self, delivered: Instant) -> Instant:
        """Play the round that `delivered` lies in, from there; returns the instant to go on from."""
        position = self._position(delivered)
        start = delivered - position
        for due, update in self._recording.updates(position, start):
            await self._clock.sleep_until(due)
            if self._clock.now() > due + LONGEST_DELAY:
                return await self._skip_to_present()
            await self._feed.deliver(update)
        end = start + self._recording.length
        await self._clock.sleep_until(end)
        return end

    async def _skip_to_present(self) -> Instant:
        """Deliver what stands now, without the prints in between; returns the instant at which it stands."""
        now = self._clock.now()
        for quote in self._recording.standing(self._position(now), now):
            await self._feed.deliver(MarketUpdate(quote=quote))
        return now
