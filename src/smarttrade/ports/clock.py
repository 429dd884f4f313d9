"""Time from outside: the wall clock, or a clock that moves only when told."""

from typing import Protocol

from smarttrade.domain.quote import Instant


class Clock(Protocol):
    def now(self) -> Instant:
        """The present instant; never runs backwards."""

    async def sleep_until(self, instant: Instant) -> None:
        """Return when `now()` has reached `instant`."""
