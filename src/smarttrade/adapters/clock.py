"""The two clocks: the machine's, and one that moves only when told (sandbox, replay, tests)."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Final

from smarttrade.domain.quote import SECOND, Instant

BACKWARD_STEP: Final[Instant] = SECOND
"""A wall clock that falls behind by more has been set back; less is its ordinary correction."""

LONGEST_NAP: Final[Instant] = SECOND
"""Between two looks at the wall clock while sleeping: it may be set forward, or the machine suspended."""


class SystemClock:
    """The wall clock without its steps backwards.

    When it is set back, time here goes on from where it was at its usual pace, so that a stop loss timeout of a minute
    stays a minute. Steps forward, and the time that a suspended machine missed, count at once.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._offset: Instant = 0  # what the wall clock was set back by, in all
        self._latest: Instant = wall_ns() // 1000
        self._looked: Instant = monotonic_ns() // 1000

    def now(self) -> Instant:
        monotonic = self._monotonic_ns() // 1000
        present = self._wall_ns() // 1000 + self._offset
        if present < self._latest - BACKWARD_STEP:
            expected = self._latest + (monotonic - self._looked)
            self._offset += expected - present
            present = expected
        self._latest = max(self._latest, present)
        self._looked = monotonic
        return self._latest

    async def sleep_until(self, instant: Instant) -> None:
        while (remaining := instant - self.now()) > 0:
            await asyncio.sleep(min(remaining, LONGEST_NAP) / SECOND)


class ManualClock:
    """A clock that stands still until it is moved, by whoever owns the time.

    The owner who wants everybody to see the instant that they slept for moves it one deadline at a time:

        while (deadline := clock.next_deadline()) is not None and deadline <= instant:
            clock.advance_to(deadline)
            await everything_settled()
        clock.advance_to(instant)
    """

    def __init__(self, start: Instant) -> None:
        self._now = start
        self._numbers = itertools.count()
        self._sleepers: dict[int, tuple[Instant, asyncio.Future[None]]] = {}  # by number, in the order they came

    def now(self) -> Instant:
        return self._now

    async def sleep_until(self, instant: Instant) -> None:
        if instant <= self._now:
            return
        number = next(self._numbers)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[number] = (instant, woken)
        try:
            await woken
        finally:
            self._sleepers.pop(number, None)

    def next_deadline(self) -> Instant | None:
        """When the first sleeper wants to wake; None when nobody sleeps.

        Always in the future, except between `set_to` and `wake_due`.
        """
        return min((instant for instant, woken in self._sleepers.values() if not woken.done()), default=None)

    def set_to(self, instant: Instant) -> None:
        """Move to `instant` and let everybody sleep on. Raises ValueError when that is in the past."""
        if instant < self._now:
            raise ValueError(f"the clock stands at {self._now} and does not run back to {instant}")
        self._now = instant

    def wake_due(self) -> None:
        """Wake those whose deadline has come: by deadline, equal ones in the order in which they went to sleep."""
        due = [(instant, number) for number, (instant, _) in self._sleepers.items() if instant <= self._now]
        for _, number in sorted(due):
            _, woken = self._sleepers.pop(number)
            if not woken.done():  # cancelled, with its task
                woken.set_result(None)

    def advance_to(self, instant: Instant) -> None:
        """Move to `instant` and wake those whose deadline has come. Raises ValueError when that is in the past."""
        self.set_to(instant)
        self.wake_due()
