"""Exchanges that misbehave in ways that the sandbox cannot script, in a system inside the test."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace
from test_trouble import KEY, PLAN, STOP, House, house, play

from smarttrade.domain.quote import SECOND
from smarttrade.ports.exchange import ReportListener

__all__ = ["KEY", "PLAN", "SECOND", "STOP", "Broken", "House", "breaks", "house", "pass_time", "play_with", "replace"]


class Broken:
    """An account's exchange of which some calls are replaced; the stream and all other calls are the real one's."""

    def __init__(self, real: Any, **calls: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.real = real
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self.real, name)

    def listen(self, listener: ReportListener) -> None:
        """The stream is heard already."""


def breaks(home: House, account_id: int | None = None, **calls: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """Replace calls of an account's exchange; returns the real one."""
    number = home.account_id if account_id is None else account_id
    real = home.system.dispatcher.exchange(number)
    assert real is not None
    real = real.real if isinstance(real, Broken) else real
    home.system.dispatcher.add_exchange(number, Broken(real, **calls))  # type: ignore[arg-type]
    return real


async def pass_time(home: House, seconds: int) -> None:
    """Let sandbox time pass; timers due fire in order."""
    assert home.system.services.sandbox is not None
    await home.system.services.sandbox.advance(seconds * SECOND)


def play_with(directory: Path, story: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    """Play a story in a fresh system at a price of 60000. What it logs is not rendered: tracebacks by the hundred."""
    with structlog.testing.capture_logs():
        play(directory, story)
