"""The machine's clock never runs backwards; the manual one wakes sleepers in order."""

import asyncio

import pytest

from smarttrade.adapters.clock import ManualClock, SystemClock
from smarttrade.domain.quote import SECOND


class Machine:
    """What the operating system would say, in nanoseconds."""

    def __init__(self) -> None:
        self.wall = 1_000_000 * 10**9
        self.monotonic = 5 * 10**9

    def pass_seconds(self, seconds: float) -> None:
        self.wall += round(seconds * 10**9)
        self.monotonic += round(seconds * 10**9)

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall, lambda: self.monotonic)


def test_the_system_clock_shows_microseconds_of_the_wall_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_seconds(1.5)
    assert clock.now() == 1_000_001_500_000


def test_a_wall_clock_set_back_an_hour_costs_no_time_and_stretches_a_timeout_by_a_hundredth() -> None:
    """TR-62: the timeout of a stop goes by it."""
    machine = Machine()
    clock = machine.clock()
    machine.pass_seconds(2)
    before = clock.now()
    machine.wall -= 3600 * 10**9
    assert clock.now() == before
    machine.pass_seconds(60)
    assert clock.now() == before + 59_400_000
    assert clock.is_ahead


def test_a_clock_that_was_ahead_agrees_with_the_wall_clock_again() -> None:
    """TR-6: else prices that somebody else stamps would look an hour old for as long as the process lives."""
    machine = Machine()
    clock = machine.clock()
    machine.wall -= 3600 * 10**9
    shown = [clock.now()]
    for _ in range(101):
        machine.pass_seconds(3600)
        shown.append(clock.now())
        assert shown[-1] - shown[-2] in {3600 * SECOND, 3564 * SECOND}
    assert shown[-1] == machine.wall // 1000
    assert not clock.is_ahead


@pytest.mark.parametrize("step", [0.000001, 0.00005, 0.02, 7])
def test_it_catches_up_at_the_same_pace_however_often_it_is_looked_at(step: float) -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    machine.wall -= 3600 * 10**9
    for _ in range(1000):
        machine.pass_seconds(step)
        clock.now()
    assert clock.now() - before == pytest.approx(990 * step * SECOND, abs=1)


def test_a_step_forward_after_one_backward_counts_as_far_as_it_leads_beyond() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    machine.wall -= 3600 * 10**9
    machine.pass_seconds(10)
    assert clock.now() == before + 9_900_000
    machine.wall += 3600 * 10**9
    assert clock.now() == before + 10 * SECOND
    machine.wall += 60 * 10**9
    assert clock.now() == before + 70 * SECOND


def test_a_step_forward_counts_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    machine.wall += 3600 * 10**9
    assert clock.now() == before + 3600 * SECOND


def test_sleeping_until_the_past_returns_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    asyncio.run(clock.sleep_until(clock.now() - 1))


def test_a_manual_clock_stands_still_and_refuses_to_run_back() -> None:
    clock = ManualClock(100)
    assert clock.now() == 100
    clock.advance_to(100)
    with pytest.raises(ValueError, match="does not run back"):
        clock.advance_to(99)


def test_sleepers_wake_by_deadline_and_equal_ones_in_the_order_they_came() -> None:
    async def scenario() -> list[str]:
        clock, woken = ManualClock(0), []

        async def sleeper(name: str, until: int) -> None:
            await clock.sleep_until(until)
            woken.append(name)

        async with asyncio.TaskGroup() as tasks:
            for name, until in (("c", 30), ("a", 10), ("b1", 20), ("b2", 20)):
                tasks.create_task(sleeper(name, until))
            await asyncio.sleep(0)
            assert clock.next_deadline() == 10
            clock.advance_to(20)
            await asyncio.sleep(0)
            assert woken == ["a", "b1", "b2"]
            assert clock.next_deadline() == 30
            clock.advance_to(99)
        return woken

    assert asyncio.run(scenario()) == ["a", "b1", "b2", "c"]


def test_set_to_lets_those_who_are_due_sleep_until_wake_due() -> None:
    async def scenario() -> None:
        clock = ManualClock(0)
        sleeper = asyncio.create_task(clock.sleep_until(10))
        await asyncio.sleep(0)
        clock.set_to(10)
        await asyncio.sleep(0)
        assert not sleeper.done()
        clock.wake_due()
        await sleeper

    asyncio.run(scenario())


def test_a_cancelled_sleeper_leaves_no_deadline_behind() -> None:
    async def scenario() -> None:
        clock = ManualClock(0)
        sleeper = asyncio.create_task(clock.sleep_until(10))
        await asyncio.sleep(0)
        sleeper.cancel()
        assert clock.next_deadline() is None
        clock.advance_to(10)
        with pytest.raises(asyncio.CancelledError):
            await sleeper

    asyncio.run(scenario())
