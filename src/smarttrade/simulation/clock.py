"""The clock of a simulated process: sleeps in one go where a real one looks at the wall clock each second."""

import asyncio
from collections.abc import Callable
from typing import Final

from smarttrade.adapters.clock import LONGEST_NAP, SystemClock
from smarttrade.domain.quote import SECOND, Instant
from smarttrade.simulation.loop import NANOSECONDS

NAP_NS: Final = LONGEST_NAP * NANOSECONDS // SECOND


class VirtualClock(SystemClock):
    """Its sleepers wake at the very moments at which they would with a `SystemClock`.

    Those who wait for prices or time-outs sleep nearly always, so that most of what happens in a quiet world would be
    a look at a wall clock that nobody has set.
    """

    def __init__(self, wall_ns: Callable[[], int], monotonic_ns: Callable[[], int]) -> None:
        super().__init__(wall_ns, monotonic_ns)
        self._asleep: dict[asyncio.Future[None], int] = {}  # and since when

    async def sleep_until(self, instant: Instant) -> None:
        while (remaining := instant - self.now()) > 0:
            await self._sleep(remaining)

    async def _sleep(self, remaining: Instant) -> None:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        since = self._asleep[woken] = self._monotonic_ns()
        whole = (remaining - 1) // LONGEST_NAP  # naps but for the last
        last = (remaining - whole * LONGEST_NAP) / SECOND
        if whole and self.is_ahead:
            last = 0.0  # its seconds are longer than those of the naps: how many more there are turns out then
        timer = loop.call_at((since + whole * NAP_NS) / NANOSECONDS + last, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()
            del self._asleep[woken]

    def wall_is_set(self) -> None:
        """To be called right before. Who is asleep looks at the wall clock when its nap of a second ends."""
        present = self._monotonic_ns()
        for woken, since in self._asleep.items():
            naps = max(1, -(-(present - since) // NAP_NS))
            if naps > 1:
                self._has_looked(since + (naps - 1) * NAP_NS, present)
            woken.get_loop().call_later((since + naps * NAP_NS - present) / NANOSECONDS, _wake, woken)

    def _has_looked(self, then: int, present: int) -> None:
        """A sleeper would have looked at the clock `then`: by how much it is set back counts from there."""
        if then // 1000 > self._agreed_at:
            self._look((self._wall_ns() - (present - then)) // 1000, then // 1000)


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
