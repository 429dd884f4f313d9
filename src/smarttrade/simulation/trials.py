"""Trying worlds: one seed or many, and the least of a world that still fails."""

import gc
import os
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from smarttrade.simulation.faults import FaultKind
from smarttrade.simulation.history import clock, line
from smarttrade.simulation.observer import Violation
from smarttrade.simulation.world import World

LAST_THINGS: Final = 15
"""What a report of a failure shows of its trade."""

DEFAULT_HOURS: Final = 48.0

MANY_OBJECTS: Final = 1_000_000
"""Two days of a world, and the processes that died in it, make fewer; in longer ones some garbage is collected."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried: a seed, how long, and what of it is left out."""

    seed: int
    hours: float = DEFAULT_HOURS
    steps: int | None = None  # things that happen outside of the server, before peace; None: all within the hours
    without: tuple[FaultKind, ...] = ()

    @property
    def command(self) -> str:
        """What to type to repeat it."""
        words = [os.environ.get("SMARTTRADE_COMMAND", "smarttrade"), "simulate", "--seed", str(self.seed)]
        if self.hours != DEFAULT_HOURS:
            words += ["--hours", f"{self.hours:g}"]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
        if self.without:
            words += ["--without", ",".join(self.without)]
        return " ".join(words)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that was broken."""

    rule: str
    text: str
    step: int
    at: str  # by the server's clock
    trade_id: int | None
    last_things: tuple[str, ...]  # of that trade, the oldest first


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a trial."""

    trial: Trial
    failure: Failure | None
    mood: str
    steps: int
    virtual_hours: float
    seconds: float  # of processor time
    commands: int
    orders: int
    fills: int
    deaths: int
    faults: dict[str, int]  # how often each kind struck
    raged: tuple[str, ...]  # kinds that this world had
    digest: str  # of all that happened


def attempt(trial: Trial, keep: Path | None = None) -> Outcome:
    """Live one world. keep: an empty directory in which the server's data stays."""
    with _collector_at_ease():
        if keep is not None:
            return _live(trial, keep, is_kept=True)
        with tempfile.TemporaryDirectory(prefix="smarttrade-world-") as directory:
            return _live(trial, Path(directory))


@contextmanager
def _collector_at_ease() -> Iterator[None]:
    """Walking all objects of a world again and again costs more than it frees; they go together, at its end."""
    before = gc.get_threshold()
    gc.set_threshold(MANY_OBJECTS, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def attempt_many(trials: Sequence[Trial], jobs: int) -> Iterator[Outcome]:
    """Live worlds side by side, `jobs` at a time; outcomes come in the order of `trials`."""
    if jobs == 1 or len(trials) == 1:
        yield from map(attempt, trials)
        return
    with ProcessPoolExecutor(min(jobs, len(trials))) as pool:
        yield from pool.map(attempt, trials)


def _live(trial: Trial, directory: Path, *, is_kept: bool = False) -> Outcome:
    began = time.process_time()
    world = World(trial.seed, directory, trial.hours, trial.without)
    failure = None
    try:
        world.run(trial.steps)
    except Violation as violation:
        failure = _failure(world, violation)
    except Exception as error:  # noqa: BLE001 - a world that breaks has failed, and its seed is what matters
        text = f"{error!r}\n{''.join(traceback.format_tb(error.__traceback__))}"
        failure = _failure(world, Violation("simulation", text, at=world.now()))
    finally:
        if is_kept:
            world.disk.write_out()
        world.disk.close()
    counts = world.history.counts
    return Outcome(
        trial=trial,
        failure=failure,
        mood=world.faults.mood.value,
        steps=world.history.step,
        virtual_hours=round(world.time.now_ns / 3.6e12, 2),
        seconds=round(time.process_time() - began, 2),
        commands=counts.get("command_answered", 0),
        orders=counts.get("order_taken", 0),
        fills=counts.get("order_filled", 0),
        deaths=world.faults.struck.get(FaultKind.DEATHS, 0),
        faults={kind.value: count for kind, count in sorted(world.faults.struck.items())},
        raged=tuple(sorted(world.faults.intensity)),
        digest=world.history.digest(),
    )


def _failure(world: World, violation: Violation) -> Failure:
    things = world.history.last_things(violation.trade_id, LAST_THINGS)
    return Failure(
        rule=violation.rule,
        text=violation.text,
        step=world.history.step,
        at=clock(violation.at),
        trade_id=violation.trade_id,
        last_things=tuple(map(line, things)),
    )


def narrowed(failed: Outcome) -> Outcome:
    """The least of a failed trial that still breaks the same rule: without kinds of faults, after fewer steps."""
    least = failed
    for kind in failed.raged:
        kinds: Collection[FaultKind] = {*least.trial.without, FaultKind(kind)}
        less = attempt(msgspec.structs.replace(least.trial, without=tuple(sorted(kinds))))
        if _same(less, failed):
            least = less
    return _fewest_steps(least)


def _fewest_steps(failed: Outcome) -> Outcome:
    """Halve the steps as long as that fails; what fails at its end may not fail where it would have gone on."""
    least, enough = failed, 0
    assert failed.failure is not None
    most = failed.failure.step
    while most - enough > 1:
        middle = (enough + most) // 2
        less = attempt(msgspec.structs.replace(failed.trial, steps=middle))
        if _same(less, failed):
            least, most = less, middle
        else:
            enough = middle
    return least


def _same(less: Outcome, failed: Outcome) -> bool:
    return less.failure is not None and failed.failure is not None and less.failure.rule == failed.failure.rule
