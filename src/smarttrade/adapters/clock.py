"""The two clocks: the machine's, and one that moves only when told (sandbox, replay, tests)."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Final

from smarttrade.domain.quote import SECOND, Instant

CATCHING_UP: Final = 99
"""Hundredths of the usual pace while the wall clock is behind: a minute lasts 0.6 s longer, an hour too many is gone in
four days."""

LONGEST_NAP: Final[Instant] = SECOND
"""Between two looks at the wall clock while sleeping: it may be set forward, or the machine suspended."""


class SystemClock:
    """The wall clock without its steps backwards.

    When it is set back, time here goes on from where it was, a hundredth slower until the wall clock has caught up: so
    a stop loss timeout of a minute stays a minute, and what is stamped here comes to agree with the world again. Steps
    forward, and the time that a suspended machine missed, count at once as far as they lead beyond.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._agreed: Instant = wall_ns() // 1000  # this clock and the wall clock, when they were last compared alike
        self._agreed_at: Instant = monotonic_ns() // 1000

    def now(self) -> Instant:
        return self._look(self._wall_ns() // 1000, self._monotonic_ns() // 1000)

    @property
    def is_ahead(self) -> bool:
        """Whether the wall clock was set back and has not caught up yet."""
        return self.now() > self._wall_ns() // 1000

    def _look(self, wall: Instant, monotonic: Instant) -> Instant:
        """The instant at which the two clocks of the machine show this."""
        least = self._agreed + (monotonic - self._agreed_at) * CATCHING_UP // 100
        if wall < least:
            return least
        self._agreed, self._agreed_at = wall, monotonic
        return wall

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
