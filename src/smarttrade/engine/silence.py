"""When to ask for prices that do not come any more (EX-34). Data only: nothing here knows a clock."""

from collections.abc import Iterable
from typing import Final

from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.engine.market import Market

SHORTEST_PAUSE: Final[Instant] = SECOND // 10
"""Between two looks at all pairs, which fall silent one by one where there are thousands."""


class Silence:
    """One look at all pairs when the first may have been silent for too long, so that a price costs nothing."""

    __slots__ = ("_asked", "_max_age", "due")

    def __init__(self, max_age: Instant | None) -> None:
        """max_age  of the oldest price for a decision (TR-6); None: a quote stands until the next one"""
        self._max_age = max_age
        self._asked: dict[InstrumentKey, Instant] = {}  # pairs that are silent, and when they were asked for last
        self.due: Instant | None = None

    def watch(self, now: Instant) -> None:
        """Somebody may wait for prices."""
        if self._max_age is not None and self.due is None:
            self.due = now + self._max_age

    def look(self, markets: Iterable[Market], now: Instant) -> list[InstrumentKey]:
        """Pairs whose prices are waited for and have stopped coming; each again after as long a silence."""
        if self._max_age is None or self.due is None or now < self.due:
            return []
        silent, dues = [], []
        asked, self._asked = self._asked, {}
        for market in markets:
            if not market.is_watched:
                continue
            key = market.instrument.key
            heard = 0 if market.at is None else min(market.at, now)  # a feed's clock may be ahead
            since = max(heard, asked.get(key, 0))
            if now >= since + self._max_age:
                silent.append(key)
                since = now
            if since > heard:
                self._asked[key] = since
            dues.append(since + self._max_age)
        self.due = max(min(dues), now + SHORTEST_PAUSE) if dues else None
        return silent
