"""A simulated process: one that died does nothing any more, also while it is cleared away; sleepers wake in time."""

import asyncio
import gc
import random
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from smarttrade.adapters.clock import SystemClock
from smarttrade.domain.quote import SECOND
from smarttrade.simulation.clock import VirtualClock
from smarttrade.simulation.loop import NANOSECONDS, VirtualLoop, VirtualTime


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


@pytest.mark.parametrize("seed", range(20))
def test_a_sleeper_wakes_when_it_would_by_a_real_clock(seed: int) -> None:
    """Also where the wall clock is set meanwhile: a real one looks at it each second, this one only then."""
    assert _wakings(VirtualClock, seed) == _wakings(SystemClock, seed)


def _wakings(clock_type: type[SystemClock], seed: int) -> list[tuple[int, int]]:
    """When each of some sleeps ended, by true time and by the process's own; the wall clock is set now and then."""
    drawn, time = random.Random(seed), VirtualTime()
    wall_offset = 0
    clock = clock_type(lambda: wall_offset + time.now_ns, lambda: time.now_ns)
    wakings: list[tuple[int, int]] = []
    sleeps = [drawn.randrange(30 * SECOND) for _ in range(40)]
    loop = VirtualLoop(time)

    async def sleep() -> None:
        for length in sleeps:
            await clock.sleep_until(clock.now() + length)
            wakings.append((time.now_ns, clock.now()))

    def set_wall(by: int) -> None:
        nonlocal wall_offset
        if isinstance(clock, VirtualClock):
            clock.wall_is_set()
        wall_offset += by
        clock.now()

    for _ in range(60):
        by = drawn.choice((drawn.randint(-900, 900), drawn.randint(-20_000, 20_000))) * 1_000_000
        time.at(drawn.randrange(600 * NANOSECONDS), lambda by=by: set_wall(by))  # type: ignore[misc]
    time.at(10_000 * NANOSECONDS, lambda: None)
    loop.create_task(sleep())
    loop.run_until_idle()
    while time.next_ns is not None and len(wakings) < len(sleeps):
        time.pop()()
        loop.run_until_idle()
    loop.abandon()
    assert len(wakings) == len(sleeps)
    return wakings
