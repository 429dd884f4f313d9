"""Moving a manual clock so that every timer fires at its own instant and the outcome is the same every time."""

from collections.abc import Awaitable, Callable

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.feed import Settle, yield_once
from smarttrade.domain.quote import Instant

Keep = Callable[[Instant], Awaitable[None]]
"""Makes an instant durable before the clock shows it."""


async def keep_nothing(_instant: Instant) -> None:
    """The `Keep` of a source whose time comes from a file."""


class ScriptedTime:
    """The clock of a source that owns the time."""

    def __init__(self, clock: ManualClock, keep: Keep = keep_nothing) -> None:
        self.clock = clock
        self.settle: Settle = yield_once
        self._keep = keep

    async def pass_deadlines(self, until: Instant) -> None:
        """Stop at every deadline up to and including `until`, and let what it wakes come to rest."""
        while (deadline := self.clock.next_deadline()) is not None and deadline <= until:
            await self._keep(deadline)
            self.clock.advance_to(deadline)
            await self._settle_woken()

    async def move_to(self, instant: Instant) -> None:
        """Let everything due up to and including `instant` happen, and stand there."""
        await self.pass_deadlines(instant)
        await self._keep(instant)
        self.clock.advance_to(instant)
        await self._settle_woken()

    async def apply(self, at: Instant, step: Callable[[], Awaitable[None]]) -> None:
        """Take `step` at the instant `at`: timers due before it have fired already, those due then fire after it."""
        self.clock.set_to(at)
        await step()
        await self.settle()
        self.clock.wake_due()
        await self._settle_woken()

    async def _settle_woken(self) -> None:
        """Let what was woken come to rest. A sleeper gets up in the loop's next turn; before it, nobody seems busy."""
        await yield_once()
        await self.settle()
