"""When to ask for prices that do not come any more (EX-34). Data only: nothing here knows a clock."""

from collections.abc import Iterable
from typing import Final

from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.engine.market import Market

SHORTEST_PAUSE: Final[Instant] = SECOND // 10
"""Between two looks at all pairs, which fall silent one by one where there are thousands."""


class Silence:
    """One look at all pairs when the first may have been silent for too long, so that a price costs nothing.

    A pair is asked for when it falls silent, and then in rounds, together with all others that are silent: one look for
    all of them each time, whatever their number.
    """

    __slots__ = ("_max_age", "_next_round", "_silent", "due")

    def __init__(self, max_age: Instant | None) -> None:
        """max_age  of the oldest price for a decision (TR-6); None: a quote stands until the next one"""
        self._max_age = max_age
        self._silent: set[InstrumentKey] = set()  # pairs that have been asked for, and had no price at the last look
        self._next_round: Instant = 0
        self.due: Instant | None = None

    def watch(self, now: Instant) -> None:
        """Somebody may wait for prices."""
        if self._max_age is not None and self.due is None:
            self.due = now + self._max_age

    def look(self, markets: Iterable[Market], now: Instant) -> list[InstrumentKey]:
        """Pairs whose prices are waited for and have stopped coming; each again before as long a silence is over."""
        if self._max_age is None or self.due is None or now < self.due:
            return []
        is_round = now >= self._next_round
        before, self._silent = self._silent, set()
        asked, dues = [], []
        for market in markets:
            if not market.is_watched:
                continue
            key = market.instrument.key
            heard = 0 if market.at is None else min(market.at, now)  # a feed's clock may be ahead
            if now < heard + self._max_age:
                dues.append(heard + self._max_age)
                continue
            if is_round or key not in before:
                asked.append(key)
            self._silent.add(key)
        if self._silent:
            if is_round:
                self._next_round = now + self._max_age
            dues.append(self._next_round)
        self.due = max(min(dues), now + SHORTEST_PAUSE) if dues else None
        return asked
