"""The event loop of a simulated process: one that died does nothing any more, also not while it is cleared away."""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from smarttrade.simulation.loop import VirtualLoop, VirtualTime


def test_a_process_that_died_begins_nothing_in_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its remains are cleared away at once, not whenever memory is collected: the same seed gives the same world."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    time, cleared, begun = VirtualTime(), [], []

    async def begin_anew() -> None:
        begun.append("again")

    async def clean_up() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleared.append("here")
            asyncio.get_running_loop().create_task(begin_anew())

    def spawn(work: Coroutine[Any, Any, None], loop: VirtualLoop) -> None:
        loop.create_task(work)
        loop.run_until_idle()

    died, alive = VirtualLoop(time), VirtualLoop(time)
    spawn(clean_up(), died)
    died.abandon()
    assert cleared == ["here"]

    async def collect() -> None:
        gc.collect()

    del died
    spawn(collect(), alive)
    alive.run_until_idle()
    assert begun == []
    assert unraisable == []
